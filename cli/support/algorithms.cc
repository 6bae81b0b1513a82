// SPDX-License-Identifier: Apache-2.0
#include "cli/support/algorithms.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace snaptool::cli {

Result<std::vector<HashAlgorithm>> algorithms_of(const Invocation& invocation) {
  std::vector<HashAlgorithm> algorithms;
  std::string rest = invocation.value("algorithm").value_or("sha256");
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string name = rest.substr(0, comma);
    std::string plain = name;  // SHA-256 as sha256
    std::erase(plain, '-');
    const auto algorithm = hash_algorithm(plain);
    if (!algorithm || std::count(algorithms.begin(), algorithms.end(), *algorithm) > 0) {
      return Error(
          ErrorCode::kInvalidArgument,
          fmt::format("--algorithm takes a list of sha256, sha512, sha1 and md5, not '{}'", name));
    }
    algorithms.push_back(*algorithm);
    rest.erase(0, comma + 1);
  }
  if (algorithms.empty()) {
    return Error(ErrorCode::kInvalidArgument, "--algorithm is empty");
  }
  return algorithms;
}

}  // namespace snaptool::cli
