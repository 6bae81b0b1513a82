// SPDX-License-Identifier: Apache-2.0
// bench_generate_store: makes an origin and a dm-snapshot store of any size and pattern, and, on
// request, the qcow2 overlay that holds the same chunks. Input for benchmarks and tests, so it
// shares no code with the readers that it is to try. Memory does not grow with the store.

#include <getopt.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "tests/bench/bench_io.h"

namespace snaptool::bench {
namespace {

constexpr char kUsage[] =
    "Usage: bench_generate_store --origin FILE --cow FILE --size BYTES --exceptions N [OPTION...]\n"
    "\n"
    "Makes an origin and a dm-snapshot store. Files that exist are overwritten.\n"
    "\n"
    "      --origin FILE       the origin\n"
    "      --cow FILE          the store, exactly as long as its exceptions need\n"
    "      --qcow2 FILE        also the qcow2 overlay over the origin that holds the same chunks\n"
    "                          (one a cluster: chunks of 512 bytes to 2 MiB)\n"
    "      --size BYTES        of the origin, a multiple of 512; k, M, G, T are powers of 1024\n"
    "      --chunk-size BYTES  a power of two from 512 to 1G (default 4k)\n"
    "      --exceptions N      how many chunks the store holds\n"
    "      --pattern PATTERN   their order in the origin (default random):\n"
    "                          sequential  from its beginning\n"
    "                          reverse     the same, the last one first\n"
    "                          random      anywhere, each chunk once\n"
    "                          clustered   runs of 16 to 64 chunks anywhere\n"
    "      --seed N            of the pattern and of the data (default 1)\n"
    "      --zero-data PERCENT so many of the store's chunks are zeros (default 0)\n"
    "      --sparse-data       all of them are holes: for tests of the metadata\n"
    "      --sparse-origin     the origin is a hole\n";

constexpr uint64_t kPiece = uint64_t{1} << 20;  // bytes written at once, at most

enum class Pattern { kSequential, kReverse, kRandom, kClustered };

struct Options {
  std::string origin;
  std::string cow;
  std::string qcow2;
  uint64_t size = 0;
  uint64_t chunk_bytes = 4096;
  std::optional<uint64_t> exceptions;
  Pattern pattern = Pattern::kRandom;
  uint64_t seed = 1;
  uint64_t zero_percent = 0;
  bool sparse_data = false;
  bool sparse_origin = false;
};

uint64_t div_up(uint64_t value, uint64_t unit) { return value / unit + (value % unit != 0); }

// --- Pseudo-random numbers: splitmix64, which gives its n-th number without the ones before.

constexpr uint64_t kGamma = 0x9e3779b97f4a7c15;

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

class Stream {
 public:
  Stream(uint64_t seed, uint64_t number) : start_(mix(mix(seed + kGamma) + number * kGamma)) {}

  uint64_t at(uint64_t index) const { return mix(start_ + (index + 1) * kGamma); }

  // The stream's bytes from byte `offset` on. Requires: offset and out.size() are multiples of 8.
  void fill(uint64_t offset, std::span<std::byte> out) const {
    uint64_t index = offset / 8;
    for (size_t i = 0; i < out.size(); i += 8) put_le(&out[i], at(index++));
  }

 private:
  uint64_t start_;
};

// The streams of one seed.
enum : uint64_t { kOriginData, kCowData, kZeroChunks, kRuns, kRounds };

// A permutation of 0 ... count - 1 that needs no memory: a Feistel network over the next power of
// four, stepped until it falls below count.
class Permutation {
 public:
  Permutation(uint64_t count, uint64_t seed)
      : count_(count),
        half_bits_(static_cast<unsigned>(std::bit_width(std::max<uint64_t>(count, 1) - 1) + 1) / 2),
        mask_((uint64_t{1} << half_bits_) - 1),
        rounds_(seed, kRounds) {}

  uint64_t operator()(uint64_t value) const {
    do {
      value = encrypt(value);
    } while (value >= count_);
    return value;
  }

 private:
  uint64_t encrypt(uint64_t value) const {
    uint64_t left = value >> half_bits_;
    uint64_t right = value & mask_;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t next = left ^ (rounds_.at((right << 2) | round) & mask_);
      left = right;
      right = next;
    }
    return (left << half_bits_) | right;
  }

