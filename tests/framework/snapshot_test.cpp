// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "ledger.capnp.h"
#include "snapshots.hpp"

#include <cairn/framework/repository.hpp>

#include <catch2/catch.hpp>

#include <future>
#include <stdexcept>
#include <thread>

using namespace cairn;
using namespace cairn::testing;
using namespace ledger;

namespace {

struct Pay
{
    std::uint64_t cents;
};

template <int Version, int Sign = 1>
struct account : aggregate<Paid>
{
    using snapshot                        = Balance;
    static constexpr int snapshot_version = Version;

    std::int64_t cents   = 0;
    int          applied = 0;  // not in the snapshot: how many events were gone through

    decision decide(const Pay& c) const
    {
        return event<Paid>{[&](auto e) { e.setCents(c.cents); }};
    }
    void apply(Paid::Reader e)
    {
        cents += Sign * static_cast<std::int64_t>(e.getCents());
        ++applied;
    }
    void save(Balance::Builder to) const { to.setCents(cents); }
    void restore(Balance::Reader from) { cents = from.getCents(); }
};
using Account = account<1>;

struct Unsaved : account<1>
{
    void save(Balance::Builder) const { throw std::runtime_error{"save() has a bug"}; }
};

struct thrown_number
{
    explicit thrown_number(const char*) {}
};

template <class Thrown>
struct Unrestored : account<1>
{
    void restore(Balance::Reader) { throw Thrown{"restore() has a bug"}; }
};

constexpr snapshot_policy every_ten{.every_events = 10, .verified = false};

void pay(commit_log log, int times, snapshot_policy policy = every_ten)
{
    repository<Account> accounts{log, "accounts", {.snapshots = policy}};
    for (int i = 0; i < times; ++i) accounts.execute("a", Pay{1}).value();
}  // what was offered is written now

template <class A>
loaded<A> load(commit_log log, snapshot_policy policy = every_ten)
{
    return repository<A>{log, "accounts", {.snapshots = policy}}.load("a");
}

}  // namespace

TEST_CASE("an aggregate is loaded from its newest snapshot and the events after it")
{
    for (const bool on_disk : {false, true}) {
        a_log on{on_disk};
        pay(*on.log, 25);
        on.reopen();
        const auto found = load<Account>(*on.log);
        CHECK(found.state.cents == 25);
        CHECK(found.state.applied == 5);
        CHECK(found.version == version{25});
        CHECK(found.position == on.log->read_stream_backwards({"accounts", "a"}).next()->position);
    }
}

TEST_CASE("commands go on from a snapshot with the right version")
{
    a_log on{false};
    pay(*on.log, 12);
    repository<Account> accounts{*on.log, "accounts", {.snapshots = every_ten}};
    CHECK(accounts.execute("a", Pay{5})->version == version{13});
    CHECK(accounts.load("a").state.cents == 17);
    CHECK(accounts.statistics().snapshots_used == 2);
    CHECK(accounts.statistics().events_applied == 2);
}

TEST_CASE("where no snapshot is wanted none is taken")
{
    a_log on{false};
    pay(*on.log, 25, {.every_events = 0});
    CHECK(load<Account>(*on.log).state.applied == 25);
}

TEST_CASE("a snapshot is taken by size, and by how long loading took")
{
    a_log on{false};
    pay(*on.log, 25, {.every_events = 0, .every_bytes = 200, .verified = false});
    CHECK(load<Account>(*on.log).state.applied < 25);

    a_log slow{false};
    pay(*slow.log, 25, {.every_events = 0});
    {
        repository<Account> accounts{
            *slow.log, "accounts",
            {.snapshots = {.every_events = 0, .load_time = std::chrono::microseconds{1},
                           .verified = false}}};
        accounts.execute("a", Pay{1}).value();
    }
    CHECK(load<Account>(*slow.log).state.applied == 1);
}

TEST_CASE("a save() that throws fails no command: there is no snapshot then")
{
    a_log on{false};
    {
        repository<Unsaved> accounts{
            *on.log,
            "accounts",
            {.snapshots = {.every_events = 2, .load_time = std::chrono::microseconds{1},
                           .verified = false}}};
        for (int i = 1; i <= 5; ++i)
            CHECK(accounts.execute("a", Pay{1})->version == version{i});
        CHECK(accounts.statistics().loaded == 0);  // it stays in memory
        CHECK(accounts.statistics().snapshots_taken == 0);
    }
    repository<Unsaved> accounts{
        *on.log, "accounts", {.snapshots = {.every_events = 1, .verified = false}}};
    CHECK(accounts.execute("a", Pay{1})->version == version{6});  // loaded, then executed
    CHECK(accounts.load("a").state.cents == 6);
}

