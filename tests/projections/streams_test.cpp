// SPDX-License-Identifier: Apache-2.0
//
// Flows and windows, beside models that are slow and plain.
//
//     CAIRN_SEED=n       the same random events again
//     CAIRN_LONG=1       twenty times as many rounds
#include "main/complaint.hpp"
#include "main/seed.hpp"
#include "sales.hpp"
#include "stores.hpp"

#include <cairn/framework/detail/event_record.hpp>
#include <cairn/projections/flows.hpp>
#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <type_traits>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;
using sales::BigSale;
using sales::Returned;
using sales::Sold;

namespace {

/// A sale as the models see it.
struct sale
{
    std::string  customer;
    std::int64_t cents;
    std::int64_t time = 0;
};

constexpr int partitions = 3;

commit_log a_log()
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", partitions);
    log.create_topic("big_sales", partitions);
    return log;
}

void append_at(commit_log log, std::int64_t time, const any_event& e, const std::string& customer)
{
    const event_store store{log};
    const stream_id   stream{"sales", customer};
    auto r      = cairn::detail::record_of(store, e, stream, log.stream_version(stream), {});
    r.timestamp = timestamp{time};
    log.append({.records = {{"sales", std::move(r)}}});
}
void append(const commit_log& log, const sale& s)
{
    append_at(log, s.time, sold(s.customer, s.cents), s.customer);
}
template <class Sales>
void append_all(const commit_log& log, const Sales& all)
{
    for (const auto& s : all) append(log, s);
}

using by_window = std::map<windowed<std::string>, std::int64_t>;

template <class Key, class Value>
std::map<Key, Value> as_map(row_range<Key, Value> rows)
{
    std::map<Key, Value> all;
    for (const auto& [key, value] : rows) all.emplace(key, value);
    return all;
}

windowed<std::string> in(const std::string& customer, std::int64_t start, std::int64_t end)
{
    return {customer, timestamp{start}, timestamp{end}};
}

struct crash
{};

int times()
{
    return std::getenv("CAIRN_LONG") ? 20 : 1;
}

/// What a test's windows are: a projection has no arguments.
windows the_windows = tumbling(10ms);

struct windowed_sales : flows<Sold>
{
    windowed_table<std::string, std::int64_t> spent{this, "spent", the_windows};

    windowed_sales()
    {
        from<Sold>() | group_by(&Sold::Reader::getCustomer) | sum(&Sold::Reader::getCents) |
            into(spent);
    }
};

struct outcome
{
    by_window     rows, closed;
    std::uint64_t late;

    friend bool operator==(const outcome&, const outcome&) = default;
};

template <class P>
outcome outcome_of(const projection_runner<P>& runner)
{
    const auto view = runner.view();
    const auto now  = view.read();
    return {as_map(now->spent.rows()), as_map(now->spent.closed_only(now->spent.rows())),
            now->spent.late()};
}

outcome windows_of(const std::vector<sale>& sales, windows w)
{
    the_windows    = w;
    const auto log = a_log();
    append_all(log, sales);
    projection_runner<windowed_sales> runner{log, "sales", memory_tables()};
    runner.run_until_idle();
    return outcome_of(runner);
}

// ---- Models. ------------------------------------------------------------------------------------

/// Looks at every window that there could be.
outcome aligned_model(const std::vector<sale>& sales, std::int64_t size, std::int64_t hop,
                      std::int64_t grace)
{
    outcome      o{};
    std::int64_t time = std::numeric_limits<std::int64_t>::min();
    for (const auto& s : sales) {
        time      = std::max(time, s.time);
        bool late = false;
        for (std::int64_t n = -1'000; n <= 1'000; ++n) {
            const auto start = n * hop, end = start + size;
            if (s.time < start || s.time >= end) continue;
            if (end + grace <= time)
                late = true;
            else
                o.rows[in(s.customer, start, end)] += s.cents;
        }
        o.late += late;
    }
    for (const auto& [key, cents] : o.rows)
        if (key.end.value + grace <= time) o.closed[key] = cents;
    return o;
}

