// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/access/byte_output.h"
#include "libsnap/access/door.h"
#include "libsnap/copy/block_map.h"
#include "libsnap/io/salvage_image.h"
#include "libsnap/ops/convert_image.h"

namespace snaptool::ops {

struct ConvertRequest {
  access::ImageSpec image;
  std::string path;  // of the new image; "-": standard output
  const access::ImageDriver* driver = nullptr;
  std::optional<access::ImageSpec> base;  // the new image has only what differs from it
  std::map<std::string, std::string> settings;
  bool compress = false;
  uint64_t sparse = 4096;  // of a raw image: so many bytes of zeros become a hole; 0: none do
  bool fill = false;       // the file is there, and is filled: of a raw image only
  bool durable = true;
  bool salvage = false;  // what cannot be read becomes zeros
  // Only what it maps is written, once its sums were found to be those of the image; of a raw image
  // only, without anything else of these but `fill` and `durable`.
  std::optional<BlockMap> map;
  bool verify = false;  // the new image is read back before it gets its name
};

struct Converted {
  ConvertResult result;
  uint64_t size = 0;                   // of the new image, bytes
  bool streamed = false;               // it went into a pipe
  std::vector<access::ImageSum> sums;  // that the new image carries
  // What could not be read: the first SalvageImage::kMostRanges of it, and all of its bytes.
  std::vector<ByteRange> unreadable;
  uint64_t unreadable_bytes = 0;
};

// Makes an image of another format. Everything is checked before anything is written. Errors: those
// of Door, open_image and the driver; kUnsupported for what the format cannot say; kInvalidArgument
// for what does not go together; kCorruption when, read back, it is not the source.
// Crash: a new image is there whole or not at all; a raw one may be left under "<path>.partial",
// with which the same request goes on.
Result<Converted> convert(const access::Context& context, const ConvertRequest& request);

}  // namespace snaptool::ops
