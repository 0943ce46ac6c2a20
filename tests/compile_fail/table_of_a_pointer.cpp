// SPDX-License-Identifier: Apache-2.0
// A row that cannot be stored: a pointer.
// says: no value of a table: take numbers, enums, std::string, times
#include "sales.capnp.h"

#include <cairn/projections/projection_runner.hpp>

struct Sales : cairn::projection<sales::Sold>
{
#ifdef MISTAKE
    cairn::table<std::string, const std::int64_t*> newest{this, "newest"};
#else
    cairn::table<std::string, std::int64_t> newest{this, "newest"};
#endif

    void on(sales::Sold::Reader e, const cairn::origin&)
    {
        newest.put(e.getCustomer(), e.getCents());
    }
};

void run(const cairn::commit_log& log)
{
    cairn::projection_runner<Sales>{log, "sales", cairn::memory_tables()}.run_until_idle();
}
