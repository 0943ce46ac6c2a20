// SPDX-License-Identifier: Apache-2.0
//
// Where process managers run.
#pragma once

#include <cairn/framework/event_store.hpp>
#include <cairn/framework/process_manager.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace cairn {

/// What a process_runner does one after the other; before it does, it calls options.on_step.
enum class process_step {
    reacting,   ///< the process is loaded; once for each cause
    sending,    ///< a command; once for each
    recording,  ///< all that came of the batch
    recorded,   ///< it is on disk
};

struct process_options
{
    /// The time of day, by which timers go off. None: the system's. Where the log has a clock of
    /// its own (log_options::clock), the same: timers count from the times of its records.
    std::function<timestamp()> clock{};

    /// Where one begins that has never run: at the log's beginning, or at end_position().
    position from{};

    /// So many events that are there already are recorded together, in one append, or fewer that
    /// come to 1 MiB: a crash before that sends their commands again. A timer is recorded by
    /// itself.
    int batch_max = 64;

    /// So often is tried again what others were quicker at; then errc::conflict.
    int attempts_max = 10;

    /// So many commands one event may come to, also by refusals; then errc::process_failed.
    int commands_max = 1000;

    /// So many timers may lead to a timer, each set by the one before for no later time than its
    /// own, since the runner began; then errc::process_failed. One that sets itself to "at once"
    /// for ever ends so.
    int timers_max = 1000;

    /// For tests: what it throws is a crash there, behind which nothing is recorded.
    std::function<void(process_step)> on_step{};
};

enum class runner_state {
    idle,     ///< nobody runs it
    running,  ///< start()
    failed,   ///< it stands before something that it cannot handle: error() says what
};

struct process_statistics
{
    std::uint64_t events           = 0;  ///< reacted to
    std::uint64_t ignored          = 0;  ///< of no process
    std::uint64_t timers_fired     = 0;
    std::uint64_t commands         = 0;  ///< sent
    std::uint64_t commands_refused = 0;
    std::uint64_t posted           = 0;
    std::uint64_t tried_again      = 0;  ///< causes: another wrote to the process's stream
    std::uint64_t skipped          = 0;  ///< by skip()
};

/// A reaction, or what it asked for, threw. Nothing was recorded of it.
class process_failed : public error
{
public:
    process_failed(const std::string& what, position at, std::exception_ptr cause)
        : error{errc::process_failed, what}, at_{at}, cause_{std::move(cause)}
    {
    }

    /// Of the record that could not be handled: the event, or what set the timer.
    position           at() const noexcept { return at_; }
    std::exception_ptr cause() const noexcept { return cause_; }

private:
    position           at_;
    std::exception_ptr cause_;
};

namespace detail {

/// What the framework does with a process manager whose type it does not know.
struct process_type
{
    struct heard_entry
    {
        capnp::StructSchema schema;
        std::optional<std::string> (*process_of)(capnp::MessageReader& event,
                                                 const stream_id&      from);
        any_reaction (*react)(const void* state, capnp::MessageReader& event);
    };

    aggregate_type                   state;
    std::vector<heard_entry>         heard;
    std::vector<capnp::StructSchema> schemas;  ///< of what is heard, in the same order
    any_reaction (*react_timer)(const void* state, const timer_fired&)       = nullptr;
    any_reaction (*react_refused)(const void* state, const command_refused&) = nullptr;
};

template <class P, class... Heard>
process_type describe_process(event_list<Heard...>)
{
    static_assert(reacts_to_each<P>(event_list<Heard...>{}));
    process_type t;
    t.state   = describe<P>(typename P::events{});
    t.schemas = {capnp::Schema::from<Heard>()...};
    t.heard   = {{capnp::Schema::from<Heard>(),
                  [](capnp::MessageReader& event, const stream_id& from) {
                    return process_id_of<P, Heard>(event.getRoot<Heard>(), from);
                },
                  [](const void* state, capnp::MessageReader& event) {
                    return static_cast<const P*>(state)->react(event.getRoot<Heard>()).all();
                }}...};
    if constexpr (reacts_to<P, timer_fired>)
        t.react_timer = [](const void* state, const timer_fired& f) {
            return static_cast<const P*>(state)->react(f).all();
        };
    if constexpr (reacts_to<P, command_refused>)
        t.react_refused = [](const void* state, const command_refused& r) {
            return static_cast<const P*>(state)->react(r).all();
        };
    return t;
}

/// A process_runner without its type.
class process_core
{
public:
    /// Where commands for an aggregate go.
    struct target
    {
        const std::type_info* aggregate;
        std::function<execute_result(const sent_command&, const command_context&)> send;
    };

    process_core(event_store store, std::string topic, process_type type, process_options o,
                 std::vector<target> targets);
    ~process_core();

