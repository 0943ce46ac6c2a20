// SPDX-License-Identifier: Apache-2.0
//
// Commands from Boost.Asio: with a callback, a future, or co_await. The only header of the
// framework that includes Asio.
#pragma once

#include <cairn/framework/dispatcher.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace cairn {

/// Executes a command without blocking, but see dispatcher_options::waiting_max; completes on the
/// token's executor with (std::exception_ptr, execute_result), so that in a coroutine what was
/// thrown is thrown and
///
///     const Deposit         deposit{.account = "ada", .cents = 100};   // named: see below
///     const command_context context{.command_id = "d-1"};              // likewise
///     auto done =
///         co_await cairn::async_execute(app, deposit, context, boost::asio::use_awaitable);
///
/// gives the result. Command and context are copied. They must have names, because GCC 12 destroys
/// twice an aggregate that is made inside of a co_await expression: a temporary does not compile.
/// Where the context is empty it is left out.
template <class Command, class Token>
auto async_execute(dispatcher& by, const Command& command, const command_context& context,
                   Token&& token)
{
    return boost::asio::async_initiate<Token, void(std::exception_ptr, execute_result)>(
        [&by](auto handler, Command c, command_context with) {
            using handler_type = decltype(handler);
            auto executor      = boost::asio::get_associated_executor(handler);
            // Shared: a std::function holds it, which must be copyable.
            auto kept = std::make_shared<handler_type>(std::move(handler));
            by.submit(std::move(c), std::move(with),
                      [kept, work = boost::asio::make_work_guard(executor)](
                          std::exception_ptr thrown, execute_result result) {
                          boost::asio::dispatch(
                              work.get_executor(),
                              [kept, thrown, result = std::move(result)]() mutable {
                                  auto h = std::move(*kept);
                                  h(thrown, std::move(result));
                              });
                      });
        },
        token, command, context);
}

/// Without a context.
template <class Command, class Token>
auto async_execute(dispatcher& by, const Command& command, Token&& token)
{
    const command_context none;
    return async_execute(by, command, none, std::forward<Token>(token));
}

/// A command or a context that is made here, and would be destroyed twice: give it a name first.
template <class Command, class Token>
    requires(!std::is_lvalue_reference_v<Command>)
auto async_execute(dispatcher& by, Command&& command, const command_context& context,
                   Token&& token) = delete;
template <class Command, class Token>
    requires(!std::is_lvalue_reference_v<Command>)
auto async_execute(dispatcher& by, Command&& command, Token&& token) = delete;
template <class Command, class Token>
auto async_execute(dispatcher& by, const Command& command, command_context&& context,
                   Token&& token) = delete;

}  // namespace cairn
