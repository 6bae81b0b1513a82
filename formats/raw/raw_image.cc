// SPDX-License-Identifier: Apache-2.0
#include "formats/raw/raw_image.h"

#include "libsnap/io/content_file.h"

namespace snaptool::raw {

Result<access::ImageFacts> read_facts(File& file, const Cancel& /*cancel*/) {
  access::ImageFacts facts;
  facts.size = file.size();
  return facts;
}

Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& /*options*/) {
  return std::unique_ptr<Image>(std::make_unique<RawImage>(std::move(file)));
}

}  // namespace snaptool::raw
