// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "shop.hpp"

#include <cairn/framework/process_runner.hpp>

#include <catch2/catch.hpp>

#include <optional>
#include <string>
#include <vector>

using namespace shop;
using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

/// A shop: orders, and whoever looks after their payment, with a clock that is set by hand.
struct a_shop
{
    explicit a_shop(bool on_disk = false) : on{on_disk}
    {
        for (const auto* topic : {"orders", "payments", "mails"}) on.log->create_topic(topic);
        open();
    }
    void open()
    {
        payments.reset();
        orders.emplace(*on.log, "orders");
        options.clock = [this] { return timestamp{on.now}; };
        payments.emplace(*on.log, "payments", options, *orders);
    }
    void reopen()
    {
        payments.reset();
        orders.reset();
        on.reopen();
        open();
    }
    /// What a process that has crashed leaves to the next one.
    void crash()
    {
        options.on_step = {};
        reopen();
    }

    void place(const std::string& order, const std::string& customer = "Ada")
    {
        orders->execute(order, Place{order, customer}).value();
    }
    void pass(std::chrono::milliseconds time) { on.now += time.count(); }
    void run() { payments->run_until_idle(); }

    Order::Status status(const std::string& order) { return orders->load(order).state.status; }

    std::vector<std::string> events(const std::string& topic, const std::string& id)
    {
        std::vector<std::string> all;
        for (const auto& r : on.log->read_stream({topic, id}))
            all.emplace_back(*r.headers.find(header_names::type));
        return all;
    }

    a_log                                  on;
    process_options                        options;
    std::optional<repository<Order>>       orders;
    std::optional<process_runner<Payment>> payments;
};

using names = std::vector<std::string>;

}  // namespace

TEST_CASE("an event leads to a timer, the timer to a command, and each is recorded once")
{
    a_shop s{GENERATE(false, true)};
    s.place("o-1");
    s.run();
    CHECK(s.events("payments", "o-1") == names{"PaymentDue"});
    REQUIRE(s.payments->timers().size() == 2);
    CHECK(s.payments->timers().back() ==
          pending_timer{"o-1", "unpaid", timestamp{s.on.now + 30 * 60'000}});

    s.pass(30min);
    s.run();
    CHECK(s.status("o-1") == Order::Status::cancelled);
    CHECK(s.events("orders", "o-1") == names{"OrderPlaced", "OrderCancelled"});
    CHECK(s.events("mails", "Ada") == names{"Mail"});
    CHECK(s.payments->timers().empty());
    CHECK(s.payments->statistics().timers_fired == 2);
}
