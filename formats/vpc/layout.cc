// SPDX-License-Identifier: Apache-2.0
#include "formats/vpc/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/common/utf16.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"

namespace snaptool::vpc {
namespace {

constexpr std::string_view kCookie = "conectix";
constexpr std::string_view kHeaderCookie = "cxsparse";
constexpr uint32_t kFooterVersion = 0x00010000;
constexpr uint32_t kHeaderVersion = 0x00010000;
constexpr size_t kFooterSumAt = 64;
constexpr size_t kHeaderSumAt = 36;
constexpr size_t kNameAt = 64;
constexpr size_t kNameBytes = 512;
constexpr size_t kLocatorsAt = 576;
constexpr size_t kLocatorBytes = 24;

Error broken(std::string what) { return {ErrorCode::kCorruption, std::move(what)}; }

bool starts_with(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

// The ones' complement of the sum of all bytes but its own.
uint32_t sum_of(std::span<const std::byte> bytes, size_t sum_at) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i < sum_at || i >= sum_at + 4) sum += std::to_integer<uint32_t>(bytes[i]);
  }
  return ~sum;
}

struct Geometry {
  uint64_t cylinders;
  uint64_t heads;
  uint64_t sectors;
};

// As the specification computes it, from the image's sectors.
Geometry geometry_of(uint64_t sectors) {
  sectors = std::min<uint64_t>(sectors, uint64_t{65535} * 16 * 255);
  if (sectors >= uint64_t{65535} * 16 * 63) return {sectors / 255 / 16, 16, 255};
  uint64_t per_track = 17;
  uint64_t tracks = sectors / per_track;
  uint64_t heads = std::max<uint64_t>(4, (tracks + 1023) / 1024);
  if (tracks >= heads * 1024 || heads > 16) {
    heads = 16;
    per_track = sectors / 31 < heads * 1024 ? 31 : 63;
    tracks = sectors / per_track;
  }
  return {tracks / heads, heads, per_track};
}

// The last part of a path of Windows.
std::string base_name(const std::string& path) {
  return path.substr(path.find_last_of("\\/:") + 1);
}

std::optional<Locator> locator_at(std::span<const std::byte> bytes) {
  Locator locator;
  locator.code.assign(reinterpret_cast<const char*>(bytes.data()), 4);
  locator.length = load_be<uint32_t>(bytes.data() + 8);
  locator.offset = load_be<uint64_t>(bytes.data() + 16);
  if (load_be<uint32_t>(bytes.data()) == 0 || locator.length == 0) return std::nullopt;
  return locator;
}

Result<void> check(const Header& header, const Footer& footer) {
  if (!std::has_single_bit(header.block_size) || header.block_size < kSectorSize ||
      header.block_size > 256 * kMiB) {
    return broken(fmt::format("its blocks of {} bytes are impossible", header.block_size));
  }
  if (header.table_offset % kSectorSize != 0 || header.table_offset > kMaxFileSize) {
    return broken(fmt::format("its table at byte {} is impossible", header.table_offset));
  }
  if (header.blocks < div_round_up(footer.size, header.block_size)) {
    return broken(fmt::format("{} blocks of {} bytes are less than its {} bytes", header.blocks,
                              header.block_size, footer.size));
  }
  return {};
}

}  // namespace

std::string_view type_name(Type type) {
  switch (type) {
    case Type::kFixed:
      return "fixed";
    case Type::kDynamic:
      return "dynamic";
    case Type::kDifferencing:
      return "differencing";
  }
  return "unknown";
}

bool has_cookie(std::span<const std::byte> bytes) { return starts_with(bytes, kCookie); }

Result<Footer> parse_footer(std::span<const std::byte> bytes) {
  SNAP_CHECK(bytes.size() == kFooterBytes);
  const auto number = [&](size_t at) { return load_be<uint32_t>(bytes.data() + at); };
  if (!has_cookie(bytes)) return broken("it is no VHD image: the magic is missing");
  if (number(12) >> 16U != kFooterVersion >> 16U) {
    return Error(ErrorCode::kUnsupported, fmt::format("version {}.{} of VHD is not read",
                                                      number(12) >> 16U, number(12) & 0xffffU));
  }
  const uint32_t type = number(60);
  if (type < 2 || type > 4) {
    return Error(ErrorCode::kUnsupported, fmt::format("VHD's type {} is not read", type));
  }
  Footer footer;
  footer.type = static_cast<Type>(type);
  footer.header_offset = load_be<uint64_t>(bytes.data() + 16);
  footer.time = number(24);
  footer.creator.assign(reinterpret_cast<const char*>(bytes.data() + 28), 4);
  footer.size = load_be<uint64_t>(bytes.data() + 48);
  footer.sectors = uint64_t{load_be<uint16_t>(bytes.data() + 56)} *
                   std::to_integer<uint64_t>(bytes[58]) * std::to_integer<uint64_t>(bytes[59]);
  footer.uuid = uuid_at(bytes, 68);
  footer.sum_is_right = number(kFooterSumAt) == sum_of(bytes, kFooterSumAt);
  if (footer.size > kMaxFileSize) {
    return broken(fmt::format("its size of {} bytes is impossible", footer.size));
  }
  return footer;
}

