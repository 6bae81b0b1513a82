// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/base/result.h"

namespace snaptool::cli {

// A program that runs beside this one. It ends with this one, whatever ends this one.
class ChildProcess {
 public:
  // Looks for the program as a shell does. `setting`: environment variables, "NAME=value". `fd`:
  // what it gets as descriptor 3, with the variables of systemd's socket activation; -1: none.
  // Errors: kNotFound where there is no such program; kIo.
  static Result<std::unique_ptr<ChildProcess>> start(const std::vector<std::string>& words,
                                                     const std::vector<std::string>& setting,
                                                     int fd);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();  // it is asked to end, and waited for

  void signal(int number) const;
  // What can be polled: it is readable once the program has ended.
  int fd() const { return fd_; }
  // Its exit status, or 128 and the signal that ended it. Waits for that.
  int wait();

 private:
  ChildProcess(pid_t pid, int fd) : pid_(pid), fd_(fd) {}
  pid_t pid_;
  int fd_;
  std::optional<int> status_;
};

// Where a server of NBD listens.
class NbdSocket {
 public:
  // At a path, which must be new. Errors: kInvalidArgument for a path that is too long, or is
  // there; kIo.
  static Result<std::unique_ptr<NbdSocket>> at_path(const std::string& path);
  // At a path of its own, in a folder that only this user can look into.
  static Result<std::unique_ptr<NbdSocket>> at_new_path();
  // On the machine's own address, 127.0.0.1; port 0: one that is free. Errors: kBusy; kIo.
  static Result<std::unique_ptr<NbdSocket>> at_port(uint16_t port);
  NbdSocket(const NbdSocket&) = delete;
  NbdSocket& operator=(const NbdSocket&) = delete;
  ~NbdSocket();  // takes the path away

  const std::string& uri() const { return uri_; }
  // Starts nbdkit with these words behind its own, and waits until it serves. Errors: those of
  // ChildProcess; kIo where nbdkit ends instead (it has said why); kInterrupted.
  Result<std::unique_ptr<ChildProcess>> serve(const std::vector<std::string>& words);

 private:
  NbdSocket() = default;
  Result<void> bind_to(const void* address, size_t size);
  Result<void> listen_at_path(const std::string& path);

  int fd_ = -1;
  std::string path_;    // of a socket in the file system, to be taken away
  std::string folder_;  // the same
  std::string uri_;
};

}  // namespace snaptool::cli
