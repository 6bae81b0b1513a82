// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "libsnap/base/error.h"

namespace snaptool::cli {

// What an error of the library can be mended with, in the words of a command's options: " (--force
// does it all the same)". Empty where there is nothing.
std::string remedy_text(Remedy remedy, std::string_view command);
// The same without parentheses.
std::string_view remedy_words(Remedy remedy, std::string_view command);

}  // namespace snaptool::cli
