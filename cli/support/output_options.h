// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "cli/support/invocation.h"
#include "libsnap/access/change_file.h"

namespace snaptool::cli {

// What the commands have in common that read and write diffs.

// A diff that an operand names: a file, or "-", standard input. Errors: those of
// access::ChangeFile and DataSource.
Result<std::unique_ptr<access::ChangeFile>> open_changes(access::Opener& opener,
                                                         const std::string& path);

// --level, or its default. Errors: kInvalidArgument.
Result<int> level_of(const Invocation& invocation);
OptionSpec level_option();
// --unlinked.
OptionSpec unlinked_option();
Linking linking_of(const Invocation& invocation);
// Whether the diff, or whatever --out would name a file for, goes to standard output.
bool out_is_stdout(const ParsedOptions& options);
// What was written, on standard output.
Result<void> report_changes(const Invocation& invocation, uint64_t target_size,
                            const ChangeEnd& end);

// An id as 64 hex digits, and back. Errors: kInvalidArgument.
std::string id_text(std::span<const std::byte> id);
Result<Sha256::Digest> parse_id(const std::string& text);

}  // namespace snaptool::cli
