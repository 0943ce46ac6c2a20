// SPDX-License-Identifier: Apache-2.0
// A flow whose key is none of its table.
// says: no key, or no value, of the table
#include "sales.capnp.h"

#include <cairn/projections/flows.hpp>

struct Sales : cairn::flows<sales::Sold>
{
    cairn::table<std::string, std::int64_t> spent{this, "spent"};

    Sales()
    {
#ifdef MISTAKE
        from<sales::Sold>() | group_by(&sales::Sold::Reader::getCents) | count() | into(spent);
#else
        from<sales::Sold>() | group_by(&sales::Sold::Reader::getCustomer) |
            sum(&sales::Sold::Reader::getCents) | into(spent);
#endif
    }
};
