// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "libsnap/ops/named_image.h"

namespace snaptool::nbdkit {

// Where messages go: to the log of the server.
class Log : public access::Notices {
 public:
  void warn(std::string_view text, Remedy remedy = Remedy::kNone) const override;
  void say(std::string_view text) const override;
  std::shared_ptr<void> show(std::string_view what, const Progress& progress) const override;
};

// What the plugin was asked to serve: its parameters, "key=value".
class Parameters {
 public:
  // Errors: kInvalidArgument for what is not known.
  Result<void> set(std::string_view key, const std::string& value);
  Result<void> check() const;

  const ops::NamedImage::Request& request() const { return request_; }
  bool write() const { return request_.write; }
  bool sandbox() const { return sandbox_; }

 private:
  ops::NamedImage::Request request_;
  bool sandbox_ = true;
};

}  // namespace snaptool::nbdkit
