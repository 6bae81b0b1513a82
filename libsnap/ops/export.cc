// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/export.h"

#include <fmt/format.h>

#include "libsnap/access/byte_output.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/snap/view/identity.h"

namespace snaptool::ops {
namespace {

using access::Context;

Error bad(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

// What is exported, and what it is compared with.
struct Images {
  access::OpenImage target_files;
  access::OpenImage base_files;               // of a base that was named
  access::OpenImage limit_files;              // of the changes
  std::vector<std::unique_ptr<Image>> tails;  // views with the origin's odd bytes behind them
  Image* base = nullptr;                      // none: a full diff
  Image* target = nullptr;
};

// A view has whole sectors only; what lies behind them in the origin's file is the same on both
// sides, and is added, so that sizes are those of the files.
Image* whole(Images& images, const access::OpenImage& open, Image& view) {
  auto joined =
      access::with_tail(open.files.front(), view, static_cast<int>(open.layers.size()) - 1);
  if (joined == nullptr) return &view;
  images.tails.push_back(std::move(joined));
  return images.tails.back().get();
}

Result<void> open_limit(access::Door& door, const ExportRequest& request, Images& images) {
  if (!request.base) return bad("changes say where an image and a base that is named may differ");
  SNAP_ASSIGN(images.limit_files,
              open_layers(door.opener(), {request.image.base, {*request.changes}, {}}));
  File& cow = *images.limit_files.files.back();
  SNAP_ASSIGN(const auto found,
              contradictions_of(*images.limit_files.files.front(), cow, door.context().cancel));
  if (found.empty()) return {};
  return Error(ErrorCode::kWrongBase, fmt::format("{}: '{}' may be a snapshot of another disk",
                                                  found.front(), cow.name()));
}

Result<void> check(const ExportRequest& request) {
  const access::ImageSpec& image = request.image;
  const bool own_base = !request.full && !request.base;
  if (request.full && request.base) return bad("a full diff has no base");
  if (own_base && (image.stores.empty() || !image.view_parts.empty())) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("there is nothing to compare '{}' with", access::name_of(image)))
        .with_remedy(Remedy::kNameBase);
  }
  if (request.reverse && !own_base) {
    return bad("only a diff of ORIGIN@COW can be reversed; name the images the other way round");
  }
  return {};
}

Result<void> open(access::Door& door, const ExportRequest& request, Images& images) {
  const access::ImageSpec& spec = request.image;
  access::OpenImage& target = images.target_files;
  SNAP_ASSIGN(target, open_image(door.opener(), spec, access::Tail::kIgnore));
  const bool is_view = !spec.stores.empty() && spec.view_parts.empty();
  images.target = is_view ? whole(images, target, target.image()) : &target.image();
  if (request.base) {
    SNAP_ASSIGN(images.base_files, open_image(door.opener(), *request.base));
    images.base = &images.base_files.image();
  } else if (!request.full) {
    Image& below = *target.layers[target.layers.size() - 2];
    images.base = spec.stores.size() > 1 ? whole(images, target, below) : &below;
    if (request.reverse) std::swap(images.base, images.target);
  }
  return request.changes ? open_limit(door, request, images) : Result<void>();
}

Result<void> add_sums(const Context& context, const Images& images, ExportOptions& options) {
  const auto add = [&](Image& image, std::optional<Sha256::Digest>& sum,
                       std::optional<ContentId>& content) -> Result<void> {
    {
      const access::Phase phase(context, "hashing", image.size());
      SNAP_ASSIGN(sum, sha256_of(image, phase.job()));
    }
    const access::Phase phase(context, "identifying", image.size());
    SNAP_ASSIGN(content, content_id_of(image, phase.job()));
    return {};
  };
  if (images.base != nullptr) SNAP_TRY(add(*images.base, options.base_sum, options.base_content));
  return add(*images.target, options.target_sum, options.target_content);
}

}  // namespace

Result<Exported> export_diff(const Context& context, const ExportRequest& request,
                             const std::string& path) {
  SNAP_TRY(check(request));
  access::Door door(context, access::operations::kOutput);
  Images images;
  SNAP_TRY(open(door, request, images));
  SNAP_ASSIGN(auto output,
              access::ByteOutput::open(door, path, access::StreamTarget::Content::kBinary));
  ExportOptions options = request.options;
  options.reverse = request.reverse;
  if (request.changes) options.limit = &images.limit_files.image();
  options.check_limit = request.whole_sums || request.verify;
  // Where the images are read in full anyway, that costs nearly nothing.
  options.identities = request.base || request.full || request.verify;
  if (request.whole_sums) SNAP_TRY(add_sums(context, images, options));
  std::optional<UnmappedImage> whole_base;
  std::optional<UnmappedImage> whole_target;
  Image* base = images.base;
  Image* target = images.target;
  if (request.verify) {
    if (base != nullptr) base = &whole_base.emplace(*base);
    target = &whole_target.emplace(*target);
  }
  const auto writer = request.driver->make(
      [&](std::span<const std::byte> bytes) { return output.write(bytes); }, request.level);
  Exported exported;
  exported.size = images.target->size();
  {
    const access::Phase phase(context, "exporting", exported.size);
    SNAP_ASSIGN(exported.end, export_changes(base, *target, *writer, options, phase.job()));
  }
  SNAP_TRY(output.commit());
  exported.links =
      exported.end.target_content && (exported.end.base_content || images.base == nullptr);
  return exported;
}

}  // namespace snaptool::ops
