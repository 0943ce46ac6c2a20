// SPDX-License-Identifier: Apache-2.0
//
// What flows are made of: stages, each a function of what comes to it, where it comes from, and
// what is next; an operator that puts one behind the other; and ends.
#pragma once

#include <cairn/projections/windowed_table.hpp>

#include <cairn/framework/origin.hpp>

#include <algorithm>
#include <concepts>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cairn::detail {

/// What is said around the element that flows.
struct flow_context
{
    const origin& from;
    timestamp     time;
};

/// Behind group_by().
template <class Key, class Value>
struct keyed
{
    Key   key;
    Value value;
};
/// Behind sum() and the like: how two of them become one.
template <class Key, class Value, class Merge>
struct folded
{
    Key          key;
    Value        value;
    const Merge& merge;
};
template <class T>
inline constexpr bool is_keyed = false;
template <class Key, class Value>
inline constexpr bool is_keyed<keyed<Key, Value>> = true;
template <class T>
inline constexpr bool is_folded = false;
template <class Key, class Value, class Merge>
inline constexpr bool is_folded<folded<Key, Value, Merge>> = true;

template <class T>
inline constexpr bool is_event = false;
template <class E>
inline constexpr bool is_event<event<E>> = true;

/// F takes T: a function, or a member of T as &ItemSold::Reader::getSku.
template <class F, class T>
concept takes =
    std::invocable<const F&, const T&> || std::invocable<const F&, const T&, const origin&>;

template <class F, class T>
decltype(auto) apply_to(const F& f, const T& value, const flow_context& c)
{
    static_assert(takes<F, T>,
                  "a function of the flow does not take what comes to it: `f(element)` "
                  "or `f(element, const cairn::origin&)`");
    if constexpr (std::invocable<const F&, const T&, const origin&>)
        return std::invoke(f, value, c.from);
    else
        return std::invoke(f, value);
}
template <class F, class T>
using result_of = std::remove_cvref_t<decltype(apply_to(
    std::declval<const F&>(), std::declval<const T&>(), std::declval<const flow_context&>()))>;

/// Numbers as numbers; all else as it converts by itself.
template <class To, class From>
To converted(const From& from)
{
    static_assert(std::convertible_to<const From&, To>,
                  "what the flow makes is no key, or no value, of the table at its end");
    if constexpr (std::is_arithmetic_v<To> && std::is_arithmetic_v<From>)
        return static_cast<To>(from);
    else
        return from;
}

// ---- Stages: out<T> is what becomes of a T. ---------------------------------------------------

template <class F>
struct filter_stage
{
    using is_stage = void;
    F keep;

    template <class T>
    using out = T;

    template <class T, class Next>
    void operator()(const T& value, const flow_context& c, const Next& next) const
    {
        static_assert(std::convertible_to<result_of<F, T>, bool>,
                      "filter(f): f says yes or no, and this one does not");
        if (apply_to(keep, value, c)) next(value, c);
    }
};

template <class F>
struct map_stage
{
    using is_stage = void;
    F function;

    template <class T>
    using out = result_of<F, T>;

    template <class T, class Next>
    void operator()(const T& value, const flow_context& c, const Next& next) const
    {
        const out<T> made = apply_to(function, value, c);
        next(made, c);
    }
};

template <class F>
struct time_stage
{
    using is_stage = void;
    F time;

    template <class T>
    using out = T;

    template <class T, class Next>
    void operator()(const T& value, const flow_context& c, const Next& next) const
    {
        using time_type = result_of<F, T>;
        static_assert(std::same_as<time_type, timestamp> || std::integral<time_type>,
                      "timed_by(f): f gives a cairn::timestamp, or milliseconds since 1970");
        next(value, flow_context{c.from, timestamp{apply_to(time, value, c)}});
    }
};

template <class F>
struct key_stage
{
    using is_stage = void;
    F key;

    template <class T>
    using out = keyed<result_of<F, T>, T>;

    template <class T, class Next>
    void operator()(const T& value, const flow_context& c, const Next& next) const
    {
        next(out<T>{apply_to(key, value, c), value}, c);
    }
};

/// With the row of a table that is there when it comes; without one it ends here, or goes on if
/// `always`.
template <class Table, class F, bool always>
struct join_stage
{
    using is_stage = void;
    const Table* table;
    F            key;

