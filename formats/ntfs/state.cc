// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/state.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/common/utf16.h"
#include "formats/ntfs/folder.h"
#include "libsnap/base/endian.h"

namespace snaptool::ntfs {
namespace {

constexpr uint16_t kIsDirty = 1;
constexpr size_t kMostLabelBytes = 1024;
constexpr std::string_view kTorn = "its log was not replayed: the last changes may be torn";

enum class LogState { kClean, kInUse, kUnknown };

// A page with a restart area; the newer of two counts. Its sectors' ends are not mended: they are
// far from what is looked at.
struct RestartPage {
  uint64_t sequence = 0;  // of the log
  bool is_clean = false;
};

std::optional<RestartPage> parse_restart(Bytes page) {
  const std::string_view magic(reinterpret_cast<const char*>(page.data()), 4);
  if (magic != "RSTR" && magic != "CHKD") return std::nullopt;
  const size_t area = load_le<uint16_t>(page.data() + 24);
  if (area < 30 || area + 16 > kStride - 2) return std::nullopt;
  RestartPage found;
  found.sequence = load_le<uint64_t>(page.data() + area);
  const bool no_client = load_le<uint16_t>(page.data() + area + 12) == 0xffff;
  const bool unmounted = (load_le<uint16_t>(page.data() + area + 14) & 2U) != 0;
  found.is_clean = no_client || unmounted;
  return found;
}

Result<LogState> log_state(StreamReader& reader, const Stream& log) {
  constexpr size_t kPageAt = 4096;  // the second one, unless the first says another size
  std::array<std::byte, kStride> first{};
  std::array<std::byte, kStride> second{};
  if (log.size < 2 * kPageAt) return LogState::kUnknown;
  SNAP_TRY(reader.read(log, 0, first));
  const bool is_empty =
      std::all_of(first.begin(), first.end(), [](std::byte one) { return one == std::byte{0xff}; });
  if (is_empty) return LogState::kClean;
  auto newest = parse_restart(first);
  uint64_t at = kPageAt;
  if (newest) at = load_le<uint32_t>(first.data() + 16);
  if (at >= kStride && log.size >= kStride && at <= log.size - kStride) {
    SNAP_TRY(reader.read(log, at, second));
    const auto other = parse_restart(second);
    if (other && (!newest || other->sequence > newest->sequence)) newest = other;
  }
  if (!newest) return LogState::kUnknown;
  return newest->is_clean ? LogState::kClean : LogState::kInUse;
}

class StateReader {
 public:
  StateReader(Volume& volume, Files& files) : volume_(volume), files_(files) {}

  Result<std::string> read() {
    SNAP_TRY(note(read_volume(), "its state cannot be read"));
    SNAP_TRY(note(read_log(), "the state of its log cannot be read"));
    SNAP_TRY(note(find_hibernation(), "its root cannot be read"));
    return label_;
  }

 private:
  Result<void> note(Result<void> result, std::string_view what) {
    if (result) return {};
    const ErrorCode code = result.error().code();
    if (code != ErrorCode::kCorruption && code != ErrorCode::kNotFound &&
        code != ErrorCode::kUnsupported) {
      return result;
    }
    volume_.warn(fmt::format("{}: {}", what, result.error().describe()));
    return {};
  }

  Result<void> read_volume() {
    SNAP_ASSIGN(const auto file, load_file(volume_, kVolumeRecord));
    if (const Stream* const name = file->find(kVolumeName)) {
      SNAP_ASSIGN(const auto value, files_.reader().read_all(*name, kMostLabelBytes));
      label_ = wtf8_of_utf16(value);
    }
    const Stream* const information = file->find(kVolumeInformation);
    if (information == nullptr) return damaged("there is none");
    SNAP_ASSIGN(const auto value, files_.reader().read_all(*information, kMostLabelBytes));
    if (value.size() < 12) return damaged("it is cut");
    if ((load_le<uint16_t>(value.data() + 10) & kIsDirty) != 0) {
      volume_.warn("it is marked as dirty: Windows would check it");
    }
    return {};
  }

  Result<void> read_log() {
    SNAP_ASSIGN(const auto file, load_file(volume_, kLogRecord));
    const Stream* const log = file->find(kData);
    if (log == nullptr) return damaged("there is none");
    SNAP_ASSIGN(const LogState state, log_state(files_.reader(), *log));
    if (state == LogState::kInUse) volume_.warn(std::string(kTorn));
    if (state == LogState::kUnknown) return damaged("it does not begin as one");
    return {};
  }

  // Windows keeps what it has not yet written in that file.
  Result<void> find_hibernation() {
    SNAP_ASSIGN(const auto root, load_file(volume_, kRootRecord));
    Damage damage;  // whoever lists the root is told
    std::optional<uint64_t> found;
    SNAP_TRY(visit_index(volume_, files_.reader(), *root, false, damage,
                         [&](const IndexEntry& entry) -> Result<void> {
                           if (entry.name.name.size() == 2 * 12 &&
                               utf8_of_utf16(entry.name.name) == "hiberfil.sys") {
                             found = entry.file.id;
                           }
                           return {};
                         }));
    if (!found) return {};
    SNAP_ASSIGN(const auto file, load_file(volume_, *found));
    const Stream* const data = file->find(kData);
    std::array<std::byte, 4> magic{};
    if (data == nullptr || data->size < magic.size()) return {};
    SNAP_TRY(files_.reader().read(*data, 0, magic));
    const std::string_view text(reinterpret_cast<const char*>(magic.data()), magic.size());
    if (text == "hibr" || text == "HIBR") {
      volume_.warn("Windows was hibernated: what it had not yet written is not here");
    }
    return {};
  }

  Volume& volume_;
  Files& files_;
  std::string label_;
};

}  // namespace

Result<std::string> read_state(Volume& volume, Files& files) {
  return StateReader(volume, files).read();
}

}  // namespace snaptool::ntfs
