// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/base/error.h"

namespace snaptool::cli {

// Exit statuses: the contract of the command line. Those above 64 are those of sysexits.h where it
// has one.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitCorrupt = 2;   // verify: a corrupt store; diff: could not compare
inline constexpr int kExitHarmless = 3;  // verify: only harmless findings
inline constexpr int kExitUnsupported = 63;
inline constexpr int kExitUsage = 64;
inline constexpr int kExitDamagedInput = 65;
inline constexpr int kExitWrongBase = 66;
inline constexpr int kExitNoSpace = 73;
inline constexpr int kExitBusy = 75;
inline constexpr int kExitInterrupted = 130;  // 143 when it was SIGTERM, 129 SIGHUP
inline constexpr int kExitBrokenPipe = 141;

// The one table from error codes to exit statuses.
int exit_status_of(ErrorCode code);

}  // namespace snaptool::cli
