// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include "libsnap/io/image_file.h"

namespace snaptool::access {

// What an image of some format holds, as a File that is only read: parts of it are taken as of any
// other.
class FormatFile : public ImageFile {
 public:
  explicit FormatFile(std::unique_ptr<Image> image)
      : ImageFile(*image, true), image_(std::move(image)) {}

 private:
  std::unique_ptr<Image> image_;
};

// The other way round: a parent, as an Image that keeps its File.
class FileImage : public RawImage {
 public:
  explicit FileImage(std::shared_ptr<File> file)
      : RawImage(*file, file->size()), file_(std::move(file)) {}

 private:
  std::shared_ptr<File> file_;
};

}  // namespace snaptool::access
