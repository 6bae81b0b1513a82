// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/touched_files.h"

namespace snaptool::ops {
namespace {

using access::FileNode;

class TouchFinder {
 public:
  TouchFinder(const ChangedRanges& changed, const StateOwners& before, const StateOwners& after,
              Problems& problems, const Cancel& cancel)
      : changed_(changed), before_(before), after_(after), problems_(problems), cancel_(cancel) {}
  Result<IdSet> find();

 private:
  Result<void> add_owners(const StateOwners& state, const IdSet& ids);
  Result<bool> has_nameless(const StateOwners& state);
  Result<void> find_owners(const StateOwners& state, IdSet& found);
  Result<void> poll() const {
    if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    return {};
  }

  const ChangedRanges& changed_;
  const StateOwners before_;
  const StateOwners after_;
  Problems& problems_;
  const Cancel& cancel_;
  IdSet touched_;
};

Result<IdSet> TouchFinder::find() {
  for (const StateOwners* const state : {&before_, &after_}) {
    for (const ByteRange& range : changed_.ranges()) {
      SNAP_TRY(poll());
      SNAP_TRY(problems_.note("inodes", state->files.visit_ids_at(range.offset, range.length,
                                                                  [&](uint64_t id) -> Result<void> {
                                                                    touched_.add(id);
                                                                    return {};
                                                                  })));
    }
  }
  touched_.seal();
  for (const StateOwners* const state : {&before_, &after_}) {
    SNAP_TRY(add_owners(*state, touched_));
    state->owners.seal();
  }
  IdSet found;
  SNAP_TRY(find_owners(before_, found));
  SNAP_TRY(find_owners(after_, found));
  found.seal();
  for (const IdSet::Run& run : found.runs()) {
    for (uint64_t id = run.first; id <= run.last; ++id) touched_.add(id);
  }
  touched_.seal();
  for (const StateOwners* const state : {&before_, &after_}) {
    SNAP_TRY(add_owners(*state, found));
    state->owners.seal();
  }
  return std::move(touched_);
}

// What cannot be read is told of when its name is come to.
Result<void> TouchFinder::add_owners(const StateOwners& state, const IdSet& ids) {
  for (const IdSet::Run& run : ids.runs()) {
    for (uint64_t id = run.first; id <= run.last; ++id) {
      const auto node = state.files.node(id);
      if (!node || node->deleted || node->internal) continue;
      const auto any = state.owners.add(*node);
      if (!any && any.error().code() == ErrorCode::kInterrupted) return any.error();
    }
  }
  return {};
}

Result<bool> TouchFinder::has_nameless(const StateOwners& state) {
  for (const ByteRange& range : changed_.ranges()) {
    SNAP_TRY(poll());
    for (uint64_t at = range.offset; at < range.offset + range.length;) {
      SNAP_ASSIGN(const auto use, state.owners.use_at(at, range.offset + range.length));
      if (use.first.use == Use::kNameless || use.first.use == Use::kUnknown) return true;
      // What is free may be so only until the journal is replayed.
      if (use.first.use == Use::kFree && state.files.may_be_behind()) return true;
      at = use.second;
    }
  }
  return false;
}

// Of bytes that changed, and belong to none of the nodes that did: all nodes are asked.
Result<void> TouchFinder::find_owners(const StateOwners& state, IdSet& found) {
  SNAP_ASSIGN(const bool any, has_nameless(state));
  if (!any) return {};
  return problems_.note("inodes",
                        state.files.visit_nodes([&](const FileNode& node) -> Result<void> {
                          SNAP_TRY(poll());
                          if (node.internal || touched_.contains(node.id)) return {};
                          const auto owns = state.owners.add(node);
                          if (!owns && owns.error().code() == ErrorCode::kInterrupted)
                            return owns.error();
                          // Of what cannot be read, nobody knows.
                          if (!owns || *owns) found.add(node.id);
                          return {};
                        }));
}

}  // namespace

Result<IdSet> find_touched(const ChangedRanges& changed, const StateOwners& before,
                           const StateOwners& after, Problems& problems, const Cancel& cancel) {
  return TouchFinder(changed, before, after, problems, cancel).find();
}

}  // namespace snaptool::ops
