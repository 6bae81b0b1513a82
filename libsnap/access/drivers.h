// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/access/change_driver.h"
#include "libsnap/access/file_system.h"
#include "libsnap/access/image_driver.h"
#include "libsnap/access/volumes.h"

namespace snaptool::access {

// A format that is known by its magic, but not read as an image: what its file's bytes are is not
// what is in it.
struct KnownFormat {
  std::string_view name;   // stable: "vmdk"
  std::string_view label;  // for people: "a VMDK image"
  // What of other makers gets at the content, with FILE for the file; empty where `own` does.
  std::string_view remedy;
  // The bytes are those of a disk all the same, and can be written to as such: LUKS.
  bool is_disk;
  Remedy own = Remedy::kNone;
};
// What one may do about it: "'qemu-img convert -O raw x.vmdk NEW' makes it raw; ...".
std::string remedy_for(const KnownFormat& format, const std::string& path);

// A kind of file systems.
struct FileSystemDriver {
  std::string_view name;
  // Whether an image may hold one, by its first kFileSystemHead bytes, or all.
  bool (*probe)(std::span<const std::byte> head) = nullptr;
  // Errors: those of FileSystem. Requires: the image and `cancel` outlive it.
  Result<std::unique_ptr<FileSystem>> (*open)(Image& image, const Cancel& cancel) = nullptr;
  // It counts even where the image has a partition table: a disc that is a disk, too.
  bool beside_table = false;
};
struct FoundFileSystem {
  std::string type;   // "ext4", "crypto_LUKS"
  std::string label;  // bytes as the disk has them, or UTF-8
  std::string uuid;   // or serial number, as blkid has it; empty: none
};
inline constexpr size_t kFileSystemHead = 72 * kKiB;

// All that is known of formats: what is above this layer passes it in.
struct Drivers {
  std::span<const ImageDriver> images;  // the first is raw
  std::span<const ChangeDriver> changes;
  VolumeDrivers volumes;
  // The format that a file has the magic of, at its start or its end, and that is not read;
  // nullptr: none that is known. Errors: those of File.
  Result<const KnownFormat*> (*detect_known)(File& file) = nullptr;
  std::span<const FileSystemDriver> file_systems;
  // The one that an image begins with, and that is not read; empty: none that is known.
  std::string_view (*name_file_system)(std::span<const std::byte> head) = nullptr;
  // What is known of one that none of `file_systems` reads; nullopt: none. Errors: those of Image.
  Result<std::optional<FoundFileSystem>> (*find_file_system)(Image& image) = nullptr;

  const ImageDriver& raw() const { return images.front(); }
  const ImageDriver* find_image(std::string_view name) const;
  // The one whose magic the file begins with, or raw. Errors: kIo.
  Result<const ImageDriver*> detect_image(File& file) const;
  const ChangeDriver* find_changes(std::string_view name) const;
  // The one that a stream of changes begins as; nullptr: none.
  const ChangeDriver* detect_changes(std::span<const std::byte> head) const;
  Result<const ChangeDriver*> detect_changes(File& file) const;
};

}  // namespace snaptool::access
