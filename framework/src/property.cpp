// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/property.hpp>

#include "instance.hpp"
#include "reason.hpp"

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace cairn::testing {

std::int64_t random_source::between(std::int64_t least, std::int64_t most)
{
    if (most <= least) return least;
    // Not std::uniform_int_distribution, which is another on each library. The bias is nothing.
    const auto span = static_cast<std::uint64_t>(most) - static_cast<std::uint64_t>(least);
    const auto n    = engine_();
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(least) +
                                     (span == UINT64_MAX ? n : n % (span + 1)));
}

std::string random_source::word(std::size_t length_max)
{
    std::string w(static_cast<std::size_t>(between(1, static_cast<std::int64_t>(length_max))),
                  'a');
    for (auto& c : w) c = static_cast<char>('a' + between(0, 25));
    return w;
}

namespace detail {

namespace {

using cairn::detail::reason_of;
using steps = std::vector<random_step>;

/// What went wrong; nothing: it holds.
struct outcome_of_run
{
    std::optional<std::string> wrong;
    std::size_t                at = 0;  ///< commands that were executed
    std::string                story;   ///< a line for each command and event
};

class runner
{
public:
    runner(const cairn::detail::aggregate_type& type, const std::vector<checked_invariant>& all)
        : type_{type}, invariants_{all}
    {
    }

    outcome_of_run run(const steps& sequence, bool tell) const
    {
        outcome_of_run          out;
        cairn::detail::instance state{type_};
        const auto              say = [&](const std::string& line) {
            if (tell) out.story += line + "\n";
        };
        for (const auto& s : sequence) {
            ++out.at;
            say("  " + s.name);
            any_decision decided;
            try {
                decided = s.decide(state.state());
            } catch (...) {
                out.wrong = "decide() threw: " + reason_of(std::current_exception());
                return out;
            }
            if (decided.rejected) say("      rejected: " + decided.rejected->reason);
            for (const auto& e : decided.events) {
                if (tell) say("      " + std::string{e.type_name()} + " " + e.json());
                try {
                    state.apply(e);
                } catch (...) {
                    out.wrong = "apply(" + std::string{e.type_name()} +
                                ") threw: " + reason_of(std::current_exception());
                    return out;
                }
            }
            if ((out.wrong = broken(state))) return out;
        }
        return out;
    }

private:
    std::optional<std::string> broken(cairn::detail::instance& state) const
    {
        for (const auto& i : invariants_) try {
                if (!i.holds(state.state())) return "it does not hold that " + i.name;
            } catch (...) {
                return "looking whether " + i.name +
                       " threw: " + reason_of(std::current_exception());
            }
        if (!type_.snapshot) return std::nullopt;
        const char* at = "save()";
        try {
            const auto              saved = type_.snapshot->save(state.state());
            cairn::detail::instance copy{type_};
            cairn::detail::message  opened{saved.bytes()};
            at = "restore()";
            type_.snapshot->restore(copy.state(), opened.opened());
            at               = "save()";
            const auto again = type_.snapshot->save(copy.state());
            if (again == saved) return std::nullopt;
            return "a snapshot that was restored and saved again is another: " + saved.json() +
                   ", then " + again.json();
        } catch (...) {
            return std::string{at} + " threw: " + reason_of(std::current_exception());
        }
    }

    const cairn::detail::aggregate_type&  type_;
    const std::vector<checked_invariant>& invariants_;
};

/// Leaves out what can be left out: halves first, then less, then single commands, until nothing
/// more can (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).
steps shortest(const runner& r, steps failing)
{
    for (auto chunk = failing.size(); chunk > 0;) {
        bool shorter = false;
        for (std::size_t at = 0; at < failing.size();) {
            steps less{failing.begin(), failing.begin() + static_cast<std::ptrdiff_t>(at)};
            const auto end = std::min(failing.size(), at + chunk);
            less.insert(less.end(), failing.begin() + static_cast<std::ptrdiff_t>(end),
                        failing.end());
            if (const auto out = r.run(less, false); out.wrong) {
                less.resize(out.at);
                failing = std::move(less);
                shorter = true;
            } else {
                at = end;
            }
        }
        if (!shorter || chunk > 1) chunk /= 2;
    }
    return failing;
}

std::uint64_t seed_of(const property_options& o)
{
    if (o.seed != 0) return o.seed;
    if (const char* given = std::getenv("CAIRN_SEED")) return std::strtoull(given, nullptr, 10);
    std::random_device device;
    return (std::uint64_t{device()} << 32 | device()) | 1;
}

}  // namespace

verdict check_property(const cairn::detail::aggregate_type&  type,
                       const std::vector<random_commands>&   commands,
                       const std::vector<checked_invariant>& invariants, property_options o)
{
    if (commands.empty()) return {false, "no command was given: nothing was tried"};
    const runner r{type, invariants};
    const auto   first = seed_of(o);
    // With a seed of the environment it is that run alone.
    const int runs = o.seed == 0 && std::getenv("CAIRN_SEED") ? 1 : o.runs;
    for (int run = 0; run < runs; ++run) {
        const auto    seed = first + static_cast<std::uint64_t>(run);
        random_source random{seed};
        steps         sequence;
        const auto    length = random.between(1, o.length);
        for (std::int64_t i = 0; i < length; ++i) {
            const auto which = random.between(0, static_cast<std::int64_t>(commands.size()) - 1);
            sequence.push_back(commands[static_cast<std::size_t>(which)].make(random));
        }
        const auto out = r.run(sequence, false);
        if (!out.wrong) continue;
        sequence.resize(out.at);
        const auto told = r.run(shortest(r, sequence), true);
        return {false, told.wrong.value_or(*out.wrong) + ", after " + std::to_string(told.at) +
                           (told.at == 1 ? " command" : " commands") + " (of a sequence of " +
                           std::to_string(sequence.size()) + "; CAIRN_SEED=" +
                           std::to_string(seed) + " makes it again):\n" + told.story};
    }
    return {};
}

}  // namespace detail
}  // namespace cairn::testing
