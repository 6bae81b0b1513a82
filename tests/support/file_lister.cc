// SPDX-License-Identifier: Apache-2.0
// file_lister IMAGE [ID...]: what the library reads of an image's file system, a line of JSON for
// each thing: itself, every node with its runs and the sum of its content, every entry of every
// folder (free ones, too), what the space is used for, and the nodes with these ids. Bytes are in
// hex.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "formats/format.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/units.h"
#include "libsnap/io/image.h"
#include "libsnap/io/posix_file.h"

namespace {

using namespace snaptool;  // NOLINT: a program

constexpr uint64_t kMostHashed = 16 * kMiB;  // of more, only what lies in the image

std::string hex(std::string_view text) { return hex_of(std::as_bytes(std::span(text))); }

void print_error(std::string_view what, uint64_t id, const Error& error) {
  fmt::print("{{\"error\": \"{}\", \"id\": {}, \"code\": \"{}\", \"text\": \"{}\"}}\n", what, id,
             error_code_name(error.code()), hex(error.describe()));
}

std::string_view type_text(access::NodeType type) {
  constexpr std::array kNames = {"file",   "dir",  "symlink", "fifo",
                                 "socket", "char", "block",   "other"};
  return kNames[static_cast<size_t>(type)];
}

std::string time_text(const std::optional<access::FileTime>& time) {
  return time ? fmt::format("[{}, {}]", time->seconds, time->nanoseconds) : "null";
}

class Lister {
 public:
  explicit Lister(access::FileSystem& fs) : fs_(fs) {}

  void list(uint64_t image_size) {
    const auto walked = fs_.visit_nodes([&](const access::FileNode& node) -> Result<void> {
      print_node(node);
      if (node.type == access::NodeType::kFolder) print_entries(node);
      return {};
    });
    if (!walked) print_error("nodes", 0, walked.error());
    print_space(image_size);
    // When all is read: some warnings come late.
    std::string warnings;
    for (const std::string& one : fs_.warnings()) {
      warnings += fmt::format("{}\"{}\"", warnings.empty() ? "" : ", ", hex(one));
    }
    fmt::print(
        "{{\"type\": \"{}\", \"label\": \"{}\", \"uuid\": \"{}\", \"block_size\": {}, "
        "\"size\": {}, \"warnings\": [{}]}}\n",
        fs_.type(), hex(fs_.label()), fs_.uuid(), fs_.block_size(), fs_.size(), warnings);
  }

  void print_one(uint64_t id) {
    const auto node = fs_.node(id);
    if (!node) return print_error("node", id, node.error());
    print_node(*node);
  }

 private:
  void print_node(const access::FileNode& node) {
    std::string runs;
    uint64_t within = 0;  // bytes that lie in the node
    std::vector<access::FileRun> all;
    const auto visited = fs_.visit_runs(node, [&](const access::FileRun& run) -> Result<void> {
      runs += fmt::format("{}[{}, {}, {}]", runs.empty() ? "" : ", ", run.offset, run.length,
                          run.place ? std::to_string(*run.place) : "null");
      all.push_back(run);
      if (!run.place && !run.zeros) within += run.length;
      return {};
    });
    if (!visited) print_error("runs", node.id, visited.error());
    fmt::print(
        "{{\"node\": {}, \"generation\": {}, \"type\": \"{}\", \"mode\": {}, \"owner\": {}, "
        "\"group\": {}, \"links\": {}, \"size\": {}, \"times\": [{}, {}, {}, {}], "
        "\"encrypted\": {}, \"deleted\": {}, \"sum\": {}, \"runs\": [{}], \"sha256\": \"{}\", "
        "\"target\": \"{}\", \"near\": {}, \"within\": {}}}\n",
        node.id, node.generation, type_text(node.type), node.mode.value_or(0),
        node.owner.value_or(0), node.group.value_or(0), node.links, node.size,
        time_text(node.modified), time_text(node.changed), time_text(node.accessed),
        time_text(node.created), node.encrypted, node.deleted, node.metadata_sum, runs,
        content_sum(node, all), target(node), near_text(all), within);
  }

