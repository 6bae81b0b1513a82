// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/crc32.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/model.h"

namespace snaptool::test {

// Header and first area of a dm-snapshot store.
inline Bytes store_bytes(unsigned how) {
  const uint32_t chunk_sectors = 1U << how / 64;
  const size_t chunk = chunk_sectors * kSectorSize;
  Bytes store(2 * chunk);
  store_le(&store[0], uint32_t{0x70416e53});
  store_le(&store[4], uint32_t{how % 8 == 7 ? 0U : 1U});
  store_le(&store[8], uint32_t{1});
  store_le(&store[12], chunk_sectors);
  for (size_t i = 0; i < std::min<size_t>(how % 64, chunk / 16); ++i) {
    store_le(&store[chunk + 16 * i], uint64_t{i});
    store_le(&store[chunk + 16 * i + 8], uint64_t{2 + i});
  }
  return store;
}

// A physical volume with all of its group "vg", as a fuzzer's bytes say: up to some MiB of text.
class VolumeMaker {
 public:
  using Piece = std::pair<uint64_t, Bytes>;  // where, and what

  VolumeMaker(uint64_t length, FuzzInput& in) : in_(in), length_(length) {
    const unsigned how = in.byte();
    const bool many = how % 8 == 7;
    most_ = many ? 8000 : 1 + how / 8;
    const uint64_t room = round_down(length / 2, kSectorSize);
    area_ = std::max<uint64_t>(2048, std::min(room, many ? 5 * kMiB / 4 : 64 * kKiB));
    extent_sectors_ = 8U << in.byte() % 3;
    start_ = (kArea + area_) / kSectorSize;
    const uint64_t extent = extent_sectors_ * kSectorSize;
    extents_ = (length - std::min(length, start_ * kSectorSize)) / extent;
    if (in.byte() % 8 == 7) extents_ += 9;  // that are not there
    for (unsigned& kind : kinds_) kind = in.byte();
  }

  std::vector<Piece> make() {
    add_label();
    std::string text = make_text();
    const unsigned damage = in_.byte();
    if (damage % 4 == 2) spoil(text);
    const uint32_t sum = sum_of(std::as_bytes(std::span(text)));
    if (damage % 4 == 3) spoil(text);
    const uint64_t offset = damage / 4 % 4 == 3 ? area_ - 600 : 512;
    add_area(offset, text.size(), sum);
    const auto bytes = std::as_bytes(std::span(text));
    const auto first = bytes.first(std::min<size_t>(bytes.size(), area_ - offset));
    const auto rest = bytes.subspan(first.size());
    pieces_.emplace_back(kArea + offset, Bytes(first.begin(), first.end()));
    pieces_.emplace_back(kArea + 512, Bytes(rest.begin(), rest.end()));
    return std::move(pieces_);
  }

 private:
  static constexpr uint64_t kArea = 4096;  // where the metadata area is

  static uint32_t sum_of(std::span<const std::byte> bytes) { return ~crc32(bytes, ~0xf597a6cfU); }

  void spoil(std::string& text) {
    for (unsigned n = in_.byte() % 8; n > 0; --n) {
      const size_t place = in_.number();
      text[place % text.size()] = static_cast<char>(in_.byte());
    }
  }

  void add_label() {
    Bytes label(kSectorSize);
    std::memcpy(label.data(), "LABELONE", 8);
    store_le(&label[8], uint64_t{1});
    store_le(&label[20], uint32_t{32});
    std::memcpy(&label[24], "LVM2 001", 8);
    std::fill_n(&label[32], 32, std::byte{'p'});
    store_le(&label[64], length_);
    store_le(&label[72], start_ * kSectorSize);
    const unsigned areas = in_.byte() % 8 == 7 ? 3 : 1;
    for (unsigned i = 0; i < areas; ++i) {
      store_le(&label[104 + 16 * i], kArea);
      store_le(&label[112 + 16 * i], area_);
    }
    store_le(&label[16], sum_of(std::span(label).subspan(20)));
    if (in_.byte() % 16 == 15) label[in_.number() % label.size()] ^= std::byte{1};
    pieces_.emplace_back(kSectorSize, std::move(label));
  }

