// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/middlewares.hpp>

#include <algorithm>
#include <thread>

namespace cairn::middlewares {

namespace {

using clock = std::chrono::steady_clock;

std::chrono::microseconds since(clock::time_point began)
{
    return std::chrono::duration_cast<std::chrono::microseconds>(clock::now() - began);
}

}  // namespace

middleware authorise(std::function<std::optional<std::string>(const command_call&)> why_not)
{
    return [why_not = std::move(why_not)](command_call&       call,
                                          const next_handler& next) -> execute_result {
        if (auto why = why_not(call)) return reject(std::move(*why));
        return next(call);
    };
}

middleware log_to(std::function<void(const std::string& line)> sink)
{
    return [sink = std::move(sink)](command_call& call, const next_handler& next) {
        const auto began = clock::now();
        const auto say   = [&](const std::string& what) {
            sink(std::string{call.name()} + " " + call.key() + ": " + what + ", " +
                 std::to_string(since(began).count()) + " us");
        };
        try {
            auto result = next(call);
            if (!result)
                say("rejected: " + result.error().reason);
            else if (result->repeated)
                say("repeated");
            else
                say(std::to_string(result->recorded) +
                    (result->recorded == 1 ? " event" : " events"));
            return result;
        } catch (const std::exception& e) {
            say(std::string{"failed: "} + e.what());
            throw;
        }
    };
}

middleware retry(int attempts, std::chrono::milliseconds first_wait)
{
    return [attempts, first_wait](command_call& call, const next_handler& next) {
        for (int attempt = 1;; ++attempt) {
            try {
                return next(call);
            } catch (const error& e) {
                if (e.code() != errc::conflict || attempt >= attempts) throw;
            }
            std::this_thread::sleep_for(first_wait * (1 << std::min(attempt - 1, 10)));
        }
    };
}

std::map<std::string, command_measures> measures::by_name() const
{
    const std::lock_guard lock{mutex_};
    return {by_name_.begin(), by_name_.end()};
}

void measures::add(std::string_view name, std::chrono::microseconds took, bool rejected,
                   bool failed)
{
    const std::lock_guard lock{mutex_};
    auto                  at = by_name_.find(name);
    if (at == by_name_.end()) at = by_name_.emplace(name, command_measures{}).first;
    auto& m = at->second;
    ++m.executed;
    m.rejected += rejected;
    m.failed += failed;
    m.total += took;
    m.longest = std::max(m.longest, took);
}

middleware measure(std::shared_ptr<measures> to)
{
    return [to = std::move(to)](command_call& call, const next_handler& next) {
        const auto began = clock::now();
        try {
            auto result = next(call);
            to->add(call.name(), since(began), !result, false);
            return result;
        } catch (...) {
            to->add(call.name(), since(began), false, true);
            throw;
        }
    };
}

}  // namespace cairn::middlewares
