// SPDX-License-Identifier: Apache-2.0
#include "formats/vpc/vpc_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "formats/common/mapped_image.h"
#include "formats/common/table_cache.h"

namespace snaptool::vpc {
namespace {

// A footer of an old version lacks its last byte, which is 0.
Result<std::vector<std::byte>> footer_bytes(File& file, uint64_t offset, size_t length) {
  std::vector<std::byte> bytes(kFooterBytes);
  SNAP_TRY(file.read_at(offset, std::span(bytes).first(length)));
  return bytes;
}

// The copies of the footer: that at the end, and that at the beginning, which only those with
// blocks have. What cannot be one is none; `refusal` says why.
struct Copies {
  std::optional<Footer> last;
  std::optional<Footer> first;
  bool differ = false;
  Error refusal{ErrorCode::kCorruption, "it is no VHD image: it has no footer"};
};

Result<Copies> read_copies(File& file) {
  Copies copies;
  std::vector<std::byte> last;
  std::vector<std::byte> first;
  const uint64_t size = file.size();
  for (const size_t length : {kFooterBytes, kOldFooterBytes}) {
    if (size < length || has_cookie(last)) continue;
    SNAP_ASSIGN(last, footer_bytes(file, size - length, length));
  }
  if (size >= 2 * kFooterBytes) {
    SNAP_ASSIGN(first, footer_bytes(file, 0, kFooterBytes));
  }
  const auto parse = [&](const std::vector<std::byte>& bytes) {
    std::optional<Footer> footer;
    if (!has_cookie(bytes)) return footer;
    auto parsed = parse_footer(bytes);
    parsed ? void(footer = *parsed) : void(copies.refusal = parsed.error());
    return footer;
  };
  copies.first = parse(first);
  // The beginning of a fixed one is the disk's.
  if (copies.first && copies.first->type == Type::kFixed) copies.first.reset();
  copies.last = parse(last);
  copies.differ = first != last;
  return copies;
}

// One whose sum is right counts before one whose sum is wrong, and then that at the end.
Result<Footer> choose_footer(File& file, std::vector<std::string>& warnings) {
  SNAP_ASSIGN(const Copies copies, read_copies(file));
  const auto& [last, first, differ, refusal] = copies;
  const bool take_last = last && (last->sum_is_right || !first || !first->sum_is_right);
  const std::optional<Footer>& chosen = take_last ? last : first;
  if (!chosen) return refusal;
  const auto warn = [&](std::string_view what) {
    warnings.push_back(fmt::format("'{}': {}", file.name(), what));
  };
  if (!chosen->sum_is_right) warn("the footer has a wrong sum");
  if (chosen->type == Type::kFixed) return *chosen;
  if (!last || !first) warn("the footer or its copy is not there");
  if (last && first && differ) warn("the footer and its copy differ");
  return *chosen;
}

// All that a differencing image says of where its parent is, the best first.
Result<std::vector<std::string>> parent_names(File& file, const Header& header) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
  };
  const auto add_located = [&](std::string_view code) -> Result<void> {
    for (const Locator& locator : header.locators) {
      const bool there = locator.length <= kMostLocator && locator.offset <= file.size() &&
                         locator.length <= file.size() - locator.offset;
      if (locator.code != code || !there) continue;
      std::vector<std::byte> bytes(locator.length);
      SNAP_TRY(file.read_at(locator.offset, bytes));
      add(decode_locator(locator, bytes).value_or(""));
    }
    return {};
  };
  SNAP_TRY(add_located("W2ru"));
  add(header.parent_name);
  SNAP_TRY(add_located("W2ku"));
  SNAP_TRY(add_located("MacX"));
  return names;
}

Result<access::ParentRef> parent_of(File& file, const Header& header) {
  access::ParentRef parent;
  SNAP_ASSIGN(auto names, parent_names(file, header));
  if (!names.empty()) {
    parent.name = names.front();
    parent.other_names.assign(names.begin() + 1, names.end());
  }
  // Xen's blktap has raw parents, which have no UUID.
  parent.format = is_null(header.parent) ? "raw" : "vpc";
  if (!is_null(header.parent)) parent.identities = {identity_of(header.parent)};
  return parent;
}

// QEMU's block/vpc.c.
std::string why_not_as_qemu(const Start& start) {
  using namespace std::string_view_literals;
  constexpr std::array kTrusted = {"win "sv, "qem2"sv, "d2v "sv, "tap\0"sv, "CTXS"sv};
  constexpr uint64_t kLargestGeometry = uint64_t{65535} * 16 * 255;
  constexpr uint64_t kLeastBlock = 4096;
  const Footer& footer = start.footer;
  if (footer.type == Type::kDifferencing)
    return "it does not read the parent of a differencing one";
  if (start.header && start.header->block_size < kLeastBlock) {
    return fmt::format("it misreads blocks of {} bytes", start.header->block_size);
  }
  const bool trusted =
      std::find(kTrusted.begin(), kTrusted.end(), footer.creator) != kTrusted.end() ||
      footer.sectors == kLargestGeometry || footer.sectors * kSectorSize == footer.size;
  return trusted ? "" : "it takes the size from the geometry, which is another";
}

