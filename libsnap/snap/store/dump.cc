// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/dump.h"

#include <fmt/format.h>

#include <string>

namespace snaptool {
namespace {

constexpr size_t kFlushAt = 64 * kKiB;

// Gathers runs and text.
class Writer {
 public:
  Writer(DumpFormat format, const std::function<Result<void>(std::string_view)>& sink)
      : format_(format), sink_(sink) {}

  void begin(const PersistentStore& store) {
    const DiskHeader& header = store.header();
    if (format_ == DumpFormat::kXml) {
      text_ += fmt::format(
          "<dm_snapshot format_version=\"1\" version=\"{}\" valid=\"{}\" chunk_size_sectors=\"{}\" "
          "cow_size=\"{}\">\n",
          header.version, header.valid, header.chunk_size, store.cow().size());
    } else {
      text_ += fmt::format(
          "{{\"format_version\": 1, \"version\": {}, \"valid\": {}, \"chunk_size_sectors\": {}, "
          "\"cow_size\": {}, \"runs\": [",
          header.version, header.valid, header.chunk_size, store.cow().size());
    }
  }

  Result<void> add(const Exception& entry) {
    if (length_ > 0 && entry.old_chunk != 0 && entry.old_chunk == first_.old_chunk + length_ &&
        entry.new_chunk == first_.new_chunk + length_) {
      ++length_;
      return {};
    }
    SNAP_TRY(end_run());
    first_ = entry;
    length_ = 1;
    return {};
  }

  Result<void> finish(const PersistentStore& store) {
    SNAP_TRY(end_run());
    text_ += format_ == DumpFormat::kXml
                 ? "</dm_snapshot>\n"
                 : fmt::format("{}], \"exceptions\": {}}}\n", any_ ? "\n" : "", store.exceptions());
    return sink_(text_);
  }

 private:
  // In json a number that no sound entry can have is a hex string.
  std::string number(uint64_t value) const {
    if (format_ == DumpFormat::kJson && value >= kNewChunkLimit)
      return fmt::format("\"{:#x}\"", value);
    return fmt::format("{}", value);
  }

  Result<void> end_run() {
    if (length_ == 0) return {};
    if (format_ == DumpFormat::kXml) {
      text_ +=
          length_ == 1
              ? fmt::format("  <exception old_chunk=\"{}\" new_chunk=\"{}\"/>\n", first_.old_chunk,
                            first_.new_chunk)
              : fmt::format("  <run old_chunk=\"{}\" new_chunk=\"{}\" length_chunks=\"{}\"/>\n",
                            first_.old_chunk, first_.new_chunk, length_);
    } else {
      text_ +=
          fmt::format("{}\n  {{\"old_chunk\": {}, \"new_chunk\": {}, \"length_chunks\": {}}}",
                      any_ ? "," : "", number(first_.old_chunk), number(first_.new_chunk), length_);
    }
    any_ = true;
    length_ = 0;
    if (text_.size() < kFlushAt) return {};
    SNAP_TRY(sink_(text_));
    text_.clear();
    return {};
  }

  DumpFormat format_;
  const std::function<Result<void>(std::string_view)>& sink_;
  std::string text_;
  Exception first_;
  uint64_t length_ = 0;
  bool any_ = false;
};

}  // namespace

Result<void> dump_store(PersistentStore& store, DumpFormat format,
                        const std::function<Result<void>(std::string_view)>& sink,
                        const Cancel& cancel) {
  Writer writer(format, sink);
  writer.begin(store);
  SNAP_TRY(store.read_metadata(
      [&](uint64_t, uint64_t, std::span<const Exception> entries) -> Result<void> {
        for (const Exception& entry : entries) SNAP_TRY(writer.add(entry));
        return {};
      },
      cancel));
  return writer.finish(store);
}

}  // namespace snaptool
