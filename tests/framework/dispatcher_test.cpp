// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "account.hpp"

#include <cairn/framework/async_execute.hpp>
#include <cairn/framework/middlewares.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <future>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

using namespace bank;
using namespace cairn;
using namespace cairn::testing;

namespace {

struct Pay  // a Deposit that says into which account
{
    std::string   account;
    std::uint64_t cents = 1;
};
struct Take
{
    std::string   account;
    std::uint64_t cents = 1;
};

struct an_app : a_log
{
    an_app() : a_log{false}, accounts{*log, "accounts"}
    {
        const auto id_of = [](const auto& c) { return c.account; };
        app.handle<Pay>(id_of,
                        [this](const Pay& c, const command_context& context) {
                            return accounts.execute(c.account, Deposit{c.cents}, context);
                        })
            .handle<Take>(id_of, [this](const Take& c, const command_context& context) {
                return accounts.execute(c.account, Withdraw{c.cents}, context);
            });
    }

    repository<Account> accounts;
    dispatcher          app;
};

}  // namespace

TEST_CASE_METHOD(an_app, "a command is taken to its handler, and its answer back")
{
    const auto done = app.execute(Pay{"ada", 100});
    REQUIRE(done);
    CHECK(done->version == version{1});
    CHECK(app.execute(Take{"ada", 200}).error().reason == "there is not so much in it");
    CHECK(accounts.load("ada").state.cents == 100);
}

TEST_CASE("a repository handles the commands that its aggregate decides")
{
    struct Named : aggregate<Deposited>
    {
        std::uint64_t cents = 0;
        decision      decide(const Pay& c) const { return deposited(c.cents); }
        decision      decide(const Take&) const { return reject("never"); }
        void          apply(Deposited::Reader e) { cents += e.getCents(); }
    };
    a_log             on{false};
    repository<Named> named{*on.log, "accounts"};
    dispatcher        app;
    app.handle<Pay, Take>(named, [](const auto& c) { return c.account; });
    CHECK(app.execute(Pay{"ada", 5}));
    CHECK(app.execute(Take{"ada", 5}).error().reason == "never");
    CHECK(named.load("ada").state.cents == 5);
}

TEST_CASE_METHOD(an_app, "a command that nobody handles, and a second handler, are said")
{
    try {
        app.execute(Settle{});
        FAIL("it was handled");
    } catch (const error& e) {
        CHECK(e.code() == errc::unknown_command);
        CHECK_THAT(e.what(), Catch::Contains("Settle"));
    }
    CHECK(code_of([&] {
              app.handle<Pay>([](const Pay&) { return std::string{}; },
                              [](const Pay&, const command_context&) -> execute_result {
                                  return outcome{};
                              });
          }) == errc::invalid_argument);
}

TEST_CASE_METHOD(an_app, "middleware sees each command once, the one that was used first outermost")
{
    std::string seen;
    app.use([&](command_call& call, const next_handler& next) {
           seen += "(" + std::string{call.name()} + " " + call.key() + " ";
           auto result = next(call);
           seen += ")";
           return result;
       })
        .use([&](command_call& call, const next_handler& next) {
            seen += call.as<Pay>() ? "pay" : "other";
            call.context.correlation_id = "talk";
            return next(call);
        });
    app.execute(Pay{"ada"}).value();
    CHECK(seen == "(Pay ada pay)");
    auto range = log->read_stream({"accounts", "ada"});
    CHECK(range.next()->headers.find(header_names::correlation_id) == "talk");
}

TEST_CASE_METHOD(an_app, "middleware validates, authorises, logs and measures")
{
    auto                     counted = std::make_shared<middlewares::measures>();
    std::vector<std::string> lines;
    app.use(middlewares::measure(counted))
        .use(middlewares::log_to([&](const std::string& line) { lines.push_back(line); }))
        .use(middlewares::authorise([](const command_call& call) -> std::optional<std::string> {
            if (call.key() == "eve") return "eve may not";
            return std::nullopt;
        }))
        .use(middlewares::validate<Pay>([](const Pay& c) -> std::optional<std::string> {
            if (c.cents == 0) return "pay something";
            return std::nullopt;
        }));
    CHECK(app.execute(Pay{"eve"}).error().reason == "eve may not");
    CHECK(app.execute(Pay{"ada", 0}).error().reason == "pay something");
    CHECK(app.execute(Pay{"ada", 5}));
    CHECK(app.execute(Pay{"ada", 5}, {.command_id = "c"}));
    CHECK(app.execute(Pay{"ada", 5}, {.command_id = "c"})->repeated);
    CHECK_THROWS(app.execute(Pay{"ada", Account::unlucky}));
    REQUIRE(lines.size() == 6);
    CHECK_THAT(lines[0], Catch::StartsWith("Pay eve: rejected: eve may not, "));
    CHECK_THAT(lines[2], Catch::StartsWith("Pay ada: 1 event, ") && Catch::EndsWith(" us"));
    CHECK_THAT(lines[4], Catch::StartsWith("Pay ada: repeated, "));
    CHECK_THAT(lines[5], Catch::StartsWith("Pay ada: failed: a bug in apply()"));
    const auto pay = counted->by_name().at("Pay");
    CHECK(pay.executed == 6);
    CHECK(pay.rejected == 2);
    CHECK(pay.failed == 1);
    CHECK(pay.total >= pay.longest);
}

