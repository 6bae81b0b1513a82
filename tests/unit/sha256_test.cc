// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/sha256.h"

#include <gtest/gtest.h>

#include <string_view>

namespace snaptool {
namespace {

TEST(Sha256, TheExamplesOfFips180) {
  Sha256 empty;
  EXPECT_EQ(empty.finish(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 abc;
  abc.update(std::as_bytes(std::span(std::string_view("a"))));
  abc.update(std::as_bytes(std::span(std::string_view("bc"))));
  EXPECT_EQ(abc.finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace snaptool
