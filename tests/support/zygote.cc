// SPDX-License-Identifier: Apache-2.0
// The program, started once and forked for each run: under AddressSanitizer a start costs twenty
// times what a fork costs. The Python tests talk to it over the socket that is descriptor 3.
//
// A request is one packet: the working folder, which allocation fails ("12", "12+" with all that
// follow, or nothing), and the arguments, each ended by a NUL; with it come the run's three
// standard streams and a pipe, which gets its process number and then its status as wait(2) gives
// it, as native ints.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/support/failing_new.h"

int snaptool_main(int argc, char** argv);  // cli/main.cc

namespace {

constexpr int kSocket = 3;
constexpr size_t kPacket = size_t{1} << 20;

struct Request {
  std::vector<std::string> words;
  int fds[4] = {-1, -1, -1, -1};  // 0, 1, 2, and where the status goes
};

struct Child {
  int process;  // a pidfd
  int status;
};

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::_Exit(99);
}

bool receive(Request& request) {
  static std::vector<char> packet(kPacket);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof request.fds)];
  iovec piece{packet.data(), packet.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t size = recvmsg(kSocket, &message, MSG_CMSG_CLOEXEC);
  if (size < 0) fail("zygote: recvmsg");
  if (size == 0) return false;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_len != CMSG_LEN(sizeof request.fds))
    fail("zygote: no files");
  std::memcpy(request.fds, CMSG_DATA(header), sizeof request.fds);
  for (const char* at = packet.data(); at < packet.data() + size; at += std::strlen(at) + 1) {
    request.words.emplace_back(at);
  }
  return true;
}

[[noreturn]] void become(const Request& request) {
  for (int fd = 0; fd < 3; ++fd) {
    if (dup2(request.fds[fd], fd) < 0) fail("zygote: dup2");
  }
  // As after exec, only the standard streams are open.
  if (close_range(3, ~0U, 0) != 0) fail("zygote: close_range");
  if (chdir(request.words[0].c_str()) != 0) fail("zygote: chdir");
  static std::vector<std::string> words = request.words;
  static std::vector<char*> argv;
  for (size_t n = 2; n < words.size(); ++n) argv.push_back(words[n].data());
  argv.push_back(nullptr);
  const std::string& failing = words[1];
  snaptool::testing::fail_allocation(std::atoll(failing.c_str()),
                                     !failing.empty() && failing.back() == '+');
  const int status = snaptool_main(static_cast<int>(argv.size() - 1), argv.data());
  std::fflush(nullptr);
  // Without a sanitizer's work at the end of a process, which is as long as the run was.
  std::_Exit(status);
}

void tell(int fd, int number) {
  // The test may have given up, and gone.
  if (write(fd, &number, sizeof number) < 0) std::perror("zygote: write");
}

Child start(const Request& request) {
  const pid_t pid = fork();
  if (pid < 0) fail("zygote: fork");
  if (pid == 0) become(request);
  for (int fd = 0; fd < 3; ++fd) close(request.fds[fd]);
  tell(request.fds[3], pid);
  const auto process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (process < 0) fail("zygote: pidfd_open");
  return {process, request.fds[3]};
}

void finish(const Child& child) {
  siginfo_t info{};
  if (waitid(P_PIDFD, static_cast<id_t>(child.process), &info, WEXITED) != 0)
    fail("zygote: waitid");
  tell(child.status, info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status);
  close(child.process);
  close(child.status);
}

}  // namespace

int main() {
  std::vector<Child> children;
  for (bool open = true; open || !children.empty();) {
    std::vector<pollfd> waits;
    for (const Child& child : children) waits.push_back({child.process, POLLIN, 0});
    if (open) waits.push_back({kSocket, POLLIN, 0});
    if (poll(waits.data(), waits.size(), -1) < 0) fail("zygote: poll");
    const bool asked = open && waits.back().revents != 0;
    for (size_t n = children.size(); n-- > 0;) {
      if (waits[n].revents == 0) continue;
      finish(children[n]);
      children.erase(children.begin() + static_cast<std::ptrdiff_t>(n));
    }
    if (!asked) continue;
    Request request;
    if (receive(request)) {
      children.push_back(start(request));
    } else {
      open = false;
    }
  }
}
