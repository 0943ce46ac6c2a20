// SPDX-License-Identifier: Apache-2.0
//
// Decisions over several aggregates, or over whatever events a rule is about.
#pragma once

#include <cairn/framework/aggregate.hpp>
#include <cairn/framework/repository.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace cairn {

/// State for one decision: what it is about of what has happened. It lists its events, as an
/// aggregate does, and applies them; it decides nothing by itself.
///
///     struct Seats : cairn::folds<SeatsOffered, StudentEnrolled>
///     {
///         std::uint32_t free = 0;
///         void apply(SeatsOffered::Reader e) { free += e.getSeats(); }
///         void apply(StudentEnrolled::Reader) { --free; }
///     };
template <event_struct... Events>
struct folds
{
    using events = event_list<Events...>;
};

/// Where the state of a decision comes from: a stream, or tags.
template <foldable S>
struct source
{
    std::optional<stream_id> stream{};
    std::vector<std::string> tags{};
};

/// S as one stream says: an aggregate of a repository.
template <foldable S>
source<S> from_stream(std::string topic, std::string id)
{
    return {stream_id{std::move(topic), std::move(id)}, {}};
}

/// S as all events of its list say that have each of these tags, in whatever topic and stream.
template <foldable S, class... Tags>
source<S> from_tags(Tags... tags)
{
    return {std::nullopt, {std::string{std::move(tags)}...}};
}

namespace detail {

/// A source without its type.
struct any_source
{
    aggregate_type           type;
    std::optional<stream_id> stream;
    std::vector<std::string> tags;
};

class decider_core
{
public:
    decider_core(event_store store, std::string topic, repository_options o);
    ~decider_core();

    /// Decides on the states, which are in the order of the sources.
    using decide = std::function<any_decision(const std::vector<void*>& states)>;

    execute_result execute(const std::vector<any_source>& sources, const decide& ask,
                           const std::optional<std::string>& id, const command_context& context);

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace detail

/// Decides over several streams and tags at once: what it read is what it depends on.
///
///     cairn::decider enrolments{log, "enrolments"};
///     auto enrolled = enrolments.execute(
///         student,  // the stream that it is recorded in
///         [&](const Seats& seats, const Courses& courses) -> cairn::decision<StudentEnrolled> {
///             if (seats.free == 0) return cairn::reject("the course is full");
///             if (courses.taken >= 5) return cairn::reject("five courses are enough");
///             return student_enrolled(student, course);
///         },
///         cairn::from_tags<Seats>("course:" + course),
///         cairn::from_tags<Courses>("student:" + student));
///
/// Invariants
///   - What was read is the append's condition (a dynamic consistency boundary): if anything
///     that matches was recorded since, wherever, it is decided again. No write skew.
///   - All states are of one moment, and of all that there was: where an event that a source asks
///     for was removed, with its topic too, nothing is decided (events_removed).
///   - All events of a decision are recorded, or none.
///
/// Threads   Any. Decisions that read nothing in common do not wait for each other.
/// Lifetime  Keeps the log open; a copy of the handle is enough.
/// Errors    As repository::execute().
class decider
{
public:
    /// What is decided is recorded in that topic.
    decider(const event_store& store, std::string topic, repository_options o = {})
        : core_{store, std::move(topic), std::move(o)}
    {
    }
    decider(const commit_log& log, std::string topic, repository_options o = {})
        : decider{event_store{log}, std::move(topic), std::move(o)}
    {
    }

    /// `decide` takes the states in the order of the sources, by reference to const, and returns
    /// a decision. It may be called several times. What it decides is recorded in stream `id`.
    /// Without one, in the stream that its first event names with $Cairn.key: illegal_stream_id
    /// where its type has no such field. (The outcome of no event is then at version 0.)
    template <class Decide, foldable... States>
        requires std::invocable<const Decide&, const States&...>
    execute_result execute(const std::string& id, const Decide& decide,
                           const source<States>&... sources)
    {
        return execute(command_context{}, id, decide, sources...);
    }

    template <class Decide, foldable... States>
        requires std::invocable<const Decide&, const States&...>
    execute_result execute(const command_context& context, const std::string& id,
                           const Decide& decide, const source<States>&... sources)
    {
        return execute_in(id, context, decide, sources...);
    }

    template <class Decide, foldable... States>
        requires std::invocable<const Decide&, const States&...>
    execute_result execute(const Decide& decide, const source<States>&... sources)
    {
        return execute(command_context{}, decide, sources...);
    }

    template <class Decide, foldable... States>
        requires std::invocable<const Decide&, const States&...>
    execute_result execute(const command_context& context, const Decide& decide,
                           const source<States>&... sources)
    {
        return execute_in(std::nullopt, context, decide, sources...);
    }

private:
    template <class Decide, class... States>
    execute_result execute_in(const std::optional<std::string>& id, const command_context& context,
                              const Decide& decide, const source<States>&... sources)
    {
        return core_.execute(
            {{detail::describe<States>(typename States::events{}), sources.stream,
              sources.tags}...},
            [&](const std::vector<void*>& states) {
                return call<States...>(decide, states, std::index_sequence_for<States...>{});
            },
            id, context);
    }

    template <class... States, class Decide, std::size_t... I>
    static any_decision call(const Decide& decide, const std::vector<void*>& states,
                             std::index_sequence<I...>)
    {
        return decide(*static_cast<const States*>(states[I])...).release();
    }

    detail::decider_core core_;
};

}  // namespace cairn
