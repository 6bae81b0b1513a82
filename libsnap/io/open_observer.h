// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/io/file.h"

namespace snaptool {

// Gets to know of every file and block device that this process opens as a PosixFile, whoever opens
// it. Called from any thread.
class OpenObserver {
 public:
  virtual ~OpenObserver() = default;
  virtual void opened(const File& file, Access access) = 0;
};

// For a program, before it opens files; nullptr: nobody any more. Requires: it outlives all opening.
void set_open_observer(OpenObserver* observer);

}  // namespace snaptool
