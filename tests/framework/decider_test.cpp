// SPDX-License-Identifier: Apache-2.0
//
// Decisions over several things at once: at most so many students per course, at most three
// courses per student; an e-mail address that only one may have.
#include "account.hpp"
#include "university.capnp.h"

#include <cairn/framework/decider.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <thread>

using namespace cairn;
using namespace university;

namespace {

auto seats_offered(const std::string& course, std::uint32_t seats)
{
    return event<SeatsOffered>{[&](auto e) {
        e.setCourse(course);
        e.setSeats(seats);
    }};
}
auto student_enrolled(const std::string& course, const std::string& student)
{
    return event<StudentEnrolled>{[&](auto e) {
        e.setCourse(course);
        e.setStudent(student);
    }};
}
auto student_left(const std::string& course, const std::string& student)
{
    return event<StudentLeft>{[&](auto e) {
        e.setCourse(course);
        e.setStudent(student);
    }};
}
auto email_taken(const std::string& email)
{
    return event<EmailTaken>{[&](auto e) { e.setEmail(email); }};
}

struct Seats : folds<SeatsOffered, StudentEnrolled, StudentLeft>
{
    std::int64_t free = 0;
    void         apply(SeatsOffered::Reader e) { free += e.getSeats(); }
    void         apply(StudentEnrolled::Reader) { --free; }
    void         apply(StudentLeft::Reader) { ++free; }
};

struct Courses : folds<StudentEnrolled, StudentLeft>
{
    std::set<std::string> taken;
    void                  apply(StudentEnrolled::Reader e) { taken.insert(e.getCourse().cStr()); }
    void                  apply(StudentLeft::Reader e) { taken.erase(e.getCourse().cStr()); }
};

struct Taken : folds<EmailTaken>
{
    bool yes = false;
    void apply(EmailTaken::Reader) { yes = true; }
};

struct university_log
{
    static commit_log with_topic()
    {
        auto log = commit_log::in_memory();
        log.create_topic("enrolments", 3);
        return log;
    }

    execute_result enrol(const std::string& course, const std::string& student,
                         const command_context& context = {})
    {
        return office.execute(
            context, student,
            [&](const Seats& seats, const Courses& courses) -> decision<StudentEnrolled> {
                if (courses.taken.count(course)) return {};
                if (seats.free <= 0) return reject("the course is full");
                if (courses.taken.size() >= 3) return reject("three courses are enough");
                return student_enrolled(course, student);
            },
            from_tags<Seats>("course:" + course), from_tags<Courses>("student:" + student));
    }
    void offer(const std::string& course, std::uint32_t seats)
    {
        office
            .execute(course,
                     [&](const Seats&) -> decision<SeatsOffered> {
                         return seats_offered(course, seats);
                     },
                     from_tags<Seats>("course:" + course))
            .value();
    }

    commit_log log = with_topic();
    decider    office{log, "enrolments", {.attempts_max = 1000}};
};

}  // namespace

TEST_CASE("a decision over two things sees both, and what it read is what it depends on")
{
    university_log u;
    u.offer("maths", 2);
    u.offer("latin", 9);
    u.offer("art", 9);
    u.offer("music", 9);
    CHECK(u.enrol("maths", "ada").value().recorded == 1);
    CHECK(u.enrol("maths", "ada").value().recorded == 0);  // she is there already
    CHECK(u.enrol("maths", "bob").has_value());
    CHECK(u.enrol("maths", "eve").error().reason == "the course is full");
    CHECK(u.enrol("latin", "ada").has_value());
    CHECK(u.enrol("art", "ada").has_value());
    CHECK(u.enrol("music", "ada").error().reason == "three courses are enough");
    CHECK(u.log.stream_version({"enrolments", "ada"}) == version{3});

    u.office
        .execute("ada",
                 [](const Courses& courses) -> decision<StudentLeft> {
                     if (!courses.taken.count("maths")) return reject("she is not there");
                     return student_left("maths", "ada");
                 },
                 from_tags<Courses>("student:ada"))
        .value();
    CHECK(u.enrol("maths", "eve").has_value());
    CHECK(u.enrol("music", "ada").has_value());
}

TEST_CASE("an address is taken once, whoever asks, and from everywhere at once")
{
    university_log           u;
    std::atomic<int>         had = 0, refused = 0;
    std::vector<std::thread> all;
    for (int t = 0; t < 8; ++t)
        all.emplace_back([&, t] {
            const auto r = u.office.execute(
                "user-" + std::to_string(t),
                [](const Taken& taken) -> decision<EmailTaken> {
                    if (taken.yes) return reject("the address is taken");
                    return email_taken("ada@example.org");
                },
                from_tags<Taken>("email:ada@example.org"));
            ++(r ? had : refused);
        });
    for (auto& t : all) t.join();
    CHECK(had == 1);
    CHECK(refused == 7);
}

TEST_CASE("a seat is given once, however many ask for the last one")
{
    university_log u;
    u.offer("maths", 10);
    u.offer("latin", 10);
    std::atomic<int>         got = 0;
    std::vector<std::thread> all;
    for (int t = 0; t < 10; ++t)
        all.emplace_back([&, t] {
            for (int i = 0; i < 3; ++i) {
                const auto student = "s" + std::to_string(t) + std::to_string(i);
                got += u.enrol("maths", student).has_value();
                got += u.enrol("latin", student).has_value();
            }
        });
    for (auto& t : all) t.join();
    CHECK(got == 20);
}

