// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <istream>
#include <memory>
#include <optional>
#include <streambuf>

#include "cli/support/data_source.h"

namespace snaptool::cli {

// A text that is read from a file, a pipe or standard input ("-"), as a stream. A signal ends it:
// the stream is bad() then, as after an error, and error() says why.
class InputStream {
 public:
  // Errors: those of DataSource.
  static Result<InputStream> open(const std::string& path);
  std::istream& stream() { return *stream_; }
  const std::optional<Error>& error() const { return buffer_->error; }

 private:
  struct Buffer : std::streambuf {
    explicit Buffer(DataSource from) : source(std::move(from)) {}
    int_type underflow() override;

    DataSource source;
    std::array<char, 4096> bytes{};
    std::optional<Error> error;
  };
  explicit InputStream(DataSource source)
      : buffer_(std::make_unique<Buffer>(std::move(source))),
        stream_(std::make_unique<std::istream>(buffer_.get())) {}

  std::unique_ptr<Buffer> buffer_;
  std::unique_ptr<std::istream> stream_;
};

}  // namespace snaptool::cli
