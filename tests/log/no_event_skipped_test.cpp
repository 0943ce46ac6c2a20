// SPDX-License-Identifier: Apache-2.0
//
// No event is ever skipped: appenders of different speeds write while readers of every kind
// follow the tail; each reader must see each of its records once and in order. (What other event
// stores call the gap or high-water problem: a reader passes a number whose event is not yet
// visible.) And no decision is ever made on what is not true: events carry the query that was
// looked at and the position up to which, and afterwards the whole history is checked.
//
//     CAIRN_SEED=123456       the same choices again (the threads' order is the machine's)
//     CAIRN_LONG=1            fifty times as many records
#include "contract/fixture.hpp"
#include "contract/other_process.hpp"
#include "main/seed.hpp"

#include <cairn/log/record_batch.hpp>

#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <sstream>

using namespace contract;
using cairn::testing::seed;
using namespace std::chrono_literals;

namespace {

int times() { return std::getenv("CAIRN_LONG") ? 50 : 1; }

/// One who reads along, until a record with the value `until`. It notes what it saw, to be looked
/// at when all is over.
struct follower
{
    std::string  name;
    record_range range;
    std::string  until;

    std::vector<std::int64_t> seen  = {};  ///< positions
    std::string               wrong = {};  ///< the first thing that was
    bool                      done  = false;

    void follow()
    {
        try {
            do {
                while (const record_view* r = range.next()) {
                    look(*r);
                    if (!wrong.empty()) return;
                }
            } while (!done && range.wait(100s));
            if (!done) wrong = "it did not see the end";
        } catch (const std::exception& e) {
            wrong = e.what();
        }
    }

    void look(const record_view& r)
    {
        std::ostringstream what;
        if (done) what << "position " << r.position << " after the end";
        if (!seen.empty() && r.position.value <= seen.back())
            what << "position " << r.position << " after " << seen.back();
        const auto before = static_cast<std::int64_t>(seen.size());
        if (name.starts_with("partition") && r.offset.value != before)
            what << *r.from << ": offset " << r.offset << " after " << before;
        if (name.starts_with("stream") && r.version.value != before)
            what << "version " << r.version << " after " << before;
        wrong = what.str();
        seen.push_back(r.position.value);
        if (r.value == until) done = true;
    }
};

}  // namespace

TEST_CASE("child: follows the log of another process", "[.child]")
{
    const std::string directory = parent::argument(0);
    if (directory.empty()) return;
    log_options options;
    options.read_only = true;
    options.on_event  = [](const std::string& what) { std::cerr << "child: " << what << '\n'; };
    commit_log log    = commit_log::open(directory, options);
    follower   all{"all", log.read_all(), "end"};
    parent::say("following");
    all.follow();
    std::ostringstream positions;
    for (const std::int64_t p : all.seen) positions << p << ' ';
    parent::say(all.wrong);
    parent::say(positions.str());
}

