// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/access/drivers.h"

namespace snaptool {

// All formats of images and volumes: one is a folder beside this file, with its FORMAT.md, and a
// row in the table of format.cc.
const access::Drivers& all_drivers();

}  // namespace snaptool
