// SPDX-License-Identifier: Apache-2.0
#include "json.hpp"

#include "text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace cairn::cli {

namespace {

void append_quoted(std::string& to, std::string_view utf8)
{
    constexpr char hex[] = "0123456789abcdef";

    to += '"';
    std::size_t plain = 0;  // what need not be escaped goes over in one piece
    for (std::size_t at = 0; at < utf8.size(); ++at) {
        const auto c = static_cast<unsigned char>(utf8[at]);
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        to.append(utf8, plain, at - plain);
        plain = at + 1;
        switch (c) {
        case '"':
            to += "\\\"";
            break;
        case '\\':
            to += "\\\\";
            break;
        case '\n':
            to += "\\n";
            break;
        case '\r':
            to += "\\r";
            break;
        case '\t':
            to += "\\t";
            break;
        default:
            to += "\\u00";
            to += hex[c >> 4];
            to += hex[c & 15];
        }
    }
    to.append(utf8, plain);
    to += '"';
}

}  // namespace

void json_writer::comma()
{
    if (needs_comma_) to_ += ',';
    needs_comma_ = true;
}

json_writer& json_writer::open(char bracket)
{
    comma();
    to_ += bracket;
    needs_comma_ = false;
    return *this;
}

json_writer& json_writer::close(char bracket)
{
    to_ += bracket;
    needs_comma_ = true;
    return *this;
}

json_writer& json_writer::name(std::string_view name)
{
    comma();
    to_ += '"';
    to_ += name;
    to_ += "\":";
    needs_comma_ = false;
    return *this;
}

json_writer& json_writer::value(std::string_view utf8)
{
    comma();
    append_quoted(to_, utf8);
    return *this;
}

json_writer& json_writer::value(bool b)
{
    comma();
    to_ += b ? "true" : "false";
    return *this;
}

json_writer& json_writer::value(double d)
{
    if (!std::isfinite(d)) return null();
    comma();
    std::array<char, 32> text{};
    const auto           end = std::to_chars(text.data(), text.data() + text.size(), d).ptr;
    to_.append(text.data(), end);
    return *this;
}

json_writer& json_writer::number(std::int64_t n)
{
    comma();
    std::array<char, 24> text{};
    const auto           end = std::to_chars(text.data(), text.data() + text.size(), n).ptr;
    to_.append(text.data(), end);
    return *this;
}

json_writer& json_writer::null()
{
    comma();
    to_ += "null";
    return *this;
}

json_writer& json_writer::raw(std::string_view json)
{
    comma();
    to_ += json;
    return *this;
}

json_writer& json_writer::bytes(std::string_view key, const std::optional<std::string_view>& bytes)
{
    if (!bytes) return name(key).null();
    if (is_utf8(*bytes)) return field(key, *bytes);
    return field(std::string{key} + "_base64", base64(*bytes));
}

namespace {

/// Where the value at the front ends.
std::size_t value_length(std::string_view json)
{
    std::size_t depth = 0;
    for (std::size_t at = 0; at < json.size(); ++at) {
        const char c = json[at];
        if (c == '"')
            for (++at; at < json.size() && json[at] != '"'; ++at)
                if (json[at] == '\\') ++at;
        if (depth == 0 && (c == ',' || c == '}' || c == ']')) return at;
        if (c == '{' || c == '[') ++depth;
        if (c == '}' || c == ']') --depth;
        if (depth == 0 && (c == '}' || c == ']' || c == '"')) return at + 1;
    }
    return json.size();
}

void append_members(std::string_view json, const std::string& before,
                    std::vector<std::pair<std::string, std::string>>& to)
{
    for (json.remove_prefix(1); json.starts_with('"');) {
        const auto quoted = value_length(json);
        const auto name   = before + std::string{json.substr(1, quoted - 2)};
        json.remove_prefix(std::min(json.size(), quoted + 1));  // and the colon
        const auto value = json.substr(0, value_length(json));
        if (value.starts_with("{\""))
            append_members(value, name + '.', to);
        else
            to.emplace_back(name, value);
        json.remove_prefix(value.size());
        if (json.starts_with(',')) json.remove_prefix(1);
    }
}

}  // namespace

std::vector<std::pair<std::string, std::string>> members_of(std::string_view json)
{
    std::vector<std::pair<std::string, std::string>> all;
    if (json.starts_with('{')) append_members(json, "", all);
    return all;
}

}  // namespace cairn::cli
