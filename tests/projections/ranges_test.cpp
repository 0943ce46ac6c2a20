// SPDX-License-Identifier: Apache-2.0
//
// Rows of tables with the views of range-v3, and of the standard library where it has them.
#include "sales.hpp"

#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <range/v3/range/conversion.hpp>
#include <range/v3/view/filter.hpp>
#include <range/v3/view/take.hpp>
#include <range/v3/view/transform.hpp>

#include <iterator>
#include <ranges>
#include <string>
#include <vector>

using namespace cairn;
using namespace cairn::testing;

namespace {

struct spent : projection<sales::Sold>
{
    table<std::string, std::int64_t>           cents{this, "cents"};
    table_index<std::int64_t, decltype(cents)> by_cents{cents, "by_cents",
                                                        [](const auto&, auto c) { return c; }};

    void on(sales::Sold::Reader e, const origin&)
    {
        cents.update(e.getCustomer(), [&](auto& c) { c += e.getCents(); });
    }
};

using rows = row_range<std::string, std::int64_t>;

static_assert(std::input_iterator<rows::iterator>);
static_assert(std::sentinel_for<std::default_sentinel_t, rows::iterator>);
static_assert(std::ranges::input_range<rows>);
static_assert(std::movable<rows> && !std::copyable<rows>);
static_assert(std::ranges::viewable_range<rows&>);
static_assert(ranges::input_range<rows>);
static_assert(ranges::viewable_range<rows&>);

commit_log a_log()
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 1);
    happen(log, sold("ada", 30), sold("bob", 5), sold("cyd", 70), sold("dan", 90));
    return log;
}

}  // namespace

TEST_CASE("rows of a table go through the views of range-v3, and are read no further than asked")
{
    const auto log = a_log();
    const auto now = [&] {
        projection_runner<spent> runner{log, "spent", memory_tables()};
        runner.run_until_idle();
        return runner.view().read();
    }();
    const auto rich   = [](const auto& r) { return r.value >= 30; };
    const auto name   = [](const auto& r) { return r.key; };
    auto       all    = now->cents.rows();
    const auto first2 = all | ranges::views::filter(rich) | ranges::views::transform(name) |
                        ranges::views::take(2) | ranges::to<std::vector>();
    CHECK(first2 == std::vector<std::string>{"ada", "cyd"});

    auto       by_cents = now->by_cents.rows_backwards();
    const auto richest  = by_cents | ranges::views::transform(name) | ranges::views::take(1) |
                         ranges::to<std::vector>();
    CHECK(richest == std::vector<std::string>{"dan"});

    auto none = now->cents.rows_from("e");
    CHECK((none | ranges::views::transform(name) | ranges::to<std::vector>()).empty());
}

#ifndef __clang__  // clang 14 does not compile the std::views of its neighbour's library
static_assert(std::ranges::viewable_range<rows>);

TEST_CASE("rows of a table go through the views of the standard library, unnamed as well")
{
    const auto log = a_log();
    const auto now = [&] {
        projection_runner<spent> runner{log, "spent", memory_tables()};
        runner.run_until_idle();
        return runner.view().read();
    }();
    std::vector<std::string> seen;
    for (const auto& name :
         now->cents.rows() | std::views::filter([](const auto& r) { return r.value >= 30; }) |
             std::views::transform([](const auto& r) { return r.key; }) | std::views::take(2))
        seen.push_back(name);
    CHECK(seen == std::vector<std::string>{"ada", "cyd"});
}
#endif
