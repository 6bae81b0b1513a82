// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace snaptool::cli {

// How the page of a comparison looks, and the frame of its tables.

struct Column {
  std::string_view label;
  bool is_number = false;
};
// The tables that become a list of cards on a narrow screen. Their names are classes of CSS.
inline constexpr Column kRangeColumns[] = {
    {"Offset", true}, {"Length", true},          {"Changed", true},
    {"What"},         {"SHA-256 before, after"}, {"Entropy before, after", true}};
inline constexpr Column kPartRangeColumns[] = {{"Offset", true},
                                               {"Within it", true},
                                               {"Length", true},
                                               {"Changed", true},
                                               {"What"},
                                               {"SHA-256 before, after"},
                                               {"Entropy before, after", true}};
inline constexpr Column kChangeColumns[] = {{"Change"}, {"SHA-256 before, after"}};
inline constexpr Column kUseColumns[] = {
    {"Offset", true}, {"Within it", true}, {"Length", true}, {"Before"}, {"After"}};

std::string page_style();
// Up to the first row. `caption` is markup.
std::string open_table(std::string_view name, std::span<const Column> columns,
                       std::string_view caption);
inline constexpr std::string_view kCloseTable = "</tbody></table>\n";
// A cell of a place in bytes, and its sector.
std::string place_cell(uint64_t offset);

}  // namespace snaptool::cli
