// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "formats/vmdk/descriptor.h"
#include "formats/vmdk/layout.h"
#include "libsnap/access/image_driver.h"

namespace snaptool::vmdk {

// What the two writers have in common; for this folder only.

// The subformats that are made, as createType has them.
inline constexpr std::string_view kMonolithicSparse = "monolithicSparse";
inline constexpr std::string_view kStreamOptimized = "streamOptimized";

// A sector as tables have it. Errors: kUnsupported past what 32 bits reach (2 TiB of file).
Result<uint32_t> sector_number(uint64_t sector);

// The descriptor, and zeros up to the end of its sectors.
std::vector<std::byte> encode_descriptor_sectors(const NewDescriptor& descriptor);

// A file with grains, their tables before them. The writer keeps a grain table in memory.
std::unique_ptr<access::ImageWriter> make_sparse_writer(File& file, const NewDescriptor& descriptor,
                                                        access::Before before);
// The same front to back, compressed, the directory at the end. The writer keeps the directory in
// memory: 4 bytes for 32 MiB of the image. `finished` is called behind the last byte.
std::unique_ptr<access::ImageWriter> make_stream_writer(ByteSink sink,
                                                        const NewDescriptor& descriptor,
                                                        std::function<Result<void>()> finished);

}  // namespace snaptool::vmdk
