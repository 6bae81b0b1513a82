// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "libsnap/base/result.h"

namespace snaptool {
namespace {

TEST(Error, DescribesFromTheOutsideIn) {
  const Error error =
      Error::from_errno(ENOSPC, "write").with_context("area 7 of x.cow").with_context("merging");
  EXPECT_EQ(error.describe(), "merging: area 7 of x.cow: write: No space left on device");
  EXPECT_EQ(Error(ErrorCode::kIo, "what").with_note("advice").describe(), "what (advice)");
  EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
  EXPECT_EQ(error.sys_errno(), ENOSPC);
}

TEST(Error, ErrnosHaveTheirCodes) {
  EXPECT_EQ(Error::from_errno(ENOENT, "").code(), ErrorCode::kNotFound);
  EXPECT_EQ(Error::from_errno(EDQUOT, "").code(), ErrorCode::kNoSpace);
  EXPECT_EQ(Error::from_errno(EACCES, "").code(), ErrorCode::kIo);
}

Result<int> half(int number) {
  if (number % 2 != 0) return Error(ErrorCode::kInvalidArgument, "odd");
  return number / 2;
}
Result<int> quarter(int number) {
  SNAP_ASSIGN(const int first, half(number));
  SNAP_ASSIGN(const int second, half(first));
  return second;
}

TEST(Result, ErrorsPassThroughTheMacros) {
  EXPECT_EQ(*quarter(8), 2);
  ASSERT_FALSE(quarter(6));
  EXPECT_EQ(quarter(6).error().message(), "odd");
}

}  // namespace
}  // namespace snaptool
