// SPDX-License-Identifier: Apache-2.0
#include "index/index.hpp"
#include "index/siphash.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace cairn::testing {
namespace {

using namespace cairn::detail;

/// Of the key 00 01 … 0f and the message 00 01 … of `size` bytes. The first two columns are
/// the reference's published vectors; `openssl mac -macopt size:16 -macopt c-rounds:1 -macopt
/// d-rounds:3 … siphash` makes the third, and the others too.
struct vector
{
    std::size_t size;
    const char* sip_2_4_64;
    const char* sip_2_4_128;
    const char* sip_1_3_128;
};

constexpr vector vectors[] = {
    {0, "310E0EDD47DB6F72", "A3817F04BA25A8E66DF67214C7550293",
     "E77EBCB22788A5BEFD62DB6ADD303001"},
    {1, "FD67DC93C539F874", "DA87C1D86B99AF44347659119B22FC45",
     "FC6F370460D3EDA85E0573CC2B2FF063"},
    {7, "37D1018BF50002AB", "A1F1EBBED8DBC153C0B84AA61FF08239",
     "1084B923F2AAE0C3A62F2EC80848AB77"},
    {8, "6224939A79F5F593", "3B62A9BA6258F5610F83E264F31497B4",
     "AA12FEE1D5E3DAB4724F16AB35F9C799"},
    {9, "B0E4A90BDF82009E", "264499060AD9BAABC47F8B02BB6D71ED",
     "81DDB8042CF33994F4720E0094137C42"},
    {15, "E545BE4961CA29A1", "5493E99933B0A8117E08EC0F97CFC3D9",
     "C17E5505B2BD526C2921CDEC1E7E0109"},
    {16, "DB9BC2577FCC2A3F", "6EE2A4CA67B054BBFD3315BF85230577",
     "D0A8D95715518EEBB513B0F83D9E1793"},
    {17, "9447BE2CF5E99A69", "473D06E8738DB89854C066C47AE47740",
     "234126F93FBB668D975112E8FEBDF7EC"},
    {63, "724506EB4C328A95", "5150D1772F50834A503E069A973FBD7C",
     "4C5800E34EFE426F079F6B0AA75260AD"},
};

constexpr hash_key key{0x0706050403020100, 0x0f0e0d0c0b0a0908};

std::string message(std::size_t size)
{
    std::string m;
    for (std::size_t i = 0; i < size; ++i)
        m.push_back(static_cast<char>(i));
    return m;
}

/// The bytes of a little-endian number.
std::string hex(std::uint64_t v)
{
    std::string text;
    for (int i = 0; i < 8; ++i, v >>= 8) {
        text += "0123456789ABCDEF"[v >> 4 & 15];
        text += "0123456789ABCDEF"[v & 15];
    }
    return text;
}

template <int C, int D>
std::string hash128(const std::string& m)
{
    siphash<C, D> h{key, true};
    h.tail(m);
    const auto sum = h.finish128();
    return hex(sum[0]) + hex(sum[1]);
}

}  // namespace

TEST_CASE("SipHash is the reference's")
{
    for (const auto& v : vectors) {
        const auto m = message(v.size);
        INFO("a message of " << v.size << " bytes");
        siphash<2, 4> narrow{key, false};
        narrow.tail(m);
        CHECK(hex(narrow.finish64()) == v.sip_2_4_64);
        CHECK(hash128<2, 4>(m) == v.sip_2_4_128);
        CHECK(hash128<1, 3>(m) == v.sip_1_3_128);
    }
}

TEST_CASE("a word given before the tail is part of the message")
{
    for (const std::size_t size : {8, 9, 16, 63}) {
        const auto    m = message(size);
        siphash<1, 3> h{key, true};
        h.word(0x0706050403020100);
        h.tail(bytes_view{m}.substr(8));
        const auto sum = h.finish128();
        CHECK(hex(sum[0]) + hex(sum[1]) == hash128<1, 3>(m));
    }
}

TEST_CASE("terms of different kinds never mix, whatever their text")
{
    const term_hasher hasher{key};
    const std::string texts[] = {"", "a", "order-1", std::string(8, '\0'), std::string(9, '\0')};
    std::vector<term> terms;
    for (const auto& text : texts) {
        terms.push_back(hasher.type(text));
        terms.push_back(hasher.tag(text));
        terms.push_back(hasher.command(text));
        for (const std::uint32_t partition : {0u, 1u, 2u, 0x80000000u})
            terms.push_back(hasher.stream(partition, text));
    }
    std::sort(terms.begin(), terms.end());
    CHECK(std::adjacent_find(terms.begin(), terms.end()) == terms.end());
}

TEST_CASE("another key makes other terms")
{
    const term_hasher a{key};
    const term_hasher b{hash_key{key[0], key[1] + 1}};
    CHECK(a.type("OrderPlaced") == term_hasher{key}.type("OrderPlaced"));
    CHECK(a.type("OrderPlaced") != b.type("OrderPlaced"));
    CHECK(a.key_check() != b.key_check());
}

}  // namespace cairn::testing
