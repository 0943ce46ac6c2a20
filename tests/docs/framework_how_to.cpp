// SPDX-License-Identifier: Apache-2.0
//
// The code of the pages on the framework, and that it does what they say.
#include "university.capnp.h"

#include <cairn/framework/decider.hpp>
#include <cairn/framework/testing.hpp>

#include <catch2/catch.hpp>

#include <set>
#include <string>

using namespace university;

namespace {

//[ enrolment_states
/// What a course has left.
struct Seats : cairn::folds<SeatsOffered, StudentEnrolled>
{
    std::int64_t free = 0;

    void apply(SeatsOffered::Reader e) { free += e.getSeats(); }
    void apply(StudentEnrolled::Reader) { --free; }
};

/// What a student takes already.
struct Courses : cairn::folds<StudentEnrolled>
{
    std::set<std::string> taken;

    void apply(StudentEnrolled::Reader e) { taken.insert(e.getCourse()); }
};
//]

auto student_enrolled(const std::string& course, const std::string& student)
{
    return cairn::event<StudentEnrolled>{[&](auto e) {
        e.setCourse(course);
        e.setStudent(student);
    }};
}

auto seats_offered(const std::string& course, std::uint32_t seats)
{
    return cairn::event<SeatsOffered>{[&](auto e) {
        e.setCourse(course);
        e.setSeats(seats);
    }};
}

//[ enrol
cairn::execute_result enrol(cairn::decider& office, const std::string& course,
                            const std::string& student)
{
    return office.execute(
        student,
        [&](const Seats& seats, const Courses& courses) -> cairn::decision<StudentEnrolled> {
            if (courses.taken.count(course)) return {};
            if (seats.free <= 0) return cairn::reject("the course is full");
            if (courses.taken.size() >= 3) return cairn::reject("three courses are enough");
            return student_enrolled(course, student);
        },
        cairn::from_tags<Seats>("course:" + course),
        cairn::from_tags<Courses>("student:" + student));
}
//]

}  // namespace

TEST_CASE("a course has only so many seats, and a student takes at most three")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("enrolments");
    cairn::decider office{log, "enrolments"};
    for (const char* course : {"maths", "latin", "art", "music"})
        office
            .execute(course,
                     [&](const Seats&) -> cairn::decision<SeatsOffered> {
                         return cairn::event<SeatsOffered>{[&](auto e) {
                             e.setCourse(course);
                             e.setSeats(1);
                         }};
                     },
                     cairn::from_tags<Seats>("course:" + std::string{course}))
            .value();
    CHECK(enrol(office, "maths", "ada").value().recorded == 1);
    CHECK(enrol(office, "maths", "ada").value().recorded == 0);
    CHECK(enrol(office, "maths", "bob").error().reason == "the course is full");
    CHECK(enrol(office, "latin", "ada").has_value());
    CHECK(enrol(office, "art", "ada").has_value());
    CHECK(enrol(office, "music", "ada").error().reason == "three courses are enough");
}

//[ given_all
TEST_CASE("a course that is full takes nobody")
{
    const auto bob = [](const Seats& seats) -> cairn::decision<StudentEnrolled> {
        if (seats.free <= 0) return cairn::reject("the course is full");
        return student_enrolled("maths", "bob");
    };
    using cairn::testing::given_all;
    CHECK(given_all(seats_offered("maths", 2), student_enrolled("maths", "ada"))
              .when(bob, cairn::from_tags<Seats>("course:maths"))
              .then(student_enrolled("maths", "bob")));
    CHECK(given_all(seats_offered("maths", 1), student_enrolled("maths", "ada"))
              .when(bob, cairn::from_tags<Seats>("course:maths"))
              .then_rejected("the course is full"));
}
//]
