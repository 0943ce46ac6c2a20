// SPDX-License-Identifier: Apache-2.0
#include "fields.hpp"

#include <algorithm>

namespace cairn::cli {

namespace {

struct field
{
    std::string_view text;
    std::size_t      end;          ///< in the line, before the separator
    bool             has_doubles;  ///< "" in it is to become "
};

std::optional<field> quoted_field(std::string_view line, std::string_view separator)
{
    bool        doubles = false;
    std::size_t at      = 1;
    for (;;) {
        at = line.find('"', at);
        if (at == std::string_view::npos) return std::nullopt;
        if (at + 1 >= line.size() || line[at + 1] != '"') break;
        doubles = true;
        at += 2;
    }
    const auto rest = line.substr(at + 1);
    if (!rest.empty() && rest != "\r" && !rest.starts_with(separator)) return std::nullopt;
    return field{line.substr(1, at - 1), at + 1, doubles};
}

field field_at_front(std::string_view line, std::string_view separator)
{
    if (line.starts_with('"'))
        if (const auto f = quoted_field(line, separator)) return *f;
    const auto end = std::min(line.find(separator), line.size());
    return {line.substr(0, end), end, false};
}

}  // namespace

std::optional<std::string_view> field_of(std::string_view line, std::size_t number,
                                         std::string_view separator, std::string& scratch)
{
    for (;; --number) {
        const auto f = field_at_front(line, separator);
        if (number == 1) {
            if (!f.has_doubles) return f.text;
            scratch.clear();
            for (std::size_t i = 0; i < f.text.size(); ++i) {
                scratch += f.text[i];
                if (f.text[i] == '"') ++i;
            }
            return scratch;
        }
        if (line.size() <= f.end + separator.size() - 1) return std::nullopt;
        line.remove_prefix(f.end);
        if (!line.starts_with(separator)) return std::nullopt;
        line.remove_prefix(separator.size());
    }
}

}  // namespace cairn::cli
