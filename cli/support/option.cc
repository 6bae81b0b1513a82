// SPDX-License-Identifier: Apache-2.0
#include "cli/support/option.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <filesystem>

#include "cli/support/slips.h"

namespace snaptool::cli {
namespace po = boost::program_options;

namespace {

// An option with an optional value has it only as --name=VALUE, which Boost cannot be told: such
// arguments are taken out before it parses, and what is left of the option is a flag.
std::vector<std::string> take_optional_values(
    const std::vector<OptionSpec>& specs, const std::vector<std::string>& arguments,
    std::vector<std::pair<std::string, std::string>>& taken) {
  std::vector<std::string> left;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--") {
      left.insert(left.end(), arguments.begin() + static_cast<ptrdiff_t>(i), arguments.end());
      break;
    }
    const auto spec = std::find_if(specs.begin(), specs.end(), [&](const OptionSpec& candidate) {
      return candidate.kind == OptionKind::kOptionalValue &&
             arguments[i].rfind(fmt::format("--{}=", candidate.long_name), 0) == 0;
    });
    if (spec == specs.end()) {
      left.push_back(arguments[i]);
    } else {
      taken.emplace_back(spec->long_name, arguments[i].substr(spec->long_name.size() + 3));
    }
  }
  return left;
}

const OptionSpec* find_spec(const std::vector<OptionSpec>& specs, std::string_view long_name) {
  const auto it = std::find_if(specs.begin(), specs.end(),
                               [&](const OptionSpec& spec) { return spec.long_name == long_name; });
  return it == specs.end() ? nullptr : &*it;
}

// A value that is one of those that there are, as the option spells it: case does not count. What
// may take more than its choices ("jsonl:3") is checked by who reads it.
Result<std::string> chosen(const OptionSpec* spec, std::string value) {
  if (spec == nullptr || spec->hint != ValueHint::kChoices) return value;
  const bool is_optional = spec->kind == OptionKind::kOptionalValue;
  if (is_optional && (value.empty() || spec->value_name != spec->choices.front())) return value;
  const std::string lower = lower_case(value);
  for (const std::string_view choice : spec->choices) {
    if (lower_case(choice) == lower) return std::string(choice);
  }
  std::string all;
  for (size_t i = 0; i < spec->choices.size(); ++i) {
    const bool is_last = i + 1 == spec->choices.size();
    all += fmt::format("{}{}{}",
                       i == 0    ? ""
                       : is_last ? " or "
                                 : ", ",
                       is_optional ? "=" : "", spec->choices[i]);
  }
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("--{} takes {}{}, not '{}'", spec->long_name,
                           is_optional ? "no value, or " : "", all, value));
}

// That the word after an option with an optional value is an operand, and not meant for its value:
// "--progress jsonl". A file of that name is one.
Result<void> check_next_word(const OptionSpec& spec, const std::string& word) {
  std::error_code ignored;
  const std::string_view name = std::string_view(word).substr(0, word.find(':'));
  const bool is_choice =
      std::find(spec.choices.begin(), spec.choices.end(), name) != spec.choices.end();
  const bool is_size =
      spec.value_name == "SIZE" && !word.empty() && word[0] >= '0' && word[0] <= '9';
  if ((!is_choice && !is_size) || std::filesystem::exists(word, ignored)) return {};
  return Error(
      ErrorCode::kInvalidArgument,
      fmt::format("--{0} takes its value only after '=': --{0}={1}", spec.long_name, word));
}

Result<void> check_optional_values(const std::vector<OptionSpec>& specs,
                                   const std::vector<std::string>& arguments) {
  for (size_t i = 0; i + 1 < arguments.size() && arguments[i] != "--"; ++i) {
    for (const OptionSpec& spec : specs) {
      const std::string& word = arguments[i];
      const bool is_it = word == fmt::format("--{}", spec.long_name) ||
                         (spec.short_name != 0 && word == std::string{'-', spec.short_name});
      if (is_it && spec.kind == OptionKind::kOptionalValue) {
        SNAP_TRY(check_next_word(spec, arguments[i + 1]));
      }
    }
  }
  return {};
}

