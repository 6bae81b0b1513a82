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
  // The same, but it is written under the name "<path>.partial" and stays there without commit, so
  // that another call can go on with it. Errors: also kInvalidArgument when a file of that name has
  // another size, and `replace` is false.
  static Result<std::unique_ptr<OutputFile>> resume(const std::string& path, uint64_t size,
                                                    const std::vector<const File*>& inputs,
                                                    bool replace);
  // Without commit, nothing is left, unless it can be resumed.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  File& file() { return *file_; }
  // Where it is until commit.
  const std::string& temporary_name() const { return temporary_; }
  // Without commit, nothing is left of it.
  void do_not_keep() { keep_ = false; }
  // True when everything not yet written reads as zeros.
  bool starts_zeroed() const { return !temporary_.empty() && !resumed_; }
  // True when some of it may have been written by an earlier call.
  bool is_resumed() const { return resumed_; }
  // Makes the first `length` bytes those of `source`, sharing their blocks, and the rest zeros;
  // false where the file system cannot, and nothing changed. Requires: nothing was written yet;
  // source has so many bytes. Errors: those of File::resize.
  Result<bool> clone(const File& source, uint64_t length);
  // Flushes the file, gives it its name, and flushes the folder; or, not `durable`, only names it.
  // Errors: as File::flush; kInvalidArgument when somebody else made `path` meanwhile.
  // Crash: either the complete file is there, or `path` is as it was.
  Result<void> commit(bool durable = true);

 private:
  OutputFile() = default;
  Result<bool> check_path(const std::string& path, uint64_t size,
                          const std::vector<const File*>& inputs);

  std::string path_;
  std::string temporary_;  // empty for a device
  bool replace_ = false;
  bool keep_ = false;     // without commit, it stays
  bool resumed_ = false;  // it was there
  bool committed_ = false;
  std::unique_ptr<PosixFile> file_;
};

}  // namespace snaptool
