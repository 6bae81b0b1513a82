// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "libsnap/access/image_writer.h"
#include "libsnap/base/progress.h"
#include "libsnap/diff/change_stream.h"
#include "libsnap/io/image.h"

namespace snaptool::access {

// The image below another: what the upper one does not hold comes from there.
struct ParentRef {
  // As the upper one has it: often relative to its own folder. Empty: it does not say.
  std::string name;
  std::vector<std::string> other_names;  // where it may be if not there, in this order
  std::optional<std::string> format;     // as QEMU calls it; nullopt: it does not say
  // What ImageFacts::identity of the parent may be; empty: the upper one does not say.
  std::vector<std::string> identities;
};

// What a file says of itself. Nothing of it was followed to another file.
struct ImageFacts {
  struct Snapshot {
    std::string id;
    std::string name;
    uint64_t size = 0;                // bytes
    std::optional<uint32_t> seconds;  // since 1970, if it says
  };
  struct Bitmap {
    std::string name;
    uint64_t granularity = 0;  // bytes
    bool in_use = false;       // it was not saved
    bool automatic = false;
  };
  uint64_t size = 0;     // of the image, bytes
  std::string identity;  // by which images over it know it; empty: they do not
  std::optional<ParentRef> parent;
  bool is_delta = false;  // it is only what changed over another, whether it says which or not
  bool corrupt = false;   // the image is marked so
  // Why QEMU shows something else of it; empty: it shows the same, or nothing.
  std::string not_as_qemu;
  std::vector<std::string> warnings;  // what can be got round
  // What else there is to say, by the names that qemu-img has for it.
  std::vector<std::pair<std::string, std::variant<std::string, uint64_t, bool>>> details;
  std::vector<std::pair<std::string, std::string>> metadata;  // what its owner noted, by their keys
  std::vector<Snapshot> snapshots;
  std::vector<Bitmap> bitmaps;
};

// How an image is opened to be read.
struct ImageOptions {
  const Cancel& cancel;
  std::shared_ptr<Image> parent = nullptr;   // none was named
  std::optional<std::string> snapshot = {};  // of those within the image, by its id or name
  // Of one that is broken, what can be told is wanted: what is not there is an error when it is
  // read.
  bool what_is_left = false;
  // Opens another file that is a part of the image, to be read: `name` is as the image has it,
  // relative to its own folder. Files elsewhere are refused unless the user allowed them. Not set
  // where none can be opened. Errors: kNotFound; kUnsupported for a file that may not be opened.
  std::function<Result<std::shared_ptr<File>>(const std::string& name)> open_part = nullptr;
  // Gets what is found out while it is read, from any thread; may be none.
  std::function<void(const std::string&)> warn = nullptr;
};

// What the file of a new image has before the image is written to it.
enum class Before {
  kZeros,    // it is new: what is not written reads as zeros
  kUnknown,  // anything: what a crash leaves must not look like an image
  kPartly,   // perhaps a part of the image already, which is not written again
};

// How a new image is made.
struct CreateOptions {
  uint64_t size = 0;                // bytes; a multiple of size_unit
  std::optional<ParentRef> parent;  // what it is over
  bool compress = false;
  Before before = Before::kZeros;
  uint64_t sparse = 4096;  // of a raw image: so many bytes of zeros become a hole; 0: none do
  std::map<std::string, std::string> settings;  // by the names of ImageDriver::settings
  const Cancel* cancel = nullptr;  // for what may take long within a piece; may be none
};

// How an image is written to that is there.
struct UpdateOptions {
  const Cancel& cancel;
  // An image of the same format over it, all of which is written: once it is, what is over that one
  // may be over this. nullptr: none of the same format.
  File* child = nullptr;
};

// One of CreateOptions::settings, for help.
struct ImageSetting {
  std::string_view name;
  std::string_view help;  // a phrase without full stop
};

// What a check of the sums that an image has of itself found.
struct SumsFound {
  bool has_sums = false;
  std::vector<std::string> problems;  // what is wrong; none: the image is sound
  std::vector<ByteRange> damaged;     // of the image, ascending; the first ones of many
  uint64_t damaged_bytes = 0;         // all
  std::string wrong_content;          // that what is read is not what it was; empty: it is
  std::vector<std::string> notes;     // what there is to know, and no damage
};

// Where an image of several files goes, one after the other.
struct PartsSink {
  std::function<Result<void>()> begin_part;  // what comes next goes into the next file
  ByteSink write;
  std::function<Result<void>(uint64_t length)> skip;  // so many bytes of zeros
};
// What the part of that number is called, from 1 on, as the first one's name is; nullopt: there is
// no such name.
using PartName = std::optional<std::string> (*)(const std::string& first, unsigned number);

// What a file of the format is.
enum class ImageKind {
  kRaw,    // the image is the bytes of its file
  kImage,  // the image is in the file
  kStore,  // only half of an image, which goes over another
};

// A format of images.
struct ImageDriver {
  std::string_view name;        // as QEMU calls it, where it does
  std::string_view alias = {};  // as others call it
  ImageKind kind = ImageKind::kImage;
  // Whether a file begins so; nullptr: it is not told by its magic. Looks at the first kProbeBytes
  // at most.
  bool (*probe)(std::span<const std::byte> head) = nullptr;
  // The same of one that is told by the last kProbeBytes of its file, which is `size` bytes long.
  // A guest may have written them: more than a magic must be right.
  bool (*probe_tail)(std::span<const std::byte> tail, uint64_t size) = nullptr;
  // Whether a file that begins so may need other files of its folder (ImageOptions::open_part);
  // nullptr: none does.
  bool (*has_parts)(std::span<const std::byte> head) = nullptr;
  // Errors: kCorruption; kUnsupported for what is not read of it; kIo; kInterrupted. Only of a
  // kImage.
  Result<ImageFacts> (*facts)(File& file, const Cancel& cancel) = nullptr;
  // The same of all files of an image that has parts, which are opened for it; nullptr: facts says
  // all.
  Result<ImageFacts> (*whole_facts)(std::shared_ptr<File> file,
                                    const ImageOptions& options) = nullptr;
  // Errors: as facts; kNotFound for a snapshot that is not there; kWrongBase when it needs a parent
  // that was not given.
  Result<std::unique_ptr<Image>> (*open)(std::shared_ptr<File> file,
                                         const ImageOptions& options) = nullptr;
  // Reads all of the image, and compares the sums that it has of itself; nullptr: the format has
  // none. Errors: kCorruption where something is wrong that leaves no more to say; kUnsupported;
  // kIo; kInterrupted.
  Result<SumsFound> (*check_sums)(std::shared_ptr<File> file, const ImageOptions& options,
                                  const Job& job) = nullptr;
  // Whether whatever is read of it is compared with sums that leave no doubt: who reads all need
  // not check before. nullptr: it is not. Errors: as open.
  Result<bool> (*checks_reads)(std::shared_ptr<File> file, const ImageOptions& options) = nullptr;
  // The image that several files are, in their order, each made as a part of it; nullptr: there is
  // no such thing. Errors: as open.
  Result<std::unique_ptr<Image>> (*open_parts)(std::vector<std::shared_ptr<File>> files,
                                               const ImageOptions& options) = nullptr;
  // Makes an image of a file that is empty; nullptr: that cannot be done. Errors: kInvalidArgument
  // for settings; kUnsupported.
  Result<std::unique_ptr<ImageWriter>> (*create)(File& file,
                                                 const CreateOptions& options) = nullptr;
  // The same, front to back, so that it can go through a pipe; nullptr: that cannot be done.
  Result<std::unique_ptr<ImageWriter>> (*stream)(ByteSink sink,
                                                 const CreateOptions& options) = nullptr;
  // The same, as several files; nullptr: that cannot be done. Requires: `parts_setting` is set.
  Result<std::unique_ptr<ImageWriter>> (*stream_parts)(PartsSink sink,
                                                       const CreateOptions& options) = nullptr;
  std::string_view parts_setting = {};  // the one that asks for it
  PartName part_name = nullptr;
  // Writes into an image that is there, in place. Pieces name units of the image, of its size;
  // nothing is written for others. Whatever a crash leaves is an image of the same size, which
  // shows the same but for the units that were named; it has another identity only when all is
  // there. nullptr: that cannot be done. Errors: as facts; kCorruption, too, for what is read with
  // a warning only.
  Result<std::unique_ptr<ImageWriter>> (*update)(File& file,
                                                 const UpdateOptions& options) = nullptr;
  std::span<const ImageSetting> settings = {};
  uint64_t size_unit = 1;  // bytes; other sizes cannot be told by the format
  // The same of an image with these settings; nullptr: it does not depend on them.
  uint64_t (*size_unit_of)(const std::map<std::string, std::string>& settings) = nullptr;
  bool can_be_parent = false;     // other images may name one of it as what they are over
  bool takes_base = false;        // one can be made over another
  bool has_snapshots = false;     // an image of it can have snapshots within
  bool has_parents_size = false;  // an image of it is as large as what it is over
  bool can_compress = false;
};

inline constexpr size_t kProbeBytes = 512;

}  // namespace snaptool::access
