#include "enrolment.hpp"

#include <cairn/framework/testing.hpp>
#include <catch2/catch.hpp>

using namespace school;
using cairn::from_tags;
using cairn::testing::given_all;

//[ enrolment_test
TEST_CASE("the last seat goes to one student")
{
    const auto so_far = given_all(course_offered("maths", 1), student_enrolled("ada", "maths"));
    CHECK(so_far
              .when(enrol("bob", "maths"), from_tags<Seats>("course:maths"),
                    from_tags<Courses>("student:bob"))
              .then_rejected("maths is full"));
}

TEST_CASE("a student takes at most two courses, wherever they are")
{
    const auto so_far =
        given_all(course_offered("music", 9), student_enrolled("ada", "maths"),
                  student_enrolled("ada", "logic"), student_enrolled("bob", "music"));
    CHECK(so_far
              .when(enrol("ada", "music"), from_tags<Seats>("course:music"),
                    from_tags<Courses>("student:ada"))
              .then_rejected("ada takes two courses already"));
    CHECK(so_far
              .when(enrol("bob", "music"), from_tags<Seats>("course:music"),
                    from_tags<Courses>("student:bob"))
              .then(student_enrolled("bob", "music")));
}
//]
