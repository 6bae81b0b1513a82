// SPDX-License-Identifier: Apache-2.0
#include "cli/support/progress_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "libsnap/base/units.h"

namespace snaptool::cli {
namespace {

constexpr double kSmoothing = 10;     // seconds that a rate is of
constexpr double kSettling = 1;       // seconds before a time left means something
constexpr double kLongestLeft = 1e6;  // seconds; more is not known
constexpr size_t kNarrow = 40;        // columns
constexpr size_t kLeastBar = 8;       // columns, with its brackets
constexpr size_t kWidestBar = 40;

// "1:02:03", "2:03"
std::string duration_text(double seconds) {
  const auto whole = static_cast<uint64_t>(seconds);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

double share_of(const ProgressFigures& figures) {
  return figures.size == 0 ? 1
                           : static_cast<double>(figures.done) / static_cast<double>(figures.size);
}

std::string percent_text(const ProgressFigures& figures, bool narrow) {
  // Rounded down: 100 is the end.
  const auto permille = static_cast<unsigned>(share_of(figures) * 1000);
  return narrow ? fmt::format("{:3}%", permille / 10)
                : fmt::format("{:3}.{}%", permille / 10, permille % 10);
}

std::string left_text(const ProgressFigures& figures) {
  return fmt::format("{:>{}} left", figures.left ? duration_text(std::ceil(*figures.left)) : "-:--",
                     figures.left_width);
}

std::string bar_text(const ProgressFigures& figures, size_t width) {
  const size_t inner = width - 2;
  const auto filled = static_cast<size_t>(share_of(figures) * static_cast<double>(inner));
  return fmt::format("[{:#<{}}{:{}}]", "", filled, "", inner - filled);
}

// A part of the line. It is shown with a space before it, or not at all.
struct Field {
  std::string text;
  bool shown = false;
};

}  // namespace

void ProgressMeter::read(const Progress& progress, double elapsed) {
  figures_.size = progress.size();
  figures_.moved = progress.moved();
  figures_.done = figures_.moved + progress.skipped();
  if (figures_.size > 0) figures_.done = std::min(figures_.done, figures_.size);
  figures_.elapsed = elapsed;
}

const ProgressFigures& ProgressMeter::update(const Progress& progress, double elapsed) {
  const ProgressFigures before = figures_;
  read(progress, elapsed);
  const double step = elapsed - before.elapsed;
  if (step <= 0) return figures_;
  const double moved = figures_.moved < before.moved  // another round has begun
                           ? 0
                           : static_cast<double>(figures_.moved - before.moved);
  // At first this is the mean of all the time.
  const double weight = step / std::min(std::max(elapsed, step), kSmoothing);
  figures_.rate += (moved / step - figures_.rate) * std::min(weight, 1.0);
  update_left(step, std::min(weight, 1.0));
  if (figures_.left) {
    figures_.left_width =
        std::max(figures_.left_width, duration_text(std::ceil(*figures_.left)).size());
  }
  return figures_;
}

// What is left moves at the rate of now, as far as there are as many bytes to move in it as in what
// is done.
void ProgressMeter::update_left(double step, double weight) {
  const double share = share_of(figures_);
  if (figures_.size == 0 || figures_.done == 0 || figures_.elapsed < kSettling) return;
  const double moved = static_cast<double>(figures_.moved);
  double left = figures_.elapsed * (1 - share) / share;
  if (moved > 0) left = figures_.rate > 0 ? moved * (1 - share) / share / figures_.rate : 2e6;
  if (left > kLongestLeft || figures_.done == figures_.size || !figures_.left) {
    figures_.left = left > kLongestLeft ? std::nullopt : std::optional(left);
    return;
  }
  const double expected = std::max(0.0, *figures_.left - step);
  figures_.left = expected + (left - expected) * weight;
}

const ProgressFigures& ProgressMeter::finish(const Progress& progress, double elapsed) {
  read(progress, elapsed);
  figures_.rate = elapsed > 0 ? static_cast<double>(figures_.moved) / elapsed : 0;
  figures_.finished = true;
  return figures_;
}

std::string progress_line(std::string_view description, const ProgressFigures& figures,
                          size_t width) {
  const bool whole = width == 0;
  // Nothing was done of nothing: that is all of it.
  const bool sized = figures.size > 0 || (figures.finished && figures.done == 0);
  Field head{fmt::format("{}:", description)};
  Field percent{percent_text(figures, !whole && width < kNarrow)};
  Field size{fmt::format("of {}", format_size(figures.size))};
  Field bar{std::string(kLeastBar, ' ')};
  // A line that stays needs no room for longer numbers.
  const int bytes_width = figures.finished ? 0 : 10;
  const int time_width = figures.finished ? 0 : 5;
  Field moved{fmt::format("{:>{}}", format_size(figures.moved), bytes_width)};
  Field elapsed{fmt::format("in {:>{}}", duration_text(figures.elapsed), time_width)};
  Field rate{
      fmt::format("{:>{}}/s", format_size(static_cast<uint64_t>(figures.rate)), bytes_width)};
  Field left{left_text(figures)};

  size_t used = 0;
  const auto take = [&](Field& field, bool wanted = true) {
    const size_t more = field.text.size() + (used == 0 ? 0 : 1);
    field.shown = wanted && (whole || used + more <= width);
    if (field.shown) used += more;
  };
  // What matters most comes first.
  take(percent, sized);
  take(head);
  take(left, sized && !figures.finished);
  take(rate);
  take(bar, sized && !whole);
  take(moved);
  take(elapsed);
  take(size, figures.size > 0);
  if (bar.shown) {
    bar.text = bar_text(figures, std::min(kLeastBar + (width - used), kWidestBar));
  }

  std::string line;
  for (const Field* field : {&head, &percent, &size, &bar, &moved, &elapsed, &rate, &left}) {
    if (field->shown) line += (line.empty() ? "" : " ") + field->text;
  }
  return line;
}

}  // namespace snaptool::cli
