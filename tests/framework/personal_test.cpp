// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "codec.hpp"
#include "forgotten.capnp.h"
#include "key_store.hpp"
#include "ledger.capnp.h"
#include "main/files.hpp"

#include <cairn/framework/repository.hpp>

#include <catch2/catch.hpp>

#include <set>
#include <thread>
#include <vector>

using namespace cairn;
using namespace cairn::testing;
using namespace ledger;
namespace fs = std::filesystem;

namespace {

struct Join
{
    std::string email = "ada@example.org";
};
struct JoinAs
{
    std::string member;
};
struct Note
{
    std::string words;
};

struct Person : aggregate<Joined, Noted, Introduced>
{
    using snapshot = Member;

    std::string   member, email, city, street, notes, phones;
    std::uint32_t born = 0, noted = 0;

    decision decide(const Join& c) const
    {
        return event<Joined>{[&](auto e) {
            e.setMember("m-1");
            e.setEmail(c.email);
            e.setBorn(1815);
            e.setCity("London");
            e.initHome().setStreet("St James's Square");
        }};
    }
    decision decide(const JoinAs& c) const
    {
        return event<Joined>{[&](auto e) {
            e.setMember(c.member);
            e.setEmail("ada@example.org");
        }};
    }
    decision decide(const Note& c) const
    {
        return event<Noted>{[&](auto e) { e.setWords(c.words); }};
    }
    struct Introduce
    {};
    decision decide(const Introduce&) const
    {
        return event<Introduced>{[&](auto e) {
            e.setHost("m-1");
            e.setHostPhone("0123-host");
            e.setGuest("m-2");
            e.setGuestPhone("0456-guest");
        }};
    }

    void apply(Joined::Reader e)
    {
        member = e.getMember().cStr();
        email  = e.getEmail().cStr();
        city   = e.getCity().cStr();
        street = e.getHome().getStreet().cStr();
        born   = e.getBorn();
    }
    void apply(Noted::Reader e)
    {
        notes += e.getWords().cStr();
        ++noted;
    }
    void apply(Introduced::Reader e)
    {
        phones = std::string{e.getHostPhone().cStr()} + "," + e.getGuestPhone().cStr();
    }
    void save(Member::Builder to) const
    {
        to.setMember(member);
        to.setEmail(email);
        to.setNotes(noted);
    }
    void restore(Member::Reader from)
    {
        member = from.getMember().cStr();
        email  = from.getEmail().cStr();
        noted  = from.getNotes();
    }
};

/// Its snapshots say as plain text what is personal in its events.
struct Gossip : aggregate<Joined, Noted>
{
    using snapshot = Balance;

    std::string told;

    decision decide(const Join& c) const
    {
        return event<Joined>{[&](auto e) {
            e.setMember("m-1");
            e.setEmail(c.email);
        }};
    }
    decision decide(const Note& c) const
    {
        return event<Noted>{[&](auto e) { e.setWords(c.words); }};
    }

    void apply(Joined::Reader e) { told = std::string{e.getEmail().cStr()} + " "; }
    void apply(Noted::Reader e) { told += e.getWords().cStr(); }
    void save(Balance::Builder to) const { to.setTexts(told); }
    void restore(Balance::Reader from) { told = from.getTexts().cStr(); }
};

/// What reads Noted as LabelSet.
struct Labels : aggregate<LabelSet>
{
    using snapshot = Balance;

    std::string told;
    decision    decide(const Note&) const { return event<LabelSet>{}; }
    void        apply(LabelSet::Reader e) { told += e.getLabel().cStr(); }
    void        save(Balance::Builder to) const { to.setTexts(told); }
    void        restore(Balance::Reader from) { told = from.getTexts().cStr(); }
};

}  // namespace

