// SPDX-License-Identifier: Apache-2.0
#include "formats/vmdk/new_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "formats/common/early_writeback.h"
#include "formats/common/new_file.h"
#include "formats/common/uuid.h"
#include "formats/vmdk/vmdk_image.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/printable.h"

namespace snaptool::vmdk {
namespace {

Error bad_setting(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

// The value of a setting, or what it is without.
std::string setting_of(const access::CreateOptions& options, const std::string& name,
                       std::string_view otherwise) {
  const auto found = options.settings.find(name);
  return found == options.settings.end() ? std::string(otherwise) : found->second;
}

// Of the two, those that are possible. `stream`: to a pipe.
Result<std::string> subformat_of(const access::CreateOptions& options, bool stream) {
  const bool compressed = stream || options.compress;
  const std::string name =
      setting_of(options, "subformat", compressed ? kStreamOptimized : kMonolithicSparse);
  if (name != kMonolithicSparse && name != kStreamOptimized) {
    return bad_setting(
        fmt::format("subformat={}: monolithicSparse or streamOptimized is wanted", excerpt(name)));
  }
  if (compressed && name == kMonolithicSparse) {
    return bad_setting(fmt::format(
        "subformat=monolithicSparse cannot be {}: streamOptimized can",
        options.compress ? "compressed" : "written to a pipe, since its tables come first"));
  }
  return name;
}

Result<std::string> adapter_of(const access::CreateOptions& options) {
  static constexpr std::array<std::string_view, 4> kKnown = {"lsilogic", "buslogic", "pvscsi",
                                                             "ide"};
  const std::string name = setting_of(options, "adapter_type", kKnown.front());
  if (std::find(kKnown.begin(), kKnown.end(), name) != kKnown.end()) return name;
  return bad_setting(
      fmt::format("adapter_type={}: lsilogic, buslogic, pvscsi or ide is wanted", excerpt(name)));
}

// What a file is called in its own descriptor: without folders.
std::string extent_name_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

// Neither of the two that mean something else.
uint32_t random_cid() {
  const Uuid random = random_uuid(UuidOrder::kNetwork);
  return std::min(load_le<uint32_t>(random.data()), kLongCid - 1);
}

Result<NewDescriptor> descriptor_for(const access::CreateOptions& options, bool stream,
                                     const std::string& extent_name) {
  SNAP_CHECK(!options.parent && options.size % kSectorSize == 0);
  NewDescriptor descriptor;
  SNAP_ASSIGN(descriptor.create_type, subformat_of(options, stream));
  SNAP_ASSIGN(descriptor.adapter_type, adapter_of(options));
  descriptor.extent_name = setting_of(options, "name", extent_name);
  if (!can_name_extent(descriptor.extent_name)) {
    return bad_setting(
        fmt::format("'{}' is no name that a VMDK descriptor can have for its file: name=FILE names "
                    "another",
                    excerpt(descriptor.extent_name, kMostOfName)));
  }
  descriptor.sectors = options.size / kSectorSize;
  if (descriptor.sectors > kMostNewSectors) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("{} bytes are more than the {} that a VMDK image is made with",
                             options.size, format_size(kMostNewSectors * kSectorSize)));
  }
  descriptor.cid = random_cid();
  return descriptor;
}

// A new file that is written front to back.
class FrontToBack {
 public:
  explicit FrontToBack(File& file) : file_(file), writeback_(file) {}

  Result<void> add(std::span<const std::byte> bytes) {
    SNAP_TRY(grow_new_file(file_, end_ + bytes.size()));
    SNAP_TRY(file_.write_at(end_, bytes));
    writeback_.wrote(end_, bytes.size());
    end_ += bytes.size();
    return {};
  }
  Result<void> finish() { return cut_new_file(file_, end_); }

 private:
  File& file_;
  EarlyWriteback writeback_;
  uint64_t end_ = 0;
};

}  // namespace

Result<uint32_t> sector_number(uint64_t sector) {
  if (sector <= UINT32_MAX) return static_cast<uint32_t>(sector);
  return Error(ErrorCode::kUnsupported,
               "the file of a VMDK image cannot have more than 2 TiB, which these data need");
}

std::vector<std::byte> encode_descriptor_sectors(const NewDescriptor& descriptor) {
  std::vector<std::byte> bytes(kNewDescriptorSectors * kSectorSize);
  const std::string text = encode_descriptor(descriptor);
  SNAP_CHECK(text.size() < bytes.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options) {
  SNAP_ASSIGN(const NewDescriptor descriptor,
              descriptor_for(options, false, extent_name_of(file.name())));
  if (descriptor.create_type == kMonolithicSparse) {
    return make_sparse_writer(file, descriptor, options.before);
  }
  if (options.before != access::Before::kZeros) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}': a streamOptimized image ends where its file does: it is made "
                             "as a new file only",
                             file.name()));
  }
  const auto output = std::make_shared<FrontToBack>(file);
  return make_stream_writer(
      [output](std::span<const std::byte> bytes) { return output->add(bytes); }, descriptor,
      [output] { return output->finish(); });
}

Result<std::unique_ptr<access::ImageWriter>> stream_image(ByteSink sink,
                                                          const access::CreateOptions& options) {
  SNAP_ASSIGN(const NewDescriptor descriptor, descriptor_for(options, true, "disk.vmdk"));
  return make_stream_writer(std::move(sink), descriptor, [] { return Result<void>(); });
}

}  // namespace snaptool::vmdk
