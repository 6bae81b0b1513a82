// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libsnap/base/result.h"

namespace snaptool::cli {

enum class OptionKind {
  kFlag,           // takes no value
  kValue,          // takes one
  kOptionalValue,  // takes one only as --name=VALUE
};

// What the shell offers for a value.
enum class ValueHint {
  kNone,
  kFile,
  kChoices,
  kWords,  // and more may follow: a comma and another, or, after "NAME=", a value
};

// One option of a command: help, man page, completions and parser are made from it.
struct OptionSpec {
  char short_name = 0;  // 0: none
  std::string_view long_name;
  OptionKind kind = OptionKind::kFlag;
  std::string_view value_name;  // in help: "SIZE"
  std::string_view help;        // a phrase without full stop
  ValueHint hint = ValueHint::kNone;
  std::vector<std::string_view> choices;  // with kChoices and kWords
  bool repeatable = false;                // may be given more than once
  bool written = false;                   // names a file that is made or written to
};

// The rows of option tables, one line each.
inline OptionSpec flag(char letter, std::string_view name, std::string_view help) {
  return {letter, name, OptionKind::kFlag, "", help, ValueHint::kNone, {}};
}
inline OptionSpec flag(std::string_view name, std::string_view help) { return flag(0, name, help); }
inline OptionSpec value(char letter, std::string_view name, std::string_view value_name,
                        std::string_view help) {
  return {letter, name, OptionKind::kValue, value_name, help, ValueHint::kNone, {}};
}
inline OptionSpec value(std::string_view name, std::string_view value_name, std::string_view help) {
  return value(0, name, value_name, help);
}
// One whose value is a file's name.
inline OptionSpec file(char letter, std::string_view name, std::string_view value_name,
                       std::string_view help) {
  return {letter, name, OptionKind::kValue, value_name, help, ValueHint::kFile, {}};
}
inline OptionSpec file(std::string_view name, std::string_view value_name, std::string_view help) {
  return file(0, name, value_name, help);
}
inline OptionSpec choice(char letter, std::string_view name, std::string_view value_name,
                         std::string_view help, std::vector<std::string_view> choices) {
  return {
      letter, name, OptionKind::kValue, value_name, help, ValueHint::kChoices, std::move(choices)};
}
// One whose value has some of these words.
inline OptionSpec words(std::string_view name, std::string_view value_name, std::string_view help,
                        std::vector<std::string_view> choices) {
  return {0, name, OptionKind::kValue, value_name, help, ValueHint::kWords, std::move(choices)};
}
// Names a file that is made or written to, not only read.
inline OptionSpec written(OptionSpec option) {
  option.written = true;
  return option;
}
// May be given more than once.
inline OptionSpec repeated(OptionSpec option) {
  option.repeatable = true;
  return option;
}

// What was given on the command line.
class ParsedOptions {
 public:
  bool has(std::string_view name) const { return values_.find(name) != values_.end(); }
  // The value of an option that was given; empty for a flag.
  std::optional<std::string> value(std::string_view name) const;
  // All values of one that may be given more than once, in their order.
  std::vector<std::string> values(std::string_view name) const;
  const std::vector<std::string>& operands() const { return operands_; }
  void set_operands(std::vector<std::string> operands) { operands_ = std::move(operands); }

 private:
  friend Result<ParsedOptions> parse_options(const std::vector<OptionSpec>&,
                                             const std::vector<std::string>&);
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> operands_;
};

// Parses the arguments after the command's name. No abbreviations; "--" ends the options; "-" is
// an operand. Errors: kInvalidArgument: unknown option, missing or superfluous value, option given
// twice, bad choice.
Result<ParsedOptions> parse_options(const std::vector<OptionSpec>& specs,
                                    const std::vector<std::string>& arguments);

}  // namespace snaptool::cli
