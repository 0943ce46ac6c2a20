// SPDX-License-Identifier: Apache-2.0
//
// Tables that are followed while they change.
#include "main/complaint.hpp"
#include "sales.hpp"
#include "stores.hpp"
#include "table_feed.hpp"

#include <cairn/projections/flows.hpp>
#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <future>
#include <map>
#include <thread>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

using sums     = std::vector<row<std::string, std::int64_t>>;
using sum_news = row_news<std::string, std::int64_t>;

commit_log a_log(int partitions = 3)
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", partitions);
    return log;
}

/// What each customer has spent; who returns something is forgotten.
struct spent : projection<sales::Sold, sales::Returned>
{
    table<std::string, std::int64_t>                         by_customer{this, "by_customer"};
    table<std::pair<std::string, std::string>, std::int64_t> by_country{
        this, "by_country", {"country", "customer", "cents"}};

    void on(sales::Sold::Reader e, const origin&)
    {
        if (e.getCustomer() == "poison" && !mended) throw std::runtime_error{"poison"};
        by_customer.update(e.getCustomer(), [&](auto& c) { c += e.getCents(); });
        by_country.update({e.getCountry(), e.getCustomer()}, [&](auto& c) { c += e.getCents(); });
    }
    void on(sales::Returned::Reader e, const origin&)
    {
        by_customer.erase(e.getCustomer());
        by_country.erase({e.getCountry(), e.getCustomer()});
    }

    static inline std::atomic<bool> mended{false};
};

/// The same from other code.
struct spent_twice : spent
{
    static constexpr int version = 2;
};

/// Its tables look otherwise.
struct other : projection<sales::Sold>
{
    static constexpr int             version = 2;
    table<std::string, std::int64_t> sales_of{this, "sales_of"};
    void                             on(sales::Sold::Reader e, const origin&)
    {
        sales_of.update(e.getCustomer(), [](auto& n) { ++n; });
    }
};

/// What a page shows.
template <class Key, class Value>
struct page
{
    std::map<Key, Value> rows;
    position             upto{0};
    int                  resets = 0;

    void show(const row_news<Key, Value>& news)
    {
        if (news.reset) rows.clear();
        resets += news.reset;
        for (const auto& [key, value] : news.rows) rows.insert_or_assign(key, value);
        for (const auto& key : news.erased) rows.erase(key);
        upto = news.upto;
    }
    Value sum() const
    {
        Value total{};
        for (const auto& [key, value] : rows) total += value;
        return total;
    }
};

}  // namespace

TEST_CASE("the first news is the rows at one moment, and each that follows is one commit's")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    happen(log, sold("ada", 30), sold("bob", 20));
    projection_runner<spent> runner{log, "spent", s.store};
    runner.run_until_idle();
    auto changes = runner.view().follow(&spent::by_customer);
    CHECK(changes.next(1min) ==
          sum_news{true, log.end_position(), sums{{"ada", 30}, {"bob", 20}}, {}});
    CHECK(changes.next(0ms) == std::nullopt);

    happen(log, sold("ada", 1), sold("cyd", 5));
    runner.run_until_idle();
    const auto between = log.end_position();
    happen(log, sold("ada", 1), returned("bob", 20));
    runner.run_until_idle();
    CHECK(changes.next(0ms) == sum_news{false, between, sums{{"ada", 31}, {"cyd", 5}}, {}});
    CHECK(changes.next(0ms) == sum_news{false, log.end_position(), sums{{"ada", 32}}, {"bob"}});
    CHECK(changes.next(0ms) == std::nullopt);
}