/// Keeps events, not sessions, and makes all sessions anew for each event.
outcome session_model(const std::vector<sale>& sales, std::int64_t gap, std::int64_t grace)
{
    using cluster       = std::vector<sale>;
    const auto clusters = [gap](std::vector<sale> of) {
        std::stable_sort(of.begin(), of.end(),
                         [](const sale& a, const sale& b) { return a.time < b.time; });
        std::vector<cluster> all;
        for (const auto& s : of)
            if (all.empty() || s.time - all.back().back().time >= gap)
                all.push_back({s});
            else
                all.back().push_back(s);
        return all;
    };
    std::map<std::string, std::vector<sale>> accepted;
    std::int64_t                             time = std::numeric_limits<std::int64_t>::min();
    outcome                                  o{};
    const auto closed = [&](const cluster& c) { return c.back().time + gap + grace <= time; };
    for (const auto& s : sales) {
        time         = std::max(time, s.time);
        auto& so_far = accepted[s.customer];
        bool  late   = s.time + gap + grace <= time;
        bool  joins  = false;
        for (const auto& c : clusters(so_far))
            if (s.time < c.back().time + gap && c.front().time < s.time + gap) {
                joins = true;
                if (closed(c)) {
                    late  = true;
                    joins = false;
                    break;
                }
            }
        if (late && !joins) {
            ++o.late;
            continue;
        }
        so_far.push_back(s);
    }
    for (const auto& [customer, all] : accepted)
        for (const auto& c : clusters(all)) {
            std::int64_t sum = 0;
            for (const auto& s : c) sum += s.cents;
            const auto key = in(customer, c.front().time, c.back().time + gap);
            o.rows[key]    = sum;
            if (closed(c)) o.closed[key] = sum;
        }
    return o;
}

/// They come about in order; some much too late.
std::vector<sale> random_sales(std::mt19937_64& random, int n)
{
    std::vector<sale> all;
    std::int64_t      now = -50;
    for (int i = 0; i < n; ++i) {
        now += static_cast<std::int64_t>(random() % 4);
        const auto behind = random() % 5 == 0 ? random() % 60 : random() % 6;
        all.push_back({std::string(1, static_cast<char>('a' + random() % 4)),
                       static_cast<std::int64_t>(random() % 100),
                       now - static_cast<std::int64_t>(behind)});
    }
    return all;
}

}  // namespace

TEST_CASE("a window has its start in it and its end not, and is aligned to 1970")
{
    const std::vector<sale> sales{{"ada", 1, 10}, {"ada", 2, 19}, {"ada", 4, 20}, {"ada", 8, 9}};
    CHECK(windows_of(sales, tumbling(10ms).grace(1s)).rows ==
          by_window{{in("ada", 0, 10), 8}, {in("ada", 10, 20), 3}, {in("ada", 20, 30), 4}});
    CHECK(windows_of({{"ada", 1, -1}, {"ada", 2, -10}, {"ada", 4, -11}}, tumbling(10ms).grace(1s))
              .rows == by_window{{in("ada", -20, -10), 4}, {in("ada", -10, 0), 3}});
}

TEST_CASE("a window is closed when stream time comes to its end and grace, and then it is final")
{
    const auto w = tumbling(10ms).grace(5ms);
    // 14 is the last time at which the window from 0 still takes an event.
    const auto open = windows_of({{"ada", 1, 0}, {"bob", 1, 14}, {"ada", 2, 9}}, w);
    CHECK(open.rows.at(in("ada", 0, 10)) == 3);
    CHECK(open.late == 0);
    CHECK(open.closed.empty());
    const auto closed = windows_of({{"ada", 1, 0}, {"bob", 1, 15}, {"ada", 2, 9}}, w);
    CHECK(closed.rows.at(in("ada", 0, 10)) == 1);
    CHECK(closed.late == 1);
    CHECK(closed.closed == by_window{{in("ada", 0, 10), 1}});
}

TEST_CASE("an event is in size / hop windows, and late once where it misses any")
{
    const auto all = windows_of({{"ada", 1, 25}}, hopping(30ms, 10ms));
    CHECK(all.rows ==
          by_window{{in("ada", 0, 30), 1}, {in("ada", 10, 40), 1}, {in("ada", 20, 50), 1}});
    const auto some = windows_of({{"bob", 1, 40}, {"ada", 1, 25}}, hopping(30ms, 10ms));
    CHECK(some.rows.count(in("ada", 0, 30)) == 0);
    CHECK(some.rows.count(in("ada", 10, 40)) == 0);
    CHECK(some.rows.count(in("ada", 20, 50)) == 1);
    CHECK(some.late == 1);
}

