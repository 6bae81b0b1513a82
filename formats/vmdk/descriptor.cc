// SPDX-License-Identifier: Apache-2.0
#include "formats/vmdk/descriptor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "formats/vmdk/layout.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/printable.h"

namespace snaptool::vmdk {
namespace {

constexpr std::string_view kBlanks = " \t\r";
constexpr size_t kMostExtents = 4096;
constexpr size_t kMostName = 255;  // bytes, of an extent's file that is made

std::string_view trimmed(std::string_view text) {
  const size_t from = text.find_first_not_of(kBlanks);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kBlanks) - from + 1);
}

// The first word, which is taken off the text.
std::string_view take_word(std::string_view& text) {
  const size_t end = std::min(text.find_first_of(kBlanks), text.size());
  const std::string_view word = text.substr(0, end);
  text = trimmed(text.substr(end));
  return word;
}

// The same of a word in quotes, which stay behind; nullopt: there is none.
std::optional<std::string_view> take_quoted(std::string_view& text) {
  if (text.empty() || text.front() != '"') return std::nullopt;
  const size_t end = text.find('"', 1);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view word = text.substr(1, end - 1);
  text = trimmed(text.substr(end + 1));
  return word;
}

// All of the text as a number.
template <typename T>
std::optional<T> number_in(std::string_view text, int base = 10) {
  T value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool same_key(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

bool is_key(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  });
}

ExtentType type_of(std::string_view name) {
  if (name == "FLAT" || name == "VMFS") return ExtentType::kFlat;
  if (name == "SPARSE" || name == "VMFSSPARSE") return ExtentType::kSparse;
  return name == "ZERO" ? ExtentType::kZero : ExtentType::kOther;
}

// access sectors type ["file name" [start sector [what partitions of devices have]]]
Result<ExtentLine> parse_extent(std::string_view access, std::string_view rest) {
  ExtentLine line;
  line.readable = access != "NOACCESS";
  const auto sectors = number_in<uint64_t>(take_word(rest));
  if (!sectors || *sectors > kMostSectors) return broken("its number of sectors is impossible");
  line.sectors = *sectors;
  line.type_name = take_word(rest);
  if (line.type_name.empty()) return broken("its type is missing");
  line.type = type_of(line.type_name);
  if (line.type == ExtentType::kZero && rest.empty()) return line;
  const auto name = take_quoted(rest);
  if (!name || name->empty()) {
    if (line.type == ExtentType::kOther && rest.empty()) return line;
    return broken("the name of its file, in quotes, is missing");
  }
  line.file_name = *name;
  if (rest.empty()) return line;
  const auto start = number_in<uint64_t>(take_word(rest));
  if (!start || *start > kMostSectors - line.sectors) {
    return broken("its start sector is impossible");
  }
  line.start = *start;
  return line;
}

