// SPDX-License-Identifier: Apache-2.0
//
// Where aggregates are loaded and commands executed.
#pragma once

#include <cairn/framework/aggregate.hpp>
#include <cairn/framework/envelope.hpp>
#include <cairn/framework/event_store.hpp>
#include <cairn/framework/snapshot.hpp>

#include <boost/system/result.hpp>

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn {

/// What a command came to that was not refused.
struct outcome
{
    cairn::position position{-1};  ///< wait for it, and a projection has seen what happened
    cairn::version  version;       ///< of the stream, afterwards
    std::size_t     recorded = 0;  ///< events; 0: nothing was to happen
    bool            repeated = false;  ///< the command had been executed before

    friend std::ostream& operator<<(std::ostream& out, const outcome& o);
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

/// What is done with an event that the aggregate does not list.
enum class unknown_events
{
    refuse,  ///< unknown_event: a decision could be made on what is not true
    skip,
};

struct repository_options
{
    /// So often a command is decided again because others were quicker; then errc::conflict.
    int attempts_max = 10;

    /// Aggregates that were used last stay in memory, up to so many.
    std::size_t aggregates_cached = 1024;

    unknown_events unknown = unknown_events::refuse;

    /// When a snapshot is taken, of aggregates that have them.
    snapshot_policy snapshots{};
};

struct repository_statistics
{
    std::uint64_t executed          = 0;  ///< commands
    std::uint64_t decided_again     = 0;  ///< because another was quicker
    std::uint64_t loaded            = 0;  ///< aggregates that were not in memory
    std::uint64_t events_applied    = 0;
    std::uint64_t snapshots_used    = 0;
    std::uint64_t snapshots_ignored = 0;  ///< of another version, or not to be read or restored
    std::uint64_t snapshots_taken   = 0;
};

namespace detail {

/// What the framework does with state whose type it does not know.
struct aggregate_type
{
    struct event_entry
    {
        capnp::StructSchema schema;
        /// Applies the message; REQUIRES: `state` is of the aggregate's type.
        void (*apply)(void* state, capnp::MessageReader& message);
    };
    struct snapshot_entry
    {
        capnp::StructSchema schema;
        int                 version;
        any_event (*save)(const void* state);
        void (*restore)(void* state, capnp::MessageReader& message);
    };

    std::vector<event_entry>         events;
    std::vector<capnp::StructSchema> schemas;  ///< of the events, in the same order
    void* (*create)();
    void (*destroy)(void*) noexcept;
    std::optional<snapshot_entry> snapshot{};
};

template <class A, class... Events>
aggregate_type describe(event_list<Events...>)
{
    static_assert(applies_each<A>(event_list<Events...>{}));
    aggregate_type t;
    t.events = {{capnp::Schema::from<Events>(), [](void* state, capnp::MessageReader& message) {
                     static_cast<A*>(state)->apply(message.getRoot<Events>());
                 }}...};
    t.schemas = {capnp::Schema::from<Events>()...};
    t.create  = [] { return static_cast<void*>(new A{}); };
    t.destroy = [](void* a) noexcept { delete static_cast<A*>(a); };
    if constexpr (requires { typename A::snapshot; }) {
        using snapshot = typename A::snapshot;
        static_assert(snapshottable<A>,
                      "an aggregate that names its snapshot has `void save(snapshot::Builder) "
                      "const` and `void restore(snapshot::Reader)`");
        t.snapshot = aggregate_type::snapshot_entry{
            capnp::Schema::from<snapshot>(), snapshot_version_of<A>(),
            [](const void* state) -> any_event {
                return event<snapshot>{[&](typename snapshot::Builder to) {
                    static_cast<const A*>(state)->save(to);
                }};
            },
            [](void* state, capnp::MessageReader& message) {
                static_cast<A*>(state)->restore(message.getRoot<snapshot>());
            }};
    }
    return t;
}

/// A repository without its type.
class repository_core
{
public:
    repository_core(event_store store, std::string topic, aggregate_type type,
                    repository_options o);
    ~repository_core();

    using decide = std::function<any_decision(const void* state)>;

    execute_result execute(const std::string& id, const decide& ask, const command_context& c);

    /// Calls back with the state as it was, good until it returns; false where there is none.
    bool load(const std::string& id, std::optional<version> at, std::optional<timestamp> until,
              const std::function<void(void* state, version, position)>& take) const;

    repository_statistics statistics() const;

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
///     is decided again; where retention or compaction has taken events of it that no snapshot
///     stands for, nothing is decided.
///   - All events of a decision are recorded, or none.
///   - A rejection, and that nothing is to happen, are of the stream as it was at that moment.
///   - A repeat of a command that recorded events is answered, by its id, with what it came to the
///     first time, also after a restart and from another process; so is one that was rejected with
///     remember_rejection, as long as __rejections is kept (for ever, unless its retention is
///     set): then it is command_reused. One that came to nothing leaves no trace: its repeat is
///     decided again, and may record.
///   - A snapshot only ever saves time: where there is none that fits, all events are applied;
///     one that cannot be taken fails no command. One of a topic that was deleted does not fit.
///
/// Threads   Any. Commands for one aggregate take their turns; those for others share a flush.
/// Lifetime  Keeps the log open; a copy of the handle is enough.
/// Errors    decide() that throws: as it threw, and nothing is recorded. errc::conflict when
///           attempts_max decisions came too late; errc::events_removed; errc::illegal_stream_id,
///           also of an event that names another stream; what append() throws.
template <is_aggregate A>
class repository
{
public:
    repository(const event_store& store, std::string topic, repository_options o = {})
        : core_{store, std::move(topic), detail::describe<A>(typename A::events{}), std::move(o)}
    {
    }
    repository(const commit_log& log, std::string topic, repository_options o = {})
        : repository{event_store{log}, std::move(topic), std::move(o)}
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

    repository_statistics statistics() const { return core_.statistics(); }

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