TEST_CASE("what is personal is read as it was, and is nowhere on the disk")
{
    a_log on{true};
    {
        key_ring           keys{*on.log};
        event_store        store{*on.log, {.keys = keys}};
        repository<Person> people{store, "accounts",
                                  {.snapshots = {.every_events = 2, .verified = true}}};
        people.execute("m-1", Join{}).value();
        people.execute("m-1", Note{"likes engines"}).value();
        people.execute("m-1", Note{", and poetry"}).value();
        const auto p = people.load_at("m-1", version{3}).state;
        CHECK(p.email == "ada@example.org");
        CHECK(p.born == 1815);
        CHECK(p.city == "London");
        CHECK(p.street == "St James's Square");
        CHECK(p.notes == "likes engines, and poetry");
    }
    const auto backup = on.directory.string() + ".backup";
    fs::remove_all(backup);
    on.log->backup(backup);
    on.log->merge();
    CHECK(stands_in(on.directory, "London"));  // or the search proves nothing
    CHECK(stands_in(backup, "London"));
    for (const char* text : {"ada@example.org", "St James", "likes engines", "poetry"}) {
        INFO(text);
        CHECK_FALSE(stands_in(on.directory, text));
        CHECK_FALSE(stands_in(backup, text));
    }
    fs::remove_all(backup);
}

TEST_CASE("after forget() events stay readable with the personal fields absent, everywhere")
{
    a_log       on{true};
    const auto  backup = on.directory.string() + ".backup";
    fs::remove_all(backup);
    const auto key_directory = on.directory.string() + ".keys";
    fs::remove_all(key_directory);
    auto               key_log = commit_log::open(key_directory);
    key_ring           keys{key_log};
    event_store        store{*on.log, {.keys = keys}};
    repository<Person> people{store, "accounts", {.snapshots = {.every_events = 2}}};
    people.execute("m-1", Join{}).value();
    people.execute("m-1", Note{"likes engines"}).value();
    people.execute("m-2", Note{"about another"}).value();
    on.log->backup(backup);

    CHECK(keys.knows("m-1"));
    store.forget("m-1");
    CHECK_FALSE(keys.knows("m-1"));
    CHECK(keys.knows("m-2"));

    const auto check = [](const loaded<Person>& found) {
        CHECK(found.version == version{2});
        CHECK(found.state.member == "m-1");
        CHECK(found.state.city == "London");
        CHECK(found.state.noted == 1);
        CHECK(found.state.email.empty());
        CHECK(found.state.born == 0);
        CHECK(found.state.street.empty());
        CHECK(found.state.notes.empty());
    };
    check(people.load_at("m-1", version{2}));
    CHECK(people.load("m-1").state.email.empty());  // its snapshot is unreadable
    CHECK(people.load("m-2").state.notes == "about another");
    {
        auto               restored = commit_log::open(backup);
        repository<Person> of_backup{event_store{restored, {.keys = keys}}, "accounts"};
        check(of_backup.load_at("m-1", version{2}));
        CHECK(of_backup.load("m-2").state.notes == "about another");
    }
    // Without any keys as without this one.
    check(repository<Person>{*on.log, "accounts"}.load_at("m-1", version{2}));

    // Whoever keeps a copy is told.
    auto told = on.log->read_query({{query::item{.tags = {"subject:m-1"}}}});
    const auto* r = told.next();
    REQUIRE(r);
    CHECK(r->from->topic == "forgotten");
    CHECK(r->headers.find(header_names::type) == "SubjectForgotten");
    CHECK_FALSE(told.next());

    fs::remove_all(backup);
    key_log.close();
    fs::remove_all(key_directory);
}

TEST_CASE("who listens to the store hears that somebody was forgotten")
{
    a_log             on{false};
    const event_store store{*on.log, {.keys = key_ring{*on.log}}};
    position          heard{-1};
    const auto        listening = store.on_recorded([&](position last) { heard = last; });
    store.forget("m-1");
    CHECK(heard == on.log->last_match({{query::item{.tags = {"subject:m-1"}}}}));
}

TEST_CASE("a forget() that ended between key and record is made whole by calling it again")
{
    a_log      on{true};
    const auto tell = query{{query::item{.tags = {"subject:m-1"}}}};
    {
        key_ring keys{*on.log};
        keys.forget("m-1");  // and here it crashed
        CHECK_FALSE(on.log->last_match(tell));
    }
    on.reopen();
    const event_store store{*on.log, {.keys = key_ring{*on.log}}};
    store.forget("m-1");
    CHECK(on.log->last_match(tell));
}

