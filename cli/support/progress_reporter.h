// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "cli/support/progress_line.h"
#include "libsnap/base/progress.h"

namespace snaptool::cli {

// How progress is shown.
struct ProgressStyle {
  enum class Kind { kNone, kBar, kJsonl };
  Kind kind = Kind::kNone;
  int fd = 2;  // of kJsonl
};

// Shows a Progress while it lives, from a thread of its own; a last time when it ends. A bar is as
// wide as the terminal is at each update. Where there can be no bar (TERM=dumb) it is a line
// every ten seconds; where standard error is no terminal, only the last one. Whatever the
// style, a SIGUSR1 (or SIGINFO) prints one whole line on standard error.
class ProgressReporter {
 public:
  ProgressReporter(std::string description, ProgressStyle style, const Progress& progress);
  ~ProgressReporter();
  ProgressReporter(const ProgressReporter&) = delete;
  ProgressReporter& operator=(const ProgressReporter&) = delete;

 private:
  // Without memory they show nothing: the work goes on.
  void loop() noexcept;
  void show(bool last) noexcept;

  void tick(int number);
  void draw(bool last);
  void write_json() const;
  double elapsed() const;

  std::string description_;
  ProgressStyle style_;
  const Progress& progress_;
  bool terminal_;
  bool can_draw_;  // over what is there
  ProgressMeter meter_;
  ProgressFigures figures_;
  std::chrono::steady_clock::time_point start_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace snaptool::cli
