// SPDX-License-Identifier: Apache-2.0
//
// Decisions over several things at once: at most so many students per course, at most three
// courses per student; an e-mail address that only one may have.
#include "a_log.hpp"
#include "account.hpp"
#include "oracle.capnp.h"
#include "codec.hpp"
#include "event_store_core.hpp"
#include "university.capnp.h"

#include <cairn/framework/decider.hpp>

#include <capnp/dynamic.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>

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

TEST_CASE("a decision sees what others have recorded, who name a type and not a schema")
{
    university_log u;
    const auto     offered = seats_offered("maths", 1);
    record         of_others{.key = "other", .value = std::string{offered.bytes()}};
    of_others.headers = {{"ce_type", "SeatsOffered"}, {"ce_tags", "course:maths"}};
    u.log.append({.records = {{"enrolments", of_others}}});
    CHECK(u.enrol("maths", "ada"));
    CHECK(u.enrol("maths", "bob").has_error());
}

namespace {

/// Two decisions of which each reads before either is recorded. Each calls what it is given first
/// thing in its decide function; one of them is recorded, and the other decided again and refused.
template <class One, class Other>
void check_that_one_loses(One one, Other other)
{
    std::barrier     both_have_read{2};
    std::atomic<int> decided = 0, recorded = 0;
    const auto       run = [&](auto& execute) {
        bool       again = false;
        const auto reads = [&] {
            ++decided;
            if (!std::exchange(again, true)) both_have_read.arrive_and_wait();
        };
        recorded += execute(reads).has_value();
    };
    std::thread first{[&] { run(one); }}, second{[&] { run(other); }};
    first.join();
    second.join();
    CHECK(recorded == 1);
    CHECK(decided == 3);
}

struct Offers : folds<SeatsOffered>
{
    int  n = 0;
    void apply(SeatsOffered::Reader) { ++n; }
};

}  // namespace

TEST_CASE("write skew is impossible: of two that each break the other's premise, one loses")
{
    auto log = commit_log::in_memory();
    log.create_topic("accounts", 4);
    log.create_topic("enrolments");
    decider desk{log, "accounts"}, office{log, "enrolments"};

    SECTION("by stream: two accounts of one owner may together not be overdrawn")
    {
        for (const char* id : {"a", "b"})
            desk.execute(id,
                         [](const bank::Account&) -> decision<bank::Deposited> {
                             return bank::deposited(50);
                         },
                         from_stream<bank::Account>("accounts", id))
                .value();
        const auto withdraw = [&](const std::string& from) {
            return [&desk, from](const auto& reads) {
                return desk.execute(
                    from,
                    [&](const bank::Account& a,
                        const bank::Account& b) -> decision<bank::Withdrawn> {
                        reads();
                        if (a.cents + b.cents < 80) return reject("together there is not so much");
                        return bank::withdrawn(80);
                    },
                    from_stream<bank::Account>("accounts", "a"),
                    from_stream<bank::Account>("accounts", "b"));
            };
        };
        check_that_one_loses(withdraw("a"), withdraw("b"));
    }

    const auto offer = [&](const std::string& stream, auto source) {
        return [&office, stream, source](const auto& reads) {
            return office.execute(
                stream,
                [&](const Offers& offers) -> decision<SeatsOffered> {
                    reads();
                    if (offers.n > 0) return reject("there is one");
                    return seats_offered("c", 1);
                },
                source);
        };
    };
    const auto by_type   = from_tags<Offers>();
    const auto by_tag    = from_tags<Offers>("course:c");
    const auto by_stream = from_stream<Offers>("enrolments", "y");
    SECTION("by type and by tag")
    {
        check_that_one_loses(offer("x", by_type), offer("y", by_tag));
    }
    SECTION("by stream and by tag")
    {
        check_that_one_loses(offer("x", by_stream), offer("y", by_tag));
    }
    SECTION("by stream and by type")
    {
        check_that_one_loses(offer("x", by_stream), offer("y", by_type));
    }
    SECTION("by the same, recorded in one stream")
    {
        check_that_one_loses(offer("x", by_tag), offer("x", by_tag));
    }
}

