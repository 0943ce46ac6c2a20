// SPDX-License-Identifier: Apache-2.0
#include <cairn/projections/detail/json_text.hpp>

#include "utf8.hpp"

#include <array>
#include <charconv>
#include <cmath>

namespace cairn::detail {

namespace {

template <class T>
void put_number(std::string& out, T n)
{
    if (!std::isfinite(n)) {
        out += "null";
        return;
    }
    std::array<char, 40> digits;
    const auto           end = std::to_chars(digits.data(), digits.data() + digits.size(), n).ptr;
    out.append(digits.data(), end);
}

}  // namespace

void put_json_text(std::string& out, bytes_view text)
{
    constexpr const char* hex = "0123456789abcdef";
    out += '"';
    while (!text.empty()) {
        const char        c = text.front();
        const std::size_t n = utf8_length(text);
        if (n == 0)
            out += replacement_character;
        else if (c == '"' || c == '\\')
            (out += '\\') += c;
        else if (c == '\n')
            out += "\\n";
        else if (c == '\t')
            out += "\\t";
        else if (static_cast<std::uint8_t>(c) < 0x20 || c == 0x7f) {
            out += "\\u00";
            out += hex[static_cast<std::uint8_t>(c) >> 4];
            out += hex[static_cast<std::uint8_t>(c) & 15];
        } else
            out.append(text.substr(0, n));
        text.remove_prefix(n == 0 ? 1 : n);
    }
    out += '"';
}

void put_json_number(std::string& out, double n)
{
    put_number(out, n);
}
void put_json_number(std::string& out, float n)
{
    put_number(out, n);
}

}  // namespace cairn::detail