    void run_until_idle();
    void start();
    void stop() noexcept;
    void skip(position which, const std::string& reason);

    runner_state               state() const noexcept;
    std::exception_ptr         failure() const noexcept;
    position                   next() const noexcept;
    std::vector<pending_timer> timers() const;
    process_statistics         statistics() const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

template <class A>
process_core::target target_of(repository<A>& to)
{
    return {&typeid(A), [&to](const sent_command& c, const command_context& context) {
                return c.type().execute(&to, c.id(), c.command(), context);
            }};
}

template <class A, class... Given>
inline constexpr bool is_one_of = (std::is_same_v<A, Given> || ...);

template <class... Given, class... Needed>
consteval bool all_given(sends_to<Needed...>)
{
    return (is_one_of<Needed, Given...> && ...);
}

}  // namespace detail

/// Carries out what a process manager's reactions say: reads the log by position, and for each
/// event that the process manager listens to
///
///     loads the process  ->  reacts  ->  sends commands
///
/// and then, for up to options.batch_max of them together, records in one append what came of
/// them: own events, timers, messages, and how far it is.
///
///     cairn::process_runner<Payment> payments{log, "payments", orders};
///     payments.start();
///
/// `topic` holds the processes' own events, a stream for each, and is the process manager's name
/// on the log. The repositories are those of the aggregates that it sends to.
///
/// Invariants
///   - Each event is handled exactly once, whatever crashes in between: a command that was sent
///     and not recorded yet is sent again with the same command id, and so answered with what it
///     came to the first time. (One that came to nothing at all is decided again.)
///   - Events are handled in the order of their positions, each with the state that those before
///     it have made, recorded yet or not.
///   - A timer that was set goes off once, when the clock shows its time or later, also after a
///     restart, unless it is replaced or cancelled before.
///   - What was recorded before a timer goes off is handled before it. One that had begun to send
///     commands when it crashed goes off before all that came since, with the clock as it was.
///   - What cannot be handled stops the runner there, with all before it recorded; nothing is
///     skipped but by skip().
///   - Of several runners of one topic the one that began last runs. The others stop with
///     errc::fenced_generation.
///   - What is sent and recorded carries the cause on: ce_causationid is the cause's ce_id,
///     ce_correlationid and traceparent are the cause's.
///
/// Threads   Any. One thread at a time handles events.
/// Lifetime  Keeps the log open. Repositories outlive it. The destructor stops it.
/// Errors    process_failed, from run_until_idle(), and kept for error(): what was not handled is
///           tried again when that, or start(), is called again. fenced_generation; what the log
///           throws.
template <is_process_manager P>
class process_runner
{
public:
    template <class... As>
    process_runner(const event_store& store, std::string topic, process_options o,
                   repository<As>&... to)
        : core_{store,
                std::move(topic),
                detail::describe_process<P>(typename P::heard{}),
                std::move(o),
                {detail::target_of(to)...}}
    {
        static_assert(detail::all_given<As...>(typename P::aggregates{}),
                      "a process manager sends to an aggregate, and its runner has no repository "
                      "of that: give it after the topic");
    }
    template <class... As>
    process_runner(const event_store& store, std::string topic, repository<As>&... to)
        : process_runner{store, std::move(topic), process_options{}, to...}
    {
    }

    /// Handles all that is there and all timers that are due, and returns.
    void run_until_idle() { core_.run_until_idle(); }

    /// Handles what is there and what comes, in a thread of its own. It sleeps until the next
    /// commit or timer, at most a second, so that it sees when the clock is set. It ends where
    /// run_until_idle() would throw.
    void start() { core_.start(); }
    /// Ends that, once what is being handled is recorded. It may be started again. Called from what
    /// is being handled, it returns at once.
    void stop() noexcept { core_.stop(); }

    /// Leaves unhandled what it failed at, for good, so that it can be run again and go on behind
    /// it. What that had sent already stays sent. That, and why, is recorded: a CauseSkipped in
    /// the stream "cairn-skipped" of the runner's topic, one for each record that the cause is made
    /// of (two events that an upcaster merges are two). A timer is gone then.
    /// REQUIRES: it stands failed before `which`, as process_failed::at() says, and there is a
    /// reason; else invalid_argument is thrown.
    void skip(position which, const std::string& reason) { core_.skip(which, reason); }

    runner_state state() const noexcept { return core_.state(); }
    /// Why it failed; null where it has not.
    std::exception_ptr error() const noexcept { return core_.failure(); }

    /// All before this position is handled.
    position next() const noexcept { return core_.next(); }

    /// Those that are set, by time.
    std::vector<pending_timer> timers() const { return core_.timers(); }

    process_statistics statistics() const { return core_.statistics(); }

private:
    detail::process_core core_;
};

}  // namespace cairn
