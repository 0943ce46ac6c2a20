// SPDX-License-Identifier: Apache-2.0
//
// The instruction takes 8 bytes a cycle but gives its result after 3, so a single chain runs at a
// third of what the processor can do. Here a block is cut in three equal parts whose chains run
// side by side. With A, B, C the parts of n words (8 bytes) each,
//
//     crc(A B C) = crc(A)·x^(128n) + crc(B)·x^(64n) + crc(C)        mod P
//
// and the two products are one carry-less multiplication each. A product of two reflected 32-bit
// numbers lies one bit low in its 64-bit word, and the instruction that reduces it multiplies by
// x^32, so the constants are x^(128n-33) and x^(64n-33). The products are added to the last word
// of C, which has to be reduced anyhow. (V. Gopal et al., "Fast CRC computation for iSCSI
// polynomial using CRC32 instruction", 2011.)
//
// A constant for each n up to 128 makes even 200 bytes worth cutting: 25 words in a chain are 75
// cycles, in three chains 24 and about 12 to join them.
#include <cairn/log/crc32c.hpp>

#include "record/endian.hpp"

#include <array>
#include <atomic>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

namespace cairn {
namespace {

using detail::load_little;

constexpr std::uint32_t polynomial = 0x82f63b78;  // reflected

/// v·x mod P.
constexpr std::uint32_t times_x(std::uint32_t v) noexcept
{
    return (v >> 1) ^ ((v & 1) != 0 ? polynomial : 0);
}

/// tables[k][b]: the CRC of byte b and k zero bytes after it.
constexpr auto tables = [] {
    std::array<std::array<std::uint32_t, 256>, 8> t{};
    for (std::uint32_t b = 0; b < 256; ++b) {
        std::uint32_t v = b;
        for (int bit = 0; bit < 8; ++bit) v = times_x(v);
        t[0][b] = v;
    }
    for (std::size_t k = 1; k < 8; ++k)
        for (std::size_t b = 0; b < 256; ++b)
            t[k][b] = (t[k - 1][b] >> 8) ^ t[0][t[k - 1][b] & 0xff];
    return t;
}();

#if defined(__x86_64__)

constexpr std::size_t words_per_part_max = 128;

struct join_constants
{
    std::uint32_t past_two;  // x^(128n-33)
    std::uint32_t past_one;  // x^(64n-33)
};

constexpr auto joins = [] {
    // powers[i] = x^(64i+31), which is x^(64n-33) for n = i + 1.
    std::array<std::uint32_t, 2 * words_per_part_max> powers{};
    std::uint32_t                                     v = 1;  // reflected: x^31
    for (auto& power : powers) {
        power = v;
        for (std::size_t byte = 0; byte < 8; ++byte) v = (v >> 8) ^ tables[0][v & 0xff];
    }
    std::array<join_constants, words_per_part_max + 1> j{};
    for (std::size_t n = 1; n <= words_per_part_max; ++n) j[n] = {powers[2 * n - 1], powers[n - 1]};
    return j;
}();

[[gnu::target("sse4.2,pclmul")]] inline std::uint64_t times(std::uint64_t a,
                                                            std::uint64_t b) noexcept
{
    const auto product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(a)),
                                              _mm_cvtsi64_si128(static_cast<long long>(b)), 0);
    return static_cast<std::uint64_t>(_mm_cvtsi128_si64(product));
}

