// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/parallel.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "libsnap/base/blocked_signals.h"

namespace snaptool {
namespace {

// Runs `loop` from so many threads, this one among them; fewer where no more are to be had. When
// one throws, `stop` makes the others end, and the first exception is thrown once they have.
void run_in_threads(size_t threads, const std::function<void()>& loop,
                    const std::function<void()>& stop) {
  std::mutex mutex;
  std::exception_ptr thrown;
  const auto guarded = [&]() noexcept {
    try {
      loop();
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!thrown) thrown = std::current_exception();
      stop();
    }
  };

  std::vector<std::thread> helpers;
  {
    const BlockedSignals blocked;  // the threads inherit that
    try {
      for (size_t i = 1; i < threads; ++i) helpers.emplace_back(guarded);
    } catch (const std::exception&) {  // there is no room for another
    }
  }
  guarded();
  for (auto& helper : helpers) helper.join();
  if (thrown) std::rethrow_exception(thrown);
}

// The items of parallel_ordered. Each has a ticket, in the order of taking; its slot is the ticket
// modulo their number.
class OrderedItems {
 public:
  OrderedItems(size_t slots, const Job& job, const OrderedSteps& steps)
      : job_(job), steps_(steps), slots_(slots, State::kFree) {}

  // What each thread does.
  void loop() {
    std::unique_lock lock(mutex_);
    while (!failure_ && !stopped_ && !job_.cancel.requested()) {
      if (!committing_ && state(turn_) == State::kReady) {
        commit_and_follow(lock);
      } else if (!taking_ && !ended_ && state(taken_) == State::kFree) {
        take_and_work(lock);
      } else if (ended_ && turn_ == taken_) {
        break;
      } else {
        changed_.wait(lock);
      }
    }
    changed_.notify_all();
  }

  // Makes every loop end with what it is at.
  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }

  Result<void> result() {
    if (failure_) return *std::move(failure_);
    if (job_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    return {};
  }

 private:
  enum class State { kFree, kBusy, kReady };

  State& state(size_t ticket) { return slots_[ticket % slots_.size()]; }
  size_t slot_of(size_t ticket) const { return ticket % slots_.size(); }

  void commit_and_follow(std::unique_lock<std::mutex>& lock) {
    const size_t ticket = turn_;
    state(ticket) = State::kBusy;
    committing_ = true;
    lock.unlock();
    auto done = steps_.commit(slot_of(ticket));
    lock.lock();
    committing_ = false;
    if (!done) return fail(ticket, std::move(done).error());
    ++turn_;
    changed_.notify_all();
    if (steps_.follow) {
      lock.unlock();
      done = steps_.follow(slot_of(ticket));
      lock.lock();
      if (!done) return fail(ticket, std::move(done).error());
    }
    state(ticket) = State::kFree;
    changed_.notify_all();
  }

  void take_and_work(std::unique_lock<std::mutex>& lock) {
    const size_t ticket = taken_;
    taking_ = true;
    state(ticket) = State::kBusy;
    lock.unlock();
    auto more = steps_.take(slot_of(ticket));
    lock.lock();
    taking_ = false;
    changed_.notify_all();
    if (!more) return fail(ticket, std::move(more).error());
    if (!*more) {
      ended_ = true;
      state(ticket) = State::kFree;
      return;
    }
    ++taken_;
    lock.unlock();
    auto done = steps_.work(slot_of(ticket));
    lock.lock();
    if (!done) return fail(ticket, std::move(done).error());
    state(ticket) = State::kReady;
    changed_.notify_all();
  }

  void fail(size_t ticket, Error error) {
    if (failure_ && failed_ticket_ <= ticket) return;
    failed_ticket_ = ticket;
    failure_ = std::move(error);
    changed_.notify_all();
  }

  const Job& job_;
  const OrderedSteps& steps_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<State> slots_;
  size_t taken_ = 0;  // tickets that are given out
  size_t turn_ = 0;   // the ticket that is committed next
  bool taking_ = false;
  bool committing_ = false;
  bool ended_ = false;
  bool stopped_ = false;
  size_t failed_ticket_ = 0;
  std::optional<Error> failure_;
};

}  // namespace

Result<void> parallel_for(size_t count, const Job& job,
                          const std::function<Result<void>(size_t)>& work) {
  std::atomic<size_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  size_t failed_index = count;
  std::optional<Error> failure;

  const auto loop = [&] {
    while (!stop.load() && !job.cancel.requested()) {
      const size_t index = next.fetch_add(1);
      if (index >= count) return;
      auto result = work(index);
      if (result) continue;
      const std::lock_guard lock(mutex);
      if (index < failed_index) {
        failed_index = index;
        failure = std::move(result).error();
      }
      stop.store(true);
    }
  };

  const size_t threads = std::min<size_t>(std::max(1U, job.jobs), count);
  run_in_threads(threads, loop, [&] { stop.store(true); });

  if (failure) return *std::move(failure);
  if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
  return {};
}

Result<void> parallel_ordered(size_t slots, const Job& job, const OrderedSteps& steps) {
  OrderedItems items(slots, job, steps);
  run_in_threads(
      std::clamp<size_t>(job.jobs, 1, slots), [&] { items.loop(); }, [&] { items.stop(); });
  return items.result();
}

}  // namespace snaptool
