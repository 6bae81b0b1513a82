// SPDX-License-Identifier: Apache-2.0
// Writes the man pages: what the command table knows (name, synopsis, description, options) and the
// prose of PROSE_DIR/<page>.man. Its lines before the first .SH continue the DESCRIPTION. A line of
// it that begins with '@' is replaced:
//   @COMMANDS         every command with its summary
//   @SHARED-OPTIONS   the options that commands share
//   @EXIT N...        exit statuses with their common meaning; without numbers, all of them
//   @JSON-KEYS        the keys of json, by command, of PROSE_DIR/snaptool-json.keys
//   @JSON-KEYS NAME   those of NAME, which is no command
//
//   snaptool_manpages PROSE_DIR OUT_DIR
//
// The pages bear the date of SOURCE_DATE_EPOCH, or none. Words are not hyphenated, so
// that options can be copied from a page.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/help.h"

namespace snaptool::cli {
namespace {

struct ExitRow {
  int status;
  std::string_view heading;
  std::string_view meaning;  // roff
};

constexpr std::array<ExitRow, 12> kExitRows = {{
    {kExitDone, "0", "Done."},
    {kExitFailed, "1", "Failed: a file could not be opened, read or written."},
    {kExitCorrupt, "2",
     "\\fBverify\\fR: the store is corrupt, invalidated, or not safe to write to; \\fBdiff\\fR: "
     "could "
     "not compare."},
    {kExitHarmless, "3", "\\fBverify\\fR: only harmless findings."},
    {kExitUnsupported, "63", "Not supported by this version."},
    {kExitUsage, "64",
     "Usage: an unknown option, a wrong operand, swapped operands, an output that exists."},
    {kExitDamagedInput, "65",
     "An input is damaged: a store (or it is marked invalid), an image, a diff, a dump or another."},
    {kExitWrongBase, "66",
     "Inputs that do not belong together: an origin and its COW, a diff and its base or the diff before "
     "it, an undo file or journal and its image, an image and its parent, a view and the sum that was "
     "expected."},
    {kExitNoSpace, "73", "No space left for the output."},
    {kExitBusy, "75", "Somebody else has a file open, or an apply to it is half done."},
    {kExitInterrupted, "129, 130, 143", "Interrupted by SIGHUP, by SIGINT, by SIGTERM."},
    {kExitBrokenPipe, "141",
     "The reader of the pipe on standard output is gone; no message is printed."},
}};

// Text as roff takes it: without the characters that it would read as something else or print as
// typographic ones, and without lines that begin with a control character.
std::string roff(std::string_view text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && c == '.') out += "\\&";
    line_start = c == '\n';
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '"':
        out += "\\(dq";
        break;
      case '`':
        out += "\\(ga";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// A summary or an option's help as a sentence.
std::string sentence(std::string_view text) {
  std::string out(text);
  if (!out.empty() && out[0] >= 'a' && out[0] <= 'z') {
    out[0] = static_cast<char>(out[0] - 'a' + 'A');
  }
  return roff(out) + ".";
}

// Placeholders (what is in capitals) are italic, the rest of the text stands as it is.
std::string operands(std::string_view text) {
  const auto in_name = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && in_name(text[end]) == in_name(text[i])) ++end;
    const std::string part = roff(text.substr(i, end - i));
    out += in_name(text[i]) ? fmt::format("\\fI{}\\fR", part) : part;
    i = end;
  }
  return out;
}

std::string paragraphs(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t end = text.find("\n\n");
    if (!out.empty()) out += ".PP\n";
    out += roff(text.substr(0, end)) + "\n";
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 2);
  }
  return out;
}

