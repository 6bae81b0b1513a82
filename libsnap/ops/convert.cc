// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "libsnap/access/output_set.h"
#include "libsnap/access/split_raw.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/copy/copy_image.h"
#include "libsnap/io/content_file.h"
#include "libsnap/ops/check_equal.h"
#include "libsnap/ops/copy_mapped.h"

namespace snaptool::ops {
namespace {

namespace fs = std::filesystem;

using access::Before;
using access::ByteOutput;
using access::Context;
using access::StreamTarget;

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

// A store ends where its origin's last whole sector does: what lies behind that must be the same.
Result<void> check_same_tail(Image& image, Image& base, uint64_t from) {
  std::vector<std::byte> mine(image.size() - from);
  std::vector<std::byte> theirs(mine.size());
  SNAP_TRY(image.read_at(from, mine));
  SNAP_TRY(base.read_at(from, theirs));
  if (mine == theirs) return {};
  return Error(ErrorCode::kUnsupported,
               fmt::format("'{}' and its base differ in their last {} bytes, after the last whole "
                           "sector: a store cannot say that",
                           image.name(), mine.size()));
}

class Conversion {
 public:
  Conversion(const Context& context, const ConvertRequest& request)
      : context_(context),
        request_(request),
        driver_(*request.driver),
        door_(context, request.fill ? access::operations::kFill : access::operations::kOutput) {}

  Result<Converted> run() {
    SNAP_TRY(open());
    if (request_.map) return copy_by_map(*request_.map);
    SNAP_TRY(open_base());
    SNAP_TRY(settle_size());
    SNAP_ASSIGN(converted_.result, make());
    converted_.size = create_.size;
    if (salvage_) {
      converted_.unreadable = salvage_->unreadable();
      converted_.unreadable_bytes = salvage_->unreadable_bytes();
    }
    return std::move(converted_);
  }

 private:
  bool is_raw() const { return driver_.kind == access::ImageKind::kRaw; }
  Image& image() {
    if (padded_) return *padded_;
    return salvage_ ? static_cast<Image&>(*salvage_) : source_.image();
  }

  Result<void> open() {
    create_.settings = request_.settings;
    create_.cancel = &context_.cancel;
    create_.compress = request_.compress;
    create_.sparse = request_.sparse;
    options_.detect_zeros = request_.sparse > 0;
    SNAP_ASSIGN(source_, open_image(door_.opener(), request_.image));
    SNAP_TRY(check_own_sums());
    if (request_.salvage) salvage_ = std::make_unique<SalvageImage>(source_.image());
    return {};
  }

  // Those that the source has of itself, which nobody else looks at.
  Result<void> check_own_sums() {
    const access::FileSpec& spec = request_.image.base;
    const bool whole = request_.image.stores.empty() && spec.is_whole_file();
    if (!whole || request_.salvage || context_.policy.ignore_invalid) return {};
    SNAP_ASSIGN(const auto file, door_.opener().open_path(spec.path(), access::kLook));
    const access::ImageDriver* driver = context_.drivers.find_image(spec.format.value_or(""));
    if (!spec.format) {
      SNAP_ASSIGN(driver, context_.drivers.detect_image(*file));
    }
    if (driver == nullptr || driver->check_sums == nullptr) return {};
    const access::ImageOptions options = door_.opener().options_for(spec.path());
    if (driver->checks_reads != nullptr) {
      SNAP_ASSIGN(const bool sure, driver->checks_reads(file, options));
      if (sure) return {};
    }
    const access::Phase phase(context_, "checking");
    auto checked = driver->check_sums(file, options, phase.job());
    if (checked && !checked->wrong_content.empty()) {
      checked = Error(ErrorCode::kCorruption,
                      fmt::format("'{}': {}", spec.path(), checked->wrong_content));
    }
    if (checked) return {};
    return std::move(checked).error().with_remedy(Remedy::kIgnoreInvalid);
  }

