// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace snaptool {

// What kind of failure it is. A caller acts on the code; a person reads the message.
// cli/support/exit_status.h maps each code to its exit status.
enum class ErrorCode {
  kInvalidArgument,  // the request makes no sense
  kNotFound,         // a named file or part is not there
  kIo,               // the operating system reported an error
  kNoSpace,          // a device, file system or store is full
  kCorruption,       // input data break their format (a file that ends early, too)
  kUnsupported,      // sound, but not something this version does
  kInvalidated,      // the kernel (or a writer) marked the store invalid
  kBusy,             // somebody else has it open
  kInterrupted,      // cancelled on request
  kWrongBase,        // not the image that was expected
};

// The stable name of a code, as used in messages for programmers and in tests ("invalid_argument").
std::string_view error_code_name(ErrorCode code);

// What the caller can do about an error, besides what its message says. A program words it as an
// option, a button, or whatever it has.
enum class Remedy {
  kNone,
  kForce,             // ask for it all the same
  kTakeAsRaw,         // say that the file is a raw image
  kTakeBaseAsRaw,     // say that the base is a raw image
  kJoinSplit,         // say that the file is the first part of a split image
  kFollowParents,     // allow the parents that images name to be opened
  kFollowAnywhere,    // allow it wherever they lie
  kNameParent,        // name the parent
  kIgnoreInvalid,     // ask for what is left
  kNameJournal,       // name a file for the journal
  kNameSpool,         // name a file to keep a stream in
  kNameOutput,        // name a new file
  kNameBase,          // name the base
  kExportWhole,       // export the diff with the sums of whole images
  kResizeStore,       // make the store larger
  kNameBackup,        // name a backup of the volume group's metadata
  kAllowInvalid,      // let snapshots that are too small become invalid
  kNameSiblings,      // name the other snapshots, so that they keep their views
  kReplaceFile,       // replace the file that is there
  kOverwrite,         // write over what is there
  kDropTail,          // drop the entries past the end of the list
  kNameChunkSize,     // name the chunk size
  kNameOrigin,        // name what the image is over
  kCreateStore,       // make a store of it
  kRepairStore,       // repair the store into a new file
  kAcceptDuplicates,  // take the first of several entries for a chunk
  kListDefects,       // verify the store
  kTakeCopy,          // go on in a copy of what an interrupted run was writing to
  kRaiseZeroed,       // allow more zeros where an image was cut and grew again
  kLinkDiffs,         // export the diff so that it names the one before, or say that it follows
  kApplyDiff,         // it is a diff: apply it
  kUndoMerge,         // it is an undo file: undo the merge
  kResumeApply,       // it is the journal of an apply: go on
  kCheckSums,         // it is a manifest: check an image by it
  kNameSums,          // name a manifest of sums
  kLeaveSandbox,      // do without the sandbox
};

// An error: a code, the errno behind it (0 if none), a message and the contexts it passed through.
class Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  // An error of the operating system: `what` names the call, `err` is its errno. ENOSPC and EDQUOT
  // become kNoSpace, ENOENT kNotFound, all else kIo.
  static Error from_errno(int err, std::string what);

  // The same error, seen from one level further out ("merging area 7 of x.cow").
  Error with_context(std::string context) &&;
  Error with_context(std::string context) const&;

  // The same error with advice behind it, in parentheses ("'...' resumes").
  Error with_note(std::string note) &&;

  Error with_remedy(Remedy remedy) &&;

  ErrorCode code() const { return code_; }
  Remedy remedy() const { return remedy_; }
  int sys_errno() const { return errno_; }
  const std::string& message() const { return message_; }

  // One line: "<outermost context>: ...: <message>[: <text of errno>][ (<note>)]".
  std::string describe() const;

 private:
  ErrorCode code_;
  int errno_ = 0;
  Remedy remedy_ = Remedy::kNone;
  std::string message_;
  std::vector<std::string> contexts_;  // innermost first
  std::string note_;
};

}  // namespace snaptool
