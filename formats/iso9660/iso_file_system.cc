// SPDX-License-Identifier: Apache-2.0
#include "formats/iso9660/iso_file_system.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/common/file_facts.h"
#include "formats/iso9660/folders.h"
#include "formats/iso9660/zisofs.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"

namespace snaptool::iso9660 {
namespace {

using access::FileEntry;
using access::FileNode;
using access::FileRun;
using access::FileSystem;
using access::NodeType;
using access::SpaceKind;

// All that is known of a record's file.
struct File {
  Listed listed;
  RockRidge rock;
  NodeType type = NodeType::kOther;
  uint64_t size = 0;
  FolderPlace folder;  // of a folder

  uint64_t id() const { return listed.record.at; }
};
using KnownFile = std::shared_ptr<const File>;

// Why the content cannot be read, if so.
std::optional<Error> refusal(const File& file) {
  if (file.listed.unreadable) return file.listed.unreadable;
  if (file.rock.sparse_size()) {
    return Error(ErrorCode::kUnsupported, "it is a sparse file of Rock Ridge, which is not read");
  }
  if (file.rock.has_unknown_packing()) {
    return Error(ErrorCode::kUnsupported, "it is packed in a way that is not read");
  }
  return std::nullopt;
}

class IsoFileSystem : public FileSystem {
 public:
  IsoFileSystem(Image& image, const Cancel& cancel) : volume_(image, cancel), folders_(volume_) {}
  Result<void> open();

  std::string_view type() const override { return "iso9660"; }
  std::string label() const override { return volume_.descriptor().label; }
  std::string uuid() const override { return volume_.uuid(); }
  uint64_t block_size() const override { return volume_.block_bytes(); }
  uint64_t size() const override { return volume_.size(); }
  const std::vector<std::string>& warnings() const override { return volume_.warnings(); }
  uint64_t root() const override { return volume_.descriptor().root.at; }
  bool has_stable_ids() const override { return false; }

  Result<FileNode> node(uint64_t id) override;
  Result<void> visit_nodes(const std::function<Result<void>(const FileNode&)>& visit) override;
  Result<void> visit_ids_at(uint64_t offset, uint64_t length,
                            const std::function<Result<void>(uint64_t id)>& visit) override;
  Result<void> visit_runs(const FileNode& node,
                          const std::function<Result<void>(const FileRun&)>& visit) override;
  Result<void> visit_entries(const FileNode& folder, bool deleted,
                             const std::function<Result<void>(const FileEntry&)>& visit) override;
  Result<void> read(const FileNode& node, uint64_t offset, std::span<std::byte> out) override;
  Result<std::string> target(const FileNode& link) override;
  Result<std::pair<SpaceKind, uint64_t>> space_at(uint64_t offset) override;

 private:
  using VisitFile = std::function<Result<bool>(const KnownFile&)>;

  Result<KnownFile> file_of(uint64_t id);
  Result<KnownFile> root_file();
  Result<KnownFile> load(Listed listed, std::string* name = nullptr);
  Result<void> settle_type(File& file);
  Result<void> follow_child(File& file);
  Result<void> settle_folder(File& file);
  std::string name_of(const Record& record, const RockRidge& rock) const;
  Result<FileNode> node_of(const File& file);
  Result<uint64_t> metadata_sum(const File& file);
  Result<void> walk(Damage& damage, const VisitFile& visit);
  Result<void> visit_listed(const FolderPlace& place, Damage& damage,
                            const std::function<Result<void>(const FileEntry&)>& visit);
  Result<void> read_sections(const File& file, uint64_t offset, std::span<std::byte> out);
  Result<ZisofsFile*> unpacked(const KnownFile& file);

