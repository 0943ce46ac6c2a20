// SPDX-License-Identifier: Apache-2.0
#include "a_shop.hpp"

#include <catch2/catch.hpp>

#include <cstdlib>
#include <ctime>
#include <limits>
#include <sstream>

using namespace shop;
using namespace cairn;
using namespace cairn::testing;

namespace {

/// Clocks go by that zone, as POSIX writes it, while this lives.
struct in_zone
{
    explicit in_zone(const char* zone)
    {
        if (const char* const had = std::getenv("TZ")) before = had;
        ::setenv("TZ", zone, 1);
        ::tzset();
    }
    ~in_zone()
    {
        if (before)
            ::setenv("TZ", before->c_str(), 1);
        else
            ::unsetenv("TZ");
        ::tzset();
    }
    std::optional<std::string> before;
};

/// Of UTC.
timestamp time(int year, int month, int day, int hour, int minute = 0)
{
    std::tm t{};
    t.tm_year = year - 1900;
    t.tm_mon  = month - 1;
    t.tm_mday = day;
    t.tm_hour = hour;
    t.tm_min  = minute;
    return timestamp{::timegm(&t) * std::int64_t{1000}};
}

std::string text_of(due d)
{
    std::ostringstream out;
    out << d;
    return out.str();
}

}  // namespace

