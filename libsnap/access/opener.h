// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "libsnap/access/context.h"
#include "libsnap/access/spec.h"
#include "libsnap/io/posix_file.h"

namespace snaptool::access {

// Opens files and parts of files: every file of the machine once, however many parts of it are
// asked for, since its locks would keep out a second time.
class Opener {
 public:
  explicit Opener(const Context& context) : context_(context) {}

  const Context& context() const { return context_; }
  // Files that will be asked for to be written are opened so from the start.
  void expect_writes(const FileSpec& spec);
  // Errors: those of PosixFile::open; kNotFound, kCorruption, kUnsupported for parts; kUnsupported
  // and those of ImageDriver for images of another format than raw; kWrongBase for a parent that
  // is not there; kInvalidArgument for a file that is printed to, and, unless Policy::force, for a
  // volume that is to be written by metadata that may be out of date.
  Result<std::shared_ptr<File>> open(const FileSpec& spec, const OpenOptions& options);
  // The same; but several files without a part of them all are what they are: some PVs.
  Result<std::vector<std::shared_ptr<File>>> open_all(const FileSpec& spec,
                                                      const OpenOptions& options);
  // Parts of a file that is open.
  Result<std::shared_ptr<File>> open_parts(std::shared_ptr<File> file,
                                           const std::vector<Part>& parts);
  // The volume group that a volume's last part names, over what the parts before it are.
  // Requires: spec.volume().
  Result<std::unique_ptr<VolumeGroup>> open_group(const FileSpec& spec, const OpenOptions& options);
  // The file itself, whatever it holds.
  Result<std::shared_ptr<File>> open_path(const std::string& path, const OpenOptions& options);
  // How the image at `path` is opened, without a parent. Requires: the opener outlives them.
  ImageOptions options_for(const std::string& path);
  // What the image at `path` says of itself, all its files taken together. Errors: as
  // ImageDriver::whole_facts.
  Result<ImageFacts> whole_facts(const std::string& path, const std::shared_ptr<File>& file,
                                 const ImageDriver& driver);
  // Every file that is open.
  std::vector<std::shared_ptr<File>> files() const;

 private:
  // How an image was come to, from parent to parent.
  struct Followed {
    std::vector<const File*> files;  // to find it when they come again
    std::string folder;              // of the first of them, which the user named
    // Of Policy::parents, the one that is the parent of what comes next; nothing off that way.
    std::optional<size_t> next_named;
  };

  Result<std::shared_ptr<File>> open_source(const std::string& path, const FileSpec& spec,
                                            const OpenOptions& options, Followed followed = {});
  void warn_of_other_part(const std::string& path, const std::string& other) const;
  Result<void> check_main(const std::string& path, const ImageDriver& driver) const;
  Error has_no_parent(const std::string& path) const;
  Result<std::shared_ptr<File>> open_split(const std::string& path, const FileSpec& spec,
                                           const OpenOptions& options);
  Result<std::shared_ptr<File>> open_joined(const std::string& path, const FileSpec& spec,
                                            std::shared_ptr<File> file);
  Result<std::vector<std::shared_ptr<File>>> open_sources(const FileSpec& spec,
                                                          const OpenOptions& options,
                                                          const Followed& followed = {});
  Result<std::shared_ptr<File>> open(const FileSpec& spec, const OpenOptions& options,
                                     const Followed& followed);

  // parents.cc
  Result<std::shared_ptr<File>> open_image(const std::string& path, std::shared_ptr<File> file,
                                           const ImageDriver& driver, bool is_main,
                                           Followed followed);
  const std::string* named_parent(const Followed& followed) const;
  Result<std::shared_ptr<File>> open_parent(const std::string& path, const ImageFacts& facts,
                                            const Followed& followed);
  Result<std::shared_ptr<File>> open_extent(const std::string& path, const std::string& name);
  Result<FileSpec> find_parent(const std::string& path, const ParentRef& parent,
                               const std::string& folder) const;
  Result<void> check_identity(const std::string& path, const ParentRef& parent,
                              const std::string& own, const std::string& file_name);
  static Result<void> check_not_another(const std::string& path, const ParentRef& parent,
                                        const std::string& found);
  Result<std::shared_ptr<File>> open_named_parent(const std::string& path, const ParentRef& parent,
                                                  const Followed& followed);

  // parts.cc
  Result<std::shared_ptr<File>> open_partition(const std::shared_ptr<File>& disk, const Part& part,
                                               const std::string& name);
  Result<std::unique_ptr<VolumeGroup>> group_over(std::vector<std::shared_ptr<File>> devices,
                                                  const Part& part);
  Result<std::shared_ptr<File>> open_volume(std::vector<std::shared_ptr<File>> devices,
                                            const Part& part, const std::string& name);

  const Context context_;
  std::vector<FileId> written_;
  bool writes_ = false;  // something will be written
  std::vector<std::pair<FileId, std::shared_ptr<File>>> open_;
  std::set<std::string> warned_of_map_;
};

inline constexpr OpenOptions kLook{Access::kRead, true};

// That nothing is printed into the file. Errors: kInvalidArgument.
Result<void> check_not_printed_to(const Context& context, const File& file);
// Which file or device a path names; nothing where there is none.
std::optional<FileId> id_of(const std::string& path);
// Where the image at `path` says that its parent is.
std::string parent_path(const std::string& path, const ParentRef& parent);
// What a volume's part names. Errors: kNotFound.
Result<VolumeName> resolve_part(const VolumeGroup& group, const Part& part);
// The backup that Policy::group_backup names. Errors: those of PosixFile; kInvalidArgument.
Result<std::optional<std::string>> read_group_backup(const Context& context);

}  // namespace snaptool::access
