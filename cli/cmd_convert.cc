// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <filesystem>

#include "cli/byte_output.h"
#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/stdio.h"
#include "formats/raw/raw_writer.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/copy/copy_image.h"
#include "libsnap/diff/compare.h"
#include "libsnap/io/image_file.h"
#include "libsnap/io/output_file.h"
#include "libsnap/io/part_file.h"
#include "libsnap/io/salvage_image.h"
#include "libsnap/io/storage.h"
#include "libsnap/ops/convert_image.h"

namespace snaptool::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kDefaultSparse = 4 * kKiB;
constexpr uint64_t kMostSparse = 64 * kMiB;

Error bad(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

// What is asked for, and what it is made from.
struct Task {
  const access::ImageDriver* driver = nullptr;
  std::string path;
  uint64_t sparse = kDefaultSparse;
  bool durable = true;
  access::OpenImage source;
  std::unique_ptr<SalvageImage> salvage;
  std::shared_ptr<File> tail;     // with zeros behind it, up to a size that can be told
  std::unique_ptr<Image> padded;  // the same
  access::OpenImage base;         // no layers: there is none
  bool streamed = false;          // OUT is a pipe, or standard output
  access::CreateOptions create;
  ops::ConvertOptions convert;

  bool is_raw() const { return driver->kind == access::ImageKind::kRaw; }
  // What is converted.
  Image& image() {
    if (padded) return *padded;
    return salvage ? static_cast<Image&>(*salvage) : source.image();
  }
  Image* base_image() { return base.layers.empty() ? nullptr : &base.image(); }
  std::vector<const File*> inputs() const {
    std::vector<const File*> files;
    for (const access::OpenImage* open : {&source, &base}) {
      for (const auto& file : open->opened) files.push_back(file.get());
    }
    return files;
  }
};

Result<std::map<std::string, std::string>> settings_of(const Invocation& invocation,
                                                       const access::ImageDriver& driver) {
  std::map<std::string, std::string> settings;
  for (const std::string& text : invocation.values("option")) {
    const size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    std::string known;
    bool found = false;
    for (const access::ImageSetting& setting : driver.settings) {
      known += fmt::format("{}{}", known.empty() ? "" : ", ", setting.name);
      found = found || setting.name == name;
    }
    if (!found) {
      return bad(fmt::format("--option {}: {} has {}", text, driver.name,
                             known.empty() ? "none" : "only: " + known));
    }
    if (equals == std::string::npos)
      return bad(fmt::format("--option {}: {}=VALUE is wanted", text, name));
    settings[name] = text.substr(equals + 1);
  }
  return settings;
}

// What goes with what.
Result<void> check_options(const Invocation& invocation, const Task& task) {
  const bool raw = task.is_raw();
  if (raw && (invocation.has("compress") || invocation.has("base"))) {
    return bad("a raw image is neither compressed nor over a base: -O says what to make");
  }
  if (!raw && (invocation.has("no-create") || invocation.has("sparse"))) {
    return bad("-n and -S are for raw images; the others are made anew, of clusters");
  }
  if (!raw && task.driver->create == nullptr && invocation.has("base")) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("{} has no base within a file: 'snaptool export' writes what differs "
                             "from one",
                             task.driver->name));
  }
  if (!raw && !task.driver->can_compress && invocation.has("compress")) {
    return bad(fmt::format("{} has no compression", task.driver->name));
  }
  if (invocation.has("verify") && invocation.has("salvage")) {
    return bad(
        "--salvage makes an image that differs from its source: --verify does not go with it");
  }
  return {};
}

Result<uint64_t> sparse_of(const Invocation& invocation) {
  SNAP_ASSIGN(const auto given, invocation.size_value("sparse"));
  const uint64_t sparse = given.value_or(kDefaultSparse);
  if (sparse != 0 &&
      (!std::has_single_bit(sparse) || sparse < kSectorSize || sparse > kMostSparse)) {
    return bad(fmt::format("--sparse {}: 0 or a power of 2 from 512 to 64M is wanted", sparse));
  }
  return sparse;
}

