// SPDX-License-Identifier: Apache-2.0
//
// Partitions that several threads handle.
#include "main/complaint.hpp"
#include "sales.hpp"
#include "stores.hpp"
#include "team.hpp"

#include <cairn/projections/projection_runner.hpp>
#include <cairn/projections/testing.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

constexpr int customers = 60, sales_of_each = 200;

/// Enough for a team.
commit_log a_long_log(const std::string& last_customer = "customer 0")
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 7);
    const event_store store{log};
    for (int c = 0; c < customers; ++c) {
        const auto name = c + 1 < customers ? "customer " + std::to_string(c) : last_customer;
        std::vector<any_event> all;
        for (int i = 0; i < sales_of_each; ++i) {
            const auto country = "country " + std::to_string((c * 31 + i) % 5);
            if (i % 10 == 9)
                all.emplace_back(returned(name, i, country));
            else
                all.emplace_back(sold(name, c + i, country));
        }
        testing::detail::record_in(store, {"sales", name}, all);
    }
    return log;
}

struct of_country
{
    std::int64_t cents = 0, count = 0;

    friend bool operator==(const of_country&, const of_country&) = default;
};

/// A customer's events are in one partition, a country's in all.
struct tally : projection<sales::Sold, sales::Returned>
{
    table<std::string, std::int64_t>                 by_customer{this, "by_customer", rows_apart};
    table_index<std::int64_t, decltype(by_customer)> by_spent{
        by_customer, "by_spent", [](const auto&, auto cents) { return cents; }};
    table<std::string, of_country>                  by_country{this, "by_country", rows_added_up};
    table_index<std::int64_t, decltype(by_country)> by_revenue{
        by_country, "by_revenue", [](const auto&, const auto& c) { return c.cents; }};
    table<std::string, std::int64_t> largest{
        this, "largest", rows_merged{[](auto& a, const auto& b) { a = std::max(a, b); }}};

    void on(sales::Sold::Reader e, const origin&)
    {
        add(e.getCustomer(), e.getCountry(), e.getCents());
        largest.combine(e.getCountry(), e.getCents(),
                        [](auto a, auto b) { return std::max(a, b); });
    }
    void on(sales::Returned::Reader e, const origin&)
    {
        add(e.getCustomer(), e.getCountry(), -e.getCents());
    }

private:
    void add(const std::string& customer, const std::string& country, std::int64_t cents)
    {
        if (customer == "poison") throw std::runtime_error{"this customer is poison"};
        by_customer.update(customer, [&](auto& c) { c += cents; });
        by_country.update(country, [&](auto& c) {
            c.cents += cents;
            ++c.count;
        });
    }
};

struct as_read
{
    std::vector<row<std::string, std::int64_t>> customers, by_spent, largest;
    std::vector<row<std::string, of_country>>   countries, by_revenue;

    explicit as_read(const tally& t)
    {
        for (auto& r : t.by_customer.rows()) customers.push_back(r);
        for (auto& r : t.by_spent.rows()) by_spent.push_back(r);
        for (auto& r : t.largest.rows()) largest.push_back(r);
        for (auto& r : t.by_country.rows()) countries.push_back(r);
        for (auto& r : t.by_revenue.rows()) by_revenue.push_back(r);
    }
    friend bool operator==(const as_read&, const as_read&) = default;
};

as_read one_after_the_other(const commit_log& log)
{
    projection_runner<tally> runner{log, "tally", memory_tables(), {.threads = 1}};
    runner.run_until_idle();
    return as_read{*runner.view().read()};
}

}  // namespace

TEST_CASE("partitions side by side come to the same tables as one after the other")
{
    const auto               log  = a_long_log();
    const auto               want = one_after_the_other(log);
    a_store                  s{CAIRN_EACH_STORE};
    std::atomic<int>         handled{0};
    const auto               threads = GENERATE(2u, 4u, 16u);
    projection_runner<tally> runner{
        log,
        "tally",
        s.store,
        {.commit_events_max = 3'000, .threads = threads, .on_step = [&](projection_step step) {
             handled += step == projection_step::handling;
         }}};
    runner.run_until_idle();
    CHECK(as_read{*runner.view().read()} == want);
    CHECK(runner.status().events == std::uint64_t{customers} * sales_of_each);
    CHECK(handled < 20);  // a step for each batch: it was a team
    CHECK(runner.verify().ok);

    // What comes then is handled by one, who knows of what the team has made.
    happen(log, sold("customer 1", 1'000'000, "country 1"), sold("nobody", 5, "nowhere"));
    runner.run_until_idle();
    CHECK(as_read{*runner.view().read()} == one_after_the_other(log));
}

TEST_CASE("a rebuild side by side takes the place of the version that answers meanwhile")
{
    const auto                log = a_long_log();
    a_store                   s{CAIRN_EACH_STORE};
    std::vector<std::string>  answers;
    projection_runner<tally>* self = nullptr;
    projection_runner<tally>  runner{
        log,
        "tally",
        s.store,
        {.commit_events_max = 2'000, .threads = 3, .on_progress = [&](const rebuild_progress& p) {
             CHECK(p.events <= p.total);
             answers.push_back(std::to_string(self->view().read()->by_country.size()));
         }}};
    self = &runner;
    runner.run_until_idle();
    const as_read before{*runner.view().read()};
    runner.rebuild();
    runner.run_until_idle();
    CHECK(as_read{*runner.view().read()} == before);
    CHECK(runner.status().version == 2);
    CHECK_FALSE(answers.empty());
    for (const auto& a : answers) CHECK(a == "5");
}