TEST_CASE("an event between two sessions makes them one, and one a gap later begins another")
{
    const auto w = sessions(10ms).grace(1s);
    CHECK(windows_of({{"ada", 1, 0}, {"ada", 2, 18}}, w).rows ==
          by_window{{in("ada", 0, 10), 1}, {in("ada", 18, 28), 2}});
    CHECK(windows_of({{"ada", 1, 0}, {"ada", 2, 18}, {"ada", 4, 9}}, w).rows ==
          by_window{{in("ada", 0, 28), 7}});
    CHECK(windows_of({{"ada", 1, 0}, {"ada", 2, 10}}, w).rows ==
          by_window{{in("ada", 0, 10), 1}, {in("ada", 10, 20), 2}});
    CHECK(windows_of({{"ada", 1, 0}, {"bob", 2, 5}}, w).rows ==
          by_window{{in("ada", 0, 10), 1}, {in("bob", 5, 15), 2}});
}

TEST_CASE("an event that belongs to a closed session is left out, and the session stays as it is")
{
    const auto o = windows_of({{"ada", 1, 0}, {"bob", 1, 15}, {"ada", 2, 8}}, sessions(10ms));
    CHECK(o.rows == by_window{{in("ada", 0, 10), 1}, {in("bob", 15, 25), 1}});
    CHECK(o.late == 1);
    CHECK(o.closed == by_window{{in("ada", 0, 10), 1}});
}

TEST_CASE("windows are what a model finds that looks at every window there could be")
{
    std::mt19937_64 random{seed()};
    std::uint64_t   late = 0;
    for (int round = 0; round < 12 * times(); ++round) {
        const auto hop  = static_cast<std::int64_t>(1 + random() % 12);
        const auto size = hop * static_cast<std::int64_t>(1 + random() % 4) +
                          static_cast<std::int64_t>(random() % 3);
        const auto grace = static_cast<std::int64_t>(random() % 20);
        const auto sales = random_sales(random, 300);
        CAPTURE(round, hop, size, grace);
        const auto wanted = aligned_model(sales, size, hop, grace);
        const auto w      = hopping(windows::milliseconds{size}, windows::milliseconds{hop})
                           .grace(windows::milliseconds{grace});
        REQUIRE(windows_of(sales, w) == wanted);
        late += wanted.late;
    }
    CHECK(late > 0);
}

TEST_CASE("sessions are what a model finds that keeps events and no sessions")
{
    std::mt19937_64 random{seed()};
    std::uint64_t   late = 0;
    for (int round = 0; round < 20 * times(); ++round) {
        const auto gap   = static_cast<std::int64_t>(1 + random() % 20);
        const auto grace = static_cast<std::int64_t>(random() % 20);
        const auto sales = random_sales(random, 300);
        CAPTURE(round, gap, grace);
        const auto wanted = session_model(sales, gap, grace);
        REQUIRE(
            windows_of(sales,
                       sessions(windows::milliseconds{gap}).grace(windows::milliseconds{grace})) ==
            wanted);
        late += wanted.late;
    }
    CHECK(late > 0);
}

TEST_CASE("however events are batched, and wherever a runner ends, the windows are the same")
{
    a_store         s{CAIRN_EACH_STORE};
    std::mt19937_64 random{seed()};
    const auto      sales = random_sales(random, 200);
    for (const auto& w : {hopping(20ms, 7ms).grace(5ms), sessions(8ms).grace(5ms)}) {
        const auto wanted = windows_of(sales, w);
        const auto log    = a_log();
        const auto name   = std::string{w.are_sessions() ? "sessions" : "hopping"};
        for (std::size_t done = 0; done < sales.size();) {
            projection_runner<windowed_sales> runner{
                log, name, s.store, {.commit_events_max = 1 + random() % 20}};
            for (int runs = 0; runs < 3; ++runs) {
                for (auto n = random() % 20; n > 0 && done < sales.size(); --n)
                    append(log, sales[done++]);
                runner.run_until_idle();
            }
            if (done == sales.size()) CHECK(outcome_of(runner) == wanted);
        }
    }
}

