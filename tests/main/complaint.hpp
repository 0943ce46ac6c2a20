// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/error.hpp>

#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

namespace cairn::testing {

/// What was thrown, to be asked about: its code and its words.
struct complaint
{
    errc        code{};
    std::string what;

    bool says(std::string_view part) const { return what.find(part) != std::string::npos; }

    friend bool          operator==(const complaint& c, errc code) { return c.code == code; }
    friend std::ostream& operator<<(std::ostream& out, const complaint& c)
    {
        return out << name(c.code) << " (" << static_cast<int>(c.code) << "): " << c.what;
    }
};

/// What an action throws; nothing where it does not.
template <class F>
std::optional<complaint> complaint_of(F&& f)
{
    try {
        static_cast<void>(std::forward<F>(f)());
    } catch (const error& e) {
        return complaint{e.code(), e.what()};
    }
    return std::nullopt;
}

/// Its code, where that is all that matters.
template <class F>
std::optional<errc> code_of(F&& f)
{
    const auto c = complaint_of(std::forward<F>(f));
    return c ? std::optional{c->code} : std::nullopt;
}

}  // namespace cairn::testing
