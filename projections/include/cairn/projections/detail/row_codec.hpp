// SPDX-License-Identifier: Apache-2.0
//
// Keys and values of tables as bytes, and what their columns are.
#pragma once

#include <cairn/log/error.hpp>
#include <cairn/log/ids.hpp>

#include <boost/pfr.hpp>

#include <bit>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace cairn {

enum class column_type : std::uint8_t {
    boolean,
    integer,  ///< signed, up to 64 bits; also times
    unsigned_integer,
    real,
    text,
    bytes,  ///< what has a structure of its own: lists, maps, structs in structs
};

struct column
{
    std::string  name;
    column_type  type;
    std::uint8_t width    = 0;  ///< of a number, in bytes
    bool         nullable = false;

    friend bool operator==(const column&, const column&) = default;
};

namespace detail {

// ---- What a type is made of. -------------------------------------------------------------------

template <class T, template <class...> class Of>
inline constexpr bool is_a = false;
template <template <class...> class Of, class... Args>
inline constexpr bool is_a<Of<Args...>, Of> = true;

template <class T>
concept tuple_row = is_a<T, std::tuple> || is_a<T, std::pair>;

/// A plain struct, whose fields are the columns.
template <class T>
concept struct_row = std::is_aggregate_v<T> && std::is_class_v<T> && !tuple_row<T>;

template <class T>
concept log_number = requires(T t)
{
    {
        t.value
        } -> std::same_as<std::int64_t&>;
    t.next();
};

template <class T>
inline constexpr bool is_time = false;
template <class Clock, class Duration>
inline constexpr bool is_time<std::chrono::time_point<Clock, Duration>> = true;

template <class T>
concept column_number = std::is_arithmetic_v<T> || std::is_enum_v<T>;

/// Calls f with each field of a struct or tuple; with the value itself where it is neither.
template <class T, class F>
constexpr void for_each_column(T& row, F&& f)
{
    using plain = std::remove_const_t<T>;
    if constexpr (tuple_row<plain>)
        std::apply([&](auto&... each) { (f(each), ...); }, row);
    else if constexpr (struct_row<plain>)
        boost::pfr::for_each_field(row, f);
    else
        f(row);
}

/// A column of type bytes.
template <class T>
inline constexpr bool is_opaque =
    !column_number<T> && !log_number<T> && !is_time<T> && !std::is_same_v<T, std::string>;
template <class T>
inline constexpr bool is_opaque<std::optional<T>> = is_opaque<T> || is_a<T, std::optional>;

template <class T>
column column_of(std::string name)
{
    column c{std::move(name), column_type::bytes};
    if constexpr (std::is_same_v<T, bool>)
        c.type = column_type::boolean;
    else if constexpr (std::is_floating_point_v<T>)
        c.type = column_type::real, c.width = sizeof(T);
    else if constexpr (std::is_enum_v<T>)
        return column_of<std::underlying_type_t<T>>(std::move(c.name));
    else if constexpr (std::is_signed_v<T>)
        c.type = column_type::integer, c.width = sizeof(T);
    else if constexpr (std::is_unsigned_v<T>)
        c.type = column_type::unsigned_integer, c.width = sizeof(T);
    else if constexpr (log_number<T> || is_time<T>)
        c.type = column_type::integer, c.width = 8;
    else if constexpr (std::is_same_v<T, std::string>)
        c.type = column_type::text;
    else if constexpr (is_a<T, std::optional>) {
        if constexpr (!is_a<typename T::value_type, std::optional>) {
            c          = column_of<typename T::value_type>(std::move(c.name));
            c.nullable = true;
        }
    }
    return c;
}

/// Of a value: its fields. Of a key: the fields of its fields too, for these are ordered.
template <class T, bool all_the_way = false>
std::vector<column> columns_of()
{
    std::vector<column> all;
    const auto          add = [&]<class Field>(const Field*) {
        if constexpr (all_the_way && (tuple_row<Field> || struct_row<Field>)&&!log_number<Field> &&
                      !std::is_same_v<Field, T>)
            for (auto& c : columns_of<Field, true>()) all.push_back(std::move(c));
        else
            all.push_back(column_of<Field>({}));
    };
    if constexpr (tuple_row<T>) []<std::size_t... I>(auto& with, std::index_sequence<I...>)
        {
            (with(static_cast<const std::tuple_element_t<I, T>*>(nullptr)), ...);
        }
    (add, std::make_index_sequence<std::tuple_size_v<T>>{});
    else if constexpr (struct_row<T> && !log_number<T>)[]<std::size_t... I>(
        auto& with, std::index_sequence<I...>)
    {
        (with(static_cast<const boost::pfr::tuple_element_t<I, T>*>(nullptr)), ...);
    }
    (add, std::make_index_sequence<boost::pfr::tuple_size_v<T>>{});
    else add(static_cast<const T*>(nullptr));
    return all;
}

/// Bytes that are read from the front.
class row_bytes
{
public:
    explicit row_bytes(bytes_view left) : left_{left} {}

