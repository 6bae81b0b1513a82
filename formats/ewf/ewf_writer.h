// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "libsnap/access/image_driver.h"

namespace snaptool::ewf {

inline constexpr std::string_view kSegmentSize = "segment_size";
inline constexpr std::array kSettings = {
    access::ImageSetting{"compression", "none, fast or best (default: fast); zeros always are"},
    access::ImageSetting{"chunk", "what is compressed together, 8k to 16M (default: 32k)"},
    access::ImageSetting{
        kSegmentSize,
        "the most bytes of a file: there will be several, OUT being named as x.E01 "
        "(default: one file)"},
    access::ImageSetting{"case_number", "text of up to 2999 bytes, as the other ones"},
    access::ImageSetting{"evidence_number", "text"},
    access::ImageSetting{"description", "text"},
    access::ImageSetting{"examiner", "text"},
    access::ImageSetting{"notes", "text"},
};

// Makes one of one segment, as EnCase 6 does, front to back. What is cut has no end, and is known
// by that. Requires: there is no parent; the size is one of whole sectors. Errors: kInvalidArgument
// for settings; kUnsupported for what is too large.
Result<std::unique_ptr<access::ImageWriter>> stream_image(ByteSink sink,
                                                          const access::CreateOptions& options);
// The same in segments.
Result<std::unique_ptr<access::ImageWriter>> stream_parts(access::PartsSink sink,
                                                          const access::CreateOptions& options);

}  // namespace snaptool::ewf
