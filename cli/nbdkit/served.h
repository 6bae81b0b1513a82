// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "libsnap/access/open_image.h"
#include "libsnap/access/settings.h"
#include "libsnap/ops/live_view.h"

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

  std::string image;
  access::Settings settings;
  bool write = false;
  StoreKind kind = StoreKind::kPersistentOverflow;
  bool sandbox = true;
};

// The image that is served: opened once, for all clients.
class Served {
 public:
  // Errors: those of open_image, or of LiveView::open.
  static Result<std::unique_ptr<Served>> open(const Parameters& parameters);

  Image& image() { return live_ ? live_->image() : open_.image(); }
  ops::LiveView* live() { return live_.get(); }  // nullptr: it is only read

 private:
  explicit Served(const Parameters& parameters);

  Log log_;
  Cancel cancel_;
  access::Policy policy_;
  access::Context context_;
  access::Opener opener_;
  access::OpenImage open_;
  std::unique_ptr<ops::LiveView> live_;
};

}  // namespace snaptool::nbdkit
