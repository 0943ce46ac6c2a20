// SPDX-License-Identifier: Apache-2.0
// A repository of what folds events and decides nothing.
// says: required for the satisfaction of 'is_aggregate<A>' [with A = Deposits]
// says: the required type 'typename A::decision' is invalid
#include "bank.capnp.h"

#include <cairn/framework/decider.hpp>

#ifdef MISTAKE
struct Deposits : cairn::folds<bank::Deposited>
#else
struct Deposits : cairn::aggregate<bank::Deposited>
#endif
{
    void apply(bank::Deposited::Reader) {}
};

void use(cairn::commit_log& log) { cairn::repository<Deposits> deposits{log, "accounts"}; }
