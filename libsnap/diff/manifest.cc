// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "libsnap/base/lines.h"
#include "libsnap/base/printable.h"
#include "libsnap/base/units.h"

namespace snaptool {
namespace {

constexpr std::string_view kBlockHead = "# snaptool block manifest 1";
// A name from a command line has up to 128 KiB, and each byte of it may be escaped.
constexpr size_t kLongestLine = 272 * kKiB;
constexpr size_t kMostSums = 64;        // of one image
constexpr size_t kMostImages = 100000;  // of one manifest

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

bool is_sum(std::string_view text) {
  return !text.empty() &&
         text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

// Some programs write sums in upper case.
std::string lower(std::string_view sum) {
  std::string text(sum);
  for (char& c : text) c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

std::optional<uint64_t> number_of(std::string_view text) {
  uint64_t number = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

std::optional<HashAlgorithm> algorithm_with(size_t digits) {
  for (const HashAlgorithm algorithm : {HashAlgorithm::kSha256, HashAlgorithm::kSha512,
                                        HashAlgorithm::kSha1, HashAlgorithm::kMd5}) {
    if (hash_digits(algorithm) == digits) return algorithm;
  }
  return std::nullopt;
}

// A name, as the GNU tools escape it.
std::string escaped(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (c == '\\') {
      text += "\\\\";
    } else if (c == '\n') {
      text += "\\n";
    } else if (c == '\r') {
      text += "\\r";
    } else {
      text += c;
    }
  }
  return text;
}

std::string unescaped(std::string_view text) {
  std::string name;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      name += text[i];
      continue;
    }
    const char next = text[++i];
    name += next == 'n' ? '\n' : next == 'r' ? '\r' : next;
  }
  return name;
}

}  // namespace

std::string manifest_line(HashAlgorithm algorithm, const std::string& sum, const std::string& name,
                          bool tagged) {
  std::string text = escaped(name);
  const std::string mark = text == name ? "" : "\\";
  text = printable(text);  // such a name is not found again, but drives no terminal either
  if (!tagged) return fmt::format("{}{}  {}\n", mark, sum, text);
  std::string tag(hash_name(algorithm));
  std::transform(tag.begin(), tag.end(), tag.begin(), upper);
  return fmt::format("{}{} ({}) = {}\n", mark, tag, text, sum);
}

std::string block_manifest_head(uint64_t size, uint64_t block_size,
                                const std::vector<HashAlgorithm>& algorithms,
                                const std::string& name) {
  std::string names;
  for (const HashAlgorithm algorithm : algorithms)
    names += fmt::format(" {}", hash_name(algorithm));
  return fmt::format("{}\n# image {}\n# size {}\n# block-size {}\n# algorithms{}\n", kBlockHead,
                     excerpt(name, kMostOfName), size, block_size, names);
}

std::string block_manifest_line(uint64_t offset, const std::vector<std::string>& sums) {
  return fmt::format("{} {}\n", offset, fmt::join(sums, " "));
}

Error ManifestReader::damaged(std::string_view what) const {
  return {ErrorCode::kCorruption, fmt::format("'{}', line {}: {}", name_, line_, what)};
}

// Whether there is one more.
Result<bool> ManifestReader::read_line(std::string& line) {
  ++line_;
  const bool any = snaptool::read_line(*in_, line, kLongestLine);
  if (in_->bad()) return Error(ErrorCode::kIo, fmt::format("cannot read '{}'", name_));
  if (line.size() > kLongestLine) return damaged("it is too long for a manifest");
  return any;
}

Result<ManifestReader> ManifestReader::open(std::istream& in, std::string name) {
  ManifestReader reader(in, std::move(name));
  std::string line;
  SNAP_ASSIGN(const bool any, reader.read_line(line));
  if (!any) return reader.damaged("the manifest is empty");
  const std::string_view any_version = kBlockHead.substr(0, kBlockHead.size() - 1);
  if (line != kBlockHead && line.starts_with(any_version)) {
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("'{}' is a block manifest of version '{}'; this program reads version 1",
                    reader.name_, excerpt(line.substr(any_version.size()))));
  }
  if (line == kBlockHead) {
    SNAP_TRY(reader.read_block_head());
  } else {
    SNAP_TRY(reader.read_sums(line));
  }
  return reader;
}