  Volume volume_;
  Folders folders_;
  KnownFile last_;  // what was asked for last
  uint64_t unpacked_id_ = 0;
  std::unique_ptr<ZisofsFile> unpacked_;  // of the file with that id
};

Result<void> IsoFileSystem::open() {
  SNAP_TRY(volume_.open());
  // So that what is odd in all of an image is known before anything is read of it.
  const auto root = root_file();
  if (!root) {
    if (root.error().code() == ErrorCode::kCorruption) return {};  // whoever lists it is told
    return root.error();
  }
  SNAP_TRY(folders_.claim((*root)->folder));
  Damage ignored;
  return folders_.visit((*root)->folder, (*root)->folder.start, ignored,
                        [](Listed& /*file*/) -> Result<bool> { return true; });
}

Result<KnownFile> IsoFileSystem::root_file() {
  auto file = std::make_shared<File>();
  file->listed.record = volume_.descriptor().root;
  file->type = NodeType::kFolder;
  SNAP_TRY(settle_folder(*file));
  std::array<std::byte, kMostRecordBytes> bytes{};
  const FolderPlace& place = file->folder;
  const auto there = std::span(bytes).first(std::min<uint64_t>(bytes.size(), file->size));
  SNAP_TRY(volume_.pages().read(place.start, there));
  const auto self = parse_record(there, place.start);
  // What lists it tells of what is wrong with it.
  if (self && self->is_self()) {
    const auto done = volume_.read_rock_ridge(*self, true, file->rock);
    if (!done && done.error().code() != ErrorCode::kCorruption) return done.error();
  }
  return file;
}

std::string IsoFileSystem::name_of(const Record& record, const RockRidge& rock) const {
  std::string name = rock.name()                      ? *rock.name()
                     : volume_.descriptor().is_joliet ? joliet_name(record.name())
                                                      : plain_name(record.name());
  if ((record.flags & kAssociated) != 0) name += ":associated";
  return name;
}

// `name`: what is known of it even where the rest is damaged.
Result<KnownFile> IsoFileSystem::load(Listed listed, std::string* name) {
  auto file = std::make_shared<File>();
  file->listed = std::move(listed);
  const auto done = volume_.read_rock_ridge(file->listed.record, false, file->rock);
  if (name != nullptr) *name = name_of(file->listed.record, file->rock);
  if (!done) return done.error();
  file->size = file->listed.size;
  SNAP_TRY(settle_type(*file));
  return file;
}

Result<void> IsoFileSystem::settle_type(File& file) {
  const Record& record = file.listed.record;
  if (file.rock.is_relocated()) return {};  // it is another name's
  if (file.rock.child()) return follow_child(file);
  file.type = record.is_folder() ? NodeType::kFolder : NodeType::kFile;
  if (const auto& owner = file.rock.owner(); owner && owner->mode >> 12U != 0) {
    file.type = type_of_mode(owner->mode);
  }
  if (record.is_folder() != (file.type == NodeType::kFolder)) {
    return damaged(
        fmt::format("the file at byte {} is a folder by its record, or by its mode, not "
                    "by both",
                    record.at));
  }
  if (file.type == NodeType::kFolder) return settle_folder(file);
  if (file.type == NodeType::kLink) {
    file.size = file.rock.target().value_or("").size();
  } else if (file.type != NodeType::kFile) {
    file.size = 0;
  } else if (file.rock.sparse_size()) {
    file.size = *file.rock.sparse_size();
  } else if (file.rock.zisofs()) {
    file.size = file.rock.zisofs()->size;
  }
  return {};
}

// A folder that lies elsewhere, since it would be too deep here. What it says of itself counts.
Result<void> IsoFileSystem::follow_child(File& file) {
  const uint64_t at = uint64_t{*file.rock.child()} * volume_.block_bytes();
  std::array<std::byte, kMostRecordBytes> bytes{};
  SNAP_TRY(volume_.pages().read(at, bytes));
  SNAP_ASSIGN(const Record self, parse_record(bytes, at));
  if (!self.is_self() || !self.is_folder()) {
    return damaged(fmt::format("the file at byte {} leads to byte {}, where there is no folder",
                               file.id(), at));
  }
  RockRidge rock;
  SNAP_TRY(volume_.read_rock_ridge(self, false, rock));
  const uint64_t id = file.id();
  file.listed.record = self;
  SNAP_TRY(settle_folder(file));
  file.listed.record.at = id;
  file.folder.id = id;
  file.rock = std::move(rock);
  file.type = NodeType::kFolder;
  return {};
}

Result<void> IsoFileSystem::settle_folder(File& file) {
  Record& record = file.listed.record;
  // None of this is allowed of folders.
  const Descriptor& descriptor = volume_.descriptor();
  const bool is_elsewhere = descriptor.volumes > 1 && record.volume != descriptor.volume;
  if (file.listed.sections.size() > 1 || record.is_interleaved() || is_elsewhere) {
    return damaged(fmt::format("the folder of the record at byte {} is in {}", record.at,
                               is_elsewhere ? "another volume" : "several pieces"));
  }
  SNAP_ASSIGN(const uint64_t place, volume_.place_of(record));
  file.size = record.size;
  file.listed.size = record.size;
  file.listed.sections.assign(record.size > 0 ? 1 : 0, {place, record.size});
  file.folder = {place, place + record.size, record.at};
  return {};
}

Result<KnownFile> IsoFileSystem::file_of(uint64_t id) {
  if (last_ && last_->id() == id) return last_;
  if (id == root()) {
    SNAP_ASSIGN(last_, root_file());
    return last_;
  }
  if (!folders_.find(id)) {
    // It is in no folder that was come to: is it in one of the others?
    Damage ignored;
    SNAP_TRY(walk(
        ignored, [&](const KnownFile&) -> Result<bool> { return !folders_.find(id).has_value(); }));
  }
  const auto place = folders_.find(id);
  if (place) {
    SNAP_ASSIGN(std::optional<Listed> listed, folders_.find_file(*place, id));
    if (listed) {
      SNAP_ASSIGN(KnownFile file, load(std::move(*listed)));
      if (!file->rock.is_relocated()) {
        last_ = file;
        return file;
      }
    }
  }
  return Error(ErrorCode::kNotFound, fmt::format("there is no directory record at byte {}", id));
}

Result<FileNode> IsoFileSystem::node(uint64_t id) {
  SNAP_ASSIGN(const KnownFile file, file_of(id));
  return node_of(*file);
}

Result<FileNode> IsoFileSystem::node_of(const File& file) {
  FileNode node;
  node.id = file.id();
  node.type = file.type;
  node.size = file.size;
  if (const auto& owner = file.rock.owner()) {
    node.mode = owner->mode & 0xfffU;
    node.owner = owner->user;
    node.group = owner->group;
    node.links = owner->links;
  }
  node.modified = file.rock.modified() ? file.rock.modified() : file.listed.record.time;
  node.changed = file.rock.changed();
  node.accessed = file.rock.accessed();
  node.created = file.rock.created();
  SNAP_ASSIGN(node.metadata_sum, metadata_sum(file));
  return node;
}

Result<uint64_t> IsoFileSystem::metadata_sum(const File& file) {
  const Record& record = file.listed.record;
  uint64_t sum = file.rock.sum() + (record.flags & (kHidden | kHasRecords | kProtected));
  if (!volume_.rules().has_rock_ridge && !is_all_zero(record.system_use())) {
    sum += bytes_sum(record.system_use(), 1);
  }
  if (record.attribute_blocks > 0) {
    // Owner, permissions, times and the kind of records; what programs added may go on behind it.
    std::array<std::byte, 512> attributes{};
    SNAP_TRY(volume_.pages().read(uint64_t{record.block} * volume_.block_bytes(), attributes));
    sum += bytes_sum(attributes, 1);
  }
  return sum;
}

// Every folder once, and all that is in it, until visit says that it is enough.
Result<void> IsoFileSystem::walk(Damage& damage, const VisitFile& visit) {
  volume_.reset_limit();
  SNAP_ASSIGN(const KnownFile root, root_file());
  SNAP_ASSIGN(bool goes_on, visit(root));
  std::vector<FolderPlace> ahead;
  const auto enter = [&](const File& file) -> Result<void> {
    auto claimed = folders_.claim(file.folder);
    if (!claimed) return damage.note(std::move(claimed));
    ahead.push_back(file.folder);
    return {};
  };
  SNAP_TRY(enter(*root));
  while (!ahead.empty() && goes_on) {
    const FolderPlace place = ahead.back();
    ahead.pop_back();
    SNAP_TRY(folders_.visit(place, place.start, damage, [&](Listed& listed) -> Result<bool> {
      const auto file = load(std::move(listed));
      if (!file) {
        SNAP_TRY(damage.note(file.error()));
        return true;
      }
      if ((*file)->rock.is_relocated()) return true;
      SNAP_ASSIGN(goes_on, visit(*file));
      if ((*file)->type == NodeType::kFolder) SNAP_TRY(enter(**file));
      return goes_on;
    }));
  }
  return {};
}

Result<void> IsoFileSystem::visit_nodes(const std::function<Result<void>(const FileNode&)>& visit) {
  Damage damage;
  SNAP_TRY(walk(damage, [&](const KnownFile& file) -> Result<bool> {
    last_ = file;
    const auto node = node_of(*file);
    SNAP_TRY(node ? visit(*node) : damage.note(node.error()));
    return true;
  }));
  return damage.result();
}

Result<void> IsoFileSystem::visit_ids_at(
    uint64_t /*offset*/, uint64_t /*length*/,
    const std::function<Result<void>(uint64_t id)>& /*visit*/) {
  return Error(ErrorCode::kUnsupported, "ISO 9660 has no numbers of files that stay");
}

Result<void> IsoFileSystem::visit_entries(
    const FileNode& folder, bool /*deleted*/,
    const std::function<Result<void>(const FileEntry&)>& visit) {
  if (folder.id == root()) volume_.reset_limit();
  SNAP_ASSIGN(const KnownFile file, file_of(folder.id));
  if (folder.type != NodeType::kFolder || file->type != NodeType::kFolder) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("what the record at byte {} names is no folder", folder.id));
  }
  SNAP_TRY(folders_.claim(file->folder));
  Damage damage;
  SNAP_TRY(visit_listed(file->folder, damage, visit));
  return damage.result();
}

