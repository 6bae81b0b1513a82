// SPDX-License-Identifier: Apache-2.0
// Writes the completions for bash, zsh and fish from the command table.
//   snaptool_completions OUT_DIR
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"

namespace snaptool::cli {
namespace {

constexpr std::string_view kLicence = "# SPDX-License-Identifier: Apache-2.0\n";
// The word that is no row of the table.
constexpr std::string_view kHelpSummary = "print the help of a command";

// Of what 'snaptool info' prints, the names of the parts, without those within them. The volumes of
// a group and their snapshots stand beside each other.
constexpr std::string_view kPartsOnly =
    "awk '/^ *#/ { at = index($0, \"#\"); if (!first) { first = at; volumes = $1 ~ /\\// } "
    "if (at == first || volumes) print $1 }'";

// Inside single quotes of bash and zsh.
std::string quoted(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out;
}

std::string command_names() {
  std::vector<std::string_view> names;
  for (const CommandSpec& command : command_table()) names.push_back(command.name);
  return fmt::format("{}", fmt::join(names, " "));
}

std::string bash_option_case(const CommandSpec& command) {
  std::vector<std::string> longs;
  std::vector<std::string> shorts;
  for (const OptionSpec& option : all_options(command)) {
    longs.push_back(fmt::format("--{}", option.long_name));
    if (option.short_name != 0) shorts.push_back(fmt::format("-{}", option.short_name));
  }
  return fmt::format("    {})\n      longs='{}'\n      shorts='{}' ;;\n", command.name,
                     fmt::join(longs, " "), fmt::join(shorts, " "));
}

// What a value can be. An optional value is only one behind '='.
std::string bash_value_cases(const CommandSpec& command) {
  std::string cases;
  for (const OptionSpec& option : all_options(command)) {
    if (option.kind == OptionKind::kFlag) continue;
    std::string keys = fmt::format("{}:--{}", command.name, option.long_name);
    if (option.kind == OptionKind::kOptionalValue) {
      keys += '=';
    } else {
      keys += fmt::format("|{}=", keys);
      if (option.short_name != 0) keys += fmt::format("|{}:-{}", command.name, option.short_name);
    }
    switch (option.hint) {
      case ValueHint::kFile:
        cases += fmt::format("    {}) kind=file ;;\n", keys);
        break;
      case ValueHint::kChoices:
        cases +=
            fmt::format("    {}) kind=words words='{}' ;;\n", keys, fmt::join(option.choices, " "));
        break;
      case ValueHint::kWords:
        cases +=
            fmt::format("    {}) kind=list words='{}' ;;\n", keys, fmt::join(option.choices, " "));
        break;
      case ValueHint::kNone:
        cases += fmt::format("    {}) kind=none ;;\n", keys);
        break;
    }
  }
  return cases;
}

// bash: what readline will replace is $2. With '@' among the word breaks, as it is by default, that
// begins with the '@' while COMP_WORDS has it as a word of its own.
std::string bash() {
  std::string options;
  std::string values;
  for (const CommandSpec& command : command_table()) {
    options += bash_option_case(command);
    values += bash_value_cases(command);
  }
  return fmt::format(R"({0}
# Adds the words of $3 that begin with $2, each behind the prefix $1.
_snaptool_words() {{
  local IFS=$' \t\n' word
  while read -r word; do
    [[ -n $word ]] && COMPREPLY+=("$1$word")
  done < <(compgen -W "$3" -- "$2")
}}

# Adds the files whose names begin with $2, each behind the prefix $1.
_snaptool_files() {{
  local name escape=
  if [[ -z $1 ]]; then
    compopt -o filenames 2>/dev/null
  else
    # Readline would escape the prefix along with the name, and does not see which is a folder.
    compopt +o filenames 2>/dev/null
    [[ $2 == '~'* || $2 == *['$`']* ]] && return
    [[ ${{COMP_WORDS[COMP_CWORD]}} == [\"\']* ]] || escape=1
  fi
  while IFS= read -r name; do
    if [[ -n $1 && -d $name ]]; then
      name+=/
      compopt -o nospace 2>/dev/null
    fi
    [[ -n $escape ]] && printf -v name %q "$name"
    COMPREPLY+=("$1$name")
  done < <(compgen -f -- "$2")
}}

# Adds the parts of an image, of which $1 is all that was typed, after what readline keeps of $2.
_snaptool_parts() {{
  local part
  [[ $1 == *[\\\"\'\`\$]* ]] && return
  while read -r part; do
    [[ $part == "#${{1##*'#'}}"* ]] && COMPREPLY+=("${{2%'#'*}}$part")
  done < <("${{COMP_WORDS[0]}}" info "${{1%'#'*}}" 2>/dev/null | {4})
  compopt +o filenames -o nospace 2>/dev/null
}}

_snaptool() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  local target=${{2-$current}} command=${{COMP_WORDS[1]}}
  local whole=${{COMP_LINE:0:COMP_POINT}}
  local prefix= kind= words= longs= shorts= ended= i
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _snaptool_words '' "$target" '{1} help --help --version'
    return
  fi
  case $command in
    help) ((COMP_CWORD == 2)) && _snaptool_words '' "$target" '{1}'; return ;;
{2}    *) return ;;
  esac
  for ((i = 2; i < COMP_CWORD; i++)); do
    [[ ${{COMP_WORDS[i]}} == -- ]] && ended=1
  done
  # "--output=json" is three words where '=' is a word break, else one.
  if [[ $current == = ]]; then
    previous+== target=
  elif [[ $previous == = ]]; then
    previous=${{COMP_WORDS[COMP_CWORD-2]}}=
  elif [[ $target == --*=* ]]; then
    previous=${{target%%=*}}= prefix=${{target%%=*}}= target=${{target#*=}}
  fi
  if [[ -z $ended ]]; then
    case $command:$previous in
{3}    esac
    case $kind in
      words) _snaptool_words "$prefix" "$target" "$words"; return ;;
      file) _snaptool_files "$prefix" "$target"; return ;;
      list)
        [[ $target == *,* ]] && prefix+=${{target%,*}}, target=${{target##*,}}
        _snaptool_words "$prefix" "$target" "$words"
        [[ ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace 2>/dev/null
        return ;;
      none) return ;;
    esac
    [[ $previous == --*= ]] && return
    case $target in
      --*) _snaptool_words '' "$target" "$longs"; return ;;
      -*) _snaptool_words '' "$target" "$longs $shorts"; return ;;
    esac
  fi
  # An image: a file, behind "file:" or, for a store, behind the last '@'.
  if [[ $target == file:* ]]; then
    prefix=file: target=${{target#file:}}
  fi
  [[ $target == @* ]] || _snaptool_files "$prefix" "$target"
  if ((${{#COMPREPLY[@]}} == 0)) && [[ $target == *@* ]]; then
    _snaptool_files "$prefix${{target%@*}}@" "${{target##*@}}"
  fi
  if ((${{#COMPREPLY[@]}} == 0)) && [[ -z $prefix && $target == *'#'* ]]; then
    whole=${{whole##* }}
    [[ $whole == *"$target" ]] || whole=$target
    _snaptool_parts "$whole" "$target"
  fi
}}
complete -F _snaptool snaptool
)",
                     kLicence, command_names(), options, values, kPartsOnly);
}

// A text inside the brackets of a zsh option, or beside a ':'.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : quoted(text)) {
    if (c == '[' || c == ']' || c == ':') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_value(const OptionSpec& option) {
  const std::string name = zsh_text(option.value_name);
  switch (option.hint) {
    case ValueHint::kFile:
      return fmt::format(":{}:_files", name);
    case ValueHint::kChoices:
      return fmt::format(":{}:({})", name, fmt::join(option.choices, " "));
    case ValueHint::kWords: {
      const bool settings = option.choices.back().ends_with('=');
      return fmt::format(":{}:{} {}", name, settings ? "compadd -S \"\" -" : "_sequence compadd -",
                         fmt::join(option.choices, " "));
    }
    case ValueHint::kNone:
      return fmt::format(":{}:", name);
  }
  return {};
}

// The lines of an option for _arguments, each leaving out what says the same.
std::string zsh_option(const OptionSpec& option) {
  const std::string both = option.repeatable ? std::string("*")
                           : option.short_name == 0
                               ? std::string()
                               : fmt::format("(-{} --{})", option.short_name, option.long_name);
  const std::string help = zsh_text(option.help);
  std::string lines;
  if (option.short_name != 0) {
    const bool takes = option.kind == OptionKind::kValue;
    lines += fmt::format("        '{}-{}{}[{}]{}' \\\n", both, option.short_name, takes ? "+" : "",
                         help, takes ? zsh_value(option) : "");
  }
  std::string value;
  std::string_view sign;
  if (option.kind == OptionKind::kValue) {
    sign = "=";
    value = zsh_value(option);
  } else if (option.kind == OptionKind::kOptionalValue) {
    sign = "=-";
    value = ":" + zsh_value(option);
  }
  return lines +
         fmt::format("        '{}--{}{}[{}]{}' \\\n", both, option.long_name, sign, help, value);
}

std::string zsh() {
  std::string descriptions;
  std::string cases;
  for (const CommandSpec& command : command_table()) {
    descriptions += fmt::format("    '{}:{}'\n", command.name, zsh_text(command.summary));
    cases += fmt::format("    {})\n      _arguments -s -S \\\n", command.name);
    for (const OptionSpec& option : all_options(command)) cases += zsh_option(option);
    cases += "        '*:image:_snaptool_images'\n      ;;\n";
  }
  return fmt::format(R"(#compdef snaptool
{0}
# A file, behind "file:" or, for a store, behind the last '@'; or a part of one.
_snaptool_images() {{
  local whole=${{(Q)PREFIX}}
  compset -P 'file:'
  _files && return
  if [[ $whole == *\#* ]]; then
    local -a parts
    parts=($(snaptool info ${{whole%\#*}} 2>/dev/null | {4}))
    compset -P '*\#'
    compadd -S '' -- ${{parts#\#}} && return
  fi
  compset -P '*@' && _files
}}

local -a commands
commands=(
{1})
if (( CURRENT == 2 )); then
  if [[ $PREFIX == -* ]]; then
    _arguments '--help[print the commands]' '--version[print the version]'
  else
    commands+=('help:{2}')
    _describe command commands
  fi
else
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
    help) (( CURRENT == 2 )) && _describe command commands ;;
{3}  esac
fi
)",
                     kLicence, descriptions, kHelpSummary, cases, kPartsOnly);
}

// Inside single quotes of fish.
std::string fish_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string fish_option(const CommandSpec& command, const OptionSpec& option) {
  const std::string head =
      fmt::format("complete -c snaptool -n '__snaptool_command {}'", command.name);
  const std::string description = fmt::format(" -d '{}'\n", fish_text(option.help));
  std::string line = head;
  if (option.short_name != 0) {
    line += fmt::format(" -s {}", option.short_name);
    // The short form takes no value.
    if (option.kind == OptionKind::kOptionalValue) line += description + head;
  }
  line += fmt::format(" -l {}", option.long_name);
  if (option.kind == OptionKind::kValue) {
    line += option.hint == ValueHint::kFile ? " -r -F" : " -x";
  } else if (option.kind == OptionKind::kOptionalValue) {
    line += " -f";
  }
  if (option.hint == ValueHint::kChoices ||
      (option.hint == ValueHint::kWords && option.choices.back().ends_with('='))) {
    line += fmt::format(" -a '{}'", fmt::join(option.choices, " "));
  } else if (option.hint == ValueHint::kWords) {
    line += fmt::format(" -a '(__fish_append , {})'", fmt::join(option.choices, " "));
  }
  return line + description;
}

std::string fish() {
  std::string out(kLicence);
  out += R"(
function __snaptool_no_command
    test (count (commandline -opc)) -eq 1
end

function __snaptool_command
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test "$words[2]" = $argv[1]
end

# Of ORIGIN@CO, the names that CO can become. Files as such are offered by fish itself.
function __snaptool_stores
    set -l word (commandline -ct | string unescape)
    string match -q '*@*' -- $word; or return
    set -l prefix (string replace -r '@[^@]*$' '@' -- $word)
    set -l stem (string replace -r '^.*@' '' -- $word)
    for name in (__fish_complete_path $stem)
        echo $prefix$name
    end
end

# Of DISK#, the names of its parts.
function __snaptool_parts
    set -l word (commandline -ct | string unescape)
    string match -q '*#*' -- $word; or return
    set -l image (string replace -r '#[^#]*$' '' -- $word)
    for part in (snaptool info $image 2>/dev/null | )" +
         std::string(kPartsOnly) + R"()
        echo $image$part
    end
end

complete -c snaptool -n __snaptool_no_command -f
complete -c snaptool -n __snaptool_no_command -l help -d 'print the commands'
complete -c snaptool -n __snaptool_no_command -l version -d 'print the version'
)";
  for (const CommandSpec& command : command_table()) {
    out += fmt::format(
        "complete -c snaptool -n __snaptool_no_command -a {0} -d '{1}'\n"
        "complete -c snaptool -n '__snaptool_command {0}' -a '(__snaptool_stores)'\n"
        "complete -c snaptool -n '__snaptool_command {0}' -a '(__snaptool_parts)'\n",
        command.name, fish_text(command.summary));
    for (const OptionSpec& option : all_options(command)) out += fish_option(command, option);
  }
  out += fmt::format(
      "complete -c snaptool -n __snaptool_no_command -a help -d '{}'\n"
      "complete -c snaptool -n '__snaptool_command help' -f -a '{}'\n",
      kHelpSummary, command_names());
  return out;
}

bool write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  out.close();
  if (!out) std::fprintf(stderr, "%s: cannot write\n", path.c_str());
  return static_cast<bool>(out);
}

}  // namespace
}  // namespace snaptool::cli

int main(int argc, char** argv) {
  using namespace snaptool::cli;  // NOLINT: one function
  if (argc != 2) {
    std::fprintf(stderr, "usage: snaptool_completions OUT_DIR\n");
    return kExitUsage;
  }
  const std::string folder = std::string(argv[1]) + "/";
  const bool good = write_file(folder + "snaptool.bash", bash()) &&
                    write_file(folder + "_snaptool", zsh()) &&
                    write_file(folder + "snaptool.fish", fish());
  return good ? kExitDone : kExitFailed;
}