Result<void> ManifestReader::read_block_head() {
  std::string line;
  bool has_size = false;
  while (in_->peek() == '#') {
    SNAP_TRY(read_line(line));
    const auto words = words_of(line);
    if (words.size() < 3) continue;
    if (words[1] == "size") {
      const auto size = number_of(words[2]);
      if (!size || *size > kMaxFileSize) return damaged("the size is none that an image can have");
      size_ = *size;
      has_size = true;
    } else if (words[1] == "block-size") {
      block_size_ = number_of(words[2]).value_or(0);
    } else if (words[1] == "algorithms") {
      for (size_t i = 2; i < words.size(); ++i) {
        const auto algorithm = hash_algorithm(words[i]);
        if (!algorithm) {
          return damaged(fmt::format("algorithm '{}' is not known", excerpt(words[i])));
        }
        if (std::find(algorithms_.begin(), algorithms_.end(), *algorithm) != algorithms_.end()) {
          return damaged(fmt::format("algorithm '{}' is named twice", words[i]));
        }
        algorithms_.push_back(*algorithm);
      }
    }
  }
  if (!has_size || block_size_ == 0 || block_size_ > kMaxFileSize || algorithms_.empty()) {
    return damaged("the head lacks size, block size or algorithms");
  }
  return {};
}

Result<void> ManifestReader::read_sums(std::string line) {
  bool more = true;
  while (more) {
    if (!line.empty() && line[0] != '#') SNAP_TRY(read_sum(line));
    SNAP_ASSIGN(more, read_line(line));
  }
  return images_.empty() ? damaged("the manifest has no sums") : Result<void>();
}

Result<void> ManifestReader::read_sum(std::string_view line) {
  const bool is_escaped = line[0] == '\\';
  if (is_escaped) line.remove_prefix(1);
  const size_t open = line.find(" (");
  const size_t close = line.rfind(") = ");
  const bool is_tagged = open != std::string_view::npos && close != std::string_view::npos &&
                         open < close && hash_algorithm(line.substr(0, open));
  const std::string_view sum = is_tagged ? line.substr(close + 4) : line.substr(0, line.find(' '));
  const std::string_view name = is_tagged ? line.substr(open + 2, close - open - 2)
                                          : line.substr(std::min(sum.size() + 2, line.size()));
  const auto algorithm =
      is_tagged ? hash_algorithm(line.substr(0, open)) : algorithm_with(sum.size());
  if (!algorithm || !is_sum(sum) || sum.size() != hash_digits(*algorithm)) {
    return damaged("it is neither a sum nor a comment");
  }
  ImageSums& of = image(is_escaped ? unescaped(name) : std::string(name));
  if (images_.size() > kMostImages || of.sums.size() >= kMostSums) return damaged("too many sums");
  of.algorithms.push_back(*algorithm);
  of.sums.push_back(lower(sum));
  return {};
}

// The one of that name, or a new one.
ImageSums& ManifestReader::image(std::string name) {
  const auto [at, is_new] = indexes_.try_emplace(name, images_.size());
  if (is_new) images_.push_back({std::move(name), {}, {}});
  return images_[at->second];
}

Result<std::optional<std::vector<std::string>>> ManifestReader::next_block() {
  std::string line;
  do {
    SNAP_ASSIGN(const bool more, read_line(line));
    if (!more) {
      if (next_ < size_) return damaged(fmt::format("the block at byte {} is missing", next_));
      return std::optional<std::vector<std::string>>();
    }
  } while (line.empty() || line[0] == '#');
  const auto words = words_of(line);
  if (words.size() != 1 + algorithms_.size() || number_of(words[0]) != next_ || next_ >= size_) {
    return damaged(fmt::format("it is not the block at byte {}", next_));
  }
  std::vector<std::string> sums;
  for (size_t i = 0; i < algorithms_.size(); ++i) {
    if (!is_sum(words[i + 1]) || words[i + 1].size() != hash_digits(algorithms_[i])) {
      return damaged("a sum is none");
    }
    sums.push_back(lower(words[i + 1]));
  }
  next_ += std::min(block_size_, size_ - next_);
  return std::optional(std::move(sums));
}

}  // namespace snaptool