std::vector<std::byte> encode_footer(const Footer& footer) {
  std::vector<std::byte> bytes(kFooterBytes);
  const auto put = [&](size_t at, uint32_t value) { store_be(bytes.data() + at, value); };
  std::memcpy(bytes.data(), kCookie.data(), kCookie.size());
  put(8, 2);  // no features
  put(12, kFooterVersion);
  store_be(bytes.data() + 16, footer.type == Type::kFixed ? UINT64_MAX : footer.header_offset);
  put(24, footer.time);
  std::memcpy(bytes.data() + 28, footer.creator.data(), 4);
  put(32, 0x000a0000);
  std::memcpy(bytes.data() + 36, "Wi2k", 4);
  store_be(bytes.data() + 40, footer.size);
  store_be(bytes.data() + 48, footer.size);
  const Geometry geometry = geometry_of(footer.size / kSectorSize);
  store_be(bytes.data() + 56, static_cast<uint16_t>(geometry.cylinders));
  bytes[58] = static_cast<std::byte>(geometry.heads);
  bytes[59] = static_cast<std::byte>(geometry.sectors);
  put(60, static_cast<uint32_t>(footer.type));
  std::copy(footer.uuid.begin(), footer.uuid.end(), bytes.begin() + 68);
  put(kFooterSumAt, sum_of(bytes, kFooterSumAt));
  return bytes;
}

std::vector<std::byte> with_uuid(std::span<const std::byte> footer, const Uuid& uuid) {
  std::vector<std::byte> bytes(footer.begin(), footer.end());
  std::copy(uuid.begin(), uuid.end(), bytes.begin() + 68);
  store_be(bytes.data() + kFooterSumAt, sum_of(bytes, kFooterSumAt));
  return bytes;
}

Result<Header> parse_header(std::span<const std::byte> bytes, const Footer& footer) {
  SNAP_CHECK(bytes.size() == kHeaderBytes);
  const auto number = [&](size_t at) { return load_be<uint32_t>(bytes.data() + at); };
  if (!starts_with(bytes, kHeaderCookie)) {
    return broken("the header of its blocks is not there: the magic is missing");
  }
  if (number(kHeaderSumAt) != sum_of(bytes, kHeaderSumAt)) {
    return broken("the header of its blocks has a wrong sum");
  }
  Header header;
  header.table_offset = load_be<uint64_t>(bytes.data() + 16);
  header.blocks = number(28);
  header.block_size = number(32);
  header.parent = uuid_at(bytes, 40);
  header.parent_name = base_name(utf8_of_utf16(bytes.subspan(kNameAt, kNameBytes), true));
  for (size_t i = 0; i < kLocators; ++i) {
    auto locator = locator_at(bytes.subspan(kLocatorsAt + i * kLocatorBytes, kLocatorBytes));
    if (locator) header.locators.push_back(*std::move(locator));
  }
  SNAP_TRY(check(header, footer));
  return header;
}

std::vector<std::byte> encode_header(const Header& header) {
  std::vector<std::byte> bytes(kHeaderBytes);
  const auto put = [&](size_t at, uint64_t value) {
    store_be(bytes.data() + at, static_cast<uint32_t>(value));
  };
  std::memcpy(bytes.data(), kHeaderCookie.data(), kHeaderCookie.size());
  store_be(bytes.data() + 8, UINT64_MAX);
  store_be(bytes.data() + 16, header.table_offset);
  put(24, kHeaderVersion);
  put(28, header.blocks);
  put(32, header.block_size);
  put(kHeaderSumAt, sum_of(bytes, kHeaderSumAt));
  return bytes;
}

std::optional<std::string> decode_locator(const Locator& locator,
                                          std::span<const std::byte> bytes) {
  std::string name;
  if (locator.code == "W2ru") {
    name = utf8_of_utf16(bytes, false);
    std::replace(name.begin(), name.end(), '\\', '/');
    if (name.starts_with("./")) name.erase(0, 2);
    if (name.starts_with('/') || name.find(':') != std::string::npos) name = base_name(name);
  } else if (locator.code == "W2ku") {
    name = base_name(utf8_of_utf16(bytes, false));
  } else if (locator.code == "MacX") {
    name.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    name = name.substr(0, name.find('\0'));
    if (!name.starts_with("file://")) return std::nullopt;
    name.erase(0, 7);
    if (name.starts_with("./")) name.erase(0, 2);
  }
  if (name.empty()) return std::nullopt;
  return name;
}

std::string identity_of(const Uuid& uuid) {
  return fmt::format("UUID {}", uuid_text(uuid, UuidOrder::kNetwork));
}

}  // namespace snaptool::vpc
