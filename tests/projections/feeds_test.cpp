// SPDX-License-Identifier: Apache-2.0
#include "feed_gate.hpp"
#include "main/complaint.hpp"
#include "sales.hpp"
#include "stores.hpp"

#include <cairn/projections/json_feed.hpp>
#include <cairn/projections/live.hpp>
#include <cairn/projections/projection_runner.hpp>
#include <cairn/projections/testing.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <optional>
#include <set>
#include <thread>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

/// A line for each sale, and another for a large one.
struct told : projection<sales::Sold, sales::Returned>
{
    table<std::string, std::int64_t>                             cents{this, "cents"};
    json_feed<std::string, std::pair<std::string, std::int64_t>> sold{
        this, "sold", {"customer", "country", "cents"}};
    json_feed<std::string, std::string> large{this, "large"};

    void on(sales::Sold::Reader e, const origin&)
    {
        cents.update(e.getCustomer(), [&](auto& c) { c += e.getCents(); });
        sold.emit(e.getCustomer(), {e.getCountry(), e.getCents()});
        if (e.getCents() >= 100) {
            sold.emit("a large one", {e.getCountry(), e.getCents()});
            large.emit(e.getCustomer(), e.getCountry());
        }
        if (e.getCustomer() == "poison" && !mended) throw std::runtime_error{"poison"};
    }
    void on(sales::Returned::Reader e, const origin&) { sold.emit_erased(e.getCustomer()); }

    static inline bool mended = false;
};

/// The same with another version number, and mended.
struct told_2 : told
{
    static constexpr int version = 2;

    void on(sales::Sold::Reader e, const origin& from)
    {
        if (e.getCustomer() == "poison") return sold.emit("poison", {"mended", 0});
        told::on(e, from);
    }
    void on(sales::Returned::Reader e, const origin& from) { told::on(e, from); }
};

/// And with another table.
struct told_3 : projection<sales::Sold>
{
    static constexpr int                                         version = 3;
    table<std::string, std::string>                              country{this, "country"};
    json_feed<std::string, std::pair<std::string, std::int64_t>> sold{
        this, "sold", {"customer", "country", "cents"}};
    json_feed<std::string, std::string> large{this, "large"};

    void on(sales::Sold::Reader e, const origin&)
    {
        country.put(e.getCustomer(), e.getCountry());
        sold.emit(e.getCustomer(), {e.getCountry(), e.getCents()});
    }
};

/// Sales that cannot be handled until `mended`, by code that has no feed yet.
struct untold : projection<sales::Sold>
{
    static constexpr int             version = 1;
    table<std::string, std::int64_t> cents{this, "cents"};

    void on(sales::Sold::Reader e, const origin&)
    {
        cents.update(e.getCustomer(), [&](auto& c) { c += e.getCents(); });
        if (std::string{e.getCustomer()}.starts_with("bad") && !told::mended)
            throw std::runtime_error{"bad"};
    }
};

/// The same with a feed.
struct told_late : untold
{
    static constexpr int                version = 2;
    json_feed<std::string, std::string> sold{this, "sold"};

    void on(sales::Sold::Reader e, const origin& from)
    {
        sold.emit(e.getCustomer(), e.getCountry());
        untold::on(e, from);
    }
};

/// Keeps what it is given.
struct kept_lines final : feed_sink
{
    std::size_t deliver(std::span<const feed_line> lines) override
    {
        if (before) before(lines);
        const auto n = std::min(lines.size(), at_once);
        for (const auto& l : lines.first(n)) {
            ids.push_back(l.id);
            json.push_back(l.json);
        }
        if (after) after(lines);
        return n;
    }

    std::set<std::string> distinct() const { return {ids.begin(), ids.end()}; }

    std::vector<std::string>                        ids, json;
    std::size_t                                     at_once = 1'000'000;
    std::function<void(std::span<const feed_line>)> before, after;
};

struct crash
{};

commit_log a_log()
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 3);
    return log;
}

/// Every fifth sale makes three lines.
void sell(const commit_log& log, int events)
{
    for (int i = 0; i < events; ++i)
        happen(log, sold("customer " + std::to_string(i % 7), i % 5 == 0 ? 100 : 1));
}

