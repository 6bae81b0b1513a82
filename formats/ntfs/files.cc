// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/files.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "formats/common/file_facts.h"
#include "formats/common/utf16.h"
#include "libsnap/base/endian.h"

namespace snaptool::ntfs {
namespace {

using access::NodeType;

constexpr size_t kMostMetadataBytes = 64 * kKiB;
constexpr size_t kMostTargetBytes = 64 * kKiB;
// How it is stored, not what it is.
constexpr uint32_t kStorageBits = kDosSparse | kDosCompressed;

constexpr std::array kIndexName = {std::byte{'$'}, std::byte{0}, std::byte{'I'}, std::byte{0},
                                   std::byte{'3'}, std::byte{0}, std::byte{'0'}, std::byte{0}};
constexpr std::string_view kEfsName{"$\0E\0F\0S\0", 8};

Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// What of a file counts as metadata, and is not in its standard information.
bool is_metadata(const Stream& stream) {
  switch (stream.type) {
    case kObjectId:
    case kSecurityDescriptor:
    case kReparsePoint:
    case kExtendedAttributes:
      return true;
    case kLoggedStream:
      return stream.name == kEfsName;
    default:
      return false;
  }
}

uint16_t hash_of(const std::string& name) {
  const uint64_t sum = bytes_sum(bytes_of(name), 1);
  const auto hash = static_cast<uint16_t>(sum ^ sum >> 16U ^ sum >> 32U ^ sum >> 48U);
  return hash == 0 ? 1 : hash;
}

// The next one that is free, and never 0. What was passed over is not passed over again.
uint16_t free_number(uint16_t wanted, std::unordered_map<uint16_t, uint16_t>& next) {
  uint16_t number = wanted;
  for (auto at = next.find(number); at != next.end(); at = next.find(number)) number = at->second;
  auto after = static_cast<uint16_t>(number + 1);
  if (after == 0) after = 1;
  for (uint16_t at = wanted; at != number;) at = std::exchange(next[at], after);
  next[number] = after;
  return number;
}

}  // namespace

Bytes folder_index_name() { return kIndexName; }

const Stream* KnownFile::content() const {
  if (!file->is_folder) return file->find(kData);
  const Stream* const blocks = file->find(kIndexAllocation, kIndexName);
  return blocks != nullptr ? blocks : file->find(kIndexRoot, kIndexName);
}

const Alternate* KnownFile::alternate(uint16_t number) const {
  const auto found = by_number.find(number);
  return found == by_number.end() ? nullptr : &alternates[found->second];
}

bool KnownFile::has_windows_name(uint64_t parent) const {
  return std::binary_search(windows_parents.begin(), windows_parents.end(), parent);
}

bool KnownFile::has_name(uint64_t parent, Bytes raw) const {
  return std::any_of(names.begin(), names.end(), [&](const NameOfFile& one) {
    return one.parent.id == parent && std::ranges::equal(bytes_of(one.raw), raw);
  });
}

Result<std::shared_ptr<const KnownFile>> Files::get(uint64_t id) {
  auto& recent = recent_[id % recent_.size()];
  if (recent && recent->file->id == id) return recent;
  auto known = std::make_shared<KnownFile>();
  SNAP_ASSIGN(known->file, load_file(volume_, id));
  const Stream* const standard = known->file->find(kStandardInformation);
  if (standard != nullptr && standard->is_resident) {
    SNAP_ASSIGN(const std::vector<std::byte> value, value_of(volume_, *standard));
    SNAP_ASSIGN(known->info, parse_standard(value, id));
  }
  SNAP_TRY(learn_names(*known));
  SNAP_TRY(learn_type(*known));
  SNAP_TRY(learn_sum(*known));
  number_alternates(*known);
  recent = std::move(known);
  return recent;
}

Result<void> Files::learn_names(KnownFile& known) {
  for (const Stream& stream : known.file->streams) {
    if (stream.type != kFileName || !stream.is_resident) continue;
    SNAP_ASSIGN(const std::vector<std::byte> value, value_of(volume_, stream));
    SNAP_ASSIGN(const FileName name, parse_file_name(value));
    known.names.push_back(
        {name.parent, name.space,
         std::string(reinterpret_cast<const char*>(name.name.data()), name.name.size())});
    if (name.space == kWindowsName) known.windows_parents.push_back(name.parent.id);
  }
  std::sort(known.windows_parents.begin(), known.windows_parents.end());
  for (const NameOfFile& one : known.names) {
    if (one.space != kDosName || !known.has_windows_name(one.parent.id)) ++known.links;
  }
  return {};
}

Result<void> Files::learn_type(KnownFile& known) {
  known.type = known.file->is_folder ? NodeType::kFolder : NodeType::kFile;
  const uint32_t dos = known.info ? known.info->dos : 0;
  const Stream* const point = known.file->find(kReparsePoint);
  if (point == nullptr) return (dos & kDosSystem) != 0 ? learn_interix(known) : Result<void>();
  SNAP_ASSIGN(const std::vector<std::byte> value, reader_.read_all(*point, kMostReparseBytes + 8));
  auto reparse = parse_reparse(value, dos);
  if (!reparse) {
    return std::move(reparse).error().with_context(fmt::format("record {}", known.file->id));
  }
  if (reparse->type) known.type = *reparse->type;
  known.target = std::move(reparse->target);
  known.elsewhere = reparse->elsewhere;
  return {};
}

Result<void> Files::learn_interix(KnownFile& known) {
  const Stream* const data = known.file->find(kData);
  if (known.file->is_folder || known.file->id < kFirstUserRecord || data == nullptr ||
      data->size < 8 || data->size > kMostTargetBytes || (data->flags & kIsEncrypted) != 0 ||
      (data->flags & kIsCompressed) > 1) {
    return {};
  }
  std::array<std::byte, 8> magic{};
  std::optional<NodeType> type;
  SNAP_TRY(reader_.read(*data, 0, magic));
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), 4) != "Intx") return {};
  SNAP_ASSIGN(const std::vector<std::byte> content, reader_.read_all(*data, kMostTargetBytes));
  known.target = parse_interix(content, type);
  if (type) known.type = *type;
  return {};
}

