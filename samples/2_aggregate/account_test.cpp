#include "account.hpp"

#include <cairn/framework/testing.hpp>
#include <catch2/catch.hpp>

using namespace bank;
using cairn::testing::given;

//[ account_test
TEST_CASE("what was deposited can be withdrawn")
{
    CHECK(given<Account>(deposited(100)).when(Withdraw{60}).then(withdrawn(60)));
}

TEST_CASE("an account is never overdrawn")
{
    CHECK(given<Account>(deposited(100), withdrawn(60))
              .when(Withdraw{60})
              .then_rejected("there is not so much in the account"));
}
//]
