// SPDX-License-Identifier: Apache-2.0
#include "formats/ewf/ewf_image.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/common/mapped_image.h"
#include "formats/ewf/check.h"
#include "formats/ewf/chunks.h"
#include "formats/ewf/contents.h"

namespace snaptool::ewf {
namespace {

class EwfImage : public MappedImage {
 public:
  EwfImage(std::shared_ptr<File> file, std::unique_ptr<Contents> contents,
           std::function<void(const std::string&)> warn)
      : MappedImage(std::move(file), contents->volume->size(), nullptr),
        contents_(std::move(contents)),
        reader_(*contents_, std::move(warn)) {}

 private:
  Result<Run> run_at(uint64_t offset, uint64_t limit) override {
    Run run;
    run.kind = Run::Kind::kPacked;
    run.offset = offset / reader_.chunk_bytes();
    run.length = std::min(limit, reader_.chunk_bytes() - offset % reader_.chunk_bytes());
    return run;
  }
  Result<void> read_packed(const Run& run, uint64_t offset, std::span<std::byte> out) override {
    return reader_.read(run.offset, offset % reader_.chunk_bytes(), out);
  }

  std::unique_ptr<Contents> contents_;
  ChunkReader reader_;
};

constexpr uint8_t kPhysicalFlag = 2;

// The texts, by what they are called here, and by the format.
struct TextName {
  std::string_view name;
  const char* key;
};
constexpr std::array kTexts = {
    TextName{"case_number", "c"},
    TextName{"evidence_number", "n"},
    TextName{"description", "a"},
    TextName{"examiner", "e"},
    TextName{"notes", "t"},
    TextName{"model", "md"},
    TextName{"serial_number", "sn"},
    TextName{"device_label", "l"},
    TextName{"acquired", "m"},
    TextName{"system_date", "u"},
    TextName{"operating_system", "ov"},
    TextName{"software_version", "av"},
};

void add_texts(const HeaderValues& values, access::ImageFacts& facts) {
  for (const TextName& text : kTexts) {
    const auto found = values.find(text.key);
    if (found == values.end() || found->second.empty()) continue;
    const std::string_view key = text.key;
    const bool time = key == "m" || key == "u";
    facts.details.emplace_back(std::string(text.name),
                               time ? header_time(found->second) : found->second);
  }
  const auto password = values.find("p");
  const bool has_password =
      password != values.end() && !password->second.empty() && password->second != "0";
  if (has_password) facts.details.emplace_back("has_password", true);
}

void add_volume(const Volume& volume, access::ImageFacts& facts) {
  facts.size = volume.size();
  auto& details = facts.details;
  details.emplace_back("variant", std::string(volume.is_smart ? "SMART" : "E01"));
  details.emplace_back("media_type", std::string(media_type_name(volume.media_type)));
  if (!volume.is_smart) {
    details.emplace_back("is_physical", (volume.media_flags & kPhysicalFlag) != 0);
    details.emplace_back("compression", std::string(compression_name(volume.compression)));
    details.emplace_back("error_granularity", uint64_t{volume.error_sectors} * volume.sector_bytes);
  }
  if (!is_null(volume.set_identifier)) {
    details.emplace_back("set_identifier", uuid_text(volume.set_identifier, UuidOrder::kGuid));
  }
  details.emplace_back("bytes_per_sector", uint64_t{volume.sector_bytes});
  details.emplace_back("chunk_size", volume.chunk_bytes());
}

access::ImageFacts facts_of(const Contents& contents) {
  access::ImageFacts facts;
  add_texts(contents.header, facts);
  if (contents.volume) add_volume(*contents.volume, facts);
  if (!contents.errors.empty()) {
    uint64_t entries = 0;
    for (const ErrorList& list : contents.errors) entries += list.entries;
    facts.details.emplace_back("acquisition_errors", entries);
  }
  if (!contents.md5.empty()) facts.details.emplace_back("md5", contents.md5);
  if (!contents.sha1.empty()) facts.details.emplace_back("sha1", contents.sha1);
  facts.warnings = contents.problems;
  return facts;
}

// That the tables have the chunks that the medium has. Errors: kCorruption when there are more.
Result<void> check_chunks(Contents& contents) {
  const uint64_t wanted = contents.volume->chunks;
  if (contents.chunks == wanted) return {};
  std::string text = fmt::format("'{}': its tables have {} chunks, and the medium {}",
                                 contents.files.front()->name(), contents.chunks, wanted);
  if (contents.chunks > wanted) return broken(text);
  if (!contents.is_cut) {
    text +=
        ": it is not known which are missing, and what comes after them may be in a wrong place";
  }
  contents.missing_chunks = text;
  contents.problems.push_back(std::move(text));
  return {};
}

Result<std::unique_ptr<Contents>> whole_contents(std::shared_ptr<File> file,
                                                 const access::ImageOptions& options) {
  SNAP_ASSIGN(Contents contents, read_contents(std::move(file), options.open_part,
                                               options.what_is_left, options.cancel));
  SNAP_TRY(check_chunks(contents));
  return std::make_unique<Contents>(std::move(contents));
}

}  // namespace

Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel) {
  const std::shared_ptr<File> lent(&file, [](File*) {});
  SNAP_ASSIGN(const Contents contents, read_segment(lent, cancel));
  if (contents.first_number == 1 && !contents.volume) {
    return in_file(broken("it has no section 'volume'"), file);
  }
  access::ImageFacts facts = facts_of(contents);
  facts.details.emplace_back("segment", uint64_t{contents.first_number});
  return facts;
}

Result<access::ImageFacts> read_whole_facts(std::shared_ptr<File> file,
                                            const access::ImageOptions& options) {
  SNAP_ASSIGN(const auto contents, whole_contents(std::move(file), options));
  access::ImageFacts facts = facts_of(*contents);
  facts.details.emplace_back("segments", uint64_t{contents->files.size()});
  facts.corrupt = !contents->missing_chunks.empty() && !options.what_is_left;
  return facts;
}

Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options) {
  SNAP_ASSIGN(auto contents, whole_contents(file, options));
  if (!contents->missing_chunks.empty() && !options.what_is_left) {
    return broken(contents->missing_chunks).with_remedy(Remedy::kIgnoreInvalid);
  }
  // Those of the first segment were among its facts; of what is left, all were.
  const size_t told = options.what_is_left ? contents->problems.size() : contents->first_problems;
  for (size_t i = told; options.warn && i < contents->problems.size(); ++i) {
    options.warn(contents->problems[i]);
  }
  return std::make_unique<EwfImage>(std::move(file), std::move(contents), options.warn);
}

Result<bool> checks_reads(std::shared_ptr<File> file, const access::ImageOptions& options) {
  SNAP_ASSIGN(const auto contents, whole_contents(std::move(file), options));
  return contents->belongs_together;
}

Result<access::SumsFound> check_sums(std::shared_ptr<File> file,
                                     const access::ImageOptions& options, const Job& job) {
  SNAP_ASSIGN(const auto contents, whole_contents(std::move(file), options));
  return check_contents(*contents, job);
}

}  // namespace snaptool::ewf
