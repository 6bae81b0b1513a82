// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "libsnap/io/file.h"

namespace snaptool {

// A format that is known by its magic, but not read as an image: what its file's bytes are is not
// what is in it.
struct KnownFormat {
  std::string_view name;    // stable: "vmdk"
  std::string_view label;   // for people: "a VMDK image"
  std::string_view remedy;  // what gets at the content, with FILE for the file
  // The bytes are those of a disk all the same, and can be written to as such: LUKS, a hybrid ISO.
  bool is_disk;
};

// The format that the file has the magic of, at its start or its end; nullptr: none that is known.
// What format.h reads is not among them. Magics and fixed places only: formats/KNOWN.md has the
// sources. Errors: those of File.
Result<const KnownFormat*> detect_known_format(File& file);

// What one may do about it: "'qemu-img convert -O raw x.vmdk NEW' makes it raw; ...".
std::string remedy_for(const KnownFormat& format, const std::string& path);

}  // namespace snaptool
