// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_map>

#include "formats/ntfs/reparse.h"
#include "formats/ntfs/streams.h"

namespace snaptool::ntfs {

struct NameOfFile {
  Reference parent;
  uint8_t space = 0;
  std::string raw;  // UTF-16LE
};

// A stream besides the content. Its id is its file's, with this number above bit 48.
struct Alternate {
  uint16_t number = 0;
  const Stream* stream = nullptr;
  std::string name;  // UTF-8
};

// What all of a file's attributes say of it.
struct KnownFile {
  std::shared_ptr<const File> file;
  std::optional<StandardInformation> info;
  std::vector<NameOfFile> names;
  uint64_t links = 0;  // without the names for DOS that stand for another one
  access::NodeType type = access::NodeType::kFile;
  std::optional<std::string> target;  // of a link; nothing: it is broken
  std::string elsewhere;              // why its content is not read
  uint64_t metadata_sum = 0;
  std::vector<Alternate> alternates;  // by name
  std::unordered_map<uint16_t, size_t> by_number;
  std::vector<uint64_t> windows_parents;  // folders where it has a name for Windows; ascending
  bool has_bad_stream_name = false;

  const Stream* content() const;  // nullptr: none
  const Alternate* alternate(uint16_t number) const;
  bool has_windows_name(uint64_t parent) const;
  bool has_name(uint64_t parent, Bytes raw) const;
};

// Loads files, of which the last ones are kept.
class Files {
 public:
  explicit Files(Volume& volume) : volume_(volume), reader_(volume) {}
  // Errors: kNotFound for what is no base record; kCorruption; those of Image.
  Result<std::shared_ptr<const KnownFile>> get(uint64_t id);
  StreamReader& reader() { return reader_; }

 private:
  Result<void> learn_names(KnownFile& known);
  Result<void> learn_type(KnownFile& known);
  Result<void> learn_sum(KnownFile& known);
  Result<void> learn_interix(KnownFile& known);
  static void number_alternates(KnownFile& known);

  Volume& volume_;
  StreamReader reader_;
  std::array<std::shared_ptr<const KnownFile>, 16> recent_;  // by id
};

Bytes folder_index_name();  // "$I30"

}  // namespace snaptool::ntfs
