// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "libsnap/base/result.h"

namespace snaptool {

inline Error damaged(std::string what) { return {ErrorCode::kCorruption, std::move(what)}; }

// The first thing that was found damaged, where reading goes on all the same.
class Damage {
 public:
  void add(std::string what) { add(damaged(std::move(what))); }
  void add(Error error) {
    if (!first_) first_ = std::move(error);
  }
  // An error only for what visit returned or what the media did; damage is noted.
  Result<void> note(Result<void> result) {
    if (result || result.error().code() != ErrorCode::kCorruption) return result;
    add(std::move(result).error());
    return {};
  }
  Result<void> result() const {
    if (first_) return Error(*first_);
    return {};
  }

 private:
  std::optional<Error> first_;
};

}  // namespace snaptool