TEST_CASE("of what is committed while a follower begins nothing is lost and nothing comes twice")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    // A commit for each event, and each event adds one: so each change is by one.
    const bool               is_inline = GENERATE(false, true);
    const event_store        store{log};
    projection_runner<spent> runner{store, "spent", s.store, {.commit_events_max = 1}};
    constexpr int            events = 300, customers = 5;
    if (is_inline)
        runner.start_inline();
    else
        runner.start();

    const position           start = log.end_position();
    std::vector<std::thread> followers;
    std::vector<std::string> wrong(8);
    for (std::size_t f = 0; f < wrong.size(); ++f)
        followers.emplace_back([&, f] {
            // They begin one after the other, as the events go on.
            const auto begins = start + static_cast<std::int64_t>(f) * 20;
            if (!runner.view().wait_for(begins, 1min)) return void(wrong[f] = "it stands");
            auto                            changes = runner.view().follow(&spent::by_customer);
            page<std::string, std::int64_t> seen;
            while (seen.sum() < events) {
                const auto news = changes.next(1min);
                if (!news) return void(wrong[f] = "nothing came");
                for (const auto& [key, value] : news->rows)
                    if (!news->reset && value != seen.rows[key] + 1)
                        return void(wrong[f] = key + " went to " + std::to_string(value));
                seen.show(*news);
            }
            if (seen.sum() != events || changes.next(0ms)) wrong[f] = "it counted too many";
            if (seen.resets != 1) wrong[f] = "it began again";
        });
    for (int i = 0; i < events; ++i)
        happen_through(store, sold("customer " + std::to_string(i % customers), 1));
    for (auto& f : followers) f.join();
    for (const auto& w : wrong) CHECK(w == "");
}

TEST_CASE("a commit wakes who waits for the next change, and so does stop")
{
    const auto               log = a_log();
    projection_runner<spent> runner{log, "spent", memory_tables()};
    runner.start();
    auto changes = runner.view().follow(&spent::by_customer);
    CHECK(changes.next(1h)->reset);
    std::promise<sums> first;
    std::promise<bool> ended;
    std::thread        waits{[&] {
        first.set_value(changes.next(1h)->rows);
        ended.set_value(!changes.next(1h));
    }};
    happen(log, sold("ada", 1));
    CHECK(first.get_future().get() == sums{{"ada", 1}});
    changes.stop();
    CHECK(ended.get_future().get());
    waits.join();
    CHECK(changes.is_over());
}

