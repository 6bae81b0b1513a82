// SPDX-License-Identifier: Apache-2.0
// The calls that work on a store as a whole: create, verify, merge.
#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "cli/library/calls.h"
#include "cli/library/options.h"
#include "formats/format.h"
#include "libsnap/access/resolve.h"
#include "libsnap/base/blocked_signals.h"
#include "libsnap/base/counted.h"
#include "libsnap/ops/merge.h"
#include "libsnap/ops/store.h"
#include "libsnap/ops/verify.h"

using snaptool::Error;
using snaptool::ErrorCode;
using snaptool::Result;

namespace snaptool::library {
namespace {

// A call with all that it needs.
class Call {
 public:
  // Errors: kInvalidArgument for an option that the call does not take, or a value.
  static Result<std::unique_ptr<Call>> make(std::string_view name, const snap_options* options) {
    std::unique_ptr<Call> call(new Call(options_of(options)));
    SNAP_TRY(call->options_.check_taken(name));
    SNAP_ASSIGN(call->settings_, call->options_.settings());
    call->policy_ = call->settings_.policy();
    SNAP_ASSIGN(call->policy_.from_medium, call->options_.flag("data"));
    SNAP_ASSIGN(call->jobs_, call->options_.jobs());
    return call;
  }

  const Options& options() const { return options_; }
  const access::Settings& settings() const { return settings_; }
  access::Context context() const { return {all_drivers(), policy_, notes_, cancel_, jobs_}; }

  // Does the work, in a thread of its own if somebody wants to know how far it is: he is told in
  // this one.
  Result<int> run(const std::function<Result<int>()>& work, snap_progress* progress, void* user) {
    Result<int> result = progress == nullptr ? work() : run_told(work, progress, user);
    options_.deliver(notes_);
    return result;
  }

 private:
  static constexpr std::chrono::milliseconds kInterval{100};

  explicit Call(Options options) : options_(std::move(options)) {}

  Result<int> run_told(const std::function<Result<int>()>& work, snap_progress* progress,
                       void* user) {
    tell(progress, user);
    if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    std::mutex mutex;
    std::condition_variable ended;
    bool done = false;
    std::optional<Result<int>> result;
    std::exception_ptr thrown;
    const auto body = [&]() noexcept {
      try {
        result = work();
      } catch (...) {
        thrown = std::current_exception();
      }
      const std::lock_guard lock(mutex);
      done = true;
      ended.notify_all();
    };
    std::thread worker;
    try {
      const BlockedSignals blocked;
      worker = std::thread(body);
    } catch (const std::system_error&) {  // no thread to be had: it is told at the end
      body();
    }
    {
      std::unique_lock lock(mutex);
      while (!ended.wait_for(lock, kInterval, [&] { return done; })) {
        lock.unlock();
        tell(progress, user);
        lock.lock();
      }
    }
    if (worker.joinable()) worker.join();
    if (thrown) std::rethrow_exception(thrown);
    tell(progress, user);
    return *std::move(result);
  }

  void tell(snap_progress* progress, void* user) {
    const Notes::State state = notes_.state();
    if (cancel_.requested()) return;
    if (progress(user, state.what.c_str(), state.done, state.total) != 0) cancel_.request();
  }

