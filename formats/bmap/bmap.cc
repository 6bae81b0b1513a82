// SPDX-License-Identifier: Apache-2.0
#include "formats/bmap/bmap.h"

#include <expat.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <map>
#include <memory>
#include <new>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/printable.h"

namespace snaptool::bmap {
namespace {

constexpr int kMostDepth = 16;       // elements within one another
constexpr size_t kMostValue = 4096;  // bytes of text in an element that is looked at
constexpr size_t kPiece = kMiB;      // given to expat at once

Error damaged(std::string message) { return {ErrorCode::kCorruption, std::move(message)}; }

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// At most kMaxFileSize, so that the sum of two of them is a number, too.
Result<uint64_t> number_of(std::string_view text) {
  const std::string_view digits = trimmed(text);
  uint64_t value = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (ec == std::errc() && end == digits.data() + digits.size() && value <= kMaxFileSize) {
    return value;
  }
  return damaged(fmt::format("'{}' is no number of bytes or blocks", excerpt(digits)));
}

// The bytes of a sum in hex.
Result<std::string> sum_of(std::string_view digits) {
  std::string sum;
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    uint8_t value = 0;
    const char* const pair = digits.data() + i;
    const auto [end, ec] = std::from_chars(pair, pair + 2, value, 16);
    if (ec != std::errc() || end != pair + 2) break;
    sum.push_back(static_cast<char>(value));
  }
  if (!sum.empty() && sum.size() * 2 == digits.size()) return sum;
  return damaged(fmt::format("'{}' is no sum", excerpt(digits)));
}

struct Version {
  unsigned major = 0;
  unsigned minor = 0;

  // bmaptool's BmapCreate.py and BmapCopy.py tell what each has: sums since 1.3, of any kind since
  // 2.0, which was called 1.4 first.
  bool is_known() const { return (major == 1 && minor <= 4) || major == 2; }
  bool has_sums() const { return major == 2 || minor >= 3; }
  bool is_sha1() const { return major == 1 && minor == 3; }
  std::string_view sum_attribute() const { return is_sha1() ? "sha1" : "chksum"; }
  std::string_view own_sum_name() const { return is_sha1() ? "BmapFileSHA1" : "BmapFileChecksum"; }
};

Result<Version> version_of(std::string_view text) {
  Version version;
  const char* const end = text.data() + text.size();
  const auto major = std::from_chars(text.data(), end, version.major);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') {
    return damaged(fmt::format("'{}' is no version", excerpt(text)));
  }
  const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
  if (minor.ec != std::errc() || minor.ptr != end) {
    return damaged(fmt::format("'{}' is no version", excerpt(text)));
  }
  if (version.is_known()) return version;
  return Error(ErrorCode::kUnsupported,
               fmt::format("it is a block map of version {}.{}; 1.0 to 1.4 and 2 are read",
                           version.major, version.minor));
}

// Elements of the first level that are looked at, each there once; others mean nothing to us.
bool is_value(std::string_view name) {
  return name == "ImageSize" || name == "BlockSize" || name == "BlocksCount" ||
         name == "MappedBlocksCount" || name == "ChecksumType" || name == "BmapFileChecksum" ||
         name == "BmapFileSHA1";
}

// What is told while a map is read, and what becomes of it.
class MapBuilder {
 public:
  Result<void> begin(std::string_view version) {
    SNAP_ASSIGN(version_, version_of(version));
    return {};
  }

  const Version& version() const { return version_; }

  // `raw`: as it is in the text, between the two tags.
  Result<void> add_value(const std::string& name, std::string_view value, std::string_view raw) {
    if (values_.emplace(name, Value{std::string(trimmed(value)), trimmed(raw)}).second) return {};
    return damaged(fmt::format("'{}' is there twice", name));
  }

  Result<void> begin_ranges() {
    if (has_ranges_) return damaged("'BlockMap' is there twice");
    has_ranges_ = true;
    return {};
  }