[[gnu::target("sse4.2,pclmul")]] std::uint32_t by_instruction(const char* at, std::size_t size,
                                                              std::uint32_t seed) noexcept
{
    std::uint64_t crc = ~seed;

    // Below six words the join costs more than it saves.
    while (size >= 6 * 8) {
        std::size_t words = size / 24;
        if (words > words_per_part_max) words = words_per_part_max;

        const char*   a     = at;
        const char*   b     = at + 8 * words;
        const char*   c     = at + 16 * words;
        std::uint64_t crc_b = 0;
        std::uint64_t crc_c = 0;
        for (const char* last = b - 8; a != last; a += 8, b += 8, c += 8) {
            crc   = _mm_crc32_u64(crc, load_little<std::uint64_t>(a));
            crc_b = _mm_crc32_u64(crc_b, load_little<std::uint64_t>(b));
            crc_c = _mm_crc32_u64(crc_c, load_little<std::uint64_t>(c));
        }
        crc   = _mm_crc32_u64(crc, load_little<std::uint64_t>(a));
        crc_b = _mm_crc32_u64(crc_b, load_little<std::uint64_t>(b));

        const auto& join = joins[words];
        crc = _mm_crc32_u64(crc_c, load_little<std::uint64_t>(c) ^ times(crc, join.past_two) ^
                                       times(crc_b, join.past_one));
        at += 24 * words;
        size -= 24 * words;
    }
    for (; size >= 8; at += 8, size -= 8) crc = _mm_crc32_u64(crc, load_little<std::uint64_t>(at));

    auto short_crc = static_cast<std::uint32_t>(crc);
    if ((size & 4) != 0) {
        short_crc = _mm_crc32_u32(short_crc, load_little<std::uint32_t>(at));
        at += 4;
    }
    if ((size & 2) != 0) {
        std::uint16_t two;
        std::memcpy(&two, at, 2);
        short_crc = _mm_crc32_u16(short_crc, two);
        at += 2;
    }
    if ((size & 1) != 0) short_crc = _mm_crc32_u8(short_crc, static_cast<unsigned char>(*at));
    return ~short_crc;
}

bool has_instruction() noexcept
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("pclmul") != 0;
}

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)

std::uint32_t by_instruction(const char* at, std::size_t size, std::uint32_t seed) noexcept
{
    std::uint32_t crc = ~seed;
    for (; size >= 8; at += 8, size -= 8) crc = __crc32cd(crc, load_little<std::uint64_t>(at));
    for (; size != 0; ++at, --size) crc = __crc32cb(crc, static_cast<std::uint8_t>(*at));
    return ~crc;
}

bool has_instruction() noexcept
{
    return true;  // the whole program is built for it
}

#else

std::uint32_t by_instruction(const char* at, std::size_t size, std::uint32_t seed) noexcept
{
    return crc32c_by_table({at, size}, seed);
}

bool has_instruction() noexcept
{
    return false;
}

#endif

using function = std::uint32_t (*)(const char*, std::size_t, std::uint32_t) noexcept;

std::uint32_t by_table(const char* at, std::size_t size, std::uint32_t seed) noexcept
{
    return crc32c_by_table({at, size}, seed);
}

std::uint32_t choose(const char* at, std::size_t size, std::uint32_t seed) noexcept;

// Not chosen by an initialiser: a CRC may be asked for before this file's would have run.
constinit std::atomic<function> chosen{choose};

std::uint32_t choose(const char* at, std::size_t size, std::uint32_t seed) noexcept
{
    const function f = has_instruction() ? by_instruction : by_table;
    chosen.store(f, std::memory_order_relaxed);
    return f(at, size, seed);
}

}  // namespace

std::uint32_t crc32c(bytes_view bytes, std::uint32_t seed) noexcept
{
    return chosen.load(std::memory_order_relaxed)(bytes.data(), bytes.size(), seed);
}

std::uint32_t crc32c_by_table(bytes_view bytes, std::uint32_t seed) noexcept
{
    const char*   at   = bytes.data();
    std::size_t   size = bytes.size();
    std::uint32_t crc  = ~seed;
    for (; size >= 8; at += 8, size -= 8) {
        const auto low  = load_little<std::uint32_t>(at) ^ crc;
        const auto high = load_little<std::uint32_t>(at + 4);
        crc = tables[7][low & 0xff] ^ tables[6][(low >> 8) & 0xff] ^ tables[5][(low >> 16) & 0xff] ^
              tables[4][low >> 24] ^ tables[3][high & 0xff] ^ tables[2][(high >> 8) & 0xff] ^
              tables[1][(high >> 16) & 0xff] ^ tables[0][high >> 24];
    }
    for (; size != 0; ++at, --size)
        crc = (crc >> 8) ^ tables[0][(crc ^ static_cast<std::uint8_t>(*at)) & 0xff];
    return ~crc;
}

}  // namespace cairn