TEST_CASE_METHOD(every_log, "no reader sees n + 1 before n: no record is skipped and none "
                            "comes twice, whoever appends and whoever reads")
{
    options.segment_bytes_max = 256 << 10;
    topic("orders", 3);
    topic("notes", 1);
    topic("packed", 2);
    const int  n = 60 * times();
    commit_log log = this->log();

    // ---- Appenders: single, bulk, over many partitions, packed, conditional, of other topics.
    std::vector<std::function<void(std::mt19937_64&)>> appenders = {
        [&](std::mt19937_64&) {
            for (int i = 0; i < 4 * n; ++i)
                log.append({.records = {event("orders", "single", "v").tags({"hot"})}});
        },
        [&](std::mt19937_64& random) {
            for (int i = 0; i < n / 10; ++i) {
                std::vector<append_record> bulk;
                for (auto r = 100 + random() % 300; r > 0; --r)
                    bulk.push_back(event("orders", "bulk" + std::to_string(r % 7), "v").type("B"));
                log.append({.records = std::move(bulk)});
            }
        },
        [&](std::mt19937_64& random) {
            for (int i = 0; i < 2 * n; ++i) {
                std::vector<append_record> wide;
                for (std::int32_t p = 0; p < 3; ++p)
                    wide.push_back(event("orders", no_key, "w").in(p));
                wide.push_back(event("notes", "wide", "w").tags({"hot"}));
                if (random() % 3 == 0) wide.push_back(event("orders", "single", "w"));
                log.append({.records = std::move(wide)});
            }
        },
        [&](std::mt19937_64& random) {
            for (int i = 0; i < n; ++i) {
                std::vector<append_record> packed;
                for (auto r = 1 + random() % 40; r > 0; --r)
                    packed.push_back(event("", no_key, std::string(100, 'x')).tags({"hot"}));
                log.partition("packed", i % 2)
                    .append_batch(kafka_batch(packed, {.codec = static_cast<codec>(i % 5)}));
            }
        },
        [&](std::mt19937_64&) {
            for (int i = 0; i < n; ++i) {
                const version v = log.stream_version({"notes", "wide"});
                (void)log.try_append(
                    {.records = {event("notes", "wide", "c").type("C")},
                     .expect  = {{{"notes", "wide"}, expected_version::exactly(v)}}});
            }
        },
        [&](std::mt19937_64&) {
            for (std::int64_t i = 0; i < n / 2; ++i)
                log.groups().commit("g", {{.at = {"notes", 0}, .offset = offset{i % 2}}});
        },
    };

    // ---- Readers of every kind.
    std::deque<follower> followers;
    const auto           follow = [&](const std::string& name, record_range range,
                            const char* until = "last") {
        followers.push_back({name, std::move(range), until});
    };
    follow("all", log.read_all(), "end");
    for (std::int32_t p = 0; p < 3; ++p)
        follow("partition orders-" + std::to_string(p), log.partition("orders", p).read(offset{0}),
               p == log.partition_of({"orders", "single"}) ? "end" : "last");
    follow("partition packed-1", log.partition("packed", 1).read(offset{0}));
    follow("stream orders/single", log.read_stream({"orders", "single"}), "end");
    follow("stream notes/wide", log.read_stream({"notes", "wide"}));
    follow("query hot", log.read_query({{of_tags({"hot"})}}));
    follow("query B or C", log.read_query({{of_types({"B", "C"})}}));

    std::optional<other_process> reader;
    if (on_disk()) {
        log.merge();
        reader.emplace("child: follows the log of another process",
                       std::vector<std::string>{data()});
        REQUIRE(reader->hear() == "following");
    }

    // ---- Go.
    std::vector<std::thread> reading;
    for (follower& f : followers) reading.emplace_back([&] { f.follow(); });

    std::vector<std::function<void()>> jobs;
    for (std::size_t i = 0; i < appenders.size(); ++i)
        jobs.emplace_back([&, i] {
            std::mt19937_64 random{seed() + i};
            appenders[i](random);
        });
    jobs.emplace_back([&] {
        for (int i = 0; i < 5; ++i) {
            log.merge();
            log.roll_segment();
        }
    });
    at_once(jobs);
    const position end = log.end_position();

    // One last record for everybody, by which each knows that it has come to the end. Nothing is
    // appended after it: who is not woken by this commit is not woken at all.
    std::vector<append_record> last;
    for (std::int32_t p = 0; p < 3; ++p) last.push_back(event("orders", no_key, "last").in(p));
    last.push_back(event("packed", no_key, "last").in(1));
    last.push_back(event("notes", "wide", "last").type("C").tags({"hot"}));
    last.push_back(event("orders", "single", "end"));
    const receipt bye = log.append({.records = last});
    for (std::thread& t : reading) t.join();

    // ---- What each should have seen: what a fresh reader finds now, and that is complete.
    const std::vector<row> everything = rows(log.read_all());
    const auto wanted = [&](const std::function<bool(const row&)>& mine) {
        std::vector<std::int64_t> all;
        for (const row& r : everything)
            if (mine(r)) all.push_back(r.position);
        return all;
    };
    const auto tagged = [](const row& r, std::string_view header_name, std::string_view value) {
        for (const header& h : r.headers)
            if (h.name == header_name && h.value == value) return true;
        return false;
    };
    std::map<std::string, std::vector<std::int64_t>> should;
    should["all"] = wanted([](const row&) { return true; });
    for (std::int32_t p = 0; p < 3; ++p)
        should["partition orders-" + std::to_string(p)] =
            wanted([&](const row& r) { return r.from == topic_partition{"orders", p}; });
    should["partition packed-1"] =
        wanted([&](const row& r) { return r.from == topic_partition{"packed", 1}; });
    should["stream orders/single"] = wanted(
        [](const row& r) { return r.from.topic == "orders" && r.key == "single"; });
    should["stream notes/wide"] =
        wanted([](const row& r) { return r.from.topic == "notes" && r.key == "wide"; });
    should["query hot"] = wanted([&](const row& r) { return tagged(r, "ce_tags", "hot"); });
    should["query B or C"] = wanted(
        [&](const row& r) { return tagged(r, "ce_type", "B") || tagged(r, "ce_type", "C"); });

    for (follower& f : followers) {
        INFO(f.name << " saw " << f.seen.size() << " of " << should[f.name].size());
        CHECK(f.wrong == "");
        CHECK((f.seen == should[f.name]));
    }
    if (reader) {
        CHECK(reader->hear() == "");
        std::ostringstream positions;
        for (const std::int64_t p : should["all"]) positions << p << ' ';
        CHECK((reader->hear() == positions.str()));
        CHECK(reader->wait() == 0);
    }

    // And nothing is missing from it: with the log's own records, positions have no hole.
    const log_statistics s = log.statistics();
    CHECK(s.end.value == bye.last().value + 1);
    CHECK(static_cast<std::int64_t>(everything.size()) <= end.value + 6);
    std::int64_t records = 0;
    for (const std::string& t : log.topics(true))
        for (const partition_description& p : log.describe_topic(t).partitions)
            records += p.end.value;
    CHECK(records == bye.last().value + 1);
}

// ---- Decisions. ------------------------------------------------------------------------------

