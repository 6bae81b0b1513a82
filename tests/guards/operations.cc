// SPDX-License-Identifier: Apache-2.0
// Prints what each operation declares to the door, for guards_test.py.
#include "libsnap/access/operation.h"

#include <fmt/format.h>

#include <cstdio>

int main() {
  using snaptool::access::Operation;
  for (const Operation& operation : snaptool::access::operations::kAll) {
    fmt::print("{}:{}{}{}{}{}{} \n", operation.name, operation.writes_disk ? " writes_disk" : "",
               operation.takes_whole_disk ? " takes_whole_disk" : "",
               operation.writes_store ? " writes_store" : "",
               operation.overwrites ? " overwrites" : "", operation.makes_file ? " makes_file" : "",
               operation.finishes_apply ? " finishes_apply" : "");
  }
  return 0;
}
