// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/framework/aggregate.hpp>
#include <cairn/framework/detail/names.hpp>
#include <cairn/framework/repository.hpp>
#include <cairn/framework/timers.hpp>

#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace cairn {

/// What a process manager is about, each at most once and in any order:
///
///     struct Payment : cairn::process_manager<cairn::listens_to<OrderPlaced, OrderPaid>,
///                                             cairn::records<PaymentDue, PaymentDone>,
///                                             cairn::sends_to<Order>>

/// Events of others, in whatever stream.
template <class... Events>
struct listens_to
{
};
/// Events of its own: its state.
template <class... Events>
struct records
{
};
/// Aggregates that its commands go to.
template <class... Aggregates>
struct sends_to
{
};

/// A timer that was set went off.
struct timer_fired
{
    std::string process;  ///< the id of the process
    std::string name;
    timestamp   due;  ///< when it should
    timestamp   now;  ///< when it did
};

namespace detail {

/// What executes a command whose type is not known.
struct command_type
{
    const std::type_info* aggregate;
    const std::type_info* command;
    /// REQUIRES: of these types.
    execute_result (*execute)(void* repository, const std::string& id, const void* command,
                              const command_context& context);
};

template <class A, class C>
const command_type command_type_of{
    &typeid(A), &typeid(C),
    [](void* repository, const std::string& id, const void* command, const command_context& c) {
        return static_cast<cairn::repository<A>*>(repository)
            ->execute(id, *static_cast<const C*>(command), c);
    }};

}  // namespace detail

/// A command on its way: to which aggregate, and what it asks.
class sent_command
{
public:
    template <class A, class C>
    static sent_command to(std::string id, C command)
    {
        return {&detail::command_type_of<A, C>, std::move(id),
                std::make_shared<const C>(std::move(command))};
    }

    const std::string& id() const noexcept { return id_; }

    /// What they are called: "Order", "CancelOrder".
    std::string aggregate_name() const { return detail::short_name(*type_->aggregate); }
    std::string command_name() const { return detail::short_name(*type_->command); }

    /// The command, or null where it is of another type.
    template <class C>
    const C* as() const noexcept
    {
        return *type_->command == typeid(C) ? static_cast<const C*>(command_.get()) : nullptr;
    }

    const detail::command_type& type() const noexcept { return *type_; }
    const void*                 command() const noexcept { return command_.get(); }

private:
    sent_command(const detail::command_type* type, std::string id,
                 std::shared_ptr<const void> command)
        : type_{type}, id_{std::move(id)}, command_{std::move(command)}
    {
    }

    const detail::command_type* type_;
    std::string                 id_;
    std::shared_ptr<const void> command_;
};

/// A command that was sent was rejected.
struct command_refused
{
    std::string  process;  ///< the id of the process
    sent_command command;
    rejection    why;
};

/// A reaction without its types: what is carried out.
struct any_reaction
{
    struct timer_change
    {
        std::string        name;
        std::optional<due> when;  ///< none: it is cancelled
    };
    struct posting
    {
        std::string topic, key;
        any_event   message;
    };

    std::vector<any_event>    events;
    std::vector<sent_command> commands;
    std::vector<timer_change> timers;
    std::vector<posting>      posted;

    bool empty() const noexcept
    {
        return events.empty() && commands.empty() && timers.empty() && posted.empty();
    }
};

template <class Records, class SendsTo>
class reaction;

/// What react() returns. Nothing happens: return {}. One event of its own: return it. More:
///
///     return reaction{}
///         .record(payment_due(order))
///         .send<Order>(order, ReserveStock{})
///         .set("unpaid", cairn::after(30min))
///         .post("mails", customer, please_pay(order));
template <class... Events, class... Aggregates>
class reaction<event_list<Events...>, sends_to<Aggregates...>>
{
public:
    reaction() = default;

    template <class E>
    reaction(event<E> happened)
    {
        record(std::move(happened));
    }

    /// An event of its own.
    template <class E>
    reaction& record(event<E> happened)
    {
        static_assert(event_list<Events...>::template has<E>,
                      "react() records an event that its process manager does not list: name it "
                      "in records<...>");
        all_.events.push_back(std::move(happened));
        return *this;
    }

    /// A command for the aggregate A of that id.
    template <class A, class Command>
    reaction& send(std::string id, Command command)
    {
        static_assert((std::is_same_v<A, Aggregates> || ...),
                      "react() sends to an aggregate that its process manager does not list: name "
                      "it in sends_to<...>");
        static_assert(decides<A, Command>,
                      "react() sends a command that the aggregate does not decide: it has no "
                      "`decision decide(const Command&) const`");
        all_.commands.push_back(sent_command::to<A>(std::move(id), std::move(command)));
        return *this;
    }

