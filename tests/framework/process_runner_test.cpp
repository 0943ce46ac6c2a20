// SPDX-License-Identifier: Apache-2.0
#include "a_shop.hpp"

#include <catch2/catch.hpp>

#include <functional>
#include <stdexcept>
#include <thread>

using namespace shop;
using namespace cairn;
using namespace cairn::testing;

namespace {

/// A story in which everything happens: paid, not paid, cancelled by hand, nobody's.
const std::vector<std::function<void(a_shop&)>> story{
    [](a_shop& s) {
        for (const auto* o : {"o-1", "o-2", "o-3", "x-4"}) s.place(o);
    },
    [](a_shop& s) { s.run(); },
    [](a_shop& s) {
        s.pay("o-2");
        s.orders->execute("o-3", Cancel{"by hand"}).value();
        s.pass(30min);
    },
    [](a_shop& s) { s.run(); },
};

void check_how_it_ends(a_shop& s)
{
    CHECK(s.events("orders", "o-1") == names{"OrderPlaced", "OrderCancelled"});
    CHECK(s.events("payments", "o-1") == names{"PaymentDue"});
    CHECK(s.events("payments", "o-2") == names{"PaymentDue", "PaymentReceived"});
    CHECK(s.events("orders", "o-3") == names{"OrderPlaced", "OrderCancelled"});
    CHECK(s.events("payments", "o-3") == names{"PaymentDue", "PaymentGivenUp"});
    CHECK(s.events("orders", "x-4") == names{"OrderPlaced"});
    CHECK(s.events("payments", "x-4").empty());
    CHECK(s.events("mails", "Ada") == names{"Mail", "Mail"});
    CHECK(s.timers().empty());
}

/// The story, with an event for o-3 that somebody recorded while the runner was down. What o-3's
/// timer had sent by then has come to what it did; else it never goes off.
void check_how_it_ends_with_o3_paid_elsewhere(a_shop& s)
{
    bool refused = false;
    if (s.on.log->try_describe_topic("__rejections"))
        for (const auto& p : s.on.log->partitions("__rejections"))
            refused |= p.end_offset() > offset{0};
    CHECK(s.events("payments", "o-3") ==
          (refused ? names{"PaymentDue", "PaymentGivenUp", "PaymentReceived"}
                   : names{"PaymentDue", "PaymentReceived"}));
    CHECK(s.events("orders", "o-1") == names{"OrderPlaced", "OrderCancelled"});
    CHECK(s.events("orders", "o-3") == names{"OrderPlaced", "OrderCancelled"});
    CHECK(s.timers().empty());
}

}  // namespace

