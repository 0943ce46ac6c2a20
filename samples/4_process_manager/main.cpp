#include "payment.hpp"

#include <cairn/framework/process_runner.hpp>

#include <iostream>

using namespace shop;

int main(int argc, char** argv)
{
    // A clock that is set by hand: half an hour takes no time here.
    cairn::timestamp now{1'700'000'000'000};
    const auto       clock = [&] { return now; };

    auto log = argc > 1 ? cairn::commit_log::open(argv[1], {.clock = clock})
                        : cairn::commit_log::in_memory({.clock = clock});
    log.ensure_topic("orders");
    log.ensure_topic("payments");

    //[ payment_wiring
    cairn::repository<Order>       orders{log, "orders"};
    cairn::process_runner<Payment> payments{log, "payments", {.clock = clock}, orders};
    //]

    //[ payment_day
    orders.execute("o-1", Place{}).value();
    orders.execute("o-2", Place{}).value();
    payments.run_until_idle();  // a service calls start(), and it runs in the background

    now += 10 * 60'000;
    orders.execute("o-2", Pay{}).value();

    now += 20 * 60'000;
    payments.run_until_idle();
    //]

    for (const auto* id : {"o-1", "o-2"})
        for (const auto& happened : log.read_stream({"orders", id}))
            std::cout << id << ": " << *happened.headers.find("ce_type") << '\n';
}
