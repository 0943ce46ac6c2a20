// SPDX-License-Identifier: Apache-2.0
#include "main/seed.hpp"

#include <cairn/projections/detail/row_codec.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <deque>
#include <limits>
#include <random>

using namespace cairn;
using namespace cairn::detail;

namespace {

enum class size : std::uint8_t { small, large };

struct place
{
    std::string  country;
    std::int32_t floor = 0;

    friend auto operator<=>(const place&, const place&) = default;
};

struct article
{
    std::string                          name;
    std::int64_t                         cents = 0;
    std::optional<std::string>           note;
    std::vector<place>                   places;
    std::map<std::string, std::uint32_t> stock;
    size                                 how    = size::small;
    double                               weight = 0;
    timestamp                            since;

    friend bool operator==(const article&, const article&) = default;
};

template <class Key>
std::string key_bytes(const Key& key)
{
    std::string bytes;
    put_key(bytes, key);
    return bytes;
}

template <class Key>
void is_ordered(const std::deque<Key>& keys)
{
    for (const auto& a : keys)
        for (const auto& b : keys) {
            CHECK((key_bytes(a) < key_bytes(b)) == (a < b));
            CHECK((key_bytes(a) == key_bytes(b)) == (a == b));
        }
    for (const auto& k : keys) CHECK(key_from<Key>(key_bytes(k)) == k);
}

}  // namespace

TEST_CASE("keys are ordered by their bytes as they are by themselves")
{
    using limits = std::numeric_limits<std::int64_t>;
    is_ordered<std::int64_t>({0, 1, -1, 255, 256, -256, limits::min(), limits::max()});
    is_ordered<std::uint32_t>({0, 1, 255, 256, 65'536, 4'294'967'295u});
    is_ordered<std::int8_t>({-128, -1, 0, 1, 127});
    is_ordered<double>({-1e300, -1.5, -0.25, 0, 1e-300, 0.25, 1.5, 1e300,
                        std::numeric_limits<double>::infinity()});
    is_ordered<std::string>({"", "a", "ab", "b", std::string{"a\0", 2}, std::string{"a\0b", 3},
                             std::string{"a\xff"}, std::string{"\0", 1}, "a\x01"});
    is_ordered<std::pair<std::string, std::int32_t>>(
        {{"a", 2}, {"a", -2}, {"", 9}, {"ab", 0}, {std::string{"a\0", 2}, 1}});
    is_ordered<place>({{"UK", 1}, {"UK", 2}, {"FR", 3}, {"", 0}});
    is_ordered<position>({position{0}, position{7}, position{-1}});
    is_ordered<std::chrono::sys_days>({std::chrono::sys_days{},
                                       std::chrono::sys_days{std::chrono::days{-5}},
                                       std::chrono::sys_days{std::chrono::days{20'000}}});
    is_ordered<bool>({false, true});
}

TEST_CASE("random keys of text and numbers are ordered by their bytes")
{
    std::mt19937_64 random{testing::seed()};
    using key = std::tuple<std::string, std::int16_t, std::string>;
    std::deque<key> keys;
    for (int i = 0; i < 200; ++i) {
        const auto text = [&] {
            std::string s(random() % 4, ' ');
            for (auto& c : s) c = "\0\1ab\xfe\xff"[random() % 6];
            return s;
        };
        keys.emplace_back(text(), static_cast<std::int16_t>(random()), text());
    }
    is_ordered(keys);
}

TEST_CASE("a value reads as it was put")
{
    const article a{"lamp",
                    -30'00,
                    "broken",
                    {{"UK", 3}, {"", -1}},
                    {{"red", 5u}, {"", 0u}},
                    size::large,
                    2.5,
                    timestamp{1'700'000'000'000}};
    std::string   bytes;
    put_value(bytes, a);
    CHECK(value_from<article>(bytes) == a);

    const article empty{};
    bytes.clear();
    put_value(bytes, empty);
    CHECK(value_from<article>(bytes) == empty);
}

TEST_CASE("a row reads as it was put, and its columns can be told apart by its shape")
{
    const article a{"lamp",
                    -30'00,
                    "broken",
                    {{"UK", 3}, {"", -1}},
                    {{"red", 5u}, {"", 0u}},
                    size::large,
                    2.5,
                    timestamp{1'700'000'000'000}};
    std::string   bytes;
    put_row(bytes, a);
    CHECK(row_from<article>(bytes) == a);

    const std::vector<std::int32_t> alone{1, 2, 3};
    bytes.clear();
    put_row(bytes, alone);
    CHECK(row_from<std::vector<std::int32_t>>(bytes) == alone);
    CHECK(columns_of<std::vector<std::int32_t>>()[0].type == column_type::bytes);
    bytes.clear();
    put_row(bytes, timestamp{7});
    CHECK(row_from<timestamp>(bytes) == timestamp{7});
    CHECK(columns_of<std::pair<std::string, place>, true>().size() == 3);
    CHECK(columns_of<std::pair<std::string, place>>().size() == 2);
}

TEST_CASE("a value that is cut short is refused, wherever it is cut")
{
    const article a{"lamp", 1, "note", {{"UK", 3}}, {{"red", 5u}}, size::large, 2.5, timestamp{1}};
    std::string   bytes;
    put_value(bytes, a);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        try {
            (void)value_from<article>(bytes_view{bytes}.substr(0, n));
            FAIL("it was read from " << n << " bytes of " << bytes.size());
        } catch (const error& e) {
            CHECK(e.code() == errc::damaged_table);
        }
    }
}

TEST_CASE("random bytes are a value or refused, and nothing else happens")
{
    std::mt19937_64 random{testing::seed()};
    for (int i = 0; i < 20'000; ++i) {
        std::string bytes(random() % 64, ' ');
        for (auto& c : bytes) c = static_cast<char>(random());
        try {
            (void)value_from<article>(bytes);
        } catch (const error& e) {
            REQUIRE(e.code() == errc::damaged_table);
        }
    }
}

TEST_CASE("the columns of a table are the fields of its key and value")
{
    const auto columns = columns_of<article>();
    REQUIRE(columns.size() == 8);
    CHECK(columns[0].type == column_type::text);
    CHECK((columns[1].type == column_type::integer && columns[1].width == 8));
    CHECK((columns[2].type == column_type::text && columns[2].nullable));
    CHECK(columns[3].type == column_type::bytes);
    CHECK(columns[4].type == column_type::bytes);
    CHECK((columns[5].type == column_type::unsigned_integer && columns[5].width == 1));
    CHECK((columns[6].type == column_type::real && columns[6].width == 8));
    CHECK(columns[7].type == column_type::integer);
    CHECK(columns_of<std::uint64_t>().size() == 1);
}
