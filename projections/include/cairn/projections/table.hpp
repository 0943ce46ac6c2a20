// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/projections/detail/table_access.hpp>

#include <concepts>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cairn {

/// A row as it was read.
template <class Key, class Value>
struct row
{
    Key   key;
    Value value;

    friend bool operator==(const row&, const row&) = default;
};

/// Rows of a table, in the order of their keys: an input range.
///
/// Threads   One.
/// Lifetime  Not longer than the reading, or the on(), that it was made in; nor past a change of
///           its table.
/// Errors    As the store; damaged_table.
template <class Key, class Value>
class row_range
{
public:
    using cursor_for_row = std::function<row<Key, Value>(bytes_view, bytes_view)>;

    row_range(std::unique_ptr<row_cursor> at, cursor_for_row read)
        : at_{std::move(at)}, read_{std::move(read)}
    {
    }

    class iterator
    {
    public:
        using value_type       = row<Key, Value>;
        using difference_type  = std::ptrdiff_t;
        using iterator_concept = std::input_iterator_tag;

        iterator() = default;
        explicit iterator(row_range& r) : range_{&r} { ++*this; }

        const value_type& operator*() const noexcept { return *range_->current_; }
        const value_type* operator->() const noexcept { return &*range_->current_; }
        iterator&         operator++()
        {
            auto& r = *range_;
            do {
                r.current_.reset();
                if (!r.at_->next()) break;
                r.current_.emplace(r.read_(r.at_->key(), r.at_->value()));
            } while (r.keep_ && !r.keep_(*r.current_));
            return *this;
        }
        void        operator++(int) { ++*this; }
        friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept
        {
            return i.at_end();
        }

    private:
        bool at_end() const noexcept { return !range_->current_; }

        row_range* range_ = nullptr;
    };

    iterator                begin() { return iterator{*this}; }
    std::default_sentinel_t end() const noexcept { return {}; }

    /// Those of them that `keep` says yes to.
    row_range filtered(std::function<bool(const row<Key, Value>&)> keep) &&
    {
        keep_ = std::move(keep);
        return std::move(*this);
    }

private:
    std::unique_ptr<row_cursor>                 at_;
    cursor_for_row                              read_;
    std::function<bool(const row<Key, Value>&)> keep_;
    std::optional<row<Key, Value>>              current_;
};

/// Says of a table that each of its rows belongs to the events of one partition, as where its key
/// is that of the stream: on() of another partition's events neither changes nor reads it.
struct rows_apart_t
{};
inline constexpr rows_apart_t rows_apart{};

/// Says of a table that what the events of several partitions make of a row can be merged:
/// f(Value& into, const Value& more), in any order, where Value{} adds nothing. on() may then only
/// update() or combine() its rows.
template <class F>
struct rows_merged
{
    F merge;
};
template <class F>
rows_merged(F) -> rows_merged<F>;

/// Merged by adding, field by field: of a table of numbers, or structs and tuples of numbers.
inline constexpr rows_merged rows_added_up{
    [](auto& into, const auto& more) { detail::add_up(into, more); }};

/// What a projection keeps: values by key, ordered by key.
///
///     table<std::string, std::uint64_t> spent{this, "spent"};       // cents, by customer
///
///     spent.update(e.getCustomer(), [&](auto& cents) { cents += e.getTotalCents(); });
///     for (const auto& [customer, cents] : spent.rows()) …
///
/// Keys and values are numbers, enums, std::string, times, positions, and std::pair, std::tuple or
/// plain structs of these; values also have std::optional, std::vector and std::map in them.
/// Strings are ordered by their bytes.
///
/// A projection whose tables all say how their rows hang together over partitions is caught up by
/// several threads, each with partitions of its own (projection_options::threads):
///
///     table<std::string, Order>         orders{this, "orders", rows_apart};      // by order
///     table<std::string, std::uint64_t> spent{this, "spent", rows_added_up};     // by customer
///
/// Invariants
///   - Within on(), what was put is found at once. Elsewhere it is seen with its whole batch, or
///     not at all.
///   - Rows come in the order of their keys.
///
/// Threads   Those of its projection.
/// Lifetime  A member of its projection.
/// Errors    As its store; key_too_long; not_writing where it is changed outside of on().
template <class Key, class Value>
class table
{
public:
    using key_type   = Key;
    using value_type = Value;
    using row_type   = row<Key, Value>;

