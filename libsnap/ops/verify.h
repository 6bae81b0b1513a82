// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/access/opener.h"
#include "libsnap/snap/store/verify.h"

namespace snaptool::ops {

// Checks a store: the COW alone, as the base of `image`, or with its origin, to which it then must
// belong. `data`: its data chunks are read, too. Writes nothing. Errors: those of Opener and
// verify_store; kUnsupported for a stack.
struct Verified {
  VerifyReport report;
  std::string cow;                    // its name
  std::optional<std::string> origin;  // nothing: none was named
};
Result<Verified> verify(const access::Context& context, const access::ImageSpec& image, bool data);

// What the sums that an image has of itself say.
struct VerifiedImage {
  std::string format;
  access::SumsFound found;
};
// Nothing where the name is of no image of a format. Errors: kUnsupported for one whose format has
// no sums; kIo; kInterrupted; those of Opener::open_path.
Result<std::optional<VerifiedImage>> verify_image(const access::Context& context,
                                                  const access::ImageSpec& image);

}  // namespace snaptool::ops
