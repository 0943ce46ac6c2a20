#include "sales.hpp"

#include <cairn/framework/repository.hpp>
#include <cairn/projections/projection_runner.hpp>

#include <filesystem>
#include <iostream>

using namespace shop;

int main(int argc, char** argv)
{
    auto log = argc > 1 ? cairn::commit_log::open(argv[1]) : cairn::commit_log::in_memory();
    log.ensure_topic("tills");
    const auto tables = argc > 1
                            ? cairn::lmdb_tables(std::filesystem::path{argv[1]} / "projections")
                            : cairn::memory_tables();

    cairn::repository<Till> tills{log, "tills"};
    const auto              sell = [&](const char* sku, std::int64_t quantity, auto at) {
        tills.execute("till 1", Sell{sku, quantity, at}).value();
    };
    sell("lamp", 3, 9h + 5min);
    sell("bulb", 1, 9h + 20min);
    sell("bulb", 1, 9h + 55min);
    sell("lamp", 1, 10h + 2min);
    {
        //[ sales_yesterday
        cairn::projection_runner<Sales<1>> sales{log, "sales", tables};
        sales.run_until_idle();  // a service calls start(), and it runs in the background
        std::cout << "Lamps sold: " << *sales.view().read()->sold.find("lamp") << '\n';
        //]
    }

    //[ sales_rebuild
    const auto say = [&](const cairn::rebuild_progress& p, const auto& answers) {
        std::cout << "Version " << p.version << " has read " << p.events << " of " << p.total
                  << " events; lamps sold: " << *answers.read()->sold.find("lamp") << '\n';
    };
    cairn::projection_runner<Sales<2>> sales{
        log, "sales", tables,
        {.commit_events_max = 2, .on_progress = [&](const auto& p) { say(p, sales.view()); }}};
    sales.run_until_idle();
    std::cout << "Lamps sold: " << *sales.view().read()->sold.find("lamp") << '\n';
    //]

    //[ sales_by_hour
    sell("lamp", 1, 9h + 40min);
    sell("bulb", 2, 10h + 30min);
    sell("lamp", 5, 9h + 59min);
    sales.run_until_idle();

    const auto     now  = sales.view().read();
    constexpr auto hour = std::chrono::milliseconds{1h}.count();
    for (const auto& [in, quantity] : now->by_hour.rows())
        std::cout << in.start.value / hour << " o'clock: " << in.key << ' ' << quantity << '\n';
    std::cout << "Too late: " << now->by_hour.late() << '\n';
    //]
}
