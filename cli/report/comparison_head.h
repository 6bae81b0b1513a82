// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/report/comparison.h"
#include "cli/support/invocation.h"
#include "libsnap/access/open_image.h"
#include "libsnap/diff/compare.h"

namespace snaptool::cli {

// What is known of two images before they are compared; with --report, their sums and partitions,
// too. Errors: those of Image and describe_disk; kInvalidArgument for --date.
Result<ReportHead> comparison_head(const Invocation& invocation, access::OpenImage& before,
                                   access::OpenImage& after, const CompareOptions& options);
// The chunk size, in bytes, of the topmost store of the first of them that has one, the newer
// first. Errors: those of PersistentStore::open.
Result<std::optional<uint64_t>> chunk_size_of(const access::OpenImage& before,
                                              const access::OpenImage& after);
// The writer of a report file, by the ending of its name. Errors: kInvalidArgument for another one.
Result<std::unique_ptr<ReportWriter>> report_writer(const std::string& path, TextOutput& out);

}  // namespace snaptool::cli
