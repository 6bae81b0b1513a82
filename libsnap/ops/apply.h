// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/access/change_file.h"
#include "libsnap/access/door.h"
#include "libsnap/diff/apply.h"
#include "libsnap/ops/data_source.h"

namespace snaptool::ops {

// The diffs of an apply, in their order.
struct DiffSet {
  std::vector<std::string> paths;  // the oldest first; "-" stands for `stream`
  DataSource* stream = nullptr;    // a diff that comes through a pipe, kept in `spool` until it is
  std::string spool;               // applied, so that it can be applied again
  Linking linking = Linking::kRequired;
};

// What is known of the image that an apply leaves.
enum class Known {
  kChanges,  // that it has what the diffs change
  kAll,      // that it is what the last diff leads to
};

struct ApplyResult {
  uint64_t bytes = 0;                      // that were to be written
  bool nothing_to_do = false;              // the image had all changes already
  std::optional<Sha256::Digest> child_id;  // of the state that the last diff leads to
  Known known = Known::kChanges;
};

// The file that a stream of changes went to. It goes away unless it is needed to finish.
class Spool {
 public:
  Spool() = default;
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;
  ~Spool();
  // Receives all of `stream`. Errors: those of Door::make_file and the stream; kInvalidArgument
  // when there is such a file.
  Result<void> receive(access::Door& door, DataSource& stream, const std::string& path);
  bool is_used() const { return !path_.empty(); }
  void keep(bool needed) { needed_ = needed; }

 private:
  const access::Files* files_ = nullptr;
  std::string path_;
  bool needed_ = false;
};

struct ApplyRequest {
  DiffSet diffs;
  // All of the image must be the base of the first diff, and become the target of the last.
  bool verify_base = false;
  // The image may be half done by these diffs, whose journal was lost: what it has where they write
  // is not checked. What becomes of it is, where the last diff says what that is.
  bool without_journal = false;
  ApplyOptions options;
};

// What an apply in place and one to a new file have in common: diffs that were opened and checked.
class OpenDiffs {
 public:
  // Errors: those of ChangeFile and Spool.
  Result<void> open(access::Door& door, const DiffSet& diffs);
  // Errors: those of Chain::open.
  Result<Apply> apply(uint64_t image_size, const ApplyRequest& request) const;

  const std::string& name(size_t i) const { return files_[i]->name(); }
  size_t count() const { return files_.size(); }
  // Where they are, also what came through a pipe.
  std::vector<std::string> paths() const;
  // Tells diffs apart: their lengths and both ends, where the end has the sums of all of it; else
  // all of their bytes. Errors: those of File; kInterrupted.
  Result<Sha256::Digest> fingerprint(const Cancel& cancel) const;
  // They are what a crash is mended with: they must be as durable as the journal, and are read from
  // the medium from now on. Errors: those of access::trust_only_medium.
  Result<void> settle(const access::Context& context) const;
  Spool& spool() { return spool_; }

 private:
  Spool spool_;
  std::vector<std::unique_ptr<access::ChangeFile>> files_;
};

// Applies diffs to an image in place, so that a crash at any instant can be mended by the same
// request. libsnap/diff/APPLY.md has the order.
class ApplyJob {
 public:
  // Opens and checks everything; writes nothing but the spool. `journal`: where it is kept;
  // nothing: beside the image, if that is a file. Errors: those of Door::open_disk, Apply::check
  // and ApplyJournal; kWrongBase; kInvalidArgument for a full diff, and without a place for the
  // journal; kNoSpace.
  static Result<std::unique_ptr<ApplyJob>> prepare(const access::Context& context,
                                                   const ApplyRequest& request,
                                                   const access::ImageSpec& image,
                                                   const std::optional<std::string>& journal);
  // Writes, durably, and removes the journal. Errors: those of Apply::write. Crash, error: the
  // image is between two states, and prepare and run again finish it; where nothing was written, no
  // new journal is left.
  Result<ApplyResult> run();

  // The diffs' files, to be named again.
  std::vector<std::string> paths() const { return diffs_.paths(); }
  // Whether a run that failed left the image between two states.
  bool is_half_done() const { return half_done_; }

 private:
  ApplyJob(const access::Context& context, const ApplyRequest& request)
      : context_(context), request_(request), door_(context, access::operations::kApply) {}
  Result<void> open(const access::ImageSpec& image, const std::optional<std::string>& journal);
  Result<void> find_place(const std::string& file, const std::optional<std::string>& journal);
  Result<void> find_journal();
  Result<void> find_writes();
  Result<bool> will_write_again(PersistentStore& store, const Exception& entry);
  Result<void> check_diffs();
  Result<void> check();
  Result<void> check_same_image();
  Result<void> make_room(const ApplyTarget& target);
  Result<void> make_journal();
  Result<void> write();
  Result<void> settle();
  void remove_journal();

  const access::Context context_;
  ApplyRequest request_;
  access::Door door_;
  access::Disk disk_;
  OpenDiffs diffs_;
  std::optional<Apply> apply_;
  bool resizable_ = false;

  std::string journal_path_;
  std::string marked_;  // the file that gets a mark of it
  std::shared_ptr<File> journal_file_;
  std::optional<ApplyJournal> journal_;
  ApplyJournal::Identity identity_;
  std::optional<std::vector<ByteRange>> writes_;  // that an interrupted run may have begun

  ChainCheck checked_;
  bool resumes_ = false;  // another run had begun
  bool half_done_ = false;
  ApplyResult result_;
};

// The same to a new file; the image stays as it is. No image: the first diff is a full one. Errors:
// as ApplyJob; those of Door::make_file; kUnsupported for a stream.
Result<ApplyResult> apply_to_new(const access::Context& context, const ApplyRequest& request,
                                 const std::optional<access::ImageSpec>& image,
                                 const std::string& path);

}  // namespace snaptool::ops
