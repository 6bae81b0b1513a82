// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>

#include "formats/format.h"
#include "libsnap/access/context.h"
#include "libsnap/access/spec.h"

namespace snaptool::test {

// A file that is only lent, and is of the kind that a test says.
class LentFile : public File {
 public:
  LentFile(File& inner, FileKind kind) : inner_(inner), kind_(kind) {}
  const std::string& name() const override { return inner_.name(); }
  uint64_t size() const override { return inner_.size(); }
  FileKind kind() const override { return kind_; }
  std::optional<FileId> id() const override { return inner_.id(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    return inner_.read_at(offset, out);
  }
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override {
    return inner_.write_at(offset, data);
  }
  bool may_share() const override { return inner_.may_share(); }
  bool share_from(uint64_t offset, File& source, uint64_t source_offset, uint64_t length) override {
    return inner_.share_from(offset, source, source_offset, length);
  }
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) override {
    return inner_.zero_at(offset, length, mode);
  }
  Result<void> resize(uint64_t size) override { return inner_.resize(size); }
  Result<void> flush() override { return inner_.flush(); }
  std::future<Result<void>> begin_flush() override { return inner_.begin_flush(); }
  std::optional<uint64_t> space_left() const override { return inner_.space_left(); }
  bool is_sparse() const override { return inner_.is_sparse(); }
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    return inner_.extent_at(offset, limit);
  }
  void start_writeback(uint64_t offset, uint64_t length) override {
    inner_.start_writeback(offset, length);
  }
  Result<void> read_medium(uint64_t offset, std::span<std::byte> out) override {
    return inner_.read_medium(offset, out);
  }
  bool forget_cache(uint64_t offset, uint64_t length) override {
    return inner_.forget_cache(offset, length);
  }

 private:
  File& inner_;
  FileKind kind_;
};

// Files by their names, as a test has them, in the place of this machine's: so what passes the door
// is recorded, fails, or loses what is not flushed.
class TestFiles : public access::Files {
 public:
  // Requires: `file` outlives this.
  void add(const std::string& name, File& file, FileKind kind = FileKind::kOther) {
    files_[name] = std::make_shared<LentFile>(file, kind);
  }

  Result<std::shared_ptr<File>> open(const std::string& path,
                                     const OpenOptions& /*options*/) const override {
    const auto found = files_.find(path);
    if (found == files_.end()) return Error(ErrorCode::kNotFound, "there is no " + path);
    return found->second;
  }
  Result<std::shared_ptr<File>> create(const std::string& path) const override {
    return open(path, {});
  }
  // A file without a byte is what one that is not there is to a reader of journals; so the removal
  // is among what is recorded, or fails.
  Result<void> remove(const std::string& path) const override {
    SNAP_ASSIGN(const auto file, open(path, {}));
    SNAP_TRY(file->resize(0));
    return file->flush();
  }
  Result<void> flush_name(const std::string& /*path*/) const override { return {}; }

 private:
  std::map<std::string, std::shared_ptr<File>> files_;
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
  access::Context get(unsigned jobs = 1) const {
    return {all_drivers(), policy, notices, cancel, jobs, files};
  }
};

// A file of TestFiles, of which nothing is guessed.
inline access::FileSpec raw_file(const std::string& name) {
  access::FileSpec spec(name);
  spec.format = "raw";
  return spec;
}

}  // namespace snaptool::test
