// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/ntfs_file_system.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/ntfs/entry_walk.h"
#include "formats/ntfs/space.h"
#include "formats/ntfs/state.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"

namespace snaptool::ntfs {
namespace {

using access::FileEntry;
using access::FileNode;
using access::FileRun;
using access::FileSystem;
using access::NodeType;
using access::SpaceKind;

constexpr uint64_t kRecordMask = 0xffffffffffff;

// Runs of a kind are put together.
class StreamRuns {
 public:
  using Visit = std::function<Result<void>(const FileRun&)>;
  explicit StreamRuns(const Visit& visit) : visit_(visit) {}

  Result<void> add(const Segment& segment) {
    FileRun run;
    run.offset = segment.offset;
    run.length = segment.length;
    run.zeros = segment.kind == Segment::Kind::kZeros;
    if (segment.kind == Segment::Kind::kPlace) run.place = segment.place;
    const bool joins =
        last_.length > 0 && last_.zeros == run.zeros &&
        (run.place ? last_.place && *last_.place + last_.length == *run.place : !last_.place);
    if (joins) {
      last_.length += run.length;
      return {};
    }
    SNAP_TRY(finish());
    last_ = run;
    return {};
  }
  Result<void> finish() {
    if (last_.length > 0) SNAP_TRY(visit_(last_));
    last_ = {};
    return {};
  }

 private:
  const Visit& visit_;
  FileRun last_;
};

// The tables, and the folder of more of them.
bool is_internal(uint64_t record) { return record < kFirstUserRecord && record != kRootRecord; }

class NtfsFileSystem : public FileSystem {
 public:
  NtfsFileSystem(Image& image, const Cancel& cancel)
      : volume_(image, cancel),
        files_(volume_),
        free_files_(volume_),
        space_(volume_, files_.reader()) {}
  Result<void> open() {
    SNAP_TRY(volume_.open());
    SNAP_ASSIGN(label_, read_state(volume_, files_));
    return {};
  }

  std::string_view type() const override { return "ntfs"; }
  std::string label() const override { return label_; }
  std::string uuid() const override { return fmt::format("{:016X}", boot().serial); }
  uint64_t block_size() const override { return boot().cluster_bytes(); }
  Result<uint64_t> layout_sum() override {
    return boot().mft_cluster << 24U ^ uint64_t { boot().record_bytes } << 8U ^ boot().cluster_bits;
  }
  // With the copy of the boot sector, where the image has it.
  uint64_t size() const override {
    const uint64_t sectors = boot().sectors * boot().sector_bytes;
    const bool has_copy = volume_.pages().size() >= sectors + boot().sector_bytes;
    return has_copy ? sectors + boot().sector_bytes : sectors;
  }
  const std::vector<std::string>& warnings() const override { return volume_.warnings(); }
  bool may_be_behind() const override { return !warnings().empty(); }
  uint64_t root() const override { return kRootRecord; }

  Result<FileNode> node(uint64_t id) override;
  Result<void> visit_nodes(const std::function<Result<void>(const FileNode&)>& visit) override;
  Result<void> visit_ids_at(uint64_t offset, uint64_t length,
                            const std::function<Result<void>(uint64_t id)>& visit) override;
  Result<void> visit_runs(const FileNode& node,
                          const std::function<Result<void>(const FileRun&)>& visit) override;
  Result<void> visit_structures(
      const FileNode& node,
      const std::function<Result<void>(uint64_t offset, uint64_t length)>& visit) override;
  Result<void> visit_entries(const FileNode& folder, bool deleted,
                             const std::function<Result<void>(const FileEntry&)>& visit) override;
  Result<void> read(const FileNode& node, uint64_t offset, std::span<std::byte> out) override;
  Result<std::string> target(const FileNode& link) override;
  Result<std::pair<SpaceKind, uint64_t>> space_at(uint64_t offset) override;

 private:
  // While all nodes are visited: how many clusters those had whose runs were asked for. No cluster
  // is two files', so these are no more than there are.
  struct Pass {
    std::optional<uint64_t> id;  // that is visited, until its runs were asked for
    uint64_t clusters = 0;
  };
  // A node, and the stream that is its content; nullptr: none.
  struct Found {
    std::shared_ptr<const KnownFile> known;
    const Stream* stream = nullptr;
    bool is_alternate = false;
  };

