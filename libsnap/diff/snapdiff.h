// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libsnap/diff/change_stream.h"
#include "libsnap/io/file.h"

namespace snaptool {

// The snapdiff stream; libsnap/diff/FORMAT.md has its bytes.

class ZstdCompressor;

// Whether that is how a snapdiff begins. Looks at the first 12 bytes.
bool looks_like_snapdiff(std::span<const std::byte> head);

class SnapdiffWriter : public ChangeWriter {
 public:
  // Requires: kLeastZstdLevel <= level <= kMostZstdLevel.
  SnapdiffWriter(ByteSink sink, int level);
  ~SnapdiffWriter() override;

  Result<void> begin(const ChangeHeader& header) override;
  // Sums and compresses the data.
  void prepare(ChangeRecord& record, std::span<const std::byte> data) override;
  Result<void> add(ChangeRecord& record) override;
  size_t most_extents() const override;
  bool takes_runs() const override { return false; }
  // Takes end.child_id for the id if the header says that it is inherited; else fills it in.
  Result<void> finish(ChangeEnd& end) override;

 private:
  class Compressors;
  Result<void> put(std::span<const std::byte> bytes);
  Result<void> put_index();
  Result<void> put_identities(const ChangeEnd& end);

  ByteSink sink_;
  std::unique_ptr<Compressors> compressors_;
  bool inherited_id_ = false;
  bool identities_ = false;
  uint64_t position_ = 0;
  Sha256::Digest header_sum_{};
  Sha256::Digest chain_{};
  ChangeTotals totals_;
  std::vector<std::byte> index_;  // entries that are not written yet
  uint64_t index_position_ = 0;   // of the index element before
  Sha256::Digest index_sum_{};
};

class SnapdiffReader : public ChangeReader {
 public:
  // Reads the header. `name` is for messages. Errors: kCorruption, kUnsupported; the source's.
  static Result<std::unique_ptr<SnapdiffReader>> open(ByteSource source, std::string name);

  const ChangeHeader& header() const override { return header_; }
  Result<bool> next(ChangeRecord& record) override;
  const ChangeEnd& end() const override { return end_; }

 private:
  SnapdiffReader(ByteSource source, std::string name)
      : input_(std::move(source)), name_(std::move(name)) {}
  Error damaged(const std::string& what) const;
  Result<void> read_exactly(std::span<std::byte> out);
  // The next element into element_; false at the end of the bytes.
  Result<bool> read_element();
  Result<void> read_header();
  Result<void> read_expectation();
  Result<void> read_extents(size_t at, uint64_t start, uint64_t size,
                            std::vector<ChangeExtent>& extents);
  Result<void> read_record(ChangeRecord& record);
  Result<void> read_index();
  Result<void> read_end();

  StreamInput input_;
  std::string name_;
  ChangeHeader header_;
  ChangeEnd end_;
  bool ended_ = false;
  bool has_element_ = false;       // the one in element_ is not dealt with yet
  uint64_t element_position_ = 0;  // of the element in element_
  std::vector<std::byte> element_;
  Sha256::Digest header_sum_{};
  Sha256::Digest chain_{};
  ChangeTotals totals_;
  std::optional<uint64_t> last_window_;
  std::vector<std::byte> index_;  // what the next index element must have
  uint64_t index_position_ = 0;
  Sha256::Digest index_sum_{};
  std::vector<std::byte> identities_;  // the element; empty: there was none
};

// What the end element of a snapdiff on a file says, without reading the rest.
// Errors: kCorruption when there is none (the stream was cut).
Result<ChangeEnd> read_snapdiff_end(File& file);

// What an image must have to be what a snapdiff on a file leads to: the sums of some of its
// records, at most kMostExpectations, evenly spread. Reads the index and these. Errors:
// kCorruption; those of File.
Result<std::vector<Expectation>> expectations_of(File& file);

// A source that reads a file from the start.
ByteSource file_source(File& file);

}  // namespace snaptool
