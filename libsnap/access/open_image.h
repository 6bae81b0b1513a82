// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libsnap/access/opener.h"
#include "libsnap/io/image.h"
#include "libsnap/snap/snapshot.h"

namespace snaptool::access {

// An image with all that it stands on.
struct OpenImage {
  std::vector<std::shared_ptr<File>> files;    // base, then stores
  std::vector<std::unique_ptr<Image>> layers;  // base, then views; the last is the image
  std::vector<std::shared_ptr<File>> parts;    // of the view, with the view as a file first
  std::vector<std::shared_ptr<File>> opened;   // every file on the machine that was opened for it
  Image& image() { return *layers.back(); }
};

// A view ends at the origin's last whole sector, its file may not: the bytes behind it are part of
// the image, as they are of the origin's.
enum class Tail {
  kKeep,    // added, as a topmost layer
  kIgnore,  // the caller cares for them
};

// Opens it for reading, as Policy says. Warns of what looks like
// a mistake but need not be one. Errors: those of Opener and SnapshotImage::open; kInvalidArgument
// when one file is named twice, or a lone store is named as if it were an image.
Result<OpenImage> open_image(const Context& context, const ImageSpec& spec,
                             Tail tail = Tail::kKeep);

// The same, but the base is raw whatever its magic, as an ORIGIN is.
Result<OpenImage> open_layers(const Context& context, const ImageSpec& spec);
Result<OpenImage> open_layers(const Context& context, Opener& opener, const ImageSpec& spec);

// A view of which only the exceptions matter: those of `cow`, over the base of `image`. Errors:
// those of cow_named and open_layers.
Result<OpenImage> open_changes(const Context& context, const ImageSpec& image,
                               const std::string& cow);

// Whether the file begins with the magic of a store.
Result<bool> looks_like_store(File& file);
// Warns when a file that is taken as a plain disk begins with the magic of a format: a guest may
// have put it there, or it is a mistake. Errors: kIo.
Result<void> warn_of_magic(const Context& context, const FileSpec& spec, File& file);
// Errors: kInvalidArgument when both are one file, or ORIGIN is a store and COW is not (swapped
// operands). `spec` is the origin's.
Result<void> check_origin_and_cow(const Context& context, const FileSpec& spec, File& origin,
                                  File& cow);

// A pair that is worked on in place.
struct OpenPair {
  std::shared_ptr<File> origin;
  std::shared_ptr<File> cow;
};
// Opens both, checked and locked. Requires: spec has one store. Errors: those of
// check_origin_and_cow and Opener.
Result<OpenPair> open_pair(const Context& context, const ImageSpec& spec, Access access);
// The same; `opener` will open more that goes with them.
Result<OpenPair> open_pair(const Context& context, Opener& opener, const ImageSpec& spec,
                           Access access);

// An image whose topmost layer is written to: a raw file, or a store over what is only read.
struct OpenTarget {
  OpenImage below;             // files and layers under the topmost one; none under a raw file
  std::shared_ptr<File> file;  // the topmost: the raw file, or the COW
  std::unique_ptr<Image> top;
  // What the topmost is, if it is a view.
  Snapshot* snapshot() const { return dynamic_cast<Snapshot*>(top.get()); }
  // Every file that is open.
  std::vector<File*> files() const;
};
// With Access::kRead it is only looked at. `opener` has files that go with it open already, or
// will. Errors: those of open_image, Opener and Snapshot::open.
Result<OpenTarget> open_target(const Context& context, Opener& opener, const ImageSpec& spec,
                               const SnapshotOptions& options, Access access = Access::kReadWrite);

// Opens a COW, checked against the files that it goes with (the origin, which is `base`, first).
Result<std::shared_ptr<File>> open_cow(const Context& context, Opener& opener, const FileSpec& base,
                                       const FileSpec& spec, const std::vector<File*>& others,
                                       Access access = Access::kReadWrite);

// A COW that is to be made anew: a file of that name that is there, or a part of one; nothing where
// it is yet to be made. Errors: those of parsing; kInvalidArgument for a view.
Result<std::optional<FileSpec>> existing_cow(const std::string& operand);
// What a file that is there holds must not be somebody's content. Errors: kInvalidArgument when it
// is a store or does not begin with zeros; kIo.
Result<void> check_has_no_content(File& cow);

// The undo file of a merge of the pair; nothing when it is not there. Errors: kInvalidArgument when
// it is one of the pair or no regular file; those of PosixFile::open.
Result<std::unique_ptr<PosixFile>> find_undo_file(const std::string& path, const OpenPair& pair,
                                                  Access access);

}  // namespace snaptool::access
