// SPDX-License-Identifier: Apache-2.0
// decide() that may change the state.
// says: the required expression 'state.decide(command)' is invalid
#include "bank.capnp.h"

#include <cairn/framework/repository.hpp>

struct Close
{};

struct Account : cairn::aggregate<bank::Closed>
{
#ifdef MISTAKE
    decision decide(const Close&) { return {}; }
#else
    decision decide(const Close&) const { return {}; }
#endif
    void apply(bank::Closed::Reader) {}
};

void use(cairn::repository<Account>& accounts) { (void)accounts.execute("ada", Close{}); }