projection_options to(const std::shared_ptr<kept_lines>& sink)
{
    projection_options o;
    o.commit_events_max = 4;
    o.feeds             = {{"sold", sink}, {"large", sink}};
    return o;
}

/// The ids of a log, by a projection that nothing happens to.
template <class P = told_2>
std::set<std::string> all_ids(const commit_log& log)
{
    const auto sink  = std::make_shared<kept_lines>();
    auto       alone = commit_log::in_memory();
    alone.create_topic("sales", 3);
    for (const auto& r : log.read_all()) {
        if (r.from->topic != "sales") continue;
        record copy;
        copy.key   = std::string{*r.key};
        copy.value = std::string{*r.value};
        for (const auto& h : r.headers)
            copy.headers.push_back({std::string{h.name}, std::string{h.value.value_or("")}});
        alone.append({.records = {{"sales", copy}}});
    }
    projection_runner<P>{alone, "told", memory_tables(), to(sink)}.run_until_idle();
    return sink->distinct();
}

}  // namespace

TEST_CASE("a line says where it is from, and has its columns by their names")
{
    const auto sink = std::make_shared<kept_lines>();
    const auto log  = a_log();
    happen(log, sold("Ada \"the\" first\n", 100, "UK"), returned("Ada \"the\" first\n", 0));
    projection_runner<told> runner{log, "told", memory_tables(), to(sink)};
    runner.run_until_idle();
    std::string              p;
    std::vector<std::string> where;
    for (const auto& r : log.read_all())
        if (r.from->topic == "sales") {
            p = std::to_string(r.from->partition);
            where.push_back(std::to_string(r.position.value));
        }
    const auto begin = [&](const std::string& feed, const std::string& end, int offset) {
        return "{\"id\":\"told/" + feed + "/sales-" + p + "/" + end + "\",\"feed\":\"" + feed +
               "\",\"projection\":\"told\",\"topic\":\"sales\",\"partition\":" + p +
               ",\"offset\":" + std::to_string(offset) +
               ",\"position\":" + where.at(static_cast<std::size_t>(offset));
    };
    const std::string ada = R"("Ada \"the\" first\n")";
    CHECK(sink->json == std::vector<std::string>{
                            begin("sold", "0/0", 0) + ",\"key\":" + ada +
                                R"(,"value":{"country":"UK","cents":100}})",
                            begin("sold", "0/1", 0) +
                                R"(,"key":"a large one","value":{"country":"UK","cents":100}})",
                            begin("sold", "1/0", 1) + ",\"key\":" + ada + R"(,"value":null})",
                            begin("large", "0/0", 0) + ",\"key\":" + ada + R"(,"value":"UK"})",
                        });
}

TEST_CASE("a line's id is the same however batches fall")
{
    const auto log = a_log();
    sell(log, 30);
    const auto want = all_ids(log);
    CHECK(want.size() == 42);
    for (const std::size_t batch : {1, 2, 3, 1'000}) {
        const auto other = a_log();
        sell(other, 30);
        const auto sink     = std::make_shared<kept_lines>();
        auto       o        = to(sink);
        o.commit_events_max = batch;
        projection_runner<told>{other, "told", memory_tables(), o}.run_until_idle();
        CHECK(sink->ids.size() == 42);
        CHECK(sink->distinct() == want);
    }
}

TEST_CASE("at least once: each line is delivered before its event is committed, at each crash")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto reference = a_log();
    sell(reference, 14);
    const auto want    = all_ids(reference);
    bool       crashed = true;
    for (int n = 0; crashed; ++n) {
        const auto name  = "told" + std::to_string(n);
        const auto log   = a_log();
        const auto sink  = std::make_shared<kept_lines>();
        int        steps = 0;
        sell(log, 14);
        auto       o       = to(sink);
        const auto perhaps = [&] {
            if (steps++ == n) throw crash{};
        };
        o.on_step    = [&](projection_step) { perhaps(); };
        sink->before = [&](auto) { perhaps(); };
        sink->after  = [&](auto) { perhaps(); };
        crashed      = false;
        try {
            projection_runner<told>{log, name, s.store, o}.run_until_idle();
        } catch (const crash&) {
            crashed = true;
        }
        // What is committed was delivered.
        {
            projection_runner<told> looks{log, name, s.store, to(sink)};
            const auto              upto = looks.status().upto;
            std::size_t             due  = 0;
            for (const auto& r : log.read_all())
                due += r.from->topic == "sales" && r.position < upto ? 1 : 0;
            CHECK(sink->distinct().size() >= due);
        }
        o.on_step    = {};
        sink->before = sink->after = {};
        projection_runner<told>{log, name, s.store, o}.run_until_idle();
        std::set<std::string> ids;
        for (const auto& id : sink->ids) ids.insert("told" + id.substr(name.size()));
        REQUIRE(ids == want);
        REQUIRE(n < 200);
    }
}

