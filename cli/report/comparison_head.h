// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/report/comparison.h"
#include "cli/support/invocation.h"
#include "libsnap/access/open_image.h"
#include "libsnap/diff/compare.h"

namespace snaptool::cli {

// An image that is compared.
struct ComparedImage {
  const access::ImageSpec& spec;
  access::OpenImage& open;
};
// What is known of two images before they are compared; with --report, their sums, files and
// partitions, too. Errors: those of Image and describe_disk; kInvalidArgument for --date and
// --algorithm.
Result<ReportHead> comparison_head(const Invocation& invocation, const ComparedImage& before,
                                   const ComparedImage& after, const CompareOptions& options);
// The chunk size, in bytes, of the topmost store of the first of them that has one, the newer
// first. Errors: those of PersistentStore::open.
Result<std::optional<uint64_t>> chunk_size_of(const access::OpenImage& before,
                                              const access::OpenImage& after);
// The files of --report, and their writers.
class ReportFiles {
 public:
  // Errors: kInvalidArgument for a name whose ending says no format, or that is given twice; those
  // of TextOutput::open.
  // Adds to `writers`, which it outlives.
  Result<void> open(const Invocation& invocation, access::Door& door,
                    std::vector<std::unique_ptr<ReportWriter>>& writers);
  Result<void> commit();

 private:
  std::vector<std::unique_ptr<TextOutput>> outputs_;
};

}  // namespace snaptool::cli
