// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <new>

#include "libsnap/base/result.h"

namespace snaptool::library {

// Keeps what went wrong, for this thread; its text begins with the name of the function.
void keep_error(const char* function, const Error& error) noexcept;
void keep_error(const char* function, const char* text, int code, int number) noexcept;

// Errors: kInvalidArgument, "NAME is NULL".
Result<void> check_given(const void* pointer, const char* name);

// What each function of the interface does: nothing that is thrown leaves it, an Error is kept, and
// `failure` tells of it.
template <typename Value, typename Work>
Value entry(const char* function, Value failure, const Work& work) noexcept {
  try {
    auto result = work();
    if (result) return *result;
    keep_error(function, result.error());
  } catch (const std::bad_alloc&) {
    keep_error(function, "out of memory", 1, ENOMEM);
  } catch (const std::exception& error) {
    keep_error(function, error.what(), 1, 0);
  }
  return failure;
}

}  // namespace snaptool::library
