// SPDX-License-Identifier: Apache-2.0
// A context that is made inside of a co_await expression, where GCC 12 would destroy it twice.
// says: use of deleted function
// says: command_context&&
#include <cairn/framework/async_execute.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/use_awaitable.hpp>

struct Pay
{};

boost::asio::awaitable<void> use(cairn::dispatcher& app)
{
    const Pay pay{};
#ifdef MISTAKE
    co_await cairn::async_execute(app, pay, {.command_id = "c"}, boost::asio::use_awaitable);
#else
    const cairn::command_context context{.command_id = "c"};
    co_await cairn::async_execute(app, pay, context, boost::asio::use_awaitable);
    co_await cairn::async_execute(app, pay, boost::asio::use_awaitable);
#endif
}