TEST_CASE("what waits does not grow: who is too slow is given a reset")
{
    a_store                  s{CAIRN_EACH_STORE};
    const auto               log = a_log();
    projection_runner<spent> runner{log, "spent", s.store, {.commit_events_max = 1}};
    runner.run_until_idle();
    auto changes = runner.view().follow(&spent::by_customer, {.behind_bytes_max = 1'000});
    page<std::string, std::int64_t> seen;
    seen.show(*changes.next(0ms));
    for (int i = 0; i < 100; ++i) happen(log, sold("customer " + std::to_string(i % 7), 1));
    runner.run_until_idle();
    int news = 0;
    while (const auto next = changes.next(0ms)) {
        seen.show(*next);
        ++news;
    }
    CHECK(news < 20);
    CHECK(seen.resets == 2);
    CHECK(seen.upto == log.end_position());
    CHECK(seen.rows.at("customer 0") == 15);
    CHECK(seen.rows.size() == 7);
    // And it follows as before.
    happen(log, sold("ada", 1));
    runner.run_until_idle();
    CHECK(changes.next(0ms) == sum_news{false, log.end_position(), sums{{"ada", 1}}, {}});
}

TEST_CASE("when another version answers its rows come as a reset")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    happen(log, sold("ada", 1));
    {
        projection_runner<spent> before{log, "spent", s.store};
        before.run_until_idle();
    }
    projection_runner<spent_twice> runner{log, "spent", s.store};
    auto                           changes = runner.view().follow(&spent_twice::by_customer);
    // Those of the old code meanwhile, for they look the same.
    CHECK(changes.next(0ms) == sum_news{true, log.end_position(), sums{{"ada", 1}}, {}});
    happen(log, sold("ada", 1));
    CHECK_FALSE(changes.next(0ms));
    std::thread builds{[&] { runner.run_until_idle(); }};
    CHECK(changes.next(1min) == sum_news{true, log.end_position(), sums{{"ada", 2}}, {}});
    builds.join();

    runner.rebuild();
    happen(log, sold("ada", 1));
    runner.run_until_idle();
    CHECK(changes.next(0ms) == sum_news{true, log.end_position(), sums{{"ada", 3}}, {}});
    runner.swap_to(2);
    CHECK(changes.next(0ms)->reset);
    happen(log, sold("ada", 1));
    runner.run_until_idle();
    CHECK(changes.next(0ms) == sum_news{false, log.end_position(), sums{{"ada", 4}}, {}});
}

TEST_CASE("a follower of tables that cannot answer yet waits for those that will")
{
    const auto log    = a_log();
    const auto tables = memory_tables();
    happen(log, sold("ada", 1));
    projection_runner<spent>{log, "spent", tables}.run_until_idle();
    projection_runner<other> runner{log, "spent", tables};
    auto                     changes = runner.view().follow(&other::sales_of);
    CHECK_FALSE(changes.next(0ms));
    auto rows = std::async(std::launch::async, [&] { return changes.next(1h)->rows; });
    runner.run_until_idle();
    CHECK(rows.get() == sums{{"ada", 1}});
}

TEST_CASE("one may follow the rows from a key on, between two, of a prefix, and those one likes")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    happen(log, sold("ada", 1), sold("bob", 20, "FR"), sold("cyd", 3));
    projection_runner<spent> runner{log, "spent", s.store};
    runner.run_until_idle();
    const auto view    = runner.view();
    auto       from    = view.follow(&spent::by_customer).rows_from("bob");
    auto       between = view.follow(&spent::by_customer).rows("b", "c");
    auto       french  = view.follow(&spent::by_country).rows_with("FR");
    auto       big =
        view.follow(&spent::by_customer).filtered([](const auto& r) { return r.value >= 10; });
    CHECK(from.next(0ms)->rows == sums{{"bob", 20}, {"cyd", 3}});
    CHECK(between.next(0ms)->rows == sums{{"bob", 20}});
    CHECK(french.next(0ms)->rows.size() == 1);
    CHECK(big.next(0ms) == sum_news{true, log.end_position(), sums{{"bob", 20}}, {}});

    happen(log, sold("ada", 10), sold("dan", 1, "FR"), sold("bob", -15, "FR"));
    runner.run_until_idle();
    CHECK(from.next(0ms)->rows == sums{{"bob", 5}, {"dan", 1}});
    CHECK(between.next(0ms)->rows == sums{{"bob", 5}});
    CHECK(french.next(0ms)->rows.size() == 2);
    CHECK(big.next(0ms) == sum_news{false, log.end_position(), sums{{"ada", 11}}, {"bob", "dan"}});
    // What is of no interest wakes nobody.
    happen(log, sold("abe", 1));
    runner.run_until_idle();
    CHECK_FALSE(from.next(0ms));
    CHECK_FALSE(between.next(0ms));
    CHECK_FALSE(french.next(0ms));
}

TEST_CASE("a windowed table is followed by its windows")
{
    struct by_hour : flows<sales::Sold>
    {
        windowed_table<std::string, std::int64_t> sold{this, "sold", tumbling(1h)};
        by_hour()
        {
            from<sales::Sold>() | timed_by([](auto) { return timestamp{3'600'001}; }) |
                group_by([](auto e) { return std::string{e.getCustomer()}; }) | count() |
                into(sold);
        }
    };
    const auto                 log = a_log();
    projection_runner<by_hour> runner{log, "by_hour", memory_tables()};
    auto                       changes = runner.view().follow(&by_hour::sold).rows_with("ada");
    CHECK(changes.next(0ms)->rows.empty());
    happen(log, sold("bob", 1), sold("ada", 1));
    runner.run_until_idle();
    const auto news = changes.next(0ms);
    REQUIRE(news->rows.size() == 1);
    CHECK(news->rows[0].key.start == timestamp{3'600'000});
    CHECK(news->rows[0].value == 1);
}

TEST_CASE("a parked event that is handled at last is heard of")
{
    const auto log = a_log();
    happen(log, sold("poison", 1));
    spent::mended = false;
    projection_runner<spent> runner{
        log, "spent", memory_tables(), {.on_failure = on_failure::park}};
    runner.run_until_idle();
    auto changes = runner.view().follow(&spent::by_customer);
    CHECK(changes.next(0ms)->rows.empty());
    spent::mended = true;
    CHECK(runner.retry_parked() == 1);
    CHECK(changes.next(0ms) == sum_news{false, runner.status().upto, sums{{"poison", 1}}, {}});
}

