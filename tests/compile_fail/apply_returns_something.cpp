// SPDX-License-Identifier: Apache-2.0
// apply() that answers: it may not refuse.
// says: it lists this event, and has no `void apply(Event::Reader)`
// says: 'state.apply(event)' does not satisfy return-type-requirement
#include "bank.capnp.h"

#include <cairn/framework/repository.hpp>

struct Account : cairn::aggregate<bank::Deposited>
{
#ifdef MISTAKE
    bool apply(bank::Deposited::Reader) { return false; }
#else
    void apply(bank::Deposited::Reader) {}
#endif
};

void use(cairn::commit_log& log) { cairn::repository<Account> accounts{log, "accounts"}; }
