// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "libsnap/base/result.h"

namespace snaptool::ewf {

// The text of the header sections: who acquired what, when and with what. Pure.

// By the format's short names: "c" the case number, "n" the evidence number, "a" the description,
// "e" the examiner, "t" notes, "av" and "ov" software and operating system, "m" and "u" the time of
// the acquisition and that of the system, "p" the hash of a password, and others. UTF-8.
using HeaderValues = std::map<std::string, std::string>;

// `utf16`: as header2 has it, with a byte order mark; else one byte a character, taken as Latin-1.
// Errors: kCorruption.
Result<HeaderValues> parse_header_text(std::span<const std::byte> text, bool utf16);

// "2026-11-30T01:55:28", with "Z" if it is known to be UTC, from either way of telling a time; as
// it stands where it is neither.
std::string header_time(const std::string& value);

// The two texts of an image that is made. Requires: values as check_header_value wants them.
std::vector<std::byte> encode_header_text(const HeaderValues& values);   // of header
std::vector<std::byte> encode_header2_text(const HeaderValues& values);  // of header2
// Whether it can be told: UTF-8 without tabs and ends of lines.
bool can_be_header_value(const std::string& value);

}  // namespace snaptool::ewf
