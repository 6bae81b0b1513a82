// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/verify.h"

#include <gtest/gtest.h>

#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

class Verify : public testing::Test {
 protected:
  // A sound store of 512-byte chunks: 40 entries, two areas, an origin of 100 chunks and a bit.
  void SetUp() override {
    std::mt19937_64 random(run_seed());
    store_ = make_store({512, 100 * 512 + 100, 40, true, false}, random);
  }
  VerifyReport verify() {
    store_.write_metadata();
    return verify_bytes(store_.cow);
  }
  VerifyReport verify_bytes(const Bytes& bytes) {
    MemoryFile cow("cow", bytes);
    const Cancel cancel;
    return *verify_store(cow, store_.origin.size(), cancel);
  }
  void expect_one(const VerifyReport& report, DefectCode code, uint64_t area, uint64_t index) {
    ASSERT_EQ(report.findings.size(), 1U);
    const Finding& finding = report.findings[0];
    EXPECT_EQ(defect_code_name(finding.code), defect_code_name(code));
    EXPECT_EQ(finding.area, area);
    EXPECT_EQ(finding.index, index);
    EXPECT_EQ(finding.offset, (1 + area * 33) * 512 + index * 16);
    EXPECT_EQ(report.result(), severity_of(code));
  }
  NaiveStore store_;
};

TEST_F(Verify, ASoundStoreHasNoFindings) {
  const VerifyReport report = verify();
  EXPECT_TRUE(report.findings.empty());
  EXPECT_EQ(report.result(), Severity::kNote);
  EXPECT_EQ(report.exceptions, 40U);
  EXPECT_EQ(report.areas, 2U);
}

TEST_F(Verify, EachDefectOfAnEntryIsFoundInItsPlace) {
  const auto original = store_.entries;
  struct Case {
    uint64_t entry;
    std::pair<uint64_t, uint64_t> value;
    DefectCode code;
  };
  const std::vector<Case> cases = {
      {35,
       {100, original[35].second},
       DefectCode::kOldBeyondOrigin},  // the part sector is no chunk
      {35, {UINT64_MAX, original[35].second}, DefectCode::kOldBeyondOrigin},
      {7, {original[7].first, store_.cow.size() / 512}, DefectCode::kNewBeyondCow},
      {7, {original[7].first, (uint64_t{1} << 56) - 1}, DefectCode::kNewBeyondCow},
      {7, {original[7].first, uint64_t{1} << 56}, DefectCode::kNewHighByte},
      {7, {original[7].first, UINT64_MAX}, DefectCode::kNewHighByte},
      {7, {original[7].first, 1}, DefectCode::kNewIsMetadata},
      {7, {original[7].first, 34}, DefectCode::kNewIsMetadata},
      {39, {original[3].first, original[39].second}, DefectCode::kDuplicateOld},
      {39, {original[39].first, original[3].second}, DefectCode::kDuplicateNew},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(defect_code_name(c.code)));
    store_.entries = original;
    store_.entries[c.entry] = c.value;
    const VerifyReport report = verify();
    expect_one(report, c.code, c.entry / 32, c.entry % 32);
    EXPECT_EQ(report.reason_not_to_merge(false), report.findings.data());
    EXPECT_EQ(report.reason_not_to_merge(true) == nullptr, c.code == DefectCode::kDuplicateOld);
  }
}

TEST_F(Verify, WhatLiesBehindTheTerminator) {
  store_.write_metadata();
  const uint64_t terminator = 34 * 512 + 8 * 16;  // entry 8 of area 1
  Bytes bytes = store_.cow;
  bytes[terminator] = std::byte{1};
  expect_one(verify_bytes(bytes), DefectCode::kOldInTerminator, 1, 8);
  EXPECT_EQ(verify_bytes(bytes).result(), Severity::kHarmless);
  bytes = store_.cow;
  bytes[terminator + 5 * 16 + 8] = std::byte{9};
  const VerifyReport report = verify_bytes(bytes);
  expect_one(report, DefectCode::kLiveBehindTerminator, 1, 13);
  EXPECT_EQ(report.result(), Severity::kUnsafe);
  EXPECT_EQ(report.reason_not_to_merge(false), nullptr);  // merging mends it
  // In a later area it is nobody's business: that area is zeroed before it is reached.
  bytes = store_.cow;
  bytes.resize(80 * 512, std::byte{0xaa});
  EXPECT_TRUE(verify_bytes(bytes).findings.empty());
}

TEST_F(Verify, OfMillionsOfFindingsAHundredOfAKindAreKept) {
  for (auto& entry : store_.entries) entry.first = 5000;
  while (store_.entries.size() < 200) store_.entries.emplace_back(5000, 7);
  store_.cow.resize(400 * 512);
  const VerifyReport report = verify();
  EXPECT_EQ(report.count(DefectCode::kOldBeyondOrigin), 200U);
  EXPECT_EQ(report.count(DefectCode::kDuplicateOld), 199U);
  EXPECT_LE(report.findings.size(), 3 * VerifyReport::kKept);
}

}  // namespace
}  // namespace snaptool::test