Result<void> Files::learn_sum(KnownFile& known) {
  std::array<std::byte, 12> standard{};
  if (known.info) {
    store_le(standard.data(), known.info->dos & ~kStorageBits);
    store_le(standard.data() + 4, known.info->owner);
    store_le(standard.data() + 8, known.info->security);
  }
  known.metadata_sum = bytes_sum(standard, kStandardInformation);
  for (const Stream& stream : known.file->streams) {
    if (!is_metadata(stream)) continue;
    SNAP_ASSIGN(const std::vector<std::byte> value, reader_.read_all(stream, kMostMetadataBytes));
    known.metadata_sum += bytes_sum(value, stream.type);
  }
  for (const NameOfFile& one : known.names) {
    if (one.space == kDosName && known.has_windows_name(one.parent.id)) {
      known.metadata_sum += bytes_sum(bytes_of(one.raw), kFileName);
    }
  }
  return {};
}

// They lie in order of their names already, as UTF-16 has them.
void Files::number_alternates(KnownFile& known) {
  std::unordered_map<uint16_t, uint16_t> next;
  for (const Stream& stream : known.file->streams) {
    if (stream.type != kData || stream.name.empty()) continue;
    std::string name = wtf8_of_utf16(bytes_of(stream.name));
    if (!is_sound_name(name)) {
      known.has_bad_stream_name = true;
      continue;
    }
    const uint16_t number = free_number(hash_of(stream.name), next);
    known.by_number.emplace(number, known.alternates.size());
    known.alternates.push_back({number, &stream, std::move(name)});
  }
}

}  // namespace snaptool::ntfs