  void add_area(uint64_t offset, uint64_t length, uint32_t sum) {
    Bytes header(kSectorSize);
    std::memcpy(&header[4], " LVM2 x[5A%r0N*>", 16);
    store_le(&header[20], uint32_t{1});
    store_le(&header[24], kArea);
    store_le(&header[32], area_);
    store_le(&header[40], offset);
    store_le(&header[48], length);
    store_le(&header[56], sum);
    store_le(&header[0], sum_of(std::span(header).subspan(4)));
    pieces_.emplace_back(kArea, std::move(header));
  }

  std::string make_text() {
    std::string text = fmt::format(
        "vg {{\nid = \"g\"\nseqno = 1\nextent_size = {}\nphysical_volumes {{\npv0 {{\n"
        "id = \"{}\"\npe_start = {}\npe_count = {}\n}}\n}}\nlogical_volumes {{\n",
        extent_sectors_, std::string(32, 'p'), start_, extents_);
    for (size_t i = 0; i < most_ && text.size() + 1600 < area_; ++i) {
      text += volume(i, kinds_[i % kinds_.size()]);
    }
    return text + "}\n}\n" + '\0';
  }

  static std::string section(std::string_view name, std::string_view type, uint64_t extents,
                             const std::string& more) {
    return fmt::format(
        "{0} {{\nid = \"0\"\nstatus = [\"READ\", \"VISIBLE\"]\nsegment1 {{\nstart_extent = 0\n"
        "extent_count = {2}\ntype = \"{1}\"\n{3}\n}}\n}}\n",
        name, type, extents, more);
  }

  std::string linear(std::string_view name, uint64_t extents, uint64_t from) {
    next_ = std::max(next_, from + extents);
    return section(name, "striped", extents,
                   fmt::format("stripe_count = 1\nstripes = [\"pv0\", {}]", from));
  }

  // The first is a plain one, which the others can be snapshots of.
  std::string volume(size_t number, unsigned kind) {
    const bool is_long = kind / 8 % 4 == 3;
    const std::string name = fmt::format("lv{}{}", number, std::string(is_long ? 100 : 0, 'x'));
    if (number == 0) origin_name_ = name;
    switch (number == 0 ? 0 : kind % 8) {
      case 2: {  // two stripes
        const uint64_t from = std::exchange(next_, next_ + 2);
        return section(name, "striped", 2,
                       fmt::format("stripe_count = 2\nstripe_size = 8\n"
                                   "stripes = [\"pv0\", {}, \"pv0\", {}]",
                                   from, from + 1));
      }
      case 3:
        return section(name, "zero", 2, "");
      case 4:
      case 5: {
        const uint64_t at = (start_ + next_ * extent_sectors_) * kSectorSize;
        if (next_ < extents_) pieces_.emplace_back(at, store_bytes(kind));
        return linear(name, 1, next_) +
               section(fmt::format("snapshot{}", number), "snapshot", 1,
                       fmt::format("chunk_size = 8\norigin = \"{}\"\n{} = \"{}\"", origin_name_,
                                   kind % 8 == 4 ? "cow_store" : "merging_store", name));
      }
      case 6:
        return kind / 32 % 2 == 0 ? section(name, "raid1", 1, "") : linear(name, 1, 0);
      case 7:
        return section(name, "striped", 1, "stripe_count = 1\nstripes = [\"lv0\", 0]");
      default:
        return linear(name, 1 + kind / 64, next_);
    }
  }

  FuzzInput& in_;
  uint64_t length_;
  size_t most_ = 0;             // LVs
  uint64_t area_ = 0;           // bytes
  uint64_t extent_sectors_ = 8;
  uint64_t start_ = 0;          // of the extents, sectors
  uint64_t extents_ = 0;
  uint64_t next_ = 0;           // extent that nobody has
  std::array<unsigned, 8> kinds_{};
  std::string origin_name_;
  std::vector<Piece> pieces_;
};

}  // namespace snaptool::test