TEST_CASE("a line whose delivery is noted is not delivered again, whatever becomes of the tables")
{
    const auto log  = a_log();
    const auto sink = std::make_shared<kept_lines>();
    sell(log, 10);
    for (int again = 0; again < 3; ++again) {
        projection_runner<told>{log, "told", memory_tables(), to(sink)}.run_until_idle();
        CHECK(sink->ids.size() == 14);
    }
    sell(log, 1);
    projection_runner<told>{log, "told", memory_tables(), to(sink)}.run_until_idle();
    CHECK(sink->ids.size() == 17);
    CHECK(sink->distinct() == all_ids(log));
}

TEST_CASE("a delivery that fails half-way goes on with the line that failed")
{
    const auto log  = a_log();
    const auto sink = std::make_shared<kept_lines>();
    sink->at_once   = 1;
    sell(log, 12);
    int calls    = 0;
    sink->before = [&](auto) {
        if (++calls % 3 == 0) throw error{errc::store_unavailable, "away"};
    };
    projection_runner<told> runner{log, "told", memory_tables(), to(sink)};
    int                     failed = 0;
    for (bool done = false; !done;) {
        try {
            runner.run_until_idle();
            done = true;
        } catch (const error& e) {
            CHECK(e.code() == errc::store_unavailable);
            ++failed;
        }
    }
    CHECK(failed > 3);
    CHECK(sink->ids.size() == sink->distinct().size());
    CHECK(sink->distinct() == all_ids(log));
}

TEST_CASE("a sink that is away is waited for: the projection says so, and goes on by itself")
{
    const auto        log   = a_log();
    const auto        sink  = std::make_shared<kept_lines>();
    std::atomic<bool> away  = true;
    std::atomic<int>  asked = 0;
    sink->before            = [&](auto) {
        ++asked;
        if (away) throw error{errc::store_unavailable, "the sink is away"};
    };
    sell(log, 9);
    projection_runner<told> runner{log, "told", memory_tables(), to(sink)};
    runner.start();
    while (runner.status().state != projection_state::retrying || asked < 2)
        std::this_thread::yield();
    CHECK_THAT(runner.status().error, Catch::Contains("the sink is away"));
    CHECK(runner.view().read()->cents.size() == 0);
    away = false;
    REQUIRE(runner.view().wait_for(log.end_position() - 1, 1min));
    runner.stop();
    CHECK(sink->distinct() == all_ids(log));
    CHECK(sink->ids.size() == sink->distinct().size());
}

TEST_CASE("a version that is rebuilt delivers nothing, and goes on when it answers")
{
    a_store                 s{CAIRN_EACH_STORE};
    const auto              log  = a_log();
    const auto              sink = std::make_shared<kept_lines>();
    projection_runner<told> runner{log, "told", s.store, to(sink)};
    sell(log, 11);
    runner.run_until_idle();
    for (int n = 0; n < 3; ++n) {
        runner.rebuild();
        sell(log, 5 + n);
        runner.run_until_idle();
        CHECK(runner.status().version == n + 2);
        sell(log, 3);
        runner.run_until_idle();
        CHECK(sink->ids.size() == sink->distinct().size());
        CHECK(sink->distinct() == all_ids(log));
    }
    runner.swap_to(1);
    CHECK(runner.status().lag_events > 0);
    sell(log, 2);
    runner.run_until_idle();
    CHECK(sink->ids.size() == sink->distinct().size());
    CHECK(sink->distinct() == all_ids(log));
    CHECK(runner.verify().ok);
}

