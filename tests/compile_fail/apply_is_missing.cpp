// SPDX-License-Identifier: Apache-2.0
// An aggregate that lists an event and does not apply it.
// says: it lists this event, and has no `void apply(Event::Reader)`
// says: struct cairn::detail::must_apply<Account, bank::Withdrawn>
#include "bank.capnp.h"

#include <cairn/framework/repository.hpp>

struct Account : cairn::aggregate<bank::Deposited, bank::Withdrawn>
{
    void apply(bank::Deposited::Reader) {}
#ifndef MISTAKE
    void apply(bank::Withdrawn::Reader) {}
#endif
};

void use(cairn::commit_log& log) { cairn::repository<Account> accounts{log, "accounts"}; }
