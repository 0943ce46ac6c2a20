// SPDX-License-Identifier: Apache-2.0
// A test that gives an aggregate what never happens to it.
// says: given() has an event that the aggregate does not list
#include "bank.capnp.h"

#include <cairn/framework/testing.hpp>

struct Account : cairn::aggregate<bank::Deposited>
{
    void apply(bank::Deposited::Reader) {}
};

void use()
{
    (void)cairn::testing::given<Account>(cairn::event<bank::Deposited>{});
#ifdef MISTAKE
    (void)cairn::testing::given<Account>(cairn::event<bank::Closed>{});
#endif
}
