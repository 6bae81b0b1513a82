// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/hash.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <new>

#include "libsnap/base/check.h"

namespace snaptool {
namespace {

struct Row {
  HashAlgorithm algorithm;
  std::string_view name;
  size_t digits;
  const EVP_MD* (*evp)();
};
constexpr std::array<Row, 4> kRows = {{{HashAlgorithm::kSha256, "sha256", 64, EVP_sha256},
                                       {HashAlgorithm::kSha512, "sha512", 128, EVP_sha512},
                                       {HashAlgorithm::kSha1, "sha1", 40, EVP_sha1},
                                       {HashAlgorithm::kMd5, "md5", 32, EVP_md5}}};

const Row& row_of(HashAlgorithm algorithm) { return kRows.at(static_cast<size_t>(algorithm)); }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

std::string_view hash_name(HashAlgorithm algorithm) { return row_of(algorithm).name; }
size_t hash_digits(HashAlgorithm algorithm) { return row_of(algorithm).digits; }

std::optional<HashAlgorithm> hash_algorithm(std::string_view name) {
  for (const Row& row : kRows) {
    if (std::equal(row.name.begin(), row.name.end(), name.begin(), name.end(),
                   [](char a, char b) { return a == lower(b); })) {
      return row.algorithm;
    }
  }
  return std::nullopt;
}

struct Hash::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
};

std::string hex_of(std::span<const std::byte> bytes) {
  std::string hex;
  for (const std::byte b : bytes) hex += fmt::format("{:02x}", static_cast<unsigned>(b));
  return hex;
}

Hash::Hash(HashAlgorithm algorithm) : context_(std::make_unique<Context>()) {
  // Nothing but memory can be missing.
  if (context_->evp == nullptr ||
      EVP_DigestInit_ex(context_->evp, row_of(algorithm).evp(), nullptr) != 1) {
    throw std::bad_alloc();
  }
}

Hash::~Hash() = default;
Hash::Hash(Hash&&) noexcept = default;

void Hash::update(std::span<const std::byte> data) {
  SNAP_CHECK(EVP_DigestUpdate(context_->evp, data.data(), data.size()) == 1);
}

size_t Hash::finish(std::span<std::byte> out) {
  SNAP_CHECK(out.size() >= EVP_MAX_MD_SIZE);
  unsigned length = 0;
  SNAP_CHECK(EVP_DigestFinal_ex(context_->evp, reinterpret_cast<unsigned char*>(out.data()),
                                &length) == 1);
  return length;
}

std::string Hash::finish() {
  std::array<std::byte, EVP_MAX_MD_SIZE> sum{};
  const size_t length = finish(sum);
  return hex_of(std::span(sum).first(length));
}

}  // namespace snaptool
