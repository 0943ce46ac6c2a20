// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/projections/detail/flow.hpp>
#include <cairn/projections/projection.hpp>
#include <cairn/projections/windowed_table.hpp>

#include <concepts>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace cairn {

/// The words that flows are written with. Functions take what comes to them, alone or with the
/// const origin& that says where it comes from; a getter will do: &ItemSold::Reader::getSku.
class flow_words : public windowed_projection
{
    template <class F, class Merge>
    static auto fold(F of, Merge merge)
    {
        return detail::fold_stage<F, Merge>{std::move(of), std::move(merge)};
    }

public:
    /// Only what f says yes to goes on.
    template <class F>
    static auto filter(F f)
    {
        return detail::filter_stage<F>{std::move(f)};
    }
    /// What f makes of it goes on.
    template <class F>
    static auto map(F f)
    {
        return detail::map_stage<F>{std::move(f)};
    }
    /// Its time is what f says, a timestamp or milliseconds since 1970; without this it is that of
    /// the record.
    template <class F>
    static auto timed_by(F f)
    {
        return detail::time_stage<F>{std::move(f)};
    }
    /// Goes on in a std::pair with the row of `with` under key(element), as it is when the element
    /// comes; without a row it does not go on.
    template <class Table, class F>
    static auto join(const Table& with, F key)
    {
        return detail::join_stage<Table, F, false>{&with, std::move(key)};
    }
    /// The same, but it goes on always: in a pair with a std::optional.
    template <class Table, class F>
    static auto left_join(const Table& with, F key)
    {
        return detail::join_stage<Table, F, true>{&with, std::move(key)};
    }
    template <class F>
    static auto group_by(F key)
    {
        return detail::key_stage<F>{std::move(key)};
    }

    /// What becomes of the elements of a key; in windows, of those in a window. `of` says what is
    /// added up, compared, kept: the element itself where it is left out.
    static auto count()
    {
        return fold([](const auto&) { return 1; }, std::plus<>{});
    }
    template <class F = std::identity>
    static auto sum(F of = {})
    {
        return fold(std::move(of), std::plus<>{});
    }
    template <class F = std::identity>
    static auto min(F of = {})
    {
        return fold(std::move(of), [](const auto& a, const auto& b) { return b < a ? b : a; });
    }
    template <class F = std::identity>
    static auto max(F of = {})
    {
        return fold(std::move(of), [](const auto& a, const auto& b) { return a < b ? b : a; });
    }
    /// Of those that came last: what other flows join.
    template <class F = std::identity>
    static auto newest(F of = {})
    {
        return fold(std::move(of), [](const auto&, const auto& b) { return b; });
    }
    /// f(so_far, now), of two values of the table.
    template <class Merge, class F = std::identity>
    static auto reduce(Merge f, F of = {})
    {
        return fold(std::move(of), std::move(f));
    }

    /// Ends in a table, or a windowed_table, of the same projection.
    template <class Table>
    static auto into(Table& t)
    {
        return detail::table_end<Table>{&t};
    }
    /// Ends in a topic: what comes, a cairn::event<E> behind group_by(), is recorded there, in the
    /// stream of its key and with its time.
    ///
    /// Such a projection does not park: what an event made that is handled after later ones of its
    /// partition could not be told from what is there. It stops (on_failure::stop) until on() is
    /// mended, or the event is left out with skip().
    auto to_topic(std::string name)
    {
        auto& access = detail::access_of(*this);
        access.be_posting();
        return detail::topic_end{&access, std::move(name)};
    }
};

/// A projection that is written as flows: from events, through stages, into tables and topics.
///
///     struct Sales : cairn::flows<ItemSold>
///     {
///         cairn::table<std::string, std::int64_t>          sold{this, "sold"};
///         cairn::windowed_table<std::string, std::int64_t> by_hour{
///             this, "by_hour", cairn::tumbling(1h).grace(10min)};
///
///         Sales()
///         {
///             from<ItemSold>() | group_by(sku) | sum(quantity) | into(sold);
///             from<ItemSold>() | timed_by(at) | group_by(sku) | count() | into(by_hour);
///             from<ItemSold>() | map(alarm) | group_by(shop) | to_topic("alarms");
///         }
///     };
///
/// It runs where any projection does, and is one: it has tables, a version, const members. What a
/// flow cannot say is said by an on() of one's own, behind `using flows::on`.
///
/// Invariants
///   - Each event flows once through each flow of its type, in the order in which they were
///     written: a join sees what flows before it have made of the same event.
///   - A join sees what was made of the events before this one's position, and of none after it.
///   - The event that a flow makes for a topic is there exactly once, whatever crashes, in a group
///     as well. How far they are is in the log, under the projection's name, of each partition. So
///     a rebuild records none again, nor what other code makes of an event where something is
///     recorded that it, or a later one of its partition, caused.
///   - Those of a batch are recorded at once, before its rows are committed.
///
/// Threads   As projection.
/// Lifetime  As projection. Flows are written in the constructor, once.
/// Errors    As projection; of topics, what the log throws: unknown_topic, record_too_large. A
///           runner of flows that end in a topic throws invalid_argument where it is to park.
template <event_struct... Events>
class flows : public flow_words
{
public:
    using events = event_list<Events...>;

    // clang-format off
    template <class Reader>
        requires(std::same_as<Reader, typename Events::Reader> || ...)
    void on(Reader e, const origin& from)
    // clang-format on
    {
        using list = std::vector<std::function<void(const Reader&, const detail::flow_context&)>>;
        for (const auto& f : std::get<list>(flows_)) f(e, {from, from.time()});
    }

protected:
    template <event_struct E>
    auto from()
    {
        static_assert(events::template has<E>,
                      "a flow is of an event that is not listed: flows<ItemSold, ...>");
        const auto feed = [](const typename E::Reader& e, const detail::flow_context& c,
                             const auto& next) { next(e, c); };
        return detail::flow<E, typename E::Reader, decltype(feed)>{
            &std::get<detail::flow_list<E>>(flows_), feed};
    }

private:
    std::tuple<detail::flow_list<Events>...> flows_;
};

}  // namespace cairn
