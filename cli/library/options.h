// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <snaptool/snaptool.h>
#include "libsnap/access/settings.h"

namespace snaptool::library {

// Warnings wait here until the call that they belong to is about to end; and what is under way is
// known here, for whoever asks.
class Notes : public access::Notices {
 public:
  struct State {
    std::string what;
    uint64_t done = 0;
    uint64_t total = 0;
  };
  void warn(std::string_view text, Remedy remedy = Remedy::kNone) const override;
  void say(std::string_view /*text*/) const override {}
  std::shared_ptr<void> show(std::string_view what, const Progress& progress) const override;

  // How far the call is, or was.
  State state() const;
  std::vector<std::string> take_warnings() const;

 private:
  static constexpr size_t kMostWarnings = 1000;

  mutable std::mutex mutex_;  // guards what follows
  mutable std::vector<std::string> warnings_;
  mutable State last_;  // when what was shown last came to its end
  mutable const Progress* progress_ = nullptr;
};

// What the options of a call say, in the order in which they were set.
struct Options {
  std::vector<std::pair<std::string, std::string>> given;
  snap_warning* warning = nullptr;
  void* user = nullptr;

  // Errors: kInvalidArgument for a name that there is not.
  Result<void> set(const char* name, const char* value);
  // Errors: kInvalidArgument when one is set that `call` does not take.
  Result<void> check_taken(std::string_view call) const;
  // Those of access::Settings.
  Result<access::Settings> settings() const;
  const std::string* text(std::string_view name) const;  // the last; nullptr: not set
  std::vector<std::string> texts(std::string_view name) const;
  // Errors of both: kInvalidArgument.
  Result<bool> flag(std::string_view name) const;
  Result<unsigned> jobs() const;

  // Hands what waits to whoever asked for it.
  void deliver(const Notes& notes) const;
};

}  // namespace snaptool::library

struct snap_options {
  snaptool::library::Options options;
};

namespace snaptool::library {

// NULL: the defaults.
inline Options options_of(const snap_options* options) {
  return options != nullptr ? options->options : Options();
}

}  // namespace snaptool::library