// The base as the new image names it: relative to the folder of that.
std::string name_of_base(const std::string& base, const std::string& path) {
  std::error_code failed;
  const fs::path there = fs::weakly_canonical(base, failed);
  if (failed || fs::path(base).is_absolute()) return base;
  const fs::path folder = fs::weakly_canonical(fs::absolute(path).parent_path(), failed);
  if (failed) return base;
  const std::string name = there.lexically_proximate(folder).string();
  // QEMU would take what is before a colon for a protocol.
  return name.find(':') < name.find('/') ? "./" + name : name;
}

Result<void> open_base(const Invocation& invocation, Task& task) {
  const auto base = invocation.value("base");
  if (!base) return {};
  SNAP_ASSIGN(const access::ImageSpec spec, image_named(invocation, *base, "second-format"));
  if (!spec.base.is_whole_file() || !spec.stores.empty() || spec.base.format == "split") {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is not one file, as the base of an image must be", *base));
  }
  SNAP_ASSIGN(task.base, access::open_image(invocation.access(), spec));
  const access::Drivers& drivers = invocation.access().drivers;
  const access::ImageDriver* below = drivers.find_image(spec.base.format.value_or("raw"));
  if (!spec.base.format) {
    SNAP_ASSIGN(below, drivers.detect_image(*task.base.opened.front()));
  }
  const std::string format(below->name);
  const bool is_raw = below->kind == access::ImageKind::kRaw;
  if (!is_raw && (task.driver->has_parents_size || !below->can_be_parent)) {
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("'{}' is of {}, which cannot be the base of {} (-F raw takes its bytes)", *base,
                    format, task.driver->name));
  }
  task.create.parent = access::ParentRef{name_of_base(spec.base.path(), task.path), format};
  task.convert.base = &task.base.image();
  return {};
}

// The source cut, or with zeros behind its end, also where the base goes on.
void resize_source(Task& task) {
  const auto view = std::make_shared<ImageFile>(task.image(), true);
  const uint64_t kept = std::min(view->size(), task.create.size);
  std::vector<PartSegment> segments{{kept, {{view, 0}}, 0}, {task.create.size - kept, {}, 0}};
  task.tail = std::make_shared<PartFile>(view->name(), std::move(segments));
  task.padded = std::make_unique<RawImage>(*task.tail, task.create.size);
}

// A store ends where its origin's last whole sector does: what lies behind that must be the same.
Result<void> check_same_tail(Image& image, Image& base, uint64_t from) {
  std::vector<std::byte> mine(image.size() - from);
  std::vector<std::byte> theirs(mine.size());
  SNAP_TRY(image.read_at(from, mine));
  SNAP_TRY(base.read_at(from, theirs));
  if (mine == theirs) return {};
  return Error(ErrorCode::kUnsupported,
               fmt::format("'{}' and its base differ in their last {} bytes, behind the last whole "
                           "sector: a store cannot say that",
                           image.name(), mine.size()));
}

Result<Task> task_of(const Invocation& invocation) {
  Task task;
  task.path = invocation.operands()[1];
  task.driver =
      invocation.access().drivers.find_image(invocation.value("output-format").value_or("raw"));
  SNAP_TRY(check_options(invocation, task));
  SNAP_ASSIGN(task.create.settings, settings_of(invocation, *task.driver));
  SNAP_ASSIGN(task.sparse, sparse_of(invocation));
  task.durable = invocation.value("cache") != "unsafe";
  task.convert.detect_zeros = task.sparse > 0;
  task.create.compress = invocation.has("compress");
  SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
  SNAP_ASSIGN(task.source, access::open_image(invocation.access(), spec));
  if (invocation.has("salvage")) {
    task.salvage = std::make_unique<SalvageImage>(task.source.image());
  }
  SNAP_TRY(open_base(invocation, task));
  const uint64_t size = task.source.image().size();
  task.create.size = size;
  if (task.driver->has_parents_size && task.base_image() != nullptr &&
      task.base_image()->size() != size) {
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("'{}' has {} bytes and its base {}: {} cannot say another size than "
                    "that of the base",
                    invocation.operands()[0], size, task.base_image()->size(), task.driver->name));
  }
  if (size % task.driver->size_unit == 0) return task;
  if (task.driver->has_parents_size) {
    task.create.size = round_down(size, task.driver->size_unit);
    SNAP_TRY(check_same_tail(task.source.image(), *task.base_image(), task.create.size));
    resize_source(task);
    return task;
  }
  task.create.size = div_round_up(size, task.driver->size_unit) * task.driver->size_unit;
  resize_source(task);
  invocation.warn(fmt::format("the size, {} bytes, is rounded up to {}: {} counts in units of {}",
                              size, task.create.size, task.driver->name, task.driver->size_unit));
  return task;
}

