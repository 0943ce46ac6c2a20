// SPDX-License-Identifier: Apache-2.0
// A projection that lists an event and does not say what to do with it.
// says: the projection lists this event, and has no `void on(Event::Reader, const cairn::origin&)`
#include "sales.capnp.h"

#include <cairn/projections/projection_runner.hpp>

struct Sales : cairn::projection<sales::Sold, sales::Returned>
{
    cairn::table<std::string, std::int64_t> spent{this, "spent"};

    void on(sales::Sold::Reader e, const cairn::origin&)
    {
        spent.update(e.getCustomer(), [&](auto& c) { c += e.getCents(); });
    }
#ifndef MISTAKE
    void on(sales::Returned::Reader e, const cairn::origin&)
    {
        spent.update(e.getCustomer(), [&](auto& c) { c -= e.getCents(); });
    }
#endif
};

void run(const cairn::commit_log& log)
{
    cairn::projection_runner<Sales>{log, "sales", cairn::memory_tables()}.run_until_idle();
}