TEST_CASE("a crash at any step side by side loses nothing and counts nothing twice")
{
    const auto log     = a_long_log();
    const auto want    = one_after_the_other(log);
    const auto kind    = CAIRN_EACH_STORE;
    bool       crashed = true;
    for (int crash_at = 1; crashed; ++crash_at) {
        INFO("a crash at step " << crash_at);
        a_store s{kind};
        int     step = 0;
        crashed      = false;
        projection_options o{.commit_events_max = 4'000, .threads = 4};
        o.on_step = [&](projection_step) {
            if (++step == crash_at) throw std::runtime_error{"a crash"};
        };
        try {
            projection_runner<tally> runner{log, "tally", s.store, o};
            runner.run_until_idle();
        } catch (const std::runtime_error&) {
            crashed = true;
        }
        projection_runner<tally> next{log, "tally", s.store};
        next.run_until_idle();
        CHECK(as_read{*next.view().read()} == want);
        CHECK(crash_at < 50);  // steps of batches, not of events: it was a team
    }
}

TEST_CASE("an event that a handler throws at is named as one thread alone would name it")
{
    const auto               log = a_long_log("poison");
    projection_runner<tally> runner{log, "tally", memory_tables(), {.threads = 4}};
    projection_runner<tally> alone{log, "tally", memory_tables(), {.threads = 1}};
    const auto               words = [](auto& r) -> std::string {
        try {
            r.run_until_idle();
        } catch (const projection_failed& e) {
            return e.what();
        }
        return "";
    };
    CHECK_THAT(words(runner), Catch::Contains("this customer is poison"));
    CHECK(words(runner) == words(alone));
    CHECK(as_read{*runner.view().read()} == as_read{*alone.view().read()});
}

TEST_CASE("while events are parked there is one thread, and later ones of their keys wait")
{
    const auto               log = a_long_log("poison");
    projection_runner<tally> runner{
        log, "tally", memory_tables(), {.threads = 4, .on_failure = on_failure::park}};
    runner.run_until_idle();
    CHECK(runner.status().parked == sales_of_each);
    CHECK(runner.view().read()->by_customer.size() == customers - 1);
}

namespace {

/// Claims of countries what is only true of customers.
struct wrong : projection<sales::Sold>
{
    table<std::string, std::int64_t> by_country{this, "by_country", rows_apart};

    void on(sales::Sold::Reader e, const origin&)
    {
        by_country.update(e.getCountry(), [&](auto& c) { c += e.getCents(); });
    }
};

struct reads_parts : projection<sales::Sold>
{
    table<std::string, std::int64_t> sums{this, "sums", rows_added_up};
    int                              what = 0;

    void on(sales::Sold::Reader e, const origin&)
    {
        const std::string key = e.getCustomer();
        if (key == "find") (void)sums.find(key);
        if (key == "contains") (void)sums.contains(key);
        if (key == "put") sums.put(key, 1);
        if (key == "erase") sums.erase(key);
        if (key == "rows") (void)sums.rows();
        if (key == "size") (void)sums.size();
        sums.update(key, [](auto& n) { ++n; });
    }
};

}  // namespace

TEST_CASE("a row that two partitions change is refused where rows are said to be apart")
{
    const auto               log = a_long_log();
    projection_runner<wrong> runner{log, "wrong", memory_tables(), {.threads = 4}};
    CHECK(complaint_of([&] { runner.run_until_idle(); }) == errc::rows_not_apart);
    CHECK(runner.view().read()->by_country.size() == 0);
    CHECK_FALSE(given<wrong>()
                    .in({"sales", "a"}, sold("a", 1))
                    .in({"sales", "b"}, sold("b", 2))
                    .in({"sales", "c"}, sold("c", 3))
                    .in({"sales", "d"}, sold("d", 4))
                    .expect(&wrong::by_country, {{"UK", 10}}));
}

TEST_CASE("on() neither reads nor sets rows that are merged, side by side or not")
{
    const auto call =
        GENERATE(as<std::string>{}, "find", "contains", "put", "erase", "rows", "size");
    auto log = commit_log::in_memory();
    log.create_topic("sales", 2);
    happen(log, sold(call, 1));
    projection_runner<reads_parts> runner{log, "sums", memory_tables()};
    CHECK(complaint_of([&] { runner.run_until_idle(); }) == errc::projection_failed);
    CHECK_THAT(runner.status().error, Catch::Contains("whose rows are merged"));
}

TEST_CASE("a specification holds side by side too")
{
    CHECK(given<tally>()
              .in({"sales", "ada"}, sold("ada", 5), returned("ada", 2))
              .in({"sales", "bob"}, sold("bob", 7), sold("bob", 1, "FR"))
              .expect(&tally::by_country, {{"FR", {1, 1}}, {"UK", {10, 3}}}));
}

TEST_CASE("what a part of a team throws is thrown when all are done")
{
    cairn::detail::team four{4};
    std::atomic<int>    done{0};
    for (int thrower = 0; thrower < 4; ++thrower) {
        CHECK_THROWS_AS(four.run([&](std::size_t i) {
            ++done;
            if (i == static_cast<std::size_t>(thrower)) throw std::runtime_error{"no"};
        }),
                        std::runtime_error);
        CHECK(done == 4 * (thrower + 1));
    }
    four.run([&](std::size_t) { ++done; });
    CHECK(done == 20);
}
