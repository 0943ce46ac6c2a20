// SPDX-License-Identifier: Apache-2.0
#include "json_line.hpp"

#include <cairn/log/error.hpp>

#include <algorithm>
#include <cstdint>

namespace cairn::detail {

class json_parser
{
public:
    explicit json_parser(std::string_view text) : left_{text} {}

    json_value whole()
    {
        auto v = value(0);
        skip_space();
        if (!left_.empty()) refuse();
        return v;
    }

private:
    [[noreturn]] static void refuse()
    {
        throw error{errc::invalid_argument, "it is no JSON of one line"};
    }

    void skip_space()
    {
        const auto n = left_.find_first_not_of(" \t\r");
        left_.remove_prefix(n == std::string_view::npos ? left_.size() : n);
    }
    char take()
    {
        if (left_.empty()) refuse();
        const char c = left_.front();
        left_.remove_prefix(1);
        return c;
    }
    bool take_if(char c)
    {
        skip_space();
        if (!left_.starts_with(c)) return false;
        left_.remove_prefix(1);
        return true;
    }
    bool take_word(std::string_view word)
    {
        if (!left_.starts_with(word)) return false;
        left_.remove_prefix(word.size());
        return true;
    }

    json_value value(int depth)
    {
        constexpr int depth_max = 8;
        if (depth > depth_max) refuse();
        skip_space();
        if (take_if('{')) return members(depth);
        if (take_if('[')) return list(depth);
        if (take_if('"')) return text();
        if (take_word("true")) return true;
        if (take_word("false")) return false;
        if (take_word("null")) return {};
        json_value v;
        const auto n = std::min(left_.size(), left_.find_first_not_of("+-.eE0123456789"));
        if (n == 0) refuse();
        v.is_ = json_value::digits{std::string{left_.substr(0, n)}};
        left_.remove_prefix(n);
        return v;
    }

    json_value members(int depth)
    {
        json_value::members all;
        if (take_if('}')) return all;
        do {
            if (!take_if('"')) refuse();
            auto name = text();
            if (!take_if(':')) refuse();
            all.emplace_back(std::move(name), value(depth + 1));
        } while (take_if(','));
        if (!take_if('}')) refuse();
        return all;
    }

    json_value list(int depth)
    {
        json_value::list all;
        if (take_if(']')) return all;
        do all.push_back(value(depth + 1));
        while (take_if(','));
        if (!take_if(']')) refuse();
        return all;
    }

    std::string text()
    {
        constexpr std::string_view letters = "\"\\/bfnrt", meant = "\"\\/\b\f\n\r\t";
        std::string                bytes;
        for (char c = take(); c != '"'; c = take()) {
            if (static_cast<std::uint8_t>(c) < 0x20) refuse();
            if (c != '\\') {
                bytes.push_back(c);
                continue;
            }
            c = take();
            if (c == 'u')
                bytes.push_back(byte());
            else if (const auto at = letters.find(c); at != std::string_view::npos)
                bytes.push_back(meant[at]);
            else
                refuse();
        }
        return bytes;
    }

    char byte()
    {
        unsigned   n   = 0;
        const auto hex = left_.substr(0, 4);
        const auto end = std::from_chars(hex.data(), hex.data() + hex.size(), n, 16);
        if (hex.size() != 4 || end.ptr != hex.data() + 4 || n > 0xff) refuse();
        left_.remove_prefix(4);
        return static_cast<char>(n);
    }

    std::string_view left_;
};

namespace {

void append_quoted(std::string& out, std::string_view bytes)
{
    constexpr char hex[] = "0123456789abcdef";
    out.push_back('"');
    for (const char c : bytes) {
        const auto byte = static_cast<std::uint8_t>(c);
        if (byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\') {
            out.push_back(c);
        } else {
            out += "\\u00";
            out.push_back(hex[byte >> 4]);
            out.push_back(hex[byte & 15]);
        }
    }
    out.push_back('"');
}

}  // namespace

json_value json_value::parse(std::string_view line)
{
    return json_parser{line}.whole();
}

std::string json_value::line() const
{
    std::string out;
    append_to(out);
    return out;
}

void json_value::append_to(std::string& out) const
{
    if (const auto* b = std::get_if<bool>(&is_))
        out += *b ? "true" : "false";
    else if (const auto* n = std::get_if<digits>(&is_))
        out += n->text;
    else if (const auto* s = std::get_if<std::string>(&is_))
        append_quoted(out, *s);
    else if (const auto* l = std::get_if<list>(&is_)) {
        char before = '[';
        for (const auto& v : *l) {
            out.push_back(std::exchange(before, ','));
            v.append_to(out);
        }
        out += l->empty() ? "[]" : "]";
    } else if (const auto* m = std::get_if<members>(&is_)) {
        char before = '{';
        for (const auto& [name, v] : *m) {
            out.push_back(std::exchange(before, ','));
            append_quoted(out, name);
            out.push_back(':');
            v.append_to(out);
        }
        out += m->empty() ? "{}" : "}";
    } else
        out += "null";
}

void json_value::refuse(const std::string& missing)
{
    throw error{errc::invalid_argument, missing + " is missing"};
}

const json_value& json_value::operator[](std::string_view name) const
{
    static const json_value nothing;
    check_is_object();
    for (const auto& [n, v] : std::get<members>(is_))
        if (n == name) return v;
    return nothing;
}

bool json_value::has(std::string_view name) const
{
    return !std::holds_alternative<std::monostate>((*this)[name].is_);
}

void json_value::set(std::string name, json_value v)
{
    std::get<members>(is_).emplace_back(std::move(name), std::move(v));
}

bool json_value::truth() const
{
    if (!std::holds_alternative<bool>(is_)) refuse("true or false");
    return std::get<bool>(is_);
}

const std::string& json_value::text() const
{
    if (!std::holds_alternative<std::string>(is_)) refuse("a text");
    return std::get<std::string>(is_);
}

const json_value::list& json_value::items() const
{
    if (!std::holds_alternative<list>(is_)) refuse("a list");
    return std::get<list>(is_);
}

void json_value::check_is_object() const
{
    if (!std::holds_alternative<members>(is_)) refuse("an object");
}

const std::string& json_value::number_text() const
{
    if (!std::holds_alternative<digits>(is_)) refuse("a number");
    return std::get<digits>(is_).text;
}

}  // namespace cairn::detail