class DescriptorParser {
 public:
  Result<Descriptor> parse(std::string_view text) {
    text = text.substr(0, text.find('\0'));
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      ++number_;
      auto done = take_line(trimmed(line));
      if (!done) {
        return std::move(done).error().with_context(
            fmt::format("line {} of its descriptor, '{}'", number_, excerpt(trimmed(line))));
      }
    }
    SNAP_TRY(check());
    return std::move(descriptor_);
  }

 private:
  Result<void> take_line(std::string_view line) {
    if (line.empty() || line.front() == '#') return {};
    std::string_view rest = line;
    const std::string_view word = take_word(rest);
    if (word == "RW" || word == "RDONLY" || word == "NOACCESS") return add_extent(word, rest);
    const size_t equals = line.find('=');
    const std::string_view key = trimmed(line.substr(0, std::min(equals, line.size())));
    if (equals == std::string_view::npos || !is_key(key)) {
      return broken("it is neither an extent nor a key and its value");
    }
    std::string_view value = trimmed(line.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
      value = value.substr(1, value.size() - 2);
    }
    return set(key, value);
  }

  Result<void> add_extent(std::string_view access, std::string_view rest) {
    if (descriptor_.extents.size() >= kMostExtents) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("more than {} extents are not read", kMostExtents));
    }
    SNAP_ASSIGN(ExtentLine line, parse_extent(access, rest));
    // Neither is larger than half of what fits.
    descriptor_.sectors += line.sectors;
    if (descriptor_.sectors > kMostSectors) {
      return broken("the image would be larger than is possible");
    }
    descriptor_.extents.push_back(std::move(line));
    return {};
  }

  Result<void> set(std::string_view key, std::string_view value) {
    static constexpr std::array<std::string_view, 5> kKeys = {"version", "CID", "parentCID",
                                                              "createType", "parentFileNameHint"};
    const auto known = std::find_if(kKeys.begin(), kKeys.end(),
                                    [&](std::string_view one) { return same_key(one, key); });
    if (known == kKeys.end()) return {};
    const auto index = static_cast<size_t>(known - kKeys.begin());
    if (seen_[index]) return broken("it says again what was said");
    seen_[index] = true;
    switch (index) {
      case 0:
        return check_version(value);
      case 1:
        return set_cid(value, descriptor_.cid);
      case 2:
        return set_cid(value, descriptor_.parent_cid);
      case 3:
        descriptor_.create_type = value;
        return {};
      default:
        descriptor_.parent_hint = value;
        return {};
    }
  }

  static Result<void> check_version(std::string_view value) {
    const auto version = number_in<uint32_t>(value);
    if (!version) return broken("the version is no number");
    if (*version >= 1 && *version <= 3) return {};
    return Error(ErrorCode::kUnsupported, "this version is not read");
  }

  static Result<void> set_cid(std::string_view value, std::optional<uint32_t>& cid) {
    cid = number_in<uint32_t>(value, 16);
    return cid ? Result<void>() : broken("a CID has up to 8 hexadecimal digits");
  }

  Result<void> check() const {
    if (descriptor_.extents.empty()) return broken("its descriptor has no extent");
    if (!descriptor_.parent_hint.empty() && !descriptor_.parent_cid) {
      return broken("its descriptor names a parent without its CID");
    }
    return {};
  }

  Descriptor descriptor_;
  std::array<bool, 5> seen_{};
  size_t number_ = 0;  // of the line
};

struct Geometry {
  uint64_t cylinders = 0;
  uint64_t heads = 0;
  uint64_t sectors = 63;  // of a track
};

// As QEMU and open-vmdk have it.
Geometry geometry_of(uint64_t sectors, std::string_view adapter_type) {
  constexpr uint64_t kMostIdeCylinders = 16383;
  Geometry geometry;
  const bool ide = adapter_type == "ide";
  geometry.heads = ide ? 16 : 255;
  geometry.cylinders = std::max<uint64_t>(1, sectors / (geometry.heads * geometry.sectors));
  if (ide) geometry.cylinders = std::min(geometry.cylinders, kMostIdeCylinders);
  return geometry;
}

}  // namespace

Result<Descriptor> parse_descriptor(std::string_view text) {
  return DescriptorParser().parse(text);
}

std::string cid_text(uint32_t cid) { return fmt::format("{:08x}", cid); }

std::string identity_of(uint32_t cid) { return "CID " + cid_text(cid); }

bool can_name_extent(std::string_view name) {
  return !name.empty() && name.size() <= kMostName &&
         std::none_of(name.begin(), name.end(), [](char c) {
           return c == '"' || c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
         });
}

std::string encode_descriptor(const NewDescriptor& descriptor) {
  // QEMU wants these keys without blanks, and CID before parentCID.
  const Geometry geometry = geometry_of(descriptor.sectors, descriptor.adapter_type);
  std::string text = "# Disk DescriptorFile\nversion=1\n";
  text += fmt::format("CID={}\nparentCID={}\ncreateType=\"{}\"\n\n", cid_text(descriptor.cid),
                      cid_text(kNoCid), descriptor.create_type);
  text += fmt::format("# Extent description\nRW {} SPARSE \"{}\"\n\n", descriptor.sectors,
                      descriptor.extent_name);
  text += "# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n";
  text += fmt::format("ddb.geometry.cylinders = \"{}\"\n", geometry.cylinders);
  text += fmt::format("ddb.geometry.heads = \"{}\"\n", geometry.heads);
  text += fmt::format("ddb.geometry.sectors = \"{}\"\n", geometry.sectors);
  text += fmt::format("ddb.adapterType = \"{}\"\n", descriptor.adapter_type);
  return text;
}

}  // namespace snaptool::vmdk
