// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/projections/table.hpp>

#include <cairn/framework/detail/event_dispatch.hpp>
#include <cairn/framework/event.hpp>  // event_list
#include <cairn/framework/origin.hpp>

#include <concepts>
#include <memory>
#include <vector>

namespace cairn {

/// A read model: what the log says, arranged for a question.
///
/// A projection is any default-constructible struct that
///   - lists the events it wants by deriving from projection<Events...>;
///   - keeps what it learns in tables;
///   - handles each event:  void on(Event::Reader, const origin&);
///   - answers questions in const members.
///
///     struct Revenue : projection<OrderConfirmed>
///     {
///         table<std::string, std::uint64_t> spent{this, "spent"};   // cents, by customer
///
///         void on(OrderConfirmed::Reader e, const origin&)
///         {
///             spent.update(e.getCustomer(), [&](auto& cents) { cents += e.getTotalCents(); });
///         }
///     };
///
/// Where the code changes so that the tables would come out differently, it says so:
///     static constexpr int version = 2;      // 1, where it says nothing
/// and they are built anew.
///
/// Invariants
///   - The tables and the checkpoint are committed together, so each event counts once
///     in the tables, whatever crashes. Effects outside the tables have no such promise.
///   - on() sees the events of one partition in offset order. Between partitions: any order.
///   - Deleting a projection's data loses nothing: it is rebuilt from the log.
///
/// Threads   on() runs on the projection's own thread, never twice at once. const members
///           run on any thread, through view<P>::read(), each reading holding a snapshot.
/// Lifetime  Readers passed to on() are good until it returns. The struct itself comes and goes:
///           what is to be kept is in tables.
/// Errors    A throw from on() rolls the batch back and stops the projection at that
///           event; view<P>::status() says where and why. Nothing is skipped in silence.
template <event_struct... Events>
class projection : public projection_base
{
public:
    using events = event_list<Events...>;
};

// clang-format off

/// P is changed by E.
template <class P, class E>
concept handles = requires(P& state, typename E::Reader event, const origin& from) {
    { state.on(event, from) } -> std::same_as<void>;
};

/// P lists its events.
template <class P>
concept is_projection = std::derived_from<P, projection_base> && std::default_initializable<P> &&
                        requires { typename P::events; };

// clang-format on

namespace detail {

// No part of the concept, so that the compiler names the event.
template <class P, class E>
struct must_handle
{
    static_assert(handles<P, E>,
                  "the projection lists this event, and has no `void "
                  "on(Event::Reader, const cairn::origin&)`");
};

/// What is known of a projection whose type is not.
struct projection_type
{
    std::shared_ptr<projection_base> (*create)();
    /// What handlers are given: `create`d, as its own type.
    void* (*as_itself)(projection_base*);
    std::vector<event_dispatch::entry> handlers;
    int                                code_version = 1;
};

template <class P, class... Events>
projection_type describe_projection(event_list<Events...>)
{
    static_assert(sizeof...(Events) > 0, "it lists no event: projection<OrderPlaced, ...>");
    static_assert((sizeof(must_handle<P, Events>) && ...));
    projection_type t;
    t.create    = []() -> std::shared_ptr<projection_base> { return std::make_shared<P>(); };
    t.as_itself = [](projection_base* p) -> void* { return static_cast<P*>(p); };
    t.handlers  = {{capnp::Schema::from<Events>(),
                    [](void* to, capnp::MessageReader& event, const origin& from) {
                       auto* const                p = static_cast<P*>(to);
                       const feed_lines::of_event lines{access_of(*p).feeds(), from};
                       p->on(event.getRoot<Events>(), from);
                   }}...};
    if constexpr (requires { P::version; }) t.code_version = P::version;
    return t;
}

}  // namespace detail

}  // namespace cairn
