// SPDX-License-Identifier: Apache-2.0
//
// Projections of what matches a query.
//
//     CAIRN_SEED=n       the same random events again
#include "event_store_core.hpp"
#include "main/complaint.hpp"
#include "main/seed.hpp"
#include "sales.hpp"
#include "stores.hpp"

#include <cairn/projections/live.hpp>
#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <map>
#include <random>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

commit_log a_log()
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 3);
    log.create_topic("other", 2);
    return log;
}

struct tagged : projection<sales::Sold>
{
    table<std::string, std::int64_t> cents{this, "cents"};
    void                             on(sales::Sold::Reader e, const origin&)
    {
        if (e.getCustomer() == "poison") throw std::runtime_error{"poison"};
        cents.update(e.getCustomer(), [&](auto& c) { c += e.getCents(); });
    }
};

template <class E>
void happen_with(const commit_log& log, const event<E>& e, const std::vector<std::string>& tags,
                 const std::string& topic = "sales")
{
    const event_store store{log};
    const stream_id   stream{topic, std::string{e.read()->getCustomer()}};
    auto record = store.core().record_of(e, stream, store.log().stream_version(stream), {});
    std::erase_if(record.headers, [](const header& h) { return h.name == header_names::tags; });
    if (!tags.empty()) record.headers.push_back({std::string{header_names::tags}, join_tags(tags)});
    auto to = log;
    to.append({.records = {{topic, std::move(record)}}});
}

projection_options only(std::vector<std::string> tags)
{
    projection_options o;
    o.query = query{{{{}, std::move(tags)}}};
    return o;
}

}  // namespace

TEST_CASE("a projection of a query counts the events that have its tags, and no others")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    happen_with(log, sold("ada", 1), {"shop:1"});
    happen_with(log, sold("ada", 10), {"shop:2"});
    happen_with(log, sold("ada", 100), {});
    happen_with(log, returned("ada", 1'000), {"shop:1"});
    projection_runner<tagged> runner{log, "tagged", s.store, only({"shop:1"})};
    runner.run_until_idle();
    CHECK(runner.view().read()->cents.find("ada") == 1);
    CHECK(runner.status().lag_events == 0);
    CHECK(runner.status().upto == log.end_position());
    CHECK(runner.status().events == 1);

    runner.start();
    happen_with(log, sold("bob", 5), {"shop:2"});
    happen_with(log, sold("bob", 7), {"shop:3", "shop:1"});
    happen_with(log, sold("bob", 9), {"shop:1"}, "other");
    CHECK(runner.view().read(log.end_position() - 1, 1min)->cents.find("bob") == 16);
    CHECK(runner.verify().ok);
    CHECK(fold<tagged>(log, {.query = query{{{{}, {"shop:2"}}}}})->cents.find("ada") == 10);
}

TEST_CASE("an event that does not match counts as passed, and each that does counts once")
{
    a_store         s{CAIRN_EACH_STORE};
    const auto      seed = cairn::testing::seed();
    std::mt19937_64 random{seed};
    INFO("CAIRN_SEED=" << seed);
    const auto                          log = a_log();
    std::map<std::string, std::int64_t> model;
    for (int round = 0; round < 20; ++round) {
        for (auto n = random() % 20; n > 0; --n) {
            const auto customer = "customer " + std::to_string(random() % 9);
            const bool matches  = random() % 3 == 0;
            const auto topic    = random() % 4 == 0 ? "other" : "sales";
            happen_with(log, sold(customer, 1), {matches ? "yes" : "no"}, topic);
            if (matches && topic == std::string{"sales"}) ++model[customer];
        }
        auto o              = only({"yes"});
        o.topics            = {"sales"};
        o.commit_events_max = 1 + random() % 5;
        int left            = static_cast<int>(random() % 6);
        o.on_step           = [&](projection_step step) {
            if (step == projection_step::committing && left-- == 0)
                throw error{errc::store_unavailable, "the store is away"};
        };
        projection_runner<tagged> runner{log, "tagged", s.store, o};
        const auto                failed = code_of([&] { runner.run_until_idle(); });
        if (failed) CHECK(failed == errc::store_unavailable);
        runner.run_until_idle();
        CHECK(runner.status().lag_events == 0);
        CHECK(runner.status().upto == log.end_position());
        for (const auto& [customer, cents] : model)
            CHECK(runner.view().read()->cents.find(customer) == cents);
        CHECK(runner.view().read()->cents.size() == model.size());
    }
}

TEST_CASE("retention of what was passed is no loss to a projection of a query")
{
    const auto log = a_log();
    happen_with(log, sold("ada", 1), {"yes"});
    const auto tables = memory_tables();
    projection_runner<tagged>{log, "tagged", tables, only({"yes"})}.run_until_idle();
    for (int i = 0; i < 10; ++i) happen_with(log, sold("ada", 1), {"no"});
    happen_with(log, sold("ada", 1), {"yes"});
    projection_runner<tagged>{log, "tagged", tables, only({"yes"})}.run_until_idle();
    auto in = log.partition("sales", log.partition_of({"sales", "ada"}));
    in.truncate_before(in.end_offset());
    projection_runner<tagged> runner{log, "tagged", tables, only({"yes"})};
    runner.run_until_idle();
    CHECK(runner.view().read()->cents.find("ada") == 2);
}

TEST_CASE("what a handler throws at stops a projection of a query there, or is parked")
{
    const auto log = a_log();
    happen_with(log, sold("ada", 1), {"yes"});
    happen_with(log, sold("poison", 1), {"no"});
    happen_with(log, sold("poison", 1), {"yes"});
    happen_with(log, sold("bob", 1), {"yes"});
    {
        projection_runner<tagged> runner{log, "tagged", memory_tables(), only({"yes"})};
        try {
            runner.run_until_idle();
            FAIL("nothing was thrown");
        } catch (const projection_failed& e) {
            CHECK(e.in().topic == "sales");
            CHECK(e.at() == offset{1});
            runner.skip(e.position());
        }
        runner.run_until_idle();
        CHECK(runner.view().read()->cents.size() == 2);
    }
    auto o       = only({"yes"});
    o.on_failure = on_failure::park;
    projection_runner<tagged> runner{log, "tagged", memory_tables(), o};
    runner.run_until_idle();
    CHECK(runner.status().parked == 1);
    CHECK(runner.view().read()->cents.size() == 2);
}

TEST_CASE("other topics, or another query, of code of the same version are refused")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    happen_with(log, sold("ada", 1), {"yes"});
    projection_runner<tagged>{log, "tagged", s.store, only({"yes"})}.run_until_idle();
    const auto refused = [&](const projection_options& o) {
        const auto c = complaint_of([&] { projection_runner<tagged>{log, "tagged", s.store, o}; });
        return c && *c == errc::shape_differs && c->says("next version number");
    };
    CHECK(refused({}));
    CHECK(refused(only({"no"})));
    auto topics   = only({"yes"});
    topics.topics = {"sales"};
    CHECK(refused(topics));
    projection_runner<tagged>{log, "tagged", s.store, only({"yes"})}.run_until_idle();

    // Topics in another order are the same topics.
    projection_runner<tagged>{log, "of_topics", s.store, {.topics = {"sales", "other"}}}
        .run_until_idle();
    projection_runner<tagged>{log, "of_topics", s.store, {.topics = {"other", "sales"}}}
        .run_until_idle();
}