Result<void> IsoFileSystem::visit_listed(
    const FolderPlace& place, Damage& damage,
    const std::function<Result<void>(const FileEntry&)>& visit) {
  return folders_.visit(place, place.start, damage, [&](Listed& listed) -> Result<bool> {
    FileEntry entry;
    entry.id = listed.record.at;
    entry.type = listed.record.is_folder() ? NodeType::kFolder : NodeType::kFile;
    const auto file = load(std::move(listed), &entry.name);
    if (file) {
      if ((*file)->rock.is_relocated()) return true;
      entry.type = (*file)->type;
      last_ = *file;
    } else {
      SNAP_TRY(damage.note(file.error()));
    }
    if (!is_sound_name(entry.name)) {
      damage.add(fmt::format("the directory record at byte {} has an impossible name", entry.id));
      return true;
    }
    SNAP_TRY(visit(entry));
    return true;
  });
}

Result<void> IsoFileSystem::visit_runs(const FileNode& node,
                                       const std::function<Result<void>(const FileRun&)>& visit) {
  SNAP_ASSIGN(const KnownFile file, file_of(node.id));
  if (file->size == 0) return {};
  const bool is_packed = file->type == NodeType::kFile && file->rock.zisofs();
  if (file->type != NodeType::kFile && file->type != NodeType::kFolder) {
    return visit({0, file->size, std::nullopt});
  }
  if (auto refused = refusal(*file)) return *std::move(refused);
  if (is_packed) {
    SNAP_TRY(unpacked(file));
    return visit({0, file->size, std::nullopt});
  }
  uint64_t offset = 0;
  for (const Listed::Section& section : file->listed.sections) {
    SNAP_TRY(visit({offset, section.length, section.place}));
    offset += section.length;
  }
  return {};
}

