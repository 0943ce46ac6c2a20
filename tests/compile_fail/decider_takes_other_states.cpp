// SPDX-License-Identifier: Apache-2.0
// A decision over other states than the sources name.
// says: constraints not satisfied
#include "bank.capnp.h"

#include <cairn/framework/decider.hpp>

struct Deposits : cairn::folds<bank::Deposited>
{
    void apply(bank::Deposited::Reader) {}
};
struct Closings : cairn::folds<bank::Closed>
{
    void apply(bank::Closed::Reader) {}
};

void use(cairn::decider& desk)
{
#ifdef MISTAKE
    using Source = Closings;
#else
    using Source = Deposits;
#endif
    (void)desk.execute(
        "ada", [](const Deposits&) -> cairn::decision<bank::Closed> { return {}; },
        cairn::from_tags<Source>("owner:ada"));
}