// Whether the new image, whose file is this, is what it was made from. Errors: kCorruption.
Result<void> verify(const Invocation& invocation, Task& task, File& file) {
  // Only lent.
  std::shared_ptr<File> lent(&file, [](File*) {});
  std::unique_ptr<Image> image;
  if (task.is_raw()) {
    image = std::make_unique<RawImage>(file, task.create.size);
  } else {
    access::ImageOptions options{invocation.cancel()};
    if (Image* const base = task.base_image()) {
      options.parent = std::shared_ptr<Image>(base, [](Image*) {});
    }
    SNAP_ASSIGN(image, task.driver->open(std::move(lent), options));
  }
  Progress progress;
  progress.set_size(image->size());
  const ProgressReporter reporter("verifying", invocation.progress_style(), progress);
  const auto differs = [](const Difference& difference) -> Result<void> {
    return Error(
        ErrorCode::kCorruption,
        fmt::format("the new image differs from its source at byte {}", difference.offset));
  };
  // What file systems say of holes is not believed, nor that two files share their blocks.
  UnmappedImage source(task.image());
  UnmappedImage made(*image);
  SNAP_TRY(compare_images(source, made, {}, differs, invocation.job(progress)));
  return {};
}

Result<ops::ConvertResult> write_image(const Invocation& invocation, Task& task,
                                       access::ImageWriter& writer) {
  Progress progress;
  progress.set_size(task.image().size());
  const ProgressReporter reporter("converting", invocation.progress_style(), progress);
  return ops::convert_image(task.image(), writer, task.convert, invocation.job(progress));
}

// A new image of a format of the table.
Result<ops::ConvertResult> make_format(const Invocation& invocation, Task& task) {
  SNAP_ASSIGN(const auto output,
              OutputFile::create(task.path, 0, task.inputs(), invocation.has("force")));
  task.create.in_place = !output->starts_zeroed();
  SNAP_ASSIGN(const auto writer, task.driver->create(output->file(), task.create));
  SNAP_ASSIGN(ops::ConvertResult result, write_image(invocation, task, *writer));
  if (invocation.has("verify")) SNAP_TRY(verify(invocation, task, output->file()));
  SNAP_TRY(output->commit(task.durable));
  return result;
}

std::unique_ptr<access::ImageWriter> raw_writer(const Task& task, File& file, raw::Before before) {
  return task.sparse > 0 ? raw::make_writer(file, before, raw::Zeros::kHoles, task.sparse)
                         : raw::make_writer(file, before, raw::Zeros::kAllocated, kDefaultSparse);
}

// A raw image as a new file, or on a device.
Result<ops::ConvertResult> make_raw(const Invocation& invocation, Task& task) {
  SNAP_ASSIGN(const auto output, OutputFile::resume(task.path, task.create.size, task.inputs(),
                                                    invocation.has("force")));
  if (output->is_resumed()) {
    invocation.warn(fmt::format("'{}' is there: it is gone on with", output->temporary_name()));
  }
  const auto before = output->is_resumed()      ? raw::Before::kPartly
                      : output->starts_zeroed() ? raw::Before::kZeros
                                                : raw::Before::kUnknown;
  const auto writer = raw_writer(task, output->file(), before);
  auto result = write_image(invocation, task, *writer);
  if (!result) {
    const ErrorCode code = result.error().code();
    if (output->temporary_name().empty()) return result;
    if (code == ErrorCode::kInterrupted || code == ErrorCode::kNoSpace || output->is_resumed()) {
      return std::move(result).error().with_note(fmt::format(
          "'{}' is kept, and the same command goes on with it", output->temporary_name()));
    }
    output->do_not_keep();
    return result;
  }
  if (invocation.has("verify")) SNAP_TRY(verify(invocation, task, output->file()));
  SNAP_TRY(output->commit(task.durable));
  return result;
}

