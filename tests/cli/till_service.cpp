// SPDX-License-Identifier: Apache-2.0
//
// till_service DIR [--stop] [--mended] [--stay]: a service with the projection best_sellers, for
// who looks after it with the program. It says "ready", and then "sold" to each line
// "SKU QUANTITY" that it is told; at the end of its input, or with --stay when it is told to
// terminate, it ends.
//
// Nobody sells 0 of a thing: that is parked, or with --stop stopped at, until it is --mended.
#include "till.capnp.h"

#include <cairn/framework/envelope.hpp>
#include <cairn/framework/event.hpp>
#include <cairn/framework/testing.hpp>
#include <cairn/projections/projection_control.hpp>

#include <sys/prctl.h>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <set>
#include <stdexcept>
#include <string>

namespace {

bool mended = false;

struct BestSellers : cairn::projection<till::ItemSold>
{
    cairn::table<std::string, std::int64_t> sold{this, "sold"};

    void on(till::ItemSold::Reader e, const cairn::origin&)
    {
        if (e.getQuantity() == 0 && !mended) throw std::invalid_argument{"nothing was sold"};
        sold.update(e.getSku(), [&](auto& q) { q += e.getQuantity(); });
    }
};

void sell(const cairn::commit_log& log, const std::string& sku, std::int64_t quantity)
{
    const cairn::event<till::ItemSold> e{[&](auto to) {
        to.setSku(sku);
        to.setQuantity(quantity);
    }};
    cairn::testing::detail::record_in(cairn::event_store{log}, {"tills", sku}, {e});
}

}  // namespace

int main(int count, char** arguments)
{
    if (count < 2) return 2;
    const std::set<std::string> options(arguments + 2, arguments + count);
    mended = options.contains("--mended");
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // what a test leaves behind ends with it
    ::sigset_t asked_to_end;
    sigemptyset(&asked_to_end);
    sigaddset(&asked_to_end, SIGTERM);
    if (options.contains("--stay")) ::sigprocmask(SIG_BLOCK, &asked_to_end, nullptr);

    auto log = cairn::commit_log::open(arguments[1]);
    log.ensure_topic("tills", 2);
    if (log.stream_version({"tills", "lamp"}).value == 0) {
        for (const int quantity : {2, 1, 0, 5}) sell(log, "lamp", quantity);
        sell(log, "bulb", 7);
    }
    cairn::projection_options o;
    o.topics = {"tills"};
    if (!options.contains("--stop")) o.on_failure = cairn::on_failure::park;
    cairn::projection_runner<BestSellers> best_sellers{
        log, "best_sellers", cairn::lmdb_tables(log.directory() + "/projections"), o};
    cairn::projection_control control{log};
    control.add(best_sellers);
    try {
        best_sellers.run_until_idle();
    } catch (const cairn::projection_failed&) {
        // Its status says so.
    }
    best_sellers.start();
    std::cout << "ready" << std::endl;

    std::string  sku;
    std::int64_t quantity = 0;
    while (std::cin >> sku >> quantity) {
        sell(log, sku, quantity);
        std::cout << "sold" << std::endl;
    }
    if (int which = 0; options.contains("--stay")) ::sigwait(&asked_to_end, &which);
    best_sellers.stop();
    return 0;
}