TEST_CASE("a flow filters, maps, groups, and adds up, compares, keeps and reduces")
{
    struct sums : flows<Sold, Returned>
    {
        table<std::string, std::uint64_t> counted{this, "counted"};
        table<std::string, std::int64_t>  spent{this, "spent"}, least{this, "least"},
            most{this, "most"}, last{this, "last"}, product{this, "product"};
        table<std::string, std::string> partition{this, "partition"};

        sums()
        {
            const auto customer = &Sold::Reader::getCustomer;
            const auto cents    = &Sold::Reader::getCents;
            const auto not_free = [](Sold::Reader e) { return e.getCents() != 0; };

            from<Sold>() | group_by(customer) | count() | into(counted);
            from<Sold>() | group_by(customer) | sum(cents) | into(spent);
            from<Returned>() | group_by(&Returned::Reader::getCustomer) |
                sum([](Returned::Reader e) { return -e.getCents(); }) | into(spent);
            from<Sold>() | filter(not_free) | group_by(customer) | min(cents) | into(least);
            from<Sold>() | filter(not_free) | group_by(customer) | max(cents) | into(most);
            from<Sold>() | map([](Sold::Reader e) {
                return std::pair{std::string{e.getCustomer()}, 2 * e.getCents()};
            }) | group_by([](const auto& p) { return p.first; }) |
                newest([](const auto& p) { return p.second; }) | into(last);
            from<Sold>() | filter(not_free) | group_by(customer) |
                reduce(std::multiplies<>{}, cents) | into(product);
            from<Sold>() | group_by(customer) |
                newest([](Sold::Reader, const origin& o) { return std::string{o.topic()}; }) |
                into(partition);
        }
    };
    const auto log = a_log();
    happen(log, sold("ada", 3), sold("ada", 0), sold("bob", 7), sold("ada", 5), returned("ada", 1));
    projection_runner<sums> runner{log, "sums", memory_tables()};
    runner.run_until_idle();
    const auto view = runner.view();
    const auto now  = view.read();
    CHECK(now->counted.find("ada") == 3u);
    CHECK(now->spent.find("ada") == 7);
    CHECK(now->spent.find("bob") == 7);
    CHECK(now->least.find("ada") == 3);
    CHECK(now->most.find("ada") == 5);
    CHECK(now->last.find("ada") == 10);
    CHECK(now->product.find("ada") == 15);
    CHECK(now->partition.find("ada") == "sales");
}

namespace {

/// What is sold by country: that of the customer, as an event said that came before.
struct by_country : flows<Returned, Sold>
{
    table<std::string, std::string>  country_of{this, "country_of"};
    table<std::string, std::int64_t> spent{this, "spent"};
    table<std::string, std::int64_t> homeless{this, "homeless"};

    by_country()
    {
        from<Returned>() | group_by(&Returned::Reader::getCustomer) |
            newest(&Returned::Reader::getCountry) | into(country_of);

        const auto cents = [](const auto& joined) { return joined.first.getCents(); };
        from<Sold>() | join(country_of, &Sold::Reader::getCustomer) |
            group_by([](const auto& joined) { return joined.second; }) | sum(cents) | into(spent);
        from<Sold>() | left_join(country_of, &Sold::Reader::getCustomer) |
            filter([](const auto& joined) { return !joined.second; }) |
            group_by([](const auto& joined) { return joined.first.getCustomer(); }) | sum(cents) |
            into(homeless);
    }
};

}  // namespace

TEST_CASE("a join sees what came before an event, and nothing that came after it")
{
    const auto log = a_log();
    happen(log, sold("ada", 1), returned("ada", 0, "UK"), sold("ada", 2), returned("ada", 0, "FR"),
           sold("ada", 4));
    projection_runner<by_country> runner{log, "by_country", memory_tables()};
    runner.run_until_idle();
    const auto now = runner.view().read();
    CHECK(as_map(now->spent.rows()) == std::map<std::string, std::int64_t>{{"FR", 4}, {"UK", 2}});
    CHECK(now->homeless.find("ada") == 1);
}

TEST_CASE("a join is what a model finds, in any batching")
{
    std::mt19937_64 random{seed()};
    for (int round = 0; round < 5 * times(); ++round) {
        const auto                          log = a_log();
        std::map<std::string, std::string>  country_of;
        std::map<std::string, std::int64_t> spent;
        const auto                          store = memory_tables();
        for (int part = 0; part < 10; ++part) {
            for (int i = 0; i < 20; ++i) {
                const std::string customer(1, static_cast<char>('a' + random() % 6));
                const std::string country(1, static_cast<char>('A' + random() % 3));
                if (random() % 3 == 0) {
                    happen(log, returned(customer, 0, country));
                    country_of[customer] = country;
                } else {
                    happen(log, sold(customer, i));
                    if (country_of.count(customer)) spent[country_of[customer]] += i;
                }
            }
            projection_runner<by_country> runner{
                log, "by_country", store, {.commit_events_max = 1 + random() % 9}};
            runner.run_until_idle();
            REQUIRE(as_map(runner.view().read()->spent.rows()) == spent);
        }
    }
}

