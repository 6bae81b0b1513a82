// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "libsnap/access/context.h"
#include "libsnap/access/spec.h"

namespace snaptool::access {

// Names as a user gives them. All of these only look: nobody is kept out, and nobody keeps them
// out. Errors of all: those of parse_image_spec and Opener.

// Puts what the metadata of volume groups say into the names: a snapshot becomes the view of its
// COW over its origin. Errors: kInvalidArgument when a COW of a group goes with another origin than
// its own.
Result<ImageSpec> resolve(const Context& context, ImageSpec spec);

// An image that is read: of `format`, or else what its magic says.
Result<ImageSpec> image_named(const Context& context, const std::string& text,
                              const std::optional<std::string>& format, bool is_main);
// An image that is written to, or looked at as one: the bytes of its file, unless `format` says
// otherwise.
Result<ImageSpec> target_named(const Context& context, const std::string& text,
                               const std::optional<std::string>& format);
// ORIGIN COW as two names, or ORIGIN@COW as one. Errors: kInvalidArgument without a COW.
Result<ImageSpec> origin_and_cow_named(const Context& context,
                                       const std::vector<std::string>& names,
                                       const std::optional<std::string>& format);
// A COW and nothing else; of a snapshot in a volume group, its name will do. Errors:
// kInvalidArgument for a view.
Result<FileSpec> cow_named(const Context& context, const std::string& text);

// The other snapshots that its group has of a volume, and that show something: what a change to it
// breaks. Nothing when it is no volume.
Result<std::vector<std::string>> siblings_of(const Context& context, const FileSpec& origin,
                                             const std::vector<FileSpec>& known);
// Errors: kInvalidArgument when there are any, unless Policy::force.
Result<void> check_siblings(const Context& context, const FileSpec& origin,
                            const std::vector<FileSpec>& known);

}  // namespace snaptool::access
