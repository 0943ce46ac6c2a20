// SPDX-License-Identifier: Apache-2.0
//
// Tests of process managers that read like the business:
//
//     CHECK(given<Payment>(payment_due("o-1"))
//               .when_timer("unpaid")
//               .then_sends<Order>("o-1", CancelOrder{"not paid"}));
#pragma once

#include <cairn/framework/process_manager.hpp>
#include <cairn/framework/process_runner.hpp>
#include <cairn/framework/testing.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <iosfwd>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace cairn::testing {

namespace detail {

template <class C>
struct must_compare
{
    static_assert(std::is_empty_v<C> || std::equality_comparable<C>,
                  "a test compares this command: give it `friend bool operator==(const C&, const "
                  "C&) = default;`");
};

/// A command that should have been sent.
struct wanted_command
{
    sent_command command;
    bool (*same)(const sent_command& wanted, const sent_command& got);
    std::string (*fields)(const sent_command& of);  ///< "" where it does not print
};

template <class A, class C>
wanted_command want_command(std::string id, C command)
{
    static_assert(sizeof(must_compare<C>));
    return {
        sent_command::to<A>(std::move(id), std::move(command)),
        [](const sent_command& wanted, const sent_command& got) {
            const C* const g = got.template as<C>();
            if (!g || got.id() != wanted.id() || *got.type().aggregate != *wanted.type().aggregate)
                return false;
            if constexpr (std::is_empty_v<C>)
                return true;
            else
                return *g == *wanted.template as<C>();
        },
        [](const sent_command& of) -> std::string {
            std::ostringstream text;
            if constexpr (requires(std::ostream & out, const C& c) { out << c; })
                if (const C* const c = of.template as<C>()) text << " " << *c;
            return text.str();
        }};
}

/// What should have come of it.
struct wanted_reaction
{
    any_reaction                rest;  ///< all but commands
    std::vector<wanted_command> commands;
};

verdict compare(const any_reaction& got, const wanted_reaction& wanted);

/// A process as it is asked on a log.
struct process_spec
{
    event_store                        store;
    cairn::detail::process_type        type;
    std::vector<const std::type_info*> aggregates;  ///< that it sends to
    std::vector<any_event>             happened;    ///< of its own
    std::optional<std::string>         refusal;     ///< of its commands; none: they are done
};

/// What was recorded on the log, and what was sent.
struct recorded_reaction
{
    any_reaction got;
    timestamp    cause;  ///< what its timers count from
};

/// `process` is nullopt where the event is of none. `without_log` is what comes of it there: it
/// says which timers have to be set to be cancelled, and of which types messages are.
recorded_reaction heard_on_log(const process_spec& spec, const any_event& happened,
                               const stream_id& from, const std::optional<std::string>& process,
                               const any_reaction& without_log);
recorded_reaction fired_on_log(const process_spec& spec, const timer_fired& timer,
                               const any_reaction& without_log);

/// The stream that an event which is heard is recorded in.
stream_id heard_in(const event_store& store, const any_event& happened);

template <class... Aggregates>
std::vector<const std::type_info*> types_of(sends_to<Aggregates...>)
{
    return {&typeid(Aggregates)...};
}

}  // namespace detail

/// What a process manager reacted with. Expectations add up, and what is not expected must not
/// happen: the whole is compared when it is asked whether it came so.
class reacted
{
public:
    explicit reacted(any_reaction got) : got_{std::move(got)} {}
    /// On a log timers have a time: it is compared with what is expected from the cause's on.
    explicit reacted(detail::recorded_reaction r) : got_{std::move(r.got)}, cause_{r.cause} {}

    /// It recorded exactly these, in this order.
    template <class... Es>
    requires(sizeof...(Es) > 0) reacted then(const event<Es>&... happened)
    const
    {
        auto more = *this;
        (more.wanted_.rest.events.push_back(happened), ...);
        return more;
    }

    /// It sent this; several in this order.
    template <class A, class Command>
    reacted then_sends(std::string id, Command command) const
    {
        auto more = *this;
        more.wanted_.commands.push_back(detail::want_command<A>(std::move(id), std::move(command)));
        return more;
    }

    reacted then_sets_timer(std::string name, due when) const
    {
        auto more = *this;
        more.wanted_.rest.timers.push_back(
            {std::move(name), cause_ ? at(when.from(*cause_)) : when});
        return more;
    }
    reacted then_cancels(std::string timer) const
    {
        auto more = *this;
        more.wanted_.rest.timers.push_back({std::move(timer), std::nullopt});
        return more;
    }

    /// It posted this, for an outbox.
    template <class E>
    reacted then_posts(std::string topic, std::string key, const event<E>& message) const
    {
        auto more = *this;
        more.wanted_.rest.posted.push_back({std::move(topic), std::move(key), message});
        return more;
    }

    verdict then_nothing() const { return detail::compare(got_, {}); }

    explicit             operator bool() const { return detail::compare(got_, wanted_).ok; }
    friend std::ostream& operator<<(std::ostream& out, const reacted& r)
    {
        return out << detail::compare(r.got_, r.wanted_);
    }

private:
    any_reaction             got_;
    std::optional<timestamp> cause_;
    detail::wanted_reaction  wanted_;
};

