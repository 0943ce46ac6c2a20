// SPDX-License-Identifier: Apache-2.0
//
// What the tables of a projection read and write: a reader, or a writer with what is not yet
// committed before it.
#pragma once

#include <cairn/projections/table_store.hpp>

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>
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

/// Invariants
///   - What was put or erased is found so, until it is taken or dropped.
///
/// Threads   One at a time.
/// Errors    not_writing, key_too_long, and the store's.
class table_access
{
public:
    /// Makes a table; returns its number. Column names may be fewer than columns.
    std::size_t add(table_shape shape, std::vector<std::string> columns);

    const std::vector<table_shape>& shapes() const noexcept { return shapes_; }

    /// From now on this is read; null: nothing is.
    void read(table_reader* from) noexcept
    {
        reader_   = from;
        writing_  = false;
    }
    /// And changes are kept.
    void write(table_reader* from) noexcept
    {
        reader_  = from;
        writing_ = true;
    }

    /// Good until the next call.
    std::optional<bytes_view>   find(std::size_t table, bytes_view key);
    void                        put(std::size_t table, bytes_view key, std::string value);
    void                        erase(std::size_t table, bytes_view key);
    std::unique_ptr<row_cursor> scan(std::size_t table, key_range rows);
    std::uint64_t               count(std::size_t table);

    /// What has changed, sorted. Good until the next change.
    std::vector<row_change> changes() const;
    std::size_t             change_bytes() const noexcept { return bytes_; }
    void                    drop_changes() noexcept;

private:
    struct hash
    {
        using is_transparent = void;
        std::size_t operator()(std::string_view s) const noexcept
        {
            return std::hash<std::string_view>{}(s);
        }
    };
    using changed_rows = boost::unordered_flat_map<std::string, std::optional<std::string>, hash,
                                                   std::equal_to<>>;

    table_reader& reading() const;
    changed_rows& writing(std::size_t table, bytes_view key);

    std::vector<table_shape>  shapes_;
    std::vector<changed_rows> changed_;
    std::string               found_;
    table_reader*             reader_  = nullptr;
    bool                      writing_ = false;
    std::size_t               bytes_   = 0;
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
