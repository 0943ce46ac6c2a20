// SPDX-License-Identifier: Apache-2.0
//
// Where commands go: from whoever asks, through what is done with every command, to the one that
// decides.
#pragma once

#include <cairn/framework/repository.hpp>

#include <concepts>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <typeindex>
#include <utility>

namespace cairn {

/// A command on its way, as middleware sees it.
class command_call
{
public:
    template <class C>
    command_call(const C& command, std::string_view name, std::string key, command_context c)
        : context{std::move(c)}, name_{name}, key_{std::move(key)}, type_{typeid(C)},
          command_{&command}
    {
    }

    /// May be changed before the command goes on.
    command_context context;

    std::string_view   name() const noexcept { return name_; }  ///< of its type: "ConfirmOrder"
    const std::string& key() const noexcept { return key_; }    ///< whose turn it takes
    std::type_index    type() const noexcept { return type_; }

    /// The command, if it is a C.
    template <class C>
    const C* as() const noexcept
    {
        return type_ == typeid(C) ? static_cast<const C*>(command_) : nullptr;
    }

private:
    std::string_view name_;
    std::string      key_;
    std::type_index  type_;
    const void*      command_;
};

/// What a middleware calls to let the command go on; or does not, to answer it itself.
using next_handler = std::function<execute_result(command_call&)>;

/// Something that is done with every command.
using middleware = std::function<execute_result(command_call&, const next_handler&)>;

struct dispatcher_options
{
    /// At most so many commands are executed at once for async_execute(). They wait for the disk
    /// together, so there may be many more than processors. Begun when they are needed.
    unsigned threads_max = 64;

    /// Where so many submitted commands are not answered yet, submit() and async_execute() wait
    /// until one is. Called from a handler, a middleware or a `then` they go beyond it instead: the
    /// room that they would wait for may be their own.
    std::size_t waiting_max = 4096;
};

namespace detail {

class dispatcher_core
{
public:
    explicit dispatcher_core(dispatcher_options o);
    ~dispatcher_core();

    using key_of  = std::function<std::string(const void* command)>;
    using handler = std::function<execute_result(const void* command, const command_context&)>;
    using done    = std::function<void(std::exception_ptr, execute_result)>;

    void add(std::type_index type, key_of key, handler h);
    void use(middleware m);

    /// The name that commands of this type have in messages.
    std::string_view name_of(std::type_index type) const;
    std::string      key(std::type_index type, const void* command) const;

    execute_result execute(command_call& call, const void* command);

    /// `call` and `command` live as long as `held`.
    void submit(std::shared_ptr<void> held, command_call& call, const void* command, done then);

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace detail

/// Takes commands to their handlers.
///
///     cairn::dispatcher app;
///     app.use(cairn::middlewares::log_to([](const std::string& line) { std::clog << line; }))
///         .handle<Deposit, Withdraw>(accounts, [](const auto& c) { return c.account; });
///     auto done = app.execute(Deposit{.account = "ada", .cents = 100});
///
/// Invariants
///   - Commands with one key are executed one after the other, in the order in which execute() and
///     async_execute() were called; those with different keys at once, sharing flushes: those that
///     were submitted, on up to threads_max threads.
///   - Middleware sees each command once, the one that was used first outermost.
///   - Each command is answered, also when the dispatcher is destroyed meanwhile.
///   - Who has a turn waits for nobody else's, so nobody waits for ever: execute() from a handler,
///   a
///     middleware or a `then` is invalid_argument where its key is busy, be it the handler's own.
///
/// Threads   Any, once all handlers and middleware were given.
/// Lifetime  The destructor waits for what was begun. Repositories must outlive it.
/// Errors    unknown_command where nobody handles it; else what the handler returns or throws.
class dispatcher
{
public:
    explicit dispatcher(dispatcher_options o = {}) : core_{o} {}

    /// These commands are executed by a repository, on the aggregate that `id_of` names.
    template <class... Commands, is_aggregate A, class IdOf>
        requires(sizeof...(Commands) > 0)
    dispatcher& handle(repository<A>& by, IdOf id_of)
    {
        static_assert((decides<A, Commands> && ...),
                      "the aggregate has no `decision decide(const Command&) const` for one of "
                      "these commands");
        static_assert((std::is_invocable_r_v<std::string, const IdOf&, const Commands&> && ...),
                      "id_of(command) must return the aggregate's id, for each of these commands");
        (handle<Commands>(id_of,
                          [&by, id_of](const Commands& c, const command_context& context) {
                              return by.execute(id_of(c), c, context);
                          }),
         ...);
        return *this;
    }

    /// The command is executed by a function; `key_of` says whose turn it takes.
    template <class Command, class KeyOf, class Handler>
        requires std::is_invocable_r_v<std::string, const KeyOf&, const Command&> &&
                 std::is_invocable_r_v<execute_result, const Handler&, const Command&,
                                       const command_context&>
    dispatcher& handle(KeyOf key_of, Handler handler)
    {
        core_.add(
            typeid(Command),
            [key_of](const void* c) -> std::string {
                return key_of(*static_cast<const Command*>(c));
            },
            [handler](const void* c, const command_context& context) -> execute_result {
                return handler(*static_cast<const Command*>(c), context);
            });
        return *this;
    }

    dispatcher& use(middleware m)
    {
        core_.use(std::move(m));
        return *this;
    }

    /// Blocks until it is durable, or refused. Where a handler, a middleware or a `then` calls it,
    /// nobody may be busy with its key: that is invalid_argument. submit() does not wait.
    template <class Command>
    execute_result execute(const Command& command, command_context context = {})
    {
        command_call call{command, core_.name_of(typeid(Command)),
                          core_.key(typeid(Command), &command), std::move(context)};
        return core_.execute(call, &command);
    }

    /// Returns at once, but see waiting_max; `then(std::exception_ptr, execute_result)` is called
    /// on one of the dispatcher's threads, which it holds up until it returns. It may submit, and
    /// must not throw. For coroutines there is <cairn/framework/async_execute.hpp>.
    template <class Command, class Then>
    void submit(Command command, command_context context, Then then)
    {
        struct held
        {
            Command      command;
            command_call call;
        };
        auto key = core_.key(typeid(Command), &command);
        auto all = std::shared_ptr<held>{new held{
            std::move(command),
            command_call{command, core_.name_of(typeid(Command)), std::move(key),
                         std::move(context)}}};
        // The call means the copy that is kept.
        all->call = command_call{all->command, all->call.name(), all->call.key(),
                                 std::move(all->call.context)};
        core_.submit(all, all->call, &all->command, std::move(then));
    }

private:
    detail::dispatcher_core core_;
};

}  // namespace cairn
