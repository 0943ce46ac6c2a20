// SPDX-License-Identifier: Apache-2.0
// An aggregate that saves a snapshot and does not restore it.
// says: an aggregate that names its snapshot has `void save(snapshot::Builder) const` and
// says: concept cairn::snapshottable'
#include "bank.capnp.h"

#include <cairn/framework/repository.hpp>

struct Account : cairn::aggregate<bank::Deposited>
{
    using snapshot = bank::Deposited;
    void apply(bank::Deposited::Reader) {}
    void save(snapshot::Builder) const {}
#ifndef MISTAKE
    void restore(snapshot::Reader) {}
#endif
};

void use(cairn::commit_log& log) { cairn::repository<Account> accounts{log, "accounts"}; }
