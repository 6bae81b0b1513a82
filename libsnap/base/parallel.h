// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>

#include "libsnap/base/progress.h"
#include "libsnap/base/result.h"

namespace snaptool {

// Calls work(0) ... work(count - 1), each once, from at most job.jobs threads, lowest index first.
// Stops handing out indexes after the first error or cancellation and returns once no call runs.
// Errors: the failed call's with the lowest index; kInterrupted when cancelled. What a call throws
// (std::bad_alloc) is thrown here once no call runs.
Result<void> parallel_for(size_t count, const Job& job,
                          const std::function<Result<void>(size_t)>& work);

// The steps for each of many items: `take` fetches the next one into a slot (false: there are no
// more), `work` is done on it, `commit` hands it on, and `follow`, which may be left out, is done
// behind that.
struct OrderedSteps {
  std::function<Result<bool>(size_t slot)> take;
  std::function<Result<void>(size_t slot)> work;
  std::function<Result<void>(size_t slot)> commit;
  std::function<Result<void>(size_t slot)> follow;
};

// Does them. Takes and commits go in order, never two of a kind at once; works and follows go in
// parallel. At most `slots` items are under way, from at most job.jobs threads, which are there for
// the whole time. Stops after the first error or cancellation and returns once no call runs.
// Errors: that of the item taken first among those that failed; kInterrupted when cancelled. What a
// step throws (std::bad_alloc) is thrown here once no call runs.
Result<void> parallel_ordered(size_t slots, const Job& job, const OrderedSteps& steps);
// So many that no thread waits for another's item.
inline constexpr size_t kSlotsPerThread = 3;

}  // namespace snaptool
