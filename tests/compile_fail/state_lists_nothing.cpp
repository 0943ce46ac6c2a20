// SPDX-License-Identifier: Apache-2.0
// A state that does not say which events change it.
// says: required for the satisfaction of 'foldable<S>' [with S = Deposits]
// says: the required type 'typename S::events' is invalid
#include "bank.capnp.h"

#include <cairn/framework/decider.hpp>

#ifdef MISTAKE
struct Deposits
#else
struct Deposits : cairn::folds<bank::Deposited>
#endif
{
    void apply(bank::Deposited::Reader) {}
};

auto use() { return cairn::from_stream<Deposits>("accounts", "ada"); }