  uint64_t count_;
  unsigned half_bits_;
  uint64_t mask_;
  Stream rounds_;
};

// The origin chunks of the exceptions, in list order.
class OldChunks {
 public:
  // Requires: count <= chunks.
  OldChunks(Pattern pattern, uint64_t chunks, uint64_t count, uint64_t seed)
      : pattern_(pattern),
        count_(count),
        slots_(pattern == Pattern::kClustered ? std::max<uint64_t>(chunks / kLongestRun, 1)
                                              : chunks),
        slot_chunks_(std::min(chunks, kLongestRun)),
        permutation_(slots_, seed),
        runs_(seed, kRuns) {
    if (pattern == Pattern::kClustered && count > slots_ * slot_chunks_) {
      fail("so many exceptions do not fit in clusters: the origin is too small");
    }
  }

  uint64_t next() {
    const uint64_t index = done_++;
    switch (pattern_) {
      case Pattern::kSequential:
        return index;
      case Pattern::kReverse:
        return count_ - 1 - index;
      case Pattern::kRandom:
        return permutation_(index);
      case Pattern::kClustered:
        break;
    }
    // The origin is cut into slots of the longest run's length; each run lies within a slot.
    if (run_left_ == 0) start_run(count_ - index);
    --run_left_;
    return run_next_++;
  }

 private:
  static constexpr uint64_t kShortestRun = 16;
  static constexpr uint64_t kLongestRun = 64;

  void start_run(uint64_t chunks_left) {
    // Longer than the dice say where the slots that are left would not be enough.
    const uint64_t shortest = std::clamp(div_up(chunks_left, slots_ - slot_),
                                         std::min(kShortestRun, slot_chunks_), slot_chunks_);
    const uint64_t length = shortest + runs_.at(2 * slot_) % (slot_chunks_ - shortest + 1);
    run_left_ = length;
    run_next_ =
        permutation_(slot_) * slot_chunks_ + runs_.at(2 * slot_ + 1) % (slot_chunks_ - length + 1);
    ++slot_;
  }

  Pattern pattern_;
  uint64_t count_;
  uint64_t slots_;
  uint64_t slot_chunks_;
  Permutation permutation_;
  Stream runs_;
  uint64_t done_ = 0;
  uint64_t slot_ = 0;
  uint64_t run_left_ = 0;
  uint64_t run_next_ = 0;
};

// --- The overlay.

// A qcow2 v3 image over the origin. Its data clusters lie in list order behind all metadata:
// header, refcount table, refcount blocks, L1 table, L2 tables.
class Qcow2 {
 public:
  // Requires: old_chunks has given nothing yet.
  Qcow2(const Options& options, uint64_t count, OldChunks old_chunks)
      : cluster_(options.chunk_bytes), file_(options.qcow2, O_RDWR | O_CREAT | O_TRUNC) {
    const uint64_t per_table = cluster_ / 8;
    // For each L2 table its number among those there are.
    std::vector<uint64_t> table_of(div_up(div_up(options.size, cluster_), per_table), kNone);
    if (table_of.size() * 8 > kMaxL1Bytes) fail("qcow2: larger chunks are needed for this size");
    OldChunks again = old_chunks;
    for (uint64_t i = 0; i < count; ++i) table_of[old_chunks.next() / per_table] = 0;
    uint64_t tables = 0;
    for (uint64_t& table : table_of) {
      if (table != kNone) table = tables++;
    }

    const uint64_t l1_clusters = div_up(table_of.size() * 8, cluster_);
    const uint64_t counted = 1 + l1_clusters + tables + count;
    uint64_t blocks = 0;
    uint64_t table_clusters = 0;
    uint64_t total = counted;
    for (uint64_t before = 0; total != before;) {  // the refcounts count themselves
      before = total;
      blocks = div_up(total, cluster_ / 2);
      table_clusters = div_up(blocks * 8, cluster_);
      total = counted + blocks + table_clusters;
    }
    if (table_clusters * cluster_ > kMaxRefcountTableBytes) fail("qcow2: too many refcounts");
    const uint64_t blocks_at = (1 + table_clusters) * cluster_;
    const uint64_t l1_at = blocks_at + blocks * cluster_;
    const uint64_t l2_at = l1_at + l1_clusters * cluster_;
    data_at_ = l2_at + tables * cluster_;
    file_.resize(total * cluster_);

    write_header(options, l1_at, table_of.size(), table_clusters);
    write_numbers<uint64_t>(cluster_, blocks, [&](uint64_t i) { return blocks_at + i * cluster_; });
    write_numbers<uint16_t>(blocks_at, total, [](uint64_t) { return uint16_t{1}; });
    write_numbers<uint64_t>(l1_at, table_of.size(), [&](uint64_t i) {
      return table_of[i] == kNone ? 0 : kCopied | (l2_at + table_of[i] * cluster_);
    });

    // The L2 tables are written in the order of the exceptions: any. Page cache holds
    // them, not this program's memory.
    if (tables == 0) return;
    const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    const uint64_t map_at = l2_at / page * page;
    const uint64_t map_bytes = data_at_ - map_at;
    void* map = ::mmap(nullptr, map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.fd(),
                       static_cast<off_t>(map_at));
    if (map == MAP_FAILED) fail_errno("mmap " + options.qcow2);
    std::byte* const l2 = static_cast<std::byte*>(map) + (l2_at - map_at);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t chunk = again.next();
      put_be(l2 + table_of[chunk / per_table] * cluster_ + chunk % per_table * 8,
             kCopied | (data_at_ + i * cluster_));
    }
    ::munmap(map, map_bytes);
  }

