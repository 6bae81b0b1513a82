// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/access/context.h"

namespace snaptool::access {

// What a run before this one wrote may be in the page cache and nowhere else: it was killed before
// a flush, or a flush failed, after which the kernel counts the pages as written. These two make
// durable what can be, whether this process wrote to the file or not, and have what is read from
// then on be what the medium has. Where that cannot be told, Notices::say hears of it. Requires: no
// other call to the file is under way. Errors: kIo, kNoSpace: nothing is known then.

Result<void> trust_only_medium(const Context& context, File& file);
// The same, for a run that takes nothing in the file for done but the metadata of a store, if it is
// one. So the data need not be read again.
Result<void> trust_metadata_on_medium(const Context& context, File& file);

}  // namespace snaptool::access
