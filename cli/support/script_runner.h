// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/support/exit_status.h"
#include "cli/support/invocation.h"
#include "cli/support/json.h"
#include "cli/support/script.h"
#include "libsnap/ops/session.h"

namespace snaptool::cli {

// Does the commands of a script and keeps what they print.
class ScriptRunner {
 public:
  ScriptRunner(const Invocation& invocation, ops::Session& session, uint64_t in_flight)
      : invocation_(invocation), session_(session), in_flight_(in_flight) {}

  // Looks at all of them, and then does each, until one cannot go on. What the kernel would refuse
  // is told, and no error. Errors: those of Session and DataSource, with the line; kInterrupted.
  Result<void> run(const std::vector<ScriptCommand>& script);
  // Prints what is printed at the end.
  Result<void> finish();
  // The status to exit with: that of the first request that was refused.
  int status() const { return status_; }

 private:
  Result<void> check(const ScriptCommand& command) const;
  Result<void> run_one(const ScriptCommand& command);
  Result<void> run_command(const ScriptCommand& command);
  Result<void> write(const ScriptCommand& command);
  Result<void> print_result(const ScriptCommand& command, std::string_view key,
                            const std::string& value);

  const Invocation& invocation_;
  ops::Session& session_;
  uint64_t in_flight_;
  int status_ = kExitDone;
  Json results_ = Json::array();
};

}  // namespace snaptool::cli
