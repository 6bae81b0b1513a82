// SPDX-License-Identifier: Apache-2.0
#include "cli/support/exit_status.h"

namespace snaptool::cli {

int exit_status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return kExitUsage;
    case ErrorCode::kNotFound:
    case ErrorCode::kIo:
      return kExitFailed;
    case ErrorCode::kNoSpace:
      return kExitNoSpace;
    case ErrorCode::kCorruption:
    case ErrorCode::kInvalidated:
      return kExitDamagedInput;
    case ErrorCode::kUnsupported:
      return kExitUnsupported;
    case ErrorCode::kBusy:
      return kExitBusy;
    case ErrorCode::kInterrupted:
      return kExitInterrupted;
    case ErrorCode::kWrongBase:
      return kExitWrongBase;
  }
  return kExitFailed;
}

}  // namespace snaptool::cli
