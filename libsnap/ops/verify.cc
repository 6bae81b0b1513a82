// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/verify.h"

#include <fmt/format.h>

#include "libsnap/access/open_image.h"
#include "libsnap/access/plain_disk.h"
#include "libsnap/snap/store/tail.h"
#include "libsnap/snap/store/verify_data.h"
#include "libsnap/snap/view/identity.h"

namespace snaptool::ops {
namespace {

// Whether what lies behind the end of the list is somebody's only copy.
Result<void> check_list_tail(File& origin, File& cow, VerifyReport& report, const Cancel& cancel) {
  if (report.count(DefectCode::kLiveBehindTerminator) == 0 || refusal_of(report, cow, "", true)) {
    return {};
  }
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(cow));
  SNAP_TRY(store.read_metadata(cancel));
  RawImage base(origin, origin.size());
  SNAP_ASSIGN(auto doubt, doubt_of_tail(store, base, cancel));
  if (!doubt) return {};
  Finding finding;
  finding.code = DefectCode::kUnmergedTail;
  finding.message = std::move(*doubt);
  report.add(std::move(finding));
  return {};
}

// Whether the store may be another origin's, as merge asks. A corrupt one is not read for it.
Result<void> compare_identities(File& origin, File& cow, VerifyReport& report,
                                const Cancel& cancel) {
  if (refusal_of(report, cow, "", true)) return {};
  SNAP_ASSIGN(const auto found, contradictions_of(origin, cow, cancel));
  for (const std::string& text : found) {
    Finding finding;
    finding.code = DefectCode::kOtherOrigin;
    finding.message = text;
    report.add(std::move(finding));
  }
  return {};
}

// Says of a file without a header that it is a plain disk, where it is one.
Result<void> tell_plain_disk(const access::Context& context, File& cow, VerifyReport& report) {
  for (Finding& finding : report.findings) {
    const bool has_no_header =
        finding.code == DefectCode::kWipedHeader || finding.code == DefectCode::kBadMagic;
    if (!has_no_header) continue;
    SNAP_ASSIGN(const auto kind, access::plain_disk_in(context, cow));
    if (!kind) continue;
    finding.message = fmt::format("it is not a COW: it is {}", *kind);
    finding.is_disk = true;
  }
  return {};
}

}  // namespace

Result<Verified> verify(const access::Context& context, const access::ImageSpec& image, bool data) {
  if (image.stores.size() > 1) {
    return Error(ErrorCode::kUnsupported, "verifying a stack of stores: verify them one by one");
  }
  access::Opener opener(context);
  access::OpenPair pair;
  if (image.stores.empty()) {
    SNAP_ASSIGN(pair.cow, opener.open(image.base, {Access::kRead, context.policy.force_share}));
  } else {
    SNAP_ASSIGN(pair, open_pair(opener, image));
  }
  File& cow = *pair.cow;
  Verified verified;
  verified.cow = cow.name();
  std::optional<uint64_t> origin_size;
  if (pair.origin != nullptr) origin_size = pair.origin->size();
  SNAP_ASSIGN(verified.report, verify_store(cow, origin_size, context.cancel));
  VerifyReport& report = verified.report;
  SNAP_TRY(tell_plain_disk(context, cow, report));
  if (pair.origin != nullptr) {
    verified.origin = pair.origin->name();
    SNAP_TRY(compare_identities(*pair.origin, cow, report, context.cancel));
    SNAP_TRY(check_list_tail(*pair.origin, cow, report, context.cancel));
  }
  if (data && report.header) {
    const access::Phase phase(context, "reading",
                              report.exceptions * report.header->chunk_size * kSectorSize);
    SNAP_TRY(verify_data(cow, report, phase.job()));
  }
  return verified;
}

Result<std::optional<VerifiedImage>> verify_image(const access::Context& context,
                                                  const access::ImageSpec& image) {
  if (!image.stores.empty() || !image.base.is_whole_file()) return std::nullopt;
  access::Opener opener(context);
  SNAP_ASSIGN(const auto file,
              opener.open_path(image.base.path(), {Access::kRead, context.policy.force_share}));
  SNAP_ASSIGN(const access::ImageDriver* const driver, context.drivers.detect_image(*file));
  if (driver->kind != access::ImageKind::kImage) return std::nullopt;
  if (driver->check_sums == nullptr) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is an image of {}, which has no sums of its own", file->name(),
                             driver->name))
        .with_remedy(Remedy::kNameSums);
  }
  VerifiedImage verified{std::string(driver->name), {}};
  const access::Phase phase(context, "reading");
  auto found = driver->check_sums(file, opener.options_for(image.base.path()), phase.job());
  if (found) {
    verified.found = std::move(*found);
  } else if (found.error().code() == ErrorCode::kCorruption) {
    verified.found.has_sums = true;
    verified.found.problems = {found.error().describe()};
  } else {
    return found.error();
  }
  return std::optional(std::move(verified));
}

}  // namespace snaptool::ops
