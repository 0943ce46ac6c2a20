// SPDX-License-Identifier: Apache-2.0
#include "account.hpp"

#include <cairn/framework/testing.hpp>

#include <catch2/catch.hpp>

using namespace bank;
using cairn::testing::given;

TEST_CASE("a test says what was given, what was asked, and what should have happened")
{
    CHECK(given<Account>(deposited(100)).when(Withdraw{60}).then(withdrawn(60)));
    CHECK(given<Account>(deposited(100)).when(Move{1, 2}).then(withdrawn(1), deposited(2)));
    CHECK(given<Account>().when(Settle{}).then_nothing());
    CHECK(given<Account>(deposited(5)).when(Withdraw{6}).then_rejected());
    CHECK(given<Account>(deposited(5))
              .when(Withdraw{6})
              .then_rejected("there is not so much in it"));
}

TEST_CASE("a test that fails says what happened, and marks the difference")
{
    const auto two = given<Account>(deposited(100)).when(Move{1, 2});
    CHECK_FALSE(two.then(withdrawn(1)));
    CHECK(two.then(withdrawn(1)).what == "what happened (+) is not what should have (-):\n"
                                         "    Withdrawn {\"cents\":\"1\"}\n"
                                         "  + Deposited {\"cents\":\"2\"}\n");
    CHECK(two.then(withdrawn(9), deposited(2)).what ==
          "what happened (+) is not what should have (-):\n"
          "  - Withdrawn {\"cents\":\"9\"}\n"
          "  + Withdrawn {\"cents\":\"1\"}\n"
          "    Deposited {\"cents\":\"2\"}\n");
    CHECK(two.then_nothing().what == "what happened (+) is not what should have (-):\n"
                                     "  + Withdrawn {\"cents\":\"1\"}\n"
                                     "  + Deposited {\"cents\":\"2\"}\n");
    CHECK(two.then_rejected().what == "it was not rejected; what happened:\n"
                                      "  + Withdrawn {\"cents\":\"1\"}\n"
                                      "  + Deposited {\"cents\":\"2\"}\n");
    const auto refused = given<Account>().when(Withdraw{1});
    CHECK(refused.then(withdrawn(1)).what == "it was rejected: there is not so much in it\n"
                                             "and should have happened:\n"
                                             "  - Withdrawn {\"cents\":\"1\"}\n");
    CHECK(refused.then_rejected("no").what == "it was rejected because \"there is not so much "
                                              "in it\", not because \"no\"");
}