TEST_CASE("a conflict is tried again, a bounded number of times")
{
    int        calls = 0, fail = 2;
    dispatcher app;
    app.use(middlewares::retry(4, std::chrono::milliseconds{0}))
        .handle<Pay>([](const Pay& c) { return c.account; },
                     [&](const Pay&, const command_context&) -> execute_result {
                         if (++calls <= fail) throw error{errc::conflict, "again"};
                         return outcome{};
                     });
    CHECK(app.execute(Pay{"ada"}));
    CHECK(calls == 3);
    calls = 0;
    fail  = 100;
    CHECK(code_of([&] { app.execute(Pay{"ada"}); }) == errc::conflict);
    CHECK(calls == 4);
}

TEST_CASE("commands with one key are executed one after the other, in the order of the calls")
{
    constexpr int                           keys = 5, each = 200;
    std::mutex                              mutex;
    std::map<std::string, std::vector<int>> order;
    std::map<std::string, int>              inside;
    std::atomic<int>                        overlaps{0}, answered{0};
    {
        dispatcher app{{.threads_max = 8, .waiting_max = 64}};
        app.handle<Pay>([](const Pay& c) { return c.account; },
                        [&](const Pay& c, const command_context&) -> execute_result {
                            {
                                const std::lock_guard lock{mutex};
                                if (++inside[c.account] > 1) ++overlaps;
                                order[c.account].push_back(static_cast<int>(c.cents));
                            }
                            std::this_thread::yield();
                            const std::lock_guard lock{mutex};
                            --inside[c.account];
                            return outcome{};
                        });
        std::vector<std::thread> threads;
        for (int k = 0; k < keys; ++k)
            threads.emplace_back([&, k] {
                for (int i = 0; i < each; ++i) {
                    const Pay c{"k" + std::to_string(k), static_cast<std::uint64_t>(i)};
                    if (i % 7 == 0)
                        app.execute(c).value();
                    else
                        app.submit(c, {}, [&](std::exception_ptr, execute_result) { ++answered; });
                }
            });
        for (auto& t : threads) t.join();
    }  // each command is answered, also when the dispatcher is destroyed meanwhile
    CHECK(overlaps == 0);
    CHECK(answered == keys * (each - (each + 6) / 7));
    for (const auto& [key, seen] : order) {
        REQUIRE(seen.size() == each);
        for (int i = 0; i < each; ++i) REQUIRE(seen[static_cast<std::size_t>(i)] == i);
    }
}

TEST_CASE("commands with different keys are executed at once, as many as there are threads")
{
    constexpr unsigned at_once = 4;
    for (int round = 0; round < 100; ++round) {
        std::mutex              mutex;
        std::condition_variable met;
        unsigned                inside = 0;
        std::atomic<unsigned>   alone{0};
        std::promise<void>      warm;
        {
            dispatcher app{{.threads_max = at_once}};
            app.handle<Pay>([](const Pay& c) { return c.account; },
                            [&](const Pay& c, const command_context&) -> execute_result {
                                if (c.account == "warm") return outcome{};
                                std::unique_lock lock{mutex};
                                ++inside;
                                met.notify_all();
                                if (!met.wait_for(lock, std::chrono::seconds{5},
                                                  [&] { return inside == at_once; }))
                                    ++alone;
                                return outcome{};
                            });
            // One thread has nothing to do: what comes next must not all be left to it.
            app.submit(Pay{"warm"}, {}, [&](std::exception_ptr, execute_result) {
                warm.set_value();
            });
            warm.get_future().wait();
            for (int i = 0; i < 100; ++i) std::this_thread::yield();
            for (unsigned i = 0; i < at_once; ++i)
                app.submit(Pay{"k" + std::to_string(i)}, {},
                           [](std::exception_ptr, execute_result) {});
        }
        INFO("round " << round);
        REQUIRE(alone == 0);
    }
}

