// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/data_source.h"
#include "cli/invocation.h"
#include "libsnap/access/opener.h"
#include "libsnap/diff/chain.h"

namespace snaptool::cli {

// A diff that a command reads: a snapdiff or one of rbd's, from a file or standard input.
class ChangeFile {
 public:
  enum class Format { kSnapdiff, kRbd1, kRbd2 };

  // Opens `path`, or standard input for "-", and finds out what it is; messages call it `name`, or
  // by its path. Errors: those of Opener and DataSource; kInvalidArgument when it is no diff.
  static Result<std::unique_ptr<ChangeFile>> open(const access::Context& context,
                                                  const std::string& path, std::string name = "");

  const std::string& name() const { return name_; }
  Format format() const { return format_; }
  // Whether it can be read again and again; else reader may be called once.
  bool is_file() const { return file_ != nullptr; }
  // Requires: is_file().
  File& file() const { return *file_; }
  // Reads it from the start. Errors: those of the readers' open.
  Result<std::unique_ptr<ChangeReader>> reader();

 private:
  explicit ChangeFile(std::string name) : name_(std::move(name)) {}

  std::string name_;
  std::shared_ptr<File> file_;
  std::optional<DataSource> pipe_;
  std::vector<std::byte> head_;  // of a pipe: what was read to find out what it is
  Format format_ = Format::kSnapdiff;
};

// "snapdiff", "rbd", "rbd2": as -O takes them.
std::string_view format_name(ChangeFile::Format format);
std::optional<ChangeFile::Format> change_format(std::string_view name);

// --level, or its default. Errors: kInvalidArgument.
Result<int> level_of(const Invocation& invocation);
OptionSpec level_option();
// --unlinked.
OptionSpec unlinked_option();
Linking linking_of(const Invocation& invocation);
std::unique_ptr<ChangeWriter> change_writer(ChangeFile::Format format, ByteSink sink, int level);
// What was written, on standard output.
Result<void> report_changes(const Invocation& invocation, uint64_t target_size,
                            const ChangeEnd& end);

// An id as 64 hex digits, and back. Errors: kInvalidArgument.
std::string id_text(std::span<const std::byte> id);
Result<Sha256::Digest> parse_id(const std::string& text);

}  // namespace snaptool::cli
