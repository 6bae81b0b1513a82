// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/change_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "libsnap/io/memory_file.h"

namespace snaptool::access {

Result<void> ChangeFile::detect(const Drivers& drivers, std::span<const std::byte> head) {
  driver_ = drivers.detect_changes(head);
  if (driver_ != nullptr) return {};
  const std::string who = is_piped_ ? name_ : fmt::format("'{}'", name_);
  const auto refused = [](std::string why) {
    return Error(ErrorCode::kCorruption, std::move(why));
  };
  if (head.empty()) return refused(fmt::format("{} is empty: it is no diff", who));
  MemoryFile beginning(name_, head);
  SNAP_ASSIGN(const KnownFormat* const known, drivers.detect_known(beginning));
  if (known != nullptr && known->own == Remedy::kNone) {
    const std::string remedy = is_piped_ ? "" : remedy_for(*known, name_);
    return refused(fmt::format("{} is {}, and no diff{}", who, known->label,
                               remedy.empty() ? "" : fmt::format(" ({})", remedy)));
  }
  std::string names;
  for (const ChangeDriver& driver : drivers.changes) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", driver.name);
  }
  return refused(fmt::format("{} is not a diff in a known format ({}){}", who, names,
                             head.size() < kChangeProbeBytes ? ": was it copied whole?" : ""));
}

Result<std::unique_ptr<ChangeFile>> ChangeFile::open(Opener& opener, const std::string& path,
                                                     std::string name) {
  const bool is_piped = !name.empty();
  std::unique_ptr<ChangeFile> changes(new ChangeFile(is_piped ? std::move(name) : path));
  changes->is_piped_ = is_piped;
  SNAP_ASSIGN(changes->file_, opener.open_path(path, {Access::kRead, false}));
  std::array<std::byte, kChangeProbeBytes> head{};
  const size_t size = std::min<uint64_t>(head.size(), changes->file_->size());
  SNAP_TRY(changes->file_->read_at(0, std::span(head).first(size)));
  SNAP_TRY(changes->detect(opener.context().drivers, std::span(head).first(size)));
  return changes;
}

Result<std::unique_ptr<ChangeFile>> ChangeFile::open_stream(const Drivers& drivers,
                                                            ByteSource source, std::string name) {
  std::unique_ptr<ChangeFile> changes(new ChangeFile(std::move(name)));
  changes->stream_ = std::move(source);
  changes->is_piped_ = true;
  changes->head_.resize(kChangeProbeBytes);
  SNAP_ASSIGN(const size_t size, changes->stream_(changes->head_));
  changes->head_.resize(size);
  SNAP_TRY(changes->detect(drivers, changes->head_));
  return changes;
}

Result<std::unique_ptr<ChangeReader>> ChangeFile::reader() {
  if (file_ != nullptr) return driver_->open(file_source(*file_), name_);
  return driver_->open(
      [this](std::span<std::byte> out) -> Result<size_t> {
        if (head_.empty()) return stream_(out);
        const size_t size = std::min(out.size(), head_.size());
        std::memcpy(out.data(), head_.data(), size);
        head_.erase(head_.begin(), head_.begin() + static_cast<ptrdiff_t>(size));
        return size;
      },
      name_);
}

std::vector<ChainLink> links_of(const std::vector<std::unique_ptr<ChangeFile>>& diffs) {
  std::vector<ChainLink> links;
  for (const auto& diff : diffs) {
    links.push_back({diff->name(), [changes = diff.get()] { return changes->reader(); }});
  }
  return links;
}

}  // namespace snaptool::access
