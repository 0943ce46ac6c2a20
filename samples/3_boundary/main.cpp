// A decision over two things at once. What it has read is what its append depends on: of twenty
// students who ask for three seats at the same moment, three get one.
#include "enrolment.hpp"

#include <atomic>
#include <iostream>
#include <thread>
#include <vector>

using namespace school;

int main()
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("school");

    //[ boundary
    cairn::decider office{log, "school", {.attempts_max = 100}};
    office
        .execute([](const Seats&) -> cairn::decision<CourseOffered> {
                     return course_offered("maths", 3);
                 },
                 cairn::from_tags<Seats>("course:maths"))
        .value();

    std::atomic<int>         enrolled{0}, refused{0};
    std::vector<std::thread> students;
    for (int i = 0; i < 20; ++i)
        students.emplace_back([&, who = "student-" + std::to_string(i)] {
            const auto done = office.execute(enrol(who, "maths"),
                                             cairn::from_tags<Seats>("course:maths"),
                                             cairn::from_tags<Courses>("student:" + who));
            ++(done ? enrolled : refused);
        });
    for (auto& s : students) s.join();
    std::cout << enrolled << " enrolled, " << refused << " refused\n";
    //]
    return enrolled == 3 ? 0 : 1;
}
