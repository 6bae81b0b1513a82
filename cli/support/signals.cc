// SPDX-License-Identifier: Apache-2.0
#include "cli/support/signals.h"

#include <csignal>

#include <atomic>

namespace snaptool::cli {
namespace {

Cancel g_cancel;
std::atomic<int> g_signal{0};
std::atomic<bool> g_progress{false};

void on_stop(int signal) {
  g_signal.store(signal);
  g_cancel.request();
  std::signal(signal, SIG_DFL);  // the next one does not wait
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
