#include "payment.hpp"

#include <cairn/framework/testing_process.hpp>
#include <catch2/catch.hpp>

using namespace shop;
using cairn::testing::given;

//[ payment_test
TEST_CASE("an order is to be paid within half an hour")
{
    CHECK(given<Payment>().when(order_placed{}).then_sets_timer("unpaid", cairn::after(30min)));
}

TEST_CASE("an order that was not paid is cancelled")
{
    CHECK(given<Payment>()
              .when_timer("unpaid", "o-1")
              .then_sends<Order>("o-1", Cancel{"it was not paid"}));
}

TEST_CASE("an order that was paid is left alone")
{
    CHECK(given<Payment>().when(order_paid{}).then_cancels("unpaid"));
}
//]
