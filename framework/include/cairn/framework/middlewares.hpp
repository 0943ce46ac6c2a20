// SPDX-License-Identifier: Apache-2.0
//
// What is often done with every command.
#pragma once

#include <cairn/framework/dispatcher.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace cairn::middlewares {

/// Refuses a C for which `why_not` returns a reason; other commands go on.
template <class C, class WhyNot>
    requires std::is_invocable_r_v<std::optional<std::string>, const WhyNot&, const C&>
middleware validate(WhyNot why_not)
{
    return [why_not](command_call& call, const next_handler& next) -> execute_result {
        if (const auto* c = call.as<C>())
            if (std::optional<std::string> why = why_not(*c)) return reject(std::move(*why));
        return next(call);
    };
}

/// Refuses a command for which `why_not(const command_call&)` returns a reason.
middleware authorise(std::function<std::optional<std::string>(const command_call&)> why_not);

/// A line for each command: its name, its key, what it came to, and how long that took.
middleware log_to(std::function<void(const std::string& line)> sink);

/// Tries again when it threw `conflict`, up to so many times in all, waiting a little longer each
/// time.
middleware retry(int attempts, std::chrono::milliseconds first_wait = std::chrono::milliseconds{1});

/// What was measured of the commands of one name.
struct command_measures
{
    std::uint64_t             executed = 0;
    std::uint64_t             rejected = 0;
    std::uint64_t             failed   = 0;  ///< it threw
    std::chrono::microseconds total{0};
    std::chrono::microseconds longest{0};
};

/// Threads  Any.
class measures
{
public:
    std::map<std::string, command_measures> by_name() const;

    void add(std::string_view name, std::chrono::microseconds took, bool rejected, bool failed);

private:
    mutable std::mutex                                   mutex_;
    std::map<std::string, command_measures, std::less<>> by_name_;
};

/// Adds each command to `to`.
middleware measure(std::shared_ptr<measures> to);

}  // namespace cairn::middlewares
