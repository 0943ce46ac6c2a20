// SPDX-License-Identifier: Apache-2.0
//
// The code of docs/how-to/dispatch-commands.md, and that it does what the page says.
#include "account.capnp.h"

#include <cairn/framework/async_execute.hpp>
#include <cairn/framework/middlewares.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <catch2/catch.hpp>

#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

using namespace bank;
namespace asio = boost::asio;

namespace {

//[ dispatched
struct Deposit
{
    std::string   account;
    std::uint64_t cents;
};
struct Withdraw
{
    std::string   account;
    std::uint64_t cents;
};
//]

struct Account : cairn::aggregate<Deposited, Withdrawn>
{
    std::uint64_t cents = 0;

    decision decide(const Deposit& c) const
    {
        return cairn::event<Deposited>{[&](auto e) { e.setCents(c.cents); }};
    }
    decision decide(const Withdraw& c) const
    {
        if (c.cents > cents) return cairn::reject("there is not so much in the account");
        return cairn::event<Withdrawn>{[&](auto e) { e.setCents(c.cents); }};
    }

    void apply(Deposited::Reader e) { cents += e.getCents(); }
    void apply(Withdrawn::Reader e) { cents -= e.getCents(); }
};

//[ teller
asio::awaitable<void> teller(cairn::dispatcher& app)
{
    const Withdraw withdraw{.account = "ada", .cents = 60};
    const auto     done = co_await cairn::async_execute(app, withdraw, asio::use_awaitable);
    if (!done) std::cout << "Refused: " << done.error().reason << '\n';
}
//]

}  // namespace

TEST_CASE("commands find their way")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("accounts");
    std::ostringstream printed;
    auto* const        before = std::cout.rdbuf(printed.rdbuf());
    //[ dispatcher
    cairn::repository<Account> accounts{log, "accounts"};
    cairn::dispatcher          app;
    app.handle<Deposit, Withdraw>(accounts, [](const auto& c) { return c.account; });
    //]

    namespace middlewares = cairn::middlewares;
    //[ middlewares
    auto measured = std::make_shared<middlewares::measures>();
    app.use(middlewares::measure(measured))
        .use(middlewares::log_to([](const std::string& line) { std::cout << line << '\n'; }))
        .use(middlewares::retry(3))
        .use(middlewares::authorise(
            [](const cairn::command_call& call) -> std::optional<std::string> {
                if (call.key() == "eve") return "eve may not";
                return std::nullopt;
            }))
        .use(middlewares::validate<Deposit>([](const Deposit& c) -> std::optional<std::string> {
            if (c.cents == 0) return "a deposit is of something";
            return std::nullopt;
        }));
    //]

    //[ middleware
    app.use([](cairn::command_call& call, const cairn::next_handler& next) {
        if (!call.context.correlation_id) call.context.correlation_id = "web";
        return next(call);
    });
    //]

    //[ dispatch
    const auto done = app.execute(Deposit{.account = "ada", .cents = 100});
    CHECK(done->version == cairn::version{1});
    CHECK(app.execute(Deposit{"eve", 100}).error().reason == "eve may not");
    CHECK(app.execute(Deposit{"ada", 0}).error().reason == "a deposit is of something");
    //]

    asio::io_context io;
    asio::co_spawn(io, teller(app), asio::detached);
    asio::co_spawn(io, teller(app), asio::detached);
    io.run();
    std::cout.rdbuf(before);

    CHECK_THAT(printed.str(), Catch::Contains("Deposit eve: rejected: eve may not, ") &&
                                  Catch::Contains("Deposit ada: 1 event, ") &&
                                  Catch::Contains("Refused: there is not so much in the account"));
    CHECK(accounts.load("ada").state.cents == 40);
    CHECK(measured->by_name().at("Deposit").rejected == 2);
    auto range = log.read_stream({"accounts", "ada"});
    CHECK(range.next()->headers.find("ce_correlationid") == "web");
}
