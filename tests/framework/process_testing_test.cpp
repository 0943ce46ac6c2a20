// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "shop.hpp"

#include <cairn/framework/testing_process.hpp>

#include <catch2/catch.hpp>

#include <sstream>

using namespace shop;
using cairn::after;
using cairn::testing::given;

namespace {

std::string told(const cairn::testing::reacted& r)
{
    std::ostringstream out;
    out << r;
    return out.str();
}

}  // namespace

TEST_CASE("a process is tested by what it records, sends, sets, cancels and posts")
{
    CHECK(given<Payment>()
              .when(order_placed("o-1"))
              .then(payment_due("o-1"))
              .then_sets_timer("reminder", after(20min))
              .then_sets_timer("unpaid", after(30min)));
    CHECK(given<Payment>(payment_due("o-1"))
              .when(order_paid("o-1"))
              .then(payment_received())
              .then_cancels("reminder")
              .then_cancels("unpaid"));
    CHECK(given<Payment>(payment_due("o-1"))
              .when_timer("unpaid")
              .then_sends<Order>("o-1", Cancel{"not paid"}));
    CHECK(given<Payment>(payment_due("o-1", "Bob"))
              .when_timer("reminder")
              .then_posts("mails", "Bob", mail("Bob", "please pay o-1")));
    CHECK(given<Payment>(payment_due("o-1"))
              .when_refused<Order>("o-1", Cancel{"not paid"}, "it is not open")
              .then(payment_given_up("it is not open")));
    CHECK(given<Payment>().when(order_paid("o-1")).then_nothing());
    CHECK(given<Payment>().when(order_placed("x-1")).then_nothing());  // nobody's
}

TEST_CASE("the same spec of a process runs on the log, in memory and on disk")
{
    cairn::testing::a_log    on{GENERATE(false, true)};
    const cairn::event_store store{*on.log};
    for (int again = 0; again < 2; ++again) {  // what was said before does not matter
        CHECK(given<Payment>()
                  .on(store)
                  .when(order_placed("o-1"))
                  .then(payment_due("o-1"))
                  .then_sets_timer("reminder", after(20min))
                  .then_sets_timer("unpaid", after(30min)));
        CHECK(given<Payment>(payment_due("o-1"))
                  .on(store)
                  .when(order_paid("o-1"))
                  .then(payment_received())
                  .then_cancels("reminder")
                  .then_cancels("unpaid"));
        CHECK(given<Payment>(payment_due("o-1"))
                  .on(store)
                  .when_timer("unpaid")
                  .then_sends<Order>("o-1", Cancel{"not paid"}));
        CHECK(given<Payment>(payment_due("o-1", "Bob"))
                  .on(store)
                  .when_timer("reminder", "o-1", cairn::timestamp{1000}, cairn::timestamp{5000})
                  .then_posts("mails", "Bob", mail("Bob", "please pay o-1")));
        CHECK(given<Payment>(payment_due("o-1"))
                  .on(store)
                  .refusing("it is not open")
                  .when_timer("unpaid")
                  .then_sends<Order>("o-1", Cancel{"not paid"})
                  .then(payment_given_up("it is not open")));
        CHECK(given<Payment>().on(store).when(order_paid("o-1")).then_nothing());
        CHECK(given<Payment>().on(store).when(order_placed("x-1")).then_nothing());  // nobody's
    }

    const auto placed = given<Payment>().on(store).when(order_placed("o-1"));
    CHECK_FALSE(placed.then(payment_due("o-1")));
    CHECK_FALSE(placed.then_nothing());
    CHECK_FALSE(placed.then(payment_due("o-1"))
                    .then_sets_timer("reminder", after(20min))
                    .then_sets_timer("unpaid", after(31min)));
    CHECK_FALSE(given<Payment>(payment_due("o-1"))
                    .on(store)
                    .when(order_paid("o-1"))
                    .then(payment_received()));
    CHECK_FALSE(given<Payment>(payment_due("o-1")).on(store).when_timer("reminder").then_nothing());
}

TEST_CASE("a process on a log is asked with the stream that is said, and by the clock that is said")
{
    struct Watch
        : cairn::process_manager<cairn::listens_to<OrderPlaced>, cairn::records<PaymentGivenUp>>
    {
        static std::string process_of(OrderPlaced::Reader, const cairn::stream_id& from)
        {
            return from.topic + "/" + from.key;
        }
        reaction react(OrderPlaced::Reader) const { return reaction{}.set("soon", after(0s)); }
        reaction react(const cairn::timer_fired& t) const
        {
            reaction r{payment_given_up(t.process + " " + std::to_string(t.due.value) + " " +
                                        std::to_string(t.now.value))};
            return r.set(t.name, after(0s)).cancel("other");
        }
        void apply(PaymentGivenUp::Reader) {}
    };
    cairn::testing::a_log    on{false};
    const cairn::event_store store{*on.log};
    const auto               watch = given<Watch>().on(store);
    CHECK(watch.when(order_placed("o-1"), cairn::stream_id{"orders", "o-1"})
              .then_sets_timer("soon", after(0s)));
    CHECK(watch.when_timer("soon", "orders/o-1", cairn::timestamp{1000}, cairn::timestamp{5000})
              .then(payment_given_up("orders/o-1 1000 5000"))
              .then_sets_timer("soon", cairn::at(cairn::timestamp{1000}))
              .then_cancels("other"));
}

TEST_CASE("what is not expected must not happen")
{
    const auto placed = given<Payment>().when(order_placed("o-1"));
    CHECK_FALSE(placed.then(payment_due("o-1")));
    CHECK_FALSE(placed.then_nothing());
    const auto unpaid = given<Payment>(payment_due("o-1")).when_timer("unpaid");
    CHECK_FALSE(unpaid.then_sends<Order>("o-2", Cancel{"not paid"}));
    CHECK_FALSE(unpaid.then_sends<Order>("o-1", Cancel{"another reason"}));
    CHECK_FALSE(unpaid.then_sends<Order>("o-1", Pay{}));
    CHECK_FALSE(unpaid.then_sends<Order>("o-1", Cancel{"not paid"}).then(payment_received()));
}

TEST_CASE("a test of a process that fails says what happened, and marks the difference")
{
    CHECK(told(given<Payment>()
                   .when(order_placed("o-1"))
                   .then(payment_due("o-2"))
                   .then_sets_timer("unpaid", after(1h))) ==
          "what came of it (+) is not what should have (-):\n"
          "  - records PaymentDue {\"order\":\"o-2\",\"customer\":\"Ada\"}\n"
          "  + records PaymentDue {\"order\":\"o-1\",\"customer\":\"Ada\"}\n"
          "  - sets the timer unpaid after 1 h\n"
          "  + sets the timer reminder after 20 min\n"
          "  + sets the timer unpaid after 30 min\n");
    CHECK(told(given<Payment>(payment_due("o-1"))
                   .when_timer("unpaid")
                   .then_sends<Order>("o-1", Cancel{"other"})
                   .then_cancels("reminder")) ==
          "what came of it (+) is not what should have (-):\n"
          "  - sends Cancel to Order o-1 (other)\n"
          "  + sends Cancel to Order o-1 (not paid)\n"
          "  - cancels the timer reminder\n");
    CHECK(told(given<Payment>().when(order_paid("o-1")).then(payment_received())) ==
          "what came of it (+) is not what should have (-):\n"
          "  - records PaymentReceived {}\n"
          "  and nothing came of it\n");
}
