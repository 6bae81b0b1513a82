// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/data_source.h"
#include "cli/invocation.h"
#include "libsnap/io/image.h"
#include "libsnap/snap/snapshot.h"

namespace snaptool::cli {

// What the commands that write have in common.

// A chunk size: a power of two of sectors, up to 1 GiB. Errors: kInvalidArgument.
Result<uint64_t> parse_chunk_size(const std::string& text);

// --in-flight, or its default. Errors: kInvalidArgument.
Result<uint64_t> in_flight_of(const Invocation& invocation);
OptionSpec in_flight_option();
// -i, -P, --offset and --length.
std::vector<OptionSpec> data_options();

// Where bytes go: whole sectors within an image.
// Errors: kInvalidArgument when a number is not a multiple of 512, or passes the end.
Result<void> check_range(const Image& image, uint64_t offset, uint64_t length);

// A write as -i, -P, --offset and --length ask for it.
struct WriteRequest {
  DataSource source;
  uint64_t offset = 0;
  std::optional<uint64_t> length;  // known before it begins
  // The most that it can be.
  uint64_t most(const Image& image) const { return length.value_or(image.size() - offset); }
};
// Errors: those of DataSource::open and check_range; kInvalidArgument when the data come from one
// of the files that are written.
Result<WriteRequest> write_request(const Invocation& invocation, const Image& image,
                                   const std::vector<const File*>& written);

// That a store has no room for the exceptions that `what` ("the write") needs, and which size has.
Error no_room(const Snapshot& snapshot, uint64_t needed, std::string_view what);

// Hands the data over in pieces of `piece` bytes; returns how many there were. Errors: those of the
// source and of `sink`; kInvalidArgument when there are more than fit, or a part of a sector;
// kInterrupted.
Result<uint64_t> pump(
    WriteRequest& request, const Image& image, uint64_t piece, const Job& job,
    const std::function<Result<void>(uint64_t offset, std::span<const std::byte>)>& sink);

}  // namespace snaptool::cli
