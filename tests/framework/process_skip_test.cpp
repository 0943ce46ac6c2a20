// SPDX-License-Identifier: Apache-2.0
//
// What cannot be handled, and how one gets past it.
#include "a_shop.hpp"

#include "process.capnp.h"

#include <stdexcept>

using namespace shop;
using namespace cairn;
using namespace cairn::testing;

namespace {

/// "<position>: <reason>", of what was skipped.
names skipped(a_shop& s)
{
    names all;
    for (const auto& r : s.on.log->read_stream({"payments", "cairn-skipped"})) {
        detail::message opened{*r.value};
        const auto      e = opened.opened().getRoot<schema::CauseSkipped>();
        CHECK_THAT(e.getFailure().cStr(), Catch::Contains("payments stops"));
        CHECK(r.headers.find(header_names::type) == "CauseSkipped");
        all.push_back(std::to_string(e.getPosition()) + ": " + e.getReason().cStr());
    }
    return all;
}

std::string text(position at, const std::string& reason)
{
    return std::to_string(at.value) + ": " + reason;
}

/// Throws when its timer goes off.
struct Forgetful : process_manager<listens_to<OrderPlaced>>
{
    static std::string process_of(auto, const stream_id& from) { return from.key; }

    reaction react(OrderPlaced::Reader) const
    {
        return reaction{}.set("a", after(1min)).set("b", after(2min));
    }
    reaction react(const timer_fired& t) const
    {
        if (t.process == "o-2" && t.name == "a") throw std::logic_error{"what was it?"};
        return reaction{}.post("mails", t.process, mail(t.process, t.name));
    }
};

}  // namespace

TEST_CASE(
    "an event that cannot be handled is skipped when the runner is told, and that is recorded")
{
    a_shop s{GENERATE(false, true)};
    s.place("o-1");
    const auto bad = s.on.log->end_position();
    s.place("o-2", "Mallory");
    s.place("o-3");
    CHECK(failure_of(*s.payments).at() == bad);
    s.payments->skip(bad, "Mallory is barred");
    CHECK(s.payments->state() == runner_state::idle);
    CHECK(s.payments->error() == nullptr);
    CHECK(s.payments->statistics().skipped == 1);
    CHECK(skipped(s) == names{text(bad, "Mallory is barred")});

    if (GENERATE(false, true)) s.restart();
    s.run();
    CHECK(s.events("payments", "o-1") == names{"PaymentDue"});
    CHECK(s.events("payments", "o-2").empty());
    CHECK(s.events("payments", "o-3") == names{"PaymentDue"});
    s.restart();
    s.run();
    CHECK(skipped(s).size() == 1);
}

TEST_CASE("nothing is skipped but what the runner stands before, and not without a reason")
{
    a_shop     s;
    const auto refused = [&](position at, const std::string& why) {
        return code_of([&] { s.payments->skip(at, why); }) == errc::invalid_argument;
    };
    const auto good = s.on.log->end_position();
    s.place("o-1");
    const auto bad = s.on.log->end_position();
    s.place("o-2", "Mallory");
    CHECK(refused(bad, "it has not been tried"));
    (void)failure_of(*s.payments);
    CHECK(refused(good, "it is handled"));
    CHECK(refused(bad.next(), "it is nothing"));
    CHECK(refused(bad, ""));
    CHECK(s.payments->state() == runner_state::failed);
    s.restart();
    CHECK(refused(bad, "it has not been tried again"));
    (void)failure_of(*s.payments);
    s.payments->skip(bad, "now");
    CHECK(refused(bad, "it is behind us"));
    CHECK(skipped(s) == names{text(bad, "now")});
}

TEST_CASE("a timer that cannot be handled is skipped, and does not go off again")
{
    a_shop s{GENERATE(false, true)};
    auto   runner = [&] { return process_runner<Forgetful>{*s.on.log, "payments", s.options}; };
    {
        auto r = runner();
        for (const auto* o : {"o-1", "o-2", "o-3"}) s.place(o);
        r.run_until_idle();
        s.pass(10min);
        const auto failed = failure_of(r);
        CHECK_THAT(failed.what(), Catch::Contains("the timer \"a\" of o-2"));
        CHECK(failure_of(r).at() == failed.at());
        r.skip(failed.at(), "nobody knows");
        CHECK(skipped(s) == names{text(failed.at(), "nobody knows")});
        CHECK(r.timers().size() == 4);
    }
    auto again = runner();
    again.run_until_idle();
    CHECK(again.timers().empty());
    CHECK(s.events("mails", "o-1").size() == 2);
    CHECK(s.events("mails", "o-2").size() == 1);
    CHECK(s.events("mails", "o-3").size() == 2);
}

