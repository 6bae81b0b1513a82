// SPDX-License-Identifier: Apache-2.0
#include "cli/support/progress_reporter.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <span>
#include <string_view>
#include <system_error>

#include "cli/support/json.h"
#include "cli/support/signals.h"
#include "cli/support/stdio.h"
#include "libsnap/access/stream.h"

namespace snaptool::cli {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr int kTicksPerBar = 2;
constexpr int kTicksPerJsonLine = 10;
constexpr int kTicksPerPlainLine = 100;
constexpr size_t kUsualWidth = 80;
// Columns that stay free: the ^C of somebody who interrupts it must not start another line.
constexpr size_t kMargin = 3;

bool can_draw_over() {
  const char* const terminal = std::getenv("TERM");
  return terminal == nullptr || std::string_view(terminal) != "dumb";
}

// Asked each time: there is no signal to miss.
size_t terminal_width() {
  struct winsize size {};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  const size_t columns = known ? size.ws_col : kUsualWidth;
  return std::max(columns, kMargin + 1) - kMargin;
}

}  // namespace

ProgressReporter::ProgressReporter(std::string description, ProgressStyle style,
                                   const Progress& progress)
    : description_(std::move(description)),
      style_(style),
      progress_(progress),
      terminal_(::isatty(STDERR_FILENO) == 1),
      can_draw_(terminal_ && can_draw_over()),
      start_(std::chrono::steady_clock::now()) {
  try {
    thread_ = std::thread([this] { loop(); });
  } catch (const std::system_error&) {  // no room for a thread: the last time is shown
  }
}

ProgressReporter::~ProgressReporter() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  figures_ = meter_.finish(progress_, elapsed());
  show(true);
}

double ProgressReporter::elapsed() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void ProgressReporter::loop() noexcept {
  std::unique_lock lock(mutex_);
  for (int number = 1; !wake_.wait_for(lock, kTick, [this] { return ended_; }); ++number) {
    try {
      tick(number);
    } catch (const std::bad_alloc&) {
    }
  }
}

void ProgressReporter::tick(int number) {
  const bool asked = take_progress_request();
  if (asked || number % kTicksPerBar == 0) figures_ = meter_.update(progress_, elapsed());
  if (asked) print_error(progress_line(description_, figures_, 0) + "\n");
  const int ticks = style_.kind == ProgressStyle::Kind::kJsonl ? kTicksPerJsonLine
                    : can_draw_                                ? kTicksPerBar
                                                               : kTicksPerPlainLine;
  if (number % ticks == 0) show(false);
}

void ProgressReporter::show(bool last) noexcept {
  try {
    draw(last);
  } catch (const std::bad_alloc&) {
  }
}

void ProgressReporter::draw(bool last) {
  switch (style_.kind) {
    case ProgressStyle::Kind::kNone:
      return;
    case ProgressStyle::Kind::kBar:
      if (can_draw_) {
        draw_bar(progress_line(description_, figures_, terminal_width()), last);
      } else if (terminal_ || last) {
        print_error(progress_line(description_, figures_, 0) + "\n");
      }
      return;
    case ProgressStyle::Kind::kJsonl:
      write_json();
      return;
  }
}

void ProgressReporter::write_json() const {
  const Json row = {{"description", description_},
                    {"transferred", figures_.done},
                    {"size", figures_.size},
                    {"elapsed", figures_.elapsed}};
  const std::string text = row.line() + "\n";
  // Whoever asked for it may have stopped reading: the work goes on.
  auto ignored = access::write_all(style_.fd, std::as_bytes(std::span(text)), stop_requested());
  static_cast<void>(ignored);
}

}  // namespace snaptool::cli