TEST_CASE("of those who forget the same person at once each records it, one after the other")
{
    a_log                    on{false};
    const event_store        store{*on.log, {.keys = key_ring{*on.log}}};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 10; ++i) store.forget("m-1");
        });
    for (auto& t : threads) t.join();
    std::set<std::string> ids;
    for (const auto& r : on.log->read_stream({"forgotten", "m-1"}))
        ids.emplace(*r.headers.find(header_names::id));
    CHECK(ids.size() == 40);  // no two are called the same
}

TEST_CASE("a snapshot that copies what is personal into an unmarked field is forgotten with it")
{
    a_log                    on{true};
    const temporary_directory of_keys;
    const key_ring           keys{commit_log::open(of_keys / "keys")};
    const event_store        store{*on.log, {.keys = keys}};
    const repository_options each{.snapshots = {.every_events = 1, .verified = true}};
    {
        repository<Gossip> people{store, "accounts", each};
        people.execute("m-1", Join{}).value();
        people.execute("m-1", Note{"likes engines"}).value();
    }
    const auto taken = [&] {
        repository<Gossip> people{store, "accounts", each};
        const auto         told = people.load("m-1").state.told;
        return std::pair{told, people.statistics().snapshots_used};
    };
    CHECK(taken() == std::pair{std::string{"ada@example.org likes engines"}, std::uint64_t{1}});
    on.log->merge();
    for (const char* text : {"ada@example.org", "likes engines"})
        CHECK_FALSE(stands_in(on.directory, text));

    const auto  with_snapshot = on.directory.string() + ".backup";
    on.log->backup(with_snapshot);
    store.forget("m-1");
    CHECK(taken() == std::pair{std::string{" "}, std::uint64_t{0}});
    {
        auto               restored = commit_log::open(with_snapshot);
        repository<Gossip> of_backup{event_store{restored, {.keys = keys}}, "accounts", each};
        CHECK(of_backup.load("m-1").state.told == " ");
    }
    // And there are snapshots again.
    {
        repository<Gossip> people{store, "accounts", each};
        people.execute("m-1", Note{"x"}).value();
    }
    CHECK(taken() == std::pair{std::string{" x"}, std::uint64_t{1}});
}

TEST_CASE("a snapshot of what old personal events are read as is sealed too")
{
    a_log          on{true};
    const key_ring keys{*on.log};
    {
        repository<Person> people{event_store{*on.log, {.keys = keys}}, "accounts"};
        people.execute("m-1", Note{"likes engines"}).value();
    }
    upcasters up;
    up.change<Noted>([](Noted::Reader e) {
        return event<LabelSet>{[&](auto to) { to.setLabel(e.getWords()); }};
    });
    const event_store store{*on.log, {.upcasters = up, .keys = keys}};
    {
        repository<Labels> people{store, "accounts", {.snapshots = {.every_events = 1}}};
        people.execute("m-1", Note{}).value();
        CHECK(people.load("m-1").state.told == "likes engines");
    }
    CHECK(repository<Labels>{store, "accounts"}.load("m-1").state.told == "likes engines");
    on.log->merge();
    CHECK_FALSE(stands_in(on.directory, "likes engines"));
}

TEST_CASE("what was read before somebody was forgotten is no snapshot afterwards")
{
    a_log             on{false};
    detail::key_store keys{*on.log, "__keys"};
    const auto        before = keys.forgotten();
    CHECK(keys.remembered_since(before));
    keys.forget("m-2");
    CHECK_FALSE(keys.remembered_since(before));
    CHECK(keys.remembered_since(keys.forgotten()));
}

TEST_CASE("who is forgotten through one ring is forgotten by each other ring on that log")
{
    a_log                    on{true};
    const event_store        here{*on.log, {.keys = key_ring{*on.log}}};
    const event_store        there{*on.log, {.keys = key_ring{*on.log}}};
    const repository_options each{.snapshots = {.every_events = 1, .verified = false}};
    {
        repository<Gossip> people{here, "accounts", each};
        people.execute("m-1", Note{"likes engines"}).value();
        there.forget("m-1");
        people.execute("m-1", Note{"x"}).value();  // decided on a state that is read again
        CHECK(people.statistics().loaded == 1);
        CHECK(people.load("m-1").state.told == "x");
    }
    for (const auto& store : {here, there}) {
        repository<Gossip> people{store, "accounts", each};
        CHECK(people.load("m-1").state.told == "x");
        CHECK(people.statistics().snapshots_used == 1);
    }
}