  // "1-3" or "1", blocks. `sum`: its bytes, or empty.
  Result<void> add_range(std::string_view text, std::string sum) {
    const size_t dash = text.find('-');
    SNAP_ASSIGN(const uint64_t first, number_of(text.substr(0, dash)));
    uint64_t last = first;
    if (dash != std::string_view::npos) {
      SNAP_ASSIGN(last, number_of(text.substr(dash + 1)));
    }
    if (last < first || first < blocks_end_) {
      return damaged(
          fmt::format("the range '{}' does not ascend, or overlaps another", excerpt(text)));
    }
    map_.ranges.push_back({first, last - first + 1, std::move(sum)});
    blocks_end_ = last + 1;
    return {};
  }

  // `text`: the whole file.
  Result<BlockMap> finish(std::string_view text) {
    SNAP_TRY(settle_algorithm());
    if (map_.algorithm) SNAP_TRY(check_own_sum(text));
    SNAP_ASSIGN(map_.image_size, number("ImageSize"));
    SNAP_ASSIGN(map_.block_size, number("BlockSize"));
    SNAP_ASSIGN(const uint64_t blocks, number("BlocksCount"));
    if (map_.block_size == 0 || blocks != div_round_up(map_.image_size, map_.block_size)) {
      return damaged(fmt::format("{} bytes are not {} blocks of {} bytes", map_.image_size, blocks,
                                 map_.block_size));
    }
    if (!has_ranges_) return missing("BlockMap");
    SNAP_TRY(settle_ranges(blocks));
    return std::move(map_);
  }

 private:
  struct Value {
    std::string text;
    std::string_view raw;
  };

  static Error missing(std::string_view name) {
    return damaged(fmt::format("'{}' is missing", name));
  }

  Result<const Value*> value(std::string_view name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) return missing(name);
    return &found->second;
  }

  Result<uint64_t> number(std::string_view name) const {
    SNAP_ASSIGN(const Value* const found, value(name));
    return number_of(found->text);
  }

  Result<void> settle_algorithm() {
    if (!version_.has_sums()) return {};
    if (version_.is_sha1()) {
      map_.algorithm = HashAlgorithm::kSha1;
      return {};
    }
    SNAP_ASSIGN(const Value* const type, value("ChecksumType"));
    map_.algorithm = hash_algorithm(type->text);
    if (map_.algorithm) return {};
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("its sums are of the kind '{}'; sha256, sha512, sha1 and md5 are known",
                    excerpt(type->text)));
  }

  // It is that of the file with zeros in its place.
  Result<void> check_own_sum(std::string_view text) const {
    const std::string_view name = version_.own_sum_name();
    SNAP_ASSIGN(const Value* const own, value(name));
    SNAP_ASSIGN(const std::string sum, sum_of(own->text));
    if (own->text != own->raw) return damaged(fmt::format("'{}' is not as it is written", name));
    Hash hash(*map_.algorithm);
    const std::string zeros(own->raw.size(), '0');
    const auto place = static_cast<size_t>(own->raw.data() - text.data());
    hash.update(std::as_bytes(std::span(text.substr(0, place))));
    hash.update(std::as_bytes(std::span(zeros)));
    hash.update(std::as_bytes(std::span(text.substr(place + own->raw.size()))));
    if (hash.finish() == hex_of(std::as_bytes(std::span(sum)))) return {};
    return damaged("its own sum is wrong: it has been changed");
  }

  // They are in blocks, and become bytes.
  Result<void> settle_ranges(uint64_t blocks) {
    SNAP_ASSIGN(const uint64_t expected, number("MappedBlocksCount"));
    if (blocks_end_ > blocks) {
      return damaged(fmt::format("an image of {} blocks has no block {}", blocks, blocks_end_ - 1));
    }
    uint64_t mapped = 0;
    for (BlockMap::Range& range : map_.ranges) {
      if (!range.sum.empty() && range.sum.size() * 2 != hash_digits(*map_.algorithm)) {
        return damaged(fmt::format("the sum of the blocks from {} on is no {}", range.offset,
                                   hash_name(*map_.algorithm)));
      }
      mapped += range.length;
      const uint64_t end = range.offset + range.length;
      const uint64_t end_bytes = end == blocks ? map_.image_size : end * map_.block_size;
      range.offset *= map_.block_size;
      range.length = end_bytes - range.offset;
    }
    if (mapped == expected) return {};
    return damaged(fmt::format("it should have {} mapped blocks, and has {}", expected, mapped));
  }

  Version version_;
  std::map<std::string, Value, std::less<>> values_;
  bool has_ranges_ = false;
  uint64_t blocks_end_ = 0;  // the first block behind all ranges so far
  BlockMap map_;             // its ranges in blocks, until they are settled
};