TEST_CASE("what is called with an answer may submit, though there is no room")
{
    std::promise<void> all;
    auto               both = all.get_future();
    dispatcher         app{{.threads_max = 1, .waiting_max = 1}};
    app.handle<Pay>([](const Pay& c) { return c.account; },
                    [](const Pay&, const command_context&) -> execute_result {
                        return outcome{};
                    });
    app.submit(Pay{"ada"}, {}, [&](std::exception_ptr, execute_result) {
        app.submit(Pay{"eve"}, {}, [&](std::exception_ptr, execute_result) { all.set_value(); });
    });
    if (both.wait_for(std::chrono::seconds{20}) != std::future_status::ready) {
        std::cerr << "the answer waits for the room that it takes itself\n";
        std::abort();  // the dispatcher's destructor would wait as well
    }
}

TEST_CASE_METHOD(an_app, "commands for different keys share flushes")
{
    std::vector<std::thread> threads;
    for (int t = 0; t < 16; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 50; ++i) app.execute(Pay{"a" + std::to_string(t)}).value();
        });
    for (auto& t : threads) t.join();
    for (int t = 0; t < 16; ++t)
        CHECK(accounts.load("a" + std::to_string(t)).state.cents == 50);
}

TEST_CASE("a handler that executes a command with its own key is told, and not stuck")
{
    dispatcher app;
    const auto id_of = [](const auto& c) { return c.account; };
    app.handle<Take>(id_of, [](const Take&, const command_context&) -> execute_result {
           return outcome{};
       })
        .handle<Pay>(id_of, [&](const Pay& c, const command_context&) {
            return app.execute(Take{c.cents == 1 ? c.account : "other"});
        });
    CHECK(code_of([&] { app.execute(Pay{"ada", 1}); }) == errc::invalid_argument);
    CHECK(app.execute(Pay{"ada", 2}));
    CHECK(app.execute(Take{"ada"}));
}

namespace {

/// What would wait for ever ends the program: a destructor would wait as well.
template <class Future>
void get_or_abort(Future& f, const char* what)
{
    if (f.wait_for(std::chrono::seconds{20}) == std::future_status::ready) return f.get();
    std::cerr << what << '\n';
    std::abort();
}

/// Takes the turn of one key, and there executes for another.
struct Cross
{
    std::string account, other;
};

}  // namespace

TEST_CASE("handlers that execute for each other's key are told, and not stuck")
{
    std::atomic<int> inside{0}, told{0};
    dispatcher       app;
    app.handle<Take>(
           [](const Take& c) { return c.account; },
           [](const Take&, const command_context&) -> execute_result { return outcome{}; })
        .handle<Cross>([](const Cross& c) { return c.account; },
                       [&](const Cross& c, const command_context&) {
                           ++inside;
                           while (inside < 2) std::this_thread::yield();
                           return app.execute(Take{c.other});
                       });
    std::vector<std::future<void>> both;
    for (const auto& c : {Cross{"ada", "eve"}, Cross{"eve", "ada"}})
        both.push_back(std::async(std::launch::async, [&, c] {
            told += code_of([&] { app.execute(c); }) == errc::invalid_argument;
        }));
    for (auto& one : both) get_or_abort(one, "they wait for each other");
    CHECK(told >= 1);
    CHECK(app.execute(Take{"ada"}));
    CHECK(app.execute(Take{"eve"}));
}

TEST_CASE("one of the pool's threads does not wait for a command that waits for the pool")
{
    dispatcher app{{.threads_max = 1}};
    const auto handler = [&](const auto& c, const command_context&) -> execute_result {
        if (c.account == "ada") {
            app.submit(Take{"eve"}, {}, [](std::exception_ptr, execute_result) {});
            return app.execute(Take{"eve"});
        }
        return outcome{};
    };
    const auto id_of = [](const auto& c) { return c.account; };
    app.handle<Take>(id_of, handler).handle<Pay>(id_of, handler);

    std::promise<void> of_handler, of_answer;
    auto               handled = of_handler.get_future(), answered = of_answer.get_future();
    std::exception_ptr thrown;
    app.submit(Pay{"ada"}, {}, [&](std::exception_ptr e, execute_result) {
        thrown = e;
        of_handler.set_value();
    });
    get_or_abort(handled, "the handler waits for its own thread");
    REQUIRE(thrown);
    CHECK(code_of([&] { std::rethrow_exception(thrown); }) == errc::invalid_argument);

    std::optional<errc> code;
    app.submit(Pay{"bob"}, {}, [&](std::exception_ptr, execute_result) {
        app.submit(Take{"eve"}, {}, [](std::exception_ptr, execute_result) {});
        code = code_of([&] { app.execute(Take{"eve"}); });
        of_answer.set_value();
    });
    get_or_abort(answered, "what is called with an answer waits for its own thread");
    CHECK(code == errc::invalid_argument);
}

