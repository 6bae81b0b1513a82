// SPDX-License-Identifier: Apache-2.0
#include "cli/support/nbd_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cli/support/signals.h"

namespace snaptool::cli {
namespace {

constexpr int kActivatedFd = 3;  // the first descriptor of socket activation

Error system_error(const std::string& what) { return Error::from_errno(errno, what); }

// In the child: does not return. What went wrong goes into `report`.
[[noreturn]] void become(const std::vector<std::string>& words,
                         const std::vector<std::string>& setting, int fd, int report,
                         pid_t parent) {
  const auto fail = [&] {
    const int err = errno;
    [[maybe_unused]] const auto told = ::write(report, &err, sizeof err);
    ::_exit(127);
  };
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);
  for (const int number : {SIGPIPE, SIGXFSZ, SIGUSR1}) std::signal(number, SIG_DFL);
  if (fd >= 0) {
    // A Ctrl-C is for the program that started it, and for what uses it: that may have more to
    // write.
    ::setpgid(0, 0);
    // dup2 to itself would leave it closed on exec.
    if (fd == kActivatedFd ? ::fcntl(fd, F_SETFD, 0) < 0 : ::dup2(fd, kActivatedFd) < 0) fail();
    ::setenv("LISTEN_FDS", "1", 1);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  }
  for (const std::string& one : setting) {
    const size_t equals = one.find('=');
    ::setenv(one.substr(0, equals).c_str(), one.substr(equals + 1).c_str(), 1);
  }
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  fail();
  std::abort();
}

std::string percent_escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = std::isalnum(byte) != 0 || std::strchr("/._-~", c) != nullptr;
    escaped += plain && byte < 0x80 ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return escaped;
}

// Whether there is something to read before the program ends. Errors: kIo where it has ended;
// kInterrupted.
Result<void> wait_for(int fd, const ChildProcess& server) {
  std::array<pollfd, 2> waited{{{fd, POLLIN, 0}, {server.fd(), POLLIN, 0}}};
  while (!stop_requested().requested()) {
    const int ready = ::poll(waited.data(), waited.size(), 500);
    if (ready < 0 && errno != EINTR) return system_error("cannot wait for nbdkit");
    if (ready > 0 && waited[1].revents != 0) {
      return Error(
          ErrorCode::kIo,
          "nbdkit ended before it served anything (is snaptool's plugin for it installed?)");
    }
    if (ready > 0) return {};
  }
  return Error(ErrorCode::kInterrupted, "interrupted");
}

// Takes the greeting of a server, and says good-bye: NBD's fixed newstyle handshake.
Result<void> greet(int fd, const ChildProcess& server) {
  std::array<char, 18> greeting{};
  size_t got = 0;
  while (got < greeting.size()) {
    SNAP_TRY(wait_for(fd, server));
    const ssize_t more = ::read(fd, greeting.data() + got, greeting.size() - got);
    if (more == 0 || (more < 0 && errno != EINTR)) {
      return Error(ErrorCode::kIo, "nbdkit closed the connection");
    }
    got += more > 0 ? static_cast<size_t>(more) : 0;
  }
  // The client's flags (the server's first), then the option to abort, without data.
  constexpr std::array<char, 20> kAbort = {0,   0,   0, 1, 'I', 'H', 'A', 'V', 'E', 'O',
                                           'P', 'T', 0, 0, 0,   2,   0,   0,   0,   0};
  static_cast<void>(::send(fd, kAbort.data(), kAbort.size(), MSG_NOSIGNAL));
  return {};
}

// The plugin of the build tree, beside this program, or the one that nbdkit finds by its name.
std::string plugin_name() {
  std::error_code failed;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", failed);
  const auto beside = program.parent_path() / "nbdkit" / "nbdkit-snaptool-plugin.so";
  return !failed && std::filesystem::exists(beside, failed) ? beside.string() : "snaptool";
}

}  // namespace

Result<std::unique_ptr<ChildProcess>> ChildProcess::start(const std::vector<std::string>& words,
                                                          const std::vector<std::string>& setting,
                                                          int fd) {
  std::array<int, 2> report{};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) return system_error("cannot make a pipe");
  // Not descriptor 3, which is the socket's.
  const int out = ::fcntl(report[1], F_DUPFD_CLOEXEC, kActivatedFd + 1);
  ::close(report[1]);
  const pid_t parent = ::getpid();
  const pid_t pid = out < 0 ? -1 : ::fork();
  if (pid == 0) become(words, setting, fd, out, parent);
  const int failed = errno;
  if (out >= 0) ::close(out);
  int err = 0;
  ssize_t told = 0;
  while (pid > 0 && (told = ::read(report[0], &err, sizeof err)) < 0 && errno == EINTR) {
  }
  ::close(report[0]);
  if (pid < 0) return Error::from_errno(failed, fmt::format("cannot start '{}'", words[0]));
  std::unique_ptr<ChildProcess> child(
      new ChildProcess(pid, static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))));
  if (told == 0 && child->fd_ >= 0) return child;
  if (told == 0) return system_error(fmt::format("cannot watch '{}'", words[0]));
  return Error::from_errno(err, fmt::format("cannot start '{}'", words[0]));
}

