// SPDX-License-Identifier: Apache-2.0
#include "cli/support/slips.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "cli/support/command_table.h"
#include "cli/support/stdio.h"

namespace snaptool::cli {
namespace {

constexpr size_t kShortestBeginning = 3;

// A word of another tool, and what it is here.
struct Foreign {
  std::string_view word;
  std::string_view ours;
};

// Of qemu-img, rbd, thin-provisioning-tools, LVM, virsh and coreutils.
// clang-format off
constexpr auto kCommands = std::to_array<Foreign>({
  {"check", "'snaptool verify'"},
  {"fsck", "'snaptool verify'"},
  {"thin_check", "'snaptool verify'"},
  {"scrub", "'snaptool verify'"},
  {"commit", "'snaptool merge'"},
  {"rollback", "'snaptool merge'"},
  {"revert", "'snaptool merge' (or 'snaptool undo', which takes a merge back)"},
  {"lvconvert", "'snaptool merge'"},
  {"resume", "'snaptool merge' or 'snaptool apply', which go on where they were stopped"},
  {"compare", "'snaptool diff'"},
  {"cmp", "'snaptool diff'"},
  {"import-diff", "'snaptool apply'"},
  {"patch", "'snaptool apply'"},
  {"export-diff", "'snaptool export'"},
  {"merge-diff", "'snaptool compose'"},
  {"rebase", "'snaptool convert --base'"},
  {"copy", "'snaptool convert'"},
  {"cp", "'snaptool convert'"},
  {"measure", "'snaptool create --measure'"},
  {"snapshot", "'snaptool create', or 'snaptool info' to list them"},
  {"snap", "'snaptool create'"},
  {"lvcreate", "'snaptool create'"},
  {"mount", "'snaptool ls' and 'snaptool cat', which read files without mounting"},
  {"list", "'snaptool ls' (or 'snaptool info')"},
  {"dir", "'snaptool ls'"},
  {"show", "'snaptool info'"},
  {"identify", "'snaptool info'"},
  {"stat", "'snaptool info' or 'snaptool status'"},
  {"dd", "'snaptool read' or 'snaptool write'"},
  {"sum", "'snaptool hash'"},
  {"checksum", "'snaptool hash'"},
  {"sha256sum", "'snaptool hash'"},
  {"grow", "'snaptool resize'"},
  {"extend", "'snaptool resize'"},
  {"lvextend", "'snaptool resize'"},
  {"shrink", "'snaptool resize'"},
  {"truncate", "'snaptool resize'"},
  {"trim", "'snaptool discard'"},
  {"fstrim", "'snaptool discard'"},
  {"unmap", "'snaptool discard'"},
  {"thin_dump", "'snaptool dump'"},
  {"thin_restore", "'snaptool restore'"},
  {"thin_repair", "'snaptool repair'"},
  {"fix", "'snaptool repair'"},
});

// `ours` is said where the command has `option`.
struct ForeignOption {
  std::string_view word;
  std::string_view option;
  std::string_view ours;
};

constexpr auto kOptions = std::to_array<ForeignOption>({
  {"--json", "output", "--output=json"},
  {"--human", "output", "--output=human (the default)"},
  {"--human-readable", "output", "--output=human (the default)"},
  {"-n", "dry-run", "--dry-run"},
  {"--noop", "dry-run", "--dry-run"},
  {"--simulate", "dry-run", "--dry-run"},
  {"--just-print", "dry-run", "--dry-run"},
  {"-b", "base", "--base"},
  {"-B", "base", "--base"},
  {"--backing", "base", "--base"},
  {"--backing-file", "base", "--base"},
  {"-b", "block-size", "--block-size"},
  {"--bs", "block-size", "--block-size"},
  {"-o", "option", "--option (OUT is the last operand)"},
  {"--out", "option", "OUT, the last operand"},
  {"-o", "report", "--report FILE, which writes a report, or 'snaptool export', which makes a diff to apply"},
  {"--out", "report", "--report FILE, which writes a report, or 'snaptool export', which makes a diff to apply"},
  {"-l", "internal-snapshot", "--internal-snapshot"},
  {"--backing-chain", "follow-parents", "--follow-parents"},
  {"-a", "algorithm", "--algorithm"},
  {"--sha256", "algorithm", "--algorithm sha256"},
  {"--sha512", "algorithm", "--algorithm sha512"},
  {"--sha1", "algorithm", "--algorithm sha1"},
  {"--md5", "algorithm", "--algorithm md5"},
  {"-c", "against", "--against MANIFEST"},
  {"--check", "against", "--against MANIFEST"},
  {"-r", "against", "'snaptool repair'"},
  {"--repair", "against", "'snaptool repair'"},
  {"-r", "recursive", "-R"},
  {"-d", "deleted", "--deleted"},
  {"-c", "chunk-size", "--chunk-size"},
  {"--chunksize", "chunk-size", "--chunk-size"},
  {"-s", "size", "--size"},
  {"-L", "size", "--size"},
  {"-m", "jobs", "--jobs"},
  {"-T", "jobs", "--jobs"},
  {"--threads", "jobs", "--jobs"},
  {"--skip", "offset", "--offset"},
  {"--seek", "offset", "--offset"},
  {"--count", "length", "--length"},
  {"--of", "output-format", "-O"},
  {"--overwrite", "force", "--force"},
  {"--clobber", "force", "--force"},
  {"--silent", "quiet", "--quiet"},
  {"--debug", "verbose", "--verbose"},
});
// clang-format on

// Without what is between words, and in lower case.
std::string plain(std::string_view word) {
  std::string text;
  for (const char c : lower_case(word)) {
    if (c != '-' && c != '_') text += c;
  }
  return text;
}

// How many letters are too many, missing, wrong or swapped with their neighbour.
size_t slips_between(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] =
          std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

bool exists(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0;
}

bool has(const std::vector<OptionSpec>& specs, std::string_view long_name) {
  return std::any_of(specs.begin(), specs.end(),
                     [&](const OptionSpec& spec) { return spec.long_name == long_name; });
}

// Of the words with one '-' and more than a letter after it: a file, or a long option.
std::string hint_of_short(const std::vector<OptionSpec>& specs,
                          const std::vector<std::string>& arguments) {
  for (const std::string& word : arguments) {
    if (word == "--") break;
    if (word.size() < 3 || word[0] != '-' || word[1] == '-') continue;
    if (exists(word)) return fmt::format(": a file of that name is {}", shell_quoted("./" + word));
    const std::string name = word.substr(1, word.find('=') - 1);
    if (has(specs, name)) return fmt::format(": did you mean --{}?", name);
  }
  return {};
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::optional<std::string_view> near_miss(std::string_view word,
                                          const std::vector<std::string_view>& known) {
  constexpr size_t kLongest = 40;
  const std::string wanted = plain(word);
  if (wanted.size() < 2 || wanted.size() > kLongest) return std::nullopt;
  std::optional<std::string_view> best;
  size_t least = wanted.size() <= 5 ? 1 : 2;
  bool is_tie = false;
  const auto take = [&](std::string_view one, size_t slips) {
    if (slips > least) return;
    is_tie = best && slips == least;
    least = slips;
    best = one;
  };
  for (const std::string_view one : known) take(one, slips_between(wanted, plain(one)));
  if (best && least == 0) return best;
  std::optional<std::string_view> whole;
  for (const std::string_view one : known) {
    if (wanted.size() < kShortestBeginning || !plain(one).starts_with(wanted)) continue;
    if (whole) return std::nullopt;
    whole = one;
  }
  if (whole) return whole;
  return is_tie ? std::nullopt : best;
}

std::string command_hint(std::string_view word) {
  const auto* const foreign = std::find_if(kCommands.begin(), kCommands.end(),
                                           [&](const Foreign& one) { return one.word == word; });
  if (foreign != kCommands.end()) return fmt::format("; did you mean {}?", foreign->ours);
  std::vector<std::string_view> names{"help"};
  for (const CommandSpec& command : command_table()) names.push_back(command.name);
  const auto near = near_miss(word, names);
  return near ? fmt::format("; did you mean 'snaptool {}'?", *near) : "";
}

std::string option_hint(const std::vector<OptionSpec>& specs, std::string_view option,
                        const std::vector<std::string>& arguments) {
  option = option.substr(0, option.find('='));
  if (!option.starts_with("--")) {
    std::string hint = hint_of_short(specs, arguments);
    if (!hint.empty()) return hint;
  }
  for (const ForeignOption& one : kOptions) {
    if (one.word == option && has(specs, one.option)) {
      return fmt::format(": did you mean {}?", one.ours);
    }
  }
  if (!option.starts_with("--")) return {};
  std::vector<std::string_view> names;
  for (const OptionSpec& spec : specs) names.push_back(spec.long_name);
  const auto near = near_miss(option.substr(2), names);
  return near ? fmt::format(": did you mean --{}?", *near) : "";
}

std::string operand_hint(const CommandSpec& command, const ParsedOptions& options) {
  for (const OptionSpec& option : all_options(command)) {
    if (option.hint != ValueHint::kFile || !option.written) continue;
    for (const std::string& word : options.values(option.long_name)) {
      if (!exists(word)) continue;
      return fmt::format("; is '{}' an operand, and not the value of --{}?", word,
                         option.long_name);
    }
  }
  return {};
}

}  // namespace snaptool::cli
