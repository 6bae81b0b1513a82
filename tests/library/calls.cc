// SPDX-License-Identifier: Apache-2.0
// Makes every call of the C++ interface, also those that fail and those that are stopped: run under
// LeakSanitizer, in a folder with the origins origin.img and b.img and their stores a.cow and
// b.cow, and zeros.cow.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <snaptool/snaptool.hpp>
#include <stdexcept>
#include <string_view>

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

template <typename Call>
void fails(int code, std::string_view function, const Call& call) {
  try {
    call();
  } catch (const snap::Error& error) {
    require(error.code() == code &&
                std::string_view(error.what()).substr(0, function.size()) == function,
            error.what());
    return;
  }
  require(false, "no error");
}

void images() {
  snap::Options options;
  options.set("write", "true").set("store", "PO");
  std::array<char, 4096> buffer{};
  {
    snap::Image view("b.img@b.cow", options);
    require(view.is_writable() && view.size() == 1U << 20U, "it is another image");
    view.write(buffer.data(), buffer.size(), 8192);
    view.trim(0, 8192);
    view.flush();
    // What is used while it is mapped.
    view.map(0, view.size(), [&](const snap::Extent& extent) {
      view.read(buffer.data(), 1, extent.offset);
      return view.size() > 0;
    });
    view.read(nullptr, 0, view.size());
    fails(SNAP_BUSY, "snap_image_open", [] { const snap::Image second("b.img@b.cow"); });
    view.close();
  }
  const snap::Image view("b.img@b.cow");
  int extents = 0;
  view.map(0, view.size(),
           [&](const snap::Extent& extent) { return extent.length > 0 && ++extents < 5; });
  require(extents == 5, "it was not stopped");
  try {
    view.map(0, view.size(), [](const snap::Extent&) -> bool { throw std::logic_error("mine"); });
    require(false, "nothing was thrown");
  } catch (const std::logic_error&) {
    ++extents;
  }
  view.read(buffer.data(), buffer.size(), 4096);
  fails(SNAP_USAGE, "snap_image_read", [&] { view.read(buffer.data(), 2, (1U << 20U) - 1); });
  fails(SNAP_USAGE, "snap_image_open", [&] { const snap::Image lone("b.cow"); });
  fails(SNAP_FAILED, "snap_image_open", [&] { const snap::Image none("missing"); });
  fails(SNAP_USAGE, "snap_options_set", [&] { options.set("nothing", "1"); });
}

void stores() {
  int warnings = 0;
  snap::Options noted;
  noted.on_warning([&](const char*) { ++warnings; }).set("dry-run", "true");
  snap::merge("b.img@zeros.cow", nullptr, noted);
  require(warnings == 1, "no warning");
  snap::create("b.img", "new.cow", snap::Options().set("chunk-size", "8k"));
  fails(SNAP_USAGE, "snap_create", [] { snap::create("b.img", "a.cow"); });
  require(snap::verify("origin.img@a.cow") == SNAP_NOTE, "it is not sound");
  int found = 0;
  fails(SNAP_INTERRUPTED, "snap_verify", [&] {
    snap::verify("origin.img", [&](int severity, const char*, const char*) {
      return ++found == 0 || severity < 0;
    });
  });
  require(found == 1, "it was not stopped");
  fails(SNAP_INTERRUPTED, "snap_merge", [] {
    snap::merge("b.img@b.cow", [](const char*, std::uint64_t, std::uint64_t) { return false; });
  });
  snap::merge("b.img@b.cow", nullptr, snap::Options().set("dry-run", "true"));
  std::uint64_t last = 0;
  const auto progress = [&](const char*, std::uint64_t done, std::uint64_t total) {
    last = done;
    return done <= total;
  };
  snap::merge("b.img@b.cow", progress);
  require(last > 0, "no progress was told");
  fails(SNAP_WRONG_BASE, "snap_merge", [] {
    snap::merge("origin.img@a.cow", nullptr, snap::Options().set("expect", std::string(64, '0')));
  });
}

}  // namespace

int main() {
  images();
  stores();
  std::puts("all calls");
  return 0;
}
