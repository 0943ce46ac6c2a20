// SPDX-License-Identifier: Apache-2.0
//
// What the tables of a projection read and write: a reader, or a writer with what is not yet
// committed before it.
#pragma once

#include <cairn/projections/detail/feed_lines.hpp>
#include <cairn/projections/detail/flow_output.hpp>
#include <cairn/projections/table_store.hpp>

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace cairn {

class projection_base;

namespace detail {

/// A literal that stands for a std::string.
template <class T>
decltype(auto) as_key_field(const T& field)
{
    if constexpr (std::is_convertible_v<const T&, std::string_view> &&
                  !std::is_same_v<T, std::string>)
        return std::string{std::string_view{field}};
    else
        return (field);
}

/// What comes after all keys that begin so; none: nothing does.
std::optional<std::string> after_prefix(std::string prefix);

/// What a row of a table has to do with the partitions of the log.
enum class row_rule {
    in_order,  ///< it may depend on events of several, in the order of their positions
    apart,     ///< it belongs to the events of one
    merged,    ///< what each makes of it is merged
};

/// Adds to a row of its table what events of another partition made of it.
using row_merge = std::function<void(bytes_view key, bytes_view more)>;

/// Invariants
///   - What was put or erased is found so, until it is dropped.
///   - What was read is remembered from commit to commit, as long as nobody else writes: a batch
///     does not look up again what the one before it looked up.
///
/// Threads   One at a time.
/// Lifetime  Not longer than what it reads.
/// Errors    not_reading, not_writing, key_too_long, and the store's.
class table_access
{
public:
    /// A row in memory.
    struct entry
    {
        std::string                key;
        std::optional<std::string> value;  ///< none: there is no such row
        bool                       changed = false;
    };

    /// Makes a table; returns its number. Column names may be fewer than columns.
    std::size_t add(table_shape shape, std::vector<std::string> columns,
                    row_rule rule = row_rule::in_order, row_merge merge = {});

    const std::vector<table_shape>& shapes() const noexcept { return shapes_; }
    row_rule                        rule(std::size_t table) const noexcept { return rules_[table]; }

    /// From now on rows that are merged begin anew with each batch, and merge_into() takes them.
    void be_a_part() noexcept { is_part_ = true; }
    bool is_part() const noexcept { return is_part_; }

    /// Merges what events of other partitions made into the rows that are here.
    void merge(std::size_t table, bytes_view key, bytes_view more) { merges_[table](key, more); }

    /// Throws invalid_argument where on() may not read, or set, rows of that table.
    void check_not_merged(std::size_t table) const;

    /// From now on this is read; null: nothing is.
    void read(table_reader* from) noexcept
    {
        reader_  = from;
        writing_ = false;
    }
    /// And changes are kept.
    void write(table_reader* from) noexcept
    {
        reader_  = from;
        writing_ = true;
    }

    /// Good until the next call.
    std::optional<bytes_view>   find(std::size_t table, bytes_view key);
    std::unique_ptr<row_cursor> scan(std::size_t table, key_range rows);
    std::uint64_t               count(std::size_t table);

    /// The row as it is; what `value` is made then it is from now on. Good until committed() or
    /// forget().
    entry& change(std::size_t table, bytes_view key);
    /// The same where nobody asks what it was.
    entry& replace(std::size_t table, bytes_view key);

    /// A flow ends in a topic: what is handled may post().
    void be_posting() noexcept { posts_ = true; }
    bool posts() const noexcept { return posts_; }

    /// Goes to a topic with what is committed next.
    void post(flow_output o);

    const std::vector<flow_output>& outputs() const noexcept { return outputs_; }

    /// So do these lines.
    feed_lines&       feeds() noexcept { return feeds_; }
    const feed_lines& feeds() const noexcept { return feeds_; }

    /// What has changed, sorted. Good until the next change.
    std::vector<row_change> changes() const;
    std::size_t             change_bytes() const noexcept { return bytes_ + feeds_.bytes(); }

    /// The changes are in the store now.
    void committed() noexcept;
    /// They are not, and somebody else may have written.
    void forget() noexcept;

private:
    struct hash
    {
        std::size_t operator()(std::string_view s) const noexcept
        {
            return std::hash<std::string_view>{}(s);
        }
    };
    struct rows_in_memory
    {
        std::deque<entry>                                         entries;
        boost::unordered_flat_map<std::string_view, entry*, hash> by_key;
        std::vector<entry*>                                       changed;
    };

    table_reader& reading() const;
    void          check_change(std::size_t table, bytes_view key) const;
    entry&        known(std::size_t table, bytes_view key, bool read);

    std::vector<table_shape>    shapes_;
    std::vector<row_rule>       rules_;
    std::vector<row_merge>      merges_;
    std::vector<rows_in_memory> rows_;
    std::vector<flow_output>    outputs_;
    feed_lines                  feeds_;
    std::string                 found_;
    table_reader*               reader_    = nullptr;
    bool                        writing_   = false;
    bool                        is_part_   = false;
    bool                        posts_     = false;
    std::size_t                 bytes_     = 0;  // changed
    std::size_t                 in_memory_ = 0;  // bytes, of all entries
};

table_access& access_of(projection_base& of) noexcept;

}  // namespace detail

/// What a projection's tables belong to.
class projection_base
{
public:
    projection_base()                                  = default;
    projection_base(const projection_base&)            = delete;
    projection_base& operator=(const projection_base&) = delete;

private:
    template <class, class>
    friend class table;
    friend detail::table_access& detail::access_of(projection_base&) noexcept;

    detail::table_access access_;
};

inline detail::table_access& detail::access_of(projection_base& of) noexcept
{
    return of.access_;
}

}  // namespace cairn
