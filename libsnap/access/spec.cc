// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/spec.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "libsnap/base/units.h"
#include "libsnap/io/folder.h"

namespace snaptool::access {
namespace {

constexpr std::string_view kLiteral = "file:";

bool exists(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0;
}

// The length of the longest prefix of `text`, of `most` bytes or fewer, that names a file and is
// followed by '@', '#', ',' or nothing; 0 if none.
size_t longest_file(const std::string& text, size_t most = std::string::npos) {
  for (size_t end = std::min(text.size(), most); end > 0; end = text.find_last_of("@#,", end - 1)) {
    if (end == std::string::npos) break;
    if (exists(text.substr(0, end))) return end;
    if (end == 0) break;
  }
  return 0;
}

Error no_such_file(const std::string& text) {
  return Error::from_errno(ENOENT, fmt::format("cannot open '{}'", text))
      .with_note(note_of_missing(text));
}

Error no_part(const std::string& text) {
  return {ErrorCode::kInvalidArgument,
          fmt::format("'#{}' names no part: #pN is a partition, #+OFFSET[,LENGTH] a slice, and "
                      "#GROUP/VOLUME a logical volume",
                      text)};
}

Result<Part> parse_slice(const std::string& text) {
  Part part{Part::Kind::kSlice, text, 0, 0, {}, {}, {}, false};
  const size_t comma = text.find(',');
  SNAP_ASSIGN(part.offset, parse_size(text.substr(1, comma - 1)));
  if (comma != std::string::npos) {
    SNAP_ASSIGN(part.length, parse_size(text.substr(comma + 1)));
  }
  return part;
}

// `text` is what stands behind the '#'.
Result<Part> parse_part(const std::string& text) {
  if (text.empty()) return no_part(text);
  if (text[0] == '+' && text.find('/') == std::string::npos) return parse_slice(text);
  const size_t slash = text.find('/');
  if (slash != std::string::npos) {
    if (slash == 0 || slash + 1 == text.size() || text.find('/', slash + 1) != std::string::npos) {
      return no_part(text);
    }
    return Part{Part::Kind::kVolume,    text, 0, 0, {}, text.substr(0, slash),
                text.substr(slash + 1), false};
  }
  Part part{Part::Kind::kPartition, text, 0, 0, {}, {}, {}, false};
  const char* const end = text.data() + text.size();
  const auto [stop, ec] = std::from_chars(text.data() + 1, end, part.number);
  if (text[0] != 'p' || stop != end || ec != std::errc() || part.number == 0) return no_part(text);
  return part;
}

// Takes "#..." off the front of `rest`. A slice's length is what follows its comma, if that is a
// size.
Result<Part> take_part(std::string& rest) {
  size_t end = std::min(rest.find_first_of("@#,", 1), rest.size());
  if (rest.size() > 1 && rest[1] == '+' && end < rest.size() && rest[end] == ',') {
    const size_t next = std::min(rest.find_first_of("@#,", end + 1), rest.size());
    if (parse_size(rest.substr(end + 1, next - end - 1))) end = next;
  }
  SNAP_ASSIGN(Part part, parse_part(rest.substr(1, end - 1)));
  rest.erase(0, end);
  return part;
}

// The file of which `path` would name something if no file had that name; empty if none.
std::string hidden_by(const std::string& path) {
  const size_t mark = path.find_last_of("@#,");
  if (mark == std::string::npos || mark == 0) return {};
  std::string file = path.substr(0, longest_file(path, mark));
  std::string rest = path.substr(file.size());
  std::error_code ignored;
  if (file.empty() || std::filesystem::is_directory(file, ignored)) return {};
  const bool means_something =
      rest[0] == '#' ? take_part(rest).has_value() : exists(rest.substr(1));
  return means_something ? file : std::string();
}

Result<FileSpec::Source> take_file(std::string& rest) {
  const size_t length = longest_file(rest);
  if (length == 0) return no_such_file(rest.substr(0, rest.find_first_of("@#,")));
  std::string path = rest.substr(0, length);
  rest.erase(0, length);
  std::string hides = hidden_by(path);
  return FileSpec::Source{std::move(path), {}, std::move(hides)};
}

Result<std::vector<Part>> take_parts(std::string& rest, bool stop_at_volume) {
  std::vector<Part> parts;
  while (!rest.empty() && rest[0] == '#') {
    std::string ahead = rest;
    SNAP_ASSIGN(Part part, take_part(ahead));
    if (stop_at_volume && part.kind == Part::Kind::kVolume) break;
    parts.push_back(std::move(part));
    rest = std::move(ahead);
  }
  return parts;
}

// A file with its parts, or several and a volume of them.
Result<FileSpec> take_file_spec(std::string& rest) {
  FileSpec spec;
  while (true) {
    SNAP_ASSIGN(FileSpec::Source source, take_file(rest));
    SNAP_ASSIGN(source.parts, take_parts(rest, true));
    spec.sources.push_back(std::move(source));
    if (rest.empty() || rest[0] != ',') break;
    rest.erase(0, 1);
  }
  SNAP_ASSIGN(spec.parts, take_parts(rest, false));
  if (spec.sources.size() == 1) {
    auto& own = spec.sources.front().parts;
    spec.parts.insert(spec.parts.begin(), own.begin(), own.end());
    own.clear();
  }
  return spec;
}

}  // namespace

std::string parts_text(const std::vector<Part>& parts) {
  std::string text;
  for (const Part& part : parts) text += "#" + part.text;
  return text;
}

std::string FileSpec::name() const {
  std::string name;
  for (const Source& source : sources) {
    name += (name.empty() ? "" : ",") + source.path + parts_text(source.parts);
  }
  return name + parts_text(parts);
}

const Part* FileSpec::volume() const {
  return !parts.empty() && parts.back().kind == Part::Kind::kVolume ? &parts.back() : nullptr;
}

FileSpec FileSpec::with_own_volume(const std::string& lv, const std::string& shown) const {
  FileSpec other = *this;
  Part& part = other.parts.back();
  part.text = part.group + "/" + shown;
  part.volume = lv;
  part.own_bytes = true;
  return other;
}

Result<void> check_output_name(const std::string& path) {
  const size_t length = longest_file(path);
  if (length == 0 || length == path.size() || path[length] != '#') return {};
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("'{}' would be a part of '{}', and output goes to files of their own",
                           path, path.substr(0, length)));
}