  DiskFile& file() { return file_; }
  uint64_t data_at() const { return data_at_; }

 private:
  static constexpr uint64_t kNone = UINT64_MAX;
  static constexpr uint64_t kCopied = uint64_t{1} << 63;  // the refcount is one
  static constexpr uint64_t kMaxL1Bytes = uint64_t{32} << 20;
  static constexpr uint64_t kMaxRefcountTableBytes = uint64_t{8} << 20;

  void write_header(const Options& options, uint64_t l1_at, uint64_t l1_size,
                    uint64_t refcount_table_clusters) {
    constexpr size_t kHeaderBytes = 104;
    constexpr size_t kNameAt = kHeaderBytes + 8 + 8 + 8;  // behind two extensions
    namespace fs = std::filesystem;
    const std::string backing =
        fs::proximate(options.origin, fs::absolute(options.qcow2).parent_path()).string();
    if (backing.size() > std::min<uint64_t>(cluster_ - kNameAt, 1023)) {
      fail("qcow2: the origin's name is too long");
    }
    std::vector<std::byte> header(kNameAt + backing.size());
    put_be<uint32_t>(&header[0], 0x514649fb);  // "QFI\xfb"
    put_be<uint32_t>(&header[4], 3);
    put_be<uint64_t>(&header[8], kNameAt);
    put_be<uint32_t>(&header[16], static_cast<uint32_t>(backing.size()));
    put_be<uint32_t>(&header[20], static_cast<uint32_t>(std::countr_zero(cluster_)));
    put_be<uint64_t>(&header[24], options.size);
    put_be<uint32_t>(&header[36], static_cast<uint32_t>(l1_size));
    put_be<uint64_t>(&header[40], l1_at);
    put_be<uint64_t>(&header[48], cluster_);  // the refcount table
    put_be<uint32_t>(&header[56], static_cast<uint32_t>(refcount_table_clusters));
    put_be<uint32_t>(&header[96], 4);  // refcounts of 2^4 bits
    put_be<uint32_t>(&header[100], kHeaderBytes);
    put_be<uint32_t>(&header[kHeaderBytes], 0xe2792aca);  // the backing file's format
    put_be<uint32_t>(&header[kHeaderBytes + 4], 3);
    std::memcpy(&header[kHeaderBytes + 8], "raw", 3);
    std::memcpy(&header[kNameAt], backing.data(), backing.size());
    file_.write_at(0, header);
  }

  template <typename Int, typename NumberOf>
  void write_numbers(uint64_t offset, uint64_t count, NumberOf number_of) {
    std::vector<std::byte> piece;
    for (uint64_t i = 0; i < count;) {
      piece.resize(std::min(count - i, kPiece / sizeof(Int)) * sizeof(Int));
      for (size_t at = 0; at < piece.size(); at += sizeof(Int))
        put_be<Int>(&piece[at], number_of(i++));
      file_.write_at(offset, piece);
      offset += piece.size();
    }
  }

  uint64_t cluster_;
  DiskFile file_;
  uint64_t data_at_ = 0;
};

