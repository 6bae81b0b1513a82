// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cli/support/json.h"
#include "libsnap/base/result.h"
#include "libsnap/io/open_observer.h"

namespace snaptool::cli {

// The chain of custody of a run: lines of json at the end of a file, one when it begins, one for
// each file that it opens, for each sum that it computes, and one when it ends. Each line is
// written at once, whatever other runs write to the same file. The first and all of the last are
// durable. A run without an end was killed.
class CustodyLog : public OpenObserver {
 public:
  // Makes the file, or goes on with one that is a log: anything else is left alone. Every file that
  // this process opens from here on is told of. Errors: kInvalidArgument, kIo, kNoSpace.
  static Result<std::unique_ptr<CustodyLog>> open(const std::string& path,
                                                  const std::vector<std::string>& command);
  ~CustodyLog() override;
  CustodyLog(const CustodyLog&) = delete;
  CustodyLog& operator=(const CustodyLog&) = delete;

  FileId id() const { return id_; }
  void opened(const File& file, Access access) override;
  // `of`: the image, as it was named. `algorithm`: "sha256".
  void add_sum(const std::string& of, std::string_view algorithm, const std::string& sum);
  // What the run printed: kind "result" or "warning".
  void add_text(std::string_view kind, std::string_view text);
  // `problem`: what the run ended with; empty: nothing. Errors: what kept any line from being
  // written.
  Result<void> end(int status, const std::string& problem);

 private:
  CustodyLog(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  Result<void> look();
  Result<void> write(std::string_view event, const Json& facts);

  const int fd_;
  const std::string path_;
  FileId id_;
  std::string run_;
  std::mutex mutex_;            // guards what follows
  bool follows_torn_ = false;   // the last line has no end
  std::set<std::string> told_;  // files
  Result<void> written_;        // the first failure
};

}  // namespace snaptool::cli
