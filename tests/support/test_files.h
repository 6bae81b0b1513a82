// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>

#include "formats/format.h"
#include "libsnap/access/context.h"
#include "libsnap/access/spec.h"

namespace snaptool::test {

// Files by their names, as a test has them, in the place of this machine's: so what passes the door
// is recorded, fails, or loses what is not flushed.
class TestFiles : public access::Files {
 public:
  // Requires: `file` outlives this.
  void add(const std::string& name, File& file) { files_[name] = &file; }

  Result<std::shared_ptr<File>> open(const std::string& path,
                                     const OpenOptions& /*options*/) const override {
    const auto found = files_.find(path);
    if (found == files_.end()) return Error(ErrorCode::kNotFound, "there is no " + path);
    return std::shared_ptr<File>(found->second, [](File*) {});  // only lent
  }
  Result<std::shared_ptr<File>> create(const std::string& path) const override {
    return open(path, {});
  }

 private:
  std::map<std::string, File*> files_;
};

class TestNotices : public access::Notices {
 public:
  void warn(std::string_view /*text*/, Remedy /*remedy*/) const override {}
  void say(std::string_view /*text*/) const override {}
  std::shared_ptr<void> show(std::string_view /*what*/,
                             const Progress& /*progress*/) const override {
    return nullptr;
  }
};

// All that a context refers to.
struct TestContext {
  TestFiles files;
  access::Policy policy;
  TestNotices notices;
  Cancel cancel;
  access::Context get() const { return {all_drivers(), policy, notices, cancel, 1, files}; }
};

// A file of TestFiles, of which nothing is guessed.
inline access::FileSpec raw_file(const std::string& name) {
  access::FileSpec spec(name);
  spec.format = "raw";
  return spec;
}

}  // namespace snaptool::test
