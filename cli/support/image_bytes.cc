// SPDX-License-Identifier: Apache-2.0
#include "cli/support/image_bytes.h"

#include "cli/support/exit_status.h"
#include "libsnap/access/stream.h"
#include "libsnap/copy/copy_image.h"

namespace snaptool::cli {

Result<int> write_bytes(const Invocation& invocation, access::Door& door, Image& image,
                        const ByteRange& range) {
  const access::Context& context = invocation.access();
  const std::string target = invocation.value("out").value_or("-");
  SNAP_ASSIGN(
      const auto stream,
      access::StreamTarget::open(target, access::StreamTarget::Content::kBinary, context.cancel));
  if (stream) {
    const access::Phase phase(context, "reading", range.length);
    const auto write = [&](std::span<const std::byte> bytes) {
      return access::write_all(stream.fd(), bytes, context.cancel);
    };
    SNAP_TRY(stream_image(image, range.offset, range.length, write, phase.job()));
    return kExitDone;
  }
  SNAP_ASSIGN(const auto output, door.make_file(target, range.length));
  {
    const access::Phase phase(context, "reading", range.length);
    SNAP_TRY(copy_image(image, range.offset, range.length, output->file(), output->starts_zeroed(),
                        phase.job()));
    access::say_shared(context.notices, output->file());
  }
  SNAP_TRY(output->commit());
  return kExitDone;
}

}  // namespace snaptool::cli