  const Boot& boot() const { return volume_.boot(); }
  Result<Found> find(uint64_t id);
  Result<bool> is_free(uint64_t record);
  Result<FileNode> free_node(uint64_t id, Error error);
  static FileNode node_of(const Found& found, uint64_t id);
  static Result<void> check_readable(const Found& found);
  Result<void> visit_record(uint64_t id, BitReader* bits, Damage& damage,
                            const std::function<Result<void>(const FileNode&)>& visit);
  Result<void> visit_file(const std::shared_ptr<const KnownFile>& known,
                          const std::function<Result<void>(const FileNode&)>& visit);
  Result<void> count(const Segment& segment);
  Result<void> visit_id(uint64_t record, const std::function<Result<void>(uint64_t id)>& visit);

  Volume volume_;
  Files files_;
  FreeFiles free_files_;
  Space space_;
  std::string label_;
  std::optional<Pass> pass_;
};

Result<NtfsFileSystem::Found> NtfsFileSystem::find(uint64_t id) {
  Found found;
  SNAP_ASSIGN(found.known, files_.get(id & kRecordMask));
  const auto number = static_cast<uint16_t>(id >> 48U);
  if (number == 0) {
    found.stream = found.known->content();
    return found;
  }
  const Alternate* const alternate = found.known->alternate(number);
  if (alternate == nullptr) {
    return Error(ErrorCode::kNotFound,
                 fmt::format("record {} has no stream of number {}", id & kRecordMask, number));
  }
  found.stream = alternate->stream;
  found.is_alternate = true;
  return found;
}

Result<FileNode> NtfsFileSystem::node(uint64_t id) {
  auto found = find(id);
  if (found) return node_of(*found, id);
  if (found.error().code() != ErrorCode::kCorruption) return std::move(found).error();
  return free_node(id, std::move(found).error());
}

// What a free record has was true once, or is rubbish: where it cannot be read, nothing is known.
Result<FileNode> NtfsFileSystem::free_node(uint64_t id, Error error) {
  SNAP_ASSIGN(const bool free, is_free(id & kRecordMask));
  if (!free) return error;
  FileNode nothing;
  nothing.id = id;
  nothing.links = 0;
  nothing.deleted = true;
  return nothing;
}

// A record that cannot be read is free if the bitmap says so.
Result<bool> NtfsFileSystem::is_free(uint64_t record) {
  const auto read = volume_.record(record);
  if (read) return !(*read)->head.is_used;
  if (read.error().code() != ErrorCode::kCorruption) return read.error();
  const auto mft = load_file(volume_, kMftRecord);
  const Stream* const bitmap = mft ? (*mft)->find(kBitmap) : nullptr;
  if (bitmap == nullptr) return false;
  const auto bit = BitReader(files_.reader(), *bitmap).at(record);
  return bit && !*bit;
}

FileNode NtfsFileSystem::node_of(const Found& found, uint64_t id) {
  const KnownFile& known = *found.known;
  FileNode node;
  node.id = id;
  node.generation = known.file->sequence;
  node.type = found.is_alternate ? NodeType::kFile : known.type;
  node.links = found.is_alternate ? 1 : known.links;
  node.size = found.stream != nullptr ? found.stream->size : 0;
  if (node.type == NodeType::kLink) node.size = known.target ? known.target->size() : 0;
  if (known.info && !found.is_alternate) {
    node.modified = known.info->modified;
    node.changed = known.info->changed;
    node.accessed = known.info->accessed;
    node.created = known.info->created;
  }
  node.encrypted = found.stream != nullptr && (found.stream->flags & kIsEncrypted) != 0;
  node.deleted = !known.file->is_used;
  node.internal = is_internal(id & kRecordMask);
  node.metadata_sum = found.is_alternate ? 0 : known.metadata_sum;
  return node;
}

Result<void> NtfsFileSystem::check_readable(const Found& found) {
  if (found.is_alternate || found.known->elsewhere.empty() ||
      found.known->type != NodeType::kFile) {
    return {};
  }
  return Error(ErrorCode::kUnsupported,
               fmt::format("the content of record {} {}, which is not read", found.known->file->id,
                           found.known->elsewhere));
}

Result<void> NtfsFileSystem::visit_nodes(
    const std::function<Result<void>(const FileNode&)>& visit) {
  Damage damage = volume_.mft_damage();
  std::optional<BitReader> bits;
  const auto mft = load_file(volume_, kMftRecord);
  if (!mft) {
    SNAP_TRY(damage.note(mft.error()));
  } else if (const Stream* const bitmap = (*mft)->find(kBitmap)) {
    bits.emplace(files_.reader(), *bitmap);
  } else {
    damage.add("the MFT has no bitmap");
  }
  pass_ = Pass{};
  auto visited = volume_.visit_records(damage, [&](uint64_t id) {
    return visit_record(id, bits ? &*bits : nullptr, damage, visit);
  });
  pass_.reset();
  SNAP_TRY(std::move(visited));
  return damage.result();
}

Result<void> NtfsFileSystem::visit_record(
    uint64_t id, BitReader* bits, Damage& damage,
    const std::function<Result<void>(const FileNode&)>& visit) {
  bool is_used = true;
  if (bits != nullptr) {
    const auto bit = bits->at(id);
    if (!bit) SNAP_TRY(damage.note(bit.error()));
    is_used = !bit || *bit;
  }
  const auto record = volume_.record(id);
  if (!record) {
    // What was never used has never been written.
    return is_used || record.error().code() != ErrorCode::kCorruption ? damage.note(record.error())
                                                                      : Result<void>();
  }
  if (!(*record)->head.is_used || !(*record)->head.is_base()) return {};
  if (!is_used) {
    damage.add(fmt::format("record {} is in use, but free in the MFT's bitmap", id));
  }
  const auto known = files_.get(id);
  if (!known) return damage.note(known.error());
  const bool is_reserved = id < kFirstUserRecord && (*known)->names.empty();
  return is_reserved ? Result<void>() : visit_file(*known, visit);
}

Result<void> NtfsFileSystem::visit_file(const std::shared_ptr<const KnownFile>& known,
                                        const std::function<Result<void>(const FileNode&)>& visit) {
  const auto visit_one = [&](const Found& found, uint64_t id) {
    if (pass_) pass_->id = id;
    return visit(node_of(found, id));
  };
  const std::shared_ptr<const KnownFile> kept = known;
  SNAP_TRY(visit_one({kept, kept->content()}, kept->file->id));
  for (const Alternate& one : kept->alternates) {
    SNAP_TRY(visit_one({kept, one.stream, true}, stream_id(kept->file->id, one.number)));
  }
  return {};
}

Result<void> NtfsFileSystem::visit_ids_at(uint64_t offset, uint64_t length,
                                          const std::function<Result<void>(uint64_t id)>& visit) {
  return volume_.visit_records_at(offset, length,
                                  [&](uint64_t record) { return visit_id(record, visit); });
}

Result<void> NtfsFileSystem::visit_id(uint64_t record,
                                      const std::function<Result<void>(uint64_t id)>& visit) {
  const auto is_media = [](const Error& error) {
    return error.code() != ErrorCode::kCorruption && error.code() != ErrorCode::kNotFound;
  };
  uint64_t id = record;
  const auto read = volume_.record(record);
  if (!read && is_media(read.error())) return read.error();
  if (read && !(*read)->head.is_base()) id = (*read)->head.base.id;
  if (id >= volume_.records()) return {};
  SNAP_TRY(visit(id));
  const auto known = files_.get(id);
  if (!known && is_media(known.error())) return known.error();
  if (!known) return {};
  const std::shared_ptr<const KnownFile> kept = *known;
  for (const Alternate& one : kept->alternates) SNAP_TRY(visit(stream_id(id, one.number)));
  return {};
}

// Else all that is visited would take longer than the image is large, times its nodes.
Result<void> NtfsFileSystem::count(const Segment& segment) {
  uint64_t clusters = 0;
  if (segment.kind == Segment::Kind::kPlace) clusters = segment.length >> boot().cluster_bits;
  for (const Run& run : segment.packed) clusters += run.length;
  pass_->clusters += clusters;
  if (pass_->clusters <= boot().clusters) return {};
  return damaged("this file and those before it have more clusters than there are");
}

Result<void> NtfsFileSystem::visit_runs(const FileNode& node,
                                        const std::function<Result<void>(const FileRun&)>& visit) {
  if (node.size == 0) return {};
  SNAP_ASSIGN(const Found found, find(node.id));
  SNAP_TRY(check_readable(found));
  const bool is_link = !found.is_alternate && found.known->type == NodeType::kLink;
  if (is_link) return visit({0, node.size, std::nullopt, false});
  if (found.stream == nullptr) return {};
  const bool counts = pass_ && pass_->id == node.id;
  if (counts) pass_->id.reset();
  StreamRuns runs(visit);
  SNAP_TRY(visit_segments(volume_, *found.stream, 0, [&](Segment segment) -> Result<bool> {
    if (counts && pass_) SNAP_TRY(count(segment));
    if (segment.offset >= node.size) return false;
    segment.length = std::min(segment.length, node.size - segment.offset);
    SNAP_TRY(runs.add(segment));
    return true;
  }));
  return runs.finish();
}

// What is packed has no runs. All streams of a file depend on the list of its attributes; those
// that are neither content nor nodes of their own are the file's.
Result<void> NtfsFileSystem::visit_structures(
    const FileNode& node,
    const std::function<Result<void>(uint64_t offset, uint64_t length)>& visit) {
  SNAP_ASSIGN(const Found found, find(node.id));
  for (const Stream& stream : found.known->file->streams) {
    const bool is_content = &stream == found.stream;
    const bool is_of_file = !found.is_alternate && (stream.type != kData || stream.name.empty());
    if (!is_content && !is_of_file && stream.type != kAttributeList) continue;
    const auto visit_segment = [&](const Segment& segment) -> Result<bool> {
      if (segment.kind == Segment::Kind::kPlace && !is_content) {
        const uint64_t clusters = div_round_up(segment.length, block_size());
        SNAP_TRY(visit(segment.place, clusters * block_size()));
      }
      for (const Run& run : segment.packed) {
        if (!run.place) continue;
        SNAP_TRY(visit(*run.place << boot().cluster_bits, run.length << boot().cluster_bits));
      }
      return true;
    };
    SNAP_TRY(visit_segments(volume_, stream, 0, visit_segment));
  }
  return {};
}

Result<void> NtfsFileSystem::visit_entries(
    const FileNode& folder, bool deleted,
    const std::function<Result<void>(const FileEntry&)>& visit) {
  SNAP_ASSIGN(const Found found, find(folder.id));
  if (folder.type != NodeType::kFolder || found.is_alternate ||
      found.known->type != NodeType::kFolder) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("record {} is no folder", folder.id));
  }
  if (deleted) SNAP_TRY(free_files_.prepare());
  return EntryWalk(volume_, files_, free_files_, deleted, visit).run(*found.known);
}

