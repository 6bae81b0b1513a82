// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/dump_reader.h"

#include <expat.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <exception>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <streambuf>
#include <string_view>
#include <vector>

#include "libsnap/base/check.h"
#include "libsnap/base/printable.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool {
namespace {

constexpr size_t kPiece = 64 * kKiB;
// Between two things that a parser tells there are at most so many bytes: no name or number is so
// long.
constexpr size_t kMostSilence = kMiB;

using Fields = std::map<std::string, uint64_t, std::less<>>;

// Makes header and runs of named numbers, whichever format they came from.
class Assembler {
 public:
  explicit Assembler(const DumpVisitor& visitor) : visitor_(visitor) {}

  Result<void> begin(const Fields& fields) {
    for (const char* name :
         {"format_version", "version", "valid", "chunk_size_sectors", "cow_size"}) {
      if (fields.find(name) == fields.end()) return missing(name);
    }
    if (fields.at("format_version") != 1) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("its format is version {}, not 1", fields.at("format_version")));
    }
    const uint64_t chunk_sectors = fields.at("chunk_size_sectors");
    const uint64_t valid = fields.at("valid");
    if (!std::has_single_bit(chunk_sectors) || chunk_sectors > kMaxChunkSectors) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("no store has chunks of {} sectors", chunk_sectors));
    }
    if (fields.at("version") != kSnapshotDiskVersion || valid > UINT32_MAX) {
      return Error(ErrorCode::kCorruption, "no store has such a version and valid");
    }
    header_ = DumpHeader{{kSnapMagic, static_cast<uint32_t>(valid), kSnapshotDiskVersion,
                          static_cast<uint32_t>(chunk_sectors)},
                         fields.at("cow_size")};
    layout_.emplace(chunk_sectors);
    if (header_->cow_size > kMaxFileSize) {
      return Error(ErrorCode::kCorruption, fmt::format("no COW has {} bytes", header_->cow_size));
    }
    return visitor_.begin(*header_);
  }

  Result<void> run(const Fields& fields, bool single) {
    DumpRun run;
    for (const char* name : {"old_chunk", "new_chunk"}) {
      if (fields.find(name) == fields.end()) return missing(name);
    }
    run.first = {fields.at("old_chunk"), fields.at("new_chunk")};
    run.length = 1;
    if (!single) {
      if (fields.find("length_chunks") == fields.end()) return missing("length_chunks");
      run.length = fields.at("length_chunks");
    }
    const uint64_t chunks = header_->cow_size / layout_->chunk_bytes();
    if (run.length == 0 || run.first.new_chunk > chunks ||
        run.length > chunks - run.first.new_chunk ||
        run.first.old_chunk > UINT64_MAX - (run.length - 1)) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("a COW of {} chunks has no chunks from {:#x} on, {:#x} of them",
                               chunks, run.first.new_chunk, run.length));
    }
    // The next area's chunk must not be one of them, nor the first.
    const uint64_t stride = layout_->exceptions_per_area() + 1;
    const uint64_t into_stride = (run.first.new_chunk + stride - kNumSnapshotHdrChunks) % stride;
    if (run.first.new_chunk == 0 || into_stride == 0 || run.length > stride - into_stride) {
      return Error(ErrorCode::kCorruption, fmt::format("{} chunks from {} on are not all for data",
                                                       run.length, run.first.new_chunk));
    }
    exceptions_ += run.length;
    return visitor_.run(run);
  }

  bool begun() const { return header_.has_value(); }
  uint64_t exceptions() const { return exceptions_; }

 private:
  static Error missing(std::string_view name) {
    return {ErrorCode::kCorruption, fmt::format("'{}' is missing", name)};
  }

  const DumpVisitor& visitor_;
  std::optional<DumpHeader> header_;
  std::optional<Layout> layout_;
  uint64_t exceptions_ = 0;
};

// Numbers of names that are allowed, each once.
class FieldSet {
 public:
  explicit FieldSet(std::vector<std::string_view> allowed) : allowed_(std::move(allowed)) {}

  Result<void> add(std::string_view name, uint64_t value) {
    if (std::find(allowed_.begin(), allowed_.end(), name) == allowed_.end()) {
      return Error(ErrorCode::kCorruption, fmt::format("there is no '{}' here", excerpt(name)));
    }
    if (!fields_.emplace(name, value).second) {
      return Error(ErrorCode::kCorruption, fmt::format("'{}' is there twice", excerpt(name)));
    }
    return {};
  }
  const Fields& fields() const { return fields_; }

 private:
  std::vector<std::string_view> allowed_;
  Fields fields_;
};

const std::vector<std::string_view> kHeaderFields = {"format_version", "version", "valid",
                                                     "chunk_size_sectors", "cow_size"};
const std::vector<std::string_view> kRunFields = {"old_chunk", "new_chunk", "length_chunks"};
const std::vector<std::string_view> kExceptionFields = {"old_chunk", "new_chunk"};