TEST_CASE("a time to come is said from the moment of its cause")
{
    const auto noon = time(2023, 5, 10, 12);
    CHECK(after(90s).from(noon) == noon + 90'000);
    CHECK(after(-1s).from(noon) == noon - 1000);
    CHECK(after(std::chrono::milliseconds::max()).from(noon).value ==
          std::numeric_limits<std::int64_t>::max());
    CHECK(at(timestamp{5}).from(noon) == timestamp{5});
    CHECK(at_utc(13h).from(noon) == noon + 3'600'000);
    CHECK(at_utc(12h).from(noon) == noon + 24 * 3'600'000);  // the next one, not this
    CHECK(at_utc(12h).from(noon - 1) == noon);
    CHECK(at_utc(11h + 59min).from(noon) == time(2023, 5, 11, 11, 59));
    CHECK(at_utc(1h).from(timestamp{-1}) == time(1970, 1, 1, 1));
    CHECK(text_of(after(30min)) == "after 30 min");
    CHECK(text_of(after(36h)) == "after 36 h");
    CHECK(text_of(after(1500ms)) == "after 1500 ms");
    CHECK(text_of(at_local(9h + 5min)) == "at local 09:05");
    for (const auto wrong : {std::chrono::minutes{-1}, std::chrono::minutes{24h}}) {
        CHECK(code_of([&] { (void)at_local(wrong); }) == errc::invalid_argument);
        CHECK(code_of([&] { (void)at_utc(wrong); }) == errc::invalid_argument);
    }
}

TEST_CASE("a time that is too late for a timestamp is at the end of time")
{
    const in_zone   here{"CET-1CEST,M3.5.0,M10.5.0/3"};
    const timestamp first{std::numeric_limits<std::int64_t>::min()};
    const timestamp last{std::numeric_limits<std::int64_t>::max()};
    for (const auto of_day : {std::chrono::minutes{0}, std::chrono::minutes{9h},
                              std::chrono::minutes{23h + 59min}}) {
        for (const auto due : {at_utc(of_day), at_local(of_day)}) {
            INFO(due);
            CHECK(due.from(last) == last);
            CHECK(due.from(last - 1) > last - 1);
            const auto day = std::int64_t{24 * 3'600'000};
            CHECK(due.from(first) > first);
            CHECK(due.from(first) <= first + (day + 3'600'000));
            CHECK(due.from(last - 3 * day) < last - day);
        }
    }
}

TEST_CASE("a local time of day comes once a day, also when clocks are changed")
{
    const in_zone berlin{"CET-1CEST,M3.5.0,M10.5.0/3"};
    // 26 March 2023: 02:00 is followed by 03:00. 29 October: 03:00 by 02:00.
    CHECK(at_local(9h).from(time(2023, 3, 25, 7)) == time(2023, 3, 25, 8));
    CHECK(at_local(9h).from(time(2023, 3, 25, 8)) == time(2023, 3, 26, 7));    // 23 hours
    CHECK(at_local(9h).from(time(2023, 10, 28, 7)) == time(2023, 10, 29, 8));  // 25 hours
    CHECK(at_local(0min).from(time(2023, 12, 31, 22, 59)) == time(2023, 12, 31, 23));

    for (const auto of_day : {std::chrono::minutes{2h}, std::chrono::minutes{2h + 30min},
                              std::chrono::minutes{3h}, std::chrono::minutes{9h}}) {
        int  days = 0;
        auto last = time(2023, 1, 1, 12);
        for (auto t = at_local(of_day).from(last); t < time(2024, 1, 1, 12);
             t      = at_local(of_day).from(t)) {
            REQUIRE(t > last);
            last = t;
            ++days;
        }
        CHECK(days == 365);
    }
}

TEST_CASE("a timer goes off once, when the clock shows its time, also after a restart")
{
    a_shop s{GENERATE(false, true)};
    s.place("o-1");
    s.run();
    s.pass(20min - 1ms);
    s.restart();
    s.run();
    CHECK(s.timers() == names{"o-1/reminder", "o-1/unpaid"});
    CHECK(s.events("mails", "Ada").empty());
    s.pass(1ms);
    s.run();
    s.run();
    s.restart();
    s.run();
    CHECK(s.events("mails", "Ada") == names{"Mail"});
    CHECK(s.timers() == names{"o-1/unpaid"});
}

TEST_CASE("timers and checkpoints outlive compaction")
{
    a_shop s{true};
    for (int i = 0; i < 50; ++i) {
        s.place("o-" + std::to_string(i));
        s.run();
        if (i < 49) s.pay("o-" + std::to_string(i));
    }
    s.run();
    const auto now = s.now.load();
    for (int day = 0; day < 3; ++day) {  // tombstones are kept for a while
        s.on.log->merge();
        s.on.log->roll_segment();
        s.on.log->clean();
        s.pass(48h);
    }
    s.now = now;
    int kept = 0;
    for (const auto* topic : {"__timers", "__processes"})
        for (const auto& r : s.on.log->partition(topic, 0).read(offset{0})) {
            (void)r;
            ++kept;
        }
    CHECK(kept < 20);
    s.restart();
    s.run();
    CHECK(s.timers() == names{"o-49/reminder", "o-49/unpaid"});
    CHECK(s.payments->statistics().events == 0);
    s.pass(30min);
    s.run();
    CHECK(s.status("o-49") == Order::Status::cancelled);
    CHECK(s.events("mails", "Ada") == names{"Mail"});
}

TEST_CASE("a timer that is cancelled does not go off, also after a restart")
{
    a_shop s{GENERATE(false, true)};
    s.place("o-1");
    s.run();
    s.pay("o-1");
    s.run();
    CHECK(s.timers().empty());
    s.restart();
    s.pass(24h);
    s.run();
    CHECK(s.timers().empty());
    CHECK(s.payments->statistics().timers_fired == 0);
    CHECK(s.status("o-1") == Order::Status::paid);
}

TEST_CASE("a clock that is set back or forth loses no timer, and none goes off twice")
{
    a_shop s;
    s.place("o-1");
    s.run();
    s.pass(-10h);
    s.run();
    s.restart();
    s.run();
    CHECK(s.timers().size() == 2);
    s.pass(10h + 20min);
    s.run();
    s.pass(-1h);
    s.run();
    s.pass(1h);
    s.run();
    CHECK(s.events("mails", "Ada") == names{"Mail"});
    s.pass(8760h);
    s.run();
    CHECK(s.timers().empty());
    CHECK(s.events("mails", "Ada") == names{"Mail"});
    CHECK(s.events("orders", "o-1") == names{"OrderPlaced", "OrderCancelled"});
}

TEST_CASE("a time that is past is at once: who was down gives nobody more time")
{
    a_shop s;
    s.place("o-1");
    s.pass(25min);
    s.run();
    CHECK(s.events("mails", "Ada") == names{"Mail"});
    CHECK(s.timers() == names{"o-1/unpaid"});
    s.pass(5min);
    s.run();
    CHECK(s.status("o-1") == Order::Status::cancelled);
}

TEST_CASE("what was recorded before a timer goes off is handled before it")
{
    a_shop s;
    s.place("o-1");
    s.run();
    s.pass(40min);
    s.pay("o-1");
    s.run();
    CHECK(s.status("o-1") == Order::Status::paid);
    CHECK(s.payments->statistics().timers_fired == 0);
}

TEST_CASE("events that keep coming do not keep a timer from going off")
{
    a_shop s;
    s.place("o-1");
    s.run();
    s.pass(30min);
    int more          = 20;
    s.options.on_step = [&](process_step step) {
        if (step == process_step::recorded && more-- > 0) s.place("n-" + std::to_string(more));
    };
    s.restart();
    s.place("o-2");
    s.run();
    std::optional<position> cancelled, last;
    for (const auto& r : s.on.log->partition("orders", 0).read(offset{0}))
        (r.headers.find("ce_type") == "OrderCancelled" ? cancelled : last) = r.position;
    REQUIRE(cancelled);
    CHECK(*cancelled < *last);
}

namespace {

/// Reminds each morning, three times.
struct Mornings : process_manager<listens_to<OrderPlaced>, records<PaymentReceived>>
{
    int times = 0;

    static std::optional<std::string> process_of(OrderPlaced::Reader e) { return e.getOrder(); }

    reaction react(OrderPlaced::Reader) const
    {
        return reaction{}.set("morning", at_utc(18h)).set("morning", at_utc(9h));
    }
    reaction react(const timer_fired& t) const
    {
        reaction r{payment_received()};
        if (times < 2) r.set(t.name, at_utc(9h));
        return r;
    }
    void apply(PaymentReceived::Reader) { ++times; }
};

}  // namespace

TEST_CASE("a timer that is set again replaces the one of its name, and may come each day")
{
    a_shop s;
    s.now = time(2023, 5, 10, 12).value;
    process_runner<Mornings> mornings{*s.on.log, "payments", s.options};
    s.place("o-1");
    mornings.run_until_idle();
    REQUIRE(mornings.timers().size() == 1);
    CHECK(mornings.timers().front().at == time(2023, 5, 11, 9));
    s.now = time(2023, 5, 11, 9).value;
    mornings.run_until_idle();
    CHECK(s.events("payments", "o-1").size() == 1);
    CHECK(mornings.timers().front().at == time(2023, 5, 12, 9));
    // Days that were slept through come too, each once.
    s.now = time(2023, 6, 1, 0).value;
    mornings.run_until_idle();
    CHECK(s.events("payments", "o-1").size() == 3);
    CHECK(mornings.timers().empty());
}

TEST_CASE("timers of processes and names that look alike are not confused")
{
    a_shop s;
    s.place("o-1");
    s.place("o-1/unpaid");
    s.place("o");
    s.run();
    CHECK(s.timers().size() == 6);
    s.pay("o-1");
    s.run();
    s.restart();
    s.run();
    CHECK(s.timers().size() == 4);
}