  std::string content_sum(const access::FileNode& node, const std::vector<access::FileRun>& runs) {
    if (node.type != access::NodeType::kFile) return "";
    Hash hash(HashAlgorithm::kSha256);
    Result<void> done;
    if (node.size <= kMostHashed) {
      done = add(node, 0, node.size, hash);
    } else {
      uint64_t left = 4 * kMostHashed;
      for (const access::FileRun& run : runs) {
        if (!run.place || !done || left == 0) continue;
        const uint64_t length = std::min({run.length, node.size - run.offset, left});
        left -= length;
        done = add(node, run.offset, length, hash);
      }
    }
    if (!done) print_error("content", node.id, done.error());
    return done ? hash.finish() : "";
  }

  Result<void> add(const access::FileNode& node, uint64_t at, uint64_t length, Hash& hash) {
    std::vector<std::byte> piece(7 * kKiB);  // no multiple of a block
    while (length > 0) {
      const auto out = std::span(piece).first(std::min<uint64_t>(piece.size(), length));
      SNAP_TRY(fs_.read(node, at, out));
      hash.update(out);
      at += out.size();
      length -= out.size();
    }
    return {};
  }

  std::string target(const access::FileNode& node) {
    if (node.type != access::NodeType::kLink) return "";
    const auto target = fs_.target(node);
    if (!target) print_error("target", node.id, target.error());
    return target ? hex(*target) : "";
  }

  // What the first byte that the node has in the image is used for.
  std::string near_text(const std::vector<access::FileRun>& runs) {
    for (const access::FileRun& run : runs) {
      if (!run.place) continue;
      const auto use = fs_.space_at(*run.place);
      return use ? std::to_string(static_cast<int>(use->first)) : "null";
    }
    return "null";
  }

  void print_entries(const access::FileNode& folder) {
    const auto done =
        fs_.visit_entries(folder, true, [&](const access::FileEntry& entry) -> Result<void> {
          fmt::print(
              "{{\"entry\": \"{}\", \"folder\": {}, \"id\": {}, \"type\": \"{}\", "
              "\"deleted\": {}}}\n",
              hex(entry.name), folder.id, entry.id, type_text(entry.type), entry.deleted);
          return {};
        });
    if (!done) print_error("entries", folder.id, done.error());
  }

  void print_space(uint64_t image_size) {
    for (uint64_t at = 0; at < std::min(fs_.size(), image_size);) {
      const auto use = fs_.space_at(at);
      if (!use) return print_error("space", at, use.error());
      if (use->second <= at) std::abort();
      fmt::print("{{\"space\": {}, \"from\": {}, \"to\": {}", static_cast<int>(use->first), at,
                 use->second);
      if (use->first == access::SpaceKind::kNodes) print_ids(at, use->second - at);
      fmt::print("}}\n");
      at = use->second;
    }
  }

  void print_ids(uint64_t at, uint64_t length) {
    uint64_t first = 0;
    uint64_t last = 0;
    const auto done = fs_.visit_ids_at(at, length, [&](uint64_t id) -> Result<void> {
      if (first == 0) first = id;
      last = id;
      return {};
    });
    fmt::print(", \"ids\": [{}, {}]", done ? first : 0, last);
  }

  access::FileSystem& fs_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  auto file = PosixFile::open(argv[1], {});
  if (!file) return 1;
  RawImage image{std::shared_ptr<File>(std::move(*file))};
  std::vector<std::byte> head(access::kFileSystemHead);
  const size_t length = std::min<uint64_t>(head.size(), image.size());
  if (!image.read_at(0, std::span(head).first(length))) return 1;
  const auto drivers = all_drivers().file_systems;
  const auto driver = std::find_if(drivers.begin(), drivers.end(), [&](const auto& one) {
    return one.probe(std::span(head).first(length));
  });
  fmt::print("{{\"magic\": {}}}\n", driver != drivers.end());
  const Cancel cancel;
  const auto fs = (driver != drivers.end() ? *driver : drivers.front()).open(image, cancel);
  if (!fs) {
    print_error("open", 0, fs.error());
    return 0;
  }
  Lister lister(**fs);
  if (argc == 2) lister.list(image.size());
  for (int i = 2; i < argc; ++i) lister.print_one(std::strtoull(argv[i], nullptr, 0));
  return 0;
}