TEST_CASE("no line is left out, or there twice, while rebuilds swap under load")
{
    const auto              log  = a_log();
    const auto              sink = std::make_shared<kept_lines>();
    projection_runner<told> runner{log, "told", memory_tables(), to(sink)};
    runner.start();
    for (int n = 0; n < 8; ++n) {
        sell(log, 20);
        runner.rebuild();
        sell(log, 20);
        while (runner.status().rebuild) std::this_thread::yield();
    }
    REQUIRE(runner.view().wait_for(log.end_position() - 1, 1min));
    runner.stop();
    CHECK(runner.status().version == 9);
    CHECK(sink->ids.size() == sink->distinct().size());
    CHECK(sink->distinct() == all_ids(log));
}

TEST_CASE("a crash of a rebuild at each step leaves no line out, and the new version delivers on")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto reference = a_log();
    sell(reference, 12);
    const auto want    = all_ids(reference);
    bool       crashed = true;
    for (int n = 0; crashed; ++n) {
        const auto name = "told" + std::to_string(n);
        const auto log  = a_log();
        const auto sink = std::make_shared<kept_lines>();
        sell(log, 7);
        projection_runner<told>{log, name, s.store, to(sink)}.run_until_idle();
        sell(log, 0);
        for (int i = 7; i < 12; ++i)
            happen(log, sold("customer " + std::to_string(i % 7), i % 5 == 0 ? 100 : 1));
        int  steps = 0;
        auto o     = to(sink);
        o.on_step  = [&](projection_step) {
            if (steps++ == n) throw crash{};
        };
        crashed = false;
        try {
            projection_runner<told_2>{log, name, s.store, o}.run_until_idle();
        } catch (const crash&) {
            crashed = true;
        }
        projection_runner<told_2> after{log, name, s.store, to(sink)};
        after.run_until_idle();
        CHECK(after.status().version == 2);
        std::set<std::string> ids;
        for (const auto& id : sink->ids) ids.insert("told" + id.substr(name.size()));
        REQUIRE(ids == want);
        REQUIRE(n < 200);
    }
}

TEST_CASE("what the old version could not handle is delivered by the new one, and nothing else")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log  = a_log();
    const auto sink = std::make_shared<kept_lines>();
    sell(log, 6);
    happen(log, sold("poison", 1));
    sell(log, 6);
    {
        projection_runner<told> runner{log, "told", s.store, to(sink)};
        CHECK_THROWS_AS(runner.run_until_idle(), projection_failed);
        CHECK(sink->ids.size() == 10);
    }
    projection_runner<told_2> mended{log, "told", s.store, to(sink)};
    mended.run_until_idle();
    CHECK(mended.status().version == 2);
    CHECK(mended.view().read()->cents.size() == 6);
    CHECK(sink->ids.size() == sink->distinct().size());
    CHECK(sink->distinct() == all_ids(log));
}

TEST_CASE("a line of an event that was parked is delivered when it is handled")
{
    const auto log  = a_log();
    const auto sink = std::make_shared<kept_lines>();
    told::mended    = false;
    sell(log, 4);
    happen(log, sold("poison", 1), sold("poison", 100));
    sell(log, 4);
    auto o       = to(sink);
    o.on_failure = on_failure::park;
    projection_runner<told> runner{log, "told", memory_tables(), o};
    runner.run_until_idle();
    CHECK(sink->ids.size() == 12);
    CHECK(runner.retry_parked() == 0);
    CHECK(sink->ids.size() == 12);
    told::mended = true;
    sink->before = [](auto) { throw error{errc::store_unavailable, "away"}; };
    CHECK(code_of([&] { return runner.retry_parked(); }) == errc::store_unavailable);
    CHECK(runner.status().parked == 2);
    sink->before = {};
    CHECK(runner.retry_parked() == 2);
    CHECK(sink->ids.size() == 16);
    CHECK(sink->distinct() == all_ids<told>(log));
    told::mended = false;
}

