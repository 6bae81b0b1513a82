// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "libsnap/access/open_image.h"
#include "libsnap/access/settings.h"
#include "libsnap/ops/live_view.h"

namespace snaptool::ops {

// What a full store means, as text: "P" or "PO". Errors: kInvalidArgument.
Result<StoreKind> parse_store_kind(const std::string& text);

// An image that a program opened by its name, as a user gives it, and keeps open.
class NamedImage {
 public:
  struct Request {
    std::string name;
    access::Settings settings;
    bool write = false;             // to the topmost store of a view
    std::optional<StoreKind> kind;  // with write; kPersistentOverflow unless set
  };
  // Requires: `drivers` and `notices` outlive this. Errors: those of image_named and open_image, or
  // of origin_and_cow_named and LiveView::open; kInvalidArgument when it is written to without the
  // guards of a writer.
  static Result<std::unique_ptr<NamedImage>> open(const access::Drivers& drivers,
                                                  const access::Notices& notices,
                                                  const Request& request);
  static Result<void> check(const Request& request);

  // Of one that is only read, several threads may use it at once.
  Image& image() { return live_ ? live_->image() : open_.image(); }
  LiveView* live() { return live_.get(); }  // nullptr: it is only read

 private:
  NamedImage(const access::Drivers& drivers, const access::Notices& notices,
             const Request& request);

  Cancel cancel_;
  access::Policy policy_;
  access::Context context_;
  access::Opener opener_;
  access::OpenImage open_;
  std::unique_ptr<LiveView> live_;
};

}  // namespace snaptool::ops
