// SPDX-License-Identifier: Apache-2.0
#include "cli/support/pairs.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "cli/support/help.h"
#include "cli/support/stdio.h"
#include "formats/format.h"
#include "libsnap/access/open_image.h"
#include "libsnap/access/opener.h"
#include "libsnap/access/spec.h"

namespace snaptool::cli {
namespace {

bool is_file(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
}

}  // namespace

// Whoever opens it says why it cannot be.
bool is_store(const std::string& path) {
  if (!is_file(path)) return false;
  const auto file = access::Files::posix().open(path, access::kLook);
  return file && access::looks_like_store(**file).value_or(false);
}

bool is_own_file(const std::string& path, Remedy use) {
  if (!is_file(path)) return false;
  const auto file = access::Files::posix().open(path, access::kLook);
  if (!file) return false;
  const auto known = all_drivers().detect_known(**file);
  return known && *known != nullptr && (*known)->own == use;
}

namespace {

// Whether a COW can follow it: an origin, or the view of one.
bool is_origin(const std::string& word) {
  const auto spec = access::parse_image_spec(word);
  if (!spec || !spec->view_parts.empty()) return false;
  return !spec->stores.empty() || !spec->base.is_whole_file() || !is_store(spec->base.path());
}

}  // namespace

bool is_pair(const std::string& origin, const std::string& cow) {
  return is_store(cow) && is_origin(origin);
}

namespace {

// ORIGIN@COW. Errors: kInvalidArgument where that names something else: a file that has an '@' in
// its name.
Result<std::string> joined(const std::string& origin, const std::string& cow) {
  constexpr std::string_view kLiteral = "file:";
  const std::string plain = origin.starts_with(kLiteral) ? origin.substr(kLiteral.size()) : origin;
  std::string name = plain + "@" + cow;
  const auto below = access::parse_image_spec(origin);
  const auto spec = access::parse_image_spec(name);
  if (below && spec && spec->stores.size() == below->stores.size() + 1 &&
      spec->base.name() == below->base.name() && spec->stores.back().path() == cow) {
    return name;
  }
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("{} names something else than the view of '{}' over '{}': give one of "
                           "them another name (a link)",
                           shell_quoted(name), cow, origin));
}

Error superfluous(const CommandSpec& command, const std::vector<std::string>& operands) {
  const std::string takes = too_many_operands(command, operands);
  for (size_t i = 0; i + 1 < operands.size(); ++i) {
    if (is_store(operands[i]) && is_file(operands[i + 1]) && !is_store(operands[i + 1])) {
      return {ErrorCode::kInvalidArgument,
              fmt::format("{}; a view is named origin first, {}", takes,
                          shell_quoted(operands[i + 1] + "@" + operands[i]))};
    }
  }
  if (command.hint_of_two != nullptr && operands.size() == 2) {
    return {ErrorCode::kInvalidArgument,
            fmt::format("{}; {}", takes, command.hint_of_two(operands[0], operands[1]))};
  }
  return {ErrorCode::kInvalidArgument,
          fmt::format("{}; the view of a COW over its origin is ORIGIN@COW", takes)};
}

// Of A C1 C2, each view has to be named.
Error which_origin(const std::string& origin, const std::string& first, const std::string& second) {
  return {ErrorCode::kInvalidArgument,
          fmt::format("which origin is '{1}' of? Name the views: {0}@{2} {0}@{1}",
                      shell_quoted(origin), second, shell_quoted(first))};
}

}  // namespace

std::string too_many_operands(const CommandSpec& command,
                              const std::vector<std::string>& operands) {
  std::string text = fmt::format("too many operands: {} takes {}", command.name, command.operands);
  if (!command.extra_option.empty() && operands.size() == command.max_operands + 1) {
    text +=
        fmt::format("; did you mean {} {}?", command.extra_option, shell_quoted(operands.back()));
  }
  return text;
}

Error missing_operands(const CommandSpec& command, std::string_view hint) {
  return {ErrorCode::kInvalidArgument,
          fmt::format("missing operand{}: it takes {}{}", command.max_operands == 1 ? "" : "s",
                      command.operands, hint)};
}

Result<std::vector<std::string>> with_pairs_joined(const CommandSpec& command,
                                                   const std::vector<std::string>& operands,
                                                   bool may_replace) {
  const size_t most = command.max_operands;
  if (command.pairs == Pairs::kNone || operands.size() < 2) return operands;
  if (!command.each.empty() && operands.size() > 2) return operands;
  if (operands.size() <= command.min_operands) {
    const bool is_output = command.pairs == Pairs::kFirst && !may_replace;
    if (!is_output || !is_pair(operands[0], operands[1])) return operands;
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("missing operands: it takes {}, and '{}' is a COW, which is not replaced",
                    operands_with_pair(command), operands[1]));
  }
  // Two are the two images.
  if (command.pairs == Pairs::kEach && operands.size() <= most) return operands;
  std::vector<std::string> words{operands.front()};
  bool was_joined = false;
  for (size_t i = 1; i < operands.size(); ++i) {
    const bool may_join = command.pairs == Pairs::kEach || i == 1;
    if (may_join && was_joined && is_store(operands[i])) {
      return which_origin(operands[i - 2], operands[i - 1], operands[i]);
    }
    was_joined = may_join && !was_joined && is_pair(words.back(), operands[i]);
    if (was_joined) {
      SNAP_ASSIGN(words.back(), joined(words.back(), operands[i]));
    } else {
      words.push_back(operands[i]);
    }
  }
  if (words.size() > most) {
    if (!command.each.empty()) return operands;
    return superfluous(command, operands);
  }
  return words;
}

}  // namespace snaptool::cli
