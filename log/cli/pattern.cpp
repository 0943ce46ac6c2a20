// SPDX-License-Identifier: Apache-2.0
#include "pattern.hpp"

#include "command.hpp"
#include "moment.hpp"
#include "text.hpp"

#include <array>
#include <charconv>

namespace cairn::cli {

namespace {

constexpr std::string_view letters = "sSRkKhtpoTPI";

void append_number(std::string& to, std::int64_t number)
{
    std::array<char, 24> text{};
    to.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), number).ptr);
}

std::int64_t length_of(const std::optional<bytes_view>& bytes)
{
    return bytes ? static_cast<std::int64_t>(bytes->size()) : -1;
}

void append_big_endian(std::string& to, std::int64_t number)
{
    const auto bits = static_cast<std::uint32_t>(number);
    for (const int shift : {24, 16, 8, 0}) to += static_cast<char>(bits >> shift & 0xff);
}

void append_headers(std::string& to, const header_range& headers)
{
    bool first = true;
    for (const auto& h : headers) {
        if (!first) to += ',';
        first = false;
        to += h.name;
        to += '=';
        if (h.value) to += *h.value;
    }
}

}  // namespace

pattern::pattern(std::string_view text)
{
    std::string plain;

    const auto keep_plain = [&] {
        if (plain.empty()) return;
        pieces_.push_back({0, unescape(plain, "--format")});
        plain.clear();
    };
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] == '\\' && at + 1 < text.size()) {  // \% too is left to unescape()
            plain += text[at];
            plain += text[++at];
        } else if (text[at] != '%') {
            plain += text[at];
        } else if (at + 1 < text.size() && text[at + 1] == '%') {
            plain += '%';
            ++at;
        } else {
            const char letter = at + 1 < text.size() ? text[at + 1] : '\0';
            if (letters.find(letter) == std::string_view::npos || letter == '\0')
                throw usage_error{"--format: '" + std::string{text.substr(at, 2)} +
                                  "' means nothing; known are %s %S %R %k %K %h %t %p %o %T %P "
                                  "%I %%"};
            keep_plain();
            pieces_.push_back({letter, {}});
            ++at;
        }
    }
    keep_plain();
}

void pattern::append(std::string& to, const record_view& r) const
{
    for (const auto& p : pieces_) {
        switch (p.letter) {
        case 's':
            to += r.value.value_or("");
            break;
        case 'S':
            append_number(to, length_of(r.value));
            break;
        case 'R':
            append_big_endian(to, length_of(r.value));
            break;
        case 'k':
            to += r.key.value_or("");
            break;
        case 'K':
            append_number(to, length_of(r.key));
            break;
        case 'h':
            append_headers(to, r.headers);
            break;
        case 't':
            to += r.from ? std::string_view{r.from->topic} : "";
            break;
        case 'p':
            append_number(to, r.from ? r.from->partition : -1);
            break;
        case 'o':
            append_number(to, r.offset.value);
            break;
        case 'T':
            append_number(to, r.timestamp.value);
            break;
        case 'P':
            append_number(to, r.position.value);
            break;
        case 'I':
            to += as_iso_time(r.timestamp);
            break;
        default:
            to += p.text;
        }
    }
}

}  // namespace cairn::cli