    /// `columns` names those of the key, then those of the value, for stores that have columns;
    /// without them they are key, value, or key_1, key_2, …
    table(projection_base* owner, std::string name, std::vector<std::string> columns = {})
        : access_{owner->access_}, number_{access_.add(shape(std::move(name)), std::move(columns))}
    {
    }
    table(projection_base* owner, std::string name, rows_apart_t,
          std::vector<std::string> columns = {})
        : access_{owner->access_},
          number_{access_.add(shape(std::move(name)), std::move(columns), detail::row_rule::apart)}
    {
    }
    template <class F>
    requires std::invocable<const F&, Value&, const Value&> table(
        projection_base* owner, std::string name, rows_merged<F> merged,
        std::vector<std::string> columns = {})
        : access_{owner->access_},
          number_{access_.add(shape(std::move(name)), std::move(columns), detail::row_rule::merged,
                              [this, f = std::move(merged.merge)](bytes_view key, bytes_view more) {
                                  update(detail::key_from<Key>(key), [&](Value& into) {
                                      f(into, detail::row_from<Value>(more));
                                  });
                              })}
    {
    }
    table(const table&)            = delete;
    table& operator=(const table&) = delete;

    std::optional<Value> find(const Key& key) const
    {
        access_.check_not_merged(number_);
        return found(key);
    }
    bool contains(const Key& key) const
    {
        access_.check_not_merged(number_);
        return access_.find(number_, encoded(key)).has_value();
    }

    void put(const Key& key, const Value& value)
    {
        access_.check_not_merged(number_);
        set(key, value);
    }

    /// change(Value&), of the row or, where there is none, of Value{}.
    template <std::invocable<Value&> Change>
    void update(const Key& key, Change&& change)
    {
        if (has_indexes()) {
            auto value = found(key).value_or(Value{});
            std::forward<Change>(change)(value);
            return set(key, value);
        }
        auto& entry = access_.change(number_, encoded(key));
        auto  value = entry.value ? detail::row_from<Value>(*entry.value) : Value{};
        std::forward<Change>(change)(value);
        assign(entry, value);
    }

    /// The row becomes merge(row, value); where there is none, value.
    template <class Merge>
    requires std::convertible_to<std::invoke_result_t<Merge, const Value&, const Value&>, Value>
    void combine(const Key& key, const Value& value, Merge&& merge)
    {
        if (has_indexes()) {
            const auto was = found(key);
            return set(key, was ? Value(merge(*was, value)) : value);
        }
        auto& entry = access_.change(number_, encoded(key));
        assign(entry,
               entry.value ? Value(merge(detail::row_from<Value>(*entry.value), value)) : value);
    }

    /// Erases a row; none is fine.
    void erase(const Key& key)
    {
        access_.check_not_merged(number_);
        for (const auto& i : indexes_) i->change(key, find(key), nullptr);
        access_.replace(number_, encoded(key)).value.reset();
    }

    /// All; those from a key on; those from a key to before another.
    row_range<Key, Value> rows() const { return range({}); }
    row_range<Key, Value> rows_from(const Key& from) const { return range({encoded_long(from)}); }
    row_range<Key, Value> rows(const Key& from, const Key& to) const
    {
        return range({encoded_long(from), encoded_long(to)});
    }
    /// The same from the greatest key down.
    row_range<Key, Value> rows_backwards() const { return range({{}, {}, true}); }
    row_range<Key, Value> rows_backwards(const Key& from, const Key& to) const
    {
        return range({encoded_long(from), encoded_long(to), true});
    }

    /// Those whose key, a pair, tuple or struct, begins with these fields.
    template <class... Fields>
    row_range<Key, Value> rows_with(const Fields&... first) const
    {
        std::string prefix;
        (detail::put_key(prefix, detail::as_key_field(first)), ...);
        auto end = detail::after_prefix(prefix);
        return range({std::move(prefix), std::move(end)});
    }

    /// How many rows there are. Not for on(): of a store it may take a look at each.
    std::uint64_t size() const
    {
        access_.check_not_merged(number_);
        return access_.count(number_);
    }

    /// Which of its projection's tables it is, from 0.
    std::size_t number() const noexcept { return number_; }

private:
    template <class, class>
    friend class table_index;

    /// What keeps an index as the rows are.
    struct index_keeper
    {
        virtual ~index_keeper() = default;
        virtual void change(const Key& key, const std::optional<Value>& was, const Value* is) = 0;
    };

    static table_shape shape(std::string name)
    {
        return {std::move(name), detail::columns_of<Key, true>(), detail::columns_of<Value>()};
    }

    /// What is a part only has rows of its own; indexes are made of whole ones.
    bool has_indexes() const { return !indexes_.empty() && !is_merged_elsewhere(); }
    bool is_merged_elsewhere() const
    {
        return access_.is_part() && access_.rule(number_) == detail::row_rule::merged;
    }

