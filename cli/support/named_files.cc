// SPDX-License-Identifier: Apache-2.0
#include "cli/support/named_files.h"

#include <filesystem>
#include <vector>

#include "libsnap/access/pending_apply.h"
#include "libsnap/access/spec.h"
#include "libsnap/io/folder.h"

namespace snaptool::cli {
namespace {

namespace fs = std::filesystem;

// Whatever a word may name: as an image, and as it is.
std::vector<std::string> paths_of(const std::string& word) {
  std::vector<std::string> paths{word};
  const auto spec = access::parse_image_spec(word);
  if (!spec) return paths;
  for (const auto& source : spec->base.sources) paths.push_back(source.path);
  for (const auto& store : spec->stores) paths.push_back(store.path());
  return paths;
}

bool may_write(Writes writes, size_t index, size_t count) {
  switch (writes) {
    case Writes::kNothing:
      return false;
    case Writes::kFirst:
      return index == 0;
    case Writes::kLast:
      return index + 1 == count;
    case Writes::kAll:
      return true;
  }
  return false;
}

}  // namespace

NamedFiles::NamedFiles(const CommandSpec& command, const ParsedOptions& options,
                       const access::Policy& policy) {
  reads_beside_ = options.value("format") == "split" || options.value("second-format") == "split" ||
                  policy.follow_parents == access::Parents::kInFolder;
  if (policy.follow_parents == access::Parents::kAnywhere) allowed_.read_below.emplace_back("/");
  add_operands(command, options);
  for (const OptionSpec& option : all_options(command)) {
    if (option.hint != ValueHint::kFile) continue;
    for (const std::string& word : options.values(option.long_name)) {
      option.written ? add_written(word) : add_read(word);
    }
  }
}

void NamedFiles::add_operands(const CommandSpec& command, const ParsedOptions& options) {
  const bool only_reads = options.has("dry-run") || options.has("out");
  const Writes writes = only_reads ? Writes::kNothing : command.writes;
  const auto& words = options.operands();
  for (size_t i = 0; i < words.size(); ++i) {
    may_write(writes, i, words.size()) ? add_written(words[i]) : add_read(words[i]);
  }
}

void NamedFiles::add_read(const std::string& word) {
  for (const std::string& path : paths_of(word)) {
    allowed_.read.push_back(path);
    std::error_code failed;
    if (reads_beside_ && !fs::is_block_file(path, failed)) {
      allowed_.read_below.push_back(folder_of(path));
    }
    // The journal may be elsewhere.
    if (auto journal = access::marked_journal_of(path)) allowed_.read.push_back(*journal);
  }
}

void NamedFiles::add_written(const std::string& word) {
  add_read(word);
  for (const std::string& path : paths_of(word)) {
    allowed_.written.push_back(path);
    std::error_code failed;
    if (fs::is_block_file(path, failed)) continue;  // nothing is made beside a device
    allowed_.made_in.push_back(folder_of(path));
    const fs::path real = fs::canonical(path, failed);
    if (!failed) allowed_.made_in.push_back(folder_of(real));
  }
}

}  // namespace snaptool::cli
