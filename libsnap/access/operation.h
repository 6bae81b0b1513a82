// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

namespace snaptool::access {

// What an operation does to the files that it opens. The door checks by it and by nothing else:
// tests/guards prints its table of operations and guards from these.
struct Operation {
  std::string_view name;
  // The bytes of a disk are overwritten: its other snapshots lose them, and a magic there is
  // somebody's image.
  bool writes_disk = false;
  // What is written is a whole disk, so that a lone store is a mistake.
  bool takes_whole_disk = false;
  // Exceptions are added to a store, or taken from it.
  bool writes_store = false;
  // A file that is there is made a store of, or filled, whatever it was.
  bool overwrites = false;
  // A COW need not be a store: a transient snapshot overwrites what it is.
  bool takes_any_cow = false;
  // A new file is made, or takes the place of one that may be replaced.
  bool makes_file = false;
  // An apply that was interrupted is what this goes on with.
  bool finishes_apply = false;
  // What it writes, it writes whatever is there, and of what is there it goes by the metadata of
  // stores only. Of any other, what is there already, or decides anything, is read from the medium.
  bool rewrites_data = false;
};

namespace operations {

inline constexpr Operation kMerge{
    .name = "merge", .writes_disk = true, .writes_store = true, .rewrites_data = true};
inline constexpr Operation kMergeChild{.name = "merge of a child", .writes_disk = true};
inline constexpr Operation kUndo{.name = "undo", .writes_disk = true, .writes_store = true};
inline constexpr Operation kWrite{.name = "write", .writes_store = true, .rewrites_data = true};
inline constexpr Operation kWriteUnequal{.name = "write --skip-equal", .writes_store = true};
inline constexpr Operation kWriteOrigin{.name = "write-origin",
                                        .writes_disk = true,
                                        .takes_whole_disk = true,
                                        .writes_store = true,
                                        .rewrites_data = true};
inline constexpr Operation kServe{.name = "serve --write", .writes_store = true};
inline constexpr Operation kDiscard{.name = "discard", .writes_store = true, .rewrites_data = true};
inline constexpr Operation kPassDown{.name = "discard passed down",
                                     .writes_disk = true,
                                     .writes_store = true,
                                     .rewrites_data = true};
inline constexpr Operation kSession{.name = "batch",
                                    .writes_disk = true,
                                    .takes_whole_disk = true,
                                    .writes_store = true,
                                    .takes_any_cow = true,
                                    .rewrites_data = true};
inline constexpr Operation kApply{
    .name = "apply", .writes_disk = true, .takes_whole_disk = true, .finishes_apply = true};
inline constexpr Operation kFill{.name = "convert -n",
                                 .writes_disk = true,
                                 .takes_whole_disk = true,
                                 .overwrites = true,
                                 .rewrites_data = true};
inline constexpr Operation kCreate{.name = "create", .overwrites = true, .makes_file = true};
inline constexpr Operation kRestore{.name = "restore", .overwrites = true, .makes_file = true};
inline constexpr Operation kResize{.name = "resize", .writes_store = true, .rewrites_data = true};
inline constexpr Operation kOutput{.name = "output", .makes_file = true};

inline constexpr std::array kAll = {
    kMerge,    kMergeChild, kUndo,  kWrite, kWriteUnequal, kWriteOrigin, kServe,  kDiscard,
    kPassDown, kSession,    kApply, kFill,  kCreate,       kRestore,     kResize, kOutput};

}  // namespace operations
}  // namespace snaptool::access
