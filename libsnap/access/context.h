// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/access/drivers.h"
#include "libsnap/base/progress.h"

namespace snaptool::access {

// What the user allows and knows. Every field is the careful choice until it is set.
struct Policy {
  bool force = false;           // go past guards that can be wrong
  bool force_share = false;     // readers take no locks and respect none
  bool ignore_invalid = false;  // show what an invalid store, or a corrupt image, still has
  bool follow_parents = false;  // open the files that images name as their parents
  // A file that may be followed to, where an image names it as its parent.
  std::optional<std::string> known_parent;
  // Of the main image: its parent, instead of the one that it names; and the snapshot within it.
  std::optional<std::string> parent;
  std::optional<std::string> internal_snapshot;
  // A backup of the metadata of volume groups, instead of what the disks carry: a path.
  std::optional<std::string> group_backup;
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
};

// With what files are opened. All of it outlives what is opened.
struct Context {
  const Drivers& drivers;
  const Policy& policy;
  const Notices& notices;
  const Cancel& cancel;
};

}  // namespace snaptool::access
