// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/output_set.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "libsnap/base/check.h"

namespace snaptool::access {
namespace {

// Errors: kInvalidArgument when something has that name.
Result<void> check_free(const std::string& path) {
  std::error_code ignored;
  const auto status = std::filesystem::symlink_status(path, ignored);
  if (status.type() == std::filesystem::file_type::not_found) return {};
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("'{}' already exists, and would be read as a part of the image: parts "
                           "replace nothing, so remove it or name another output",
                           path));
}

}  // namespace

OutputSet::OutputSet(Door& door, std::string first, PartName name)
    : door_(door), first_(std::move(first)), name_(name) {}

Result<std::string> OutputSet::name_of(unsigned number) const {
  if (auto name = name_(first_, number)) return std::move(*name);
  if (number == 2) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' is not the name of a first part, from which other names follow", first_));
  }
  return Error(ErrorCode::kUnsupported,
               fmt::format("from '{}' on there are no names for {} parts: make them larger", first_,
                           number));
}

Result<void> OutputSet::check() const {
  if (StreamTarget::is_named_by(first_)) {
    return Error(ErrorCode::kInvalidArgument, "a pipe cannot take an image in parts: name a file");
  }
  SNAP_TRY(check_free(first_));
  SNAP_ASSIGN(const std::string second, name_of(2));
  return check_free(second);
}

Result<void> OutputSet::check_alone(const std::string& path, PartName name) {
  if (StreamTarget::is_named_by(path)) return {};
  const auto second = name(path, 2);
  return second ? check_free(*second) : Result<void>();
}

PartsSink OutputSet::sink() {
  return {[this] { return begin_part(); },
          [this](std::span<const std::byte> bytes) { return current_->write(bytes); },
          [this](uint64_t length) { return current_->skip(length); }};
}

Result<void> OutputSet::end_part() {
  if (!current_) return {};
  SNAP_ASSIGN(auto part, current_->take());
  current_.reset();
  // It is on its way while the next one is made.
  part->file().start_writeback(0, part->file().size());
  parts_.push_back(std::move(part));
  return {};
}

Result<void> OutputSet::begin_part() {
  SNAP_TRY(end_part());
  std::string name = first_;
  if (!names_.empty()) {
    SNAP_ASSIGN(name, name_of(static_cast<unsigned>(names_.size() + 1)));
  }
  SNAP_TRY(check_free(name));
  SNAP_ASSIGN(auto file, door_.make_new_file(name));
  current_.emplace(std::move(file), door_.context().cancel);
  names_.push_back(std::move(name));
  return {};
}

Result<void> OutputSet::finish() {
  SNAP_TRY(end_part());
  const auto next = name_(first_, static_cast<unsigned>(names_.size() + 1));
  return next ? check_free(*next) : Result<void>();
}

std::vector<File*> OutputSet::files() const {
  std::vector<File*> files;
  for (const auto& part : parts_) files.push_back(&part->file());
  return files;
}

// Takes the names away again, where they are those of the parts.
void OutputSet::forget(size_t from) {
  for (size_t i = from; i < parts_.size(); ++i) {
    if (id_of(names_[i]) == parts_[i]->file().id()) ::unlink(names_[i].c_str());
  }
}

Result<void> OutputSet::commit(bool durable) {
  SNAP_CHECK(!current_);
  for (const auto& part : parts_) {
    if (durable) SNAP_TRY(part->file().flush());
  }
  for (size_t i = parts_.size(); i-- > 0;) {
    auto named = parts_[i]->commit(durable);
    if (named) continue;
    forget(i);
    return named;
  }
  return {};
}

}  // namespace snaptool::access