Result<void> check_is_view(const ImageSpec& spec) {
  if (!spec.view_parts.empty()) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is a part of a view: it can only be read", name_of(spec)));
  }
  if (!spec.stores.empty()) return {};
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("'{}' is not a snapshot: name an origin and its COW, as ORIGIN@COW",
                           spec.base.name()));
}

Result<ImageSpec> parse_image_spec(const std::string& text) {
  ImageSpec spec;
  if (text.rfind(kLiteral, 0) == 0) {
    spec.base = FileSpec(text.substr(kLiteral.size()));
    return spec;
  }
  if (text == "-") {
    return Error(ErrorCode::kUnsupported,
                 "standard input cannot be read here: a file or block device is needed");
  }
  std::string rest = text;
  SNAP_ASSIGN(spec.base, take_file_spec(rest));
  while (!rest.empty() && rest[0] == '@') {
    rest.erase(0, 1);
    SNAP_ASSIGN(FileSpec::Source source, take_file(rest));
    spec.stores.emplace_back();
    spec.stores.back().sources.push_back(std::move(source));
    spec.stores.back().format = kStoreFormat;
  }
  SNAP_ASSIGN(spec.view_parts, take_parts(rest, false));
  if (!rest.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}': '{}' can follow neither a part of a view nor a list of files",
                             text, rest));
  }
  return spec;
}

Result<ImageSpec> parse_origin_and_cow(const std::vector<std::string>& operands) {
  SNAP_ASSIGN(ImageSpec spec, parse_image_spec(operands.front()));
  if (!spec.view_parts.empty()) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is a part of a view: it can only be read", operands.front()));
  }
  if (operands.size() > 1) {
    SNAP_ASSIGN(const ImageSpec cow, parse_image_spec(operands[1]));
    if (!cow.stores.empty()) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' names a view where a COW is expected", operands[1]));
    }
    spec.stores.push_back(cow.base);
    spec.stores.back().format = kStoreFormat;
  }
  return spec;
}

std::string name_of(const ImageSpec& spec) {
  std::string name = spec.base.name();
  for (const FileSpec& store : spec.stores) name += fmt::format("@{}", store.name());
  return name + parts_text(spec.view_parts);
}

}  // namespace snaptool::access
