// SPDX-License-Identifier: Apache-2.0
// Says how much of the view of a snapshot its store has.
#include <iostream>
#include <snaptool/snaptool.hpp>

int main(int, char **argv) try {
  const snap::Image image(argv[1]);
  std::uint64_t changed = 0;
  image.map(0, image.size(), [&](const snap::Extent &extent) {
    if (extent.depth == 0) changed += extent.length;
    return true;
  });
  std::cout << image.size() << " bytes, " << changed << " of them changed\n";
} catch (const snap::Error &error) {
  std::cerr << error.what() << '\n';
  return error.code();
}