/// The same, on a log: by a process_runner, whose clock stands at the cause and whose commands go
/// to nobody; what is recorded and posted is read again, and timers are those that are set there.
/// One that is cancelled is set before.
template <is_process_manager P>
class recorded_process
{
public:
    recorded_process(P state, detail::process_spec spec)
        : state_{std::move(state)}, spec_{std::move(spec)}
    {
    }

    /// Its commands are rejected, for this reason.
    recorded_process refusing(std::string reason) const
    {
        auto less          = *this;
        less.spec_.refusal = std::move(reason);
        return less;
    }

    /// It hears of this, in that stream; else in the one that the event names with $Cairn.key, or
    /// in any. The topic is made.
    template <class E>
    reacted when(const event<E>& happened, std::optional<stream_id> from = {}) const
    {
        static_assert(P::heard::template has<E>,
                      "when() has an event that the process manager does not listen to");
        if (!from) from = detail::heard_in(spec_.store, happened);
        const auto   read    = happened.read();
        const auto   process = cairn::detail::process_id_of<P, E>(read, *from);
        any_reaction reaction;
        if (process)
            reaction = with_refusals(state_.react(typename E::Reader{read}).all(), *process);
        return reacted{detail::heard_on_log(spec_, happened, *from, process, reaction)};
    }

    /// Its timer goes off: when it was due, or later if that is `now`.
    reacted when_timer(std::string name, std::string process = "a process", timestamp due = {},
                       timestamp now = {}) const requires reacts_to<P, timer_fired>
    {
        const timer_fired timer{std::move(process), std::move(name), due, std::max(due, now)};
        return reacted{detail::fired_on_log(
            spec_, timer, with_refusals(state_.react(timer).all(), timer.process))};
    }

private:
    any_reaction with_refusals(any_reaction all, const std::string& process) const
    {
        if constexpr (reacts_to<P, command_refused>)
            for (std::size_t i = 0; spec_.refusal && i < std::min(all.commands.size(), ends); ++i) {
                const auto command = all.commands[i];
                auto       more =
                    state_.react(command_refused{process, command, reject(*spec_.refusal)}).all();
                all.commands.insert(all.commands.end(), more.commands.begin(), more.commands.end());
                all.timers.insert(all.timers.end(), more.timers.begin(), more.timers.end());
                all.posted.insert(all.posted.end(), more.posted.begin(), more.posted.end());
            }
        return all;
    }

    static constexpr std::size_t ends = 1000;  // the runner stops there, and says so

    P                    state_;
    detail::process_spec spec_;
};

/// A process of which something has been recorded.
template <is_process_manager P>
class process_history
{
public:
    template <class... Es>
    explicit process_history(const event<Es>&... happened) : happened_{happened...}
    {
        static_assert(cairn::detail::applies_each<P>(typename P::events{}));
        static_assert(cairn::detail::reacts_to_each<P>(typename P::heard{}));
        static_assert((P::events::template has<Es> && ...),
                      "given() has an event that the process manager does not record: what it "
                      "listens to goes into when()");
        (state_.apply(happened.read()), ...);
    }

    /// It hears of this; nothing comes of it where it is part of no process. `from` is the stream
    /// that the event is in, for those that ask.
    template <class E>
    reacted when(const event<E>& happened, const stream_id& from = {"a topic", "a stream"}) const
    {
        static_assert(P::heard::template has<E>,
                      "when() has an event that the process manager does not listen to");
        const auto read = happened.read();
        if (!cairn::detail::process_id_of<P, E>(read, from)) return reacted{any_reaction{}};
        return reacted{state_.react(typename E::Reader{read}).all()};
    }

    /// Its timer goes off. `process` is the id that it says.
    reacted when_timer(std::string name, std::string process = "a process", timestamp due = {},
                       timestamp now = {}) const requires reacts_to<P, timer_fired>
    {
        return reacted{
            state_.react(timer_fired{std::move(process), std::move(name), due, now}).all()};
    }

    /// A command that it sent to the A of that id is rejected.
    template <class A, class Command>
    reacted when_refused(
        std::string id, Command command, std::string reason,
        std::string process = "a process") const requires reacts_to<P, command_refused>
    {
        return reacted{
            state_
                .react(command_refused{std::move(process),
                                       sent_command::to<A>(std::move(id), std::move(command)),
                                       reject(std::move(reason))})
                .all()};
    }

    /// The same on a log, in memory or on disk: what is recorded there is compared.
    recorded_process<P> on(const event_store& store) const
    {
        return {state_,
                {store, cairn::detail::describe_process<P>(typename P::heard{}),
                 detail::types_of(typename P::aggregates{}), happened_, std::nullopt}};
    }

    const P& state() const noexcept { return state_; }

private:
    P                      state_;
    std::vector<any_event> happened_;
};

/// The process after these events of its own; none: one that is new.
template <is_process_manager P, class... Es>
process_history<P> given(const event<Es>&... happened)
{
    return process_history<P>{happened...};
}

}  // namespace cairn::testing
