// SPDX-License-Identifier: Apache-2.0
//
// Where aggregates are loaded and commands executed.
#pragma once

#include <cairn/framework/aggregate.hpp>
#include <cairn/framework/envelope.hpp>

#include <cairn/log/commit_log.hpp>

#include <boost/system/result.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cairn {

/// What a command came to that was not refused.
struct outcome
{
    cairn::position position{-1};  ///< wait for it, and a projection has seen what happened
    cairn::version  version;       ///< of the stream, afterwards
    std::size_t     recorded = 0;  ///< events; 0: nothing was to happen
    bool            repeated = false;  ///< the command had been executed before
};

/// What value() throws for a rejection.
class command_rejected : public error
{
public:
    explicit command_rejected(rejection why);

    const rejection& why() const noexcept { return why_; }

private:
    rejection why_;
};

[[noreturn]] void throw_exception_from_error(const rejection& r, const boost::source_location&);

using execute_result = boost::system::result<outcome, rejection>;

struct repository_options
{
    /// So often a command is decided again because others were quicker; then errc::conflict.
    int attempts_max = 10;

    /// Aggregates that were used last stay in memory, up to so many.
    std::size_t aggregates_cached = 1024;

    /// Said in each event as where it comes from: a URI reference.
    std::string source = "/";
};

namespace detail {

/// What the framework does with an aggregate whose type it does not know.
struct aggregate_type
{
    struct event_entry
    {
        capnp::StructSchema schema;
        /// Applies the message; REQUIRES: `state` is of the aggregate's type.
        void (*apply)(void* state, capnp::MessageReader& message);
    };

    std::string_view         name;
    std::vector<event_entry> events;
    void* (*create)();
    void (*destroy)(void*) noexcept;
};

template <class A, class... Events>
aggregate_type describe(event_list<Events...>)
{
    static_assert(applies_each<A>(event_list<Events...>{}));
    aggregate_type t;
    t.events = {{capnp::Schema::from<Events>(), [](void* state, capnp::MessageReader& message) {
                     static_cast<A*>(state)->apply(message.getRoot<Events>());
                 }}...};
    t.create  = [] { return static_cast<void*>(new A{}); };
    t.destroy = [](void* a) noexcept { delete static_cast<A*>(a); };
    return t;
}

/// A repository without its type.
class repository_core
{
public:
    repository_core(commit_log log, std::string topic, aggregate_type type, repository_options o);
    ~repository_core();

    using decide = std::function<any_decision(const void* state)>;

    execute_result execute(const std::string& id, const decide& ask, const command_context& c);

    /// Calls back with the state as it was, good until it returns; false where there is none.
    bool load(const std::string& id, std::optional<version> at, std::optional<timestamp> until,
              const std::function<void(void* state, version, position)>& take) const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace detail

/// An aggregate as it is, or was.
template <class A>
struct loaded
{
    A               state;
    cairn::version  version;
    cairn::position position;  ///< of its last event
};

/// The aggregates of one kind: a stream each, in one topic.
///
///     cairn::repository<Order> orders{log, "orders"};
///     auto confirmed = orders.execute("o-1", ConfirmOrder{});
///     if (!confirmed) std::cout << "Refused: " << confirmed.error().reason << '\n';
///
/// Invariants
///   - What was decided was decided on what is true: if the stream has moved on meanwhile, it
///     is decided again.
///   - All events of a decision are recorded, or none.
///   - A rejection, and that nothing is to happen, are of the stream as it was at that moment.
///
/// Threads   Any. Commands for one aggregate take their turns; those for others share a flush.
/// Lifetime  Keeps the log open; a copy of the handle is enough.
/// Errors    decide() that throws: as it threw, and nothing is recorded. errc::conflict when
///           attempts_max decisions came too late; errc::illegal_stream_id; what append()
///           throws.
template <is_aggregate A>
class repository
{
public:
    repository(const commit_log& log, std::string topic, repository_options o = {})
        : core_{log, std::move(topic), detail::describe<A>(typename A::events{}), std::move(o)}
    {
    }

    /// Decides and records; blocks until that is durable. Creates the stream where it is new.
    template <class Command>
        requires decides<A, Command>
    execute_result execute(const std::string& id, const Command& command,
                           const command_context& context = {})
    {
        return core_.execute(
            id,
            [&](const void* state) {
                return static_cast<const A*>(state)->decide(command).release();
            },
            context);
    }

    /// The aggregate as it is; a new one at version 0 where nothing has happened.
    loaded<A> load(const std::string& id) const { return load(id, std::nullopt, std::nullopt); }

    /// As it was after `at` events (all, if there are fewer), or after what was recorded by then.
    loaded<A> load_at(const std::string& id, version at) const
    {
        return load(id, at, std::nullopt);
    }
    loaded<A> load_at(const std::string& id, timestamp until) const
    {
        return load(id, std::nullopt, until);
    }

private:
    loaded<A> load(const std::string& id, std::optional<version> at,
                   std::optional<timestamp> until) const
    {
        loaded<A> found{};
        core_.load(id, at, until, [&](void* state, version v, position p) {
            found = {std::move(*static_cast<A*>(state)), v, p};
        });
        return found;
    }

    detail::repository_core core_;
};

}  // namespace cairn
