// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/access/drivers.h"
#include "libsnap/base/progress.h"
#include "libsnap/io/posix_file.h"

namespace snaptool::access {

// Which parents an image may name: whoever made it can have written any name into it.
enum class Parents {
  kNone,
  kInFolder,  // plain files in the folder of the image that the user named, or below it
  kAnywhere,
};

// What the user allows and knows. Every field is the careful choice until it is set.
struct Policy {
  bool force = false;           // go past guards that can be wrong
  bool force_share = false;     // readers take no locks and respect none
  bool ignore_invalid = false;  // show what an invalid store, or a corrupt image, still has
  bool salvage = false;         // the same of what is made of it: what is missing is got past
  bool from_medium = false;     // whatever is read comes from the medium, not from the page cache
  bool leave_cache = false;     // what is read and written leaves the page cache as it is
  Parents follow_parents = Parents::kNone;
  // A file that may be followed to, where an image names it as its parent.
  std::optional<std::string> known_parent;
  // Of the main image: its parent, instead of the one that it names, the parent of that, and so on;
  // and the snapshot within it.
  std::vector<std::string> parents;
  std::optional<std::string> internal_snapshot;
  // A backup of the metadata of volume groups, instead of what the disks carry: a path.
  std::optional<std::string> group_backup;
  // Files that the program reads otherwise (a block map, a backup): none of them is an output.
  std::vector<FileId> read_beside;
  // Files that the program writes otherwise: where its messages and results go. None of them is
  // opened.
  std::vector<FileId> printed_to;
};

// Gets what a person should know. Called from any thread.
class Notices {
 public:
  virtual ~Notices() = default;
  // Something looks like a mistake, and need not be one. `remedy`: what can be done about it.
  virtual void warn(std::string_view text, Remedy remedy = Remedy::kNone) const = 0;
  // For whoever wants to know how it is done.
  virtual void say(std::string_view text) const = 0;
  // Shows how far something is ("merging") for as long as what it returns lives.
  virtual std::shared_ptr<void> show(std::string_view what, const Progress& progress) const = 0;
};

// Says how much of a new file shares its blocks with what it was made from; nothing if none does.
void say_shared(const Notices& notices, const File& file);

// How the files that a user names are opened: those of this machine, or a test's.
class Files {
 public:
  virtual ~Files() = default;
  // A link stands for what it leads to, where that is to be made, too. Errors: those of
  // PosixFile::open and PosixFile::create.
  virtual Result<std::shared_ptr<File>> open(const std::string& path,
                                             const OpenOptions& options) const;
  virtual Result<std::shared_ptr<File>> create(const std::string& path) const;
  // Takes the name away, durably; none is no error. Errors: kIo.
  virtual Result<void> remove(const std::string& path) const;
  // Makes the name durable, as File::flush does what is in it. Errors: kIo.
  virtual Result<void> flush_name(const std::string& path) const;
  // Of this machine.
  static const Files& posix();
};

// With what files are opened. All of it outlives what is opened.
struct Context {
  const Drivers& drivers;
  const Policy& policy;
  const Notices& notices;
  const Cancel& cancel;
  unsigned jobs = 1;  // threads to use at most, at least 1
  const Files& files = Files::posix();
};

// A stretch of work that is shown while it is done.
class Phase {
 public:
  // `size`: how many bytes there will be; 0: not known.
  Phase(const Context& context, std::string_view what, uint64_t size = 0)
      : job_{progress_, context.cancel, context.jobs} {
    progress_.set_size(size);
    shown_ = context.notices.show(what, progress_);
  }
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;
  const Job& job() const { return job_; }

 private:
  Progress progress_;
  Job job_;
  std::shared_ptr<void> shown_;
};

}  // namespace snaptool::access
