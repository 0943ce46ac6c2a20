// SPDX-License-Identifier: Apache-2.0
//
// SipHash, a keyed hash for short messages: who does not know the key cannot find two messages
// that collide. SipHash-c-d does c rounds for each eight bytes and d at the end. Cairn uses
// SipHash-1-3 with 128 bits of output; the rounds are parameters so that the reference's
// published vectors, which are for 2-4, test the same code.
#pragma once

#include <cairn/log/ids.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cairn::detail {

using hash_key = std::array<std::uint64_t, 2>;

template <int CompressionRounds, int FinalRounds>
class siphash
{
public:
    /// `wide`: for 128 bits of output, which is another function than the one for 64.
    explicit siphash(const hash_key& key, bool wide) noexcept
        : v0_{key[0] ^ 0x736f6d6570736575u}
        , v1_{key[1] ^ 0x646f72616e646f6du ^ (wide ? 0xeeu : 0u)}
        , v2_{key[0] ^ 0x6c7967656e657261u}
        , v3_{key[1] ^ 0x7465646279746573u}
    {
    }

    /// Eight bytes of the message, as a little-endian number. Only before tail().
    void word(std::uint64_t m) noexcept
    {
        v3_ ^= m;
        rounds<CompressionRounds>();
        v0_ ^= m;
        bytes_ += 8;
    }

    /// The rest of the message. Once, last.
    void tail(bytes_view text) noexcept
    {
        const char* at   = text.data();
        std::size_t left = text.size();
        for (; left >= 8; left -= 8, at += 8)
            word(load(at, 8));
        const auto total = bytes_ + left;
        word(load(at, left) | std::uint64_t{total & 0xff} << 56);
    }

    std::uint64_t finish64() noexcept
    {
        v2_ ^= 0xff;
        rounds<FinalRounds>();
        return folded();
    }

    /// The first eight bytes of the output, then the last, each as a little-endian number.
    std::array<std::uint64_t, 2> finish128() noexcept
    {
        v2_ ^= 0xee;
        rounds<FinalRounds>();
        const auto first = folded();
        v1_ ^= 0xdd;
        rounds<FinalRounds>();
        return {first, folded()};
    }

private:
    static std::uint64_t load(const char* at, std::size_t bytes) noexcept
    {
        std::uint64_t m = 0;
        if constexpr (std::endian::native == std::endian::little) {
            if (bytes != 0) std::memcpy(&m, at, bytes);
        } else {
            for (std::size_t i = 0; i < bytes; ++i)
                m |= std::uint64_t{static_cast<unsigned char>(at[i])} << (8 * i);
        }
        return m;
    }

    std::uint64_t folded() const noexcept { return v0_ ^ v1_ ^ v2_ ^ v3_; }

    template <int N>
    void rounds() noexcept
    {
        for (int i = 0; i < N; ++i) {
            v0_ += v1_;
            v1_ = std::rotl(v1_, 13) ^ v0_;
            v0_ = std::rotl(v0_, 32);
            v2_ += v3_;
            v3_ = std::rotl(v3_, 16) ^ v2_;
            v0_ += v3_;
            v3_ = std::rotl(v3_, 21) ^ v0_;
            v2_ += v1_;
            v1_ = std::rotl(v1_, 17) ^ v2_;
            v2_ = std::rotl(v2_, 32);
        }
    }

    std::uint64_t v0_;
    std::uint64_t v1_;
    std::uint64_t v2_;
    std::uint64_t v3_;
    std::size_t   bytes_ = 0;
};

}  // namespace cairn::detail