TEST_CASE("what was read before another ring forgot somebody is no snapshot afterwards")
{
    a_log             on{false};
    detail::key_store here{*on.log, "__keys"};
    const auto        before = here.forgotten();
    detail::key_store{*on.log, "__keys"}.forget("m-2");
    CHECK(here.forgotten() != before);
    CHECK_FALSE(here.remembered_since(before));
    CHECK(here.remembered_since(here.forgotten()));
    // Also for who opens it later.
    CHECK(detail::key_store{*on.log, "__keys"}.forgotten() == here.forgotten());
}

TEST_CASE("an aggregate that is new after somebody was forgotten stays in memory")
{
    a_log             on{false};
    const event_store store{*on.log, {.keys = key_ring{*on.log}}};
    store.forget("m-2");
    repository<Person> people{store, "accounts"};
    people.execute("m-1", Note{"x"}).value();
    people.execute("m-1", Note{"y"}).value();
    CHECK(people.statistics().loaded == 0);
}

TEST_CASE("a key is on disk before anything is encrypted with it")
{
    a_log                     on{true};
    const temporary_directory place;
    auto                      key_log = commit_log::open(place / "keys");
    const event_store         store{*on.log, {.keys = key_ring{key_log}}};
    repository<Person>        people{store, "accounts"};
    people.execute("m-1", Note{"likes engines"}).value();

    // As a power cut would leave it: the files as they are now.
    fs::copy(place / "keys", place / "cut", fs::copy_options::recursive);
    {
        const event_store cut{*on.log, {.keys = key_ring{commit_log::open(place / "cut")}}};
        CHECK(repository<Person>{cut, "accounts"}.load("m-1").state.notes == "likes engines");
    }
    // Where the key cannot be written, nothing is recorded.
    key_log.close();
    const auto end = on.log->end_position();
    CHECK(code_of([&] { (void)people.execute("m-2", Note{"x"}); }) == errc::closed);
    CHECK(on.log->end_position() == end);
}

TEST_CASE("what is in memory is forgotten too")
{
    a_log              on{false};
    event_store        store{*on.log, {.keys = key_ring{*on.log}}};
    repository<Person> people{store, "accounts"};
    people.execute("m-1", Join{}).value();
    store.forget("m-1");
    people.execute("m-1", Note{"x"}).value();  // decided on a state that is read again
    CHECK(people.statistics().loaded == 1);
    CHECK(people.load("m-1").state.email.empty());
}

TEST_CASE("who comes back after being forgotten has a new key")
{
    a_log              on{false};
    event_store        store{*on.log, {.keys = key_ring{*on.log}}};
    repository<Person> people{store, "accounts"};
    people.execute("m-1", Note{"before "}).value();
    store.forget("m-1");
    people.execute("m-1", Note{"after"}).value();
    CHECK(people.load("m-1").state.notes == "after");
}

TEST_CASE("the destroyed key is gone from the files of its log, once they were cleaned and reused")
{
    // The key is found by what it can do: no copy of its 32 bytes is left in a segment.
    a_log    on{true};
    key_ring keys{*on.log};
    event_store        store{*on.log, {.keys = keys}};
    repository<Person> people{store, "accounts"};
    people.execute("m-1", Note{"x"}).value();
    std::string key;
    for (const auto& r : on.log->read_stream({"__keys", "m-1"})) key = std::string{*r.value};
    REQUIRE(key.size() == 32);
    on.log->merge();
    CHECK(stands_in(on.directory / "log", key));
    store.forget("m-1");
    CHECK_FALSE(stands_in(on.directory / "log", key));
    for (const auto& r : on.log->read_stream({"__keys", "m-1"})) CHECK_FALSE(r.value);
}

TEST_CASE("each of two people in an event has a key")
{
    a_log              on{false};
    event_store        store{*on.log, {.keys = key_ring{*on.log}}};
    repository<Person> people{store, "accounts"};
    people.execute("m-1", Person::Introduce{}).value();
    CHECK(people.load("m-1").state.phones == "0123-host,0456-guest");
    store.forget("m-2");
    CHECK(people.load("m-1").state.phones == "0123-host,");
    store.forget("m-1");
    CHECK(people.load("m-1").state.phones == ",");
}

