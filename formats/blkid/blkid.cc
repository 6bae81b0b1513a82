// SPDX-License-Identifier: Apache-2.0
#include "formats/blkid/blkid.h"

#include <blkid/blkid.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "libsnap/base/arithmetic.h"

namespace snaptool::blkid {
namespace {

// A file in memory, for a library that reads files.
class ShadowFile {
 public:
  ShadowFile() : fd_(::memfd_create("head", MFD_CLOEXEC)) {}
  ~ShadowFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  ShadowFile(const ShadowFile&) = delete;
  ShadowFile& operator=(const ShadowFile&) = delete;

  int fd() const { return fd_; }
  // `head`, and zeros up to `size`.
  bool fill(const std::vector<std::byte>& head, uint64_t size) const {
    if (fd_ < 0 || ::ftruncate(fd_, static_cast<off_t>(size)) != 0) return false;
    for (size_t at = 0; at < head.size();) {
      const ssize_t done =
          ::pwrite(fd_, head.data() + at, head.size() - at, static_cast<off_t>(at));
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) return false;
      at += static_cast<size_t>(done);
    }
    return true;
  }

 private:
  int fd_;
};

std::string value_of(blkid_probe probe, const char* name) {
  const char* value = nullptr;
  size_t size = 0;  // with the zero byte at the end
  if (::blkid_probe_lookup_value(probe, name, &value, &size) != 0 || size == 0) return {};
  return {value, size - 1};
}

}  // namespace

Result<std::optional<access::FoundFileSystem>> find_file_system(Image& image) {
  std::vector<std::byte> head(std::min(image.size(), kMiB));
  SNAP_TRY(image.read_at(0, head));
  ShadowFile file;
  const std::unique_ptr<blkid_struct_probe, void (*)(blkid_probe)> probe(::blkid_new_probe(),
                                                                         ::blkid_free_probe);
  std::optional<access::FoundFileSystem> found;
  if (!file.fill(head, image.size())) return found;  // over a limit
  if (probe == nullptr || ::blkid_probe_set_device(probe.get(), file.fd(), 0, 0) != 0) return found;
  ::blkid_probe_enable_partitions(probe.get(), 0);
  ::blkid_probe_set_superblocks_flags(probe.get(),
                                      BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID);
  if (::blkid_do_safeprobe(probe.get()) != 0) return found;
  found.emplace();
  found->type = value_of(probe.get(), "TYPE");
  found->label = value_of(probe.get(), "LABEL");
  found->uuid = value_of(probe.get(), "UUID");
  return found;
}

}  // namespace snaptool::blkid