std::string explain(const po::error_with_option_name& error, const std::vector<OptionSpec>& specs,
                    const std::vector<std::string>& arguments) {
  const std::string name = error.get_option_name();
  if (dynamic_cast<const po::unknown_option*>(&error) != nullptr) {
    return fmt::format("unrecognised option '{}'{}", name, option_hint(specs, name, arguments));
  }
  if (const auto* syntax = dynamic_cast<const po::invalid_syntax*>(&error)) {
    switch (syntax->kind()) {
      case po::invalid_syntax::missing_parameter:
        return fmt::format("option '{}' needs a value", name);
      case po::invalid_syntax::extra_parameter:
        return fmt::format("option '{}' takes no value", name);
      case po::invalid_syntax::empty_adjacent_parameter:
        return fmt::format("option '{}' has an empty value", name);
      default:
        break;
    }
  }
  return fmt::format("option '{}' is not understood", name);
}

}  // namespace

std::optional<std::string> ParsedOptions::value(std::string_view name) const {
  const auto it = values_.find(name);
  if (it == values_.end()) return std::nullopt;
  return it->second.front();
}

std::vector<std::string> ParsedOptions::values(std::string_view name) const {
  const auto it = values_.find(name);
  return it == values_.end() ? std::vector<std::string>() : it->second;
}

Result<ParsedOptions> parse_options(const std::vector<OptionSpec>& specs,
                                    const std::vector<std::string>& arguments) {
  po::options_description known;
  for (const OptionSpec& spec : specs) {
    std::string name(spec.long_name);
    if (spec.short_name != 0) name += fmt::format(",{}", spec.short_name);
    if (spec.kind == OptionKind::kValue) {
      known.add_options()(name.c_str(), po::value<std::string>(), "");
    } else {
      known.add_options()(name.c_str(), "");
    }
  }
  using namespace po::command_line_style;  // NOLINT: its names are only useful unqualified
  constexpr int kStyle = allow_long | long_allow_next | long_allow_adjacent | allow_short |
                         allow_dash_for_short | short_allow_next | short_allow_adjacent |
                         allow_sticky;
  ParsedOptions parsed;
  const auto add = [&](const std::string& name, std::string value) -> Result<void> {
    const OptionSpec* spec = find_spec(specs, name);
    SNAP_ASSIGN(value, chosen(spec, std::move(value)));
    auto& values = parsed.values_[name];
    if (!values.empty() && (spec == nullptr || !spec->repeatable)) {
      return Error(ErrorCode::kInvalidArgument, fmt::format("--{} is given twice", name));
    }
    values.push_back(std::move(value));
    return {};
  };
  SNAP_TRY(check_optional_values(specs, arguments));
  std::vector<std::pair<std::string, std::string>> taken;
  const std::vector<std::string> left = take_optional_values(specs, arguments, taken);
  for (auto& [name, value] : taken) SNAP_TRY(add(name, std::move(value)));
  try {
    const auto result = po::command_line_parser(left).options(known).style(kStyle).run();
    for (const auto& option : result.options) {
      if (option.position_key >= 0 || option.string_key.empty()) {
        parsed.operands_.insert(parsed.operands_.end(), option.value.begin(), option.value.end());
      } else {
        SNAP_TRY(
            add(option.string_key, option.value.empty() ? std::string() : option.value.front()));
      }
    }
  } catch (const po::error_with_option_name& error) {
    // Not what(): it puts the argument into its message and then looks for placeholders in that
    // again, for ever if the argument has one.
    return Error(ErrorCode::kInvalidArgument, explain(error, specs, arguments));
  } catch (const po::error& error) {
    return Error(ErrorCode::kInvalidArgument, error.what());
  }
  return parsed;
}

}  // namespace snaptool::cli