class XmlReader {
 public:
  XmlReader(const TextSource& source, const DumpVisitor& visitor)
      : source_(source), assembler_(visitor), parser_(XML_ParserCreate("UTF-8")) {
    if (!parser_) throw std::bad_alloc();
    XML_SetUserData(parser_.get(), this);
    XML_SetElementHandler(parser_.get(), start_element, end_element);
    XML_SetCharacterDataHandler(parser_.get(), characters);
    XML_SetStartDoctypeDeclHandler(parser_.get(), start_doctype);
  }

  Result<void> read(std::vector<std::byte> head) {
    while (true) {
      const bool last = head.empty();
      const auto status = XML_Parse(parser_.get(), reinterpret_cast<const char*>(head.data()),
                                    static_cast<int>(head.size()), last ? XML_TRUE : XML_FALSE);
      if (thrown_) std::rethrow_exception(thrown_);
      if (error_) return at_line(*std::move(error_));
      if (XML_GetErrorCode(parser_.get()) == XML_ERROR_NO_MEMORY) throw std::bad_alloc();
      if (status != XML_STATUS_OK) {
        return at_line({ErrorCode::kCorruption, XML_ErrorString(XML_GetErrorCode(parser_.get()))});
      }
      if (last) return {};
      silence_ += head.size();
      if (silence_ > kMostSilence) {
        return at_line({ErrorCode::kCorruption, "this is not a dump: it has no end"});
      }
      head.resize(kPiece);
      SNAP_ASSIGN(const size_t size, source_(head));
      head.resize(size);
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

  void fail(Error error) {
    if (!error_) error_ = std::move(error);
    XML_StopParser(parser_.get(), XML_FALSE);
  }

  Result<void> element(std::string_view name, const char** attributes) {
    silence_ = 0;
    const bool header = depth_ == 0 && name == "dm_snapshot";
    const bool exception = depth_ == 1 && name == "exception";
    if (!header && !exception && !(depth_ == 1 && name == "run")) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("there is no element '{}' here", excerpt(name)));
    }
    FieldSet fields(header ? kHeaderFields : exception ? kExceptionFields : kRunFields);
    for (; attributes[0] != nullptr; attributes += 2) {
      const std::string_view text = attributes[1];
      uint64_t value = 0;
      const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (ec != std::errc() || end != text.data() + text.size()) {
        return Error(ErrorCode::kCorruption, fmt::format("'{}' is not a number", excerpt(text)));
      }
      SNAP_TRY(fields.add(attributes[0], value));
    }
    return header ? assembler_.begin(fields.fields()) : assembler_.run(fields.fields(), exception);
  }

  // No exception passes through a function of C.
  template <typename Function>
  void caught(const Function& function) {
    try {
      function();
    } catch (...) {
      thrown_ = std::current_exception();
      XML_StopParser(parser_.get(), XML_FALSE);
    }
  }

  static void start_element(void* self, const char* name, const char** attributes) {
    auto& reader = *static_cast<XmlReader*>(self);
    reader.caught([&] {
      if (auto done = reader.element(name, attributes); !done) reader.fail(std::move(done).error());
    });
    ++reader.depth_;
  }
  static void end_element(void* self, const char*) {
    auto& reader = *static_cast<XmlReader*>(self);
    reader.silence_ = 0;
    --reader.depth_;
  }
  static void characters(void* self, const char* text, int length) {
    auto& reader = *static_cast<XmlReader*>(self);
    if (std::string_view(text, static_cast<size_t>(length)).find_first_not_of(" \t\r\n") !=
        std::string_view::npos) {
      reader.caught([&] {
        reader.fail({ErrorCode::kCorruption, "there is text where none belongs"});
      });
    }
  }
  static void start_doctype(void* self, const char*, const char*, const char*, int) {
    auto& reader = *static_cast<XmlReader*>(self);
    reader.caught([&] { reader.fail({ErrorCode::kCorruption, "a dump has no DOCTYPE"}); });
  }

  const TextSource& source_;
  Assembler assembler_;
  std::unique_ptr<std::remove_pointer_t<XML_Parser>, Free> parser_;
  std::optional<Error> error_;
  std::exception_ptr thrown_;
  size_t silence_ = 0;
  int depth_ = 0;
};

// Bytes of a source for a parser that takes a stream; ends early where an error is or nothing comes
// of it.
class SourceBuffer : public std::streambuf {
 public:
  SourceBuffer(const TextSource& source, std::vector<std::byte> head)
      : source_(source), bytes_(std::move(head)) {
    show();
  }
  void heard() { silence_ = 0; }
  std::optional<Error>& error() { return error_; }

 protected:
  int_type underflow() override {
    silence_ += bytes_.size();
    bytes_.resize(kPiece);
    const auto size =
        silence_ > kMostSilence
            ? Result<size_t>(Error(ErrorCode::kCorruption, "this is not a dump: it has no end"))
            : source_(bytes_);
    if (!size) error_ = size.error();
    bytes_.resize(size ? *size : 0);
    if (bytes_.empty()) return traits_type::eof();
    show();
    return traits_type::to_int_type(*gptr());
  }

