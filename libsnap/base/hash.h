// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace snaptool {

enum class HashAlgorithm { kSha256, kSha512, kSha1, kMd5 };

// "sha256", as sha256sum and its like are called.
std::string_view hash_name(HashAlgorithm algorithm);
// nullopt for a name that is none; upper case will do.
std::optional<HashAlgorithm> hash_algorithm(std::string_view name);
// Digits of a sum in hex.
size_t hash_digits(HashAlgorithm algorithm);

// Lower-case digits, two a byte.
std::string hex_of(std::span<const std::byte> bytes);

// A running hash (OpenSSL's).
class Hash {
 public:
  explicit Hash(HashAlgorithm algorithm);
  ~Hash();
  Hash(Hash&&) noexcept;
  Hash& operator=(Hash&&) = delete;

  void update(std::span<const std::byte> data);
  // The sum in lower-case hex. Ends the hash: nothing may be added after it.
  std::string finish();
  // The same as bytes; returns how many. Requires: `out` has room for 64.
  size_t finish(std::span<std::byte> out);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace snaptool
