// SPDX-License-Identifier: Apache-2.0
#include "cli/support/input_stream.h"

#include <ios>

namespace snaptool::cli {

Result<InputStream> InputStream::open(const std::string& path) {
  DataSource::Request request;
  request.input = path;
  request.is_text = true;
  SNAP_ASSIGN(DataSource source, DataSource::open(request));
  return InputStream(std::move(source));
}

// An exception is how a buffer makes its stream bad.
std::streambuf::int_type InputStream::Buffer::underflow() {
  const auto got = source.read_some(std::as_writable_bytes(std::span(bytes)));
  if (!got) {
    error = got.error();
    throw std::ios_base::failure("the input cannot be read");
  }
  if (*got == 0) return traits_type::eof();
  setg(bytes.data(), bytes.data(), bytes.data() + *got);
  return traits_type::to_int_type(bytes[0]);
}

}  // namespace snaptool::cli
