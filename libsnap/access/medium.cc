// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/medium.h"

#include <fmt/format.h>

#include "libsnap/snap/store/persistent_store.h"

namespace snaptool::access {
namespace {

void say_of(const Context& context, const File& file, bool known) {
  if (known) return;
  context.notices.say(fmt::format(
      "'{}' can only be read through the page cache: what the disk holds cannot be checked "
      "from that",
      file.name()));
}

}  // namespace

Result<void> trust_only_medium(const Context& context, File& file) {
  SNAP_TRY(file.flush());
  say_of(context, file, file.forget_cache(0, file.size()));
  return {};
}

Result<void> trust_metadata_on_medium(const Context& context, File& file) {
  SNAP_TRY(file.flush());
  SNAP_ASSIGN(const bool known, snaptool::trust_metadata_on_medium(file, context.cancel));
  say_of(context, file, known);
  return {};
}

}  // namespace snaptool::access