// Into a file or device that is there, -n.
Result<ops::ConvertResult> fill_raw(const Invocation& invocation, Task& task) {
  // Looked at first: two names of one file would lock each other out.
  SNAP_ASSIGN(const auto look, PosixFile::open(task.path, {Access::kRead, true}));
  for (const File* input : task.inputs()) {
    if (share_storage(*look, *input)) {
      return bad(fmt::format("'{}' is an input: it cannot be the output, too", task.path));
    }
  }
  access::FileSpec target(task.path);
  if (invocation.has("force")) target.format = "raw";
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const auto file, opener.open(target, {.access = Access::kReadWrite}));
  if (file->size() < task.create.size) {
    return Error(ErrorCode::kNoSpace, fmt::format("'{}' has {} bytes, but {} are needed", task.path,
                                                  file->size(), task.create.size));
  }
  const auto writer = raw_writer(task, *file, raw::Before::kUnknown);
  SNAP_ASSIGN(ops::ConvertResult result, write_image(invocation, task, *writer));
  if (task.durable) SNAP_TRY(file->flush());
  if (invocation.has("verify")) SNAP_TRY(verify(invocation, task, *file));
  return result;
}

Result<void> check_stream(const Invocation& invocation) {
  return invocation.has("verify") ? bad("--verify: a pipe cannot be read back") : Result<void>();
}

// A format that is written front to back, into a file or a pipe.
Result<ops::ConvertResult> make_stream(const Invocation& invocation, Task& task) {
  // What is wrong with the settings is told before a pipe waits for its reader.
  std::optional<ByteOutput> output;
  const ByteSink sink = [&](std::span<const std::byte> bytes) { return output->write(bytes); };
  SNAP_ASSIGN(const auto writer, task.driver->stream(sink, task.create));
  SNAP_ASSIGN(auto opened, ByteOutput::open(task.path, StreamTarget::Content::kBinary,
                                            task.inputs(), invocation.has("force")));
  output.emplace(std::move(opened));
  task.streamed = !output->is_file();
  if (task.streamed) SNAP_TRY(check_stream(invocation));
  SNAP_ASSIGN(ops::ConvertResult result, write_image(invocation, task, *writer));
  if (invocation.has("verify")) {
    SNAP_ASSIGN(File* const file, output->written());
    SNAP_TRY(verify(invocation, task, *file));
  }
  SNAP_TRY(output->commit(task.durable));
  return result;
}

// All bytes of a raw image, holes as zeros.
Result<ops::ConvertResult> stream_raw(const Invocation& invocation, Task& task,
                                      const StreamTarget& stream) {
  task.streamed = true;
  SNAP_TRY(check_stream(invocation));
  Image& image = task.image();
  Progress progress;
  progress.set_size(image.size());
  const ProgressReporter reporter("converting", invocation.progress_style(), progress);
  SNAP_TRY(stream_image(
      image, 0, image.size(),
      [&](std::span<const std::byte> bytes) { return write_all(stream.fd(), bytes); },
      invocation.job(progress)));
  return ops::ConvertResult();  // nobody is told
}

Result<ops::ConvertResult> convert(const Invocation& invocation, Task& task) {
  if (task.driver->stream != nullptr) {
    return make_stream(invocation, task);
  }
  SNAP_ASSIGN(const auto stream, StreamTarget::open(task.path, StreamTarget::Content::kBinary));
  if (stream && !task.is_raw()) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("{} cannot be written to a pipe: name a file", task.driver->name));
  }
  if (stream) return stream_raw(invocation, task, stream);
  if (!task.is_raw()) return make_format(invocation, task);
  return invocation.has("no-create") ? fill_raw(invocation, task) : make_raw(invocation, task);
}