std::string synopsis(const CommandSpec& command) {
  const auto line = [&](std::string_view names) {
    return fmt::format("\\fBsnaptool {}\\fR [\\fIOPTION\\fR...] {}\n", roff(command.name),
                       operands(names));
  };
  std::string out = ".SH SYNOPSIS\n" + line(command.operands);
  if (command.operands == "ORIGIN COW" || command.operands == "[ORIGIN] COW") {
    out += ".br\n" + line("ORIGIN@COW");
  }
  if (command.pairs == Pairs::kFirst) out += ".br\n" + line(operands_with_pair(command));
  if (!command.each.empty()) out += ".br\n" + line(command.each);
  if (!command.other_form.empty()) out += ".br\n" + line(command.other_form);
  return out;
}

std::string option_rows(const std::vector<OptionSpec>& options) {
  std::string out;
  for (const OptionSpec& option : options) {
    out += ".TP\n";
    if (option.short_name != 0) {
      out += fmt::format("\\fB\\-{}\\fR, ", roff(std::string(1, option.short_name)));
    }
    out += fmt::format("\\fB\\-\\-{}\\fR", roff(option.long_name));
    // The words between which one chooses are literal; the name of a value is not.
    const bool literal =
        option.value_name.find_first_of("abcdefghijklmnopqrstuvwxyz") != std::string_view::npos;
    const std::string value =
        literal ? operands(option.value_name) : fmt::format("\\fI{}\\fR", roff(option.value_name));
    if (option.kind == OptionKind::kValue) out += " " + value;
    if (option.kind == OptionKind::kOptionalValue) out += fmt::format("[={}]", value);
    out += "\n" + sentence(option.help) + "\n";
  }
  return out;
}

std::string command_rows() {
  std::string out;
  for (const CommandSpec& command : command_table()) {
    out += fmt::format(".TP\n.BR snaptool\\-{} (1)\n{}\n", roff(command.name),
                       sentence(command.summary));
  }
  return out;
}

std::string exit_row(const ExitRow& row) {
  return fmt::format(".TP\n.B {}\n{}\n", row.heading, row.meaning);
}

// What stands for "@..."; nullopt when there is no such thing.
std::optional<std::string> replacement(const std::string& line) {
  std::istringstream words(line);
  std::string keyword;
  words >> keyword;
  if (keyword == "@COMMANDS") return command_rows();
  if (keyword == "@SHARED-OPTIONS") {
    CommandSpec all;
    all.shared = {Shared::kOut,  Shared::kFormat,   Shared::kForceShare,
                  Shared::kJobs, Shared::kProgress, Shared::kJson};
    return option_rows(all_options(all));
  }
  if (keyword != "@EXIT") return std::nullopt;
  std::string out;
  for (int status = 0; words >> status;) {
    const auto* row = std::find_if(kExitRows.begin(), kExitRows.end(),
                                   [&](const ExitRow& known) { return known.status == status; });
    if (row == kExitRows.end()) return std::nullopt;
    out += exit_row(*row);
  }
  if (!words.eof()) return std::nullopt;
  if (out.empty()) {
    for (const ExitRow& row : kExitRows) out += exit_row(row);
  }
  return out;
}

struct JsonType {
  std::string_view name;
  std::string_view one;   // roff
  std::string_view many;  // of an array
};
constexpr std::array<JsonType, 12> kTypes = {{
    {"bytes", "number of bytes", "numbers of bytes"},
    {"sectors", "number of sectors", "numbers of sectors"},
    {"chunks", "number of chunks", "numbers of chunks"},
    {"chunk", "number of a chunk", "numbers of chunks"},
    {"chunk|hex", "number of a chunk, or hex string", "numbers of chunks, or hex strings"},
    {"number", "number", "numbers"},
    {"real", "number with a fraction", "numbers with a fraction"},
    {"bool", "true or false", "truth values"},
    {"hex", "hex string", "hex strings"},
    {"time", "time", "times"},
    {"string", "string", "strings"},
    {"object", "object", "objects"},
}};

