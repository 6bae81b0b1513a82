// SPDX-License-Identifier: Apache-2.0
// libsnaptool for C++17: what snaptool.h has, with exceptions and owners. All of it is in this
// header, so nothing but the C interface has to fit the library that runs.
#ifndef SNAPTOOL_SNAPTOOL_HPP
#define SNAPTOOL_SNAPTOOL_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <snaptool/snaptool.h>

namespace snap {

// What a call that failed throws.
class Error : public std::runtime_error {
 public:
  Error()
      : std::runtime_error(snap_get_error()), code_(snap_get_code()), errno_(snap_get_errno()) {}
  int code() const noexcept { return code_; }     // enum snap_code
  int number() const noexcept { return errno_; }  // errno, or 0

 private:
  int code_;
  int errno_;
};

namespace detail {

inline int checked(int result) {
  if (result < 0) throw Error();
  return result;
}

// A callback of C++ as one of C: what it throws is thrown again by `finish`, which takes what the
// call returned.
template <typename Function>
struct Callback {
  const Function& function;
  std::exception_ptr thrown;

  template <typename... Arguments>
  int operator()(int stop, Arguments&&... arguments) noexcept {
    try {
      return function(std::forward<Arguments>(arguments)...) ? 0 : stop;
    } catch (...) {
      thrown = std::current_exception();
      return -1;
    }
  }
  int finish(int result) const {
    if (thrown) std::rethrow_exception(thrown);
    return checked(result);
  }
};

}  // namespace detail

// Options by name; all of them are in snaptool(3).
class Options {
 public:
  Options() : options_(snap_options_create()) {
    if (!options_) throw Error();
  }
  Options& set(const std::string& name, const std::string& value) {
    detail::checked(snap_options_set(options_.get(), name.c_str(), value.c_str()));
    return *this;
  }
  // Gets warnings, of images that are opened with these, too; it must not throw.
  Options& on_warning(std::function<void(const char*)> warning) {
    const auto told = [](void* user, const char* text) noexcept {
      (*static_cast<std::function<void(const char*)>*>(user))(text);
    };
    warning_ = std::make_shared<std::function<void(const char*)>>(std::move(warning));
    detail::checked(snap_options_on_warning(options_.get(), told, warning_.get()));
    return *this;
  }
  const snap_options* get() const noexcept { return options_.get(); }

 private:
  struct Free {
    void operator()(snap_options* options) const noexcept { snap_options_free(options); }
  };
  std::unique_ptr<snap_options, Free> options_;
  std::shared_ptr<std::function<void(const char*)>> warning_;
  friend class Image;
};

// A range of an image: whether it is known to read as zeros, and how many layers lie above the one
// that it comes from.
struct Extent {
  std::uint64_t offset;
  std::uint64_t length;
  bool zero;
  int depth;
};

// An open image. It is closed when this dies; only close() tells whether that failed.
class Image {
 public:
  explicit Image(const std::string& name) : image_(snap_image_open(name.c_str(), nullptr)) {
    if (!image_) throw Error();
  }
  Image(const std::string& name, const Options& options)
      : warning_(options.warning_), image_(snap_image_open(name.c_str(), options.get())) {
    if (!image_) throw Error();
  }

  std::uint64_t size() const {
    const std::int64_t size = snap_image_size(image_.get());
    if (size < 0) throw Error();
    return static_cast<std::uint64_t>(size);
  }
  bool is_writable() const { return detail::checked(snap_image_is_writable(image_.get())) != 0; }
  void read(void* buffer, std::size_t count, std::uint64_t offset) const {
    detail::checked(snap_image_read(image_.get(), buffer, count, offset));
  }
  // Until there is no more, or `each` returns false.
  void map(std::uint64_t offset, std::uint64_t length,
           const std::function<bool(const Extent&)>& each) const {
    detail::Callback<std::function<bool(const Extent&)>> callback{each, nullptr};
    const auto told = [](void* user, std::uint64_t at, std::uint64_t bytes, int zero, int depth) {
      return (*static_cast<decltype(callback)*>(user))(1, Extent{at, bytes, zero != 0, depth});
    };
    callback.finish(snap_image_map(image_.get(), offset, length, told, &callback));
  }
  void write(const void* buffer, std::size_t count, std::uint64_t offset) {
    detail::checked(snap_image_write(image_.get(), buffer, count, offset));
  }
  void trim(std::uint64_t offset, std::uint64_t length) {
    detail::checked(snap_image_trim(image_.get(), offset, length));
  }
  void flush() { detail::checked(snap_image_flush(image_.get())); }
  void close() { detail::checked(snap_image_close(image_.release())); }

 private:
  struct Close {
    void operator()(snap_image* image) const noexcept {
      static_cast<void>(!snap_image_close(image));
    }
  };
  std::shared_ptr<std::function<void(const char*)>> warning_;  // outlives the image
  std::unique_ptr<snap_image, Close> image_;
};

inline void create(const std::string& origin, const std::string& cow,
                   const Options& options = Options()) {
  detail::checked(snap_create(origin.c_str(), cow.c_str(), options.get()));
}

// `progress` gets what is done; when it returns false, the call stops.
using OnProgress = std::function<bool(const char* what, std::uint64_t done, std::uint64_t total)>;
// Returns the worst enum snap_severity; `each` gets the findings, until it returns false.
using OnFinding = std::function<bool(int severity, const char* code, const char* text)>;
inline int verify(const std::string& name, const OnFinding& each = nullptr,
                  const Options& options = Options(), const OnProgress& progress = nullptr) {
  struct Both {
    detail::Callback<OnFinding> finding;
    detail::Callback<OnProgress> progress;
  } both{{each, nullptr}, {progress, nullptr}};
  const auto found = [](void* user, int severity, const char* code, const char* text) {
    return static_cast<Both*>(user)->finding(-1, severity, code, text);
  };
  const auto told = [](void* user, const char* what, std::uint64_t done, std::uint64_t total) {
    return static_cast<Both*>(user)->progress(-1, what, done, total);
  };
  const int worst =
      snap_verify(name.c_str(), options.get(), each ? static_cast<snap_finding*>(found) : nullptr,
                  progress ? static_cast<snap_progress*>(told) : nullptr, &both);
  if (both.progress.thrown) std::rethrow_exception(both.progress.thrown);
  return both.finding.finish(worst);
}

// A merge that `progress` stopped can be gone on with.
inline void merge(const std::string& name, const OnProgress& progress = nullptr,
                  const Options& options = Options()) {
  if (!progress) {
    detail::checked(snap_merge(name.c_str(), options.get(), nullptr, nullptr));
    return;
  }
  detail::Callback<OnProgress> callback{progress, nullptr};
  const auto told = [](void* user, const char* what, std::uint64_t done, std::uint64_t total) {
    return (*static_cast<detail::Callback<OnProgress>*>(user))(-1, what, done, total);
  };
  callback.finish(snap_merge(name.c_str(), options.get(), told, &callback));
}

}  // namespace snap

#endif