TEST_CASE("all states of a decision are of one moment")
{
    // What is recorded while the first state is read is in none of them.
    static std::function<void()> while_reading;
    struct Left : folds<SeatsOffered>
    {
        int  n = 0;
        void apply(SeatsOffered::Reader)
        {
            ++n;
            if (while_reading) std::exchange(while_reading, nullptr)();
        }
    };
    university_log u;
    const auto     offer_both = [&] {
        u.office
            .execute("both",
                     [](const Offers&) -> decision<SeatsOffered> {
                         return {seats_offered("left", 1), seats_offered("right", 1)};
                     },
                     from_tags<Offers>("nobody's"))
            .value();
    };
    offer_both();
    while_reading = offer_both;
    std::vector<std::vector<int>> seen;
    u.office
        .execute("d",
                 [&](const Left& left, const Offers& right,
                     const Offers& both) -> decision<StudentEnrolled> {
                     seen.push_back({left.n, right.n, both.n});
                     return student_enrolled("left", "ada");
                 },
                 from_tags<Left>("course:left"), from_tags<Offers>("course:right"),
                 from_stream<Offers>("enrolments", "both"))
        .value();
    CHECK(seen == std::vector<std::vector<int>>{{1, 1, 2}, {2, 2, 4}});
}

TEST_CASE("all events of a decision are recorded, or none: also where one is over the size limit")
{
    testing::a_log on{GENERATE(false, true)};
    decider        desk{*on.log, "accounts"};
    const auto     note = [&](std::size_t first, std::size_t second) {
        return desk.execute(
            "ada",
            [&](const bank::Account& a) -> decision<bank::Deposited> {
                if (a.cents > 3) return reject("it has enough");
                return {bank::deposited(1, std::string(first, 'x')),
                        bank::deposited(2, std::string(second, 'x'))};
            },
            from_stream<bank::Account>("accounts", "ada"));
    };
    CHECK(note(3, 3)->version == version{2});
    const auto end = on.log->end_position();
    CHECK(testing::code_of([&] { (void)note(3, 2'000'000); }) == errc::record_too_large);
    CHECK(testing::code_of([&] { (void)note(2'000'000, 3); }) == errc::record_too_large);
    CHECK(on.log->end_position() == end);
    CHECK(note(3, 3)->version == version{4});
    CHECK(note(3, 3).error().reason == "it has enough");
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

namespace {

using texts = std::vector<std::string>;

/// Queries and events of ten types and ten tags.
class oracle_random
{
public:
    explicit oracle_random(unsigned seed) : engine_{seed} {}

    std::size_t below(std::size_t n) { return engine_() % n; }

    /// Up to so many of 0 to 9.
    std::set<std::size_t> some(std::size_t most)
    {
        std::set<std::size_t> all;
        for (auto n = below(most + 1); all.size() < n;) all.insert(below(10));
        return all;
    }
    texts tags()
    {
        texts all;
        for (const auto t : some(3)) all.push_back("t" + std::to_string(t));
        return all;
    }

private:
    std::mt19937 engine_;
};

const std::vector<capnp::StructSchema>& oracle_types()
{
    using namespace oracle;
    static const std::vector<capnp::StructSchema> all{
        capnp::Schema::from<Event0>(), capnp::Schema::from<Event1>(),
        capnp::Schema::from<Event2>(), capnp::Schema::from<Event3>(),
        capnp::Schema::from<Event4>(), capnp::Schema::from<Event5>(),
        capnp::Schema::from<Event6>(), capnp::Schema::from<Event7>(),
        capnp::Schema::from<Event8>(), capnp::Schema::from<Event9>()};
    return all;
}

any_event oracle_event(capnp::StructSchema type, const texts& tags, const std::string& decision)
{
    static constexpr const char* fields[] = {"a", "b", "c"};
    capnp::MallocMessageBuilder  filled;
    auto                         root = filled.initRoot<capnp::DynamicStruct>(type);
    for (std::size_t i = 0; i < tags.size(); ++i) root.set(fields[i], tags[i].c_str());
    root.set("decision", decision.c_str());
    return {type, filled};
}

/// What matches an item of a query: the decisions that it comes of. No type is any type.
detail::any_source oracle_source(const std::set<std::size_t>& types, texts tags)
{
    detail::any_source from;
    from.tags = std::move(tags);
    for (const auto t : types) from.type.schemas.push_back(oracle_types()[t]);
    for (const auto type : oracle_types())
        from.type.events.push_back({type, [](void* state, capnp::MessageReader& message) {
                                        // They are all alike.
                                        static_cast<texts*>(state)->emplace_back(
                                            message.getRoot<oracle::Event0>().getDecision());
                                    }});
    from.type.create  = [] { return static_cast<void*>(new texts); };
    from.type.destroy = [](void* state) noexcept { delete static_cast<texts*>(state); };
    return from;
}

/// One event, as the log has it.
struct oracle_recorded
{
    position              at;
    std::uint64_t         type;
    std::set<std::string> tags;
    std::string           decision;

    bool matches(const detail::any_source& s) const
    {
        const auto& types = s.type.schemas;
        return (types.empty() || std::ranges::any_of(types,
                                                     [&](capnp::StructSchema t) {
                                                         return t.getProto().getId() == type;
                                                     })) &&
               std::ranges::all_of(s.tags, [&](const auto& t) { return tags.count(t) > 0; });
    }
};

/// What a decision asked for and saw the last time that it was made.
struct oracle_decision
{
    std::vector<detail::any_source> asked;
    std::vector<texts>              saw;
};

std::vector<oracle_recorded> oracle_events(const commit_log& log)
{
    std::vector<oracle_recorded> all;
    for (const auto& r : log.read_all()) {
        detail::message opened{*r.value};
        const auto      e = opened.opened().getRoot<oracle::Event0>();
        oracle_recorded one{r.position, *detail::event_type_of(r).id, {}, e.getDecision()};
        for (const auto tag : {e.getA(), e.getB(), e.getC()})
            if (tag.size() > 0) one.tags.insert(tag);
        all.push_back(std::move(one));
    }
    return all;
}

}  // namespace

// What dcb-events' benchmark checks, as a test: random decisions from many threads; each remembers
// what it saw, and afterwards that is compared with what there was.
TEST_CASE("oracle: no decision of 20 threads was made on what was not true")
{
    const bool on_disk = GENERATE(false, true);
    const auto seed    = std::random_device{}();
    CAPTURE(on_disk, seed);
    testing::a_log on{on_disk};
    on.log->create_topic("decisions", 4);
    const event_store store{*on.log};
    store.core().add_types(oracle_types());
    constexpr int        threads = 20, times = 50;
    const auto           until = std::chrono::steady_clock::now() + std::chrono::seconds{5};
    detail::decider_core office{store, "decisions", {.attempts_max = 100'000}};

    std::mutex                             mutex;
    std::map<std::string, oracle_decision> made;
    std::atomic<int>                       failed = 0;
    const auto                             decide = [&](int t, oracle_random& random, int i) {
        const auto      id = std::to_string(t) + "/" + std::to_string(i);
        oracle_decision one;
        for (auto items = random.below(4); items > 0; --items)
            one.asked.push_back(oracle_source(random.some(4), random.tags()));
        std::vector<any_event> events;
        for (auto n = 1 + random.below(3); n > 0; --n)
            events.push_back(oracle_event(oracle_types()[random.below(10)], random.tags(), id));
        const auto result = office.execute(
            one.asked,
            [&](const std::vector<void*>& states) {
                one.saw.clear();
                for (const auto* s : states) one.saw.push_back(*static_cast<const texts*>(s));
                return any_decision{events, {}};
            },
            "s" + std::to_string(t % 7), {});
        failed += !result;
        const std::lock_guard lock{mutex};
        made.emplace(id, std::move(one));
    };
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t)
        all.emplace_back([&, t] {
            oracle_random random{seed + static_cast<unsigned>(t)};
            try {
                for (int i = 0; i < times && std::chrono::steady_clock::now() < until; ++i)
                    decide(t, random, i);
            } catch (const std::exception&) {
                ++failed;
            }
        });
    for (auto& t : all) t.join();
    CHECK(failed == 0);

    const auto            events = oracle_events(*on.log);
    std::set<std::string> checked;
    int                   wrong = 0;
    for (const auto& first : events) {
        if (!checked.insert(first.decision).second) continue;
        const auto& decision = made.at(first.decision);
        for (std::size_t i = 0; i < decision.asked.size(); ++i) {
            texts there;
            for (const auto& e : events)
                if (e.at < first.at && e.matches(decision.asked[i])) there.push_back(e.decision);
            wrong += there != decision.saw[i];
        }
    }
    CHECK(checked.size() == made.size());
    CHECK(checked.size() >= threads);
    CHECK(wrong == 0);
}