TEST_CASE("an event leads to a timer, the timer to a command, and each is recorded once")
{
    a_shop s{GENERATE(false, true)};
    s.place("o-1");
    s.run();
    CHECK(s.events("payments", "o-1") == names{"PaymentDue"});
    REQUIRE(s.payments->timers().size() == 2);
    CHECK(s.payments->timers().back() ==
          pending_timer{"o-1", "unpaid", timestamp{s.now + 30 * 60'000}});
    s.pass(30min);
    s.run();
    CHECK(s.status("o-1") == Order::Status::cancelled);
    CHECK(s.events("mails", "Ada") == names{"Mail"});
    CHECK(s.timers().empty());
    CHECK(s.payments->statistics().timers_fired == 2);
    CHECK(s.payments->statistics().commands == 1);
    CHECK(s.payments->statistics().posted == 1);
}

TEST_CASE("each event is handled exactly once, whatever crashes in between")
{
    const auto batch_max = GENERATE(1, 2, 64);
    const bool goes_on   = GENERATE(false, true);  // while the runner is down
    int        steps     = 0;
    {
        a_shop s;
        s.options.batch_max = batch_max;
        s.options.on_step   = [&](process_step) { ++steps; };
        s.open();
        for (const auto& then : story) then(s);
        check_how_it_ends(s);
    }
    CHECK(steps > 20);
    for (int crash_at = 1; crash_at <= steps; ++crash_at) {
        INFO("the crash is at step " << crash_at << ", batches are of " << batch_max);
        a_shop s{crash_at % 2 == 0};
        int    step         = 0;
        s.options.batch_max = batch_max;
        s.options.on_step   = [&](process_step) {
            if (++step == crash_at) throw crash{};
        };
        s.open();
        int crashes = 0;
        for (const auto& then : story) try {
                then(s);
            } catch (const process_failed&) {
                ++crashes;
                if (goes_on) s.append("orders", "elsewhere", order_paid("o-3"));
                s.restart();
                s.run();
            }
        CHECK(crashes == 1);
        if (goes_on)
            check_how_it_ends_with_o3_paid_elsewhere(s);
        else
            check_how_it_ends(s);
    }
}

namespace {

/// Has the order "bill" paid whenever one is placed; and remembers how that went.
struct Billing : process_manager<listens_to<OrderPlaced>, records<PaymentReceived, PaymentGivenUp>,
                                 sends_to<Order>>
{
    static std::optional<std::string> process_of(OrderPlaced::Reader e)
    {
        if (e.getOrder() == "bill") return std::nullopt;
        return e.getOrder();
    }
    reaction react(OrderPlaced::Reader) const { return reaction{}.send<Order>("bill", Pay{}); }
    reaction react(const command_refused& r) const { return payment_given_up(r.why.reason); }

    void apply(PaymentReceived::Reader) {}
    void apply(PaymentGivenUp::Reader) {}
};

}  // namespace

TEST_CASE("a command that was sent and not recorded is answered as it was the first time")
{
    a_shop     s{GENERATE(false, true)};
    const bool refused  = GENERATE(false, true);
    const auto crashing = [](process_step step) {
        if (step == process_step::recording) throw crash{};
    };
    if (!refused) s.place("bill");
    s.place("o-1");
    for (int i = 0; i < 3; ++i) {
        process_runner<Billing> billing{*s.on.log, "payments", {.on_step = crashing}, *s.orders};
        (void)failure_of(billing);
        CHECK(s.events("payments", "o-1").empty());
    }
    s.restart();
    if (refused) s.place("bill");  // now it could be paid
    process_runner<Billing> billing{*s.on.log, "payments", *s.orders};
    billing.run_until_idle();
    if (refused) {
        CHECK(s.events("orders", "bill") == names{"OrderPlaced"});
        CHECK(s.events("payments", "o-1") == names{"PaymentGivenUp"});
    } else {
        CHECK(s.events("orders", "bill") == names{"OrderPlaced", "OrderPaid"});
        CHECK(s.events("payments", "o-1").empty());  // nothing was refused
    }
}

TEST_CASE("a process whose oldest events were removed is not gone on with: the runner stops there")
{
    a_shop s{GENERATE(false, true)};
    s.place("o-1");
    s.run();
    CHECK(s.events("payments", "o-1") == names{"PaymentDue"});
    s.on.log->merge();
    s.on.log->roll_segment();
    s.pass(1h);
    topic_config config;
    config.retention_ms = 1'800'000;
    s.on.log->alter_topic("payments", config);
    s.on.log->clean();
    s.restart();
    const auto failed = failure_of(*s.payments);  // its timers are due
    CHECK_THAT(failed.what(), Catch::Contains("payments/o-1: its versions 0 to 0 were removed"));
    CHECK(code_of([&] { std::rethrow_exception(failed.cause()); }) == errc::events_removed);
    CHECK(s.status("o-1") == Order::Status::open);
    CHECK(s.on.log->partition("mails", 0).end_offset() == offset{0});
}

TEST_CASE("an event over the size limit stops the runner before what it came of")
{
    struct Verbose : process_manager<listens_to<OrderPlaced>, records<PaymentDue>>
    {
        static std::string process_of(OrderPlaced::Reader e) { return e.getOrder(); }
        reaction           react(OrderPlaced::Reader e) const
        {
            const auto size = e.getOrder() == "o-2" ? 2'000'000U : 3U;
            return reaction{payment_due(e.getOrder(), std::string(size, 'x'))};
        }
        void apply(PaymentDue::Reader) {}
    };
    a_shop s{GENERATE(false, true)};
    s.on.log->create_topic("verbose");
    for (const auto* order : {"o-1", "o-2", "o-3"}) s.place(order);
    process_runner<Verbose> runner{*s.on.log, "verbose"};
    const auto              failed = failure_of(runner);
    CHECK(code_of([&] { std::rethrow_exception(failed.cause()); }) == errc::record_too_large);
    CHECK(s.events("verbose", "o-1") == names{"PaymentDue"});
    CHECK(s.events("verbose", "o-2").empty());
    CHECK(s.events("verbose", "o-3").empty());
    runner.skip(failed.at(), "it says too much");
    runner.run_until_idle();
    CHECK(s.events("verbose", "o-1") == names{"PaymentDue"});
    CHECK(s.events("verbose", "o-2").empty());
    CHECK(s.events("verbose", "o-3") == names{"PaymentDue"});
}

namespace {

/// When its timer goes off it cancels the bill that is called after how much it has heard by then,
/// and says what the clock showed. Of bills themselves it hears nothing.
struct Late : process_manager<listens_to<OrderPlaced>, records<PaymentReceived, PaymentGivenUp>,
                              sends_to<Order>>
{
    int heard = 0;

    static std::optional<std::string> process_of(OrderPlaced::Reader e)
    {
        if (e.getOrder().startsWith("bill")) return std::nullopt;
        return "late";
    }
    reaction react(OrderPlaced::Reader) const
    {
        reaction r{payment_received()};
        if (heard == 0) r.set("late", after(30min));
        return r;
    }
    reaction react(const timer_fired& t) const
    {
        return reaction{}.send<Order>("bill-" + std::to_string(heard),
                                      Cancel{std::to_string(t.now.value)});
    }
    reaction react(const command_refused& r) const
    {
        return payment_given_up(r.command.id() + " at " + r.command.as<Cancel>()->reason);
    }

    void apply(PaymentReceived::Reader) { ++heard; }
    void apply(PaymentGivenUp::Reader) {}
};

}  // namespace

TEST_CASE("a timer that had begun to send goes off before all that came since, as it did then")
{
    const bool refused  = GENERATE(false, true);
    const bool restarts = GENERATE(false, true);
    const auto crash_at = GENERATE(process_step::sending, process_step::recording);
    a_shop     s{GENERATE(false, true)};
    int        to_send = 0, crashes = 0;
    std::optional<process_runner<Late>> late;
    const auto                          open = [&] {
        late.emplace(*s.on.log, "payments",
                                              process_options{.clock = s.options.clock,
                                                              .on_step =
                                         [&](process_step step) {
                                             to_send += step == process_step::sending;
                                             if (to_send == 0 || step != crash_at) return;
                                             if (crashes++ < 2) throw crash{};
                                         }},
                                              *s.orders);
    };
    open();
    if (!refused)
        for (const auto* bill : {"bill-1", "bill-2"}) s.place(bill);
    s.place("o-1");
    late->run_until_idle();
    s.pass(30min);
    const auto then = std::to_string(s.now);
    (void)failure_of(*late);
    s.place("o-2");
    s.pass(-10min);  // and somebody sets the clock back
    for (int again = 0; again < 2; ++again) {
        if (restarts) {
            late.reset();
            s.restart();
            open();
        }
        if (again == 0) (void)failure_of(*late);
    }
    late->run_until_idle();
    CHECK(late->timers().empty());
    CHECK(late->statistics().timers_fired == 1);
    if (refused) {
        CHECK(s.events("payments", "late") ==
              names{"PaymentReceived", "PaymentGivenUp", "PaymentReceived"});
        auto range = s.on.log->read_stream({"payments", "late"}, version{1});
        CHECK_THAT(std::string{*range.next()->value}, Catch::Contains("bill-1 at " + then));
    } else {
        CHECK(s.events("payments", "late") == names{"PaymentReceived", "PaymentReceived"});
        CHECK(s.status("bill-1") == Order::Status::cancelled);
        CHECK(s.status("bill-2") == Order::Status::open);
    }
}

TEST_CASE("a timer that had begun to send, and fails for good, can be skipped")
{
    a_shop s;
    s.options.on_step = [&](process_step step) {
        if (step == process_step::recording && !s.timers().empty() &&
            s.status("o-1") == Order::Status::cancelled)
            throw crash{};
    };
    s.open();
    s.place("o-1");
    s.run();
    s.pass(30min);
    (void)failure_of(*s.payments);
    s.payments.reset();
    struct Broken : Payment
    {
        reaction react(const timer_fired&) const { throw std::logic_error{"no timers any more"}; }
        using Payment::react;
    };
    process_runner<Broken> broken{*s.on.log, "payments", {.clock = s.options.clock}, *s.orders};
    s.place("o-2");
    const auto failed = failure_of(broken);
    CHECK_THAT(failed.what(), Catch::Contains("the timer \"unpaid\" of o-1"));
    CHECK(s.events("payments", "o-2").empty());
    broken.skip(failed.at(), "gone");
    broken.run_until_idle();
    CHECK(s.events("payments", "o-2") == names{"PaymentDue"});
    CHECK(broken.timers().size() == 2);
}

TEST_CASE("events are handled in the order of their positions")
{
    a_shop s;
    for (int i = 0; i < 20; ++i) s.place("o-" + std::to_string(i), i % 2 ? "Ada" : "Bob");
    s.run();
    names handled;
    for (const auto& r : s.on.log->partition("payments", 0).read(offset{0}))
        handled.emplace_back(*r.key);
    REQUIRE(handled.size() == 20);
    for (int i = 0; i < 20; ++i)
        CHECK(handled[static_cast<std::size_t>(i)] == "o-" + std::to_string(i));
}

TEST_CASE("what cannot be handled stops the runner there; nothing is skipped")
{
    a_shop s{GENERATE(false, true)};
    s.place("o-1");
    const auto bad = s.on.log->end_position();
    s.place("o-2", "Mallory");
    s.place("o-3");
    const auto failed = failure_of(*s.payments);
    CHECK(failed.code() == errc::process_failed);
    CHECK(failed.at() == bad);
    CHECK_THROWS_AS(std::rethrow_exception(failed.cause()), std::logic_error);
    CHECK_THAT(failed.what(), Catch::Contains("OrderPlaced") && Catch::Contains("payments") &&
                                  Catch::Contains("a bug in react()") &&
                                  Catch::Contains(std::to_string(bad.value)));
    CHECK(s.payments->state() == runner_state::failed);
    CHECK(s.payments->error() != nullptr);
    CHECK(s.payments->next() == bad);
    CHECK(s.events("payments", "o-1") == names{"PaymentDue"});
    CHECK(s.events("payments", "o-2").empty());
    CHECK(s.events("payments", "o-3").empty());

    CHECK(failure_of(*s.payments).at() == bad);  // tried again
    s.restart();
    CHECK(failure_of(*s.payments).at() == bad);
    CHECK(s.events("payments", "o-1") == names{"PaymentDue"});
    CHECK(s.events("payments", "o-3").empty());
}

TEST_CASE("an event of no process is passed over, and not gone through again for ever")
{
    a_shop s;
    for (int i = 0; i < 5; ++i) s.place("x-" + std::to_string(i));
    s.run();
    CHECK(s.payments->statistics().ignored == 5);
    CHECK(s.payments->statistics().events == 0);
    CHECK(s.payments->next() ==
          s.on.log->read_query({{{.tags = {"order:x-4"}}}}).next()->position.next());

    append_request many;
    for (int i = 0; i < 1000; ++i)
        many.records.push_back(a_shop::raw("orders", "x-9", order_placed("x-9")));
    s.on.log->append(many);
    s.run();
    s.restart();
    s.run();
    CHECK(s.payments->statistics().ignored < 10);
}

TEST_CASE("a command that is refused comes back to who sent it")
{
    a_shop s;
    s.place("o-1");
    s.run();
    s.orders->execute("o-1", Cancel{"by hand"}).value();
    s.pass(30min);
    s.run();
    CHECK(s.events("payments", "o-1") == names{"PaymentDue", "PaymentGivenUp"});
    CHECK(s.payments->statistics().commands_refused == 1);
}

TEST_CASE("of several runners the one that began last runs, and the others stop")
{
    a_shop s;
    s.place("o-1");
    s.run();
    process_runner<Payment> other{*s.on.log, "payments", s.options, *s.orders};
    s.place("o-2");
    other.run_until_idle();
    s.place("o-3");
    CHECK(code_of([&] { s.run(); }) == errc::fenced_generation);
    CHECK(s.payments->state() == runner_state::failed);
    CHECK(code_of([&] { s.run(); }) == errc::fenced_generation);  // and does not take it back
    CHECK(s.events("payments", "o-3").empty());
    other.run_until_idle();
    s.pass(30min);
    other.run_until_idle();
    for (const auto* o : {"o-1", "o-2", "o-3"}) {
        CHECK(s.events("payments", o) == names{"PaymentDue"});
        CHECK(s.events("orders", o) == names{"OrderPlaced", "OrderCancelled"});
    }
}

TEST_CASE("a runner that is overtaken while it reacts records nothing")
{
    a_shop                  s;
    process_runner<Payment> other{*s.on.log, "payments", s.options, *s.orders};
    const auto              at        = GENERATE(process_step::reacting, process_step::recording);
    bool                    overtaken = false;
    s.options.on_step                 = [&](process_step step) {
        if (step == at && !std::exchange(overtaken, true)) other.run_until_idle();
    };
    s.open();
    s.place("o-1");
    CHECK(code_of([&] { s.run(); }) == errc::fenced_generation);
    CHECK(s.events("payments", "o-1") == names{"PaymentDue"});
}

TEST_CASE("who else writes to the process's stream makes it react again, a bounded number of times")
{
    a_shop s;
    int    times      = 1;
    s.options.on_step = [&](process_step step) {
        if (step == process_step::recording && times-- > 0)
            s.append("payments", "o-1", payment_given_up("from elsewhere"));
    };
    s.open();
    s.place("o-1");
    s.run();
    CHECK(s.payments->statistics().tried_again == 1);
    CHECK(s.events("payments", "o-1") == names{"PaymentGivenUp", "PaymentDue"});

    times = 1'000'000;
    s.pay("o-1");
    const auto failed = failure_of(*s.payments);
    CHECK_THAT(failed.what(), Catch::Contains("10 times"));
    CHECK(s.payments->statistics().tried_again == 10);
}

TEST_CASE("who else writes where a message is posted to does not matter")
{
    a_shop s;
    s.options.on_step = [&, once = true](process_step step) mutable {
        if (step == process_step::recording && !s.timers().empty() && std::exchange(once, false))
            s.append("mails", "Ada", mail("Ada", "from elsewhere"));
    };
    s.open();
    s.place("o-1");
    s.run();
    s.pass(20min);
    s.run();
    CHECK(s.payments->statistics().tried_again == 0);
    CHECK(s.events("mails", "Ada") == names{"Mail", "Mail"});
    CHECK(s.payments->statistics().posted == 1);
}

TEST_CASE("what is sent and recorded carries the cause on")
{
    a_shop            s;
    const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    s.orders->execute("o-1", Place{"o-1"}, {.correlation_id = "talk-1", .trace_parent = trace})
        .value();
    s.place("o-2");
    s.run();
    const auto header = [&](const std::string& topic, const std::string& id, version at,
                            std::string_view name) -> std::string {
        auto        range = s.on.log->read_stream({topic, id}, at);
        const auto* r     = range.next();
        return r ? std::string{r->headers.find(name).value_or("none")} : "no record";
    };
    CHECK(header("payments", "o-1", version{0}, "ce_causationid") == "orders/o-1@0");
    CHECK(header("payments", "o-1", version{0}, "ce_correlationid") == "talk-1");
    CHECK(header("payments", "o-1", version{0}, "traceparent") == trace);
    // Where nobody has named the talk, the event that it begins with does.
    CHECK(header("payments", "o-2", version{0}, "ce_correlationid") == "orders/o-2@0");

    const auto restarted = GENERATE(false, true);
    if (restarted) s.restart();
    s.pass(30min);
    s.run();
    CHECK(header("orders", "o-1", version{1}, "ce_causationid") ==
          "__timers/payments/o-1/unpaid@0");
    CHECK(header("orders", "o-1", version{1}, "ce_correlationid") == "talk-1");
    CHECK(header("orders", "o-1", version{1}, "traceparent") == trace);
    CHECK(header("mails", "Ada", version{0}, "ce_causationid") ==
          "__timers/payments/o-1/reminder@0");
}

TEST_CASE("one that has never run begins where it is told")
{
    a_shop s;
    s.place("o-1");
    s.options.from = s.on.log->end_position();
    s.open();
    s.place("o-2");
    s.run();
    CHECK(s.events("payments", "o-1").empty());
    CHECK(s.events("payments", "o-2") == names{"PaymentDue"});
    s.options.from = {};  // means nothing to one that has
    s.restart();
    s.run();
    CHECK(s.events("payments", "o-1").empty());
}

TEST_CASE("in the background it wakes for events and timers, and stops when it is told")
{
    a_shop s;
    s.payments->start();
    s.payments->start();  // once is enough
    CHECK(s.payments->state() == runner_state::running);
    auto due = s.on.log->read_stream({"payments", "o-1"});
    s.place("o-1");
    CHECK(due.wait(60s));
    auto order = s.on.log->read_stream({"orders", "o-1"}, version{1});
    s.pass(30min);
    CHECK(order.wait(60s));
    s.payments->stop();
    CHECK(s.payments->state() == runner_state::idle);
    CHECK(s.status("o-1") == Order::Status::cancelled);

    s.place("o-2", "Mallory");
    s.payments->start();
    while (s.payments->state() == runner_state::running) std::this_thread::yield();
    CHECK(s.payments->state() == runner_state::failed);
    CHECK_THROWS_AS(std::rethrow_exception(s.payments->error()), process_failed);
    s.payments->stop();
}

TEST_CASE("a start right behind a failure is not lost")
{
    struct Failing : process_manager<listens_to<OrderPlaced>>
    {
        static std::string process_of(OrderPlaced::Reader e) { return e.getOrder(); }
        reaction           react(OrderPlaced::Reader) const { throw std::logic_error{"a bug"}; }
    };
    a_shop s;
    s.place("o-1");
    for (int round = 0; round < 100; ++round) {
        std::atomic<int>        reacted = 0;
        process_options         counting{.on_step = [&](process_step) { ++reacted; }};
        process_runner<Failing> runner{*s.on.log, "payments", counting};
        runner.start();
        while (!runner.error()) {
        }
        runner.start();
        const auto deadline = std::chrono::steady_clock::now() + 20s;
        while (reacted < 2 && std::chrono::steady_clock::now() < deadline)
            std::this_thread::yield();
        INFO("round " << round);
        REQUIRE(reacted >= 2);
    }
}

namespace {

template <class P>
process_failed fails(a_shop& s)
{
    process_runner<P> runner{*s.on.log, "payments", s.options};
    s.place("o-1");
    return failure_of(runner);
}

}  // namespace

TEST_CASE("a refusal that leads to a command that is refused, and so on, is a failure")
{
    struct Stubborn : process_manager<listens_to<OrderPlaced>, sends_to<Order>>
    {
        static std::optional<std::string> process_of(OrderPlaced::Reader e) { return e.getOrder(); }
        reaction react(OrderPlaced::Reader) const { return reaction{}.send<Order>("none", Pay{}); }
        reaction react(const command_refused& r) const
        {
            return reaction{}.send<Order>(r.command.id(), Pay{});
        }
    };
    a_shop                   s;
    process_runner<Stubborn> runner{*s.on.log, "payments", {.commands_max = 7}, *s.orders};
    s.place("o-1");
    CHECK_THAT(failure_of(runner).what(), Catch::Contains("more than 7 commands"));
}

namespace {

/// Says by the stream what it is part of: all events in one line.
struct Counting : process_manager<listens_to<OrderPlaced, OrderPaid>, records<PaymentReceived>>
{
    static std::string process_of(auto, const stream_id& from)
    {
        return "of " + from.topic + "/" + from.key;
    }
    reaction react(OrderPlaced::Reader) const { return payment_received(); }
    reaction react(OrderPaid::Reader) const { return payment_received(); }
    void     apply(PaymentReceived::Reader) {}
};

}  // namespace

TEST_CASE("the stream of an event may say which process it is part of")
{
    a_shop                   s;
    process_runner<Counting> runner{*s.on.log, "payments"};
    s.place("o-1");
    s.pay("o-1");
    runner.run_until_idle();
    CHECK(s.events("payments", "of orders/o-1").size() == 2);
}

TEST_CASE("a process id is not empty, and a timer has a name and somebody who hears it")
{
    struct Nobody : process_manager<listens_to<OrderPlaced>>
    {
        static std::optional<std::string> process_of(OrderPlaced::Reader) { return ""; }
        reaction                          react(OrderPlaced::Reader) const { return {}; }
    };
    struct Deaf : process_manager<listens_to<OrderPlaced>>
    {
        static std::optional<std::string> process_of(OrderPlaced::Reader) { return "p"; }
        reaction react(OrderPlaced::Reader) const { return reaction{}.set("t", after(1s)); }
    };
    struct Slashed : Deaf
    {
        reaction react(OrderPlaced::Reader) const { return reaction{}.set("a/b", after(1s)); }
        reaction react(const timer_fired&) const { return {}; }
    };
    struct Inward : Deaf
    {
        reaction react(OrderPlaced::Reader) const
        {
            return reaction{}.post("payments", "p", mail("a", "b"));
        }
    };
    a_shop s;
    CHECK_THAT(fails<Nobody>(s).what(), Catch::Contains("a stream id of 0 bytes"));
    CHECK_THAT(fails<Deaf>(s).what(), Catch::Contains("react(const cairn::timer_fired&) const"));
    CHECK_THAT(fails<Slashed>(s).what(), Catch::Contains("\"a/b\""));
    CHECK_THAT(fails<Inward>(s).what(), Catch::Contains("its own topic"));
    CHECK(code_of([&] { process_runner<Deaf>{*s.on.log, "nowhere"}; }) == errc::unknown_topic);
}

TEST_CASE("old events are heard as what upcasters make of them")
{
    a_shop    s;
    upcasters old;
    old.change<OrderCancelled>([](OrderCancelled::Reader e) {
           return std::vector<any_event>{order_placed(e.getOrder().cStr()),
                                         order_paid(e.getOrder().cStr())};
       })
        .merge<PaymentGivenUp, Mail>([](PaymentGivenUp::Reader a, Mail::Reader b) {
            return order_placed(a.getWhy().cStr(), b.getTo().cStr());
        });
    const event_store       store{*s.on.log, {.upcasters = old}};
    process_runner<Payment> runner{store, "payments", s.options, *s.orders};
    s.append("orders", "o-1", order_cancelled("o-1", "old"));
    s.on.log->append({.records = {a_shop::raw("orders", "o-2", payment_given_up("o-2")),
                                  a_shop::raw("orders", "o-2", mail("Bob", ""))}});
    s.append("orders", "o-3", payment_given_up("o-3"));  // stands alone
    s.place("o-4");
    runner.run_until_idle();
    CHECK(s.events("payments", "o-1") == names{"PaymentDue", "PaymentReceived"});
    CHECK(s.events("payments", "o-2") == names{"PaymentDue"});
    CHECK(s.events("payments", "o-3").empty());
    CHECK(s.events("payments", "o-4") == names{"PaymentDue"});
    CHECK(runner.statistics().events == 3);
}

namespace {

/// Counts in each stream what happens there.
struct Watching : process_manager<listens_to<OrderPlaced, PaymentGivenUp>, records<PaymentReceived>>
{
    static std::string process_of(auto, const stream_id& from) { return from.key; }

    reaction react(OrderPlaced::Reader) const { return payment_received(); }
    reaction react(PaymentGivenUp::Reader) const { return payment_received(); }
    void     apply(PaymentReceived::Reader) {}
};

}  // namespace

TEST_CASE("an event that waits for a second, which does not come, is of its own stream")
{
    a_shop    s;
    upcasters old;
    old.merge<PaymentGivenUp, Mail>(
        [](PaymentGivenUp::Reader, Mail::Reader) { return order_placed("merged"); });
    process_runner<Watching> runner{event_store{*s.on.log, {.upcasters = old}}, "payments"};
    s.append("orders", "a", payment_given_up("alone"));
    s.append("orders", "b", order_placed("b"));
    s.append("orders", "c", payment_given_up("the last"));
    runner.run_until_idle();
    for (const auto* id : {"a", "b", "c"})
        CHECK(s.events("payments", id) == names{"PaymentReceived"});
}

TEST_CASE("an event that only has the name of its type is heard")
{
    a_shop s;
    s.on.log->append({.records = {a_shop::named("orders", "o-1", order_placed("o-1")),
                                  a_shop::named("orders", "o-2", order_cancelled("o-2", "why"))}});
    auto other = a_shop::raw("orders", "o-3", order_placed("o-3"));
    other.record.headers.front().value = "capnp:8000000000000001";  // of another schema's
    s.on.log->append({.records = {other}});
    s.payments->run_until_idle();
    CHECK(s.events("payments", "o-1") == names{"PaymentDue"});
    CHECK(s.events("payments", "o-3").empty());
}

TEST_CASE("an event that is no message stops the runner there")
{
    a_shop s;
    s.place("o-1");
    auto bad          = a_shop::raw("orders", "o-2", order_placed("o-2"));
    bad.record.value  = "x";
    const auto at     = s.on.log->append({.records = {bad}}).first;
    const auto failed = failure_of(*s.payments);
    CHECK(failed.at() == at);
    CHECK(code_of([&] { std::rethrow_exception(failed.cause()); }) == errc::malformed_event);
    CHECK(s.events("payments", "o-1") == names{"PaymentDue"});
}
