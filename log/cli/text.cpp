// SPDX-License-Identifier: Apache-2.0
#include "text.hpp"

#include "command.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace cairn::cli {

namespace {

constexpr char hex_digits[] = "0123456789abcdef";

/// How many bytes the UTF-8 character at the front takes; 0: it is none.
std::size_t character_length(std::string_view s) noexcept
{
    const auto byte    = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    const auto follows = [&](std::size_t i) { return i < s.size() && (byte(i) & 0xc0) == 0x80; };

    const unsigned char first = byte(0);
    if (first < 0x80) return 1;
    if (first < 0xc2) return 0;
    if (first < 0xe0) return follows(1) ? 2 : 0;
    if (first < 0xf0) {
        if (!follows(1) || !follows(2)) return 0;
        if (first == 0xe0 && byte(1) < 0xa0) return 0;   // it would fit two bytes
        if (first == 0xed && byte(1) >= 0xa0) return 0;  // a surrogate
        return 3;
    }
    if (first > 0xf4 || !follows(1) || !follows(2) || !follows(3)) return 0;
    if (first == 0xf0 && byte(1) < 0x90) return 0;
    if (first == 0xf4 && byte(1) >= 0x90) return 0;
    return 4;
}

/// U+0080 to U+009F: control characters too, and terminals heed them.
bool is_c1_control(std::string_view character) noexcept
{
    return character.size() == 2 && character[0] == '\xc2' &&
           static_cast<unsigned char>(character[1]) < 0xa0;
}

void append_hex(std::string& to, char c)
{
    const auto byte = static_cast<unsigned char>(c);
    to += "\\x";
    to += hex_digits[byte >> 4];
    to += hex_digits[byte & 15];
}

int digit_of(char c, int base) noexcept
{
    int value = -1;
    if (c >= '0' && c <= '9') value = c - '0';
    if (c >= 'a' && c <= 'f') value = c - 'a' + 10;
    if (c >= 'A' && c <= 'F') value = c - 'A' + 10;
    return value < base ? value : -1;
}

}  // namespace

std::string with_commas(std::uint64_t number)
{
    std::string text = std::to_string(number);
    for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
    return text;
}

std::string as_size(std::uint64_t bytes)
{
    constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};

    auto        size = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; size >= 1024 && unit + 1 < units.size(); ++unit) size /= 1024;

    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
    return text.data();
}

std::string printable(std::string_view bytes)
{
    std::string text;
    text.reserve(bytes.size());
    while (!bytes.empty()) {
        const char        c      = bytes.front();
        const std::size_t length = character_length(bytes);
        if (c == '\n') {
            text += "\\n";
        } else if (c == '\r') {
            text += "\\r";
        } else if (c == '\t') {
            text += "\\t";
        } else if (c == '\\') {
            text += "\\\\";
        } else if (length == 0 || (length == 1 && (c < 0x20 || c == 0x7f))) {
            append_hex(text, c);
        } else if (is_c1_control(bytes.substr(0, length))) {
            for (const char part : bytes.substr(0, length)) append_hex(text, part);
        } else {
            text += bytes.substr(0, length);
        }
        bytes.remove_prefix(length == 0 ? 1 : length);
    }
    return text;
}

bool is_utf8(std::string_view bytes) noexcept
{
    while (!bytes.empty()) {
        const std::size_t length = character_length(bytes);
        if (length == 0) return false;
        bytes.remove_prefix(length);
    }
    return true;
}

std::string base64(std::string_view bytes)
{
    constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (; !bytes.empty(); bytes.remove_prefix(std::min<std::size_t>(3, bytes.size()))) {
        unsigned group = 0;
        for (std::size_t i = 0; i < 3; ++i)
            group = group << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u);
        for (std::size_t i = 0; i < 4; ++i)
            text += i <= bytes.size() ? digits[group >> (18 - 6 * i) & 63] : '=';
    }
    return text;
}

std::size_t columns(std::string_view utf8) noexcept
{
    std::size_t n = 0;
    for (const char c : utf8)
        if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) ++n;
    return n;
}

std::string cut(std::string_view utf8, std::size_t most)
{
    if (columns(utf8) <= most) return std::string{utf8};
    std::size_t at = 0;
    for (std::size_t seen = 0; seen + 1 < most; ++seen)
        at += std::max<std::size_t>(1, character_length(utf8.substr(at)));
    return std::string{utf8.substr(0, at)} + "…";
}

std::string unescape(std::string_view text, std::string_view what)
{
    std::string bytes;
    for (std::size_t at = 0; at < text.size();) {
        const char c = text[at++];
        if (c != '\\') {
            bytes += c;
            continue;
        }
        const char letter = at < text.size() ? text[at] : '\0';
        const bool is_hex = letter == 'x';
        if (is_hex || digit_of(letter, 8) >= 0) {
            if (is_hex) ++at;
            const int base = is_hex ? 16 : 8;
            int       byte = 0;
            int       seen = 0;
            for (; seen < (is_hex ? 2 : 3) && at < text.size(); ++seen, ++at) {
                const int digit = digit_of(text[at], base);
                if (digit < 0) break;
                byte = byte * base + digit;
            }
            if (seen == 0 || byte > 255)
                throw usage_error{std::string{what} + ": '" + std::string{text} +
                                  "' has a number after \\ that is no byte"};
            bytes += static_cast<char>(byte);
            continue;
        }
        ++at;
        switch (letter) {
        case 'n':
            bytes += '\n';
            break;
        case 'r':
            bytes += '\r';
            break;
        case 't':
            bytes += '\t';
            break;
        case '\\':
            bytes += '\\';
            break;
        default:
            throw usage_error{std::string{what} + ": in '" + std::string{text} +
                              "' a backslash is followed by none of n, r, t, \\, xNN, NNN"};
        }
    }
    return bytes;
}

std::vector<std::string> split(std::string_view text, char at)
{
    std::vector<std::string> parts;
    for (;;) {
        const auto end = text.find(at);
        parts.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

std::string counted(std::uint64_t number, std::string_view thing)
{
    std::string text = with_commas(number) + ' ' + std::string{thing};
    if (number != 1) text += 's';
    return text;
}

}  // namespace cairn::cli