// Tells a MapBuilder what is in an XML text.
class MapReader {
 public:
  explicit MapReader(std::string_view text) : text_(text), parser_(XML_ParserCreate("UTF-8")) {
    if (!parser_) throw std::bad_alloc();
    XML_SetUserData(parser_.get(), this);
    XML_SetElementHandler(parser_.get(), start_element, end_element);
    XML_SetCharacterDataHandler(parser_.get(), characters);
    XML_SetStartDoctypeDeclHandler(parser_.get(), start_doctype);
  }

  Result<BlockMap> read() {
    for (size_t at = 0;;) {
      const std::string_view piece = text_.substr(at, kPiece);
      at += piece.size();
      const bool last = at == text_.size();
      const auto status = XML_Parse(parser_.get(), piece.data(), static_cast<int>(piece.size()),
                                    last ? XML_TRUE : XML_FALSE);
      if (thrown_) std::rethrow_exception(thrown_);
      if (error_) return at_line(*std::move(error_));
      if (XML_GetErrorCode(parser_.get()) == XML_ERROR_NO_MEMORY) throw std::bad_alloc();
      if (status != XML_STATUS_OK) {
        return at_line(damaged(XML_ErrorString(XML_GetErrorCode(parser_.get()))));
      }
      if (last) return builder_.finish(text_);
    }
  }

 private:
  struct Free {
    void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
  };

  Error at_line(Error error) const {
    return std::move(error).with_context(
        fmt::format("line {}", XML_GetCurrentLineNumber(parser_.get())));
  }

  size_t place() const { return static_cast<size_t>(XML_GetCurrentByteIndex(parser_.get())); }

  Result<void> start(std::string_view name, const char** attributes) {
    if (collecting_) return damaged(fmt::format("'{}' has an element within it", name_));
    if (depth_ == kMostDepth) return damaged("its elements lie too deep");
    if (depth_ == 0) {
      if (name != "bmap") {
        return damaged(fmt::format("it is no block map: it has a '{}'", excerpt(name)));
      }
      SNAP_TRY(builder_.begin(attribute(attributes, "version")));
    } else if (depth_ == 1 && name == "BlockMap") {
      SNAP_TRY(builder_.begin_ranges());
      in_ranges_ = true;
    } else if (depth_ == 1 ? is_value(name) : depth_ == 2 && in_ranges_ && name == "Range") {
      collect(name);
      if (depth_ == 2) SNAP_TRY(take_sum(attributes));
    }
    ++depth_;
    return {};
  }

  // From here on, to the end of the element.
  void collect(std::string_view name) {
    collecting_ = true;
    name_ = name;
    value_.clear();
    from_ = place() + static_cast<size_t>(XML_GetCurrentByteCount(parser_.get()));
  }

  Result<void> take_sum(const char** attributes) {
    sum_.clear();
    if (!builder_.version().has_sums()) return {};
    const char* const digits = find_attribute(attributes, builder_.version().sum_attribute());
    if (digits == nullptr) return {};
    SNAP_ASSIGN(sum_, sum_of(digits));
    return {};
  }