// The rows of the table of json keys, each as one entry of a page, by the name that they are of.
class JsonKeys {
 public:
  // False: a line is not as the table says; `problem` is which.
  bool read(std::istream& in, std::string& problem) {
    std::vector<std::string> names;
    for (std::string line; std::getline(in, line);) {
      problem = line;
      if (line.empty() || line[0] == '#') continue;
      if (line[0] == '=') {
        std::istringstream words(line.substr(1));
        names.assign(std::istream_iterator<std::string>(words), {});
        continue;
      }
      const auto row = entry(line);
      if (!row || names.empty()) return false;
      for (const std::string& name : names) rows_[name] += *row;
    }
    return true;
  }

  std::optional<std::string> of(const std::string& name) const {
    const auto found = rows_.find(name);
    return found == rows_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  // "PATH TYPE[?][~][=LIKE] MEANING"
  static std::optional<std::string> entry(const std::string& line) {
    std::istringstream words(line);
    std::string path;
    std::string kind;
    std::string meaning;
    words >> path >> kind >> std::ws;
    std::getline(words, meaning);
    const size_t end = kind.find_first_of("?~=");
    const std::string_view marks = std::string_view(kind).substr(std::min(end, kind.size()));
    const std::string_view like = marks.substr(std::min(marks.find('='), marks.size()));
    const std::string_view flags = marks.substr(0, marks.size() - like.size());
    const auto* type = std::find_if(kTypes.begin(), kTypes.end(), [&](const JsonType& known) {
      return known.name == kind.substr(0, end);
    });
    if (type == kTypes.end() || meaning.empty() ||
        (flags != "" && flags != "?" && flags != "~" && flags != "?~")) {
      return std::nullopt;
    }
    const bool many = path.size() > 1 && path.substr(path.size() - 2) == "[]";
    std::string text = many ? fmt::format("array of {}", type->many) : std::string(type->one);
    if (like.size() > 1) {
      const size_t colon = like.find(':');
      const std::string_view other = like.substr(colon == std::string_view::npos ? 1 : colon + 1);
      text += fmt::format("; has also the keys of \\fB{}\\fR", roff(other));
      if (colon != std::string_view::npos) text += fmt::format(" of {}", like.substr(1, colon - 1));
    }
    if (flags.find('~') != std::string_view::npos) text += "; or null";
    if (flags.find('?') != std::string_view::npos) text += "; may be missing";
    return fmt::format(".TP\n\\fB{}\\fR ({})\n{}\n", roff(path), text, sentence(meaning));
  }

  std::map<std::string, std::string> rows_;
};

class Generator {
 public:
  Generator(std::filesystem::path from, std::filesystem::path to, std::string date)
      : from_(std::move(from)), to_(std::move(to)), date_(std::move(date)) {}

  // All of them. False: something is missing or could not be written; it was told.
  bool run() {
    read_json_keys();
    for (const CommandSpec& command : command_table()) {
      page(fmt::format("snaptool-{}", command.name), 1, command.summary,
           synopsis(command) + ".SH DESCRIPTION\n" + paragraphs(command.description),
           ".SH OPTIONS\n" + option_rows(all_options(command)));
    }
    page("snaptool", 1, "read, check and merge dm-snapshot copy-on-write stores",
         ".SH SYNOPSIS\n\\fBsnaptool\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...] \\fIOPERAND\\fR...\n"
         ".br\n\\fBsnaptool\\fR [\\fICOMMAND\\fR] \\fB\\-\\-help\\fR|\\fB\\-\\-version\\fR\n",
         "");
    page("snaptool-image", 7, "how snaptool's commands name an image", ".SH DESCRIPTION\n", "");
    page("snaptool-json", 7, "the json that snaptool prints", ".SH DESCRIPTION\n", "");
    page("snaptool-tutorial", 7, "snaptool by task, with examples", ".SH DESCRIPTION\n", "");
    find_leftovers();
    return good_;
  }

 private:
  void complain(const std::filesystem::path& path, std::string_view what) {
    std::fprintf(stderr, "%s: %.*s\n", path.c_str(), static_cast<int>(what.size()), what.data());
    good_ = false;
  }

