// SPDX-License-Identifier: Apache-2.0
#include "cli/support/custody_log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <utility>

#include "cli/support/program_facts.h"
#include "cli/support/version.h"
#include "formats/common/uuid.h"
#include "libsnap/access/context.h"

namespace snaptool::cli {
namespace {

constexpr std::string_view kStart = "{\"snaptool_log\":1,";

std::string now() {
  const auto time = std::chrono::system_clock::now();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time - seconds);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", seconds, micros.count());
}

std::string absolute(const std::string& path) {
  std::error_code failed;
  const auto whole =
      std::filesystem::weakly_canonical(std::filesystem::absolute(path, failed), failed);
  return failed ? path : whole.string();
}

}  // namespace

Result<std::unique_ptr<CustodyLog>> CustodyLog::open(const std::string& path,
                                                     const std::vector<std::string>& command) {
  constexpr mode_t kMode = 0644;
  // O_NONBLOCK: a FIFO is refused below, not waited for.
  const int fd = ::open(path.c_str(),
                        O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, kMode);
  if (fd < 0) return Error::from_errno(errno, fmt::format("--log {}", path));
  std::unique_ptr<CustodyLog> log(new CustodyLog(fd, path));
  SNAP_TRY(log->look());
  log->run_ = uuid_text(random_uuid(UuidOrder::kNetwork), UuidOrder::kNetwork);
  std::error_code failed;
  Json facts = {{"program", kProgram},
                {"command", command},
                {"directory", std::filesystem::current_path(failed).string()},
                {"host", host_name()},
                {"user", ::getuid()},
                {"process", ::getpid()}};
  SNAP_TRY(log->write("begin", facts));
  if (::fsync(fd) != 0) return Error::from_errno(errno, fmt::format("sync '{}'", path));
  SNAP_TRY(access::Files::posix().flush_name(path));
  set_open_observer(log.get());
  return log;
}

CustodyLog::~CustodyLog() {
  set_open_observer(nullptr);
  ::close(fd_);
}

// That nothing but a log is written to: an image may be named by mistake.
Result<void> CustodyLog::look() {
  struct stat st {};
  if (::fstat(fd_, &st) != 0) return Error::from_errno(errno, fmt::format("stat '{}'", path_));
  std::array<char, kStart.size()> start{};
  const bool is_log = S_ISREG(st.st_mode) &&
                      (st.st_size == 0 || (::pread(fd_, start.data(), start.size(), 0) ==
                                               static_cast<ssize_t>(start.size()) &&
                                           std::string_view(start.data(), start.size()) == kStart));
  if (!is_log) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--log {}: it is there, and no log of snaptool: nothing is written to "
                             "it",
                             path_));
  }
  id_ = {st.st_dev, st.st_ino};
  char last = '\n';
  if (st.st_size > 0 && ::pread(fd_, &last, 1, st.st_size - 1) != 1) {
    return Error::from_errno(errno, fmt::format("read '{}'", path_));
  }
  follows_torn_ = last != '\n';  // a run before was killed, or the disk was full
  return {};
}

Result<void> CustodyLog::write(std::string_view event, const Json& facts) {
  Json json = {{"snaptool_log", 1}, {"run", run_}, {"time", now()}, {"event", event}};
  json.update(facts);
  const std::string line = (std::exchange(follows_torn_, false) ? "\n" : "") + json.line() + "\n";
  ssize_t done = -1;
  do done = ::write(fd_, line.data(), line.size());
  while (done < 0 && errno == EINTR);
  if (done == static_cast<ssize_t>(line.size())) return {};
  follows_torn_ = done > 0;
  if (done < 0) return Error::from_errno(errno, fmt::format("write '{}'", path_));
  return Error(ErrorCode::kNoSpace, fmt::format("a line of '{}' was written in part", path_));
}

void CustodyLog::opened(const File& file, Access access) {
  const std::lock_guard lock(mutex_);
  const FileId id = file.id().value_or(FileId{});
  const bool writes = access == Access::kReadWrite;
  const std::string key = fmt::format("{} {} {} {}", writes, id.device, id.inode, file.name());
  if (!written_ || !told_.insert(key).second) return;
  written_ = write("open", {{"path", file.name()},
                            {"absolute", absolute(file.name())},
                            {"mode", writes ? "read-write" : "read-only"},
                            {"kind", file.kind() == FileKind::kBlockDevice ? "device" : "file"},
                            {"device", id.device},
                            {"inode", id.inode},
                            {"size", file.size()}});
}

void CustodyLog::add_sum(const std::string& of, std::string_view algorithm,
                         const std::string& sum) {
  const std::lock_guard lock(mutex_);
  if (!written_) return;
  written_ = write("sum", {{"of", of}, {"algorithm", algorithm}, {"value", sum}});
}

void CustodyLog::add_text(std::string_view kind, std::string_view text) {
  constexpr size_t kMost = 64 * kKiB;
  const std::lock_guard lock(mutex_);
  if (!written_) return;
  Json facts = {{"text", text.substr(0, kMost)}};
  if (text.size() > kMost) facts["bytes"] = text.size();
  written_ = write(kind, facts);
}

Result<void> CustodyLog::end(int status, const std::string& problem) {
  const std::lock_guard lock(mutex_);
  SNAP_TRY(written_);
  Json facts = {{"status", status}};
  if (!problem.empty()) facts["problem"] = problem;
  SNAP_TRY(write("end", facts));
  if (::fsync(fd_) != 0) return Error::from_errno(errno, fmt::format("sync '{}'", path_));
  return {};
}

}  // namespace snaptool::cli
