// SPDX-License-Identifier: Apache-2.0
#include "formats/common/new_file.h"

#include <algorithm>

namespace snaptool {
namespace {

constexpr uint64_t kLeastGrowth = kMiB;
constexpr uint64_t kMostGrowth = 64 * kMiB;

}  // namespace

Result<void> grow_new_file(File& file, uint64_t end) {
  if (end > kMaxFileSize - kMostGrowth) {
    return Error(ErrorCode::kNoSpace, "the image would be larger than any file");
  }
  if (end <= file.size()) return {};
  auto grown = file.resize(end + std::clamp(end, kLeastGrowth, kMostGrowth));
  if (grown || grown.error().code() != ErrorCode::kUnsupported) return grown;
  return Error(ErrorCode::kNoSpace, "the image does not fit the device");
}

Result<void> cut_new_file(File& file, uint64_t end) {
  auto cut = file.resize(end);
  if (!cut && cut.error().code() == ErrorCode::kUnsupported) return {};
  return cut;
}

}  // namespace snaptool
