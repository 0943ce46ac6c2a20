// SPDX-License-Identifier: Apache-2.0
//
// Keys and values of tables as JSON.
#pragma once

#include <cairn/projections/detail/row_codec.hpp>

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cairn::detail {

/// In quotes. What is no UTF-8 is replaced by U+FFFD.
void put_json_text(std::string& out, bytes_view text);
/// The shortest that reads as the same number; null where it is none.
void put_json_number(std::string& out, double n);
void put_json_number(std::string& out, float n);

template <class T>
inline constexpr bool is_row = (tuple_row<T> || struct_row<T>)&&!log_number<T>;

template <class T>
void put_json(std::string& out, const T& value)
{
    const auto list = [&](const auto& each_of) {
        out += '[';
        bool more = false;
        each_of([&](const auto& each) {
            if (std::exchange(more, true)) out += ',';
            put_json(out, each);
        });
        out += ']';
    };
    if constexpr (log_number<T>)
        out += std::to_string(value.value);
    else if constexpr (is_time<T>)
        out += std::to_string(static_cast<std::int64_t>(value.time_since_epoch().count()));
    else if constexpr (std::is_same_v<T, bool>)
        out += value ? "true" : "false";
    else if constexpr (std::is_enum_v<T>)
        put_json(out, static_cast<std::underlying_type_t<T>>(value));
    else if constexpr (std::is_floating_point_v<T>)
        put_json_number(out, value);
    else if constexpr (std::is_signed_v<T>)
        out += std::to_string(static_cast<std::int64_t>(value));
    else if constexpr (std::is_unsigned_v<T>)
        out += std::to_string(static_cast<std::uint64_t>(value));
    else if constexpr (std::is_same_v<T, std::string>)
        put_json_text(out, value);
    else if constexpr (is_a<T, std::optional>) {
        if (value)
            put_json(out, *value);
        else
            out += "null";
    } else if constexpr (is_a<T, std::vector>)
        list([&](const auto& f) {
            for (const typename T::value_type each : value) f(each);  // a copy: vector<bool>
        });
    else if constexpr (is_a<T, std::map>) {
        if constexpr (std::is_same_v<typename T::key_type, std::string>) {
            out += '{';
            bool more = false;
            for (const auto& [key, mapped] : value) {
                if (std::exchange(more, true)) out += ',';
                put_json_text(out, key);
                out += ':';
                put_json(out, mapped);
            }
            out += '}';
        } else
            list([&](const auto& f) {
                for (const auto& each : value) f(each);
            });
    } else {
        static_assert(is_row<T>, "no value of a feed: take what a table takes");
        list([&](const auto& f) { for_each_column(value, f); });
    }
}

/// f of each column, as columns_of() has them.
template <bool all_the_way, class T, class F>
void for_each_json_column(const T& row, const F& f)
{
    if constexpr (is_row<T>)
        for_each_column(row, [&]<class Field>(const Field& field) {
            if constexpr (all_the_way && is_row<Field>)
                for_each_json_column<true>(field, f);
            else
                f(field);
        });
    else
        f(row);
}

/// One column as it is, several as an object.
template <bool all_the_way, class T>
void put_json_row(std::string& out, const std::vector<column>& columns, const T& row)
{
    if (columns.size() == 1)
        return for_each_json_column<all_the_way>(row,
                                                 [&](const auto& field) { put_json(out, field); });
    out += '{';
    std::size_t n = 0;
    for_each_json_column<all_the_way>(row, [&](const auto& field) {
        if (n > 0) out += ',';
        put_json_text(out, columns[n++].name);
        out += ':';
        put_json(out, field);
    });
    out += '}';
}

}  // namespace cairn::detail
