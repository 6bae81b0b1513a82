// SPDX-License-Identifier: Apache-2.0
#include "cli/support/named_files.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <vector>

#include "cli/support/snapshot_option.h"
#include "formats/format.h"
#include "libsnap/access/opener.h"
#include "libsnap/access/pending_apply.h"
#include "libsnap/access/spec.h"
#include "libsnap/io/folder.h"

namespace snaptool::cli {
namespace {

namespace fs = std::filesystem;

// What a word may name: an image's files, or itself.
std::vector<std::string> paths_of(const std::string& word) {
  std::vector<std::string> paths;
  std::error_code ignored;
  if (word == "-") return paths;
  const auto spec = access::parse_image_spec(word);
  if (!spec || fs::exists(word, ignored)) paths.push_back(word);
  if (!spec) return paths;
  for (const auto& source : spec->base.sources) paths.push_back(source.path);
  for (const auto& store : spec->stores) paths.push_back(store.path());
  return paths;
}

// A file, or a name that may become one: only beside these is anything read or made.
bool may_be_file(const std::string& path) {
  std::error_code ignored;
  return !fs::exists(path, ignored) || fs::is_regular_file(path, ignored);
}

// Whether it is an image of which parts are in other files of its folder.
bool has_parts(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  const auto file = access::Files::posix().open(path, access::kLook);
  if (!file) return false;  // whoever needs it says why
  std::array<std::byte, access::kProbeBytes> bytes{};
  const auto head = std::span(bytes).first(std::min<uint64_t>(bytes.size(), (*file)->size()));
  if (!(*file)->read_at(0, head)) return false;
  const auto images = all_drivers().images;
  return std::any_of(images.begin(), images.end(), [&](const access::ImageDriver& driver) {
    return driver.has_parts != nullptr && driver.has_parts(head);
  });
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
    if (option.long_name == "snapshot" && option.hint != ValueHint::kFile) {
      for (const std::string& word : options.values(option.long_name)) {
        if (const auto snapshot = parse_snapshot_option(word)) add_written(snapshot->cow);
      }
    }
    if (option.hint != ValueHint::kFile || option.long_name == "log") continue;  // that is open
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
    if ((reads_beside_ && may_be_file(path)) || has_parts(path))
      allowed_.read_below.push_back(folder_of(path));
    // The journal may be elsewhere.
    if (auto journal = access::marked_journal_of(path)) allowed_.read.push_back(*journal);
  }
}

void NamedFiles::add_written(const std::string& word) {
  add_read(word);
  for (const std::string& path : paths_of(word)) {
    allowed_.written.push_back(path);
    if (!may_be_file(path)) continue;
    allowed_.made_in.push_back(folder_of(path));
    allowed_.made_in.push_back(folder_of(behind_links(path)));
    if (const auto journal = access::marked_journal_of(path)) {
      allowed_.made_in.push_back(folder_of(*journal));
    }
  }
}

}  // namespace snaptool::cli
