// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <memory>
#include <string_view>

#include "cli/support/text_output.h"
#include "libsnap/base/progress.h"
#include "libsnap/io/image.h"

namespace snaptool::cli {

// What other programs read as a map of an image. All of them leave out what lies where. `bottom` is
// the depth of the lowest layer: zeros that one above it says are data, since a copy over what is
// below must write them.

// A nameless temporary file of text that is written once, then read. Errors: kIo.
class TextSpool {
 public:
  Result<void> write(std::string_view text);
  Result<void> copy_to(TextOutput& out);

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{std::tmpfile(), &std::fclose};
};

// bmaptool's, version 2.0: the blocks of 4 KiB that have data, each range with its SHA-256. Its own
// sum stands before the ranges, so these wait in `spool`.
// Errors: those of Image and TextOutput; kIo; kInterrupted.
Result<void> write_bmap(Image& image, int bottom, TextSpool& spool, TextOutput& out,
                        const Job& job);

// ddrescue's mapfile: data is finished ('+'), holes are not tried ('?'), so that as a domain
// (ddrescue -m) it copies the data. Source: ddrescue's manual, "Mapfile structure".
// Errors: those of Image and TextOutput; kInterrupted.
Result<void> write_ddrescue_map(Image& image, int bottom, TextOutput& out, const Job& job);

// "START LENGTH data|zero|same", as 'borg create --map' reads it. Same is what the store of the
// view `changes` has no exception for; without `changes`, nothing is. Errors: as above.
Result<void> write_borg_map(Image& image, Image* changes, TextOutput& out, const Job& job);

}  // namespace snaptool::cli
