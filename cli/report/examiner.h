// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/report/comparison.h"
#include "cli/support/invocation.h"
#include "libsnap/io/image.h"

namespace snaptool::cli {

// What is to be found out of each range.
struct ExaminerOptions {
  bool hashes = false;
  uint64_t hex = 0;  // bytes
};

// As --hash, --hex and --report ask for it. Errors: kInvalidArgument.
Result<ExaminerOptions> examiner_options(const Invocation& invocation);

// Looks again at ranges that differ.
class Examiner {
 public:
  Examiner(Image& before, Image& after, const ExaminerOptions& wanted, const Job& job)
      : before_(before), after_(after), wanted_(wanted), job_(job) {}

  // Errors: those of Image; kInterrupted.
  Result<ReportRange> examine(const Difference& difference);

 private:
  Result<void> examine_side(Image& image, const Difference& difference, ReportRange::Side& side);
  Result<void> dump(ReportRange& range);

  Image& before_;
  Image& after_;
  ExaminerOptions wanted_;
  const Job& job_;
  Progress unseen_;
};

}  // namespace snaptool::cli
