// SPDX-License-Identifier: Apache-2.0
#include "cli/library/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <thread>

#include "cli/library/calls.h"
#include "cli/library/remedies.h"
#include "libsnap/base/printable.h"

namespace snaptool::library {
namespace {

struct OptionRow {
  const char* name;
  const char* calls;
  const char* help;
};
constexpr auto kRows = std::to_array<OptionRow>({
#include <option_rows.inc>
});

const OptionRow* find(std::string_view name) {
  const auto* const found = std::find_if(kRows.begin(), kRows.end(),
                                         [&](const OptionRow& row) { return row.name == name; });
  return found == kRows.end() ? nullptr : found;
}

}  // namespace

void Notes::warn(std::string_view text, Remedy remedy) const {
  const std::lock_guard lock(mutex_);
  if (warnings_.size() >= kMostWarnings) return;
  warnings_.push_back(printable(std::string(text) + remedy_text(remedy)));
}

std::shared_ptr<void> Notes::show(std::string_view what, const Progress& progress) const {
  const std::lock_guard lock(mutex_);
  last_ = {std::string(what), 0, progress.size()};
  progress_ = &progress;
  return {&warnings_, [this, mine = &progress](void*) {
            const std::lock_guard inner(mutex_);
            if (progress_ != mine) return;  // something else was shown after it
            last_.done = progress_->transferred();
            last_.total = progress_->size();
            progress_ = nullptr;
          }};
}

Notes::State Notes::state() const {
  const std::lock_guard lock(mutex_);
  if (progress_ == nullptr) return last_;
  return {last_.what, progress_->transferred(), progress_->size()};
}

std::vector<std::string> Notes::take_warnings() const {
  const std::lock_guard lock(mutex_);
  return std::exchange(warnings_, {});
}

Result<void> Options::set(const char* name, const char* value) {
  if (find(name) == nullptr) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("there is no option '{}'", name));
  }
  given.emplace_back(name, value);
  return {};
}

Result<void> Options::check_taken(std::string_view call) const {
  for (const auto& [name, value] : given) {
    if ((" " + std::string(find(name)->calls) + " ").find(fmt::format(" {} ", call)) ==
        std::string::npos) {
      return Error(
          ErrorCode::kInvalidArgument,
          fmt::format("the option {} is not for this call, but for: {}", name, find(name)->calls));
    }
  }
  return {};
}

Result<access::Settings> Options::settings() const {
  access::Settings settings;
  for (const auto& [name, value] : given) {
    if (access::Settings::has(name)) SNAP_TRY(settings.set(name, value));
  }
  return settings;
}

const std::string* Options::text(std::string_view name) const {
  const auto found = std::find_if(given.rbegin(), given.rend(),
                                  [&](const auto& one) { return one.first == name; });
  return found == given.rend() ? nullptr : &found->second;
}

std::vector<std::string> Options::texts(std::string_view name) const {
  std::vector<std::string> all;
  for (const auto& [one, value] : given) {
    if (one == name) all.push_back(value);
  }
  return all;
}

Result<bool> Options::flag(std::string_view name) const {
  const std::string* const value = text(name);
  if (value == nullptr) return false;
  return access::parse_flag(name, *value);
}

Result<unsigned> Options::jobs() const {
  constexpr unsigned kMostByDefault = 8;
  constexpr unsigned kMost = 256;
  const std::string* const value = text("jobs");
  if (value == nullptr) return std::clamp(std::thread::hardware_concurrency(), 1U, kMostByDefault);
  unsigned jobs = 0;
  const char* const end = value->data() + value->size();
  const auto [parsed, ec] = std::from_chars(value->data(), end, jobs);
  if (ec == std::errc() && parsed == end && jobs >= 1 && jobs <= kMost) return jobs;
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("jobs takes 1 to {}, not '{}'", kMost, *value));
}

void Options::deliver(const Notes& notes) const {
  const auto warnings = notes.take_warnings();
  if (warning == nullptr) return;
  for (const std::string& text : warnings) warning(user, text.c_str());
}

}  // namespace snaptool::library

using namespace snaptool::library;  // NOLINT: the interface has no namespaces

snap_options* snap_options_create(void) {
  return entry<snap_options*>(__func__, nullptr,
                              []() -> snaptool::Result<snap_options*> { return new snap_options; });
}

int snap_options_set(snap_options* options, const char* name, const char* value) {
  return entry(__func__, -1, [&]() -> snaptool::Result<int> {
    SNAP_TRY(check_given(options, "options"));
    SNAP_TRY(check_given(name, "name"));
    SNAP_TRY(check_given(value, "value"));
    SNAP_TRY(options->options.set(name, value));
    return 0;
  });
}

int snap_options_list(snap_option* each, void* user) {
  return entry(__func__, -1, [&]() -> snaptool::Result<int> {
    SNAP_TRY(check_given(reinterpret_cast<const void*>(each), "each"));
    for (const auto& row : kRows) {
      if (each(user, row.name, row.calls, row.help) != 0) {
        return snaptool::Error(snaptool::ErrorCode::kInterrupted, "interrupted");
      }
    }
    return 0;
  });
}

int snap_options_on_warning(snap_options* options, snap_warning* warning, void* user) {
  return entry(__func__, -1, [&]() -> snaptool::Result<int> {
    SNAP_TRY(check_given(options, "options"));
    options->options.warning = warning;
    options->options.user = user;
    return 0;
  });
}

void snap_options_free(snap_options* options) { delete options; }