TEST_CASE("windows count by the time that an event says, and by key in a pair")
{
    struct by_cents : flows<Sold>
    {
        windowed_table<std::pair<std::string, std::string>, std::uint64_t> sales{this, "sales",
                                                                                 tumbling(100ms)};
        by_cents()
        {
            from<Sold>() | timed_by(&Sold::Reader::getCents) | group_by([](Sold::Reader e) {
                return std::pair<std::string, std::string>{e.getCustomer(), e.getCountry()};
            }) | count() |
                into(sales);
        }
    };
    const auto log = a_log();
    happen(log, sold("ada", 5), sold("ada", 99), sold("ada", 100), sold("bob", 120, "FR"));
    projection_runner<by_cents> runner{log, "by_cents", memory_tables()};
    runner.run_until_idle();
    const auto now = runner.view().read();
    CHECK(now->sales.find({"ada", "UK"}, timestamp{7}) == 2u);
    CHECK(now->sales.find({"ada", "UK"}, timestamp{199}) == 1u);
    CHECK(as_map(now->sales.rows_of({"ada", "UK"})).size() == 2);
    CHECK(as_map(now->sales.rows_at(timestamp{150})).size() == 2);
    CHECK(as_map(now->sales.closed_only(now->sales.rows())).size() == 1);
    CHECK(now->sales.stream_time() == timestamp{120});
}

TEST_CASE("a session is found by any time in it")
{
    the_windows    = sessions(10ms);
    const auto log = a_log();
    append_all(log, std::vector<sale>{{"ada", 1, 5}, {"ada", 2, 12}});
    projection_runner<windowed_sales> runner{log, "sales", memory_tables()};
    runner.run_until_idle();
    const auto now = runner.view().read();
    CHECK(now->spent.find("ada", timestamp{21}) == 3);
    CHECK_FALSE(now->spent.find("ada", timestamp{22}));
    CHECK(as_map(now->spent.rows_at(timestamp{5})).size() == 1);
}

TEST_CASE("a projection of flows may handle an event by hand, windows included")
{
    struct by_hand : flows<Sold, Returned>
    {
        windowed_table<std::string, std::int64_t> spent{this, "spent", tumbling(10ms)};

        using flows::on;
        void on(Returned::Reader e, const origin& from)
        {
            spent.add(e.getCustomer(), from.time(), -e.getCents(), std::plus<>{});
        }
        by_hand()
        {
            from<Sold>() | group_by(&Sold::Reader::getCustomer) | sum(&Sold::Reader::getCents) |
                into(spent);
        }
    };
    const auto log = a_log();
    append_at(log, 3, sold("ada", 5), "ada");
    append_at(log, 4, returned("ada", 2), "ada");
    projection_runner<by_hand> runner{log, "by_hand", memory_tables()};
    runner.run_until_idle();
    CHECK(runner.view().read()->spent.find("ada", timestamp{0}) == 3);
}

TEST_CASE("windows that cannot be are refused, and so is a time that is none")
{
    CHECK(complaint_of([] { return tumbling(0ms); })->says("above zero"));
    CHECK(complaint_of([] { return hopping(10ms, 11ms); })->says("gaps"));
    CHECK(complaint_of([] { return hopping(1h, 1ms); })->says("1,000 windows"));
    CHECK(complaint_of([] { return sessions(-1ms); })->says("above zero"));
    CHECK(complaint_of([] { return tumbling(1h).grace(-1ms); })->says("grace"));

    struct timeless : flows<Sold>
    {
        windowed_table<std::string, std::int64_t> spent{this, "spent", tumbling(10ms)};
        timeless()
        {
            from<Sold>() | timed_by(&Sold::Reader::getCents) |
                group_by(&Sold::Reader::getCustomer) | count() | into(spent);
        }
    };
    const auto log = a_log();
    happen(log, sold("ada", 1), sold("ada", std::numeric_limits<std::int64_t>::max()));
    projection_runner<timeless> runner{log, "timeless", memory_tables()};
    CHECK(complaint_of([&] { runner.run_until_idle(); })->says("30 million years"));
    CHECK(runner.view().read()->spent.find("ada", timestamp{1}) == 1);
}

// ---- To a topic, and crashes. -------------------------------------------------------------------

namespace {

/// Everything at once: windows, sessions, a join, and events for a topic that depend on a table.
struct everything : flows<Sold, Returned>
{
    windowed_table<std::string, std::int64_t> spent{this, "spent", hopping(20ms, 10ms)};
    windowed_table<std::string, std::int64_t> visits{this, "visits", sessions(6ms)};
    table<std::string, std::int64_t>          so_far{this, "so_far"};