  Result<void> open_base() {
    if (!request_.base) return {};
    const access::FileSpec& spec = request_.base->base;
    const std::string name = access::name_of(*request_.base);
    if (!spec.is_whole_file() || !request_.base->stores.empty() || spec.format == "split") {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("'{}' is not one file, as the base of an image must be", name));
    }
    SNAP_ASSIGN(base_, open_image(door_.opener(), *request_.base));
    const access::ImageDriver* below = context_.drivers.find_image(spec.format.value_or("raw"));
    if (!spec.format) {
      SNAP_ASSIGN(const auto file, door_.opener().open_path(spec.path(), access::kLook));
      SNAP_ASSIGN(below, context_.drivers.detect_image(*file));
    }
    const bool raw_base = below->kind == access::ImageKind::kRaw;
    if (!raw_base && (driver_.has_parents_size || !below->can_be_parent)) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("'{}' comes from {}, which cannot be the base of {}", name,
                               below->name, driver_.name))
          .with_remedy(Remedy::kTakeBaseAsRaw);
    }
    SNAP_TRY(check_base(spec.path(), *below));
    access::ParentRef& parent = create_.parent.emplace();
    parent.name = name_of_base(spec.path(), request_.path);
    parent.format = below->name;
    options_.base = &base_.image();
    return {};
  }

  // That whoever reads the overlay, QEMU above all, finds the same below it.
  Result<void> check_base(const std::string& path, const access::ImageDriver& driver) {
    if (driver.facts == nullptr) return {};
    SNAP_ASSIGN(const auto file, door_.opener().open_path(path, access::kLook));
    SNAP_ASSIGN(const access::ImageFacts facts, driver.facts(*file, context_.cancel));
    if (facts.not_as_qemu.empty()) return {};
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("'{}' cannot be the base of another image: QEMU reads it differently ({})",
                    path, facts.not_as_qemu));
  }

  Result<void> settle_size() {
    const uint64_t size = source_.image().size();
    const uint64_t unit = driver_.size_unit_of != nullptr ? driver_.size_unit_of(create_.settings)
                                                          : driver_.size_unit;
    create_.size = size;
    if (driver_.has_parents_size && options_.base != nullptr && options_.base->size() != size) {
      return Error(
          ErrorCode::kUnsupported,
          fmt::format("'{}' has {} bytes and its base {}: {} cannot say another size than that of "
                      "the base",
                      access::name_of(request_.image), size, options_.base->size(), driver_.name));
    }
    if (size % unit == 0) return {};
    if (driver_.has_parents_size) {
      create_.size = round_down(size, unit);
      if (options_.base != nullptr) {
        SNAP_TRY(check_same_tail(source_.image(), *options_.base, create_.size));
      }
      resize_source();
      return {};
    }
    create_.size = div_round_up(size, unit) * unit;
    resize_source();
    context_.notices.warn(
        fmt::format("the size, {} bytes, is rounded up to {}: {} counts in units "
                    "of {}",
                    size, create_.size, driver_.name, unit));
    return {};
  }

  // The source cut, or with zeros behind its end, also where the base goes on.
  void resize_source() {
    const auto view = std::make_shared<ContentFile>(image(), Access::kRead);
    const uint64_t kept = std::min(view->size(), create_.size);
    std::vector<PartSegment> segments{{kept, {{view, 0}}, 0}, {create_.size - kept, {}, 0}};
    tail_ = std::make_shared<PartFile>(view->name(), std::move(segments));
    padded_ = std::make_unique<RawImage>(*tail_, create_.size);
  }

  Result<ConvertResult> make() {
    if (create_.settings.contains(std::string(driver_.parts_setting))) return make_parts();
    const bool to_pipe = access::StreamTarget::is_named_by(request_.path);
    if (driver_.create == nullptr || (to_pipe && driver_.stream != nullptr)) return make_stream();
    if (to_pipe && !is_raw()) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("{} cannot be written to a pipe: name a file", driver_.name));
    }
    SNAP_ASSIGN(const auto stream,
                StreamTarget::open(request_.path, StreamTarget::Content::kBinary, context_.cancel));
    if (stream) return stream_raw(stream);
    if (!is_raw()) return make_image();
    return request_.fill ? fill() : make_raw();
  }

  Result<ConvertResult> write(access::ImageWriter& writer) {
    const access::Phase phase(context_, "converting", image().size());
    SNAP_ASSIGN(const ConvertResult result, convert_image(image(), writer, options_, phase.job()));
    converted_.sums = writer.sums();
    return result;
  }

  // Whether the new image, whose file is this, is what it was made from.
  Result<void> verify(File& file) {
    if (!request_.verify) return {};
    access::ImageOptions options{context_.cancel};
    // Only lent.
    std::shared_ptr<File> lent(&file, [](File*) {});
    if (is_raw()) {
      lent = std::make_shared<PartFile>(
          file.name(), std::vector<PartSegment>{{create_.size, {{std::move(lent), 0}}, 0}});
    }
    if (options_.base != nullptr) {
      options.parent = std::shared_ptr<Image>(options_.base, [](Image*) {});
    }
    SNAP_ASSIGN(const auto made, driver_.open(std::move(lent), options));
    return check_equal(context_, image(), *made, "the new image", "its source");
  }

  // A new image that is in its file, other than raw.
  Result<ConvertResult> make_image() {
    SNAP_ASSIGN(const auto output, door_.make_file(request_.path, 0));
    create_.before = output->starts_zeroed() ? Before::kZeros : Before::kUnknown;
    SNAP_ASSIGN(const auto writer, driver_.create(output->file(), create_));
    if (create_.before == Before::kUnknown) SNAP_TRY(access::forget_old_image(output->file()));
    SNAP_ASSIGN(ConvertResult result, write(*writer));
    SNAP_TRY(verify(output->file()));
    SNAP_TRY(output->commit(request_.durable));
    return result;
  }

  // A raw image as a new file, or on a device.
  Result<ConvertResult> make_raw() {
    SNAP_ASSIGN(const auto output, door_.resume_file(request_.path, create_.size));
    if (output->is_resumed()) {
      context_.notices.warn(
          fmt::format("'{}' exists: the conversion continues from it", output->temporary_name()));
    }
    create_.before = output->is_resumed()      ? Before::kPartly
                     : output->starts_zeroed() ? Before::kZeros
                                               : Before::kUnknown;
    SNAP_ASSIGN(const auto writer, driver_.create(output->file(), create_));
    auto result = write(*writer);
    if (!result) return keep_partial(std::move(result).error(), *output);
    SNAP_TRY(verify(output->file()));
    SNAP_TRY(output->commit(request_.durable));
    return result;
  }

  static Error keep_partial(Error error, OutputFile& output) {
    if (output.temporary_name().empty()) return error;
    const ErrorCode code = error.code();
    if (code == ErrorCode::kInterrupted || code == ErrorCode::kNoSpace || output.is_resumed()) {
      return std::move(error).with_note(fmt::format(
          "'{}' is kept, and the same command continues from it", output.temporary_name()));
    }
    output.do_not_keep();
    return error;
  }

  Result<access::Target> open_to_fill() {
    access::FileSpec spec(request_.path);
    if (context_.policy.force) spec.format = "raw";
    SNAP_ASSIGN(access::Target target, door_.open_file(spec, {}, {}));
    SNAP_TRY(check_fits(target.file()));
    return target;
  }

  Result<void> check_fits(const File& file) const {
    if (file.size() >= create_.size) return {};
    return Error(ErrorCode::kNoSpace, fmt::format("'{}' has {} bytes, but {} are needed",
                                                  request_.path, file.size(), create_.size));
  }

  // The source's mapped ranges, whose sums are looked at before the first is written.
  Result<Converted> copy_by_map(const BlockMap& map) {
    create_.size = map.image_size;
    converted_.size = map.image_size;
    converted_.result.data_bytes = map.mapped_bytes();
    {
      const access::Phase phase(context_, "checking", map.mapped_bytes());
      SNAP_TRY(check_mapped(source_.image(), map, phase.job()));
    }
    SNAP_TRY(request_.fill ? fill_by_map(map) : make_by_map(map));
    return std::move(converted_);
  }

  Result<void> write_mapped(const BlockMap& map, File& file) {
    const access::Phase phase(context_, "copying", map.mapped_bytes());
    return copy_mapped(source_.image(), map, file, phase.job());
  }

  Result<void> fill_by_map(const BlockMap& map) {
    SNAP_ASSIGN(const access::Target target, open_to_fill());
    SNAP_TRY(write_mapped(map, target.file()));
    return request_.durable ? target.file().flush() : Result<void>();
  }

  Result<void> make_by_map(const BlockMap& map) {
    SNAP_ASSIGN(const auto output, door_.make_file(request_.path, 0));
    if (output->starts_zeroed()) SNAP_TRY(output->file().resize(map.image_size));
    SNAP_TRY(check_fits(output->file()));
    SNAP_TRY(write_mapped(map, output->file()));
    return output->commit(request_.durable);
  }

  // Into a file or device that is there.
  Result<ConvertResult> fill() {
    SNAP_ASSIGN(const access::Target target, open_to_fill());
    File& file = target.file();
    create_.before = Before::kUnknown;
    SNAP_ASSIGN(const auto writer, driver_.create(file, create_));
    SNAP_ASSIGN(ConvertResult result, write(*writer));
    if (request_.durable) SNAP_TRY(file.flush());
    SNAP_TRY(verify(file));
    return result;
  }

  Result<void> check_stream() const {
    if (!request_.verify) return {};
    return Error(ErrorCode::kInvalidArgument, "a pipe cannot be read back, to be verified");
  }

  // A format that is written front to back, into a file or a pipe.
  Result<ConvertResult> make_stream() {
    // What is wrong with the settings is told before a pipe waits for its reader.
    std::optional<ByteOutput> output;
    const ByteSink sink = [&](std::span<const std::byte> bytes) { return output->write(bytes); };
    SNAP_ASSIGN(const auto writer, driver_.stream(sink, create_));
    if (driver_.has_parts != nullptr && driver_.part_name != nullptr) {
      SNAP_TRY(access::OutputSet::check_alone(request_.path, driver_.part_name));
    }
    SNAP_ASSIGN(auto opened,
                ByteOutput::open(door_, request_.path, StreamTarget::Content::kBinary));
    output.emplace(std::move(opened));
    converted_.streamed = !output->is_file();
    if (converted_.streamed) SNAP_TRY(check_stream());
    SNAP_ASSIGN(ConvertResult result, write(*writer));
    SNAP_ASSIGN(File* const file, output->written());
    if (file != nullptr) SNAP_TRY(verify(*file));
    SNAP_TRY(output->commit(request_.durable));
    return result;
  }

  // As several files.
  Result<ConvertResult> make_parts() {
    if (request_.fill) {
      return Error(ErrorCode::kInvalidArgument, "-n: what is there is not filled in parts");
    }
    access::OutputSet output(door_, request_.path, driver_.part_name);
    SNAP_ASSIGN(const auto writer, driver_.stream_parts(output.sink(), create_));
    SNAP_TRY(output.check());
    SNAP_ASSIGN(ConvertResult result, write(*writer));
    SNAP_TRY(output.finish());
    SNAP_TRY(verify_parts(output));
    SNAP_TRY(output.commit(request_.durable));
    return result;
  }

  // The same as verify.
  Result<void> verify_parts(const access::OutputSet& output) {
    if (!request_.verify) return {};
    std::vector<std::shared_ptr<File>> parts;
    for (File* const file : output.files()) parts.emplace_back(file, [](File*) {});
    access::ImageOptions options{context_.cancel};
    options.open_part = [&](const std::string& name) -> Result<std::shared_ptr<File>> {
      const auto found = std::find_if(parts.begin(), parts.end(), [&](const auto& part) {
        return fs::path(part->name()).filename() == name;
      });
      if (found != parts.end()) return *found;
      return Error(ErrorCode::kNotFound, fmt::format("'{}' was not made", name));
    };
    std::shared_ptr<File> whole = parts.front();
    if (is_raw()) {
      SNAP_ASSIGN(whole, access::join_split_raw(std::move(parts)));
    }
    SNAP_ASSIGN(const auto made, driver_.open(std::move(whole), options));
    return check_equal(context_, image(), *made, "the new image", "its source");
  }

  // All bytes of a raw image, holes as zeros.
  Result<ConvertResult> stream_raw(const StreamTarget& stream) {
    converted_.streamed = true;
    SNAP_TRY(check_stream());
    const access::Phase phase(context_, "converting", image().size());
    const auto sink = [&](std::span<const std::byte> bytes) {
      return access::write_all(stream.fd(), bytes, context_.cancel);
    };
    SNAP_TRY(stream_image(image(), 0, image().size(), sink, phase.job()));
    return ConvertResult();  // nobody is told
  }

  const Context context_;
  const ConvertRequest& request_;
  const access::ImageDriver& driver_;
  access::Door door_;
  access::OpenImage source_;
  std::unique_ptr<SalvageImage> salvage_;
  std::shared_ptr<File> tail_;     // with zeros behind it, up to a size that can be told
  std::unique_ptr<Image> padded_;  // the same
  access::OpenImage base_;
  access::CreateOptions create_;
  ConvertOptions options_;
  Converted converted_;
};

}  // namespace

Result<Converted> convert(const Context& context, const ConvertRequest& request) {
  return Conversion(context, request).run();
}

}  // namespace snaptool::ops
