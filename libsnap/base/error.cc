// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/error.h"

#include <cerrno>
#include <system_error>

namespace snaptool {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kNoSpace:
      return "no_space";
    case ErrorCode::kCorruption:
      return "corruption";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kInvalidated:
      return "invalidated";
    case ErrorCode::kBusy:
      return "busy";
    case ErrorCode::kInterrupted:
      return "interrupted";
    case ErrorCode::kWrongBase:
      return "wrong_base";
  }
  return "unknown";
}

Error Error::from_errno(int err, std::string what) {
  ErrorCode code = ErrorCode::kIo;
  if (err == ENOSPC || err == EDQUOT) code = ErrorCode::kNoSpace;
  if (err == ENOENT) code = ErrorCode::kNotFound;
  Error error(code, std::move(what));
  error.errno_ = err;
  return error;
}

Error Error::with_context(std::string context) && {
  contexts_.push_back(std::move(context));
  return std::move(*this);
}

Error Error::with_context(std::string context) const& {
  return Error(*this).with_context(std::move(context));
}

Error Error::with_note(std::string note) && {
  note_ = std::move(note);
  return std::move(*this);
}

Error Error::with_remedy(Remedy remedy) && {
  remedy_ = remedy;
  return std::move(*this);
}

std::string Error::describe() const {
  std::string text;
  for (auto it = contexts_.rbegin(); it != contexts_.rend(); ++it) text += *it + ": ";
  text += message_;
  if (errno_ != 0) text += ": " + std::generic_category().message(errno_);
  if (!note_.empty()) text += " (" + note_ + ")";
  return text;
}

}  // namespace snaptool
