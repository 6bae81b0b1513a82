// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/reparse.h"

#include <array>
#include <cstring>

#include "formats/common/utf16.h"
#include "libsnap/base/endian.h"

namespace snaptool::ntfs {
namespace {

using namespace std::string_view_literals;
using access::NodeType;

constexpr size_t kReparseHead = 8;
constexpr uint32_t kMountPoint = 0xa0000003;
constexpr uint32_t kSymlink = 0xa000000c;
constexpr uint32_t kLxSymlink = 0xa000001d;
constexpr uint32_t kNfs = 0x80000014;

struct ElsewhereTag {
  uint32_t tag;
  std::string_view what;
};
constexpr std::array kElsewhere = {
    ElsewhereTag{0x80000017, "is compressed by Windows' overlay filter (WOF)"},
    ElsewhereTag{0x80000013, "is deduplicated"},
    ElsewhereTag{0x80000007, "is in the single instance store"},
    ElsewhereTag{0xc0000004, "lies in remote storage (HSM)"},
    ElsewhereTag{0x80000006, "lies in remote storage (HSM)"},
};
constexpr uint32_t kCloud = 0x9000001a;
constexpr uint32_t kCloudMask = 0xffff0fff;

struct SpecialTag {
  uint32_t tag;
  NodeType type;
};
constexpr std::array kSpecial = {
    SpecialTag{0x80000023, NodeType::kSocket},
    SpecialTag{0x80000024, NodeType::kFifo},
    SpecialTag{0x80000025, NodeType::kCharacterDevice},
    SpecialTag{0x80000026, NodeType::kBlockDevice},
};

std::string plain_path(std::string path) {
  if (path.starts_with("\\??\\"sv)) path.erase(0, 4);
  return path;
}

// What is shown of it, or else what Windows follows. `at`: where the names lie.
std::optional<std::string> windows_target(Bytes data, size_t at) {
  if (data.size() < at) return std::nullopt;
  const Bytes names = data.subspan(at);
  const auto name = [&](size_t field) -> std::optional<std::string> {
    const size_t offset = load_le<uint16_t>(data.data() + field);
    const size_t length = load_le<uint16_t>(data.data() + field + 2);
    if (offset > names.size() || length > names.size() - offset || length % 2 != 0) {
      return std::nullopt;
    }
    return wtf8_of_utf16(names.subspan(offset, length));
  };
  const auto shown = name(4);
  if (!shown || !shown->empty()) return shown;
  const auto followed = name(0);
  return followed && !followed->empty() ? std::optional(plain_path(*followed)) : std::nullopt;
}

std::optional<std::string> linux_target(Bytes data) {
  constexpr size_t kVersion = 4;
  if (data.size() <= kVersion || load_le<uint32_t>(data.data()) != 2) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(data.data()) + kVersion, data.size() - kVersion);
}

// What Windows' server for NFS makes of a client's special files.
void parse_nfs(Bytes data, Reparse& reparse) {
  if (data.size() < 8) return;
  const std::string_view kind(reinterpret_cast<const char*>(data.data()), 8);
  if (kind == "LNK\0\0\0\0\0"sv) {
    reparse.type = NodeType::kLink;
    reparse.target = wtf8_of_utf16(data.subspan(8));
  }
  if (kind == "CHR\0\0\0\0\0"sv) reparse.type = NodeType::kCharacterDevice;
  if (kind == "BLK\0\0\0\0\0"sv) reparse.type = NodeType::kBlockDevice;
  if (kind == "FIFO\0\0\0\0"sv) reparse.type = NodeType::kFifo;
  if (kind == "SOCK\0\0\0\0"sv) reparse.type = NodeType::kSocket;
}

}  // namespace

Result<Reparse> parse_reparse(Bytes value, uint32_t dos) {
  Reparse reparse;
  const size_t length = value.size() >= kReparseHead ? load_le<uint16_t>(value.data() + 4) : 0;
  if (value.size() < kReparseHead || length > value.size() - kReparseHead) {
    return damaged("a reparse point is cut");
  }
  reparse.tag = load_le<uint32_t>(value.data());
  const Bytes data = value.subspan(kReparseHead, length);
  if (reparse.tag == kSymlink || reparse.tag == kMountPoint) {
    reparse.type = NodeType::kLink;
    reparse.target = windows_target(data, reparse.tag == kSymlink ? 12 : 8);
  } else if (reparse.tag == kLxSymlink) {
    reparse.type = NodeType::kLink;
    reparse.target = linux_target(data);
  } else if (reparse.tag == kNfs) {
    parse_nfs(data, reparse);
  }
  for (const SpecialTag& one : kSpecial) {
    if (one.tag == reparse.tag) reparse.type = one.type;
  }
  for (const ElsewhereTag& one : kElsewhere) {
    if (one.tag == reparse.tag) reparse.elsewhere = one.what;
  }
  // What of a cloud's file is there is content, unless some of it has to be asked for.
  if ((reparse.tag & kCloudMask) == kCloud && (dos & (kDosOffline | kDosRecallOnAccess)) != 0) {
    reparse.elsewhere = "is not all there, but in a cloud";
  }
  if (reparse.target && reparse.target->empty()) reparse.target.reset();
  return reparse;
}

std::optional<std::string> parse_interix(Bytes content, std::optional<NodeType>& type) {
  if (content.size() < 8) return std::nullopt;
  const std::string_view magic(reinterpret_cast<const char*>(content.data()), 8);
  if (magic == "IntxCHR\0"sv) type = NodeType::kCharacterDevice;
  if (magic == "IntxBLK\0"sv) type = NodeType::kBlockDevice;
  if (magic != "IntxLNK\1"sv || content.size() < 10) return std::nullopt;
  type = NodeType::kLink;
  return wtf8_of_utf16(content.subspan(8));
}

}  // namespace snaptool::ntfs
