// SPDX-License-Identifier: Apache-2.0
// A function of a flow that takes something else.
// says: a function of the flow does not take what comes to it
#include "sales.capnp.h"

#include <cairn/projections/flows.hpp>

struct Sales : cairn::flows<sales::Sold>
{
    cairn::table<std::string, std::int64_t> spent{this, "spent"};

    Sales()
    {
#ifdef MISTAKE
        from<sales::Sold>() | group_by([](const std::string& s) { return s; }) | count() |
            into(spent);
#else
        from<sales::Sold>() | group_by(&sales::Sold::Reader::getCustomer) |
            sum(&sales::Sold::Reader::getCents) | into(spent);
#endif
    }
};
