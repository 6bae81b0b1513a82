// SPDX-License-Identifier: Apache-2.0
#include "cli/command_table.h"

#include "formats/format.h"

#include <algorithm>
#include <array>

namespace snaptool::cli {

const std::vector<CommandSpec>& command_table() {
  static const std::vector<CommandSpec> table = {
      info_command(),    status_command(),  verify_command(),      repair_command(),
      map_command(),     convert_command(), diff_command(),        hash_command(),
      export_command(),  apply_command(),   diff_verify_command(), compose_command(),
      invert_command(),  read_command(),    dump_command(),        restore_command(),
      create_command(),  resize_command(),  write_command(),       write_origin_command(),
      discard_command(), batch_command(),   merge_command(),       undo_command(),
  };
  return table;
}

const CommandSpec* find_command(std::string_view name) {
  const auto& table = command_table();
  const auto it = std::find_if(table.begin(), table.end(),
                               [&](const CommandSpec& command) { return command.name == name; });
  return it == table.end() ? nullptr : &*it;
}

std::optional<std::string_view> command_for_foreign_word(std::string_view word) {
  struct Hint {
    std::string_view word;
    std::string_view command;
  };
  static constexpr std::array<Hint, 5> kHints = {{{"check", "verify"},
                                                  {"commit", "merge"},
                                                  {"compare", "diff"},
                                                  {"import-diff", "apply"},
                                                  {"merge-diff", "compose"}}};
  for (const Hint& hint : kHints) {
    if (hint.word == word && find_command(hint.command) != nullptr) return hint.command;
  }
  return std::nullopt;
}

// What --format takes.
static std::vector<std::string_view> format_names() {
  std::vector<std::string_view> names;
  for (const access::ImageDriver& driver : all_drivers().images) names.push_back(driver.name);
  names.emplace_back("split");
  return names;
}

std::vector<OptionSpec> all_options(const CommandSpec& command) {
  std::vector<OptionSpec> options = command.options;
  const auto shares = [&](char letter) {
    return command.shared.find(letter) != std::string_view::npos;
  };
  if (shares('o')) {
    options.push_back({'o',
                       "out",
                       OptionKind::kValue,
                       "FILE",
                       "write to FILE, which appears whole or not at all",
                       ValueHint::kFile,
                       {}});
  }
  if (shares('f')) {
    options.push_back({'f', "format", OptionKind::kValue, "FMT",
                       "take the image for this format instead of looking at its magic",
                       ValueHint::kChoices, format_names()});
  }
  if (shares('F')) {
    options.push_back({'F', "second-format", OptionKind::kValue, "FMT",
                       "the same for the second image", ValueHint::kChoices, format_names()});
  }
  if (shares('L')) {
    options.push_back({0,
                       "follow-parents",
                       OptionKind::kFlag,
                       "",
                       "open the images that an image names as its parents, too",
                       ValueHint::kNone,
                       {}});
  }
  if (shares('P')) {
    options.push_back({0,
                       "parent",
                       OptionKind::kValue,
                       "IMAGE",
                       "take IMAGE for the parent of the image",
                       ValueHint::kFile,
                       {}});
    options.push_back({0,
                       "internal-snapshot",
                       OptionKind::kValue,
                       "NAME",
                       "read the snapshot of that name or id within the image",
                       ValueHint::kNone,
                       {}});
  }
  if (shares('I')) {
    options.push_back({0,
                       "ignore-invalid",
                       OptionKind::kFlag,
                       "",
                       "read what an invalid store still holds",
                       ValueHint::kNone,
                       {}});
  }
  if (shares('U')) {
    options.push_back(
        {'U',
         "force-share",
         OptionKind::kFlag,
         "",
         "read even what another program is writing (what is read may be inconsistent)",
         ValueHint::kNone,
         {}});
  }
  if (shares('g')) {
    options.push_back({0,
                       "vgcfg",
                       OptionKind::kValue,
                       "FILE",
                       "take LVM's metadata from FILE, a backup of vgcfgbackup, instead of the PVs",
                       ValueHint::kFile,
                       {}});
  }
  if (shares('j')) {
    options.push_back({'j',
                       "jobs",
                       OptionKind::kValue,
                       "N",
                       "use at most N threads, 1 to 32 (default: one a processor, at most 8)",
                       ValueHint::kNone,
                       {}});
  }
  if (shares('p')) {
    options.push_back(
        {'p',
         "progress",
         OptionKind::kOptionalValue,
         "jsonl[:FD]",
         "show progress: a bar on a terminal, or lines of json on standard error or FD",
         ValueHint::kChoices,
         {"jsonl"}});
  }
  if (shares('O')) {
    options.push_back({0,
                       "output",
                       OptionKind::kValue,
                       "human|json",
                       "how to print the result (default: human)",
                       ValueHint::kChoices,
                       {"human", "json"}});
  }
  options.push_back({'q',
                     "quiet",
                     OptionKind::kFlag,
                     "",
                     "print no result, warning or progress",
                     ValueHint::kNone,
                     {}});
  options.push_back({'v',
                     "verbose",
                     OptionKind::kFlag,
                     "",
                     "say more of what is done and why",
                     ValueHint::kNone,
                     {}});
  options.push_back({'h', "help", OptionKind::kFlag, "", "print this help", ValueHint::kNone, {}});
  options.push_back(
      {'V', "version", OptionKind::kFlag, "", "print the version", ValueHint::kNone, {}});
  return options;
}

}  // namespace snaptool::cli
