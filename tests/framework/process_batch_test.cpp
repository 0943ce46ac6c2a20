// SPDX-License-Identifier: Apache-2.0
//
// Events that are there already are handled in batches.
#include "a_shop.hpp"

#include <stdexcept>

using namespace shop;
using namespace cairn;
using namespace cairn::testing;

namespace {

/// How often it was recorded how far the runner is; once when it begins.
std::int64_t checkpoints(a_shop& s)
{
    return s.on.log->stream_version({"__processes", "payments"}).value;
}

/// Has every second order of a customer paid, and the others cancelled: what it does depends on
/// what it did.
struct Alternating : process_manager<listens_to<OrderPlaced>,
                                     records<PaymentReceived, PaymentGivenUp>, sends_to<Order>>
{
    int orders = 0;

    static std::optional<std::string> process_of(OrderPlaced::Reader e) { return e.getCustomer(); }

    reaction react(OrderPlaced::Reader e) const
    {
        auto all = reaction{payment_received()}.post("mails", e.getCustomer(),
                                                     mail("a", std::to_string(orders)));
        if (orders % 2 == 0) return all.send<Order>(e.getOrder(), Pay{});
        return all.send<Order>(e.getOrder(), Cancel{"every second"});
    }
    reaction react(const command_refused& r) const { return payment_given_up(r.why.reason); }

    void apply(PaymentReceived::Reader) { ++orders; }
    void apply(PaymentGivenUp::Reader) {}
};

/// Orders of two customers, by turns.
void place_some(a_shop& s, int from, int to)
{
    for (int i = from; i < to; ++i) s.place("o-" + std::to_string(i), i % 2 ? "Ada" : "Bob");
}

void check_each_counted_once(a_shop& s, int orders)
{
    for (int i = 0; i < orders; ++i)
        CHECK(s.events("orders", "o-" + std::to_string(i)) ==
              names{"OrderPlaced", i / 2 % 2 ? "OrderCancelled" : "OrderPaid"});
    for (const auto* customer : {"Ada", "Bob"}) {
        CHECK(s.events("payments", customer).size() == static_cast<std::size_t>(orders) / 2);
        CHECK(s.events("mails", customer).size() == static_cast<std::size_t>(orders) / 2);
    }
}

}  // namespace

TEST_CASE("what is there already is recorded in one append for each batch")
{
    a_shop s{GENERATE(false, true)};
    for (int i = 0; i < 10; ++i) s.place("o-" + std::to_string(i));
    s.run();
    CHECK(checkpoints(s) == 1 + 1);
    CHECK(s.payments->statistics().events == 10);
    CHECK(s.timers().size() == 20);

    s.options.batch_max = 3;
    s.restart();
    for (int i = 10; i < 20; ++i) s.place("o-" + std::to_string(i));
    s.run();
    CHECK(checkpoints(s) == 2 + 1 + 4);
    CHECK(s.timers().size() == 40);
}

TEST_CASE("a timer is recorded by itself, behind what came before it")
{
    a_shop                    s;
    std::vector<process_step> steps;
    for (const auto* o : {"o-1", "o-2"}) s.place(o);
    s.run();
    s.options.on_step = [&](process_step step) { steps.push_back(step); };
    s.restart();
    s.pass(20min);
    for (const auto* o : {"o-3", "o-4"}) s.place(o);
    s.run();
    using enum process_step;
    CHECK(steps == std::vector{reacting, reacting, recording, recorded,  // o-3, o-4
                               reacting, recording, recorded,            // the reminder of o-1
                               reacting, recording, recorded});
}