  // A page: `head`, the prose before its first section, `middle`, and the rest of the prose.
  void page(const std::string& name, int section, std::string_view summary, const std::string& head,
            const std::string& middle) {
    const std::filesystem::path path = from_ / (name + ".man");
    pages_.push_back(path.filename());
    std::ifstream in(path);
    if (!in) {
      complain(path, "missing");
      return;
    }
    std::string upper(name);
    for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    std::string version = version_text();
    version.pop_back();
    std::string text = fmt::format(
        ".\\\" SPDX-License-Identifier: Apache-2.0\n"
        ".TH {} {} \"{}\" \"{}\" \"snaptool manual\"\n.nr HY 0\n.nh\n.SH NAME\n{} \\- {}\n{}",
        roff(upper), section, date_, version, roff(name), roff(summary), head);
    bool in_description = true;
    for (std::string line; std::getline(in, line);) {
      if (in_description && line.rfind(".SH ", 0) == 0) {
        text += middle;
        in_description = false;
      }
      if (line.rfind(".\\\"", 0) == 0) continue;
      if (line.rfind('@', 0) == 0) {
        const auto rows = line.rfind("@JSON-KEYS", 0) == 0 ? json_rows(line) : replacement(line);
        if (!rows) complain(path, fmt::format("what is '{}'?", line));
        text += rows.value_or("");
      } else {
        text += line + "\n";
      }
    }
    if (in_description) complain(path, "has no section");
    const std::filesystem::path target = to_ / fmt::format("{}.{}", name, section);
    std::ofstream out(target);
    out << text;
    out.close();
    if (!out) complain(target, "cannot write");
  }

  void read_json_keys() {
    const std::filesystem::path path = from_ / "snaptool-json.keys";
    std::ifstream in(path);
    std::string line = "missing";
    if (!in || !json_keys_.read(in, line)) complain(path, line);
  }

  // What stands for "@JSON-KEYS [NAME]".
  std::optional<std::string> json_rows(const std::string& line) const {
    const size_t space = line.find(' ');
    if (space != std::string::npos) return json_keys_.of(line.substr(space + 1));
    std::string out;
    for (const CommandSpec& command : command_table()) {
      const auto rows = json_keys_.of(std::string(command.name));
      if (rows.has_value() != command.shares(Shared::kJson)) return std::nullopt;
      if (rows) out += fmt::format(".SS snaptool {}\n{}", roff(command.name), *rows);
    }
    return out;
  }

  // Prose of a command that is gone.
  void find_leftovers() {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(from_, error)) {
      const auto name = entry.path().filename();
      if (name.extension() == ".man" &&
          std::find(pages_.begin(), pages_.end(), name) == pages_.end()) {
        complain(entry.path(), "belongs to no page");
      }
    }
  }

  std::filesystem::path from_;
  std::filesystem::path to_;
  std::string date_;
  JsonKeys json_keys_;
  std::vector<std::filesystem::path> pages_;
  bool good_ = true;
};

// The day of SOURCE_DATE_EPOCH (UTC), empty when it is not set. nullopt: it is no number.
std::optional<std::string> date_of_source() {
  const char* variable = std::getenv("SOURCE_DATE_EPOCH");  // NOLINT: one thread
  if (variable == nullptr || *variable == '\0') return std::string();
  const std::string_view text(variable);
  constexpr std::time_t kLast = 253402300799;  // 9999-12-31
  std::time_t seconds = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (ec != std::errc() || end != text.data() + text.size() || seconds < 0 || seconds > kLast) {
    return std::nullopt;
  }
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(seconds));
}

}  // namespace
}  // namespace snaptool::cli

int main(int argc, char** argv) {
  using namespace snaptool::cli;  // NOLINT: one function
  if (argc != 3) {
    std::fprintf(stderr, "usage: snaptool_manpages PROSE_DIR OUT_DIR\n");
    return kExitUsage;
  }
  const auto date = date_of_source();
  if (!date) {
    std::fprintf(stderr, "SOURCE_DATE_EPOCH is not a number of seconds\n");
    return kExitUsage;
  }
  return Generator(argv[1], argv[2], *date).run() ? kExitDone : kExitFailed;
}