    everything()
    {
        const auto customer = &Sold::Reader::getCustomer;
        const auto cents    = &Sold::Reader::getCents;

        from<Sold>() | group_by(customer) | sum(cents) | into(spent);
        from<Sold>() | group_by(customer) | count() | into(visits);
        from<Sold>() | group_by(customer) | sum(cents) | into(so_far);
        from<Sold>() | filter([](Sold::Reader e) { return e.getCents() >= 50; }) |
            join(so_far, customer) | map([](const auto& joined) {
                return event<BigSale>{[&](auto big) {
                    big.setCustomer(joined.first.getCustomer());
                    big.setCents(joined.second);
                }};
            }) |
            group_by([](const auto& big) { return std::string{big.read()->getCustomer()}; }) |
            to_topic("big_sales");
    }
};
struct everything_2 : everything
{
    static constexpr int version = 2;
};

/// All that can be seen of it.
struct all_that_came
{
    by_window                                        spent, visits;
    std::map<std::string, std::int64_t>              so_far;
    std::uint64_t                                    late_spent, late_visits;
    std::map<std::string, std::vector<std::int64_t>> big;  ///< in the order of each key
    std::map<std::string, std::vector<std::int64_t>> times;

    friend bool operator==(const all_that_came&, const all_that_came&) = default;
};

void read_topic(const commit_log& log, all_that_came& all)
{
    cairn::detail::message opened;
    for (const auto& p : log.partitions("big_sales")) {
        auto records = p.read(offset{0});
        while (const auto* r = records.next()) {
            const auto        e = opened.open(*r->value).getRoot<BigSale>();
            const std::string customer{*r->key};
            CHECK(customer == std::string{e.getCustomer()});
            all.big[customer].push_back(e.getCents());
            all.times[customer].push_back(r->timestamp.value);
        }
    }
}

template <class P>
all_that_came all_of(const commit_log& log, const projection_runner<P>& runner)
{
    const auto    view = runner.view();
    const auto    now  = view.read();
    all_that_came all{as_map(now->spent.rows()),
                      as_map(now->visits.rows()),
                      as_map(now->so_far.rows()),
                      now->spent.late(),
                      now->visits.late(),
                      {},
                      {}};
    read_topic(log, all);
    return all;
}

/// From a plain loop.
all_that_came model_of(const std::vector<sale>& sales)
{
    const auto aligned = aligned_model(sales, 20, 10, 0);
    auto       counted = sales;
    for (auto& s : counted) s.cents = 1;
    const auto    visits = session_model(counted, 6, 0);
    all_that_came all{aligned.rows, visits.rows, {}, aligned.late, visits.late, {}, {}};
    for (const auto& s : sales) {
        all.so_far[s.customer] += s.cents;
        if (s.cents < 50) continue;
        all.big[s.customer].push_back(all.so_far[s.customer]);
        all.times[s.customer].push_back(s.time);
    }
    return all;
}

}  // namespace

TEST_CASE("what a flow makes for a topic says what caused it, and has its time")
{
    const auto log = a_log();
    append(log, {"ada", 60, 17});
    projection_runner<everything> runner{log, "everything", memory_tables()};
    runner.run_until_idle();
    auto        records = log.read_stream({"big_sales", "ada"});
    const auto* r       = records.next();
    REQUIRE(r != nullptr);
    CHECK(r->timestamp == timestamp{17});
    CHECK(r->headers.find(header_names::causation_id) == "sales/ada@0");
    CHECK(records.next() == nullptr);
}

TEST_CASE("a crash at any step changes nothing, in the tables or in the topic")
{
    a_store         s{CAIRN_EACH_STORE};
    std::mt19937_64 random{seed()};
    const auto      sales  = random_sales(random, 12);
    const auto      wanted = model_of(sales);
    const auto      run    = [&](const commit_log& log, const std::string& name, int crash_at) {
        int                step = 0;
        projection_options o;
        o.commit_events_max = 5;
        o.on_step           = [&](projection_step) {
            if (++step == crash_at) throw crash{};
        };
        projection_runner<everything> runner{log, name, s.store, o};
        try {
            runner.run_until_idle();
        } catch (const crash&) {
        }
        return step;
    };
    int steps = 1;
    for (int at = 0; at <= steps; ++at) {  // the first does not crash, and counts
        const auto log  = a_log();
        const auto name = "everything" + std::to_string(at);
        append_all(log, sales);
        const auto taken = run(log, name, at);
        if (at == 0) steps = taken;
        run(log, name, 1 + static_cast<int>(random() % 8));
        projection_runner<everything> runner{log, name, s.store, {.commit_events_max = 4}};
        runner.run_until_idle();
        CAPTURE(at);
        REQUIRE(all_of(log, runner) == wanted);
    }
    CHECK(steps > 20);
}