TEST_CASE("an event that was parked is delivered once, whichever version handles it, and when")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log  = a_log();
    const auto sink = std::make_shared<kept_lines>();
    told::mended    = false;
    sell(log, 3);
    happen(log, sold("poison", 1), sold("poison", 1));
    sell(log, 3);
    auto o       = to(sink);
    o.on_failure = on_failure::park;
    std::optional<projection_runner<told>> runner{std::in_place, log, "told", s.store, o};
    runner->run_until_idle();
    CHECK(runner->status().parked == 2);
    CHECK(sink->ids.size() == 10);
    const auto once = [&] {
        CHECK(sink->distinct() == all_ids(log));
        CHECK(sink->ids.size() == 12);
    };

    SECTION("the new version, which has parked it as well")
    {
        told::mended = true;
        runner->rebuild();
        runner->run_until_idle();
        CHECK(runner->status().version == 2);
        CHECK(sink->ids.size() == 10);
        CHECK(runner->status().parked == 2);
        CHECK(runner->verify().ok);
        CHECK(runner->retry_parked() == 2);
        once();
        runner->swap_to(1);
        CHECK(runner->retry_parked() == 2);
        once();
    }
    SECTION("the old version, before the new one comes to it")
    {
        told::mended = true;
        runner->rebuild();
        CHECK(runner->retry_parked() == 2);
        once();
        runner->run_until_idle();
        CHECK(runner->status().parked == 0);
    }
    SECTION("a version of other code and other tables")
    {
        runner.reset();
        projection_runner<told_3> other{log, "told", s.store, to(sink)};
        other.run_until_idle();
        CHECK(other.status().version == 2);
        CHECK(sink->ids.size() == 10);
        CHECK(other.retry_parked() == 2);
    }
    SECTION("one whose tables are made anew, in memory")
    {
        runner.reset();
        told::mended = true;
        projection_runner<told>{log, "told", memory_tables(), to(sink)}.run_until_idle();
    }
    SECTION("nobody, where it is given up")
    {
        for (const auto& e : runner->parked()) runner->skip_parked(e.in, e.at);
        told::mended = true;
        runner->rebuild();
        runner->run_until_idle();
        CHECK(sink->ids.size() == 10);
        return;
    }
    once();
    told::mended = false;
}

TEST_CASE("what only the new version has parked was delivered by the old one, and stays so")
{
    const auto log  = a_log();
    const auto sink = std::make_shared<kept_lines>();
    sell(log, 3);
    happen(log, sold("poison", 1));
    sell(log, 3);
    auto o       = to(sink);
    o.on_failure = on_failure::park;
    told::mended = true;
    projection_runner<told> runner{log, "told", memory_tables(), o};
    runner.run_until_idle();
    told::mended = false;
    runner.rebuild();
    runner.run_until_idle();
    CHECK(runner.status().parked == 1);
    told::mended = true;
    CHECK(runner.retry_parked() == 1);
    told::mended = false;
    CHECK(sink->ids.size() == 11);
    CHECK(sink->distinct() == all_ids(log));
}

