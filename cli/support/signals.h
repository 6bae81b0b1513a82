// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/base/progress.h"

namespace snaptool::cli {

// From now on: SIGINT and SIGTERM request the cancellation that `stop_requested` returns (another
// one, later than half a second after it, ends the program at once), SIGUSR1 (and SIGINFO, where
// there is one) asks for a progress line, SIGPIPE is an error of write.
void install_signal_handlers();

const Cancel& stop_requested();
// The signal that requested it, 0 if none did.
int stop_signal();
// True once after it was asked for.
bool take_progress_request();

}  // namespace snaptool::cli
