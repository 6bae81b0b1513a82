// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "cli/image_spec.h"
#include "cli/invocation.h"
#include "formats/format.h"
#include "formats/lvm2/volume_group.h"
#include "libsnap/io/posix_file.h"

namespace snaptool::cli {

// Opens files and parts of files: every file of the machine once, however many parts of it are
// asked for, since its locks would keep out a second time.
class Opener {
 public:
  explicit Opener(const Invocation& invocation) : invocation_(invocation) {}

  // Files that will be asked for to be written are opened so from the start.
  void expect_writes(const FileSpec& spec);
  // Errors: those of PosixFile::open; kNotFound, kCorruption, kUnsupported for parts; kUnsupported
  // and those of FormatDriver for images of another format than raw; kWrongBase for a parent that
  // is not there;
  // kInvalidArgument for a volume that is to be written by LVM metadata that may be out of date,
  // unless --force is given.
  Result<std::shared_ptr<File>> open(const FileSpec& spec, const OpenOptions& options);
  // The same; but several files without a part of them all are what they are: some PVs.
  Result<std::vector<std::shared_ptr<File>>> open_all(const FileSpec& spec,
                                                      const OpenOptions& options);
  // Parts of a file that is open.
  Result<std::shared_ptr<File>> open_parts(std::shared_ptr<File> file,
                                           const std::vector<Part>& parts);
  // The volume group that a volume's last part names, over what the parts before it are.
  // Requires: spec.volume().
  Result<lvm2::OpenVolumeGroup> open_group(const FileSpec& spec, const OpenOptions& options);
  // The file itself, whatever it holds.
  Result<std::shared_ptr<File>> open_path(const std::string& path, const OpenOptions& options);
  // Every file that is open.
  std::vector<std::shared_ptr<File>> files() const;

 private:
  // The files that an image was followed through to its parent, to find it when they come again.
  using Followed = std::vector<const File*>;

  Result<std::shared_ptr<File>> open_source(const std::string& path, const FileSpec& spec,
                                            const OpenOptions& options, Followed followed = {});
  // Whether --parent names the parent of an image here (to export it is a diff).
  bool has_parent_option() const;
  Result<std::shared_ptr<File>> open_split(const std::string& path, const OpenOptions& options);
  Result<std::shared_ptr<File>> open_format(const std::string& path, std::shared_ptr<File> file,
                                            const FormatDriver& driver, bool is_main,
                                            Followed followed);
  Result<std::shared_ptr<File>> open_parent(const std::string& path, const ParentRef& parent,
                                            bool is_main, const Followed& followed);
  Result<std::vector<std::shared_ptr<File>>> open_sources(const FileSpec& spec,
                                                          const OpenOptions& options);
  Result<lvm2::OpenVolumeGroup> group_over(std::vector<std::shared_ptr<File>> devices,
                                           const Part& part);
  Result<std::shared_ptr<File>> open_volume(std::vector<std::shared_ptr<File>> devices,
                                            const Part& part, const std::string& name);

  const Invocation& invocation_;
  std::vector<FileId> written_;
  bool writes_ = false;  // something will be written
  std::vector<std::pair<FileId, std::shared_ptr<File>>> open_;
  std::set<std::string> warned_of_map_;
};

// The backup of LVM's metadata that --vgcfg names. Errors: those of PosixFile; kInvalidArgument.
Result<std::optional<std::string>> vgcfg_backup(const Invocation& invocation);

// Puts what LVM's metadata say into the names: a snapshot becomes the view of its COW over its
// origin. Errors: those of Opener; kInvalidArgument when a COW of LVM's goes with another origin
// than its own.
Result<ImageSpec> resolve(const Invocation& invocation, ImageSpec spec);

// An image that is read, as the user names it, resolved: of the format that an option (--format, or
// --second-format) says, or else its magic. Errors: as parsing and resolve.
Result<ImageSpec> image_named(const Invocation& invocation, const std::string& text,
                              std::string_view format_option);
// An operand as such an image.
Result<ImageSpec> image_operand(const Invocation& invocation, size_t index = 0,
                                std::string_view format_option = "format");
// An operand that is written to, or a store: the bytes of the file, unless --format says otherwise.
Result<ImageSpec> target_operand(const Invocation& invocation, size_t index = 0);
// An origin with its COW, resolved.
Result<ImageSpec> origin_and_cow_operands(const Invocation& invocation, size_t first = 0);
// A COW and nothing else; of LVM's snapshots, their name will do. Errors: as resolve;
// kInvalidArgument for a view.
Result<FileSpec> cow_operand(const Invocation& invocation, const std::string& text);

// The other snapshots that LVM has of a volume, and that show something: what a change to it
// breaks. Nothing when it is no volume.
Result<std::vector<std::string>> lvm_siblings(const Invocation& invocation, const FileSpec& origin,
                                              const std::vector<FileSpec>& known);
// Errors: kInvalidArgument when there are any, unless --force is given; `remedy` ("--snapshot COW
// keeps theirs") is what else can be done.
Result<void> check_lvm_siblings(const Invocation& invocation, const FileSpec& origin,
                                const std::vector<FileSpec>& known, std::string_view remedy = {});

}  // namespace snaptool::cli
