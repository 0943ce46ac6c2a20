// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/testing_process.hpp>

#include <algorithm>
#include <functional>

namespace cairn::testing::detail {

namespace {

std::string line_of(const any_event& e)
{
    return "records " + std::string{e.type_name()} + " " + e.json();
}

std::string line_of(const sent_command& c)
{
    return "sends " + c.command_name() + " to " + c.aggregate_name() + " " + c.id();
}

std::string line_of(const any_reaction::timer_change& t)
{
    std::ostringstream line;
    if (t.when)
        line << "sets the timer " << t.name << " " << *t.when;
    else
        line << "cancels the timer " << t.name;
    return line.str();
}

std::string line_of(const any_reaction::posting& p)
{
    return "posts to " + p.topic + "/" + p.key + " " + std::string{p.message.type_name()} + " " +
           p.message.json();
}

bool same(const any_reaction::timer_change& a, const any_reaction::timer_change& b)
{
    return a.name == b.name && a.when == b.when;
}

bool same(const any_reaction::posting& a, const any_reaction::posting& b)
{
    return a.topic == b.topic && a.key == b.key && a.message == b.message;
}

/// Adds the lines of one kind: "  " in both, "- " only wanted, "+ " only happened, by their
/// longest common part. Returns whether there is no difference.
bool add(std::string& to, std::size_t wanted, std::size_t got,
         const std::function<bool(std::size_t w, std::size_t g)>& equal,
         const std::function<std::string(std::size_t w)>&         wanted_line,
         const std::function<std::string(std::size_t g)>&         got_line)
{
    std::vector<std::vector<std::size_t>> common(wanted + 1, std::vector<std::size_t>(got + 1, 0));
    for (auto i = wanted; i-- > 0;)
        for (auto j = got; j-- > 0;)
            common[i][j] = equal(i, j) ? common[i + 1][j + 1] + 1
                                       : std::max(common[i + 1][j], common[i][j + 1]);
    for (std::size_t i = 0, j = 0; i < wanted || j < got;) {
        if (i < wanted && j < got && equal(i, j)) {
            to += "    " + got_line(j) + "\n";
            ++i, ++j;
        } else if (i < wanted && (j == got || common[i + 1][j] >= common[i][j + 1])) {
            to += "  - " + wanted_line(i++) + "\n";
        } else {
            to += "  + " + got_line(j++) + "\n";
        }
    }
    return wanted == got && common[0][0] == got;
}

}  // namespace

verdict compare(const any_reaction& got, const wanted_reaction& wanted)
{
    const auto& w        = wanted.rest;
    const auto& c        = wanted.commands;
    std::string all      = "what came of it (+) is not what should have (-):\n";
    bool        ok       = true;
    const auto  add_both = [&](const auto& of_wanted, const auto& of_got, const auto& equal) {
        ok &= add(
             all, of_wanted.size(), of_got.size(),
             [&](std::size_t i, std::size_t j) { return equal(of_wanted[i], of_got[j]); },
             [&](std::size_t i) { return line_of(of_wanted[i]); },
             [&](std::size_t j) { return line_of(of_got[j]); });
    };
    const auto same_of = [](const auto& a, const auto& b) { return same(a, b); };

    add_both(w.events, got.events, std::equal_to<>{});
    ok &= add(
        all, c.size(), got.commands.size(),
        [&](std::size_t i, std::size_t j) { return c[i].same(c[i].command, got.commands[j]); },
        [&](std::size_t i) { return line_of(c[i].command) + c[i].fields(c[i].command); },
        [&](std::size_t j) {
            auto line = line_of(got.commands[j]);
            // Only who wanted one of its type knows how it prints.
            for (const auto& known : c)
                if (*known.command.type().command == *got.commands[j].type().command)
                    return line + known.fields(got.commands[j]);
            return line;
        });
    add_both(w.timers, got.timers, same_of);
    add_both(w.posted, got.posted, same_of);
    if (ok) return {};
    if (got.empty()) all += "  and nothing came of it\n";
    return {false, std::move(all)};
}

}  // namespace cairn::testing::detail
