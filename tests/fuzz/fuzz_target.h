// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

// SNAPTOOL_FUZZ_TARGET(NAME)(const uint8_t* data, size_t size) { ... return 0; }: the function of a
// fuzzer. With libFuzzer it is the program's only one; else `replay` finds it by its name.
#ifdef SNAPTOOL_LIBFUZZER
#define SNAPTOOL_FUZZ_TARGET(name) extern "C" int LLVMFuzzerTestOneInput
#else
namespace snaptool::test {

using FuzzTarget = int (*)(const uint8_t*, size_t);

struct RegisterFuzzTarget {
  RegisterFuzzTarget(const char* name, FuzzTarget target);
};

}  // namespace snaptool::test

#define SNAPTOOL_FUZZ_TARGET(name)                                                     \
  static int fuzz_##name(const uint8_t* data, size_t size);                            \
  static const snaptool::test::RegisterFuzzTarget register_##name(#name, fuzz_##name); \
  static int fuzz_##name
#endif