    /// A timer of this process goes off then; one that has the name already is replaced. A name
    /// has 1 to 256 bytes, none of them '/'.
    reaction& set(std::string timer, due when)
    {
        all_.timers.push_back({std::move(timer), when});
        return *this;
    }

    /// It does not, if it was to.
    reaction& cancel(std::string timer)
    {
        all_.timers.push_back({std::move(timer), std::nullopt});
        return *this;
    }

    /// A message into a topic from which an outbox delivers it; messages of one key in order.
    template <class E>
    reaction& post(std::string topic, std::string key, event<E> message)
    {
        all_.posted.push_back({std::move(topic), std::move(key), std::move(message)});
        return *this;
    }

    const any_reaction& all() const& noexcept { return all_; }
    any_reaction        all() && { return std::move(all_); }

private:
    any_reaction all_;
};

namespace detail {

template <class... Lists>
struct process_lists
{
    using heard      = event_list<>;
    using events     = event_list<>;
    using aggregates = sends_to<>;
};
template <class... Es, class... Rest>
struct process_lists<listens_to<Es...>, Rest...> : process_lists<Rest...>
{
    using heard = event_list<Es...>;
};
template <class... Es, class... Rest>
struct process_lists<records<Es...>, Rest...> : process_lists<Rest...>
{
    using events = event_list<Es...>;
};
template <class... As, class... Rest>
struct process_lists<sends_to<As...>, Rest...> : process_lists<Rest...>
{
    using aggregates = sends_to<As...>;
};

}  // namespace detail

/// State that reacts to what happens elsewhere: what comes next is somebody else's to do.
///
/// A process manager is any default-constructible struct that
///   - derives from process_manager<listens_to<...>, records<...>, sends_to<...>>;
///   - says, for each event that it listens to, which process the event is part of, if any:
///         static std::optional<std::string> process_of(Event::Reader);
///     or, where the stream that the event is in says it:
///         static std::optional<std::string> process_of(Event::Reader, const cairn::stream_id&);
///   - reacts to it:     reaction react(Event::Reader) const;
///   - to its timers:    reaction react(const cairn::timer_fired&) const;      if it sets any
///   - to refusals:      reaction react(const cairn::command_refused&) const;  if it cares
///   - applies its own events, as an aggregate does: void apply(OwnEvent::Reader).
///
/// There is one for each process: its state is its own events, a stream of that id. All of it is
/// pure. What it returns is carried out by a process_runner, exactly once.
///
/// Threads   Cairn uses a process manager from one thread at a time.
/// Lifetime  A Reader is good until the call returns; keep values, not Readers.
/// Errors    A throw means a bug: nothing is recorded, and the runner stops and says so.
template <class... Lists>
struct process_manager
{
    using heard      = typename detail::process_lists<Lists...>::heard;
    using events     = typename detail::process_lists<Lists...>::events;
    using aggregates = typename detail::process_lists<Lists...>::aggregates;
    using reaction   = cairn::reaction<events, aggregates>;
};

// clang-format off

/// P says which process an E is part of: by the event, or by its stream too.
template <class P, class E>
concept assigns = requires(typename E::Reader event) {
    { P::process_of(event) } -> std::convertible_to<std::optional<std::string>>;
} || requires(typename E::Reader event, const stream_id& from) {
    { P::process_of(event, from) } -> std::convertible_to<std::optional<std::string>>;
};

/// P reacts to Cause: an event's Reader, timer_fired, command_refused.
template <class P, class Cause>
concept reacts_to = requires(const P& state, const Cause& cause) {
    { state.react(cause) } -> std::same_as<typename P::reaction>;
};

/// P lists what it listens to, and reacts.
template <class P>
concept is_process_manager = foldable<P> && requires {
    typename P::heard;
    typename P::reaction;
};

// clang-format on

namespace detail {

// No part of the concepts, so that the compiler names the event.
template <class P, class E>
struct must_assign
{
    static_assert(assigns<P, E>,
                  "it listens to this event, and has no `static std::optional<std::string> "
                  "process_of(Event::Reader)`");
};
template <class P, class E>
struct must_react
{
    static_assert(reacts_to<P, typename E::Reader>,
                  "it listens to this event, and has no `reaction react(Event::Reader) const`");
};

template <class P, class E>
std::optional<std::string> process_id_of(typename E::Reader event, const stream_id& from)
{
    if constexpr (requires { P::process_of(event, from); })
        return P::process_of(event, from);
    else
        return P::process_of(event);
}

template <class P, class... Heard>
consteval bool reacts_to_each(event_list<Heard...>)
{
    static_assert(sizeof...(Heard) > 0, "it listens to nothing: name events in listens_to<...>");
    return ((sizeof(must_assign<P, Heard>) && sizeof(must_react<P, Heard>)) && ...);
}

}  // namespace detail

}  // namespace cairn
