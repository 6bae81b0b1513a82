// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libsnap/access/opener.h"
#include "libsnap/diff/chain.h"

namespace snaptool::access {

// A diff that is read, from a file or a stream.
class ChangeFile {
 public:
  // Opens a file, and finds out what it is; messages call it `name`, if it came through a
  // pipe, or by its path. Errors: those
  // of Opener; kCorruption when it is no diff.
  static Result<std::unique_ptr<ChangeFile>> open(Opener& opener, const std::string& path,
                                                  std::string name = "");
  // The same of a stream, which is read once.
  static Result<std::unique_ptr<ChangeFile>> open_stream(const Drivers& drivers, ByteSource source,
                                                         std::string name);

  const std::string& name() const { return name_; }
  const ChangeDriver& driver() const { return *driver_; }
  // Whether it can be read again and again; else reader may be called once.
  bool is_file() const { return file_ != nullptr; }
  // Requires: is_file().
  File& file() const { return *file_; }
  // Reads it from the start. Errors: those of ChangeDriver::open.
  Result<std::unique_ptr<ChangeReader>> reader();

 private:
  explicit ChangeFile(std::string name) : name_(std::move(name)) {}
  Result<void> detect(const Drivers& drivers, std::span<const std::byte> head);

  std::string name_;
  bool is_piped_ = false;  // what it is called is no path
  std::shared_ptr<File> file_;
  ByteSource stream_;
  std::vector<std::byte> head_;  // of a stream: what was read to find out what it is
  const ChangeDriver* driver_ = nullptr;
};

// Diffs that follow each other, the oldest first.
std::vector<ChainLink> links_of(const std::vector<std::unique_ptr<ChangeFile>>& diffs);

}  // namespace snaptool::access
