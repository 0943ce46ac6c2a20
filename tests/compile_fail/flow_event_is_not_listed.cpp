// SPDX-License-Identifier: Apache-2.0
// A flow of events that its projection does not list.
// says: a flow is of an event that is not listed
#include "sales.capnp.h"

#include <cairn/projections/flows.hpp>

struct Sales : cairn::flows<sales::Sold>
{
    cairn::table<std::string, std::int64_t> spent{this, "spent"};

    Sales()
    {
#ifdef MISTAKE
        from<sales::Returned>() | group_by(&sales::Sold::Reader::getCustomer) |
            sum(&sales::Sold::Reader::getCents) | into(spent);
#else
        from<sales::Sold>() | group_by(&sales::Sold::Reader::getCustomer) |
            sum(&sales::Sold::Reader::getCents) | into(spent);
#endif
    }
};
