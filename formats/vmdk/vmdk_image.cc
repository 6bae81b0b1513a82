// SPDX-License-Identifier: Apache-2.0
#include "formats/vmdk/vmdk_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/vmdk/descriptor.h"
#include "formats/vmdk/extents.h"
#include "formats/vmdk/grains.h"
#include "formats/vmdk/layout.h"
#include "libsnap/base/printable.h"

namespace snaptool::vmdk {
namespace {

// What the file that was named says.
struct Contents {
  std::optional<Descriptor> descriptor;
  std::optional<SparseFile> sparse;

  // Whether it is all of the image, whatever name its descriptor has for it.
  bool is_own_extent() const {
    return sparse && (!descriptor || (descriptor->extents.size() == 1 &&
                                      descriptor->extents.front().type == ExtentType::kSparse));
  }
  uint64_t size() const {
    return kSectorSize * (descriptor ? descriptor->sectors : sparse->grains.capacity);
  }
};

// A part of the file as text, up to its first NUL.
Result<std::string> read_text(File& file, uint64_t offset, uint64_t size) {
  if (size > kMostDescriptor) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("a descriptor of more than {} bytes is not read", kMostDescriptor));
  }
  if (offset > file.size() || size > file.size() - offset) {
    return broken("its descriptor passes its end");
  }
  std::string text(size, '\0');
  SNAP_TRY(file.read_at(offset, std::as_writable_bytes(std::span(text))));
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

// What a descriptor leaves out of a file, but for the rest of a grain; empty: nothing.
std::string left_out(const File& file, const GrainMap& grains, uint64_t sectors) {
  if (grains.capacity < sectors || grains.capacity - sectors < grains.grain) return "";
  return fmt::format(
      "'{}' has {} sectors, of which the descriptor names only {}: the others are "
      "not read",
      file.name(), grains.capacity, sectors);
}

// That the only extent, which is the file itself, has as many sectors as the descriptor says.
Result<void> check_capacity(const Contents& contents) {
  if (!contents.is_own_extent() || !contents.descriptor) return {};
  const uint64_t capacity = contents.sparse->grains.capacity;
  // Fewer are warned of: read_facts.
  if (contents.descriptor->sectors <= capacity) return {};
  return broken(fmt::format("it has {} sectors, and its descriptor says {}", capacity,
                            contents.descriptor->sectors));
}

Result<void> read_descriptor(File& file, Contents& contents) {
  uint64_t offset = 0;
  uint64_t size = file.size();
  if (contents.sparse) {
    offset = contents.sparse->descriptor;
    size = contents.sparse->descriptor_size;
  }
  if (contents.sparse && size == 0) return {};
  SNAP_ASSIGN(const std::string text, read_text(file, offset, size));
  // QEMU leaves room for one in the parts of a split image.
  if (contents.sparse && text.empty()) return {};
  SNAP_ASSIGN(contents.descriptor, parse_descriptor(text));
  return check_capacity(contents);
}

Result<Contents> read_contents(File& file) {
  std::array<std::byte, 32> bytes{};
  const auto head = std::span(bytes).first(std::min<uint64_t>(bytes.size(), file.size()));
  SNAP_TRY(file.read_at(0, head));
  Contents contents;
  if (has_sparse_magic(head) || has_cowd_magic(head)) {
    SNAP_ASSIGN(contents.sparse, read_sparse_file(file));
  } else if (!has_descriptor_magic(head)) {
    return in_file(broken("it is no VMDK image: the magic is missing"), file);
  }
  auto done = read_descriptor(file, contents);
  if (!done) return in_file(std::move(done).error(), file);
  return contents;
}

// The name of the parent's file, and the file of that name in the image's own folder.
void set_names(access::ParentRef& parent, std::string name) {
  const bool windows = name.find('/') == std::string::npos && name.find('\\') != std::string::npos;
  if (windows) std::replace(name.begin(), name.end(), '\\', '/');
  const size_t slash = name.rfind('/');
  const std::string last = slash == std::string::npos ? name : name.substr(slash + 1);
  // A drive of Windows is nowhere here.
  parent.name = windows && name.find(':') < name.find('/') ? last : name;
  if (parent.name != last) parent.other_names = {last};
}

access::ParentRef parent_of(const Descriptor& descriptor) {
  access::ParentRef parent;
  parent.format = "vmdk";
  set_names(parent, descriptor.parent_hint);
  if (*descriptor.parent_cid != kLongCid) {
    parent.identities = {identity_of(*descriptor.parent_cid)};
  }
  return parent;
}

void add_descriptor_facts(const Descriptor& descriptor, const File& file,
                          access::ImageFacts& facts) {
  facts.details.emplace_back("variant", descriptor.create_type);
  if (descriptor.cid) {
    facts.identity = identity_of(*descriptor.cid);
    facts.details.emplace_back("cid", cid_text(*descriptor.cid));
  }
  if (descriptor.parent_cid) {
    facts.details.emplace_back("parent_cid", cid_text(*descriptor.parent_cid));
  }
  facts.is_delta = descriptor.has_parent() || !descriptor.parent_hint.empty();
  if (!descriptor.has_parent()) return;
  facts.parent = parent_of(descriptor);
  if (facts.parent->identities.empty()) {
    facts.warnings.push_back(fmt::format(
        "'{}' knows its parent by a long identifier: that it is the right one is not checked",
        file.name()));
  }
}

bool has_zero_extents(const Descriptor& descriptor) {
  return std::any_of(
      descriptor.extents.begin(), descriptor.extents.end(),
      [](const ExtentLine& line) { return line.type == ExtentType::kZero && line.sectors > 0; });
}

// Errors: kUnsupported.
Result<void> check_create_type(const std::string& type) {
  static constexpr std::array<std::string_view, 8> kOfDevices = {
      "fullDevice", "partitionedDevice", "vmfsRaw",  "vmfsRawDeviceMap",
      "vmfsRDM",    "vmfsRDMP",          "seSparse", "vmfsPassthroughRawDeviceMap"};
  if (std::find(kOfDevices.begin(), kOfDevices.end(), type) == kOfDevices.end()) return {};
  return Error(ErrorCode::kUnsupported, fmt::format("VMDK images of type {} are not read", type));
}

// Makes the parts of an image of several files, or of another than the one that was named.
class PartOpener {
 public:
  PartOpener(const File& file, const access::ImageOptions& options)
      : file_(file), options_(options), tools_(std::make_shared<GrainTools>()) {}