Result<int> report(const Invocation& invocation, const Task& task,
                   const ops::ConvertResult& result) {
  const uint64_t lost = task.salvage ? task.salvage->unreadable_bytes() : 0;
  for (const ByteRange& range :
       task.salvage ? task.salvage->unreadable() : std::vector<ByteRange>()) {
    invocation.warn(fmt::format("{} bytes at byte {} could not be read: there are zeros",
                                range.length, range.offset));
  }
  const int status = lost > 0 ? kExitDamagedInput : kExitDone;
  if (task.streamed) return status;  // standard output may be the image itself
  const Json json = {{"format_version", 1},
                     {"filename", task.path},
                     {"format", task.driver->name},
                     {"virtual_size", task.create.size},
                     {"data_bytes", result.data_bytes},
                     {"zero_bytes", result.zero_bytes},
                     {"unreadable_bytes", lost}};
  const std::string text = fmt::format(
      "{}: {} of data{}\n", printable(task.path), format_size(result.data_bytes),
      lost > 0 ? fmt::format(", and {} that could not be read", format_size(lost)) : "");
  SNAP_TRY(invocation.report(invocation.json() ? json.text() : text));
  return status;
}

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(Task task, task_of(invocation));
  SNAP_TRY(access::check_output_name(task.path));
  SNAP_ASSIGN(const ops::ConvertResult result, convert(invocation, task));
  return report(invocation, task, result);
}

}  // namespace

CommandSpec convert_command() {
  CommandSpec command;
  command.name = "convert";
  command.operands = "IMAGE OUT";
  command.min_operands = command.max_operands = 2;
  command.summary = "make an image of another format";
  command.description =
      "Writes the content of IMAGE to OUT, in the format that -O names. Zeros become holes. With "
      "--base, OUT is an overlay: it has only what differs from IMAGE0, and names that as its "
      "backing file. 'snaptool convert ORIGIN@COW OUT -O qcow2 --base ORIGIN' makes one of a "
      "snapshot.\n\n"
      "A new raw image is written as OUT.partial first: if that is interrupted, the same command "
      "goes on with it. Other formats appear whole or not at all.";
  command.options = {
      {'O',
       "output-format",
       OptionKind::kValue,
       "FMT",
       "raw (the default), qcow2, rbd (Ceph's whole images), or dm-snapshot: a store over the "
       "image that --base names",
       ValueHint::kChoices,
       {"raw", "qcow2", "rbd", "dm-snapshot"}},
      {0,
       "option",
       OptionKind::kValue,
       "NAME=VALUE",
       "a setting of the format (see snaptool-convert(1))",
       ValueHint::kNone,
       {},
       true},
      {'c',
       "compress",
       OptionKind::kFlag,
       "",
       "compress each cluster, with zstd unless compression_type says otherwise",
       ValueHint::kNone,
       {}},
      {0,
       "base",
       OptionKind::kValue,
       "IMAGE0",
       "only what differs from IMAGE0, as an overlay of it",
       ValueHint::kFile,
       {}},
      {'S',
       "sparse",
       OptionKind::kValue,
       "SIZE",
       "-O raw: SIZE bytes of zeros become a hole (default: 4k); 0: none do",
       ValueHint::kNone,
       {}},
      {'n',
       "no-create",
       OptionKind::kFlag,
       "",
       "-O raw: write into OUT, which is there",
       ValueHint::kNone,
       {}},
      {'t',
       "cache",
       OptionKind::kValue,
       "MODE",
       "writeback (the default: OUT is durable when the command is done) or unsafe",
       ValueHint::kChoices,
       {"writeback", "unsafe"}},
      {0,
       "salvage",
       OptionKind::kFlag,
       "",
       "go on where IMAGE cannot be read: there will be zeros, and exit status 65",
       ValueHint::kNone,
       {}},
      {0,
       "verify",
       OptionKind::kFlag,
       "",
       "read OUT back and compare it before it gets its name",
       ValueHint::kNone,
       {}},
      {0, "force", OptionKind::kFlag, "", "replace OUT if it exists", ValueHint::kNone, {}}};
  command.shared = "fFLPIUjpOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
