// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libsnap/io/posix_file.h"

namespace snaptool {

// A new file that appears whole or not at all: written under a temporary name in the same folder,
// then flushed and renamed. A block device is written directly.
class OutputFile {
 public:
  // Requires: `inputs` are the files that the content comes from.
  // Errors: kInvalidArgument when `path` is one of the inputs, or exists and `replace` is false; as
  // PosixFile::open.
  // Crash: leaves at most a file "<path>.<pid>.partial" beside it.
  static Result<std::unique_ptr<OutputFile>> create(const std::string& path, uint64_t size,
                                                    const std::vector<const File*>& inputs,
                                                    bool replace);
  // Without commit, nothing is left.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  File& file() { return *file_; }
  // True when everything not yet written reads as zeros.
  bool starts_zeroed() const { return !temporary_.empty(); }
  // Makes the first `length` bytes those of `source`, sharing their blocks, and the rest zeros;
  // false where the file system cannot, and nothing changed. Requires: nothing was written yet;
  // source has so many bytes. Errors: those of File::resize.
  Result<bool> clone(const File& source, uint64_t length);
  // Flushes the file, gives it its name, and flushes the folder.
  // Errors: as File::flush; kInvalidArgument when somebody else made `path` meanwhile.
  // Crash: either the complete file is there, or `path` is as it was.
  Result<void> commit();

 private:
  OutputFile() = default;

  std::string path_;
  std::string temporary_;  // empty for a device
  bool replace_ = false;
  bool committed_ = false;
  std::unique_ptr<PosixFile> file_;
};

}  // namespace snaptool