TEST_CASE("an event that cannot be read is skipped with the one that waited to be merged with it")
{
    a_shop    s;
    upcasters old;
    old.merge<PaymentGivenUp, Mail>(
        [](PaymentGivenUp::Reader, Mail::Reader) { return order_placed("merged"); });
    process_runner<Payment> runner{event_store{*s.on.log, {.upcasters = old}}, "payments",
                                   s.options, *s.orders};
    s.append("orders", "o-1", payment_given_up("o-1"));
    auto bad         = a_shop::raw("orders", "o-1", mail("a", "b"));
    bad.record.value = "x";
    const auto at    = s.on.log->append({.records = {bad}}).first;
    s.place("o-2");
    CHECK(failure_of(runner).at() == at);
    runner.skip(at, "a torn import");
    runner.run_until_idle();
    CHECK(skipped(s) ==
          names{text(position{at.value - 1}, "a torn import"), text(at, "a torn import")});
    CHECK(s.events("payments", "o-2") == names{"PaymentDue"});
}

TEST_CASE("a runner that another has begun after skips nothing")
{
    a_shop     s;
    const auto bad = s.on.log->end_position();
    s.place("o-1", "Mallory");
    (void)failure_of(*s.payments);
    process_runner<Payment> other{*s.on.log, "payments", s.options, *s.orders};
    (void)failure_of(other);
    CHECK(code_of([&] { s.payments->skip(bad, "too late"); }) == errc::fenced_generation);
    CHECK(skipped(s).empty());
    other.skip(bad, "in time");
    CHECK(skipped(s).size() == 1);
}

TEST_CASE("no process is called as what was skipped is")
{
    a_shop s;
    s.place("cairn-skipped");
    CHECK_THAT(failure_of(*s.payments).what(), Catch::Contains("what was skipped is recorded"));
}

namespace {

/// Its timers lead to timers, so many of them in turn, `Step` later.
template <int Names, int Step>
struct Restless : process_manager<listens_to<OrderPlaced>>
{
    static std::string process_of(auto, const stream_id& from) { return from.key; }

    reaction react(OrderPlaced::Reader) const { return reaction{}.set("t0", after(1min)); }
    reaction react(const timer_fired& t) const
    {
        const auto next = (std::stoi(t.name.substr(1)) + 1) % Names;
        return reaction{}.set("t" + std::to_string(next), after(std::chrono::milliseconds{Step}));
    }
};

template <class P>
void check_ends(const std::string& timer)
{
    a_shop s;
    s.options.timers_max = 20;
    s.place("o-1");
    s.pass(2min);
    process_runner<P> runner{*s.on.log, "payments", s.options};
    const auto        failed = failure_of(runner);
    CHECK_THAT(failed.what(), Catch::Contains("the timer \"" + timer + "\" of o-1") &&
                                  Catch::Contains("20 timers"));
    CHECK(runner.statistics().timers_fired == 20);
    CHECK(failure_of(runner).at() == failed.at());
    runner.skip(failed.at(), "it goes round in a circle");
    runner.run_until_idle();
    CHECK(runner.timers().empty());
}

}  // namespace

TEST_CASE("timers that lead to timers with no time between them end, and it is said which one")
{
    check_ends<Restless<1, 0>>("t0");
    check_ends<Restless<1, -1000>>("t0");
    check_ends<Restless<3, 0>>("t2");
    check_ends<Restless<1'000'000, 0>>("t20");
}

TEST_CASE("timers that come to an end by themselves may be many")
{
    a_shop s;
    s.options.timers_max = 20;
    s.open();
    SECTION("of many processes at once")
    {
        for (int i = 0; i < 50; ++i) s.place("o-" + std::to_string(i));
        s.run();
        s.pass(1h);
        s.run();
        CHECK(s.payments->statistics().timers_fired == 100);
        CHECK(s.timers().empty());
    }
    SECTION("of one that makes up for the time that it was down")
    {
        process_runner<Restless<1, 100>> runner{*s.on.log, "payments", s.options};
        s.place("o-1");
        s.pass(1min + 10s);
        runner.run_until_idle();
        CHECK(runner.statistics().timers_fired == 101);
        CHECK(runner.timers().size() == 1);
    }
}
