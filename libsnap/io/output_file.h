// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libsnap/io/posix_file.h"

namespace snaptool {

// A new file that appears whole or not at all: written without a name in the same folder, then
// flushed and named. A block device is written directly.
//
// Until it has its name, only its owner can open it. Then it has the mode, owner and extended
// attributes of what it replaces, or at most the permissions of what it was made from.
class OutputFile {
 public:
  // Requires: `inputs` are the files that the content comes from.
  // Errors: kInvalidArgument when `path` is one of the inputs, or exists and `replace` is
  // false (symbolic links are followed, also to nothing); as PosixFile::open for writing, also for
  // what would be replaced. Crash: leaves nothing, or, where the file system knows no files without
  // a name, a file
  // "<path>.<six letters>.partial" beside it.
  static Result<std::unique_ptr<OutputFile>> create(const std::string& path, uint64_t size,
                                                    const std::vector<const File*>& inputs,
                                                    bool replace);
  // The same, but it is written under the name "<path>.partial" and stays there without commit, so
  // that another call can go on with it. Errors: also kInvalidArgument when a file of that name has
  // another size, and `replace` is false, or when it is not the caller's alone: a link, a file of
  // several names, somebody else's, or one that others may write.
  static Result<std::unique_ptr<OutputFile>> resume(const std::string& path, uint64_t size,
                                                    const std::vector<const File*>& inputs,
                                                    bool replace);
  // Without commit, nothing is left, unless it can be resumed.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  File& file() { return *file_; }
  // Where it is until commit, if it has a name.
  const std::string& temporary_name() const { return temporary_; }
  // Without commit, nothing is left of it.
  void do_not_keep() { keep_ = false; }
  // Nobody will have permissions that are not among these, too.
  void limit_permissions(unsigned permissions) { permissions_ &= permissions; }
  // True when everything not yet written reads as zeros.
  bool starts_zeroed() const { return !is_device_ && !resumed_; }
  // True when some of it may have been written by an earlier call.
  bool is_resumed() const { return resumed_; }
  // Makes the first `length` bytes those of `source`, sharing their blocks, and the rest zeros;
  // false where the file system cannot, and nothing changed. Requires: nothing was written yet;
  // source has so many bytes. Errors: those of File::resize.
  Result<bool> clone(const File& source, uint64_t length);
  // Flushes the file, gives it its name, and flushes the folder; or, not `durable`, only names it.
  // Errors: as File::flush; kInvalidArgument when somebody else made `path` meanwhile; kIo also
  // when it has its name, but the folder could not be flushed.
  // Crash: either the complete file is there, or `path` is as it was.
  Result<void> commit(bool durable = true);

 private:
  OutputFile() = default;
  static Result<std::unique_ptr<OutputFile>> look(const std::string& path, uint64_t size,
                                                  const std::vector<const File*>& inputs,
                                                  bool replace);
  Result<void> make_file();
  Result<void> open_partial(const std::vector<const File*>& inputs);
  void set_permissions();
  Result<void> name_it();

  std::string path_;
  std::string given_;      // the path, as messages have it
  std::string temporary_;  // empty: a device, or a file without a name
  bool is_device_ = false;
  bool replace_ = false;
  bool keep_ = false;     // without commit, it stays
  bool resumed_ = false;  // it was there
  bool committed_ = false;
  unsigned permissions_ = 0666;  // at most
  std::unique_ptr<PosixFile> file_;
  std::unique_ptr<PosixFile> replaced_;  // locked, so that nobody opens it meanwhile
};

}  // namespace snaptool
