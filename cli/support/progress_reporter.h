// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "libsnap/base/progress.h"

namespace snaptool::cli {

// How progress is shown.
struct ProgressStyle {
  enum class Kind { kNone, kBar, kJsonl };
  Kind kind = Kind::kNone;
  int fd = 2;  // of kJsonl
};

// Shows a Progress while it lives, from a thread of its own; a last time when it ends. Whatever the
// style, a SIGUSR1 prints one line on standard error.
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
  std::string line() const;
  double elapsed() const;

  std::string description_;
  ProgressStyle style_;
  const Progress& progress_;
  bool terminal_;
  std::chrono::steady_clock::time_point start_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace snaptool::cli
