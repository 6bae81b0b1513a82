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

#include "formats/image_writer.h"
#include "libsnap/base/progress.h"
#include "libsnap/diff/change_stream.h"
#include "libsnap/io/image.h"

namespace snaptool {

// Formats of images. One is a folder beside this file, with its FORMAT.md, and a row in the table
// of format.cc.

// The image below another: what the upper one does not hold comes from there.
struct ParentRef {
  std::string name;                   // as the upper one has it: often relative to its own folder
  std::optional<std::string> format;  // as QEMU calls it; nullopt: it does not say
};

// What a file says of itself. Nothing of it was followed to another file.
struct FormatFacts {
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
  uint64_t size = 0;  // of the image, bytes
  std::optional<ParentRef> parent;
  bool corrupt = false;               // the image is marked so
  std::vector<std::string> warnings;  // what can be got round
  // What else there is to say, by the names that qemu-img has for it.
  std::vector<std::pair<std::string, std::variant<std::string, uint64_t, bool>>> details;
  std::vector<std::pair<std::string, std::string>> metadata;  // what its owner noted, by their keys
  std::vector<Snapshot> snapshots;
  std::vector<Bitmap> bitmaps;
};

// How an image is opened to be read.
struct FormatOptions {
  const Cancel& cancel;
  std::shared_ptr<Image> parent = nullptr;   // none was named
  std::optional<std::string> snapshot = {};  // of those within the image, by its id or name
  // Gets what is found out while it is read, from any thread; may be none.
  std::function<void(const std::string&)> warn = nullptr;
};

// How a new image is made.
struct CreateOptions {
  uint64_t size = 0;                // bytes; a multiple of size_unit
  std::optional<ParentRef> parent;  // what it is over
  bool compress = false;
  bool in_place = false;  // what a crash leaves must not look like an image: the file has its name
  std::map<std::string, std::string> settings;  // by the names of FormatDriver::settings
};

// One of CreateOptions::settings, for help.
struct FormatSetting {
  std::string_view name;
  std::string_view help;  // a phrase without full stop
};

struct FormatDriver {
  std::string_view name;  // as QEMU calls it, where it does
  // Whether a file begins so; nullptr: it is not told by its magic. Looks at the first kProbeBytes
  // at most.
  bool (*probe)(std::span<const std::byte> head);
  // Errors: kCorruption; kUnsupported for what is not read of it; kIo; kInterrupted. nullptr: a
  // file of it alone is no image.
  Result<FormatFacts> (*facts)(File& file, const Cancel& cancel);
  // Errors: as facts; kNotFound for a snapshot that is not there; kWrongBase when it needs a parent
  // that was not given.
  Result<std::unique_ptr<Image>> (*open)(std::shared_ptr<File> file, const FormatOptions& options);
  // Makes an image of a file that is empty; nullptr: that cannot be done. Errors: kInvalidArgument
  // for settings; kUnsupported.
  Result<std::unique_ptr<ImageWriter>> (*create)(File& file, const CreateOptions& options);
  // The same, front to back, so that it can go through a pipe; nullptr: that cannot be done.
  Result<std::unique_ptr<ImageWriter>> (*stream)(ByteSink sink, const CreateOptions& options);
  std::span<const FormatSetting> settings;
  uint64_t size_unit;     // bytes; others sizes cannot be told by the format
  bool can_be_parent;     // other images may name one of it as what they are over
  bool has_parents_size;  // an image of it is as large as what it is over
};

inline constexpr size_t kProbeBytes = 512;

// All formats whose images are more than the bytes of their file.
std::span<const FormatDriver> format_drivers();
const FormatDriver* find_format(std::string_view name);
// The one whose magic the file begins with; nullptr: none. Errors: kIo.
Result<const FormatDriver*> detect_format(File& file);

}  // namespace snaptool
