// SPDX-License-Identifier: Apache-2.0
#include "record/varint.hpp"

#include <catch2/catch.hpp>

#include <limits>
#include <optional>
#include <random>
#include <string>

using namespace cairn::detail;

namespace {

std::string written(std::int32_t v)
{
    char at[max_varint_bytes];
    return {at, write_varint(at, v)};
}
std::string written_long(std::int64_t v)
{
    char at[max_varlong_bytes];
    return {at, write_varlong(at, v)};
}

/// Reads all of `bytes` as one number, or nothing. They are copied to where a sanitizer sees a
/// read behind them.
template <class Integer, class Read>
std::optional<Integer> read_all(const std::string& bytes, const Read& read)
{
    const std::vector<char> exact(bytes.begin(), bytes.end());

    const char*       at  = exact.data();
    const char* const end = at + exact.size();
    Integer           v   = 77;
    if (!read(at, end, v)) {
        CHECK(at == exact.data());
        CHECK(v == 77);
        return std::nullopt;
    }
    CHECK(at == end);
    return v;
}
std::optional<std::int32_t> read(const std::string& bytes)
{
    return read_all<std::int32_t>(bytes, read_varint);
}
std::optional<std::int64_t> read_long(const std::string& bytes)
{
    return read_all<std::int64_t>(bytes, read_varlong);
}

constexpr auto min32 = std::numeric_limits<std::int32_t>::min();
constexpr auto max32 = std::numeric_limits<std::int32_t>::max();
constexpr auto min64 = std::numeric_limits<std::int64_t>::min();
constexpr auto max64 = std::numeric_limits<std::int64_t>::max();

}  // namespace

TEST_CASE("a varint is zigzagged, seven bits a byte, low ones first")
{
    const std::pair<std::int32_t, std::string> vectors[] = {
        {0, std::string(1, '\0')},
        {-1, "\x01"},
        {1, "\x02"},
        {-2, "\x03"},
        {63, "\x7e"},
        {-64, "\x7f"},
        {64, "\x80\x01"},
        {-65, "\x81\x01"},
        {8191, "\xfe\x7f"},
        {-8192, "\xff\x7f"},
        {8192, "\x80\x80\x01"},
        {1048575, "\xfe\xff\x7f"},
        {1048576, "\x80\x80\x80\x01"},
        {134217727, "\xfe\xff\xff\x7f"},
        {max32, "\xfe\xff\xff\xff\x0f"},
        {min32, "\xff\xff\xff\xff\x0f"},
    };
    for (const auto& [value, bytes] : vectors) {
        CHECK(written(value) == bytes);
        CHECK(written_long(value) == bytes);
        CHECK(varint_bytes(value) == bytes.size());
        CHECK(varlong_bytes(value) == bytes.size());
        CHECK(read(bytes) == value);
        CHECK(read_long(bytes) == value);
    }
}

TEST_CASE("a varlong has all 64 bits in ten bytes")
{
    CHECK(written_long(max64) == "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    CHECK(written_long(min64) == "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    CHECK(read_long(written_long(max64)) == max64);
    CHECK(read_long(written_long(min64)) == min64);
    CHECK(varlong_bytes(min64) == max_varlong_bytes);
}

TEST_CASE("what was written is read, and takes the bytes that were foretold")
{
    std::mt19937_64 random{7};
    for (int i = 0; i < 20'000; ++i) {
        const auto v = static_cast<std::int64_t>(random()) >> (random() % 64);
        const auto n = static_cast<std::int32_t>(v);

        const auto as_long = written_long(v);
        if (read_long(as_long) != v || varlong_bytes(v) != as_long.size()) FAIL(v);
        const auto as_int = written(n);
        if (read(as_int) != n || varint_bytes(n) != as_int.size()) FAIL(n);
    }
}

TEST_CASE("a number that does not end in time is refused, and nothing is moved")
{
    CHECK_FALSE(read(""));
    CHECK_FALSE(read("\x80"));
    CHECK_FALSE(read("\xff\xff"));
    CHECK_FALSE(read("\xff\xff\xff\xff"));
    CHECK_FALSE(read_long("\xff\xff\xff\xff\xff\xff\xff\xff\xff"));
    for (const auto v : {min64, std::int64_t{min32}, std::int64_t{1'000'000}, max64}) {
        const auto whole = written_long(v);
        for (std::size_t cut = 0; cut < whole.size(); ++cut)
            CHECK_FALSE(read_long(whole.substr(0, cut)));
    }
}

TEST_CASE("bits beyond the width of the number are refused")
{
    CHECK_FALSE(read("\xff\xff\xff\xff\x10"));
    CHECK_FALSE(read("\xff\xff\xff\xff\xff\x01"));
    CHECK_FALSE(read("\x80\x80\x80\x80\x80\x01"));
    CHECK_FALSE(read_long("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
    CHECK_FALSE(read_long("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"));
}

TEST_CASE("a longer form than need be is read")
{
    CHECK(read(std::string("\x80\x00", 2)) == 0);
    CHECK(read(std::string("\x82\x80\x80\x80\x00", 5)) == 1);
    CHECK(read_long(std::string("\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10)) == -1);
}

TEST_CASE("bytes behind the number are left alone")
{
    const std::string bytes = written(300) + written(-5) + "tail";
    const char*       at    = bytes.data();
    const char* const end   = at + bytes.size();
    std::int32_t      v     = 0;
    REQUIRE(read_varint(at, end, v));
    CHECK(v == 300);
    REQUIRE(read_varint(at, end, v));
    CHECK(v == -5);
    CHECK(std::string(at, end) == "tail");
}