  Result<std::unique_ptr<ExtentImage::Part>> open(const ExtentLine& line) {
    if (!line.readable) return make_closed_part(file_.name());
    switch (line.type) {
      case ExtentType::kZero:
        return make_zero_part();
      case ExtentType::kFlat: {
        SNAP_ASSIGN(auto file, open_file(line));
        return make_flat_part(std::move(file), line.start * kSectorSize);
      }
      case ExtentType::kSparse:
        return open_sparse(line);
      case ExtentType::kOther:
        break;
    }
    return in_file(Error(ErrorCode::kUnsupported,
                         fmt::format("extents of type {} are not read", excerpt(line.type_name))),
                   file_);
  }

 private:
  Result<std::shared_ptr<File>> open_file(const ExtentLine& line) const {
    constexpr std::string_view kWindowsDevice = "\\\\.\\";
    if (line.file_name.starts_with("/dev/") || line.file_name.starts_with(kWindowsDevice)) {
      return in_file(
          Error(ErrorCode::kUnsupported, fmt::format("an extent of it is the device '{}'",
                                                     excerpt(line.file_name, kMostOfName))),
          file_);
    }
    if (options_.open_part) return options_.open_part(line.file_name);
    return in_file(Error(ErrorCode::kUnsupported,
                         fmt::format("an extent of it is the file '{}', and no other file can be "
                                     "opened here",
                                     excerpt(line.file_name, kMostOfName))),
                   file_);
  }