TEST_CASE("a crash between the append to a topic and the commit of the rows repeats neither")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    append_all(log, std::vector<sale>{{"ada", 50, 1}, {"ada", 60, 2}});
    {
        projection_options o;
        bool               posted = false;
        o.on_step                 = [&](projection_step step) {
            posted |= step == projection_step::posting;
            if (step == projection_step::committing) throw crash{};
        };
        projection_runner<everything> runner{log, "everything", s.store, o};
        CHECK_THROWS_AS(runner.run_until_idle(), crash);
        CHECK(posted);
        all_that_came all{};
        read_topic(log, all);
        CHECK(all.big.at("ada").size() == 2);
        CHECK(runner.view().read()->so_far.find("ada") == std::nullopt);
    }
    append(log, {"ada", 70, 3});
    projection_runner<everything> runner{log, "everything", s.store};
    runner.run_until_idle();
    CHECK(all_of(log, runner).big.at("ada") == std::vector<std::int64_t>{50, 110, 180});
}

TEST_CASE("in any batching, with restarts, a topic gets the same events in the same order")
{
    std::mt19937_64 random{seed()};
    for (int round = 0; round < 5 * times(); ++round) {
        const auto  sales = random_sales(random, 150);
        const auto  log   = a_log();
        const auto  store = memory_tables();
        std::size_t done  = 0;
        while (done < sales.size()) {
            projection_runner<everything> runner{
                log, "everything", store, {.commit_events_max = 1 + random() % 30}};
            for (auto n = 1 + random() % 40; n > 0 && done < sales.size(); --n)
                append(log, sales[done++]);
            runner.run_until_idle();
        }
        projection_runner<everything> runner{log, "everything", store};
        REQUIRE(all_of(log, runner) == model_of(sales));
    }
}

TEST_CASE("a rebuild, other code, and tables that were lost record nothing in a topic again")
{
    a_store         s{CAIRN_EACH_STORE};
    std::mt19937_64 random{seed()};
    const auto      sales  = random_sales(random, 40);
    const auto      wanted = model_of(sales);
    const auto      log    = a_log();
    append_all(log, sales);
    {
        projection_runner<everything> runner{log, "everything", s.store, {.commit_events_max = 7}};
        runner.run_until_idle();
        runner.rebuild();
        runner.run_until_idle();
        CHECK(runner.status().version == 2);
        CHECK(all_of(log, runner) == wanted);
    }
    projection_runner<everything_2> other{log, "everything", s.store};
    other.run_until_idle();
    CHECK(all_of(log, other) == wanted);
    projection_runner<everything> lost{log, "everything", memory_tables()};
    lost.run_until_idle();
    CHECK(all_of(log, lost) == wanted);
}

TEST_CASE("of several that run one projection at once, each with its tables, one records an event")
{
    std::mt19937_64                                             random{seed()};
    const auto                                                  sales = random_sales(random, 100);
    const auto                                                  log   = a_log();
    std::vector<std::unique_ptr<projection_runner<everything>>> all;
    for (std::size_t i = 0; i < 3; ++i) {
        all.push_back(std::make_unique<projection_runner<everything>>(
            log, "everything", memory_tables(), projection_options{.commit_events_max = 1 + i}));
        all.back()->start();
    }
    append_all(log, sales);
    const auto last = log.end_position() - 1;
    for (const auto& r : all) CHECK(r->view().wait_for(last, 1min));
    for (const auto& r : all) r->stop();
    for (const auto& r : all) CHECK(all_of(log, *r) == model_of(sales));
}

TEST_CASE("in a group a topic gets each event once, whoever comes to its partition first")
{
    a_store           s{CAIRN_EACH_STORE};
    auto              log = a_log();
    std::vector<sale> sales;
    for (int i = 0; i < 120; ++i)
        sales.push_back({"customer " + std::to_string(i % 10), 40 + i % 40, i});
    using clock = group_coordinator::clock;
    std::atomic<clock::rep> now{1'000'000'000'000};
    projection_group        group{local_group_coordinator{
        log, {}, [&] { return group_coordinator::instant{clock::duration{now.load()}}; }}};
    projection_options      o{.topics = {"sales"}, .commit_events_max = 7};
    o.group = group;
    projection_runner<everything> one{log, "everything", s.store, o};
    projection_runner<everything> two{log, "everything", s.store, o};
    // One after the other: who is second comes to positions that the first is past.
    const auto settle = [&] {
        for (int i = 0; i < 10; ++i) {
            now += clock::duration{1s}.count();
            one.run_until_idle();
            two.run_until_idle();
        }
    };
    const auto topic = [&] {
        all_that_came all{};
        read_topic(log, all);
        return std::pair{all.big, all.times};
    };
    settle();
    append_all(log, sales);
    settle();
    CHECK(one.status().events > 0);
    CHECK(two.status().events > 0);
    const auto wanted = model_of(sales);
    CHECK(topic() == std::pair{wanted.big, wanted.times});
    // Who handles all of them, in another order, finds them there.
    projection_runner<everything> alone{
        log, "everything", memory_tables(), {.topics = {"sales"}, .commit_events_max = 5}};
    alone.run_until_idle();
    CHECK(topic() == std::pair{wanted.big, wanted.times});
}

