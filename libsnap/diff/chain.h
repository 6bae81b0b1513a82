// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/base/buffer_pool.h"
#include "libsnap/base/zstd.h"
#include "libsnap/diff/change_stream.h"

namespace snaptool {

static_assert(kWindowBytes == kIoPiece, "a window fits a buffer of BufferPool");

// One diff of a chain.
struct ChainLink {
  std::string name;  // for messages
  // Called once for Chain::open and the first reading together, and again for each further one.
  std::function<Result<std::unique_ptr<ChangeReader>>()> open;
};

// What the diffs of a chain say together.
struct ChainShape {
  bool full = false;  // the first has no base
  uint64_t base_size = 0;
  std::vector<uint64_t> sizes;  // what each leads to, bytes
  bool has_old_sums = true;     // a wrong base is noticed
  std::optional<Sha256::Digest> parent_id;
  uint64_t final_size() const { return sizes.back(); }
  // What lies behind the smallest of the sizes was cut off on the way.
  uint64_t kept_size() const;
  // How many windows become zeros that no diff says anything of: of what was cut off, and came
  // back.
  uint64_t silent_windows() const;
};

// What all diffs of a chain do to one window; or to several, one behind the other, that all become
// zeros in the same way.
struct WindowChange {
  uint64_t window = 0;
  uint64_t windows = 1;
  std::vector<std::optional<ChangeRecord>> records;  // of each diff
  uint64_t start() const { return window * kWindowBytes; }
  uint64_t end() const { return start() + kWindowBytes; }  // of the first
};

// Windows whose end of the image is cut off or added without a diff saying anything of them.
struct WindowRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Buffers and decompressors, which threads use in turn.
class ChainTools {
 public:
  BufferPool& buffers() { return buffers_; }

  class Zstd {
   public:
    explicit Zstd(ChainTools& tools);
    ~Zstd();
    Zstd(const Zstd&) = delete;
    Zstd& operator=(const Zstd&) = delete;
    ZstdDecompressor& get() { return *zstd_; }

   private:
    ChainTools& tools_;
    std::unique_ptr<ZstdDecompressor> zstd_;
  };

 private:
  BufferPool buffers_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<ZstdDecompressor>> free_;  // guarded by mutex_
};

// The windows of a chain, in order, each with what every diff has for it.
class ChainReader {
 public:
  // `borders`: windows, ascending, that are not taken together with those before them.
  static Result<ChainReader> open(std::vector<std::unique_ptr<ChangeReader>> readers,
                                  WindowRange silent, std::vector<uint64_t> borders);

  // The window that comes next; nothing at the end.
  std::optional<uint64_t> peek() const;
  // Takes at most so many windows together: what a diff discards may be larger than any disk.
  // Requires: peek() is something; most > 0. Errors: those of the readers.
  Result<void> next(WindowChange& change, uint64_t most = 1);
  const ChangeReader& reader(size_t i) const { return *readers_[i]; }

 private:
  Result<void> advance(size_t i);
  // How many windows from this one on have the same changes, at most `most`.
  uint64_t alike(uint64_t window, uint64_t most) const;

  std::vector<std::unique_ptr<ChangeReader>> readers_;
  std::vector<std::optional<ChangeRecord>> heads_;
  WindowRange silent_;
  std::vector<uint64_t> borders_;
};

// A window after all diffs.
struct ReplayedWindow {
  std::vector<ChangeExtent> extents;  // what it was written to, and how that ends
  // The diff that expects something else of the window; nothing when all is as expected.
  std::optional<size_t> unexpected;
};

// What must link a diff to the one before it.
enum class Linking {
  kRequired,  // something must say that it follows: identities, whole sums, ids, names of snapshots
  kOptional,  // it is enough that nothing says the contrary
};

// Which of the contents that diffs expect are held against what is there.
enum class OldContent {
  kUnchecked,
  kWhereKnown,  // all, in a full chain (its window is zeros at first); else what diffs before wrote
  kAll,         // the window has the base's
};

// Diffs that follow each other.
class Chain {
 public:
  // Reads the headers. `image_size`: the base's size where the first diff does not say it.
  // Errors: kWrongBase when one does not follow from the one before; those of the readers.
  static Result<Chain> open(std::vector<ChainLink> links, uint64_t image_size,
                            Linking linking = Linking::kRequired);

  const ChainShape& shape() const { return shape_; }
  const std::string& name(size_t i) const { return links_[i].name; }
  // Of the diff's own header. Requires: read was not called yet.
  const ChangeHeader& header(size_t i) const { return headers_[i]; }

  // Reads from the start. A target that is not `resizable` does not have zeros where it grows.
  Result<ChainReader> read(bool resizable);
  // That diff `i` expects something else of a window than the ones before it leave.
  Error does_not_follow(size_t i, const WindowChange& change) const;
  // The ends of all diffs. Requires: `reader` is at its end. Errors: kWrongBase when one does not
  // follow from the one before, or when nothing says that it does.
  Result<std::vector<ChangeEnd>> ends(const ChainReader& reader) const;

  // Goes through the diffs in `window`, which has what the base has in their extents. What they
  // write is in it then, whatever was there before. May be called from several threads.
  // Errors: kCorruption.
  Result<ReplayedWindow> replay(const WindowChange& change, bool resizable, OldContent old,
                                std::span<std::byte> window, ChainTools& tools) const;

 private:
  explicit Chain(std::vector<ChainLink> links) : links_(std::move(links)) {}
  // Whether diff `i` follows the one before it. Errors: kWrongBase.
  Result<void> check_link(size_t i, const ChangeHeader& before, const ChangeEnd& end_before,
                          const ChangeHeader& header, const ChangeEnd& end) const;

  Linking linking_ = Linking::kRequired;
  std::vector<ChainLink> links_;
  std::vector<ChangeHeader> headers_;
  std::vector<std::unique_ptr<ChangeReader>> readers_;  // of the first read
  ChainShape shape_;
};

}  // namespace snaptool