// --- Origin and store.

void write_origin(const Options& options) {
  DiskFile origin(options.origin, O_RDWR | O_CREAT | O_TRUNC);
  origin.resize(options.size);
  if (options.sparse_origin) return;
  const Stream content(options.seed, kOriginData);
  std::vector<std::byte> piece(kPiece);
  for (uint64_t at = 0; at < options.size; at += kPiece) {
    const auto bytes = std::span(piece).first(std::min(kPiece, options.size - at));
    content.fill(at, bytes);
    origin.write_at(at, bytes);
  }
}

// The content of all data chunks, one behind the other.
class Data {
 public:
  explicit Data(const Options& options)
      : chunk_bytes_(options.chunk_bytes),
        zero_percent_(options.zero_percent),
        content_(options.seed, kCowData),
        zero_chunks_(options.seed, kZeroChunks) {}

  void fill(uint64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
      const uint64_t chunk = offset / chunk_bytes_;
      const uint64_t length = std::min(out.size(), chunk_bytes_ - offset % chunk_bytes_);
      const auto part = out.first(length);
      if (zero_chunks_.at(chunk) % 100 < zero_percent_) {
        std::fill(part.begin(), part.end(), std::byte{0});
      } else {
        content_.fill(offset, part);
      }
      out = out.subspan(length);
      offset += length;
    }
  }

 private:
  uint64_t chunk_bytes_;
  uint64_t zero_percent_;
  Stream content_;
  Stream zero_chunks_;
};

void write_store(const Options& options, uint64_t count, OldChunks old_chunks, Qcow2* overlay) {
  const uint64_t chunk_bytes = options.chunk_bytes;
  const uint64_t per_area = chunk_bytes / kEntryBytes;
  DiskFile cow(options.cow, O_RDWR | O_CREAT | O_TRUNC);
  // The header, the areas, of which the last is never full, and the data. What is not written reads
  // as zeros.
  cow.resize((1 + (count / per_area + 1) + count) * chunk_bytes);
  std::vector<std::byte> piece(kEntryBytes);
  put_le<uint32_t>(&piece[0], kMagic);
  put_le<uint32_t>(&piece[4], 1);  // valid
  put_le<uint32_t>(&piece[8], 1);  // version
  put_le<uint32_t>(&piece[12], static_cast<uint32_t>(chunk_bytes / kSectorBytes));
  cow.write_at(0, piece);

  const Data data(options);
  for (uint64_t first = 0; first < count; first += per_area) {
    const uint64_t area_chunk = 1 + first / per_area * (per_area + 1);
    const uint64_t entries = std::min(per_area, count - first);
    for (uint64_t entry = 0; entry < entries;) {
      const uint64_t area_offset = area_chunk * chunk_bytes + entry * kEntryBytes;
      piece.resize(std::min(entries - entry, kPiece / kEntryBytes) * kEntryBytes);
      for (size_t at = 0; at < piece.size(); at += kEntryBytes) {
        put_le<uint64_t>(&piece[at], old_chunks.next());
        put_le<uint64_t>(&piece[at + 8], area_chunk + 1 + entry++);
      }
      cow.write_at(area_offset, piece);
    }
    if (options.sparse_data) continue;
    for (uint64_t at = 0; at < entries * chunk_bytes; at += kPiece) {
      const uint64_t offset = first * chunk_bytes + at;  // among all data
      piece.resize(std::min(kPiece, entries * chunk_bytes - at));
      data.fill(offset, piece);
      cow.write_at((area_chunk + 1) * chunk_bytes + at, piece);
      if (overlay != nullptr) overlay->file().write_at(overlay->data_at() + offset, piece);
    }
  }
}

// --- The command line.

[[noreturn]] void usage_error(const std::string& message) {
  std::fprintf(stderr, "error: %s (--help says more)\n", message.c_str());
  std::exit(64);
}

uint64_t parse_number(std::string_view text, std::string_view units, const char* option) {
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && rest == end) return value;
  if (error == std::errc() && rest + 1 == end) {
    const size_t unit = units.find(*rest);
    const unsigned shift = 10 * static_cast<unsigned>(unit / 2 + 1);  // each unit is there twice
    if (unit != std::string_view::npos && value <= (uint64_t{INT64_MAX} >> shift)) {
      return value << shift;
    }
  }
  usage_error(std::string("bad value for --") + option + ": " + std::string(text));
}