Result<void> NtfsFileSystem::read(const FileNode& node, uint64_t offset, std::span<std::byte> out) {
  SNAP_CHECK(offset <= node.size && out.size() <= node.size - offset);
  if (out.empty()) return {};
  SNAP_ASSIGN(const Found found, find(node.id));
  SNAP_TRY(check_readable(found));
  const bool is_link = !found.is_alternate && found.known->type == NodeType::kLink;
  const uint64_t size = is_link                   ? found.known->target.value_or("").size()
                        : found.stream != nullptr ? found.stream->size
                                                  : 0;
  if (offset > size || out.size() > size - offset) {
    return damaged(
        fmt::format("record {} ends before byte {}", found.known->file->id, offset + out.size()));
  }
  if (is_link) {
    std::memcpy(out.data(), found.known->target->data() + offset, out.size());
    return {};
  }
  return files_.reader().read(*found.stream, offset, out);
}

Result<std::string> NtfsFileSystem::target(const FileNode& link) {
  SNAP_ASSIGN(const Found found, find(link.id));
  if (link.type != NodeType::kLink || found.is_alternate || found.known->type != NodeType::kLink) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("record {} is no link", link.id));
  }
  if (!found.known->target) {
    return damaged(fmt::format("link {} has a broken target", found.known->file->id));
  }
  return *found.known->target;
}

Result<std::pair<SpaceKind, uint64_t>> NtfsFileSystem::space_at(uint64_t offset) {
  if (offset >= size()) return std::pair(SpaceKind::kFree, UINT64_MAX);
  return space_.at(offset);
}

}  // namespace

bool has_magic(std::span<const std::byte> head) { return has_boot_magic(head); }

Result<std::unique_ptr<access::FileSystem>> open(Image& image, const Cancel& cancel) {
  auto file_system = std::make_unique<NtfsFileSystem>(image, cancel);
  SNAP_TRY(file_system->open());
  return file_system;
}

}  // namespace snaptool::ntfs