TEST_CASE("a feed that new code adds gets each event that was parked before, once, on retry")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log  = a_log();
    const auto sink = std::make_shared<kept_lines>();
    told::mended    = false;
    // In an order that is none of keys, partitions or offsets; what is good is between.
    const auto record_bad = [&] {
        for (int i = 0; i < 16; ++i)
            happen(log, sold("bad " + std::to_string(i * 7 % 5), 1), sold("good", 1));
    };
    projection_options without;
    without.on_failure = on_failure::park;
    auto with          = without;
    with.feeds         = {{"sold", sink}};
    if (GENERATE(false, true)) {
        // The topic of notes is there, by another projection.
        sell(log, 5);
        projection_runner<told>{log, "another", memory_tables(), to(std::make_shared<kept_lines>())}
            .run_until_idle();
    }
    record_bad();
    {
        projection_runner<untold> runner{log, "told", s.store, without};
        runner.run_until_idle();
        CHECK(runner.status().parked == 16);
    }
    std::set<topic_partition>                   partitions;
    std::optional<projection_runner<told_late>> runner{std::in_place, log, "told", s.store, with};
    runner->run_until_idle();
    CHECK(runner->status().version == 2);
    CHECK(runner->status().parked == 16);
    CHECK(sink->ids.empty());
    for (const auto& e : runner->parked()) partitions.insert(e.in);
    CHECK(partitions.size() > 1);
    CHECK(runner->retry_parked() == 0);
    CHECK(sink->ids.empty());
    const auto once = [&](std::size_t n) {
        CHECK(sink->ids.size() == n);
        CHECK(sink->distinct().size() == n);
    };

    SECTION("by the version that answers")
    {
        told::mended = true;
        CHECK(runner->retry_parked() == 16);
        once(16);
        happen(log, sold("bad 1", 1), sold("good", 1));
        runner->run_until_idle();
        once(18);
    }
    SECTION("after later events were delivered")
    {
        told::mended = true;
        happen(log, sold("ok 1", 1), sold("ok 2", 1), sold("ok 3", 1), sold("ok 4", 1));
        runner->run_until_idle();
        once(4);
        CHECK(runner->retry_parked() == 16);
        once(20);
    }
    SECTION("after it was closed and opened")
    {
        runner.reset();
        told::mended = true;
        if (s.lasts()) s.reopen();
        runner.emplace(log, "told", s.store, with);
        CHECK(runner->retry_parked() == 16);
        once(16);
    }
    SECTION("by a later version, and then by this one")
    {
        told::mended = true;
        runner->rebuild();
        runner->run_until_idle();
        CHECK(runner->status().version == 3);
        CHECK(sink->ids.empty());
        CHECK(runner->retry_parked() == 16);
        once(16);
        runner->swap_to(2);
        CHECK(runner->retry_parked() == 16);
        once(16);
    }
    SECTION("where a sink that is away comes back")
    {
        told::mended = true;
        int calls    = 0;
        sink->before = [&](auto) {
            if (++calls == 7) throw error{errc::store_unavailable, "away"};
        };
        CHECK(code_of([&] { return runner->retry_parked(); }) == errc::store_unavailable);
        CHECK(runner->retry_parked() == 10);
        once(16);
    }
    SECTION("but not what is given up")
    {
        for (const auto& e : runner->parked())
            if (e.key == "bad 0") runner->skip_parked(e.in, e.at);
        told::mended      = true;
        const auto parked = runner->status().parked;
        CHECK(parked < 16);
        CHECK(runner->retry_parked() == parked);
        once(parked);
    }
    told::mended = false;
}

TEST_CASE("a gate that could not note all that is owed is shut, and notes the rest when it opens")
{
    const auto                log  = a_log();
    const auto                sink = std::make_shared<kept_lines>();
    cairn::detail::feed_lines lines;
    table_shape               shape;
    shape.name = "sold";
    lines.add(std::move(shape), {});
    const cairn::detail::feed_sinks sinks{{"sold", sink}};
    cairn::detail::feed_gate        gate{event_store{log}, "told", lines, sinks};
    std::vector<parked_event>       all;
    for (const int partition : {0, 2})
        for (int at = 0; at < 400; ++at) {
            parked_event e;
            e.in = {"sales", partition};
            e.at = offset{2 * at};
            all.push_back(e);
        }
    std::size_t asked = 0, given = 0, at_once = 0;
    std::size_t fails_at = 3;
    const auto  list     = [&](std::size_t at_most, const std::optional<parked_event>& after) {
        if (++asked == fails_at) throw error{errc::store_unavailable, "away"};
        std::vector<parked_event> some;
        for (const auto& e : all)
            if (some.size() < at_most &&
                (!after || std::pair{after->in, after->at} < std::pair{e.in, e.at}))
                some.push_back(e);
        given += some.size();
        at_once = std::max(at_once, some.size());
        return some;
    };
    const auto owed = [&] {
        std::set<std::string> keys;
        for (const auto& r : log.partition("__feeds", 0).read(offset{0}))
            if (r.value == "parked") CHECK(keys.insert(std::string{*r.key}).second);
        return keys;
    };
    CHECK(code_of([&] { return gate.open(list), 0; }) == errc::store_unavailable);
    CHECK_FALSE(lines.collects());
    CHECK(owed().size() < all.size());
    fails_at = 0;
    gate.open(list);
    CHECK(lines.collects());
    const auto keys = owed();
    CHECK(keys.size() == all.size());
    for (const auto& e : all)
        CHECK(keys.count("told/sales-" + std::to_string(e.in.partition) + "/" +
                         std::to_string(e.at.value)) == 1);
    CHECK(at_once < all.size());
    // What is before the notes is passed over, however much it is.
    given            = 0;
    const auto again = log.end_position();
    cairn::detail::feed_gate{event_store{log}, "told", lines, sinks}.open(list);
    CHECK(given < all.size());
    CHECK(log.end_position() == again);
}