TEST_CASE("how far what flows make is is noted of each partition, and of no other projection")
{
    const auto log  = a_log();
    const auto note = [&](const std::string& projection, int partition) {
        auto noted = log.read_stream_backwards(
            {"__flows", projection + "/sales-" + std::to_string(partition)});
        const auto* r = noted.next();
        return r == nullptr ? std::string{"nothing"} : std::string{*r->value};
    };
    std::map<int, std::int64_t> wanted;  // behind the last large sale of each partition
    for (int i = 0; i < 30; ++i)
        append(log, {"customer " + std::to_string(i % 10), i < 20 ? 60 : 1, i});
    for (const auto& r : log.read_all())
        if (r.from->topic == "sales" && r.timestamp < timestamp{20})
            wanted[r.from->partition] = r.offset.value + 1;
    CHECK(wanted.size() > 1);
    projection_runner<everything> runner{
        log, "everything", memory_tables(), {.commit_events_max = 3}};
    runner.run_until_idle();
    for (int p = 0; p < partitions; ++p) {
        CHECK(note("everything", p) ==
              (wanted.count(p) ? std::to_string(wanted.at(p)) : std::string{"nothing"}));
        CHECK(note("another", p) == "nothing");
    }
    all_that_came first{}, both{};
    read_topic(log, first);
    projection_runner<everything>{log, "another", memory_tables()}.run_until_idle();
    read_topic(log, both);
    for (const auto& [customer, all] : first.big)
        CHECK(both.big.at(customer).size() == 2 * all.size());
}

TEST_CASE("a projection whose flows end in a topic does not park")
{
    const auto log     = a_log();
    const auto parking = [&](auto type) {
        using projection_type = typename decltype(type)::type;
        return complaint_of([&] {
            projection_runner<projection_type>{
                log, "sales", memory_tables(), {.on_failure = on_failure::park}};
            return 0;
        });
    };
    const auto refused = parking(std::type_identity<everything>{});
    REQUIRE(refused);
    CHECK(refused->code == errc::invalid_argument);
    CHECK(refused->says("to_topic"));
    CHECK_FALSE(parking(std::type_identity<by_country>{}));
}

TEST_CASE("an event that a flow for a topic throws at stands until it is skipped, and none is lost")
{
    struct fussy : flows<Sold>
    {
        fussy()
        {
            from<Sold>() | map([](Sold::Reader e) {
                if (e.getCents() == 13) throw std::runtime_error{"thirteen"};
                return event<BigSale>{[&](auto big) {
                    big.setCustomer(e.getCustomer());
                    big.setCents(e.getCents());
                }};
            }) | group_by([](const auto& big) { return std::string{big.read()->getCustomer()}; }) |
                to_topic("big_sales");
        }
    };
    const auto log = a_log();
    append_all(log, std::vector<sale>{{"ada", 1, 1}, {"ada", 13, 2}, {"ada", 3, 3}, {"bob", 4, 4}});
    projection_runner<fussy> runner{log, "fussy", memory_tables()};
    position                 stands;
    try {
        runner.run_until_idle();
        FAIL("it did not stand");
    } catch (const projection_failed& failed) {
        stands = failed.position();
    }
    runner.skip(stands);
    runner.run_until_idle();
    all_that_came all{};
    read_topic(log, all);
    CHECK(all.big.at("ada") == std::vector<std::int64_t>{1, 3});
    CHECK(all.big.at("bob") == std::vector<std::int64_t>{4});
}

TEST_CASE("a topic that is not there stops the projection, which goes on when it is")
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 1);
    append(log, {"ada", 60, 1});
    projection_runner<everything> runner{log, "everything", memory_tables()};
    CHECK(code_of([&] { runner.run_until_idle(); }) == errc::unknown_topic);
    CHECK(runner.view().read()->so_far.find("ada") == std::nullopt);
    log.create_topic("big_sales", partitions);
    runner.run_until_idle();
    CHECK(all_of(log, runner).big.at("ada") == std::vector<std::int64_t>{60});
}
