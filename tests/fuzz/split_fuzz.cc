// SPDX-License-Identifier: Apache-2.0
// Parts of a split raw image, as many, named and as large as the bytes say: joined, they are one
// behind the other, or it is said why not; a gap in their numbers is.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "libsnap/access/opener.h"
#include "libsnap/access/split_raw.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/split_case.h"
#include "tests/support/model.h"
#include "tests/support/scratch.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostOpen = 64;  // files at once
using Lengths = std::vector<uint64_t>;

// All have the length of the first, but the last may be shorter.
bool belong_together(const Lengths& lengths) {
  const uint64_t size = lengths.front();
  return lengths.back() <= size &&
         std::all_of(lengths.begin(), lengths.end() - 1,
                     [size](uint64_t length) { return length == size; });
}

// Most have one length; what is left to chance is now and then.
Lengths lengths_of(size_t count, FuzzInput& in) {
  const uint64_t length = in.number() % 5000;
  Lengths lengths(count, length);
  if (in.byte() % 2 == 0) lengths.back() = in.number() % (length + 1);
  if (in.byte() % 4 == 0) lengths[in.byte() % count] = in.number();
  return lengths;
}

Bytes content_of_part(size_t number, uint64_t length) {
  Bytes content(length);
  for (size_t i = 0; i < length; ++i) content[i] = static_cast<std::byte>(number * 31 + i / 7 + 1);
  return content;
}

void check_content(File& joined, const Bytes& whole, FuzzInput& in) {
  require(joined.size() == whole.size() && content_of(joined) == whole);
  for (uint64_t at = 0; at < whole.size();) {
    const auto extent = joined.extent_at(at, whole.size() - at);
    require(extent && extent->length > 0 && extent->length <= whole.size() - at);
    at += extent->length;
  }
  for (int i = 0; i < 4 && !whole.empty(); ++i) {  // over borders
    const size_t at = in.number() % whole.size();
    Bytes piece(std::min<size_t>(in.number(), whole.size() - at));
    require(joined.read_at(at, piece).has_value());
    require(std::equal(piece.begin(), piece.end(), whole.begin() + static_cast<ptrdiff_t>(at)));
  }
  Bytes more(1);
  require(!joined.read_at(whole.size(), more));
}

void try_join(FuzzInput& in) {
  const size_t count = 1 + in.byte() % 100;
  Lengths lengths = lengths_of(count, in);
  // Sparse ones, as large as a file can be.
  const bool large = in.byte() % 16 == 1;
  if (large) std::fill(lengths.begin(), lengths.end(), kMaxFileSize >> in.byte() % 64U);
  std::vector<std::shared_ptr<File>> parts;
  Bytes whole;
  for (size_t i = 0; i < count; ++i) {
    const auto part = std::make_shared<MemoryFile>("part", lengths[i]);
    const Bytes content = content_of_part(i, large ? 0 : lengths[i]);
    require(part->write_at(0, content).has_value());
    whole.insert(whole.end(), content.begin(), content.end());
    parts.push_back(part);
  }
  const auto joined = access::join_split_raw(std::move(parts));
  if (large) return;
  require(joined.has_value() == belong_together(lengths));
  require(joined || joined.error().code() == ErrorCode::kCorruption);
  if (joined) check_content(**joined, whole, in);
}

void write_file(const fs::path& path, const Bytes& content) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(content.data()),
            static_cast<std::streamsize>(content.size()));
  require(out.flush().good());
}

// Makes them, and others beside them; returns what each has.
std::vector<Bytes> make_files(const Parts& parts, const fs::path& folder, FuzzInput& in) {
  for (const char* const other : {"disk.txt0", "x", "disk.", "d.001.0001a", "other.002", "0.q1"}) {
    write_file(folder / other, Bytes(5));
  }
  const Lengths lengths = lengths_of(std::max<size_t>(1, parts.there.size()), in);
  std::vector<Bytes> contents;
  for (const size_t number : parts.there) {
    const fs::path path = folder / parts.family.name(number);
    contents.push_back(content_of_part(number, lengths[contents.size()] % 700));
    const Oddity oddity = number == parts.odd ? parts.oddity : Oddity::kNone;
    if (oddity == Oddity::kLink) {
      fs::create_symlink("other.002", path);
    } else if (oddity == Oddity::kFolder) {
      fs::create_directory(path);
    } else if (oddity == Oddity::kSecondName && number != *parts.there.begin()) {
      fs::create_hard_link(folder / parts.family.name(*parts.there.begin()), path);
    } else {
      write_file(path, contents.back());
    }
  }
  return contents;
}

void try_names(FuzzInput& in) {
  const Scratch scratch;
  const Parts parts = take_parts(in);
  const std::vector<Bytes> contents = make_files(parts, scratch.path(), in);
  const auto path = [&](size_t number) {
    return (scratch.path() / parts.family.name(number)).string();
  };
  const std::string second = access::second_part_of(path(parts.first));
  require(second.empty() || second == path(parts.first + 1));
  const Expected expected = expect(parts);
  const auto found = access::find_split_raw(path(parts.first));
  require(!found || !expected.error);
  require(found || expected.error == found.error().code());
  if (expected.end - parts.first > kMostOpen && found) return;
  for (size_t i = 0; found && i < found->size(); ++i) {
    require((*found)[i].name == path(parts.first + i));
  }
  const TestNotices notices;
  const access::Policy policy;
  const Cancel cancel;
  access::Opener opener({all_drivers(), policy, notices, cancel});
  access::FileSpec spec(path(parts.first));
  spec.format = "split";
  const auto joined = opener.open(spec, access::kLook);
  const size_t count = found ? expected.end - parts.first : 0;
  require(count > 0 || !joined);
  if (count == 0) return;
  require(found->size() == count);
  Lengths lengths;
  Bytes whole;
  for (size_t i = 0; i < count; ++i) {  // without gaps, these are all that there are
    lengths.push_back(contents[i].size());
    whole.insert(whole.end(), contents[i].begin(), contents[i].end());
  }
  const bool twice = parts.oddity == Oddity::kSecondName && parts.odd > parts.first &&
                     parts.odd < expected.end;
  require(joined.has_value() == (!twice && belong_together(lengths)));
  if (joined) check_content(**joined, whole, in);
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(split)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;
  if (size < 1 || size > 4096) return 0;
  // Byte 0: files in memory, or their names in a folder.
  FuzzInput in(data + 1, size - 1);
  data[0] % 2 == 0 ? try_join(in) : try_names(in);
  return 0;
}
