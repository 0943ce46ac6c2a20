// Two rules that no single aggregate can keep: a course has so many seats, and a student takes at
// most two courses.
#pragma once

#include "course.capnp.h"

#include <cairn/framework/decider.hpp>

#include <string>

namespace school {

inline auto course_offered(const std::string& course, std::uint32_t seats)
{
    return cairn::event<CourseOffered>{[&](auto e) {
        e.setCourse(course);
        e.setSeats(seats);
    }};
}
inline auto student_enrolled(const std::string& student, const std::string& course)
{
    return cairn::event<StudentEnrolled>{[&](auto e) {
        e.setStudent(student);
        e.setCourse(course);
    }};
}

//[ states
struct Seats : cairn::folds<CourseOffered, StudentEnrolled>
{
    std::int64_t free = 0;
    void         apply(CourseOffered::Reader e) { free += e.getSeats(); }
    void         apply(StudentEnrolled::Reader) { --free; }
};

struct Courses : cairn::folds<StudentEnrolled>
{
    int  taken = 0;
    void apply(StudentEnrolled::Reader) { ++taken; }
};
//]

//[ decide
inline auto enrol(const std::string& student, const std::string& course)
{
    return [=](const Seats& seats, const Courses& courses) -> cairn::decision<StudentEnrolled> {
        if (seats.free == 0) return cairn::reject(course + " is full");
        if (courses.taken == 2) return cairn::reject(student + " takes two courses already");
        return student_enrolled(student, course);
    };
}
//]

}  // namespace school
