// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

#include "libsnap/base/progress.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool {

enum class DumpFormat { kXml, kJson };

// Writes the header and the list, in list order, as text: runs as one element, so that order and
// content of the live metadata can be restored from it. Streaming; memory is constant. Requires:
// store.state() is not kNone. Errors: the sink's; those of read_metadata (what came before is
// written, without the closing element).
Result<void> dump_store(PersistentStore& store, DumpFormat format,
                        const std::function<Result<void>(std::string_view)>& sink,
                        const Cancel& cancel);

}  // namespace snaptool
