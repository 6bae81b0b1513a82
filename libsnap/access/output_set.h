// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/access/byte_output.h"
#include "libsnap/access/image_driver.h"

namespace snaptool::access {

// Several new files that are one image, written one after the other. None has its name before all
// are whole, and the first one, by which the image is found, gets it last. They replace nothing.
class OutputSet {
 public:
  // `first`: the name of the first one. Requires: the door outlives this.
  OutputSet(Door& door, std::string first, PartName name);

  // That none of the first ones is there. Errors: kInvalidArgument, also for a name from which no
  // others come.
  Result<void> check() const;
  // That nothing would be taken for another part of an image that is in one file. Errors:
  // kInvalidArgument.
  static Result<void> check_alone(const std::string& path, PartName name);
  // For who makes the image. Requires: this stays where it is.
  PartsSink sink();
  // No more will come. Errors: those of File; kInvalidArgument for a file that would be taken for
  // another part.
  Result<void> finish();
  // Those that were made, in their order, to be read back. Requires: finish().
  std::vector<File*> files() const;
  // Makes all of them durable, then names them. Errors: as OutputFile::commit, and then none of
  // them is left.
  // Crash: all are there, or some without the first one, or none.
  Result<void> commit(bool durable);

 private:
  Result<std::string> name_of(unsigned number) const;
  Result<void> begin_part();
  Result<void> end_part();
  void forget(size_t from);

  Door& door_;
  std::string first_;
  PartName name_;
  std::optional<ByteOutput> current_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<OutputFile>> parts_;  // all but the current one
};

}  // namespace snaptool::access