    using row_type = typename Table::value_type;
    template <class T>
    using out = std::pair<T, std::conditional_t<always, std::optional<row_type>, row_type>>;

    template <class T, class Next>
    void operator()(const T& value, const flow_context& c, const Next& next) const
    {
        auto found = table->find(converted<typename Table::key_type>(apply_to(key, value, c)));
        if constexpr (always)
            next(out<T>{value, std::move(found)}, c);
        else if (found)
            next(out<T>{value, std::move(*found)}, c);
    }
};

template <class F, class Merge>
struct fold_stage
{
    using is_stage = void;
    F     value_of;
    Merge merge;

    template <class T>
    struct made
    {
        static_assert(is_keyed<T>,
                      "count(), sum(), min(), max(), reduce() and newest() are by "
                      "key: put group_by() before");
    };
    template <class Key, class T>
    struct made<keyed<Key, T>>
    {
        using type = folded<Key, result_of<F, T>, Merge>;
    };
    template <class T>
    using out = typename made<T>::type;

    template <class T, class Next>
    void operator()(const T& in, const flow_context& c, const Next& next) const
    {
        next(out<T>{in.key, apply_to(value_of, in.value, c), merge}, c);
    }
};

// ---- Ends. --------------------------------------------------------------------------------------

template <class Table>
struct table_end
{
    using is_end = void;
    Table* table;

    template <class T>
    void operator()(const T& in, const flow_context& c) const
    {
        static_assert(is_folded<T>,
                      "into() keeps what count(), sum(), min(), max(), reduce() or "
                      "newest() makes: put one before");
        using value_type = typename Table::value_type;
        const auto key   = converted<typename Table::key_type>(in.key);
        const auto now   = converted<value_type>(in.value);
        const auto merge = [&](const value_type& a, const value_type& b) -> value_type {
            return converted<value_type>(in.merge(a, b));
        };
        if constexpr (requires { table->add(key, c.time, now, merge); })
            table->add(key, c.time, now, merge);
        else
            table->combine(key, now, merge);
    }
};

struct topic_end
{
    using is_end = void;
    table_access* access;
    std::string   topic;

    template <class T>
    void operator()(const T& in, const flow_context& c) const
    {
        static_assert(is_keyed<T>,
                      "to_topic() needs the key that its events are to have: put "
                      "group_by() before");
        static_assert(is_event<decltype(in.value)>,
                      "to_topic() takes events: map() to cairn::event<E> before group_by()");
        const auto copy = [](const std::optional<bytes_view>& b) {
            return b ? std::optional<std::string>{*b} : std::nullopt;
        };
        access->post({{topic, converted<std::string>(in.key)},
                      in.value,
                      c.time,
                      {std::string{c.from.topic()}, c.from.partition()},
                      c.from.offset(),
                      {.correlation_id = copy(c.from.correlation_id()),
                       .causation_id   = copy(c.from.id()),
                       .trace_parent   = copy(c.from.trace_parent())}});
    }
};

// ---- A flow. ------------------------------------------------------------------------------------

// clang-format off
template <class T>
concept is_stage = requires { typename T::is_stage; };
template <class T>
concept is_end = requires { typename T::is_end; };
// clang-format on

template <class E>
using flow_list = std::vector<std::function<void(const typename E::Reader&, const flow_context&)>>;

/// As far as it is written: `feed` hands on what has become of an event E, which is a T. With its
/// end it goes into `all`.
template <class E, class T, class Feed>
struct [[nodiscard("a flow ends in into() or to_topic()")]] flow
{
    flow_list<E>* all;
    Feed          feed;
};

template <class E, class T, class Feed, is_stage Stage>
auto operator|(flow<E, T, Feed> before, Stage stage)
{
    auto feed = [feed = std::move(before.feed), stage = std::move(stage)](
                    const typename E::Reader& e, const flow_context& from, const auto& next) {
        feed(e, from, [&](const T& value, const flow_context& c) { stage(value, c, next); });
    };
    return flow<E, typename Stage::template out<T>, decltype(feed)>{before.all, std::move(feed)};
}

template <class E, class T, class Feed, is_end End>
void operator|(flow<E, T, Feed> before, End end)
{
    before.all->push_back(
        [feed = std::move(before.feed), end = std::move(end)](
            const typename E::Reader& e, const flow_context& c) { feed(e, c, end); });
}

}  // namespace cairn::detail
