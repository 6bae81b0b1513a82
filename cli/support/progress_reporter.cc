// SPDX-License-Identifier: Apache-2.0
#include "cli/support/progress_reporter.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <system_error>

#include "cli/support/json.h"
#include "cli/support/signals.h"
#include "cli/support/stdio.h"
#include "libsnap/access/stream.h"
#include "libsnap/base/units.h"

namespace snaptool::cli {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr int kTicksPerJsonLine = 10;
constexpr int kBarWidth = 24;

}  // namespace

ProgressReporter::ProgressReporter(std::string description, ProgressStyle style,
                                   const Progress& progress)
    : description_(std::move(description)),
      style_(style),
      progress_(progress),
      terminal_(::isatty(STDERR_FILENO) == 1),
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
  if (take_progress_request()) {
    print_error(fmt::format(
        "{}{}\n", style_.kind == ProgressStyle::Kind::kBar && terminal_ ? "\r\x1b[K" : "", line()));
  }
  if (style_.kind == ProgressStyle::Kind::kBar || number % kTicksPerJsonLine == 0) show(false);
}

std::string ProgressReporter::line() const {
  const uint64_t size = progress_.size();
  const uint64_t done = std::min(progress_.transferred(), size);
  const double seconds = elapsed();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const double share =
      size == 0 ? 100.0 : 100.0 * static_cast<double>(done) / static_cast<double>(size);
  return fmt::format("{}: {:.1f}% ({} of {}, {}/s)", description_, share, format_size(done),
                     format_size(size), format_size(static_cast<uint64_t>(rate)));
}

void ProgressReporter::show(bool last) noexcept {
  try {
    draw(last);
  } catch (const std::bad_alloc&) {
  }
}

void ProgressReporter::draw(bool last) {
  const uint64_t size = progress_.size();
  const uint64_t done = std::min(progress_.transferred(), size);
  switch (style_.kind) {
    case ProgressStyle::Kind::kNone:
      return;
    case ProgressStyle::Kind::kBar: {
      if (!terminal_) {
        if (last) print_error(line() + "\n");
        return;
      }
      const auto filled = static_cast<int>(size == 0 ? kBarWidth
                                                     : static_cast<double>(done) /
                                                           static_cast<double>(size) * kBarWidth);
      print_error(fmt::format("\r\x1b[K[{:#<{}}{:{}}] {}{}", "", filled, "", kBarWidth - filled,
                              line(), last ? "\n" : ""));
      return;
    }
    case ProgressStyle::Kind::kJsonl: {
      const Json row = {{"description", description_},
                        {"transferred", done},
                        {"size", size},
                        {"elapsed", elapsed()}};
      const std::string text = row.line() + "\n";
      // Whoever asked for it may have stopped reading: the work goes on.
      auto ignored = access::write_all(style_.fd, std::as_bytes(std::span(text)), stop_requested());
      static_cast<void>(ignored);
      return;
    }
  }
}

}  // namespace snaptool::cli