TEST_CASE("a batch of large events is recorded before it is full")
{
    a_shop            s;
    const std::string long_name(300'000, 'n');
    for (int i = 0; i < 8; ++i) s.place("o-" + std::to_string(i), long_name);
    s.run();
    CHECK(checkpoints(s) == 1 + 2);
}

TEST_CASE("an event meets the state that those before it have made, recorded yet or not")
{
    a_shop s{GENERATE(false, true)};
    s.place("o-1");
    s.pay("o-1");
    s.run();
    CHECK(s.events("payments", "o-1") == names{"PaymentDue", "PaymentReceived"});
    CHECK(checkpoints(s) == 1 + 1);
    // Timers that were set and cancelled within the batch were never there.
    CHECK(s.timers().empty());
    CHECK(s.on.log->partition("__timers", 0).end_offset() == offset{0});
}

TEST_CASE("a batch that crashes at any step is handled once, also when more is there by then")
{
    constexpr int orders    = 8;
    const auto    batch_max = GENERATE(1, 2, 3, 64);
    int           steps     = 0;
    for (int crash_at = 0; crash_at <= steps; ++crash_at) {
        INFO("the crash is at step " << crash_at << ", batches are of " << batch_max);
        a_shop     s{crash_at % 2 == 1};
        int        step    = 0;
        const auto on_step = [&](process_step) {
            if (++step == crash_at) throw crash{};
        };
        place_some(s, 0, orders - 2);
        bool crashed = false;
        for (int run = 0; run < 3; ++run) {
            process_runner<Alternating> runner{
                *s.on.log, "payments", {.batch_max = batch_max, .on_step = on_step}, *s.orders};
            try {
                runner.run_until_idle();
            } catch (const process_failed&) {
                crashed = true;
            }
            if (run == 0) place_some(s, orders - 2, orders);
        }
        if (crash_at == 0) steps = step;
        CHECK(crashed == (crash_at > 0));
        check_each_counted_once(s, orders);
    }
    CHECK(steps > 2 * orders);
}

namespace {

/// Until it is mended it fails behind an event that it has recorded and commands that it has sent.
struct Failing : Alternating
{
    static inline bool mended = false;

    reaction react(OrderPlaced::Reader e) const
    {
        auto all = Alternating::react(e);
        if (e.getOrder() == "bad" && !mended) all.send<Order>("none", Pay{});
        return all;
    }
    reaction react(const command_refused&) const { throw std::logic_error{"a bug"}; }
};

}  // namespace

TEST_CASE("what came before one that throws is recorded, and nothing that it had come to itself")
{
    a_shop s;
    Failing::mended = false;
    process_runner<Failing> failing{*s.on.log, "payments", *s.orders};
    s.place("o-0", "Bob");
    s.place("o-1", "Ada");
    s.place("bad", "Ada");
    s.place("o-2", "Bob");
    for (int i = 0, times = GENERATE(1, 2); i < times; ++i) {
        CHECK_THAT(failure_of(failing).what(), Catch::Contains("a bug"));
        CHECK(s.events("payments", "Ada") == names{"PaymentReceived"});
        CHECK(s.events("payments", "Bob") == names{"PaymentReceived"});
        CHECK(failing.statistics().events == 2);
    }
    Failing::mended = true;
    failing.run_until_idle();
    CHECK(failing.statistics().tried_again == 0);  // what is in memory is what is recorded
    CHECK(s.events("orders", "bad") == names{"OrderPlaced", "OrderCancelled"});
    CHECK(s.events("orders", "o-2") == names{"OrderPlaced", "OrderCancelled"});
    CHECK(s.events("payments", "Ada") == names{"PaymentReceived", "PaymentReceived"});
}

TEST_CASE("of a batch that cannot be recorded the event that it is about is found")
{
    struct Posting : Alternating
    {
        reaction react(OrderPlaced::Reader e) const
        {
            auto all = Alternating::react(e);
            if (e.getOrder() == "bad") all.post("nowhere", "k", mail("a", "b"));
            return all;
        }
        using Alternating::react;
    };
    a_shop                  s;
    process_runner<Posting> posting{*s.on.log, "payments", *s.orders};
    place_some(s, 0, 4);
    const auto bad = s.on.log->end_position();
    s.place("bad", "Ada");
    const auto failed = failure_of(posting);
    CHECK(failed.at() == bad);
    CHECK(code_of([&] { std::rethrow_exception(failed.cause()); }) == errc::unknown_topic);
    check_each_counted_once(s, 4);
    s.on.log->create_topic("nowhere");
    posting.run_until_idle();
    CHECK(s.events("nowhere", "k") == names{"Mail"});
    CHECK(s.events("payments", "Ada").size() == 3);
}

TEST_CASE("who else writes to a process's stream has the batch handled again, event by event")
{
    a_shop s;
    place_some(s, 0, 6);
    bool       once    = true;
    const auto on_step = [&](process_step step) {
        if (step == process_step::recording && std::exchange(once, false))
            s.append("payments", "Ada", payment_given_up("from elsewhere"));
    };
    process_runner<Alternating> runner{*s.on.log, "payments", {.on_step = on_step}, *s.orders};
    runner.run_until_idle();
    CHECK(runner.statistics().tried_again == 6);
    CHECK(runner.statistics().events == 6);
    CHECK(runner.statistics().commands == 6);
    CHECK(s.events("payments", "Ada").front() == "PaymentGivenUp");
    CHECK(s.events("payments", "Ada").size() == 4);
    CHECK(s.events("payments", "Bob").size() == 3);
    CHECK(s.events("mails", "Ada").size() == 3);
    for (int i = 0; i < 6; ++i)
        CHECK(s.events("orders", "o-" + std::to_string(i)) ==
              names{"OrderPlaced", i / 2 % 2 ? "OrderCancelled" : "OrderPaid"});
}
