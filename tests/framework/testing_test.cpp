// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "account.hpp"
#include "university.capnp.h"

#include <cairn/framework/testing.hpp>

#include <catch2/catch.hpp>

using namespace bank;
using cairn::testing::given;

TEST_CASE("a test says what was given, what was asked, and what should have happened")
{
    CHECK(given<Account>(deposited(100)).when(Withdraw{60}).then(withdrawn(60)));
    CHECK(given<Account>(deposited(100)).when(Move{1, 2}).then(withdrawn(1), deposited(2)));
    CHECK(given<Account>().when(Settle{}).then_nothing());
    CHECK(given<Account>(deposited(5)).when(Withdraw{6}).then_rejected());
    CHECK(given<Account>(deposited(5))
              .when(Withdraw{6})
              .then_rejected("there is not so much in it"));
}

TEST_CASE("a test that fails says what happened, and marks the difference")
{
    const auto two = given<Account>(deposited(100)).when(Move{1, 2});
    CHECK_FALSE(two.then(withdrawn(1)));
    CHECK(two.then(withdrawn(1)).what == "what happened (+) is not what should have (-):\n"
                                         "    Withdrawn {\"cents\":\"1\"}\n"
                                         "  + Deposited {\"cents\":\"2\"}\n");
    CHECK(two.then(withdrawn(9), deposited(2)).what ==
          "what happened (+) is not what should have (-):\n"
          "  - Withdrawn {\"cents\":\"9\"}\n"
          "  + Withdrawn {\"cents\":\"1\"}\n"
          "    Deposited {\"cents\":\"2\"}\n");
    CHECK(two.then_nothing().what == "what happened (+) is not what should have (-):\n"
                                     "  + Withdrawn {\"cents\":\"1\"}\n"
                                     "  + Deposited {\"cents\":\"2\"}\n");
    CHECK(two.then_rejected().what == "it was not rejected; what happened:\n"
                                      "  + Withdrawn {\"cents\":\"1\"}\n"
                                      "  + Deposited {\"cents\":\"2\"}\n");
    const auto refused = given<Account>().when(Withdraw{1});
    CHECK(refused.then(withdrawn(1)).what == "it was rejected: there is not so much in it\n"
                                             "and should have happened:\n"
                                             "  - Withdrawn {\"cents\":\"1\"}\n");
    CHECK(refused.then_rejected("no").what == "it was rejected because \"there is not so much "
                                              "in it\", not because \"no\"");
}

TEST_CASE("the same test runs on a log in memory and on disk")
{
    using cairn::testing::a_log;
    for (const bool on_disk : {false, true}) {
        a_log                    on{on_disk};
        const cairn::event_store store{*on.log};
        CHECK(given<Account>(deposited(100)).on(store).when(Withdraw{60}).then(withdrawn(60)));
        CHECK(given<Account>(deposited(100))
                  .on(store)
                  .when(Move{1, 2})
                  .then(withdrawn(1), deposited(2)));
        CHECK(given<Account>().on(store).when(Settle{}).then_nothing());
        CHECK(given<Account>(deposited(5)).on(store).when(Withdraw{6}).then_rejected());
        CHECK_FALSE(given<Account>(deposited(5)).on(store).when(Withdraw{5}).then_nothing());
    }
}

TEST_CASE("a decision over several streams and tags is tested in the same words")
{
    using namespace cairn;
    using namespace university;
    struct Seats : folds<SeatsOffered, StudentEnrolled>
    {
        int  free = 0;
        void apply(SeatsOffered::Reader e) { free += static_cast<int>(e.getSeats()); }
        void apply(StudentEnrolled::Reader) { --free; }
    };
    struct Courses : folds<StudentEnrolled>
    {
        int  taken = 0;
        void apply(StudentEnrolled::Reader) { ++taken; }
    };
    const auto offered  = event<SeatsOffered>{[](auto e) {
        e.setCourse("maths");
        e.setSeats(1);
    }};
    const auto enrolled = [](const char* who) {
        return event<StudentEnrolled>{[&](auto e) {
            e.setCourse("maths");
            e.setStudent(who);
        }};
    };
    const auto enrol = [&](const char* who) {
        return [&enrolled, who](const Seats& seats, const Courses&) -> decision<StudentEnrolled> {
            if (seats.free == 0) return reject("the course is full");
            return enrolled(who);
        };
    };
    using cairn::testing::given_all;
    CHECK(given_all(offered)
              .when(enrol("ada"), from_tags<Seats>("course:maths"),
                    from_tags<Courses>("student:ada"))
              .then(enrolled("ada")));
    CHECK(given_all(offered, enrolled("ada"))
              .when(enrol("bob"), from_tags<Seats>("course:maths"),
                    from_tags<Courses>("student:bob"))
              .then_rejected("the course is full"));
    cairn::testing::a_log on{true};
    cairn::testing::world world{event_store{*on.log}};
    world.in({"courses", "maths"}, offered).in({"students", "ada"}, enrolled("ada"));
    CHECK(world
              .when(
                  [](const Seats& seats, const Courses& courses) -> decision<SeatsOffered> {
                      CHECK(seats.free == 1);
                      CHECK(courses.taken == 1);
                      return {};
                  },
                  from_stream<Seats>("courses", "maths"), from_stream<Courses>("students", "ada"))
              .then_nothing());
}

TEST_CASE("when() records nothing: the next one is of the same world")
{
    using namespace cairn;
    for (const bool on_disk : {false, true}) {
        cairn::testing::a_log on{on_disk};
        cairn::testing::world world{event_store{*on.log}};
        world.in({"accounts", "ada"}, deposited(100));
        const auto withdraw = [&](std::uint64_t cents) {
            return world.when(
                [=](const Account& a) -> decision<Withdrawn> {
                    if (a.cents < cents) return reject("there is not so much in it");
                    return withdrawn(cents);
                },
                from_stream<Account>("accounts", "ada"));
        };
        const auto end = on.log->end_position();
        CHECK(withdraw(100).then(withdrawn(100)));
        CHECK(withdraw(101).then_rejected());
        CHECK(withdraw(100).then(withdrawn(100)));
        CHECK(on.log->end_position() == end);
    }
}
