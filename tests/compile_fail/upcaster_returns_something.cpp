// SPDX-License-Identifier: Apache-2.0
// An upcaster that makes no event of the old one.
// says: an upcaster returns an event, or std::vector<cairn::any_event>
// says: [with Old = bank::Deposited;
#include "bank.capnp.h"

#include <cairn/framework/upcasters.hpp>

void use(cairn::upcasters& old)
{
    old.change<bank::Deposited>([](bank::Deposited::Reader e) {
#ifdef MISTAKE
        return e.getCents();
#else
        (void)e;
        return cairn::event<bank::Closed>{};
#endif
    });
}
