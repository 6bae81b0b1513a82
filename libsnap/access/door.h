// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/access/open_image.h"
#include "libsnap/access/operation.h"
#include "libsnap/io/content_file.h"
#include "libsnap/io/output_file.h"
#include "libsnap/snap/view/snapshot.h"

namespace snaptool::access {

// A file, device or part of one that may be written: it has passed every guard (Door).
class Target {
 public:
  Target() = default;
  // To be written. Requires: it was not opened to be looked at only.
  File& file() const;
  bool writable() const { return writable_; }
  // To be looked at.
  File& look() const { return *file_; }
  const FileSpec& spec() const { return spec_; }
  // Whether it is a whole file, and no block device: then it can grow, and has a folder.
  bool is_file() const;

 private:
  friend class Door;
  Target(std::shared_ptr<File> file, FileSpec spec, bool writable)
      : file_(std::move(file)), spec_(std::move(spec)), writable_(writable) {}

  std::shared_ptr<File> file_;
  FileSpec spec_;
  bool writable_ = false;
};

// A disk of which the topmost layer is written to: a raw file, or a store over what is only read;
// and stores over that disk.
struct Disk {
  OpenImage below;               // files and layers under the topmost one; none under a raw file
  Target top;                    // the raw file, or the COW
  std::unique_ptr<Image> image;  // what the disk shows
  // The same, of a view: as what it is, and as a File.
  Snapshot* snapshot = nullptr;
  std::unique_ptr<ContentFile> view_file;
  std::vector<Target> cows;

  // What is written to: the raw file, or the view.
  File& file() const {
    File& written = top.file();
    return view_file ? static_cast<File&>(*view_file) : written;
  }
  File& look() const { return view_file ? static_cast<File&>(*view_file) : top.look(); }
  // The raw file, or what is below the store.
  File& origin() const { return below.files.empty() ? top.look() : *below.files.front(); }
  // Every file that is written to, or that what is written stands on.
  std::vector<File*> files() const;
};

// The one way to files that are written. What comes through it has passed these guards, all of them
// before anything is written:
//
// - nobody else has it open: locks, mounts, device-mapper, loop devices; nor what is replaced;
// - it is no input, under whatever name, and nothing is printed into it;
// - it is raw, or was said to be;
// - no other snapshot of it that its volume group knows loses its view;
// - it shares no bytes with another partition or volume, nor with the group's metadata;
// - no apply to it was interrupted;
// - what an earlier run left of it is on the medium, and is read from there (medium.h);
// - names, permissions and the order of the operands make sense.
class Door {
 public:
  // With Access::kRead everything is only looked at, for a dry run. Requires: `operation` outlives
  // this.
  Door(const Context& context, const Operation& operation, Access access = Access::kReadWrite)
      : context_(context), operation_(operation), access_(access), opener_(context) {}

  const Context& context() const { return context_; }
  // For what is only read: all that it opens counts as an input.
  Opener& opener() { return opener_; }

  // Opens the topmost layer of an image, and `cows`, which are stores over it. `lower` is how a
  // store as the topmost layer behaves. Errors: those of Opener, Snapshot::open and
  // check_origin_and_cow; kInvalidArgument where a guard says no that Policy::force waives; kBusy;
  // kCorruption where it shares bytes; kUnsupported for what is not raw, and for a part of a view.
  Result<Disk> open_disk(const ImageSpec& image, const std::vector<FileSpec>& cows,
                         const SnapshotOptions& lower);
  // Opens one file, or a part of one, which goes with `others` (the origin, `base`, first; or
  // none). Errors: as open_disk.
  Result<Target> open_file(const FileSpec& spec, const FileSpec& base,
                           const std::vector<File*>& others);

  // Makes a new file that appears whole or not at all. Errors: those of OutputFile::create and
  // check_output_name.
  Result<std::unique_ptr<OutputFile>> make_file(const std::string& path, uint64_t size);
  // The same; it replaces nothing.
  Result<std::unique_ptr<OutputFile>> make_new_file(const std::string& path);
  // The same, which can be gone on with when it is interrupted: OutputFile::resume.
  Result<std::unique_ptr<OutputFile>> resume_file(const std::string& path, uint64_t size);

  // That it is nothing that was opened since the output of that name was made. Errors:
  // kInvalidArgument.
  Result<void> check_no_input(const std::string& path) const;

  // A file that an operation keeps what it needs in to go on or back, and that messages call
  // `what` ("the undo file"): nullptr when there is none yet. Errors: kInvalidArgument when it is
  // an input, or no regular file; those of Files::open.
  Result<std::shared_ptr<File>> find_notes(const std::string& path, std::string_view what);
  // Makes one. Errors: those of Files::create.
  Result<std::shared_ptr<File>> make_notes(const std::string& path);

 private:
  Result<std::unique_ptr<OutputFile>> make_output(const std::string& path, uint64_t size,
                                                  bool replace);
  // That it is none of Policy::read_beside. Errors: kInvalidArgument.
  Result<void> check_not_read(const std::string& path) const;
  std::vector<const File*> inputs() const;
  OpenOptions options() const;
  Result<void> look_at(const ImageSpec& image, const std::vector<FileSpec>& cows) const;
  Result<void> check_alone(const FileSpec& spec, const std::vector<FileSpec>& known) const;
  Result<void> check_no_apply(const FileSpec& spec) const;
  Result<Target> open_target(const FileSpec& spec);

  const Context context_;
  const Operation& operation_;
  const Access access_;
  Opener opener_;
};

}  // namespace snaptool::access
