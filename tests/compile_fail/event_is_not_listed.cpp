// SPDX-License-Identifier: Apache-2.0
// decide() that returns an event which its aggregate does not list.
// says: decide() returns an event that its aggregate does not list: name it in aggregate<...>
#include "bank.capnp.h"

#include <cairn/framework/repository.hpp>

struct Close
{};

#ifdef MISTAKE
struct Account : cairn::aggregate<bank::Deposited>
#else
struct Account : cairn::aggregate<bank::Deposited, bank::Closed>
#endif
{
    decision decide(const Close&) const { return cairn::event<bank::Closed>{}; }
    void     apply(bank::Deposited::Reader) {}
    void     apply(bank::Closed::Reader) {}
};

void use(cairn::repository<Account>& accounts) { (void)accounts.execute("ada", Close{}); }