namespace {

constexpr int kinds = 4, tags = 4;

query random_query(std::mt19937_64& random)
{
    query q;
    for (auto items = 1 + random() % 2; items > 0; --items) {
        query::item i;
        for (auto n = random() % 3; n > 0; --n)
            i.types.push_back("T" + std::to_string(random() % kinds));
        for (auto n = random() % 3; n > 0; --n)
            i.tags.push_back("t" + std::to_string(random() % tags));
        if (i.types.empty() && i.tags.empty()) i.tags.push_back("t0");
        q.items.push_back(std::move(i));
    }
    return q;
}

/// "T1,T2/t0,t3;/t1": a query in a header.
std::string written(const query& q)
{
    std::string all;
    for (const query::item& i : q.items)
        all += (all.empty() ? "" : ";") + join_tags(i.types) + "/" + join_tags(i.tags);
    return all;
}

query read_back(const std::string& text)
{
    query              q;
    std::istringstream items{text};
    for (std::string item; std::getline(items, item, ';');) {
        const auto slash = item.find('/');
        q.items.push_back(
            {split_tags(item.substr(0, slash)), split_tags(item.substr(slash + 1))});
    }
    return q;
}

bool matches(const query& q, const std::string& type, const std::set<std::string>& its_tags)
{
    return std::any_of(q.items.begin(), q.items.end(), [&](const query::item& i) {
        return (i.types.empty() || std::count(i.types.begin(), i.types.end(), type) > 0) &&
               std::all_of(i.tags.begin(), i.tags.end(),
                           [&](const std::string& t) { return its_tags.count(t) > 0; });
    });
}

std::string header_of(const row& r, std::string_view wanted)
{
    for (const header& h : r.headers)
        if (h.name == wanted) return h.value.value_or("");
    return {};
}

}  // namespace

TEST_CASE_METHOD(every_log, "a decision is made on what is true: nothing that matches lies between "
                            "what it saw and what it wrote")
{
    topic("left", 2);
    topic("right", 1);
    commit_log         log = this->log();
    const int          n   = 80 * times();
    std::atomic<int>   won = 0, lost = 0;

    std::vector<std::function<void()>> jobs;
    for (std::uint64_t t = 0; t < 4; ++t)
        jobs.emplace_back([&, t] {
            std::mt19937_64 random{seed() + 100 + t};
            for (int i = 0; i < n; ++i) {
                const query q = random_query(random);
                // What a decision does: it looks, up to some position; and then it writes.
                const position seen = log.end_position() - 1;
                std::int64_t   last = -1;
                for (const record_view& r : log.read_query_backwards(q, seen)) {
                    last = r.position.value;
                    break;
                }
                event e{random() % 2 ? "left" : "right", "k" + std::to_string(random() % 5), "v"};
                e.type("T" + std::to_string(random() % kinds));
                std::vector<std::string> its_tags{"t" + std::to_string(random() % tags)};
                if (random() % 2) its_tags.push_back("t" + std::to_string(random() % tags));
                e.tags(its_tags);
                e.with("saw-query", written(q));
                e.with("saw-until", std::to_string(seen.value));
                e.with("saw-last", std::to_string(last));
                const append_result r =
                    log.try_append({.records = {e}, .boundaries = {{q, seen}}});
                ++(r ? won : lost);
                if (!r && r.error().code != errc::boundary_crossed)
                    throw std::logic_error{r.error().what};
                // Between decisions, somebody imports in bulk and asks nobody.
                if (t == 0 && i % 16 == 15) {
                    std::vector<append_record> bulk;
                    for (int b = 0; b < 20; ++b)
                        bulk.push_back(event("left", no_key, "b")
                                           .type("T" + std::to_string(b % kinds))
                                           .tags({"t" + std::to_string(random() % tags)}));
                    log.append({.records = std::move(bulk)});
                }
            }
        });
    at_once(jobs);

    const std::vector<row> all = rows(reading().read_all());
    int                    decisions = 0, broken = 0;
    std::string            first;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const std::string until = header_of(all[i], "saw-until");
        if (until.empty()) continue;
        ++decisions;
        const query        q    = read_back(header_of(all[i], "saw-query"));
        const std::int64_t seen = std::stoll(until);
        std::int64_t       last = -1;
        for (std::size_t b = 0; b < i; ++b) {
            const std::vector<std::string> list = split_tags(header_of(all[b], "ce_tags"));
            if (!matches(q, header_of(all[b], "ce_type"), {list.begin(), list.end()})) continue;
            last = all[b].position;
        }
        // The newest that matches and lies before it is the one that it saw, or none.
        if (last > seen || last != std::stoll(header_of(all[i], "saw-last"))) {
            ++broken;
            std::ostringstream one;
            one << all[i] << " saw " << header_of(all[i], "saw-last") << " until " << seen
                << ", but there is " << last << " for " << header_of(all[i], "saw-query");
            if (first.empty()) first = one.str();
        }
    }
    INFO(first);
    CHECK(broken == 0);
    CHECK(decisions == won);
    CHECK(won + lost == 4 * n);
    CHECK(won > 0);
}
