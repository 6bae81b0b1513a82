// SPDX-License-Identifier: Apache-2.0
#include "formats/vdi/vdi_image.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/common/mapped_image.h"
#include "formats/common/table_cache.h"

namespace snaptool::vdi {
namespace {

Result<Header> read_header(File& file) {
  const auto read = [&]() -> Result<Header> {
    std::vector<std::byte> bytes(kHeaderBytes);
    if (file.size() < kHeaderBytes) {
      return Error(ErrorCode::kCorruption, "the header is cut off");
    }
    SNAP_TRY(file.read_at(0, bytes));
    return parse_header(bytes);
  };
  auto header = read();
  if (header) return header;
  return std::move(header).error().with_context(fmt::format("'{}'", file.name()));
}

class VdiImage : public MappedImage {
 public:
  VdiImage(std::shared_ptr<File> file, const Header& header, std::shared_ptr<Image> parent)
      : MappedImage(std::move(file), header.size, std::move(parent)),
        header_(header),
        tables_(MappedImage::file()) {
    set_tables({{0, kHeaderBytes}, {header.map_offset, 4 * header.blocks}});
  }

 private:
  Result<Run> run_at(uint64_t offset, uint64_t limit) override {
    const uint64_t block = offset / header_.block_size;
    const uint64_t within = offset % header_.block_size;
    TableCache::Cursor tables(tables_);
    SNAP_ASSIGN(const auto entry, tables.le<uint32_t>(header_.map_offset + 4 * block));
    Run run;
    run.length = std::min(limit, header_.block_size - within);
    if (entry == kZero) return run;
    if (entry == kFree) {
      run.kind = Run::Kind::kParent;
      return run;
    }
    run.kind = Run::Kind::kData;
    run.file = &file();
    run.offset = header_.offset_of(entry) + within;
    return run;
  }

  Header header_;
  TableCache tables_;
};

}  // namespace

Result<access::ImageFacts> read_facts(File& file, const Cancel& /*cancel*/) {
  SNAP_ASSIGN(const Header header, read_header(file));
  access::ImageFacts facts;
  facts.size = header.size;
  facts.identity = identity_of(header.uuid, header.modification);
  facts.is_delta = header.type == Type::kDifferencing || header.type == Type::kUndo;
  if (!is_null(header.parent)) {
    access::ParentRef parent;  // VirtualBox's registry has its name
    parent.format = "vdi";
    parent.identities = {identity_of(header.parent, header.parent_modification)};
    facts.parent = std::move(parent);
  }
  if (header.extra != 0) facts.not_as_qemu = "it takes the bytes before each block for content";
  facts.details = {{"variant", std::string(type_name(header.type))},
                   {"block_size", header.block_size},
                   {"allocated_blocks", header.allocated},
                   {"uuid", uuid_text(header.uuid, UuidOrder::kGuid)},
                   {"modification_uuid", uuid_text(header.modification, UuidOrder::kGuid)}};
  if (!header.comment.empty()) facts.metadata.emplace_back("comment", header.comment);
  return facts;
}

Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options) {
  SNAP_ASSIGN(const Header header, read_header(*file));
  if (!is_null(header.parent) && options.parent == nullptr) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' needs its parent, {}", file->name(),
                             identity_of(header.parent, header.parent_modification)));
  }
  return std::make_unique<VdiImage>(std::move(file), header, options.parent);
}

}  // namespace snaptool::vdi
