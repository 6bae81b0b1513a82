// SPDX-License-Identifier: Apache-2.0
// replay TARGET FOLDER...: runs a fuzzer's function over every file of the folders.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "tests/fuzz/fuzz_target.h"

namespace snaptool::test {
namespace {

std::map<std::string, FuzzTarget>& targets() {
  static std::map<std::string, FuzzTarget> all;
  return all;
}

int replay(FuzzTarget target, const char* folder) {
  int count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    target(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    ++count;
  }
  return count;
}

}  // namespace

RegisterFuzzTarget::RegisterFuzzTarget(const char* name, FuzzTarget target) {
  targets()[name] = target;
}

}  // namespace snaptool::test

int main(int argc, char** argv) {
  using snaptool::test::targets;
  const auto target = targets().find(argc > 1 ? argv[1] : "");
  if (target == targets().end()) {
    std::fprintf(stderr, "replay: the first argument is none of the fuzzers\n");
    return 2;
  }
  int count = 0;
  for (int i = 2; i < argc; ++i) count += snaptool::test::replay(target->second, argv[i]);
  std::printf("%d inputs replayed\n", count);
  return count > 0 ? 0 : 1;
}
