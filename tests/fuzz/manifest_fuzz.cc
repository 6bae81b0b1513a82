// SPDX-License-Identifier: Apache-2.0
// Any bytes as a manifest, any bytes as the name in one: nothing crashes, what is accepted keeps
// the rules of manifest.h, and written again it reads the same.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <sstream>

#include "libsnap/base/printable.h"
#include "libsnap/base/units.h"
#include "libsnap/diff/manifest.h"
#include "tests/fuzz/fuzz_target.h"

namespace snaptool::test {
namespace {

constexpr size_t kLongestLine = 272 * kKiB;
constexpr size_t kMostSums = 64;
constexpr size_t kLongestName = kKiB;  // escaped, four times as long, it still fits a line

void require(bool condition) {
  if (!condition) std::abort();
}

// All that a manifest says.
struct Manifest {
  uint64_t size = 0;
  uint64_t block_size = 0;  // 0: of whole images
  std::vector<HashAlgorithm> algorithms;
  std::vector<std::vector<std::string>> rows;
  std::vector<ImageSums> images;
  bool operator==(const Manifest&) const = default;
};

void check_error(const Error& error) {
  require(error.code() == ErrorCode::kCorruption || error.code() == ErrorCode::kUnsupported);
}

std::optional<Manifest> read(const std::string& text) {
  std::istringstream in(text);
  auto reader = ManifestReader::open(in, "manifest");
  if (!reader) {
    check_error(reader.error());
    return std::nullopt;
  }
  Manifest manifest{reader->size(), reader->block_size(), reader->algorithms(), {}, {}};
  require(reader->of_blocks() == (manifest.block_size > 0));
  if (!reader->of_blocks()) {
    manifest.images = reader->images();
    return manifest;
  }
  while (true) {
    auto row = reader->next_block();
    if (!row) {
      check_error(row.error());
      return std::nullopt;
    }
    if (!*row) break;
    manifest.rows.push_back(**std::move(row));
  }
  const auto behind = reader->next_block();
  require(behind && !*behind);
  return manifest;
}

bool is_sum(const std::string& text, HashAlgorithm algorithm) {
  return text.size() == hash_digits(algorithm) && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

void check_row(const std::vector<std::string>& sums, const std::vector<HashAlgorithm>& algorithms) {
  require(!algorithms.empty() && sums.size() == algorithms.size());
  for (size_t i = 0; i < sums.size(); ++i) require(is_sum(sums[i], algorithms[i]));
}

void check_rules(const Manifest& manifest) {
  const auto& algorithms = manifest.algorithms;
  for (const auto& row : manifest.rows) check_row(row, algorithms);
  if (manifest.block_size == 0) {
    require(!manifest.images.empty());
    std::set<std::string> names;
    for (const ImageSums& image : manifest.images) {
      check_row(image.sums, image.algorithms);
      require(image.sums.size() <= kMostSums && names.insert(image.name).second);
    }
    return;
  }
  require(manifest.size <= kMaxFileSize && manifest.block_size <= kMaxFileSize);
  const uint64_t rest = manifest.size % manifest.block_size > 0 ? 1 : 0;
  require(manifest.rows.size() == manifest.size / manifest.block_size + rest);
  require(std::set(algorithms.begin(), algorithms.end()).size() == algorithms.size());
}

void check_lines(const std::string& text) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) require(line.size() <= kLongestLine);
}

std::string blocks_text(const Manifest& manifest, const std::string& name) {
  std::string text =
      block_manifest_head(manifest.size, manifest.block_size, manifest.algorithms, name);
  uint64_t offset = 0;
  for (const auto& row : manifest.rows) {
    text += block_manifest_line(offset, row);
    offset += manifest.block_size;
  }
  return text;
}

std::string sums_text(const Manifest& manifest, bool tagged) {
  std::string text;
  for (const ImageSums& image : manifest.images) {
    for (size_t i = 0; i < image.sums.size(); ++i) {
      const std::string line =
          manifest_line(image.algorithms[i], image.sums[i], image.name, tagged);
      require(line.find('\n') == line.size() - 1);
      text += line;
    }
  }
  require(printable_lines(text) == text);
  return text;
}

// A name that is not printable does not come back.
void forget_odd_names(Manifest& manifest) {
  std::erase_if(manifest.images, [](const ImageSums& image) {
    std::string name = image.name;
    std::erase_if(name, [](char c) { return c == '\n' || c == '\r'; });
    return printable(name) != name;
  });
}

void check_rewritten(Manifest manifest, const std::string& name) {
  if (manifest.block_size > 0) {
    require(read(blocks_text(manifest, name)) == manifest);
    return;
  }
  forget_odd_names(manifest);
  if (manifest.images.empty()) return;
  for (const bool tagged : {false, true}) require(read(sums_text(manifest, tagged)) == manifest);
}

void try_text(const std::string& text) {
  const auto manifest = read(text);
  if (!manifest) return;
  check_lines(text);
  check_rules(*manifest);
  check_rewritten(*manifest, "image");
}

// Whatever the image is called, its manifest can be read.
void try_name(const std::string& name) {
  Manifest manifest;
  manifest.rows.emplace_back();
  for (const HashAlgorithm algorithm : {HashAlgorithm::kSha256, HashAlgorithm::kMd5}) {
    manifest.algorithms.push_back(algorithm);
    manifest.rows.front().emplace_back(hash_digits(algorithm), 'a');
  }
  check_rewritten(manifest, name);
  manifest.size = manifest.block_size = 4096;
  check_rewritten(manifest, name);
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(manifest)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;
  if (size < 1 || size > snaptool::kMiB) return 0;
  // Byte 0: even, a manifest; odd, the name of an image.
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    try_text(text);
  } else {
    try_name(text.substr(0, kLongestName));
  }
  return 0;
}
