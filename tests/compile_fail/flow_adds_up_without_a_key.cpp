// SPDX-License-Identifier: Apache-2.0
// A flow that adds up before it has a key.
// says: put group_by() before
#include "sales.capnp.h"

#include <cairn/projections/flows.hpp>

struct Sales : cairn::flows<sales::Sold>
{
    cairn::table<std::string, std::int64_t> spent{this, "spent"};

    Sales()
    {
#ifdef MISTAKE
        from<sales::Sold>() | sum(&sales::Sold::Reader::getCents) | into(spent);
#else
        from<sales::Sold>() | group_by(&sales::Sold::Reader::getCustomer) |
            sum(&sales::Sold::Reader::getCents) | into(spent);
#endif
    }
};
