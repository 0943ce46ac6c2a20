// SPDX-License-Identifier: Apache-2.0
//
// JSON of one line, for the control socket. Text is bytes: those that are no printable ASCII are
// written \u00XX, so that what is no UTF-8 comes through as it was.
//
// A library would have its symbols in ours, and so in programs that have that library too.
#pragma once

#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cairn::detail {

/// A value. What is asked for and is not there, or is something else, throws invalid_argument.
class json_value
{
public:
    using list    = std::vector<json_value>;
    using members = std::vector<std::pair<std::string, json_value>>;

    json_value() = default;
    json_value(bool b) : is_{b} {}
    json_value(std::string s) : is_{std::move(s)} {}
    json_value(std::string_view s) : is_{std::string{s}} {}
    json_value(const char* s) : is_{std::string{s}} {}
    json_value(list l) : is_{std::move(l)} {}
    json_value(members m) : is_{std::move(m)} {}

    template <class T>
    requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) json_value(T n)
    {
        char       text[32];
        const auto end = std::to_chars(text, text + sizeof text, n).ptr;
        is_            = digits{{text, end}};
    }

    /// Throws invalid_argument; it is nested 8 deep at the most.
    static json_value parse(std::string_view line);
    std::string       line() const;

    bool              has(std::string_view name) const;
    const json_value& operator[](std::string_view name) const;  ///< null, where it has none
    void              set(std::string name, json_value v);

    bool               truth() const;
    const std::string& text() const;
    const list&        items() const;
    void               check_is_object() const;

    template <class T>
    T number() const
    {
        T           n{};
        const auto& text = number_text();
        const auto  end  = std::from_chars(text.data(), text.data() + text.size(), n);
        if (end.ec != std::errc{} || end.ptr != text.data() + text.size()) refuse("a number");
        return n;
    }

private:
    /// A number as it stands there.
    struct digits
    {
        std::string text;
    };

    [[noreturn]] static void refuse(const std::string& missing);
    const std::string&       number_text() const;
    void                     append_to(std::string& out) const;

    std::variant<std::monostate, bool, digits, std::string, list, members> is_;

    friend class json_parser;
};

}  // namespace cairn::detail