 private:
  void show() {
    char* const begin = reinterpret_cast<char*>(bytes_.data());
    setg(begin, begin, begin + bytes_.size());
  }

  const TextSource& source_;
  std::vector<std::byte> bytes_;
  size_t silence_ = 0;
  std::optional<Error> error_;
};

// What nlohmann's parser tells. Depth 1 is the whole, 2 its runs, 3 one of them.
class JsonReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonReader(const TextSource& source, const DumpVisitor& visitor, std::vector<std::byte> head)
      : buffer_(source, std::move(head)), assembler_(visitor) {}

  Result<void> read() {
    std::istream stream(&buffer_);
    const bool parsed = nlohmann::json::sax_parse(stream, this);
    if (buffer_.error()) return *buffer_.error();
    if (error_) return *error_;
    SNAP_CHECK(parsed);
    if (!assembler_.begun() || !ended_runs_) {
      return Error(ErrorCode::kCorruption, "this is not a dump: it has no runs");
    }
    if (exceptions_ && *exceptions_ != assembler_.exceptions()) {
      return Error(ErrorCode::kCorruption, fmt::format("it should have {} exceptions, and has {}",
                                                       *exceptions_, assembler_.exceptions()));
    }
    return {};
  }

  bool null() override { return reject("null"); }
  bool boolean(bool) override { return reject("a boolean"); }
  bool number_integer(number_integer_t) override { return reject("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return reject("a fraction"); }
  // A number that no sound entry can have is written in hex.
  bool string(string_t& text) override {
    buffer_.heard();
    const auto digits = std::string_view(text).substr(std::min<size_t>(2, text.size()));
    uint64_t value = 0;
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (depth_ == 3 && text.starts_with("0x") && ec == std::errc() && value >= kNewChunkLimit &&
        end == digits.data() + digits.size()) {
      return done(run_.add(key_, value));
    }
    return reject(fmt::format("'{}'", excerpt(text)));
  }
  bool binary(binary_t&) override { return reject("bytes"); }

  bool number_unsigned(number_unsigned_t value) override {
    buffer_.heard();
    if (depth_ == 3) return done(run_.add(key_, value));
    if (depth_ == 1 && assembler_.begun() && key_ == "exceptions" && !exceptions_) {
      exceptions_ = value;
      return true;
    }
    if (depth_ == 1 && !assembler_.begun()) return done(header_.add(key_, value));
    return reject("a number");
  }
  bool key(string_t& name) override {
    buffer_.heard();
    key_ = name;
    return true;
  }
  bool start_object(size_t) override {
    buffer_.heard();
    if (depth_ != 0 && depth_ != 2) return reject("an object");
    ++depth_;
    run_ = FieldSet(kRunFields);
    return true;
  }
  bool end_object() override {
    buffer_.heard();
    return depth_-- != 3 || done(assembler_.run(run_.fields(), false));
  }
  bool start_array(size_t) override {
    buffer_.heard();
    if (depth_ != 1 || key_ != "runs" || assembler_.begun()) return reject("an array");
    ++depth_;
    return done(assembler_.begin(header_.fields()));
  }
  bool end_array() override {
    buffer_.heard();
    --depth_;
    ended_runs_ = true;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    if (!error_) {
      error_ = Error(ErrorCode::kCorruption, fmt::format("byte {}: this is not JSON", position));
    }
    return false;
  }

 private:
  bool reject(std::string_view what) {
    return done(
        Error(ErrorCode::kCorruption, fmt::format("{} has no place at '{}'", what, excerpt(key_))));
  }
  bool done(Result<void> result) {
    if (!result && !error_) error_ = std::move(result).error();
    return !error_;
  }

  SourceBuffer buffer_;
  Assembler assembler_;
  FieldSet header_{kHeaderFields};
  FieldSet run_{kRunFields};
  std::string key_;
  int depth_ = 0;
  bool ended_runs_ = false;
  std::optional<uint64_t> exceptions_;
  std::optional<Error> error_;
};

}  // namespace

Result<void> read_dump(const TextSource& source, const std::string& name,
                       const DumpVisitor& visitor) {
  std::vector<std::byte> head(kPiece);
  SNAP_ASSIGN(const size_t size, source(head));
  head.resize(size);
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  const size_t first = text.find_first_not_of(" \t\r\n");
  Result<void> done;
  if (first != std::string_view::npos && text[first] == '{') {
    done = JsonReader(source, visitor, std::move(head)).read();
  } else if (first != std::string_view::npos && text[first] == '<') {
    done = XmlReader(source, visitor).read(std::move(head));
  } else {
    done = Error(ErrorCode::kCorruption, "it is not a dump: it is neither XML nor JSON");
  }
  if (done) return {};
  return std::move(done).error().with_context(name);
}

}  // namespace snaptool
