// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "forgotten.capnp.h"
#include "ledger.capnp.h"

#include <cairn/framework/repository.hpp>

#include <catch2/catch.hpp>

#include <fstream>
#include <sstream>

using namespace cairn;
using namespace cairn::testing;
using namespace ledger;
namespace fs = std::filesystem;

namespace {

struct Join
{
    std::string email = "ada@example.org";
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

/// Whether the text stands anywhere in the files of a directory.
bool stands_in(const fs::path& directory, const std::string& text)
{
    for (const auto& entry : fs::recursive_directory_iterator{directory}) {
        if (!entry.is_regular_file()) continue;
        std::ifstream     in{entry.path(), std::ios::binary};
        std::stringstream bytes;
        bytes << in.rdbuf();
        if (bytes.str().find(text) != std::string::npos) return true;
    }
    return false;
}

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
    CHECK(people.load("m-1").state.email.empty());  // from its snapshot
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
    CHECK(refused(event<Nobody>{}));
    CHECK(refused(event<SelfNamed>{}));
    CHECK(refused(event<TaggedName>{}));
}
