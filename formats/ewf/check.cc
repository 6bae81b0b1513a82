// SPDX-License-Identifier: Apache-2.0
#include "formats/ewf/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "formats/common/zlib_format.h"
#include "formats/ewf/chunks.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/counted.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/parallel.h"

namespace snaptool::ewf {
namespace {

constexpr uint64_t kMostBuffers = 32 * kMiB;
constexpr size_t kMostTold = 16;      // chunks, of which it is told what is wrong
constexpr size_t kMostRanges = 1024;  // of damage
constexpr size_t kMostErrors = 64;    // of the acquisition, that are listed

class Checker {
 public:
  Checker(const Contents& contents, const Job& job)
      : contents_(contents),
        job_(job),
        reader_(contents, [this](const std::string& text) { warned(text); }),
        size_(contents.volume->size()),
        piece_(std::max<uint64_t>(1, kIoPiece / reader_.chunk_bytes()) * reader_.chunk_bytes()) {
    const uint64_t most = std::max<uint64_t>(1, kMostBuffers / piece_);
    slots_.resize(std::min<uint64_t>(most, std::max(1U, job.jobs) * kSlotsPerThread));
    job.progress.set_size(size_);
  }

  Result<access::SumsFound> run() {
    read_rest();
    SNAP_TRY(parallel_ordered(slots_.size(), job_,
                              {[this](size_t i) -> Result<bool> { return take(slots_[i]); },
                               [this](size_t i) { return read(slots_[i]); },
                               [this](size_t i) { return add(slots_[i]); },
                               {}}));
    found_.has_sums = true;
    found_.problems.insert(found_.problems.begin(), contents_.problems.begin(),
                           contents_.problems.end());
    found_.problems.insert(found_.problems.end(), warnings_.begin(), warnings_.end());
    if (reader_.loose_chunks() > 0) {
      const bool is_one = reader_.loose_chunks() == 1;
      found_.notes.push_back(fmt::format("{} {} other bytes after {}, which nothing reads",
                                         counted(reader_.loose_chunks(), "chunk"),
                                         is_one ? "has" : "have", is_one ? "it" : "them"));
    }
    compare();
    for (const ErrorList& errors : contents_.errors) SNAP_TRY(note_errors(errors));
    if (errors_ > kMostErrors) {
      found_.notes.push_back(
          fmt::format("in all, {} ranges with {} sectors could not be read when it was acquired",
                      errors_, error_sectors_));
    }
    return std::move(found_);
  }

 private:
  // A sum of the whole.
  struct Sum {
    Sum(std::string_view called, std::string text, HashAlgorithm algorithm)
        : name(called), stored(std::move(text)), hash(algorithm), longer(algorithm) {}
    void update(std::span<const std::byte> data, bool has_rest) {
      hash.update(data);
      if (has_rest) longer.update(data);
    }

    std::string_view name;
    std::string stored;
    Hash hash;    // of the image
    Hash longer;  // of that and what is stored after it
  };
  // A stretch of the image, whole chunks.
  struct Slot {
    uint64_t offset = 0;
    RawBytes data;
    std::vector<ByteRange> damaged;
    std::vector<std::string> told;
  };

  bool take(Slot& slot) {
    if (at_ == size_) return false;
    slot.offset = at_;
    slot.data.resize(std::min(piece_, size_ - at_));
    slot.damaged.clear();
    slot.told.clear();
    at_ += slot.data.size();
    return true;
  }

