// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/algorithms.h"
#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/text_output.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/diff/manifest.h"

namespace snaptool::cli {
namespace {

Json sums_json(const std::vector<HashAlgorithm>& algorithms, const std::vector<std::string>& sums) {
  Json json = Json::object();
  for (size_t i = 0; i < sums.size(); ++i) json[std::string(hash_name(algorithms[i]))] = sums[i];
  return json;
}

Result<void> write_whole(const Invocation& invocation, Image& image, const std::string& name,
                         const std::vector<HashAlgorithm>& algorithms, TextOutput& out,
                         const Job& job) {
  SNAP_ASSIGN(const auto sums, hash_range(image, 0, image.size(), algorithms, job));
  for (size_t i = 0; i < sums.size(); ++i) {
    invocation.log_sum(name, hash_name(algorithms[i]), sums[i]);
  }
  if (invocation.json()) {
    Json json = {{"format_version", 1}, {"filename", name}, {"virtual_size", image.size()}};
    json.update(sums_json(algorithms, sums));
    return out.write(json.text());
  }
  for (size_t i = 0; i < sums.size(); ++i) {
    SNAP_TRY(out.write(manifest_line(algorithms[i], sums[i], name, sums.size() > 1)));
  }
  return {};
}

Result<void> write_blocks(const Invocation& invocation, Image& image, const std::string& name,
                          uint64_t block_size, const std::vector<HashAlgorithm>& algorithms,
                          TextOutput& out, const Job& job) {
  const bool json = invocation.json();
  if (json) {
    const Json head = {{"format_version", 1},
                       {"filename", name},
                       {"virtual_size", image.size()},
                       {"block_size", block_size}};
    std::string text = head.line();
    text.pop_back();
    SNAP_TRY(out.write(text + ",\n\"blocks\": ["));
  } else {
    SNAP_TRY(out.write(block_manifest_head(image.size(), block_size, algorithms, name)));
  }
  bool any = false;
  SNAP_TRY(hash_blocks(
      image, block_size, algorithms,
      [&](const BlockHash& block) -> Result<void> {
        if (!json) return out.write(block_manifest_line(block.offset, block.sums));
        Json row = {{"offset", block.offset}, {"length", block.length}};
        row.update(sums_json(algorithms, block.sums));
        const std::string separator = any ? ",\n " : "\n ";
        any = true;
        return out.write(separator + row.line());
      },
      job));
  return json ? out.write(any ? "\n]}\n" : "]}\n") : Result<void>();
}

Result<int> run_hash(Invocation& invocation) {
  SNAP_ASSIGN(const auto algorithms, algorithms_of(invocation));
  SNAP_ASSIGN(const auto block_size, invocation.size_value("block-size"));
  if (block_size && *block_size < kSectorSize) {
    return Error(ErrorCode::kInvalidArgument, "--block-size takes 512 bytes or more");
  }
  const std::string path = invocation.value("out").value_or("-");
  access::Door door(invocation.access(), access::operations::kOutput);
  std::optional<TextOutput> out;
  const auto hash_one = [&]() -> Result<int> {
    SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
    SNAP_ASSIGN(access::OpenImage open, access::open_image(door.opener(), spec));
    if (!out) {
      SNAP_ASSIGN(auto opened, TextOutput::open(door, path));
      out.emplace(std::move(opened));
    }
    const std::string& name = invocation.operands().front();
    const access::Phase phase(invocation.access(), "hashing", open.image().size());
    const Job& job = phase.job();
    SNAP_TRY(block_size
                 ? write_blocks(invocation, open.image(), name, *block_size, algorithms, *out, job)
                 : write_whole(invocation, open.image(), name, algorithms, *out, job));
    SNAP_TRY(out->flush());
    return kExitDone;
  };
  SNAP_ASSIGN(const int status, invocation.run_each(hash_one));
  // A new file has the sums of all.
  if (!out || (status != kExitDone && out->is_file())) return status;
  SNAP_TRY(door.check_no_input(path));
  SNAP_TRY(out->commit());
  return status;
}

}  // namespace

CommandSpec hash_command() {
  CommandSpec command;
  command.name = "hash";
  command.operands = "IMAGE";
  command.each = "IMAGE IMAGE...";
  command.min_operands = command.max_operands = 1;
  command.summary = "print the checksums of an image, or of its blocks, as a manifest";
  // clang-format off
  command.description =
      "Prints the SHA-256 of IMAGE in the form that 'sha256sum -c' checks. It is the checksum of what the image shows: that of a qcow2, VMDK or E01 is of the disk in it, not of the file, and only 'snaptool verify --against' checks it. Several algorithms are computed in one read, and printed in the tagged form of the same tools. With --block-size, each block gets its own checksums, and 'verify --against' says which blocks have changed.\n\n"
      "With --direct, every file of the image is flushed, and read past the page cache: the checksums are those of what the disk holds. Where a file system has no such reads (tmpfs), -v says so.";
  command.options = {
    words("algorithm", "NAME[,...]", "sha256 (the default), sha512, sha1, md5, or several of them", {"sha256", "sha512", "sha1", "md5"}),
    value("block-size", "SIZE", "print the checksums of blocks of SIZE, not of the whole"),
    flag("direct", "read what the disk holds, not the page cache"),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,        Shared::kFormat,        Shared::kFollowParents,
                    Shared::kParent,     Shared::kIgnoreInvalid, Shared::kForceShare,
                    Shared::kJobs,       Shared::kProgress,      Shared::kJson,
                    Shared::kGroupBackup};
  command.pairs = Pairs::kFirst;
  command.run = run_hash;
  return command;
}

}  // namespace snaptool::cli
