// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/crc32c.hpp>

#include <catch2/catch.hpp>

#include <numeric>
#include <random>
#include <string>

using namespace cairn;

namespace {

std::string counting(std::size_t n, int first, int step)
{
    std::string s(n, '\0');
    for (std::size_t i = 0; i < n; ++i)
        s[i] = static_cast<char>(first + step * static_cast<int>(i));
    return s;
}

std::string random_bytes(std::mt19937_64& random, std::size_t n)
{
    std::string s(n, '\0');
    for (auto& c : s) c = static_cast<char>(random());
    return s;
}

/// The definition, bit by bit.
std::uint32_t by_definition(bytes_view bytes)
{
    std::uint32_t crc = 0xffffffff;
    for (const char c : bytes) {
        crc ^= static_cast<std::uint8_t>(c);
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

}  // namespace

TEST_CASE("CRC-32C gives the vectors of RFC 3720, B.4")
{
    // An iSCSI read command, the RFC's last example.
    const std::string command{
        "\x01\xc0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
        "\x14\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x14\x00\x00\x00\x18"
        "\x28\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00",
        48};
    // The RFC prints them as bytes on the wire, low one first.
    const std::pair<std::string, std::uint32_t> vectors[] = {
        {std::string(32, '\0'), 0x8a9136aa},
        {std::string(32, '\xff'), 0x62a8ab43},
        {counting(32, 0, 1), 0x46dd794e},
        {counting(32, 31, -1), 0x113fdb5c},
        {command, 0xd9963a56},
        {"123456789", 0xe3069283},
        {"", 0},
    };
    for (const auto& [bytes, crc] : vectors) {
        CHECK(crc32c(bytes) == crc);
        CHECK(crc32c_by_table(bytes) == crc);
        CHECK(by_definition(bytes) == crc);
    }
}

TEST_CASE("the instruction and the table agree on every length up to 700, at every alignment")
{
    std::mt19937_64   random{3720};
    const std::string bytes = random_bytes(random, 1024);
    for (std::size_t size = 0; size <= 700; ++size)
        for (std::size_t at = 0; at < 8; ++at) {
            const bytes_view part{bytes.data() + at, size};
            const auto       seed = static_cast<std::uint32_t>(random());
            if (crc32c(part, seed) != crc32c_by_table(part, seed)) FAIL("size " << size);
        }
}

TEST_CASE("the instruction and the table agree on random lengths and seeds")
{
    std::mt19937_64   random{3721};
    const std::string bytes = random_bytes(random, 64 << 10);
    for (int i = 0; i < 2000; ++i) {
        const auto       at   = random() % 64;
        const auto       size = random() % (bytes.size() - at);
        const bytes_view part{bytes.data() + at, size};
        const auto       seed = static_cast<std::uint32_t>(random());
        if (crc32c(part, seed) != crc32c_by_table(part, seed)) FAIL("size " << size);
    }
}

TEST_CASE("the table does as the definition says")
{
    std::mt19937_64 random{3722};
    for (std::size_t size = 0; size < 300; ++size) {
        const auto bytes = random_bytes(random, size);
        CHECK(crc32c_by_table(bytes) == by_definition(bytes));
    }
}

TEST_CASE("a CRC goes on where another ended")
{
    std::mt19937_64   random{3723};
    const std::string bytes = random_bytes(random, 5000);
    const auto        whole = crc32c(bytes);
    for (std::size_t cut = 0; cut <= bytes.size(); cut += 7) {
        const bytes_view front{bytes.data(), cut};
        const bytes_view back{bytes.data() + cut, bytes.size() - cut};
        if (crc32c(back, crc32c(front)) != whole) FAIL("cut at " << cut);
        if (crc32c_by_table(back, crc32c_by_table(front)) != whole) FAIL("cut at " << cut);
    }
}