  Result<void> read(Slot& slot) {
    for (uint64_t at = 0; at < slot.data.size();) {
      if (job_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      const uint64_t chunk = (slot.offset + at) / reader_.chunk_bytes();
      const auto out = std::span(slot.data).subspan(at, reader_.length_of(chunk));
      auto done = reader_.read(chunk, 0, out);
      if (!done && done.error().code() != ErrorCode::kCorruption) return done;
      if (!done) {
        slot.damaged.push_back({slot.offset + at, out.size()});
        if (slot.told.size() < kMostTold) slot.told.push_back(done.error().describe());
      }
      at += out.size();
    }
    return {};
  }

  Result<void> add(Slot& slot) {
    for (const ByteRange& range : slot.damaged) add_damaged(range);
    for (std::string& text : slot.told) {
      if (told_ < kMostTold) found_.problems.push_back(std::move(text));
      ++told_;
    }
    if (found_.damaged.empty()) {
      for (Sum& sum : sums_) sum.update(slot.data, !rest_.empty());
    }
    job_.progress.add(slot.data.size());
    return {};
  }

  void add_damaged(const ByteRange& range) {
    found_.damaged_bytes += range.length;
    auto& ranges = found_.damaged;
    if (!ranges.empty() && ranges.back().offset + ranges.back().length == range.offset) {
      ranges.back().length += range.length;
    } else if (ranges.size() < kMostRanges) {
      ranges.push_back(range);
    }
  }

  // What is stored after the medium's last sector. ewfacquire has it in the sums.
  void read_rest() {
    if (!contents_.md5.empty()) sums_.emplace_back("MD5", contents_.md5, HashAlgorithm::kMd5);
    if (!contents_.sha1.empty()) sums_.emplace_back("SHA-1", contents_.sha1, HashAlgorithm::kSha1);
    if (sums_.empty()) return;
    if (auto rest = reader_.read_rest()) rest_ = std::move(*rest);
  }

  // The sums of all of it, which say nothing where some of it is not known.
  void compare() {
    if (!found_.damaged.empty()) return;
    bool with_rest = false;
    for (Sum& sum : sums_) {
      const std::string content = sum.hash.finish();
      if (content == sum.stored) continue;
      sum.longer.update(rest_);
      if (!rest_.empty() && sum.longer.finish() == sum.stored) {
        with_rest = true;
        continue;
      }
      found_.wrong_content =
          fmt::format("the {} that is stored is {}, but that of the content is {}", sum.name,
                      sum.stored, content);
      found_.problems.push_back(found_.wrong_content);
    }
    if (with_rest) {
      found_.notes.push_back(fmt::format(
          "{} bytes after the last whole sector are no part of the image; MD5 and SHA-1 that are "
          "stored count them",
          rest_.size()));
    }
    if (sums_.empty()) found_.notes.emplace_back("no MD5 or SHA-1 of the whole image is stored");
  }

  // What could not be read from the medium.
  Result<void> note_errors(const ErrorList& errors) {
    File& file = contents_.file_of(errors.segment);
    Adler32 sum;
    std::array<std::byte, 512 * kErrorBytes> bytes{};
    for (uint32_t done = 0; done < errors.entries;) {
      const uint32_t count = std::min<uint32_t>(512, errors.entries - done);
      const auto piece = std::span(bytes).first(count * kErrorBytes);
      SNAP_TRY(file.read_at(errors.position + kErrorBytes * uint64_t{done}, piece));
      sum.add(piece);
      for (uint32_t i = 0; i < count; ++i) {
        const auto first = load_le<uint32_t>(piece.data() + i * kErrorBytes);
        const auto length = load_le<uint32_t>(piece.data() + i * kErrorBytes + 4);
        error_sectors_ += length;
        if (++errors_ <= kMostErrors) note_error(first, length);
      }
      done += count;
    }
    std::array<std::byte, kSumBytes> stored{};
    SNAP_TRY(file.read_at(errors.position + kErrorBytes * uint64_t{errors.entries}, stored));
    if (load_le<uint32_t>(stored.data()) != sum.value()) {
      found_.problems.push_back(
          fmt::format("'{}': the Adler-32 of the acquisition's errors is wrong", file.name()));
    }
    return {};
  }

  void note_error(uint64_t first, uint64_t length) {
    const uint64_t sector = contents_.volume->sector_bytes;
    found_.notes.push_back(
        fmt::format("{} bytes from byte {} on could not be read when it was "
                    "acquired",
                    length * sector, first * sector));
  }

  // From any thread.
  void warned(const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (warnings_.size() < kMostTold) warnings_.push_back(text);
  }

  const Contents& contents_;
  const Job& job_;
  ChunkReader reader_;
  uint64_t size_;
  uint64_t piece_;
  std::vector<Slot> slots_;
  uint64_t at_ = 0;
  size_t told_ = 0;
  uint64_t errors_ = 0;  // of the acquisition, that were looked at
  uint64_t error_sectors_ = 0;
  std::vector<Sum> sums_;  // those that are stored
  RawBytes rest_;          // what is stored after the medium's end
  access::SumsFound found_;
  std::mutex mutex_;  // guards what follows
  std::vector<std::string> warnings_;
};

}  // namespace

Result<access::SumsFound> check_contents(const Contents& contents, const Job& job) {
  return Checker(contents, job).run();
}

}  // namespace snaptool::ewf