TEST_CASE("more rows than may be followed are refused, and tried again")
{
    const auto log = a_log();
    happen(log, sold("ada", 1), sold("bob", 1));
    projection_runner<spent> runner{log, "spent", memory_tables()};
    runner.run_until_idle();
    auto changes = runner.view().follow(&spent::by_customer, {.rows_max = 1});
    CHECK(code_of([&] { return changes.next(0ms); }) == errc::invalid_argument);
    happen(log, returned("bob", 1));
    runner.run_until_idle();
    CHECK(changes.next(0ms) == sum_news{true, log.end_position(), sums{{"ada", 1}}, {}});
}

TEST_CASE("a follower is over when its runner is gone")
{
    const auto                                              log = a_log();
    std::optional<followed_rows<std::string, std::int64_t>> changes;
    {
        projection_runner<spent> runner{log, "spent", memory_tables()};
        changes.emplace(runner.view().follow(&spent::by_customer));
        CHECK(changes->next(0ms)->reset);
        CHECK_FALSE(changes->is_over());
    }
    CHECK(changes->is_over());
    CHECK_FALSE(changes->next(1h));
}

TEST_CASE("who waits for other things too is told when there is news")
{
    const auto               log = a_log();
    projection_runner<spent> runner{log, "spent", memory_tables()};
    auto                     changes = runner.view().follow(&spent::by_customer);
    int                      calls   = 0;
    changes.on_news([&] { ++calls; });
    CHECK(changes.next(0ms)->reset);
    CHECK(calls == 0);
    happen(log, sold("ada", 1));
    runner.run_until_idle();
    CHECK(calls == 1);
    CHECK(changes.next(0ms)->rows == sums{{"ada", 1}});
}

TEST_CASE("followed as JSON a row has the names of its columns")
{
    const auto log = a_log(1);
    happen(log, sold("ada", 1), sold("b\"o\nb\xff", 9'007'199'254'740'993));
    projection_runner<spent> runner{log, "spent", memory_tables()};
    runner.run_until_idle();
    auto       json  = runner.view().follow_json("by_country");
    const auto first = json.next(0ms);
    CHECK(first->text == R"({"reset":true,"upto":)" + std::to_string(first->upto.value) +
                             R"(,"rows":[{"country":"UK","customer":"ada","cents":1},)"
                             R"({"country":"UK","customer":"b\"o\nb)"
                             "\xef\xbf\xbd"
                             R"(","cents":"9007199254740993"}],"erased":[]})");
    CHECK(first->reset);
    CHECK(first->upto == log.end_position());
    happen(log, returned("ada", 1));
    runner.run_until_idle();
    const auto news = json.next(0ms);
    CHECK(news->text == R"({"reset":false,"upto":)" + std::to_string(news->upto.value) +
                            R"(,"rows":[],"erased":[{"country":"UK","customer":"ada"}]})");
    CHECK_FALSE(news->reset);
    CHECK(news->upto == log.end_position());
    json.stop();
    CHECK_FALSE(json.next(1h));
    CHECK(code_of([&] { return runner.view().follow_json("nothing"); }) == errc::invalid_argument);
}

TEST_CASE("after a commit of which nobody knows whether it happened a follower begins again")
{
    using cairn::detail::table_feed;
    const table_shape shape{"t", {{"key", column_type::text}}, {{"value", column_type::text}}};
    const auto        tables = memory_tables()->open("p", 1, 1, std::span{&shape, 1});
    table_feed        feed{[&] { return table_feed::opened{tables->read(), 1, position{7}}; }};
    const auto        follower = feed.follow(nullptr, 0, {});
    const auto        now      = std::chrono::steady_clock::now();
    CHECK(follower->next(now)->rows.empty());

    const row_change changes[] = {{0, "a", "1"}};
    CHECK(code_of([&] {
              feed.commit(1, changes, position{8}, [&] {
                  tables->write()->commit(changes, {});
                  throw error{errc::store_unavailable, "the answer was lost"};
              });
          }) == errc::store_unavailable);
    const auto news = follower->next(now);
    REQUIRE(news);
    CHECK(news->reset);
    CHECK(news->rows.size() == 1);
    CHECK_FALSE(follower->next(now));
}
