// SPDX-License-Identifier: Apache-2.0
#include "cli/support/signals.h"

#include <csignal>
#include <ctime>

#include <atomic>

namespace snaptool::cli {
namespace {

Cancel g_cancel;
std::atomic<int> g_signal{0};
std::atomic<bool> g_progress{false};
std::atomic<int64_t> g_stopped_at{0};

constexpr int64_t kTwice = 500'000'000;  // nanoseconds: one press, or one kill, may be two signals

int64_t now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

void on_stop(int signal) {
  if (g_signal.load() == 0) {
    g_stopped_at.store(now());
    g_signal.store(signal);
    g_cancel.request();
  } else if (now() - g_stopped_at.load() > kTwice) {
    // Whoever asks again does not wait.
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

void on_progress(int /*signal*/) { g_progress.store(true); }

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_flags = SA_RESTART;
  action.sa_handler = on_stop;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    // A signal that is ignored (nohup, a background job) stays ignored.
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
    ::sigaction(signal, &action, nullptr);
  }
  action.sa_handler = on_progress;
  ::sigaction(SIGUSR1, &action, nullptr);
#ifdef SIGINFO  // Ctrl-T
  ::sigaction(SIGINFO, &action, nullptr);
#endif
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, nullptr);
  // The write that passes a limit then says so.
  ::sigaction(SIGXFSZ, &action, nullptr);
}

const Cancel& stop_requested() { return g_cancel; }
int stop_signal() { return g_signal.load(); }
bool take_progress_request() { return g_progress.exchange(false); }

}  // namespace snaptool::cli
