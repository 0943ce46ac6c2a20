// SPDX-License-Identifier: Apache-2.0
#include "stored_tables.hpp"

#include "utf8.hpp"

#include <cairn/projections/detail/json_text.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace cairn {

position projection_checkpoint::upto() const noexcept
{
    const auto least = std::min_element(
        partitions.begin(), partitions.end(),
        [](const auto& a, const auto& b) { return a.second.upto < b.second.upto; });
    return least == partitions.end() ? position{0} : least->second.upto;
}

namespace detail {

namespace {

struct progress_row
{
    std::string  topic;
    std::int32_t partition = 0;
    offset       next;
    position     upto;
};
struct checkpoint_row
{
    std::int64_t              epoch        = 0;
    std::int32_t              code_version = 0;
    bool                      complete     = false;
    bool                      paused       = false;
    std::uint64_t             subscription = 0;
    std::vector<progress_row> partitions;
};

}  // namespace

std::string text_of(std::span<const table_shape> shapes)
{
    std::string text;
    for (const auto& s : shapes) text += s.text() + "\n";
    return text;
}

namespace {

column column_from(bytes_view text)
{
    column c{{}, column_type::bytes};
    if (text.ends_with('?')) {
        c.nullable = true;
        text.remove_suffix(1);
    }
    if (text == "bytes") return c;
    if (text == "text" || text == "bool") {
        c.type = text == "text" ? column_type::text : column_type::boolean;
        return c;
    }
    const auto letter = text.substr(0, 1);
    int        bits   = 0;
    const auto end = std::from_chars(text.data() + letter.size(), text.data() + text.size(), bits);
    c.type         = letter == "i"   ? column_type::integer
                     : letter == "u" ? column_type::unsigned_integer
                                     : column_type::real;
    c.width        = static_cast<std::uint8_t>(bits / 8);
    if ((letter != "i" && letter != "u" && letter != "f") || end.ptr != text.data() + text.size() ||
        bits < 8 || bits > 64)
        row_bytes::damaged();
    return c;
}

std::vector<column> columns_from(bytes_view list)
{
    std::vector<column> all;
    while (!list.empty()) {
        const auto comma = list.find(", ");
        all.push_back(column_from(list.substr(0, comma)));
        list.remove_prefix(comma == bytes_view::npos ? list.size() : comma + 2);
    }
    return all;
}

}  // namespace

std::vector<table_shape> shapes_from(bytes_view text)
{
    constexpr bytes_view     between = ") -> (";
    std::vector<table_shape> all;
    while (!text.empty()) {
        const auto line   = text.substr(0, text.find('\n'));
        const auto open   = line.find('(');
        const auto middle = line.find(between);
        const auto close  = line.rfind(')');
        if (line.size() == text.size() || middle == bytes_view::npos || open > middle ||
            close < middle + between.size())
            row_bytes::damaged();
        table_shape s{
            std::string{line.substr(0, open)},
            columns_from(line.substr(open + 1, middle - open - 1)),
            columns_from(line.substr(middle + between.size(), close - middle - between.size())),
            line.ends_with(" index")};
        all.push_back(std::move(s));
        text.remove_prefix(line.size() + 1);
    }
    return all;
}

void check_shapes(const std::string& projection, int version, const std::string& stored,
                  std::span<const table_shape> wanted)
{
    const auto now = text_of(wanted);
    if (stored == now) return;
    throw error{errc::shape_differs,
                "projection " + projection + " version " + std::to_string(version) +
                    " was made with the tables\n" + stored + "and its code has\n" + now +
                    "give the code the next version number, and it is rebuilt"};
}

void check_epoch(const projection_checkpoint& stored, const projection_checkpoint& now)
{
    if (stored.epoch <= now.epoch) return;
    throw error{errc::fenced_generation,
                "another has begun to write these tables after this one, which is over"};
}

namespace {

template <class T>
T number_from(row_bytes& in, bool of_key)
{
    T n{};
    if (of_key)
        take_key(in, n);
    else
        take_value(in, n);
    return n;
}

/// Of whatever width: as the widest.
template <class N8, class N16, class N32, class N64>
N64 number_of(row_bytes& in, std::uint8_t width, bool of_key)
{
    switch (width) {
    case 1:
        return number_from<N8>(in, of_key);
    case 2:
        return number_from<N16>(in, of_key);
    case 4:
        return number_from<N32>(in, of_key);
    default:
        return number_from<N64>(in, of_key);
    }
}

}  // namespace

column_value read_column(row_bytes& in, const column& c, bool of_key)
{
    const bool opaque = c.type == column_type::bytes;
    if (!of_key && c.nullable && !opaque && in.take(1).front() == '\0') return {};
    switch (c.type) {
    case column_type::boolean:
        return {std::int64_t{number_from<bool>(in, of_key)}};
    case column_type::integer:
        return {
            number_of<std::int8_t, std::int16_t, std::int32_t, std::int64_t>(in, c.width, of_key)};
    case column_type::unsigned_integer:
        return {number_of<std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t>(in, c.width,
                                                                                     of_key)};
    case column_type::real:
        return {c.width == 4 ? double{number_from<float>(in, of_key)}
                             : number_from<double>(in, of_key)};
    case column_type::text:
        return {number_from<std::string>(in, of_key)};
    case column_type::bytes:
        break;
    }
    return {std::string{in.take(in.take_size())}, true};
}

std::string row_text(const table_shape& shape, bytes_view key, bytes_view value)
{
    const auto list = [](const std::vector<column>& columns, bytes_view bytes, bool of_key) {
        row_bytes   in{bytes};
        std::string text;
        for (const auto& c : columns) {
            if (!text.empty()) text += ", ";
            const auto v = read_column(in, c, of_key);
            if (const auto* i = std::get_if<std::int64_t>(&v.is))
                text +=
                    c.type == column_type::boolean ? (*i ? "true" : "false") : std::to_string(*i);
            else if (const auto* u = std::get_if<std::uint64_t>(&v.is))
                text += std::to_string(*u);
            else if (const auto* d = std::get_if<double>(&v.is)) {
                char digits[32];
                std::snprintf(digits, sizeof digits, "%.15g", *d);
                text += digits;
            } else if (const auto* s = std::get_if<std::string>(&v.is))
                text += v.as_bytes ? "<" + std::to_string(s->size()) + " bytes>" : *s;
            else
                text += "none";
        }
        return columns.size() == 1 ? text : "(" + text + ")";
    };
    return list(shape.key, key, true) + (shape.value.empty() ? "" : " -> ") +
           (shape.value.empty() ? "" : list(shape.value, value, false));
}

std::string as_utf8(std::string_view text)
{
    std::string out;
    while (!text.empty()) {
        const auto n = text.front() == '\0' ? 0 : utf8_length(text);
        out.append(n > 0 ? text.substr(0, n) : replacement_character);
        text.remove_prefix(n > 0 ? n : 1);
    }
    return out;
}

namespace {

std::string json_bytes(std::string_view bytes)
{
    std::string out{'"'};
    for (const char c : bytes) {
        out += "0123456789abcdef"[static_cast<std::uint8_t>(c) >> 4];
        out += "0123456789abcdef"[c & 0xf];
    }
    return out + '"';
}

template <class N>
std::string json_integer(N n)
{
    constexpr std::int64_t exact_max = std::int64_t{1} << 53;
    const bool exact = std::cmp_less_equal(n, exact_max) && std::cmp_greater_equal(n, -exact_max);
    return exact ? std::to_string(n) : '"' + std::to_string(n) + '"';
}

std::string column_json(const column& c, const column_value& v)
{
    if (const auto* i = std::get_if<std::int64_t>(&v.is)) {
        if (c.type == column_type::boolean) return *i != 0 ? "true" : "false";
        return json_integer(*i);
    }
    if (const auto* u = std::get_if<std::uint64_t>(&v.is)) return json_integer(*u);
    std::string text;
    if (const auto* d = std::get_if<double>(&v.is))
        put_json_number(text, *d);
    else if (const auto* s = std::get_if<std::string>(&v.is)) {
        if (v.as_bytes) return json_bytes(*s);
        put_json_text(text, *s);
    } else
        text = "null";
    return text;
}

}  // namespace

std::string row_json(const table_shape& shape, bytes_view key, std::optional<bytes_view> value)
{
    std::string text;
    const auto  add = [&](const std::vector<column>& columns, bytes_view bytes, bool of_key) {
        row_bytes in{bytes};
        for (const auto& c : columns) {
            if (!text.empty()) text += ',';
            put_json_text(text, c.name);
            text += ':' + column_json(c, read_column(in, c, of_key));
        }
    };
    add(shape.key, key, true);
    if (value) add(shape.value, *value, false);
    return '{' + text + '}';
}

std::uint64_t hash_of(bytes_view bytes) noexcept
{
    std::uint64_t h = 14695981039346656037ull;  // FNV-1a
    for (const char c : bytes) h = (h ^ static_cast<std::uint8_t>(c)) * 1099511628211ull;
    return h;
}

std::map<std::string, std::uint64_t> digests(table_reader& from, std::span<const table_shape> of)
{
    std::map<std::string, std::uint64_t> all;
    for (std::size_t t = 0; t < of.size(); ++t) {
        if (of[t].name.starts_with("cairn_")) continue;
        std::uint64_t h   = 0;
        const auto    row = from.scan(t, {});
        while (row->next())
            for (const auto part : {row->key(), row->value()})
                h = (h ^ hash_of(part) ^ part.size()) * 0x9E3779B97F4A7C15u;
        all[of[t].name] = h;
    }
    return all;
}

std::string encode(const projection_checkpoint& c)
{
    checkpoint_row row{c.epoch, c.code_version, c.complete, c.paused, c.subscription, {}};
    for (const auto& [at, p] : c.partitions)
        row.partitions.push_back({at.topic, at.partition, p.next, p.upto});
    std::string bytes;
    put_value(bytes, row);
    return bytes;
}

projection_checkpoint decode_checkpoint(bytes_view bytes)
{
    const auto            row = value_from<checkpoint_row>(bytes);
    projection_checkpoint c{{},           row.epoch,  row.code_version,
                            row.complete, row.paused, row.subscription};
    for (const auto& p : row.partitions) c.partitions[{p.topic, p.partition}] = {p.next, p.upto};
    return c;
}

}  // namespace detail
}  // namespace cairn