TEST_CASE("each command is answered, also when the dispatcher is destroyed meanwhile")
{
    constexpr int            submitted = 60, waiting = 8;
    std::atomic<int>         done{0}, rejected{0}, thrown{0}, begun{0}, again{0};
    std::atomic<bool>        go{false};
    std::vector<std::thread> threads;
    {
        dispatcher app{{.threads_max = 3}};
        app.handle<Pay>([](const Pay& c) { return c.account; },
                        [&](const Pay& c, const command_context&) -> execute_result {
                            ++begun;
                            while (!go) std::this_thread::yield();
                            if (c.cents % 3 == 1) return reject("no");
                            if (c.cents % 3 == 2) throw std::runtime_error{"broken"};
                            return outcome{};
                        });
        const auto count = [&](const std::exception_ptr& e, const execute_result& r) {
            ++(e ? thrown : r ? done : rejected);
        };
        for (int i = 0; i < submitted; ++i)
            app.submit(Pay{"k" + std::to_string(i % 4), static_cast<std::uint64_t>(i)}, {},
                       [&](std::exception_ptr e, execute_result r) {
                           count(e, r);
                           // What an answer leads to is answered as well.
                           app.submit(Pay{"last", 0}, {},
                                      [&](std::exception_ptr, execute_result) { ++again; });
                       });
        for (int i = 0; i < waiting; ++i)
            threads.emplace_back([&, i] {
                const Pay c{"t" + std::to_string(i), static_cast<std::uint64_t>(i)};
                try {
                    const auto r = app.execute(c);
                    count(nullptr, r);
                } catch (const std::runtime_error&) {
                    ++thrown;
                }
            });
        while (begun < 3 + waiting) std::this_thread::yield();
        go = true;
    }
    CHECK(done + rejected + thrown >= submitted);
    CHECK(again == submitted);
    for (auto& t : threads) t.join();
    CHECK(done == 20 + 3);
    CHECK(rejected == 20 + 3);
    CHECK(thrown == 20 + 2);
}

TEST_CASE_METHOD(an_app, "a command is awaited in a coroutine, which goes on on its own executor")
{
    boost::asio::io_context io;
    std::thread::id         before, after;
    std::string             refused, thrown;
    boost::asio::co_spawn(
        io,
        [&]() -> boost::asio::awaitable<void> {
            before = std::this_thread::get_id();
            const Pay  pay{"ada", 7};
            const auto done =
                co_await async_execute(app, pay, boost::asio::use_awaitable);
            after = std::this_thread::get_id();
            CHECK(done->version == version{1});
            const Take take{"ada", 8};
            const auto no = co_await async_execute(app, take, boost::asio::use_awaitable);
            refused       = no.error().reason;
            const Pay unlucky{"ada", Account::unlucky};
            try {
                co_await async_execute(app, unlucky, boost::asio::use_awaitable);
            } catch (const std::logic_error& e) {
                thrown = e.what();
            }
        },
        boost::asio::detached);
    io.run();
    CHECK(before == after);
    CHECK(refused == "there is not so much in it");
    CHECK(thrown == "a bug in apply()");
}

TEST_CASE_METHOD(an_app, "a command is executed with a future")
{
    boost::asio::io_context io;
    const Pay               pay{"ada", 3};
    auto                    done = async_execute(app, pay, boost::asio::use_future);
    CHECK(done.get()->version == version{1});
}

TEST_CASE_METHOD(an_app, "an awaited command takes its context along, which has a name as it has")
{
    boost::asio::io_context io;
    boost::asio::co_spawn(
        io,
        [&]() -> boost::asio::awaitable<void> {
            const Pay             pay{"ada", 7};
            const command_context context{
                .command_id     = "an id that is too long to be kept within the string itself",
                .correlation_id = "a correlation id that is likewise too long for the string"};
            for (const bool repeated : {false, true}) {
                const auto done =
                    co_await async_execute(app, pay, context, boost::asio::use_awaitable);
                CHECK(done->repeated == repeated);
            }
        },
        boost::asio::detached);
    io.run();
    CHECK(accounts.load("ada").state.cents == 7);
}

/// A temporary would be destroyed twice by GCC 12, so it does not compile.
template <class C, class Context>
concept awaits = requires(dispatcher& d, C&& c, Context&& context) {
    async_execute(d, std::forward<C>(c), std::forward<Context>(context), boost::asio::detached);
};
static_assert(awaits<const Pay&, const command_context&>);
static_assert(!awaits<Pay, const command_context&>);
static_assert(!awaits<const Pay&, command_context>);
static_assert(!awaits<Pay, command_context>);
template <class C>
concept awaits_alone =
    requires(dispatcher& d, C&& c) { async_execute(d, std::forward<C>(c), boost::asio::detached); };
static_assert(awaits_alone<const Pay&>);
static_assert(!awaits_alone<Pay>);