    bytes_view left() const noexcept { return left_; }

    bytes_view take(std::size_t n)
    {
        if (n > left_.size()) damaged();
        const auto taken = left_.substr(0, n);
        left_.remove_prefix(n);
        return taken;
    }

    std::uint64_t take_size()
    {
        std::uint64_t n = 0;
        for (int shift = 0;; shift += 7) {
            if (shift > 63) damaged();
            const auto byte = static_cast<std::uint8_t>(take(1).front());
            n |= std::uint64_t{byte & 0x7fu} << shift;
            if (byte < 0x80) return n;
        }
    }

    [[noreturn]] static void damaged()
    {
        throw error{errc::damaged_table,
                    "a row of a table does not read: rebuild the projection, and if its code has "
                    "changed, give it a new version"};
    }

private:
    bytes_view left_;
};

inline void put_size(std::string& out, std::uint64_t n)
{
    for (; n >= 0x80; n >>= 7) out.push_back(static_cast<char>(n | 0x80));
    out.push_back(static_cast<char>(n));
}

template <std::size_t Bytes>
using unsigned_of = std::conditional_t<
    Bytes == 1, std::uint8_t,
    std::conditional_t<Bytes == 2, std::uint16_t,
                       std::conditional_t<Bytes == 4, std::uint32_t, std::uint64_t>>>;

/// into += more, field by field.
template <class T>
constexpr void add_up(T& into, const T& more)
{
    if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
        into = static_cast<T>(into + more);
    else if constexpr (tuple_row<T>)
        [&]<std::size_t... I>(std::index_sequence<I...>)
        {
            (add_up(std::get<I>(into), std::get<I>(more)), ...);
        }
    (std::make_index_sequence<std::tuple_size_v<T>>{});
    else
    {
        static_assert(struct_row<T> && !log_number<T>,
                      "rows_added_up is of numbers, and of structs and tuples of numbers: say "
                      "rows_merged{f} instead");
        [&]<std::size_t... I>(std::index_sequence<I...>)
        {
            (add_up(boost::pfr::get<I>(into), boost::pfr::get<I>(more)), ...);
        }
        (std::make_index_sequence<boost::pfr::tuple_size_v<T>>{});
    }
}

// ---- Keys: their bytes are ordered as they are. -------------------------------------------------
//
// Numbers big-endian, the sign bit flipped where there is one; of floating point, all bits of
// negative ones. Text ends in 00 00, a 00 in it is 00 FF. Fields one after the other.

template <class T>
void put_key(std::string& out, const T& key)
{
    if constexpr (log_number<T>)
        put_key(out, key.value);
    else if constexpr (is_time<T>)
        put_key(out, static_cast<std::int64_t>(key.time_since_epoch().count()));
    else if constexpr (std::is_enum_v<T>)
        put_key(out, static_cast<std::underlying_type_t<T>>(key));
    else if constexpr (std::is_arithmetic_v<T>) {
        using bits          = unsigned_of<sizeof(T)>;
        constexpr bits sign = bits(bits{1} << (8 * sizeof(T) - 1));
        bits           b;
        if constexpr (std::is_floating_point_v<T>) {
            b = std::bit_cast<bits>(key == T{0} ? T{0} : key);  // -0 is 0
            b = (b & sign) != 0 ? bits(~b) : bits(b | sign);
        } else if constexpr (std::is_signed_v<T>)
            b = static_cast<bits>(static_cast<bits>(key) ^ sign);
        else
            b = static_cast<bits>(key);
        for (std::size_t i = sizeof(T); i-- > 0;) out.push_back(static_cast<char>(b >> (8 * i)));
    } else if constexpr (std::is_same_v<T, std::string>) {
        for (const char c : key) {
            out.push_back(c);
            if (c == '\0') out.push_back('\xff');
        }
        out.append(2, '\0');
    } else {
        static_assert(tuple_row<T> || struct_row<T>,
                      "no key of a table: take numbers, enums, std::string, times, positions, and "
                      "std::pair, std::tuple or plain structs of these");
        for_each_column(key, [&](const auto& field) { put_key(out, field); });
    }
}

template <class T>
void take_key(row_bytes& in, T& key)
{
    if constexpr (log_number<T>)
        take_key(in, key.value);
    else if constexpr (is_time<T>) {
        std::int64_t count;
        take_key(in, count);
        key = T{typename T::duration{static_cast<typename T::rep>(count)}};
    } else if constexpr (std::is_enum_v<T>) {
        std::underlying_type_t<T> number;
        take_key(in, number);
        key = static_cast<T>(number);
    } else if constexpr (std::is_arithmetic_v<T>) {
        using bits          = unsigned_of<sizeof(T)>;
        constexpr bits sign = bits(bits{1} << (8 * sizeof(T) - 1));
        bits           b    = 0;
        for (const char c : in.take(sizeof(T)))
            b = static_cast<bits>((std::uint64_t{b} << 8) | static_cast<std::uint8_t>(c));
        if constexpr (std::is_floating_point_v<T>)
            key = std::bit_cast<T>((b & sign) != 0 ? bits(b & bits(~sign)) : bits(~b));
        else if constexpr (std::is_same_v<T, bool>)
            key = b != 0;
        else if constexpr (std::is_signed_v<T>)
            key = static_cast<T>(static_cast<bits>(b ^ sign));
        else
            key = b;
    } else if constexpr (std::is_same_v<T, std::string>) {
        key.clear();
        for (;;) {
            const char c = in.take(1).front();
            if (c == '\0' && in.take(1).front() == '\0') return;
            key.push_back(c);
        }
    } else
        for_each_column(key, [&](auto& field) { take_key(in, field); });
}

// ---- Values. ------------------------------------------------------------------------------------
//
// Numbers little-endian, text behind its length, an optional behind a byte that says whether it is
// there, lists and maps behind their count. Fields one after the other.

template <class T>
void put_value(std::string& out, const T& value)
{
    if constexpr (log_number<T>)
        put_value(out, value.value);
    else if constexpr (is_time<T>)
        put_value(out, static_cast<std::int64_t>(value.time_since_epoch().count()));
    else if constexpr (column_number<T>) {
        static_assert(std::endian::native == std::endian::little);
        out.append(reinterpret_cast<const char*>(&value), sizeof value);
    } else if constexpr (std::is_same_v<T, std::string>) {
        put_size(out, value.size());
        out.append(value);
    } else if constexpr (is_a<T, std::optional>) {
        out.push_back(value.has_value() ? '\1' : '\0');
        if (value) put_value(out, *value);
    } else if constexpr (is_a<T, std::vector> || is_a<T, std::map>) {
        put_size(out, value.size());
        for (const auto& each : value) put_value(out, each);
    } else {
        static_assert(tuple_row<T> || struct_row<T>,
                      "no value of a table: take numbers, enums, std::string, times, positions, "
                      "and std::optional, std::vector, std::map, std::pair, std::tuple or plain "
                      "structs of these");
        for_each_column(value, [&](const auto& field) { put_value(out, field); });
    }
}

template <class T>
void take_value(row_bytes& in, T& value)
{
    if constexpr (log_number<T>)
        take_value(in, value.value);
    else if constexpr (is_time<T>) {
        std::int64_t count;
        take_value(in, count);
        value = T{typename T::duration{static_cast<typename T::rep>(count)}};
    } else if constexpr (std::is_same_v<T, bool>)
        value = in.take(1).front() != '\0';
    else if constexpr (column_number<T>)
        std::memcpy(&value, in.take(sizeof value).data(), sizeof value);
    else if constexpr (std::is_same_v<T, std::string>)
        value = in.take(in.take_size());
    else if constexpr (is_a<T, std::optional>) {
        value.reset();
        if (in.take(1).front() != '\0') take_value(in, value.emplace());
    } else if constexpr (is_a<T, std::vector>) {
        value.clear();
        for (auto n = in.take_size(); n > 0; --n) {
            typename T::value_type each{};
            take_value(in, each);
            value.push_back(std::move(each));
        }
    } else if constexpr (is_a<T, std::map>) {
        value.clear();
        for (auto n = in.take_size(); n > 0; --n) {
            typename T::key_type    key{};
            typename T::mapped_type mapped{};
            take_value(in, key);
            take_value(in, mapped);
            value.emplace_hint(value.end(), std::move(key), std::move(mapped));
        }
    } else
        for_each_column(value, [&](auto& field) { take_value(in, field); });
}

// A row is its columns one after the other, those of type bytes behind their length: so that they
// can be told apart by who knows only the shape.

template <class T>
void put_row(std::string& out, const T& value)
{
    const auto put = [&]<class Field>(const Field& field) {
        if constexpr (is_opaque<Field>) {
            std::string bytes;
            put_value(bytes, field);
            put_size(out, bytes.size());
            out.append(bytes);
        } else
            put_value(out, field);
    };
    if constexpr (log_number<T>)
        put(value);
    else
        for_each_column(value, put);
}

template <class T>
T row_from(bytes_view bytes)
{
    T          value{};
    row_bytes  in{bytes};
    const auto take = [&]<class Field>(Field& field) {
        if constexpr (is_opaque<Field>) {
            row_bytes part{in.take(in.take_size())};
            take_value(part, field);
        } else
            take_value(in, field);
    };
    if constexpr (log_number<T>)
        take(value);
    else
        for_each_column(value, take);
    return value;
}

template <class T>
T key_from(bytes_view bytes)
{
    T         key{};
    row_bytes in{bytes};
    take_key(in, key);
    return key;
}

template <class T>
T value_from(bytes_view bytes)
{
    T         value{};
    row_bytes in{bytes};
    take_value(in, value);
    return value;
}

}  // namespace detail
}  // namespace cairn