TEST_CASE("write skew is impossible: of two that each break the other's premise, one loses")
{
    // Two accounts of one owner may together not be overdrawn: each withdrawal reads both, and
    // writes to one (the pair by stream). And the pairs by type and by tag, also nested.
    auto log = commit_log::in_memory();
    log.create_topic("accounts", 4);
    log.create_topic("enrolments");
    decider desk{log, "accounts"};
    for (const char* id : {"a", "b"})
        desk.execute(id,
                     [](const bank::Account&) -> decision<bank::Deposited> {
                         return bank::deposited(50);
                     },
                     from_stream<bank::Account>("accounts", id))
            .value();
    std::atomic<int> refused = 0;
    const auto       withdraw = [&](const std::string& from) {
        refused += desk.execute(
                           from,
                           [](const bank::Account& a, const bank::Account& b)
                               -> decision<bank::Withdrawn> {
                               if (static_cast<std::int64_t>(a.cents + b.cents) < 80)
                                   return reject("together there is not so much");
                               return bank::withdrawn(80);
                           },
                           from_stream<bank::Account>("accounts", "a"),
                           from_stream<bank::Account>("accounts", "b"))
                       .has_error();
    };
    std::thread one{[&] { withdraw("a"); }}, other{[&] { withdraw("b"); }};
    one.join();
    other.join();
    CHECK(refused == 1);

    // One decides by type and writes what the other decides by tag, and the other way round.
    struct AnyOffer : folds<SeatsOffered>
    {
        int  n = 0;
        void apply(SeatsOffered::Reader) { ++n; }
    };
    decider          office{log, "enrolments"};
    std::atomic<int> offered = 0;
    std::thread      by_type{[&] {
        offered += office
                       .execute("x",
                                [](const AnyOffer& any) -> decision<SeatsOffered> {
                                    if (any.n > 0) return reject("there is one");
                                    return seats_offered("c", 1);
                                },
                                from_tags<AnyOffer>())
                       .has_value();
    }};
    std::thread by_tag{[&] {
        offered += office
                       .execute("y",
                                [](const Seats& seats) -> decision<SeatsOffered> {
                                    if (seats.free > 0) return reject("there is one");
                                    return seats_offered("c", 1);
                                },
                                from_tags<Seats>("course:c"))
                       .has_value();
    }};
    by_type.join();
    by_tag.join();
    CHECK(offered == 1);
}

TEST_CASE("decisions that have nothing in common are never decided twice")
{
    university_log   u;
    std::atomic<int> asked = 0;
    std::vector<std::thread> all;
    for (int t = 0; t < 8; ++t)
        all.emplace_back([&, t] {
            for (int i = 0; i < 20; ++i) {
                const auto course = "c" + std::to_string(t);
                u.office
                    .execute("one stream for all",
                             [&](const Seats&) -> decision<SeatsOffered> {
                                 ++asked;
                                 return seats_offered(course, 1);
                             },
                             from_tags<Seats>("course:" + course))
                    .value();
            }
        });
    for (auto& t : all) t.join();
    CHECK(asked == 8 * 20);
    CHECK(u.log.stream_version({"enrolments", "one stream for all"}) == version{160});
}

TEST_CASE("a decider's command id answers a repeat with the first outcome")
{
    university_log u;
    u.offer("maths", 1);
    const auto first = u.enrol("maths", "ada", {.command_id = "e-1"}).value();
    const auto again = u.enrol("maths", "ada", {.command_id = "e-1"}).value();
    CHECK(again.repeated);
    CHECK(again.position == first.position);
    CHECK(u.enrol("maths", "bob", {.command_id = "e-2"}).has_error());
}

// What dcb-events' benchmark checks, as a test: random decisions from many threads; each event
// remembers what its decision saw, and afterwards that is compared with what there was.
TEST_CASE("oracle: no decision of 20 threads was made on what was not true")
{
    const auto  seed = std::random_device{}();
    INFO("seed " << seed);
    auto log = commit_log::in_memory();
    log.create_topic("enrolments", 4);
    constexpr int threads = 20, times = 15, tags = 5;

    struct Enrolled : folds<StudentEnrolled>
    {
        std::int64_t n = 0;
        void         apply(StudentEnrolled::Reader) { ++n; }
    };
    // The student's name says how many of its course the decision saw.
    std::atomic<int>         failed = 0;
    std::vector<std::thread> all;
    decider                  office{log, "enrolments", {.attempts_max = 100'000}};
    for (int t = 0; t < threads; ++t)
        all.emplace_back([&, t] {
            std::mt19937 random{seed + static_cast<unsigned>(t)};
            for (int i = 0; i < times; ++i) try {
                    const auto course = "c" + std::to_string(random() % tags);
                    office
                        .execute("t" + std::to_string(t),
                                 [&](const Enrolled& there) -> decision<StudentEnrolled> {
                                     return student_enrolled(course, std::to_string(there.n));
                                 },
                                 from_tags<Enrolled>("course:" + course))
                        .value();
                } catch (const std::exception&) {
                    ++failed;
                }
        });
    for (auto& t : all) t.join();
    CHECK(failed == 0);

    std::map<std::string, std::int64_t> before;
    int                                 checked = 0, wrong = 0;
    for (const auto& r : log.read_all()) {
        detail::message opened{*r.value};
        const auto      e = opened.opened().getRoot<StudentEnrolled>();
        wrong += e.getStudent() != std::to_string(before[e.getCourse().cStr()]++);
        ++checked;
    }
    CHECK(checked == threads * times);
    CHECK(wrong == 0);
}