class VpcImage : public MappedImage {
 public:
  VpcImage(std::shared_ptr<File> file, Start start, std::shared_ptr<Image> parent)
      : MappedImage(std::move(file), start.footer.size, std::move(parent)),
        differs_(start.footer.type == Type::kDifferencing),
        header_(std::move(start.header)),
        tables_(MappedImage::file()) {
    if (!header_) return;
    set_tables({{0, kFooterBytes},
                {start.footer.header_offset, kHeaderBytes},
                {header_->table_offset, 4 * header_->blocks}});
  }

 private:
  Result<Run> run_at(uint64_t offset, uint64_t limit) override {
    Run run{Run::Kind::kData, limit, &file(), offset};
    if (!header_) return run;
    const uint64_t within = offset % header_->block_size;
    TableCache::Cursor tables(tables_);
    SNAP_ASSIGN(const auto entry,
                tables.be<uint32_t>(header_->table_offset + 4 * (offset / header_->block_size)));
    run.length = std::min(limit, header_->block_size - within);
    if (entry == kAbsent) {
      run.kind = differs_ ? Run::Kind::kParent : Run::Kind::kZero;
      return run;
    }
    const uint64_t bitmap = entry * kSectorSize;
    SNAP_TRY(check_there(file(), bitmap, header_->bitmap_bytes()));
    run.offset = bitmap + header_->bitmap_bytes() + within;
    if (differs_) SNAP_TRY(take_own_sectors(tables, bitmap, within, run));
    return run;
  }

  // The bitmap says whether a sector is the image's own or the parent's.
  static Result<void> take_own_sectors(TableCache::Cursor& tables, uint64_t bitmap, uint64_t within,
                                       Run& run) {
    const auto is_own = [&](uint64_t sector) -> Result<bool> {
      SNAP_ASSIGN(const auto bits, tables.be<uint8_t>(bitmap + sector / 8));
      return (bits & 0x80U >> sector % 8) != 0;
    };
    SNAP_ASSIGN(const bool first, is_own(within / kSectorSize));
    uint64_t length = kSectorSize - within % kSectorSize;
    // What the parent has may end much sooner: then all of it would be walked again.
    constexpr uint64_t kMostSectors = 64;
    run.length = std::min(run.length, length + kMostSectors * kSectorSize);
    while (length < run.length) {
      SNAP_ASSIGN(const bool next, is_own((within + length) / kSectorSize));
      if (next != first) break;
      length += kSectorSize;
    }
    run.length = std::min(run.length, length);
    run.kind = first ? Run::Kind::kData : Run::Kind::kParent;
    return {};
  }

  bool differs_;
  std::optional<Header> header_;
  TableCache tables_;
};

}  // namespace

Result<Start> read_start(File& file) {
  const auto read = [&]() -> Result<Start> {
    Start start;
    SNAP_ASSIGN(start.footer, choose_footer(file, start.warnings));
    if (start.footer.type == Type::kFixed) {
      if (start.footer.size <= file.size()) return start;
      return Error(ErrorCode::kCorruption,
                   fmt::format("the image of {} bytes is cut off: the file ends at byte {}",
                               start.footer.size, file.size()));
    }
    const uint64_t at = start.footer.header_offset;
    if (at > file.size() || file.size() - at < kHeaderBytes) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("the header of its blocks at byte {} is cut off", at));
    }
    std::vector<std::byte> bytes(kHeaderBytes);
    SNAP_TRY(file.read_at(at, bytes));
    SNAP_ASSIGN(start.header, parse_header(bytes, start.footer));
    return start;
  };
  auto start = read();
  if (start) return start;
  return std::move(start).error().with_context(fmt::format("'{}'", file.name()));
}

bool is_footer(std::span<const std::byte> tail, uint64_t size) {
  std::vector<std::byte> bytes(tail.end() - kFooterBytes, tail.end());
  size_t length = kFooterBytes;
  if (!has_cookie(bytes)) {
    bytes.erase(bytes.begin());
    bytes.push_back(std::byte{0});
    length = kOldFooterBytes;
  }
  const auto footer = parse_footer(bytes);
  if (!footer || !footer->sum_is_right) return false;
  return footer->type == Type::kFixed ? footer->size == size - length
                                      : footer->header_offset < size;
}

Result<access::ImageFacts> read_facts(File& file, const Cancel& /*cancel*/) {
  SNAP_ASSIGN(Start start, read_start(file));
  access::ImageFacts facts;
  facts.size = start.footer.size;
  facts.identity = identity_of(start.footer.uuid);
  facts.not_as_qemu = why_not_as_qemu(start);
  facts.warnings = std::move(start.warnings);
  facts.details = {{"variant", std::string(type_name(start.footer.type))},
                   {"creator", start.footer.creator},
                   {"uuid", uuid_text(start.footer.uuid, UuidOrder::kNetwork)}};
  if (!start.header) return facts;
  facts.details.emplace_back("block_size", start.header->block_size);
  if (start.footer.type == Type::kDifferencing) {
    auto parent = parent_of(file, *start.header);
    if (!parent) return std::move(parent).error().with_context(fmt::format("'{}'", file.name()));
    facts.parent = *std::move(parent);
  }
  return facts;
}

Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options) {
  SNAP_ASSIGN(Start start, read_start(*file));
  if (start.footer.type == Type::kDifferencing && options.parent == nullptr) {
    return Error(ErrorCode::kWrongBase, fmt::format("'{}' needs its parent, {}", file->name(),
                                                    identity_of(start.header->parent)));
  }
  return std::make_unique<VpcImage>(std::move(file), std::move(start), options.parent);
}

}  // namespace snaptool::vpc
