// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace snaptool {

// What this process may still open. Names that are not there are skipped.
struct AllowedFiles {
  std::vector<std::string> read;        // files, of which nothing else is allowed
  std::vector<std::string> read_below;  // folders: whatever lies in or below them
  std::vector<std::string> written;     // files
  std::vector<std::string> made_in;     // folders: files are made, written, read and removed there
  bool accepts = false;                 // connections, on sockets that are open
};

// Takes from this process, and for good, what a program that reads images does not need, whatever
// an image makes of its parsers. What is open stays open. Of the two, what the kernel has is used:
//
// - Landlock (Linux 5.13): no file can be opened, made, replaced or removed but those that `files`
//   names, what is printed to (descriptors 0 to 2), /sys, and /proc/self;
// - seccomp: no program is started, no socket opened, no other process touched, nothing mounted.
//
// For a program that does nothing else: of a process with other threads only this one loses its
// files. Returns what holds now, a phrase for each of the two.
std::string enter_sandbox(const AllowedFiles& files);

}  // namespace snaptool
