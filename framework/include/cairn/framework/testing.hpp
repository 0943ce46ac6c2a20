// SPDX-License-Identifier: Apache-2.0
//
// Tests that read like the business. For any test framework that can print a value:
//
//     CHECK(given<Order>(order_placed("Ada"))
//               .when(AddItem{.sku = "lamp", .quantity = 2, .unit_cents = 30'00})
//               .then(item_added("lamp", 2, 30'00)));
#pragma once

#include <cairn/framework/aggregate.hpp>
#include <cairn/framework/decider.hpp>
#include <cairn/framework/repository.hpp>

#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::testing {

/// Whether it came as it should, and if not, what came instead.
struct verdict
{
    bool        ok = true;
    std::string what{};  ///< both lists of events, the difference marked

    explicit operator bool() const noexcept { return ok; }
    friend std::ostream& operator<<(std::ostream& out, const verdict& v);
};

namespace detail {

verdict expect_events(const any_decision& got, const std::vector<any_event>& wanted);
verdict expect_rejection(const any_decision& got, std::string_view reason);

}  // namespace detail

/// What a command came to.
class decided
{
public:
    explicit decided(any_decision got) : got_{std::move(got)} {}

    /// Exactly these happened, in this order.
    template <class... Es>
        requires(sizeof...(Es) > 0)
    verdict then(const event<Es>&... happened) const
    {
        return detail::expect_events(got_, {happened...});
    }

    verdict then_nothing() const { return detail::expect_events(got_, {}); }

    /// It was refused, with this reason; or with any.
    verdict then_rejected(std::string_view reason) const
    {
        return detail::expect_rejection(got_, reason);
    }
    verdict then_rejected() const { return detail::expect_rejection(got_, {}); }

private:
    any_decision got_;
};

namespace detail {

/// The stream's id that one of the events names with $Cairn.key, or one of those that are decided.
std::optional<std::string> key_of(const event_store&                             store,
                                  const cairn::detail::aggregate_type&           type,
                                  const std::vector<any_event>&                  happened,
                                  const cairn::detail::repository_core::decide& ask);

/// Records the events in a stream of their own, whose topic is made: in "spec", or, where the
/// stream's id is `key`, in a topic that is new.
stream_id record_given(const event_store& store, const std::vector<any_event>& happened,
                       const std::optional<std::string>& key);

/// What the stream has from a version on, of these types.
std::vector<any_event> read_events(const event_store& store, const stream_id& stream,
                                   version from, const std::vector<capnp::StructSchema>& types);

/// A log in memory in which these happened: each in the stream that it names with $Cairn.key, and
/// where it names none, in one of all others.
event_store store_of(const std::vector<any_event>& happened);

void record_in(const event_store& store, const stream_id& stream,
               const std::vector<any_event>& happened);

}  // namespace detail

/// The same, on a log: through a repository, and read again from what was recorded. Where events
/// name their stream with $Cairn.key, those of the history or else those that are decided, it is
/// that aggregate that is asked.
template <is_aggregate A>
class recorded_history
{
public:
    recorded_history(event_store store, std::vector<any_event> happened)
        : store_{std::move(store)}, happened_{std::move(happened)}
    {
    }

    template <class Command>
        requires decides<A, Command>
    decided when(const Command& command) const
    {
        const auto type = cairn::detail::describe<A>(typename A::events{});
        const auto key  = detail::key_of(store_, type, happened_, [&](const void* state) {
            return static_cast<const A*>(state)->decide(command).release();
        });
        const auto    stream = detail::record_given(store_, happened_, key);
        repository<A> all{store_, stream.topic};
        any_decision  got;
        if (const auto result = all.execute(stream.key, command); !result)
            got.rejected = result.error();
        const version from{static_cast<std::int64_t>(happened_.size())};
        got.events = detail::read_events(store_, stream, from, type.schemas);
        return decided{std::move(got)};
    }

private:
    event_store            store_;
    std::vector<any_event> happened_;
};

/// An aggregate of which something has happened.
template <is_aggregate A>
class history
{
public:
    template <class... Es>
    explicit history(const event<Es>&... happened) : happened_{happened...}
    {
        static_assert(cairn::detail::applies_each<A>(typename A::events{}));
        static_assert((A::events::template has<Es> && ...),
                      "given() has an event that the aggregate does not list");
        (state_.apply(happened.read()), ...);
    }

    template <class Command>
        requires decides<A, Command>
    decided when(const Command& command) const
    {
        return decided{state_.decide(command).release()};
    }

    /// The same on a log, in memory or on disk: what is recorded there is compared.
    recorded_history<A> on(const event_store& store) const { return {store, happened_}; }

    const A& state() const noexcept { return state_; }

private:
    A                      state_;
    std::vector<any_event> happened_;
};

/// The aggregate after these events; none: one that is new.
template <is_aggregate A, class... Es>
history<A> given(const event<Es>&... happened)
{
    return history<A>{happened...};
}

/// Events of many streams, of which a decision over several of them is to be made. They are
/// recorded in a log in memory, or in one that is given.
///
///     CHECK(given_all(seats_offered("maths", 1), student_enrolled("maths", "ada"))
///               .when(enrol("maths", "bob"), from_tags<Seats>("course:maths"),
///                     from_tags<Courses>("student:bob"))
///               .then_rejected("the course is full"));
///
/// Invariants
///   - when() records nothing: the next one is of the same world.
///
/// Threads   One.
/// Lifetime  A handle on its log.
/// Errors    As decider::execute().
class world
{
public:
    world();
    explicit world(event_store store);

    /// Adds events of one stream; the topic is made.
    template <class... Es>
    world& in(const stream_id& stream, const event<Es>&... happened)
    {
        detail::record_in(store_, stream, {happened...});
        return *this;
    }

    /// `decide` takes the states in the order of the sources.
    template <class Decide, foldable... States>
    decided when(const Decide& decide, const source<States>&... sources) const
    {
        any_decision got;
        decider      by{store_, "spec"};
        (void)by.execute(
            "decision",
            [&](const States&... states) {
                auto d = decide(states...);
                got    = decltype(d){d}.release();
                return decltype(d){};
            },
            sources...);
        return decided{std::move(got)};
    }

private:
    event_store store_;
};

/// A world in which these happened, one after the other: in the streams that they name, or in one.
template <class... Es>
world given_all(const event<Es>&... happened)
{
    return world{detail::store_of({happened...})};
}

}  // namespace cairn::testing
