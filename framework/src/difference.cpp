// SPDX-License-Identifier: Apache-2.0
#include "difference.hpp"

#include <algorithm>

namespace cairn::detail {

namespace {

std::string line_of(const any_event& e)
{
    return std::string{e.type_name()} + " " + e.json() + "\n";
}

}  // namespace

std::string difference(const std::vector<any_event>& wanted, const std::vector<any_event>& got)
{
    const auto w = wanted.size(), g = got.size();
    std::vector<std::vector<std::size_t>> common(w + 1, std::vector<std::size_t>(g + 1, 0));
    for (auto i = w; i-- > 0;)
        for (auto j = g; j-- > 0;)
            common[i][j] = wanted[i] == got[j] ? common[i + 1][j + 1] + 1
                                               : std::max(common[i + 1][j], common[i][j + 1]);
    std::string all;
    for (std::size_t i = 0, j = 0; i < w || j < g;) {
        if (i < w && j < g && wanted[i] == got[j]) {
            all += "    " + line_of(wanted[i]);
            ++i, ++j;
        } else if (i < w && (j == g || common[i + 1][j] >= common[i][j + 1])) {
            all += "  - " + line_of(wanted[i++]);
        } else {
            all += "  + " + line_of(got[j++]);
        }
    }
    return all.empty() ? "    nothing\n" : all;
}

}  // namespace cairn::detail
