// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cairn::detail {

/// How many bytes the character has that `text` begins with; 0: it begins with none. No overlong
/// forms, surrogates, or what is beyond U+10FFFF.
inline std::size_t utf8_length(std::string_view text) noexcept
{
    if (text.empty()) return 0;
    const auto        lead = static_cast<std::uint8_t>(text.front());
    const std::size_t n    = lead < 0x80                   ? 1
                             : lead >= 0xc2 && lead < 0xe0 ? 2
                             : lead >= 0xe0 && lead < 0xf0 ? 3
                             : lead >= 0xf0 && lead < 0xf5 ? 4
                                                           : 0;
    if (n > text.size()) return 0;
    for (std::size_t k = 1; k < n; ++k)
        if ((static_cast<std::uint8_t>(text[k]) & 0xc0) != 0x80) return 0;
    if (n >= 3) {
        const auto second = static_cast<std::uint8_t>(text[1]);
        if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
            (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f))
            return 0;
    }
    return n;
}

constexpr std::string_view replacement_character{"\xef\xbf\xbd"};

}  // namespace cairn::detail
