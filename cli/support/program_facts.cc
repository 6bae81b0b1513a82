// SPDX-License-Identifier: Apache-2.0
#include "cli/support/program_facts.h"

#include <sys/utsname.h>

#include "libsnap/access/opener.h"
#include "libsnap/base/hash.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/io/image.h"

namespace snaptool::cli {

std::string host_name() {
  utsname names{};
  return ::uname(&names) == 0 ? names.nodename : "";
}

Result<ProgramFacts> program_facts() {
  ProgramFacts facts;
  facts.host = host_name();
  SNAP_ASSIGN(auto file, access::Files::posix().open("/proc/self/exe", access::kLook));
  RawImage program(std::move(file));
  Progress progress;
  const Cancel cancel;
  SNAP_ASSIGN(const auto sums, hash_range(program, 0, program.size(), {HashAlgorithm::kSha256},
                                          Job{progress, cancel}));
  facts.sum = sums.front();
  return facts;
}

}  // namespace snaptool::cli