  Result<std::unique_ptr<ExtentImage::Part>> open_sparse(const ExtentLine& line) {
    if (line.start != 0) {
      return in_file(
          Error(ErrorCode::kUnsupported, "a sparse extent that begins within its file is not read"),
          file_);
    }
    SNAP_ASSIGN(auto file, open_file(line));
    SNAP_ASSIGN(const SparseFile sparse, read_sparse_file(*file));
    if (sparse.grains.capacity < line.sectors) {
      return in_file(broken(fmt::format("it has {} sectors, and the descriptor '{}' says {}",
                                        sparse.grains.capacity, file_.name(), line.sectors)),
                     *file);
    }
    const std::string warning = left_out(*file, sparse.grains, line.sectors);
    if (!warning.empty() && options_.warn) options_.warn(warning);
    return make_grain_part(std::move(file), sparse.grains, tools_);
  }

  const File& file_;
  const access::ImageOptions& options_;
  std::shared_ptr<GrainTools> tools_;
};

Result<std::vector<ExtentImage::Piece>> open_pieces(const std::shared_ptr<File>& file,
                                                    const Contents& contents,
                                                    const access::ImageOptions& options) {
  std::vector<ExtentImage::Piece> pieces;
  if (contents.is_own_extent()) {
    if (contents.size() == 0) return pieces;
    pieces.push_back({contents.size(), make_grain_part(file, contents.sparse->grains,
                                                       std::make_shared<GrainTools>())});
    return pieces;
  }
  auto known = check_create_type(contents.descriptor->create_type);
  if (!known) return in_file(std::move(known).error(), *file);
  PartOpener opener(*file, options);
  for (const ExtentLine& line : contents.descriptor->extents) {
    if (line.sectors == 0) continue;
    if (options.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(auto part, opener.open(line));
    pieces.push_back({line.sectors * kSectorSize, std::move(part)});
  }
  return pieces;
}

}  // namespace

bool has_magic(std::span<const std::byte> head) {
  return has_sparse_magic(head) || has_cowd_magic(head) || has_descriptor_magic(head);
}

bool is_descriptor(std::span<const std::byte> head) { return has_descriptor_magic(head); }

Result<access::ImageFacts> read_facts(File& file, const Cancel& /*cancel*/) {
  SNAP_ASSIGN(const Contents contents, read_contents(file));
  access::ImageFacts facts;
  facts.size = contents.size();
  if (contents.descriptor) add_descriptor_facts(*contents.descriptor, file, facts);
  if (contents.descriptor && has_zero_extents(*contents.descriptor)) {
    facts.not_as_qemu = "it leaves out the extents that are zeros";
  }
  if (contents.sparse && !contents.descriptor) {
    facts.warnings.push_back(
        fmt::format("'{}' has no descriptor: it may be one of several files of an image, or only "
                    "what changed over another",
                    file.name()));
  }
  if (contents.descriptor && contents.is_own_extent()) {
    const std::string warning =
        left_out(file, contents.sparse->grains, contents.descriptor->sectors);
    if (!warning.empty()) facts.warnings.push_back(warning);
  }
  if (contents.sparse) {
    facts.details.emplace_back("grain_size", contents.sparse->grains.grain_bytes());
    facts.details.emplace_back("compressed", contents.sparse->grains.compressed);
    if (contents.sparse->unclean) {
      facts.warnings.push_back(
          fmt::format("'{}' was not closed: what was written last may be missing", file.name()));
    }
  }
  return facts;
}

Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options) {
  SNAP_ASSIGN(const Contents contents, read_contents(*file));
  const auto& descriptor = contents.descriptor;
  if (descriptor && descriptor->has_parent() && options.parent == nullptr) {
    return Error(ErrorCode::kWrongBase, fmt::format("'{}' needs its parent, {}", file->name(),
                                                    identity_of(*descriptor->parent_cid)));
  }
  SNAP_ASSIGN(auto pieces, open_pieces(file, contents, options));
  const auto parent = descriptor && descriptor->has_parent() ? options.parent : nullptr;
  return std::make_unique<ExtentImage>(std::move(file), std::move(pieces), parent);
}

}  // namespace snaptool::vmdk
