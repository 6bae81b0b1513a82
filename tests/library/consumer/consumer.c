/* SPDX-License-Identifier: Apache-2.0
 * Says how much of the view of a snapshot its store has. */
#include <inttypes.h>
#include <snaptool/snaptool.h>
#include <stdio.h>

static int add(void *sum, uint64_t offset, uint64_t length, int zero, int depth) {
  (void)offset;
  (void)zero;
  if (depth == 0) *(uint64_t *)sum += length;
  return 0;
}

int main(int argc, char **argv) {
  uint64_t changed = 0;
  snap_image *image = argc == 2 ? snap_image_open(argv[1], NULL) : NULL;
  if (image != NULL && snap_image_map(image, 0, (uint64_t)snap_image_size(image), add, &changed) == 0) {
    printf("%" PRId64 " bytes, %" PRIu64 " of them changed\n", snap_image_size(image), changed);
    return snap_image_close(image) < 0;
  }
  fprintf(stderr, "%s\n", snap_get_error());
  return 1;
}