  Result<void> end() {
    --depth_;
    if (depth_ == 1) in_ranges_ = false;
    if (!collecting_) return {};
    collecting_ = false;
    if (depth_ == 2) return builder_.add_range(value_, std::move(sum_));
    // An element that is empty may have one tag only.
    const size_t to = std::max(from_, place());
    return builder_.add_value(name_, value_, text_.substr(from_, to - from_));
  }

  Result<void> add_text(std::string_view text) {
    if (!collecting_) return {};
    if (value_.size() + text.size() > kMostValue) {
      return damaged(fmt::format("'{}' has more text than belongs there", name_));
    }
    value_ += text;
    return {};
  }

  // nullptr: there is none.
  static const char* find_attribute(const char** attributes, std::string_view name) {
    for (; attributes[0] != nullptr; attributes += 2) {
      if (attributes[0] == name) return attributes[1];
    }
    return nullptr;
  }
  static std::string_view attribute(const char** attributes, std::string_view name) {
    const char* const found = find_attribute(attributes, name);
    return found != nullptr ? found : std::string_view();
  }

  // Expat may go on a little after it was stopped. No exception passes through a function of C.
  template <typename Function>
  void handle(const Function& function) {
    if (error_ || thrown_) return;
    try {
      Result<void> done = function();
      if (done) return;
      error_ = std::move(done).error();
    } catch (...) {
      thrown_ = std::current_exception();
    }
    XML_StopParser(parser_.get(), XML_FALSE);
  }

  static void start_element(void* self, const char* name, const char** attributes) {
    auto& reader = *static_cast<MapReader*>(self);
    reader.handle([&] { return reader.start(name, attributes); });
  }
  static void end_element(void* self, const char* /*name*/) {
    auto& reader = *static_cast<MapReader*>(self);
    reader.handle([&] { return reader.end(); });
  }
  static void characters(void* self, const char* text, int length) {
    auto& reader = *static_cast<MapReader*>(self);
    reader.handle([&] { return reader.add_text({text, static_cast<size_t>(length)}); });
  }
  // So there are no entities either.
  static void start_doctype(void* self, const char*, const char*, const char*, int) {
    auto& reader = *static_cast<MapReader*>(self);
    reader.handle([] { return Result<void>(damaged("a block map has no DOCTYPE")); });
  }

  const std::string_view text_;
  std::unique_ptr<std::remove_pointer_t<XML_Parser>, Free> parser_;
  MapBuilder builder_;
  std::optional<Error> error_;
  std::exception_ptr thrown_;
  int depth_ = 0;
  bool in_ranges_ = false;
  bool collecting_ = false;
  std::string name_;   // of the element that is collected
  std::string value_;  // its text
  size_t from_ = 0;    // where in the text it begins
  std::string sum_;    // of a range
};

}  // namespace

Result<BlockMap> parse_bmap(std::string_view text) {
  if (text.size() > kMostText) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("it has {} bytes; block maps of up to {} MiB are read", text.size(),
                             kMostText / kMiB));
  }
  if (text.starts_with("-----BEGIN PGP SIGNED MESSAGE-----")) {
    return Error(ErrorCode::kUnsupported,
                 "the block map is within a PGP signature: 'gpg --decrypt -o NEW FILE' checks that "
                 "and takes it out");
  }
  return MapReader(text).read();
}

Result<BlockMap> read_bmap(File& file) {
  const auto in_file = [&](Error error) {
    return std::move(error).with_context(fmt::format("'{}'", file.name()));
  };
  if (file.size() > kMostText) {
    return in_file({ErrorCode::kUnsupported,
                    fmt::format("it has {} bytes; block maps of up to {} MiB are read", file.size(),
                                kMostText / kMiB)});
  }
  std::string text(file.size(), '\0');
  SNAP_TRY(file.read_at(0, std::as_writable_bytes(std::span(text))));
  auto map = parse_bmap(text);
  if (!map) return in_file(std::move(map).error());
  return map;
}

}  // namespace snaptool::bmap
