// SPDX-License-Identifier: Apache-2.0
#include "cli/support/command_table.h"

#include "formats/format.h"

#include <algorithm>

namespace snaptool::cli {

const std::vector<CommandSpec>& command_table() {
  static const std::vector<CommandSpec> table = {
      info_command(),   status_command(),       verify_command(),      repair_command(),
      map_command(),    convert_command(),      diff_command(),        hash_command(),
      export_command(), apply_command(),        diff_verify_command(), compose_command(),
      invert_command(), read_command(),         ls_command(),          cat_command(),
      dump_command(),   restore_command(),      create_command(),      resize_command(),
      write_command(),  write_origin_command(), discard_command(),     batch_command(),
      merge_command(),  undo_command(),         serve_command(),
  };
  return table;
}

const CommandSpec* find_command(std::string_view name) {
  const auto& table = command_table();
  const auto it = std::find_if(table.begin(), table.end(),
                               [&](const CommandSpec& command) { return command.name == name; });
  return it == table.end() ? nullptr : &*it;
}

// What --format takes.
static std::vector<std::string_view> format_names() {
  std::vector<std::string_view> names;
  for (const access::ImageDriver& driver : all_drivers().images) {
    names.push_back(driver.name);
    if (!driver.alias.empty()) names.push_back(driver.alias);
  }
  names.emplace_back("split");
  return names;
}

std::vector<OptionSpec> shared_options() {
  CommandSpec any;
  any.shared = {Shared::kOut,           Shared::kFormat,     Shared::kSecondFormat,
                Shared::kFollowParents, Shared::kParent,     Shared::kCache,
                Shared::kIgnoreInvalid, Shared::kForceShare, Shared::kGroupBackup,
                Shared::kJobs,          Shared::kProgress,   Shared::kJson};
  return all_options(any);
}

std::vector<OptionSpec> all_options(const CommandSpec& command) {
  std::vector<OptionSpec> options = command.options;
  const auto add = [&](Shared which, OptionSpec option) {
    if (command.shares(which)) options.push_back(std::move(option));
  };
  // clang-format off
  add(Shared::kOut, written(file('o', "out", "FILE", "write to FILE, which appears whole or not at all")));
  add(Shared::kFormat, choice('f', "format", "FMT", "the format of the image (default: detected)", format_names()));
  add(Shared::kSecondFormat, choice('F', "second-format", "FMT", "the format of the second image", format_names()));
  add(Shared::kFollowParents, {0, "follow-parents", OptionKind::kOptionalValue, "anywhere", "also open the parents that an image names: plain files in its own folder, or anywhere", ValueHint::kChoices, {"anywhere"}});
  add(Shared::kParent, repeated(file("parent", "IMAGE", "the parent of the image; repeat it for the parent of IMAGE, and so on")));
  add(Shared::kParent, value("internal-snapshot", "NAME", "read the snapshot of that name or id within the image (qcow2, rbd)"));
  add(Shared::kIgnoreInvalid, flag("ignore-invalid", "read what an invalid store or a corrupt image still holds, or an image over a parent that is not its own"));
  add(Shared::kForceShare, flag('U', "force-share", "read even what another program is writing (the result may be inconsistent)"));
  add(Shared::kCache, choice('t', "cache", "MODE", "none (leave the page cache as it is) or writeback (the default)", {"none", "writeback"}));
  add(Shared::kGroupBackup, file("vgcfg", "FILE", "read LVM's metadata from FILE, made by vgcfgbackup, not from the PVs"));
  add(Shared::kJobs, value('j', "jobs", "N", "use at most N threads, 1 to 32 (default: one per processor, at most 8)"));
  add(Shared::kProgress, {'p', "progress", OptionKind::kOptionalValue, "jsonl[:FD]", "show progress: a bar on a terminal, or lines of json on standard error or FD", ValueHint::kChoices, {"jsonl"}});
  add(Shared::kJson, choice(0, "output", "human|json", "how to print the result (default: human); snaptool-json(7) documents json", {"human", "json"}));
  options.push_back(flag('q', "quiet", "print no result, warning or progress"));
  options.push_back(flag('v', "verbose", "say more about what is done and why"));
  options.push_back(written(file("log", "FILE", "append a record of the run to FILE: the command, every file opened, checksums, and how it ended, as lines of json")));
  options.push_back(flag("no-sandbox", "keep the right to open other files, use the network and start programs"));
  options.push_back(flag('h', "help", "print this help"));
  options.push_back(flag('V', "version", "print the version"));
  // clang-format on
  return options;
}

}  // namespace snaptool::cli