TEST_CASE("looking never delivers: fold, verify, and given and expect")
{
    const auto log  = a_log();
    const auto sink = std::make_shared<kept_lines>();
    sell(log, 5);
    projection_runner<told> runner{log, "told", memory_tables(), to(sink)};
    runner.run_until_idle();
    const auto before = sink->ids.size();
    const auto end    = log.end_position();
    CHECK(fold<told>(log)->cents.size() == 5);
    CHECK(runner.verify().ok);
    auto world = given<told>();
    world.in({"sales", "Ada"}, sold("Ada", 5));
    CHECK(world.expect(&told::cents, {{"Ada", 5}}));
    CHECK(sink->ids.size() == before);
    CHECK(log.end_position() == end);
}

TEST_CASE("a feed without a sink, and a sink without a feed, are refused by name at the start")
{
    const auto log  = a_log();
    const auto sink = std::make_shared<kept_lines>();
    const auto made = [&](projection_options o) {
        return complaint_of([&] {
            projection_runner<told>{log, "told", memory_tables(), std::move(o)};
            return 0;
        });
    };
    CHECK(made({.feeds = {{"sold", sink}}})->says("feed large of projection told goes nowhere"));
    CHECK(made({.feeds = {{"sold", sink}, {"large", nullptr}}})->says("goes nowhere"));
    CHECK(made({.feeds = {{"sold", sink}, {"large", sink}, {"lagre", sink}}})
              ->says("has no feed 'lagre'"));
}

TEST_CASE("a feed is given lines by events only")
{
    told t;
    CHECK(code_of([&] {
              t.large.emit("Ada", "UK");
              return 0;
          }) == errc::not_writing);
    struct twice : projection<sales::Sold>
    {
        json_feed<std::string, std::string> one{this, "one"};
        json_feed<std::string, std::string> two{this, "one"};
    };
    CHECK(complaint_of([] { return twice{}.one.emit("", ""), 0; })->says("two feeds called 'one'"));
}

TEST_CASE("keys and values are JSON whatever they are made of")
{
    const auto text = [](const auto& value) {
        std::string out;
        cairn::detail::put_json(out, value);
        return out;
    };
    enum class colour : std::uint8_t { red = 3 };
    CHECK(text(true) == "true");
    CHECK(text(std::int8_t{-7}) == "-7");
    CHECK(text(std::numeric_limits<std::uint64_t>::max()) == "18446744073709551615");
    CHECK(text(0.1) == "0.1");
    CHECK(text(0.1f) == "0.1");
    CHECK(text(std::numeric_limits<double>::infinity()) == "null");
    CHECK(text(colour::red) == "3");
    CHECK(text(timestamp{12}) == "12");
    CHECK(text(std::chrono::sys_time<std::chrono::milliseconds>{5ms}) == "5");
    CHECK(text(std::optional<int>{}) == "null");
    CHECK(text(std::optional<int>{4}) == "4");
    CHECK(text(std::vector<bool>{true, false}) == "[true,false]");
    CHECK(text(std::map<std::string, int>{{"a", 1}, {"b", 2}}) == R"({"a":1,"b":2})");
    CHECK(text(std::map<int, std::string>{{1, "a"}}) == R"([[1,"a"]])");
    CHECK(text(std::tuple<int, std::string>{1, "x"}) == R"([1,"x"])");
    CHECK(text(std::string{"\x01\x7f\\\t\xff\xc3\xa9"}) == R"("\u0001\u007f\\\t)"
                                                           "\xef\xbf\xbd\xc3\xa9\"");
    CHECK(text(std::string{'\0'}) == R"("\u0000")");
}
