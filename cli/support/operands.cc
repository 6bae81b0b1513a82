// SPDX-License-Identifier: Apache-2.0
#include "cli/support/operands.h"

#include <fmt/format.h>

#include "cli/support/stdio.h"

namespace snaptool::cli {

Result<access::ImageSpec> image_named(const Invocation& invocation, const std::string& text,
                                      std::string_view format_option) {
  return access::image_named(invocation.access(), text, invocation.value(format_option),
                             format_option == "format");
}

Result<access::ImageSpec> image_operand(const Invocation& invocation, size_t index,
                                        std::string_view format_option) {
  return image_named(invocation, invocation.operands()[index], format_option);
}

Result<access::ImageSpec> target_operand(const Invocation& invocation, size_t index) {
  return access::target_named(invocation.access(), invocation.operands()[index],
                              invocation.value("format"));
}

Result<access::ImageSpec> origin_and_cow_operands(const Invocation& invocation, size_t first) {
  const auto& operands = invocation.operands();
  auto named = access::origin_and_cow_named(
      invocation.access(), {operands.begin() + static_cast<ptrdiff_t>(first), operands.end()},
      invocation.value("format"));
  if (named || named.error().code() != ErrorCode::kInvalidArgument) return named;
  const std::string hint = invocation.operand_hint();
  return hint.empty() ? std::move(named) : std::move(named).error().with_note(hint.substr(2));
}

Result<access::FileSpec> cow_operand(const Invocation& invocation, const std::string& text) {
  return access::cow_named(invocation.access(), text);
}

Result<std::vector<access::FileSpec>> cow_operands(const Invocation& invocation,
                                                   std::string_view option) {
  std::vector<access::FileSpec> cows;
  for (const std::string& text : invocation.values(option)) {
    SNAP_ASSIGN(access::FileSpec cow, cow_operand(invocation, text));
    cows.push_back(std::move(cow));
  }
  return cows;
}

std::string given_again(const Invocation& invocation, std::string_view option) {
  std::string text;
  for (const std::string& value : invocation.values(option)) {
    text += fmt::format(" --{} {}", option, shell_quoted(value));
  }
  return text;
}

// What names it on a command line: LVM's own name, of which a command knows what it is there for.
static std::string typed_name(access::FileSpec file) {
  if (file.volume() != nullptr && file.volume()->own_bytes) {
    file.parts.back().text = file.volume()->group + "/" + file.volume()->volume;
  }
  return file.name();
}

std::string operand_for(const access::FileSpec& file) {
  if (!file.is_whole_file()) return shell_quoted(typed_name(file));
  const std::string& path = file.path();
  const bool plain = path.find_first_of("@#,") == std::string::npos && path[0] != '-';
  return shell_quoted(plain ? path : "file:" + path);
}

std::string operand_for(const access::ImageSpec& spec) {
  if (spec.stores.empty()) return operand_for(spec.base);
  // A snapshot of LVM's brings its origin with it.
  const bool of_lvm = spec.stores.front().volume() != nullptr;
  std::string name = typed_name(of_lvm ? spec.stores.front() : spec.base);
  for (size_t i = of_lvm ? 1 : 0; i < spec.stores.size(); ++i) name += "@" + spec.stores[i].name();
  return shell_quoted(name + access::parts_text(spec.view_parts));
}

}  // namespace snaptool::cli
