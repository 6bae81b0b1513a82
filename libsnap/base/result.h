// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tl/expected.hpp>

#include "libsnap/base/error.h"

namespace snaptool {

// A value or an Error. Ignoring one is a compiler warning; everything that can fail returns one.
template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
  Result(Error error)
      : tl::expected<T, Error>(tl::unexpect, std::move(error)) {}  // NOLINT: implicit
};

}  // namespace snaptool

#define SNAP_CONCAT_INNER(a, b) a##b
#define SNAP_CONCAT(a, b) SNAP_CONCAT_INNER(a, b)

// Evaluates a Result and returns its error from the enclosing function; the value is dropped.
#define SNAP_TRY(expr) SNAP_TRY_AS(SNAP_CONCAT(snap_result_, __COUNTER__), expr)
#define SNAP_TRY_AS(tmp, expr)               \
  do {                                       \
    auto tmp = (expr);                       \
    if (!tmp) return std::move(tmp).error(); \
  } while (false)

// SNAP_ASSIGN(auto x, expr): x is the value of the Result, or its error is returned. Not as the
// sole statement of an unbraced if or loop.
#define SNAP_ASSIGN(decl, expr) SNAP_ASSIGN_AS(SNAP_CONCAT(snap_result_, __COUNTER__), decl, expr)
#define SNAP_ASSIGN_AS(tmp, decl, expr)    \
  auto tmp = (expr);                       \
  if (!tmp) return std::move(tmp).error(); \
  decl = std::move(*tmp)
