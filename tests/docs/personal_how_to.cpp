// SPDX-License-Identifier: Apache-2.0
//
// The code of docs/how-to/forget-a-person.md, and that it does what the page says.
#include "main/files.hpp"
#include "main/temporary_directory.hpp"
#include "member.capnp.h"

#include <cairn/framework/repository.hpp>

#include <catch2/catch.hpp>

#include <map>
#include <string>

using namespace club;
using cairn::testing::stands_in;

namespace {

struct Join
{
    std::string email, city;
};
struct TakeNote
{
    std::string text;
};

struct Member : cairn::aggregate<MemberJoined, NoteTaken>
{
    std::string email, city, notes;

    decision decide(const Join& c) const
    {
        return cairn::event<MemberJoined>{[&](auto e) {
            e.setMember("m-1");
            e.setEmail(c.email);
            e.setCity(c.city);
        }};
    }
    decision decide(const TakeNote& c) const
    {
        return cairn::event<NoteTaken>{[&](auto e) { e.setText(c.text); }};
    }

    void apply(MemberJoined::Reader e)
    {
        email = e.getEmail().cStr();
        city  = e.getCity().cStr();
    }
    void apply(NoteTaken::Reader e) { notes += e.getText().cStr(); }
};

}  // namespace

TEST_CASE("a person is forgotten")
{
    const cairn::testing::temporary_directory of;
    const std::string                         data = of.path();
    {
        //[ personal_wiring
        auto log = cairn::commit_log::open(data + "/events");
        log.ensure_topic("members");

        cairn::key_ring           keys{cairn::commit_log::open(data + "/keys")};
        cairn::event_store        store{log, {.keys = keys}};
        cairn::repository<Member> members{store, "members"};
        //]
        members.execute("m-1", Join{"ada@example.org", "London"}).value();
        members.execute("m-1", TakeNote{"likes engines"}).value();
        CHECK(members.load("m-1").state.email == "ada@example.org");
        CHECK(members.load("m-1").state.notes == "likes engines");
        log.backup(data + "/backup");

        std::map<std::string, std::string> addresses{{"m-1", "ada@example.org"}, {"m-2", "b"}};
        CHECK(keys.knows("m-1"));
        //[ forget
        store.forget("m-1");

        const Member member = members.load("m-1").state;
        CHECK(member.city == "London");
        CHECK(member.email.empty());
        CHECK(member.notes.empty());
        //]
        CHECK_FALSE(keys.knows("m-1"));
        CHECK(members.load("m-1").version == cairn::version{2});

        //[ forgotten
        for (const auto& r : log.read_query({{{.types = {"SubjectForgotten"}}}}))
            addresses.erase(std::string{*r.key});
        //]
        CHECK(addresses.size() == 1);

        // A backup of the events is not to be read either: it has no keys.
        auto                            restored = cairn::commit_log::open(data + "/backup");
        const cairn::repository<Member> of_backup{cairn::event_store{restored, {.keys = keys}},
                                                  "members"};
        CHECK(of_backup.load("m-1").state.city == "London");
        CHECK(of_backup.load("m-1").state.email.empty());

        // Who comes back has a new key.
        members.execute("m-1", TakeNote{"is back"}).value();
        CHECK(members.load("m-1").state.notes == "is back");
        log.merge();
    }
    CHECK(stands_in(data + "/events", "London"));  // or the search proves nothing
    for (const char* text : {"ada@example.org", "likes engines", "is back"})
        CHECK_FALSE(stands_in(data + "/events", text));
}

TEST_CASE("without keys nothing personal is recorded")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("members");
    cairn::repository<Member> members{log, "members"};
    const auto                end = log.end_position();
    CHECK_THROWS_AS(members.execute("m-1", Join{"ada@example.org", "London"}), cairn::error);
    CHECK(log.end_position() == end);
}