TEST_CASE("without a key_ring what is personal is not recorded")
{
    a_log              on{false};
    repository<Person> people{*on.log, "accounts"};
    const auto         end = on.log->end_position();
    CHECK(code_of([&] { (void)people.execute("m-1", Join{}); }) == errc::missing_keys);
    CHECK(code_of([&] { event_store{*on.log}.forget("m-1"); }) == errc::missing_keys);
    CHECK(on.log->end_position() == end);
    CHECK(people.load("m-1").version == version{0});
}

TEST_CASE("a subject that cannot be one is refused before anything is recorded")
{
    a_log             on{false};
    const key_ring    keys{*on.log};
    const event_store store{*on.log, {.keys = keys}};
    const auto        end = on.log->partition("__keys", 0).end_offset();
    for (const auto& subject : {std::string{}, std::string(1025, 'x')}) {
        CHECK(code_of([&] { store.forget(subject); }) == errc::invalid_argument);
        CHECK(code_of([&] { keys.forget(subject); }) == errc::invalid_argument);
    }
    // What could not be forgotten is not recorded.
    repository<Person> people{store, "accounts"};
    CHECK(code_of([&] { (void)people.execute("m-1", JoinAs{std::string(1025, 'x')}); }) ==
          errc::invalid_argument);
    CHECK(people.load("m-1").version == version{0});
    CHECK(on.log->partition("__keys", 0).end_offset() == end);
    CHECK_FALSE(on.log->try_describe_topic("forgotten"));

    const std::string longest(1024, 'x');
    people.execute("m-1", JoinAs{longest}).value();
    CHECK(people.load("m-1").state.email == "ada@example.org");
    store.forget(longest);
    CHECK(people.load("m-1").state.email.empty());
}

TEST_CASE("what was sealed for one event opens in no other")
{
    a_log              on{false};
    key_ring           keys{*on.log};
    event_store        store{*on.log, {.keys = keys}};
    repository<Person> people{store, "accounts"};
    people.execute("m-1", Note{"secret"}).value();
    auto        range = on.log->read_stream({"accounts", "m-1"});
    const auto* r     = range.next();
    REQUIRE(r);
    for (int change = 0; change < 3; ++change) {
        record copy;
        copy.key   = "m-" + std::to_string(7 + change);
        copy.value = std::string{*r->value};
        for (const auto& h : r->headers) {
            std::string value{*h.value};
            if (h.name == header_names::id && change == 0) value = "accounts/m-7@0";
            if (h.name == "cairn_personal" && change == 1) value.back() ^= 1;
            if (h.name == "cairn_personal" && change == 2) value.resize(5);
            copy.headers.push_back({std::string{h.name}, std::move(value)});
        }
        on.log->append({.records = {{"accounts", copy}}});
        CHECK(code_of([&] { (void)people.load(*copy.key); }) == errc::malformed_event);
    }
}

TEST_CASE("an annotation that would leave something personal as plain text is refused")
{
    a_log       on{false};
    event_store store{*on.log, {.keys = key_ring{*on.log}}};
    const auto  refused = [&]<class E>(event<E>) {
        struct Bad : aggregate<E>
        {
            void apply(typename E::Reader) {}
        };
        return code_of([&] { repository<Bad>{store, "accounts"}; }) == errc::illegal_schema;
    };
    CHECK(refused(event<Leaky>{}));
    CHECK(refused(event<LeakyFamily>{}));
    CHECK(refused(event<Nobody>{}));
    CHECK(refused(event<SelfNamed>{}));
    CHECK(refused(event<TaggedName>{}));
}

TEST_CASE("a type that holds itself several times is gone through once")
{
    struct Families : aggregate<Family>
    {
        void apply(Family::Reader) {}
    };
    a_log on{false};
    repository<Families>{*on.log, "accounts"};  // or this takes hours
    CHECK_FALSE(detail::has_personal(capnp::Schema::from<Family>()));
    CHECK(detail::has_personal(capnp::Schema::from<LeakyFamily>()));
}
