// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/testing.hpp>

#include <algorithm>
#include <ostream>

namespace cairn::testing {

std::ostream& operator<<(std::ostream& out, const verdict& v)
{
    return out << (v.ok ? "as it should be" : v.what);
}

namespace detail {

namespace {

std::string line_of(const any_event& e)
{
    return std::string{e.type_name()} + " " + e.json() + "\n";
}

/// "  " in both, "- " only wanted, "+ " only happened: by their longest common part.
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

}  // namespace

verdict expect_events(const any_decision& got, const std::vector<any_event>& wanted)
{
    if (got.rejected)
        return {false, "it was rejected: " + got.rejected->reason +
                           "\nand should have happened:\n" + difference(wanted, {})};
    if (got.events == wanted) return {};
    return {false, "what happened (+) is not what should have (-):\n" +
                       difference(wanted, got.events)};
}

verdict expect_rejection(const any_decision& got, std::string_view reason)
{
    if (!got.rejected)
        return {false, "it was not rejected; what happened:\n" + difference({}, got.events)};
    if (reason.empty() || got.rejected->reason == reason) return {};
    return {false, "it was rejected because \"" + got.rejected->reason + "\", not because \"" +
                       std::string{reason} + "\""};
}

}  // namespace detail
}  // namespace cairn::testing