Result<void> IsoFileSystem::read(const FileNode& node, uint64_t offset, std::span<std::byte> out) {
  if (out.empty()) return {};
  SNAP_ASSIGN(const KnownFile file, file_of(node.id));
  SNAP_CHECK(offset <= file->size && out.size() <= file->size - offset);
  if (file->type == NodeType::kLink) {
    std::memcpy(out.data(), file->rock.target()->data() + offset, out.size());
    return {};
  }
  if (auto refused = refusal(*file)) return *std::move(refused);
  if (file->type == NodeType::kFile && file->rock.zisofs()) {
    SNAP_ASSIGN(ZisofsFile* const packed, unpacked(file));
    return packed->read(offset, out);
  }
  return read_sections(*file, offset, out);
}

Result<void> IsoFileSystem::read_sections(const File& file, uint64_t offset,
                                          std::span<std::byte> out) {
  uint64_t start = 0;  // of the section, in the file
  for (const Listed::Section& section : file.listed.sections) {
    if (out.empty()) return {};
    const uint64_t end = start + section.length;
    if (offset < end) {
      SNAP_TRY(volume_.pages().poll());
      const auto piece = out.first(std::min<uint64_t>(out.size(), end - offset));
      SNAP_TRY(volume_.pages().read_data(section.place + (offset - start), piece));
      out = out.subspan(piece.size());
      offset += piece.size();
    }
    start = end;
  }
  if (out.empty()) return {};
  return damaged(fmt::format("the content of the file at byte {} ends at {}", file.id(), start));
}

// Errors: those of ZisofsFile.
Result<ZisofsFile*> IsoFileSystem::unpacked(const KnownFile& file) {
  if (!unpacked_ || unpacked_id_ != file->id()) {
    unpacked_.reset();
    const auto read = [this, file](uint64_t at, std::span<std::byte> into) {
      return read_sections(*file, at, into);
    };
    SNAP_ASSIGN(unpacked_, ZisofsFile::open(read, file->listed.size, *file->rock.zisofs()));
    unpacked_id_ = file->id();
  }
  return unpacked_.get();
}

Result<std::string> IsoFileSystem::target(const FileNode& link) {
  SNAP_ASSIGN(const KnownFile file, file_of(link.id));
  if (link.type != NodeType::kLink || file->type != NodeType::kLink) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("what the record at byte {} names is no link", link.id));
  }
  if (file->rock.has_odd_target()) {
    return Error(ErrorCode::kUnsupported, "the link leads to another volume, or another machine");
  }
  if (!file->rock.target() || file->rock.target()->empty()) {
    return damaged(fmt::format("the link at byte {} leads nowhere", link.id));
  }
  return *file->rock.target();
}

Result<std::pair<SpaceKind, uint64_t>> IsoFileSystem::space_at(uint64_t offset) {
  if (offset >= size()) return std::pair(SpaceKind::kFree, UINT64_MAX);
  const auto [is_metadata, end] = volume_.metadata_at(offset);
  return std::pair(is_metadata ? SpaceKind::kMetadata : SpaceKind::kFile, end);
}

}  // namespace

Result<std::unique_ptr<FileSystem>> open(Image& image, const Cancel& cancel) {
  auto file_system = std::make_unique<IsoFileSystem>(image, cancel);
  SNAP_TRY(file_system->open());
  return file_system;
}

}  // namespace snaptool::iso9660
