// SPDX-License-Identifier: Apache-2.0
#include "sales.hpp"

#include <cairn/projections/testing.hpp>

#include <catch2/catch.hpp>

using namespace cairn;
using namespace cairn::testing;

namespace {

/// Depends on the order of streams: who bought last.
struct last_buyer : projection<sales::Sold>
{
    table<std::string, std::string> last{this, "last"};
    void on(sales::Sold::Reader e, const origin&) { last.put("last", e.getCustomer()); }
};

/// Remembers what no table holds.
struct forgetful : projection<sales::Sold>
{
    table<std::string, std::int64_t> sums{this, "sums"};
    std::int64_t                     sum = 0;
    void on(sales::Sold::Reader e, const origin&) { sums.put("sum", sum += e.getCents()); }
};

}  // namespace

TEST_CASE("a projection's spec says what is given and which rows are expected")
{
    CHECK(given<revenue>(sold("ada", 30), returned("ada", 10), sold("bob", 5))
              .expect(&revenue::by_customer, {{"ada", 20}, {"bob", 5}}));
    CHECK(given<revenue>().expect(&revenue::by_customer, {}));
    CHECK(given<revenue>()
              .in({"sales", "ada"}, sold("ada", 1), sold("ada", 2))
              .in({"sales", "bob"}, sold("bob", 3))
              .expect(&revenue::by_country, {{"UK", 6}}));
}

TEST_CASE("a spec that fails shows the rows that were expected and those that were found")
{
    const auto v = given<revenue>(sold("ada", 30), sold("bob", 5))
                       .expect(&revenue::by_customer, {{"ada", 31}, {"bob", 5}});
    CHECK_FALSE(v);
    CHECK(v.what.find("+ ada -> 30") != std::string::npos);
    CHECK(v.what.find("- ada -> 31") != std::string::npos);
    CHECK(v.what.find("    bob -> 5") != std::string::npos);
}

TEST_CASE("what it comes to in one way and not in another is a failed verdict")
{
    auto two = given<last_buyer>();
    two.in({"sales", "ada"}, sold("ada", 1)).in({"sales", "bob"}, sold("bob", 1));
    const auto v = two.expect(&last_buyer::last, {{"last", "bob"}});
    CHECK_FALSE(v);
    CHECK(v.what.find("mixed like this: bob:Sold ada:Sold") != std::string::npos);
    CHECK(two.in_this_order().expect(&last_buyer::last, {{"last", "bob"}}));

    const auto w =
        given<forgetful>(sold("ada", 1), sold("ada", 2)).expect(&forgetful::sums, {{"sum", 3}});
    CHECK_FALSE(w);
    CHECK(w.what.find("with a restart after each event") != std::string::npos);
}
