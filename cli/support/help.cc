// SPDX-License-Identifier: Apache-2.0
#include "cli/support/help.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/support/command_table.h"
#include "cli/support/version.h"

namespace snaptool::cli {
namespace {

constexpr size_t kWidth = 80;

// The text, wrapped and indented; the first line continues one that is `at` columns long already.
std::string wrapped(std::string_view text, size_t indent, size_t at) {
  std::string out;
  size_t column = at;
  bool first = true;
  while (!text.empty()) {
    const size_t end = text.find_first_of(" \n");
    const std::string_view word = text.substr(0, end);
    if (!word.empty()) {
      if (!first && column + 1 + word.size() > kWidth) {
        out += "\n" + std::string(indent, ' ');
        column = indent;
      } else if (!first) {
        out += ' ';
        ++column;
      }
      out += word;
      column += word.size();
      first = false;
    }
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return out;
}

}  // namespace

std::string version_text() { return fmt::format("{}\n", kProgram); }

std::string option_heading(const OptionSpec& option) {
  std::string heading =
      option.short_name != 0 ? fmt::format("-{}, ", option.short_name) : std::string("    ");
  heading += fmt::format("--{}", option.long_name);
  if (option.kind == OptionKind::kValue) heading += fmt::format(" {}", option.value_name);
  if (option.kind == OptionKind::kOptionalValue) heading += fmt::format("[={}]", option.value_name);
  return heading;
}

std::string operands_with_pair(const CommandSpec& command) {
  constexpr std::string_view kImage = "IMAGE";
  if (command.pairs != Pairs::kFirst) return {};
  return "ORIGIN COW" + std::string(command.operands.substr(kImage.size()));
}

std::string program_help() {
  std::string text =
      "Usage: snaptool COMMAND [OPTION...] OPERAND...\n\n"
      "Reads, writes, checks and merges the copy-on-write stores of the Linux\n"
      "kernel's dm-snapshot, on image files and block devices, without device-mapper.\n\n"
      "Commands:\n";
  for (const CommandSpec& command : command_table()) {
    text += fmt::format("  {:<14}{}\n", command.name, wrapped(command.summary, 16, 16));
  }
  text +=
      "\n'snaptool COMMAND --help' tells the options of a command; snaptool(1) has the\n"
      "exit statuses, snaptool-image(7) how to name an image (ORIGIN@COW is the view of\n"
      "a snapshot).\n";
  return text;
}

std::string command_help(const CommandSpec& command) {
  std::string text =
      fmt::format("Usage: snaptool {} [OPTION...] {}\n", command.name, command.operands);
  if (command.pairs == Pairs::kFirst) {
    text += fmt::format("       snaptool {} [OPTION...] {}\n", command.name,
                        operands_with_pair(command));
  }
  if (!command.each.empty()) {
    text += fmt::format("       snaptool {} [OPTION...] {}\n", command.name, command.each);
  }
  if (!command.other_form.empty()) {
    text += fmt::format("       snaptool {} [OPTION...] {}\n", command.name, command.other_form);
  }
  text += "\n";
  std::string_view rest = command.description;
  while (!rest.empty()) {
    const size_t end = rest.find("\n\n");
    text += wrapped(rest.substr(0, end), 0, 0) + "\n\n";
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 2);
  }
  text += "Options:\n";
  constexpr size_t kColumn = 30;
  for (const OptionSpec& option : all_options(command)) {
    std::string line = "  " + option_heading(option);
    if (line.size() + 2 > kColumn) {
      text += line + "\n";
      line.clear();
    }
    line.resize(kColumn, ' ');
    text += line + wrapped(option.help, kColumn, kColumn) + "\n";
  }
  return text;
}

}  // namespace snaptool::cli
