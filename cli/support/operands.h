// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/support/invocation.h"
#include "libsnap/access/open_image.h"
#include "libsnap/access/resolve.h"

namespace snaptool::cli {

// What the operands of a command name. Errors of all: as the functions of resolve.h.

// An image that is read: of the format that an option (--format, or --second-format) says, or else
// its magic.
Result<access::ImageSpec> image_operand(const Invocation& invocation, size_t index = 0,
                                        std::string_view format_option = "format");
// The same, as an option names it.
Result<access::ImageSpec> image_named(const Invocation& invocation, const std::string& text,
                                      std::string_view format_option);
// One that is written to, or a store: the bytes of the file, unless --format says otherwise.
Result<access::ImageSpec> target_operand(const Invocation& invocation, size_t index = 0);
// An origin with its COW.
Result<access::ImageSpec> origin_and_cow_operands(const Invocation& invocation, size_t first = 0);
Result<access::FileSpec> cow_operand(const Invocation& invocation, const std::string& text);
// Several, as an option names them.
Result<std::vector<access::FileSpec>> cow_operands(const Invocation& invocation,
                                                   std::string_view option);

// An option with its values, to be given again: " --sibling A --sibling B".
std::string given_again(const Invocation& invocation, std::string_view option);

// The operand that names this file and nothing else, quoted for a shell.
std::string operand_for(const access::FileSpec& file);
// The same for an image: "A@C".
std::string operand_for(const access::ImageSpec& spec);

}  // namespace snaptool::cli