TEST_CASE("a snapshot of another version is ignored, and the next one takes its place")
{
    a_log on{false};
    pay(*on.log, 25);
    CHECK(load<account<2>>(*on.log).state.applied == 25);
    CHECK(load<account<2>>(*on.log).state.cents == 25);
    {
        repository<account<2>> accounts{*on.log, "accounts", {.snapshots = every_ten}};
        accounts.execute("a", Pay{1}).value();
        CHECK(accounts.statistics().snapshots_ignored == 1);
    }
    CHECK(load<account<2>>(*on.log).state.applied == 1);
}

TEST_CASE("a snapshot that does not read is as good as none")
{
    a_log on{false};
    pay(*on.log, 10);
    auto        range = on.log->read_stream_backwards(
        {"__snapshots", "accounts/a#capnp:" + [] {
             char text[17];
             std::snprintf(text, sizeof text, "%016llx",
                           static_cast<unsigned long long>(capnp::typeId<Balance>()));
             return std::string{text};
         }()});
    const auto* good = range.next();
    REQUIRE(good);
    for (const std::string& value : {std::string{}, std::string{"not a message"},
                                    std::string(16, '\xff'), std::string(24, '\0')}) {
        record r;
        r.key   = std::string{*good->key};
        r.value = value;
        for (const auto& h : good->headers)
            r.headers.push_back({std::string{h.name}, std::string{*h.value}});
        if (value == std::string(24, '\0')) r.headers.clear();
        on.log->append({.records = {{"__snapshots", std::move(r)}}});
        const auto found = load<Account>(*on.log);
        CHECK(found.state.cents == 10);
        CHECK(found.state.applied == 10);
    }
}

TEST_CASE("a snapshot that cannot be restored is as good as none, whatever restore() throws")
{
    const auto check = []<class A>(A, bool verified) {
        a_log on{false};
        pay(*on.log, 10);
        repository<A> accounts{
            *on.log, "accounts", {.snapshots = {.every_events = 10, .verified = verified}}};
        CHECK(accounts.load("a").state.cents == 10);
        CHECK(accounts.load("a").state.applied == 10);
        CHECK(accounts.execute("a", Pay{1})->version == version{11});
        CHECK(accounts.statistics().snapshots_ignored == 3);
    };
    for (const bool verified : {false, true}) {
        check(Unrestored<std::runtime_error>{}, verified);
        check(Unrestored<thrown_number>{}, verified);
    }
}

TEST_CASE("a snapshot of what the log does not have any more is ignored")
{
    a_log on{false};
    pay(*on.log, 10);
    on.log->delete_topic("accounts");
    on.log->create_topic("accounts", 3);
    CHECK(load<Account>(*on.log).version == version{0});
}

TEST_CASE("a snapshot of what a topic had before it was deleted is none of what it has now")
{
    for (const bool on_disk : {false, true}) {
        a_log on{on_disk};
        pay(*on.log, 10);
        on.log->delete_topic("accounts");
        on.log->create_topic("accounts", 3);
        repository<Account> accounts{
            *on.log, "accounts", {.snapshots = {.every_events = 0, .verified = false}}};
        for (int i = 0; i < 12; ++i) accounts.execute("a", Pay{100}).value();
        on.reopen();
        CHECK(load<Account>(*on.log).state.cents == 1200);
        CHECK(load<Account>(*on.log).state.applied == 12);
    }
}

TEST_CASE("a snapshot that reaches past what was removed stands in for it, and no other does")
{
    a_log on{GENERATE(false, true)};
    pay(*on.log, 10);
    int behind = 0;
    SECTION("past it") {}
    SECTION("not past it")
    {
        behind = 5;
    }
    pay(*on.log, behind, {.every_events = 0, .verified = false});
    on.log->merge();
    on.log->roll_segment();
    on.now += 3'600'000;
    pay(*on.log, 2, {.every_events = 0, .verified = false});
    on.log->merge();
    on.log->roll_segment();
    topic_config config;
    config.retention_ms = 1'800'000;
    on.log->alter_topic("accounts", config);
    on.log->clean();
    on.reopen();
    repository<Account> accounts{
        *on.log, "accounts", {.snapshots = {.every_events = 0, .verified = false}}};
    if (behind > 0) {
        CHECK(code_of([&] { (void)accounts.load("a"); }) == errc::events_removed);
        CHECK(code_of([&] { (void)accounts.execute("a", Pay{1}); }) == errc::events_removed);
        return;
    }
    for (const bool verified : {false, true}) {
        const auto found = load<Account>(*on.log, {.every_events = 0, .verified = verified});
        CHECK(found.state.cents == 12);
        CHECK(found.state.applied == 2);
    }
    CHECK(accounts.execute("a", Pay{1})->version == version{13});
    CHECK(accounts.load("a").state.cents == 13);
}

