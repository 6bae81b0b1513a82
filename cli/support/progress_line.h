// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libsnap/base/progress.h"

namespace snaptool::cli {

// What is shown of a Progress at one moment.
struct ProgressFigures {
  uint64_t size = 0;           // bytes; 0: not known
  uint64_t done = 0;           // bytes; at most size where that is known
  uint64_t moved = 0;          // bytes; without what was skipped
  double elapsed = 0;          // seconds
  double rate = 0;             // bytes moved a second
  std::optional<double> left;  // seconds; nothing: not known yet
  size_t left_width = 5;       // columns; never less than before
  bool finished = false;
};

// Makes figures that a person can read: a rate of the last seconds, and a time left that follows
// the clock and is mended slowly.
class ProgressMeter {
 public:
  // `elapsed`: seconds since the start, never less than before. Called at each update.
  const ProgressFigures& update(const Progress& progress, double elapsed);
  // The last figures: the rate is that of all the time.
  const ProgressFigures& finish(const Progress& progress, double elapsed);

 private:
  void read(const Progress& progress, double elapsed);
  void update_left(double step, double weight);

  ProgressFigures figures_;
};

// One line without its newline. `width`: columns that it may take; it leaves out what matters least
// until it fits. 0: everything, without a bar.
std::string progress_line(std::string_view description, const ProgressFigures& figures,
                          size_t width);

}  // namespace snaptool::cli
