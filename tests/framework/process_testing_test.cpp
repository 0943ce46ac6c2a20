// SPDX-License-Identifier: Apache-2.0
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
