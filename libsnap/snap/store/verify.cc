// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "libsnap/snap/store/duplicate_finder.h"
#include "libsnap/snap/store/entry_rules.h"

namespace snaptool {
namespace {

// Checks entries one by one as they come from the list.
class EntryChecker {
 public:
  EntryChecker(const PersistentStore& store, std::optional<uint64_t> origin_size,
               VerifyReport& report)
      : rules_(store.layout(), store.cow_chunks(), origin_size), report_(report) {}

  void check(uint64_t area, uint64_t index, const Exception& entry) {
    if (entry.old_chunk != next_old_ || entry.new_chunk != next_new_) ++report_.runs;
    next_old_ = entry.old_chunk + 1;
    next_new_ = entry.new_chunk + 1;
    if (auto defect = rules_.old_defect(area, index, entry)) report_.add(*std::move(defect));
    if (auto defect = rules_.new_defect(area, index, entry)) report_.add(*std::move(defect));
  }

  void add(DefectCode code, uint64_t area, uint64_t index, const Exception& entry,
           std::string message) {
    report_.add(rules_.at(code, area, index, entry, std::move(message)));
  }

 private:
  EntryRules rules_;
  VerifyReport& report_;
  uint64_t next_old_ = UINT64_MAX;
  uint64_t next_new_ = UINT64_MAX;
};

// Data chunks that the list leaves out, though the kernel allocates them one by one.
void note_leaks(const PersistentStore& store, VerifyReport& report) {
  constexpr uint64_t kFirstData = kNumSnapshotHdrChunks + 1;
  const uint64_t end = store.next_free();
  if (report.result() == Severity::kCorrupt || end > store.cow_chunks()) return;
  const Layout& layout = store.layout();
  const uint64_t data =
      end - kFirstData - (layout.areas_before(end) - layout.areas_before(kFirstData));
  if (data <= store.exceptions()) return;
  Finding finding;
  finding.code = DefectCode::kLeakedChunks;
  finding.message = fmt::format(
      "data chunks before chunk {} without an exception: {} (a crash or a merge left them)", end,
      data - store.exceptions());
  report.add(std::move(finding));
}

Result<void> check_list(PersistentStore& store, EntryChecker& checker, VerifyReport& report,
                        const Cancel& cancel) {
  std::random_device random;
  const size_t budget = DuplicateFinder::budget_for(store.cow().size());
  DuplicateFinder old_chunks(budget, random());
  DuplicateFinder new_chunks(budget, random());
  constexpr size_t kAhead = 16;  // entries
  bool more_old = true;
  bool more_new = true;
  for (bool first_pass = true; more_old || more_new; first_pass = false) {
    const auto visit = [&](uint64_t area, uint64_t first,
                           std::span<const Exception> entries) -> Result<void> {
      for (size_t i = 0; i < entries.size(); ++i) {
        const Exception& entry = entries[i];
        if (i + kAhead < entries.size()) {
          old_chunks.expect(entries[i + kAhead].old_chunk);
          new_chunks.expect(entries[i + kAhead].new_chunk);
        }
        if (first_pass) checker.check(area, first + i, entry);
        if (more_old && old_chunks.add(entry.old_chunk)) {
          checker.add(DefectCode::kDuplicateOld, area, first + i, entry,
                      fmt::format("origin chunk {} has an entry already", entry.old_chunk));
        }
        if (more_new && new_chunks.add(entry.new_chunk)) {
          checker.add(DefectCode::kDuplicateNew, area, first + i, entry,
                      fmt::format("data chunk {} is in use already", entry.new_chunk));
        }
      }
      return {};
    };
    auto read = store.read_metadata(visit, cancel);
    report.exceptions = store.exceptions();
    report.areas = store.current_area() + 1;
    if (!read) {
      if (!store.missing_area()) return std::move(read).error();
      if (first_pass) {
        report.areas = *store.missing_area();
        Finding finding;
        finding.code = DefectCode::kMissingArea;
        finding.area = *store.missing_area();
        finding.message = read.error().message();
        report.add(std::move(finding));
      }
    }
    more_old = more_old && old_chunks.needs_another_pass();
    more_new = more_new && new_chunks.needs_another_pass();
  }
  if (store.missing_area()) return {};

  note_leaks(store, report);
  const uint64_t area = store.current_area();
  const uint64_t terminator = store.exceptions() % store.layout().exceptions_per_area();
  return store.visit_tail([&](uint64_t index, Exception entry) {
    if (entry.new_chunk == 0 && index == terminator) {
      checker.add(DefectCode::kOldInTerminator, area, index, entry,
                  "the entry that ends the list names an origin chunk");
    } else {
      checker.add(DefectCode::kLiveBehindTerminator, area, index, entry,
                  "an entry lies past the end of the list: not safe to write to "
                  "(merging mends it; so does any writer of snaptool's)");
    }
  });
}

}  // namespace

const Finding* VerifyReport::reason_not_to_merge(bool accept_duplicates) const {
  for (const Finding& finding : findings) {
    const bool no_store = finding.code == DefectCode::kTooSmall;
    if (severity_of(finding.code) != Severity::kCorrupt && !no_store) continue;
    if (finding.code == DefectCode::kDuplicateOld && accept_duplicates) continue;
    return &finding;
  }
  return nullptr;
}

std::optional<Error> refusal_of(const VerifyReport& report, const File& cow, std::string_view what,
                                bool accept_duplicates) {
  const Finding* reason = report.reason_not_to_merge(accept_duplicates);
  if (reason == nullptr) return std::nullopt;
  const ErrorCode code = reason->code == DefectCode::kInvalid    ? ErrorCode::kInvalidated
                         : reason->code == DefectCode::kTooSmall ? ErrorCode::kNotFound
                                                                 : ErrorCode::kCorruption;
  const Advice advice = advice_for(reason->code);
  return Error(code, fmt::format("'{}' {}: {} ({}){}", cow.name(), what, reason->message,
                                 defect_code_name(reason->code), advice.text))
      .with_remedy(advice.remedy);
}

Result<VerifyReport> verify_store(File& cow, std::optional<uint64_t> origin_size,
                                  const Cancel& cancel) {
  VerifyReport report;
  SNAP_ASSIGN(auto examined, PersistentStore::examine(cow));
  for (Finding& finding : examined.findings) report.add(std::move(finding));
  if (!examined.store) return report;
  PersistentStore& store = *examined.store;
  report.header = store.header();
  if (store.state() == StoreState::kNone) return report;
  if (store.state() == StoreState::kInvalid) {
    Finding finding;
    finding.code = DefectCode::kInvalid;
    finding.offset = 4;
    finding.message = "it is marked invalid: it overflowed or a write failed";
    report.add(std::move(finding));
  }
  EntryChecker checker(store, origin_size, report);
  SNAP_TRY(check_list(store, checker, report, cancel));
  return report;
}

}  // namespace snaptool
