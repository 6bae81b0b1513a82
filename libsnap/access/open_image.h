// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libsnap/access/opener.h"
#include "libsnap/io/image.h"

namespace snaptool::access {

// An image with all that it stands on.
struct OpenImage {
  std::vector<std::shared_ptr<File>> files;    // base, then stores
  std::vector<std::unique_ptr<Image>> layers;  // base, then views; the last is the image
  std::vector<std::shared_ptr<File>> parts;    // of the view, with the view as a file first
  Image& image() { return *layers.back(); }
};

// A view ends at the origin's last whole sector, its file may not: the bytes behind it are part of
// the image, as they are of the origin's.
enum class Tail {
  kKeep,    // added, as a topmost layer
  kIgnore,  // the caller cares for them
};

// Opens it for reading, as Policy says. Warns of what looks like a mistake but need not be one.
// Errors: those of Opener and SnapshotImage::open; kInvalidArgument when one file is named twice,
// or a lone store is named as if it were an image.
Result<OpenImage> open_image(Opener& opener, const ImageSpec& spec, Tail tail = Tail::kKeep);

// A view over so many stores with what lies behind it in the origin's file, at the depth of the
// origin; nullptr: nothing does. Requires: `view`
// outlives it.
std::unique_ptr<Image> with_tail(const std::shared_ptr<File>& origin, Image& view, int stores);

// The same, but the base is raw whatever its magic, as an ORIGIN is.
Result<OpenImage> open_layers(Opener& opener, const ImageSpec& spec);

// A view of which only the exceptions matter: those of `cow`, over the base of `image`. Errors:
// those of cow_named and open_layers.
Result<OpenImage> open_changes(Opener& opener, const ImageSpec& image, const std::string& cow);

// An origin and its COW, to be looked at. Requires: spec has one store. Errors: those of
// check_origin_and_cow and Opener.
struct OpenPair {
  std::shared_ptr<File> origin;
  std::shared_ptr<File> cow;
};
Result<OpenPair> open_pair(Opener& opener, const ImageSpec& spec);

// Whether the file begins with the magic of a store.
Result<bool> looks_like_store(File& file);
// Warns when a file that is taken as a plain disk begins with the magic of a format: a guest may
// have put it there, or it is a mistake. Errors: kIo.
Result<void> warn_of_magic(const Context& context, const FileSpec& spec, File& file);
// Errors: kInvalidArgument when a write to one of them may change the other.
Result<void> check_apart(File& a, File& b);
// Errors: kInvalidArgument when both are one file, or the origin is a store and the COW is not
// (swapped operands). `spec` is the origin's.
Result<void> check_origin_and_cow(const Context& context, const FileSpec& spec, File& origin,
                                  File& cow);

}  // namespace snaptool::access
