// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/throttle.h"

#include <gtest/gtest.h>

namespace snaptool {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

class ThrottleOf : public testing::Test {
 protected:
  nanoseconds now_{milliseconds(5000)};
  const Clock clock_ = [this] { return now_; };

  // What is due after work of that length and size; then that time has passed, too.
  nanoseconds due_after(Throttle& throttle, milliseconds work, uint64_t bytes) {
    now_ += work;
    const nanoseconds due = throttle.due(bytes);
    now_ += due;
    return due;
  }
};

TEST_F(ThrottleOf, BytesASecond) {
  Throttle throttle({1000, 100}, clock_);
  throttle.resume();
  EXPECT_EQ(due_after(throttle, milliseconds(0), 500), milliseconds(500));
  EXPECT_EQ(due_after(throttle, milliseconds(200), 500), milliseconds(300));  // the work counts
  EXPECT_EQ(due_after(throttle, milliseconds(900), 500), milliseconds(0));
  // What was slower than it might be is made up for only until the next resume.
  EXPECT_EQ(due_after(throttle, milliseconds(0), 500), milliseconds(100));
  now_ += milliseconds(10000);
  throttle.resume();
  EXPECT_EQ(due_after(throttle, milliseconds(0), 500), milliseconds(500));
}

TEST_F(ThrottleOf, APartOfTheTime) {
  Throttle throttle({0, 25}, clock_);
  throttle.resume();
  EXPECT_EQ(due_after(throttle, milliseconds(100), 1), milliseconds(300));
  EXPECT_EQ(due_after(throttle, milliseconds(100), 1 << 20), milliseconds(300));
  now_ += milliseconds(10000);  // a flush, say
  throttle.resume();
  EXPECT_EQ(due_after(throttle, milliseconds(10), 1), milliseconds(30));
}

TEST_F(ThrottleOf, ASecondThreadIsNotHeldUpForTheSameTime) {
  Throttle throttle({0, 50}, clock_);
  throttle.resume();
  EXPECT_EQ(due_after(throttle, milliseconds(100), 1), milliseconds(100));
  EXPECT_EQ(due_after(throttle, milliseconds(0), 1), milliseconds(0));
}

TEST_F(ThrottleOf, NothingIsHeldUpWithoutALimitAndCenturiesAreInterrupted) {
  Cancel cancel;
  Throttle none({}, clock_);
  EXPECT_TRUE(none.pause(UINT64_MAX, cancel));
  cancel.request();
  Throttle slow({1, 100}, clock_);
  const auto stopped = slow.pause(UINT64_MAX, cancel);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), ErrorCode::kInterrupted);
}

}  // namespace
}  // namespace snaptool