Pattern parse_pattern(std::string_view name) {
  if (name == "sequential") return Pattern::kSequential;
  if (name == "reverse") return Pattern::kReverse;
  if (name == "random") return Pattern::kRandom;
  if (name == "clustered") return Pattern::kClustered;
  usage_error("no such pattern: " + std::string(name));
}

Options parse_options(int argc, char** argv) {
  static constexpr option kLongOptions[] = {{"origin", required_argument, nullptr, 'o'},
                                            {"cow", required_argument, nullptr, 'c'},
                                            {"qcow2", required_argument, nullptr, 'q'},
                                            {"size", required_argument, nullptr, 's'},
                                            {"chunk-size", required_argument, nullptr, 'b'},
                                            {"exceptions", required_argument, nullptr, 'n'},
                                            {"pattern", required_argument, nullptr, 'p'},
                                            {"seed", required_argument, nullptr, 'r'},
                                            {"zero-data", required_argument, nullptr, 'z'},
                                            {"sparse-data", no_argument, nullptr, 'd'},
                                            {"sparse-origin", no_argument, nullptr, 'g'},
                                            {"help", no_argument, nullptr, 'h'},
                                            {nullptr, 0, nullptr, 0}};
  constexpr char kUnits[] = "kKmMgGtT";
  Options options;
  int index = 0;
  for (int choice = 0; (choice = ::getopt_long(argc, argv, "h", kLongOptions, &index)) != -1;) {
    const char* const name = kLongOptions[index].name;
    switch (choice) {
      case 'o':
        options.origin = optarg;
        break;
      case 'c':
        options.cow = optarg;
        break;
      case 'q':
        options.qcow2 = optarg;
        break;
      case 's':
        options.size = parse_number(optarg, kUnits, name);
        break;
      case 'b':
        options.chunk_bytes = parse_number(optarg, kUnits, name);
        break;
      case 'n':
        options.exceptions = parse_number(optarg, "", name);
        break;
      case 'p':
        options.pattern = parse_pattern(optarg);
        break;
      case 'r':
        options.seed = parse_number(optarg, "", name);
        break;
      case 'z':
        options.zero_percent = parse_number(optarg, "", name);
        break;
      case 'd':
        options.sparse_data = true;
        break;
      case 'g':
        options.sparse_origin = true;
        break;
      case 'h':
        std::fputs(kUsage, stdout);
        std::exit(0);
      default:
        std::exit(64);
    }
  }
  if (optind != argc) usage_error(std::string("what is this: ") + argv[optind]);
  return options;
}

void check(const Options& options) {
  if (options.origin.empty() || options.cow.empty() || options.size == 0 || !options.exceptions) {
    usage_error("--origin, --cow, --size and --exceptions are needed");
  }
  if (options.size % kSectorBytes != 0 || options.size > INT64_MAX) {
    usage_error("--size must be a multiple of 512");
  }
  if (!std::has_single_bit(options.chunk_bytes) || options.chunk_bytes < kSectorBytes ||
      options.chunk_bytes > kMaxChunkBytes) {
    usage_error("--chunk-size must be a power of two from 512 to 1G");
  }
  if (*options.exceptions > div_up(options.size, options.chunk_bytes)) {
    usage_error("the origin has fewer chunks than --exceptions");
  }
  if (options.zero_percent > 100) usage_error("--zero-data must be at most 100");
  if (!options.qcow2.empty() && options.chunk_bytes > (uint64_t{2} << 20)) {
    usage_error("--qcow2 needs chunks of at most 2M");
  }
}

void generate(const Options& options) {
  const uint64_t count = *options.exceptions;
  const OldChunks old_chunks(options.pattern, div_up(options.size, options.chunk_bytes), count,
                             options.seed);
  write_origin(options);
  std::optional<Qcow2> overlay;
  if (!options.qcow2.empty()) overlay.emplace(options, count, old_chunks);
  write_store(options, count, old_chunks, overlay ? &*overlay : nullptr);
}

}  // namespace
}  // namespace snaptool::bench

int main(int argc, char** argv) {
  const auto options = snaptool::bench::parse_options(argc, argv);
  snaptool::bench::check(options);
  snaptool::bench::generate(options);
  return 0;
}
