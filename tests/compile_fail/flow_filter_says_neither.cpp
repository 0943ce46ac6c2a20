// SPDX-License-Identifier: Apache-2.0
// A filter that says neither yes nor no.
// says: filter(f): f says yes or no
#include "sales.capnp.h"

#include <cairn/projections/flows.hpp>

struct Sales : cairn::flows<sales::Sold>
{
    cairn::table<std::string, std::int64_t> spent{this, "spent"};

    Sales()
    {
#ifdef MISTAKE
        from<sales::Sold>() | filter([](sales::Sold::Reader) { return std::string{}; }) |
            group_by(&sales::Sold::Reader::getCustomer) | count() | into(spent);
#else
        from<sales::Sold>() | group_by(&sales::Sold::Reader::getCustomer) |
            sum(&sales::Sold::Reader::getCents) | into(spent);
#endif
    }
};
