// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/framework/decision.hpp>  // decision, reject
#include <cairn/framework/event.hpp>     // event, event_list

#include <concepts>

namespace cairn {

/// State that decides what happens next, and is rebuilt from what has happened.
///
/// An aggregate is any default-constructible struct that
///   - lists its events by deriving from aggregate<Events...>;
///   - decides:  decision decide(const Command&) const;  — may refuse, may not change;
///   - applies:  void apply(Event::Reader);              — may change, may not refuse.
///
/// The signatures carry the rule: decide() is const, so it cannot change the state, and
/// apply() returns nothing, so it cannot refuse what has already happened. Both are pure.
/// What they need from the world, such as the time, arrives in the command.
///
/// Commands are plain structs, for they are never stored. Events are Cap'n Proto structs,
/// for they are stored for ever.
///
/// Threads   Cairn uses an aggregate from one thread at a time.
/// Lifetime  A Reader is good until apply() returns; keep values, not Readers.
/// Errors    Return reject(why) when a rule of the business forbids it. A throw means a
///           bug: the command fails and nothing is recorded.
template <event_struct... Events>
struct aggregate
{
    using events   = event_list<Events...>;
    using decision = cairn::decision<Events...>;
};

// clang-format off

/// A can be asked C.
template <class A, class C>
concept decides = requires(const A& state, const C& command) {
    { state.decide(command) } -> std::same_as<typename A::decision>;
};

/// A is changed by E.
template <class A, class E>
concept applies = requires(A& state, typename E::Reader event) {
    { state.apply(event) } -> std::same_as<void>;
};

/// S lists the events that change it: an aggregate, or what derives from folds<Events...>.
template <class S>
concept foldable = requires { typename S::events; };

/// A lists its events and decides.
template <class A>
concept is_aggregate = foldable<A> && requires { typename A::decision; };

// clang-format on

namespace detail {

// No part of the concepts, so that the compiler names what is missing, and the event.
template <class A>
struct must_begin
{
    static_assert(std::default_initializable<A>,
                  "it begins as `A{}`, before its first event, and has no default constructor");
};

template <class A, class E>
struct must_apply
{
    static_assert(applies<A, E>, "it lists this event, and has no `void apply(Event::Reader)`");
};

template <class A, class... Events>
consteval bool applies_each(event_list<Events...>)
{
    return sizeof(must_begin<A>) && (sizeof(must_apply<A, Events>) && ...);
}

}  // namespace detail

}  // namespace cairn
