// SPDX-License-Identifier: Apache-2.0
#include "cli/report/merge.h"

#include <fmt/format.h>

#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"

namespace snaptool::cli {
namespace {

// The stores below the one that is merged: what it is merged into.
access::ImageSpec origin_of(const access::ImageSpec& spec) {
  return {spec.base, {spec.stores.begin(), spec.stores.end() - 1}, {}};
}

// The stores that are merged, as a sentence has them.
std::string stores_text(const ops::MergeRequest& request) {
  std::string text = fmt::format("'{}'", request.image.stores.back().name());
  for (const access::FileSpec& store : request.flatten) {
    text += fmt::format(", '{}'", store.name());
  }
  return text;
}

// What --salvage left.
std::string unreadable_text(const Merge& merge, const access::ImageSpec& spec) {
  constexpr size_t kShown = 20;
  std::string text = text_line("unreadable in '{}':", spec.stores.back().name());
  size_t shown = 0;
  for (const auto& [entry, cause] : merge.unreadable()) {
    if (shown++ == kShown) break;
    text += text_line("  COW chunk {}, for origin chunk {}: {}", entry.new_chunk, entry.old_chunk,
                      cause);
  }
  if (merge.unreadable_count() > kShown) {
    text += text_line("  and {} more (--output=json lists up to {})",
                      merge.unreadable_count() - kShown, Merge::kUnreadableKept);
  }
  return text;
}

// What LVM does not know yet; nothing when it has nothing to do with it.
std::string lvm_note(const access::ImageSpec& spec) {
  const access::Part* const volume = spec.stores.back().volume();
  if (volume == nullptr || !volume->own_bytes) return {};
  return fmt::format(
      "LVM still has the snapshot '{0}', which now shows no more than its origin: 'lvremove {0}'\n"
      "drops it (if LVM was merging it, it finishes by itself at the next activation)\n",
      volume->group + "/" + volume->volume);
}

Json merge_json(const ops::MergeRequest& request, const ops::MergeJob& job) {
  const Merge& merge = job.merge();
  Json json = {{"format_version", 1},
               {"origin", access::name_of(origin_of(request.image))},
               {"cow", request.image.stores.back().name()},
               {"dry_run", request.dry_run},
               {"exceptions", job.exceptions()},
               {"runs", job.runs()},
               {"bytes", job.bytes_to_copy()}};
  if (!request.flatten.empty()) json["flatten"] = Json::array();
  for (const access::FileSpec& store : request.flatten) json["flatten"].push_back(store.name());
  if (merge.unreadable_count() == 0) return json;
  json["unreadable_count"] = merge.unreadable_count();
  json["kept_exceptions"] = merge.kept_exceptions();
  json["unreadable"] = Json::array();
  for (const auto& [entry, cause] : merge.unreadable()) {
    json["unreadable"].push_back(
        {{"old_chunk", entry.old_chunk}, {"new_chunk", entry.new_chunk}, {"problem", cause}});
  }
  return json;
}

std::string undo_text(const Invocation& invocation, const ops::MergeRequest& request,
                      const ops::MergeJob& job) {
  if (!request.undo_file) return {};
  return text_line("'snaptool undo{}{}{} {} {} {}' {}", invocation.has("force") ? " --force" : "",
                   invocation.has("format") ? " -f raw" : "", given_again(invocation, "sibling"),
                   shell_quoted(*request.undo_file), operand_for(origin_of(request.image)),
                   operand_for(request.image.stores.back()),
                   job.undo_was_empty()
                       ? "takes back what this command merged; the undo file was empty, and "
                         "what another merged before is not in it"
                       : "takes this back");
}

}  // namespace

Result<void> report_merge(const Invocation& invocation, const ops::MergeRequest& request,
                          const ops::MergeJob& job) {
  if (invocation.json()) return invocation.report(merge_json(request, job).text());
  const Merge& merge = job.merge();
  if (job.exceptions() == 0) {
    return invocation.report(text_line("{} {} empty: nothing to merge", stores_text(request),
                                       request.flatten.empty() ? "is" : "are"));
  }
  if (merge.unreadable_count() > 0) {
    return invocation.report(unreadable_text(merge, request.image));
  }
  std::string text = text_line(
      "{} {} ({}, {}) of {} into '{}'", request.dry_run ? "would merge" : "merged",
      counted(job.exceptions(), "exception"), format_size(job.bytes_to_copy()),
      counted(job.runs(), "run"), stores_text(request), access::name_of(origin_of(request.image)));
  if (request.dry_run && request.undo_file) {
    text += text_line("what is overwritten would be saved in '{}'", *request.undo_file);
  }
  text += request.dry_run
              ? "The origin would become what the snapshot shows. If the snapshot was written to,\n"
                "that commits these writes; if the origin was written to after the snapshot was\n"
                "made, it rolls the origin back. The store does not say which. Nothing was "
                "written.\n"
              : undo_text(invocation, request, job) + lvm_note(request.image);
  return invocation.report(text);
}

Result<void> report_view(const Invocation& invocation, const ops::MergeRequest& request,
                         const std::string& path) {
  const Json json = {{"format_version", 1},
                     {"origin", access::name_of(origin_of(request.image))},
                     {"cow", request.image.stores.back().name()},
                     {"dry_run", false},
                     {"out", path}};
  return invocation.report(invocation.json() ? json.text()
                                             : text_line("wrote the view to '{}'", path));
}

std::string stopped_merge(const Invocation& invocation, const ops::MergeRequest& request,
                          const ops::MergeJob& job) {
  return fmt::format(
      "{} of {} merged. '{}' may be changed in part, and with '{}' it still shows all: nothing is "
      "lost, and '{}' resumes",
      job.merged_exceptions(), counted(job.exceptions(), "exception"),
      access::name_of(origin_of(request.image)), request.image.stores.back().name(),
      resume_merge(invocation, request));
}

std::string resume_merge(const Invocation& invocation, const ops::MergeRequest& request) {
  std::string command = "snaptool merge";
  for (const char* flag :
       {"verify", "salvage", "no-punch", "scrub", "force", "accept-duplicates"}) {
    if (invocation.has(flag)) command += fmt::format(" --{}", flag);
  }
  if (const auto format = invocation.value("format")) command += " -f " + *format;
  if (request.undo_file) command += " --undo " + shell_quoted(*request.undo_file);
  command += given_again(invocation, "sibling") + given_again(invocation, "flatten");
  if (const auto rate = invocation.value("rate-limit")) command += " -r " + *rate;
  return fmt::format("{} {} {}", command, operand_for(origin_of(request.image)),
                     operand_for(request.image.stores.back()));
}

}  // namespace snaptool::cli