  Options options_;
  Notes notes_;
  access::Settings settings_;
  access::Policy policy_;
  Cancel cancel_;
  unsigned jobs_ = 1;
};

Result<ops::CreateRequest> create_request(const Call& call, const char* origin, const char* cow) {
  const std::string* const chunk = call.options().text("chunk-size");
  const std::string* const size = call.options().text("size");
  ops::CreateRequest request;
  SNAP_ASSIGN(request.origin, access::target_named(call.context(), origin, std::nullopt));
  request.cow = cow;
  SNAP_ASSIGN(request.chunk_bytes, ops::parse_chunk_size(chunk != nullptr ? *chunk : "4k"));
  if (size != nullptr) {
    SNAP_ASSIGN(const uint64_t bytes, parse_size(*size));
    request.size = ops::StoreSize{bytes, 0};
  }
  return request;
}

int number_of(Severity severity) {
  switch (severity) {
    case Severity::kNote:
      return SNAP_NOTE;
    case Severity::kHarmless:
      return SNAP_HARMLESS;
    case Severity::kUnsafe:
      return SNAP_UNSAFE;
    case Severity::kCorrupt:
      return SNAP_CORRUPT;
  }
  return SNAP_CORRUPT;
}

// What verify found, to be told in the thread that asked.
struct Found {
  struct One {
    int severity;
    std::string code;
    std::string text;
  };
  std::vector<One> findings;
  int worst = SNAP_NOTE;
};

// What else was found of an image: where it is damaged, and what is worth knowing.
void tell_rest(const access::SumsFound& sums, Found& found) {
  for (const ByteRange& range : sums.damaged) {
    found.findings.push_back({SNAP_CORRUPT, "sums",
                              fmt::format("damaged: {} of the image, from its byte {} on",
                                          counted(range.length, "byte"), range.offset)});
  }
  for (const std::string& note : sums.notes) found.findings.push_back({SNAP_NOTE, "sums", note});
  if (sums.has_sums) return;
  found.findings.push_back({SNAP_NOTE, "sums", "it has no checksums of its content"});
}

Result<int> verify(const Call& call, const char* name, Found& found) {
  const access::Context context = call.context();
  SNAP_ASSIGN(const bool data, call.options().flag("data"));
  SNAP_ASSIGN(const access::ImageSpec spec, access::target_named(context, name, std::nullopt));
  if (spec.stores.empty()) {
    SNAP_ASSIGN(const auto image, ops::verify_image(context, spec));
    if (image) {
      for (const std::string& problem : image->found.problems) {
        found.findings.push_back({SNAP_CORRUPT, "sums", problem});
        found.worst = SNAP_CORRUPT;
      }
      tell_rest(image->found, found);
      return found.worst;
    }
  }
  SNAP_ASSIGN(const ops::Verified verified, ops::verify(context, spec, data));
  for (const Finding& finding : verified.report.findings) {
    found.findings.push_back({number_of(severity_of(finding.code)),
                              std::string(defect_code_name(finding.code)), finding.message});
  }
  found.worst = number_of(verified.report.result());
  return found.worst;
}

Result<void> tell(const Found& found, snap_finding* each, void* user) {
  if (each == nullptr) return {};
  for (const Found::One& one : found.findings) {
    if (each(user, one.severity, one.code.c_str(), one.text.c_str()) == 0) continue;
    return Error(ErrorCode::kInterrupted, "interrupted");
  }
  return {};
}

Result<ops::MergeRequest> merge_request(const Call& call, const char* name) {
  const Options& options = call.options();
  const access::Context context = call.context();
  ops::MergeRequest request;
  SNAP_ASSIGN(request.image,
              access::origin_and_cow_named(context, {name}, call.settings().format()));
  for (const std::string& sibling : options.texts("sibling")) {
    SNAP_ASSIGN(access::FileSpec cow, access::cow_named(context, sibling));
    request.siblings.push_back(std::move(cow));
  }
  if (options.text("undo") != nullptr) request.undo_file = *options.text("undo");
  if (options.text("expect") != nullptr) {
    SNAP_ASSIGN(request.expected, ops::parse_expected(*options.text("expect")));
  }
  if (options.text("rate-limit") != nullptr) {
    SNAP_ASSIGN(request.options.rate, ops::parse_rate_limit(*options.text("rate-limit")));
  }
  SNAP_ASSIGN(request.dry_run, options.flag("dry-run"));
  SNAP_ASSIGN(request.options.accept_duplicates, options.flag("accept-duplicates"));
  SNAP_ASSIGN(request.options.verify, options.flag("verify"));
  return request;
}

Result<int> merge(const Call& call, const char* name) {
  SNAP_ASSIGN(const ops::MergeRequest request, merge_request(call, name));
  SNAP_ASSIGN(const auto job, ops::MergeJob::prepare(call.context(), request));
  if (!request.dry_run) SNAP_TRY(job->run());
  return 0;
}

}  // namespace
}  // namespace snaptool::library

using namespace snaptool::library;  // NOLINT: the interface has no namespaces

int snap_create(const char* origin, const char* cow, const snap_options* options) {
  return entry(__func__, -1, [&]() -> Result<int> {
    SNAP_TRY(check_given(origin, "origin"));
    SNAP_TRY(check_given(cow, "cow"));
    SNAP_ASSIGN(const auto call, Call::make("create", options));
    const auto work = [&]() -> Result<int> {
      SNAP_ASSIGN(const snaptool::ops::CreateRequest request, create_request(*call, origin, cow));
      SNAP_TRY(snaptool::ops::create(call->context(), request));
      return 0;
    };
    return call->run(work, nullptr, nullptr);
  });
}

int snap_verify(const char* name, const snap_options* options, snap_finding* each,
                snap_progress* progress, void* user) {
  return entry(__func__, -1, [&]() -> Result<int> {
    SNAP_TRY(check_given(name, "name"));
    SNAP_ASSIGN(const auto call, Call::make("verify", options));
    Found found;
    SNAP_ASSIGN(const int worst,
                call->run([&] { return verify(*call, name, found); }, progress, user));
    SNAP_TRY(tell(found, each, user));
    return worst;
  });
}

int snap_merge(const char* name, const snap_options* options, snap_progress* progress, void* user) {
  return entry(__func__, -1, [&]() -> Result<int> {
    SNAP_TRY(check_given(name, "name"));
    SNAP_ASSIGN(const auto call, Call::make("merge", options));
    return call->run([&] { return merge(*call, name); }, progress, user);
  });
}