ChildProcess::~ChildProcess() {
  if (!status_) signal(SIGTERM);
  wait();
  if (fd_ >= 0) ::close(fd_);
}

void ChildProcess::signal(int number) const {
  if (!status_) ::kill(pid_, number);
}

int ChildProcess::wait() {
  if (status_) return *status_;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return *status_;
}

Result<void> NbdSocket::bind_to(const void* address, size_t size) {
  const auto* const where = static_cast<const sockaddr*>(address);
  fd_ = ::socket(where->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return system_error("cannot make a socket");
  const int on = 1;
  ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd_, where, static_cast<socklen_t>(size)) != 0) return system_error("cannot listen");
  return ::listen(fd_, SOMAXCONN) == 0 ? Result<void>() : system_error("cannot listen");
}

Result<void> NbdSocket::listen_at_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}': the path of a socket has at most {} bytes", path,
                             sizeof address.sun_path - 1));
  }
  std::copy(path.begin(), path.end(), std::begin(address.sun_path));
  const mode_t mask = ::umask(0177);
  auto bound = bind_to(&address, sizeof address);
  ::umask(mask);
  if (!bound && bound.error().sys_errno() == EADDRINUSE) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("'{}' exists already", path));
  }
  if (!bound) return std::move(bound).error().with_context(fmt::format("'{}'", path));
  path_ = path;
  uri_ = "nbd+unix:///?socket=" + percent_escaped(std::filesystem::absolute(path).string());
  return {};
}

Result<std::unique_ptr<NbdSocket>> NbdSocket::at_path(const std::string& path) {
  std::unique_ptr<NbdSocket> socket(new NbdSocket());
  SNAP_TRY(socket->listen_at_path(path));
  return socket;
}

Result<std::unique_ptr<NbdSocket>> NbdSocket::at_new_path() {
  const char* const folder = std::getenv("TMPDIR");
  std::string name = fmt::format("{}/snaptool-XXXXXX", folder == nullptr ? "/tmp" : folder);
  if (::mkdtemp(name.data()) == nullptr) return system_error(fmt::format("cannot make '{}'", name));
  std::unique_ptr<NbdSocket> socket(new NbdSocket());
  socket->folder_ = name;
  SNAP_TRY(socket->listen_at_path(name + "/socket"));
  return socket;
}

Result<std::unique_ptr<NbdSocket>> NbdSocket::at_port(uint16_t port) {
  std::unique_ptr<NbdSocket> socket(new NbdSocket());
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto bound = socket->bind_to(&address, sizeof address);
  if (!bound && bound.error().sys_errno() == EADDRINUSE) {
    return Error(ErrorCode::kBusy, fmt::format("port {} is in use", port));
  }
  if (!bound) return std::move(bound).error().with_context(fmt::format("port {}", port));
  socklen_t size = sizeof address;
  if (::getsockname(socket->fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return system_error("cannot learn the port");
  }
  socket->uri_ = fmt::format("nbd://127.0.0.1:{}", ntohs(address.sin_port));
  return socket;
}

NbdSocket::~NbdSocket() {
  if (fd_ >= 0) ::close(fd_);
  if (!path_.empty()) ::unlink(path_.c_str());
  if (!folder_.empty()) ::rmdir(folder_.c_str());
}

Result<std::unique_ptr<ChildProcess>> NbdSocket::serve(const std::vector<std::string>& words) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return system_error("cannot learn the socket's name");
  }
  std::vector<std::string> all = {"nbdkit", "--foreground", plugin_name()};
  all.insert(all.end(), words.begin(), words.end());
  auto started = ChildProcess::start(all, {}, fd_);
  if (!started && started.error().code() == ErrorCode::kNotFound) {
    return Error(ErrorCode::kNotFound,
                 "nbdkit is not installed: it is what serves (package nbdkit)");
  }
  SNAP_ASSIGN(auto server, std::move(started));
  // Only nbdkit listens from here on: when it ends, whoever waits for it hears of it.
  ::close(fd_);
  fd_ = -1;
  const int client = ::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (client < 0) return system_error("cannot make a socket");
  auto greeted = ::connect(client, reinterpret_cast<const sockaddr*>(&address), size) == 0
                     ? greet(client, *server)
                     : Result<void>(Error(ErrorCode::kIo, "nbdkit does not listen"));
  ::close(client);
  SNAP_TRY(std::move(greeted));
  return server;
}

}  // namespace snaptool::cli