    std::optional<Value> found(const Key& key) const
    {
        if (const auto bytes = access_.find(number_, encoded(key)))
            return detail::row_from<Value>(*bytes);
        return std::nullopt;
    }
    void set(const Key& key, const Value& value)
    {
        for (const auto& i : indexes_) i->change(key, found(key), &value);
        assign(access_.replace(number_, encoded(key)), value);
    }

    static const std::string& encoded(const Key& key)
    {
        thread_local std::string bytes;
        bytes.clear();
        detail::put_key(bytes, key);
        return bytes;
    }
    static std::string encoded_long(const Key& key) { return encoded(key); }

    static void assign(detail::table_access::entry& to, const Value& value)
    {
        auto& bytes = to.value ? *to.value : to.value.emplace();
        bytes.clear();
        detail::put_row(bytes, value);
    }

    row_range<Key, Value> range(key_range rows) const
    {
        access_.check_not_merged(number_);
        return {
            access_.scan(number_, std::move(rows)), [](bytes_view key, bytes_view value) {
                return row<Key, Value>{detail::key_from<Key>(key), detail::row_from<Value>(value)};
            }};
    }

    detail::table_access&                      access_;
    std::size_t                                number_;
    std::vector<std::shared_ptr<index_keeper>> indexes_;
};

/// The rows of a table by something else than their key.
///
///     table<std::string, Order>                  orders{this, "orders"};
///     table_index<std::string, decltype(orders)> by_customer{
///         orders, "orders_by_customer", [](const auto&, const Order& o) { return o.customer; }};
///
///     for (const auto& [id, order] : by_customer.rows("Ada")) …
///
/// Invariants
///   - It always agrees with its table.
///
/// Threads, Lifetime, Errors   As its table, before which it is not to be declared.
template <class By, class Table>
class table_index
{
public:
    using key_type   = typename Table::key_type;
    using value_type = typename Table::value_type;

    /// `by` says what a row is found by; it depends on nothing else.
    table_index(Table& of, std::string name,
                std::function<By(const key_type&, const value_type&)> by)
        : table_{of},
          number_{of.access_.add(
              {std::move(name), detail::columns_of<std::pair<By, key_type>, true>(), {}, true}, {},
              of.access_.rule(of.number_) == detail::row_rule::in_order ? detail::row_rule::in_order
                                                                        : detail::row_rule::apart)}
    {
        of.indexes_.push_back(std::make_shared<keeper>(of.access_, number_, std::move(by)));
    }
    table_index(const table_index&)            = delete;
    table_index& operator=(const table_index&) = delete;

    /// The rows that are found by it, in the order of their keys.
    row_range<key_type, value_type> rows(const By& by) const
    {
        std::string prefix;
        detail::put_key(prefix, by);
        auto end = detail::after_prefix(prefix);
        return range({std::move(prefix), std::move(end)});
    }
    /// All rows, ordered by it; the same from the greatest down.
    row_range<key_type, value_type> rows() const { return range({}); }
    row_range<key_type, value_type> rows_backwards() const { return range({{}, {}, true}); }

private:
    struct keeper : Table::index_keeper
    {
        keeper(detail::table_access& a, std::size_t n,
               std::function<By(const key_type&, const value_type&)> b)
            : access{a}, number{n}, by{std::move(b)}
        {
        }

        void change(const key_type& key, const std::optional<value_type>& was,
                    const value_type* is) override
        {
            const auto old = was ? entry(key, *was) : std::string{};
            const auto now = is ? entry(key, *is) : std::string{};
            if (old == now) return;
            if (was) access.replace(number, old).value.reset();
            if (is) access.replace(number, now).value.emplace();
        }
        std::string entry(const key_type& key, const value_type& value) const
        {
            std::string bytes;
            detail::put_key(bytes, by(key, value));
            detail::put_key(bytes, key);
            return bytes;
        }

        detail::table_access&                                 access;
        std::size_t                                           number;
        std::function<By(const key_type&, const value_type&)> by;
    };

    row_range<key_type, value_type> range(key_range rows) const
    {
        return {table_.access_.scan(number_, std::move(rows)),
                [&of = table_](bytes_view entry, bytes_view) {
                    detail::row_bytes in{entry};
                    By                by{};
                    key_type          key{};
                    detail::take_key(in, by);
                    detail::take_key(in, key);
                    auto value = of.find(key);
                    if (!value) detail::row_bytes::damaged();
                    return row<key_type, value_type>{std::move(key), std::move(*value)};
                }};
    }

    Table&      table_;
    std::size_t number_;
};

}  // namespace cairn