TEST_CASE("a snapshot only ever saves time: where there is none that fits, all events are applied")
{
    a_log on{false};
    pay(*on.log, 25);
    const auto same = [&](const auto& found, int applied) {
        CHECK(found.state.cents == 25);
        CHECK(found.version == version{25});
        CHECK(found.state.applied == applied);
    };
    same(load<Account>(*on.log), 5);
    same(load<account<2>>(*on.log), 25);  // of another version
    record nothing;
    nothing.key = std::string{*on.log->partition("__snapshots", 0).read(offset{0}).next()->key};
    on.log->append({.records = {{"__snapshots", nothing}}});
    same(load<Account>(*on.log), 25);  // deleted by hand
    on.log->delete_topic("__snapshots");
    same(load<Account>(*on.log), 25);
    // And they are taken anew.
    repository<Account>{*on.log, "accounts", {.snapshots = every_ten}}.execute("a", Pay{1}).value();
    CHECK(load<Account>(*on.log).state.applied == 1);
}

TEST_CASE("offer() never waits for the disk; what it cannot take it leaves")
{
    // The log's clock stands still for all threads but this one, and so does what they append.
    const auto         here = std::this_thread::get_id();
    std::promise<void> goes_on;
    const auto         until = goes_on.get_future().share();
    log_options        options;
    options.clock = [&] {
        if (std::this_thread::get_id() != here) until.wait();
        return timestamp{1'700'000'000'000};
    };
    auto log = commit_log::in_memory(options);
    log.create_topic("accounts");
    const event_store store{log};
    const auto        type = detail::describe<Account>(Account::events{});
    store.core().add_types(type.schemas);
    {
        detail::snapshots snaps{store, type, {.every_events = 1, .verified = false}};
        detail::instance  account{type};
        // The writer has at most one queue of 1,024 in hand while another fills.
        int left = 0;
        for (int i = 0; i < 3'000; ++i) {
            account.recorded(1, 8, position{i});
            snaps.offer(account, {"accounts", "a"}, {}, {});
            left += account.unsaved_events() > 0;
        }
        CHECK(snaps.counted().taken == 0);
        CHECK(left >= 3'000 - 2 * 1'024);
        goes_on.set_value();
    }
    // What was taken is written by the destructor.
    const auto snapshots = log.partition("__snapshots", 0);
    CHECK(snapshots.end_offset() >= offset{1'024});
    CHECK(snapshots.end_offset() < offset{3'000});
}

TEST_CASE("in a debug build a snapshot that is not what its events come to is said")
{
    a_log on{false};
    pay(*on.log, 10);
    const snapshot_policy verified{.every_events = 10, .verified = true};
    CHECK(load<Account>(*on.log, verified).state.cents == 10);
    std::string what;
    try {
        (void)load<account<1, -1>>(*on.log, verified);  // apply() has changed, the version not
    } catch (const error& e) {
        CHECK(e.code() == errc::snapshot_differs);
        what = e.what();
    }
    CHECK_THAT(what, Catch::Contains("accounts/a") && Catch::Contains("snapshot_version") &&
                         Catch::Contains("10") && Catch::Contains("-10"));
#ifndef NDEBUG
    CHECK(snapshot_policy{}.verified);
#endif
}

TEST_CASE("snapshots are compacted away by newer ones, and cross no boundary")
{
    a_log on{false};
    const auto before = on.log->last_match(query::all());
    pay(*on.log, 50);
    auto snapshots = on.log->partition("__snapshots", 0);
    on.log->roll_segment();
    on.log->clean();
    int left = 0;
    for (const auto& r : snapshots.read(snapshots.start_offset())) left += r.value.has_value();
    CHECK(left == 1);
    CHECK_FALSE(before);
    CHECK(on.log->topics() == std::vector<std::string>{"accounts"});
}
