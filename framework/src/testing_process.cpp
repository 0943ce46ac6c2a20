// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/testing_process.hpp>

#include "event_store_core.hpp"
#include "process_timers.hpp"

#include "process.capnp.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <set>

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

namespace {

using cairn::detail::process_core;

constexpr timestamp never{std::numeric_limits<std::int64_t>::max()};
constexpr timestamp before_all{std::numeric_limits<std::int64_t>::min()};

/// A runner in a topic of its own, with what has happened there, before its one cause.
class asked_process
{
public:
    asked_process(const process_spec& spec, const std::optional<std::string>& process,
                  const any_reaction& without_log)
        : spec_{spec},
          log_{spec.store.log()},
          expected_{without_log},
          own_{record_given(spec.store, spec.happened, process.value_or("nobody's"))},
          begin_{log_.end_position()},
          core_{spec.store, own_.topic, spec.type, options(), targets()}
    {
        for (const auto& p : expected_.posted) log_.ensure_topic(p.topic);
    }

    void set_timer(const std::string& name, timestamp due)
    {
        const stream_id               stream{cairn::detail::timers_topic,
                               cairn::detail::process_timers::key_of(own_.topic, {own_.key, name})};
        const event<schema::TimerSet> set{[&](auto t) {
            t.setTopic(own_.topic);
            t.setProcess(own_.key);
            t.setName(name);
            t.setDueMs(due.value);
        }};
        record_in(spec_.store, stream, {set});
    }

    /// What comes of the one cause, which is there. Timers that it cancels are set, but the one
    /// that goes off.
    any_reaction run(timestamp shown, std::string_view fired = {})
    {
        for (const auto& t : expected_.timers)
            if (!t.when && t.name != fired) set_timer(t.name, never);
        shown_ = shown;
        core_.run_until_idle();
        got_.events = read_events(spec_.store, own_,
                                  version{static_cast<std::int64_t>(spec_.happened.size())},
                                  spec_.type.state.schemas);
        read_timers();
        read_posted();
        return std::move(got_);
    }

    /// What is read is no message of the process's.
    void leave_out(position at) { left_out_ = at; }

private:
    process_options options()
    {
        process_options o;
        o.from    = begin_;
        o.clock   = [this] { return shown_; };
        o.on_step = [this](process_step step) {
            // What the one cause has set, for at once, is not gone off.
            if (step == process_step::recorded) shown_ = before_all;
        };
        return o;
    }

    std::vector<process_core::target> targets()
    {
        std::vector<process_core::target> all;
        for (const auto* aggregate : spec_.aggregates)
            all.push_back({aggregate,
                           [this](const sent_command& c, const command_context&) -> execute_result {
                               got_.commands.push_back(c);
                               if (spec_.refusal) return reject(*spec_.refusal);
                               return outcome{};
                           }});
        return all;
    }

    /// In the order in which they are expected.
    void read_timers()
    {
        auto                  set = core_.timers();
        std::set<std::string> seen;
        for (const auto& t : expected_.timers) {
            if (!seen.insert(t.name).second) continue;
            const auto pending = std::find_if(set.begin(), set.end(),
                                              [&](const auto& p) { return p.name == t.name; });
            got_.timers.push_back({t.name, std::nullopt});
            if (pending == set.end()) continue;
            got_.timers.back().when = at(pending->at);
            set.erase(pending);
        }
        for (const auto& p : set) got_.timers.push_back({p.name, at(p.at)});
    }

    void read_posted()
    {
        for (const auto& r : log_.read_all(begin_)) {
            if (r.from->topic == own_.topic || r.position == left_out_) continue;
            const auto type = cairn::detail::event_type_of(r);
            const auto known =
                std::find_if(expected_.posted.begin(), expected_.posted.end(),
                             [&](const auto& p) { return type.is(p.message.schema()); });
            if (known == expected_.posted.end())
                throw error{errc::unknown_event, "it posted " + type.text() + " to " +
                                                     r.from->topic +
                                                     ", which it does not where there is no log"};
            auto& core = spec_.store.core();
            got_.posted.push_back(
                {r.from->topic, std::string{r.key.value_or(bytes_view{})},
                 core.codec_of(known->message.schema()).unsealed(r, core.keys())});
        }
    }

    const process_spec&     spec_;
    commit_log              log_;
    const any_reaction&     expected_;
    const stream_id         own_;
    const position          begin_;
    std::optional<position> left_out_;
    timestamp               shown_ = before_all;
    any_reaction            got_;
    process_core            core_;
};

}  // namespace

stream_id heard_in(const event_store& store, const any_event& happened)
{
    const auto key = store.core().codec_of(happened.schema()).key_of(happened);
    return {"spec-heard", key.value_or("a stream")};
}

recorded_reaction heard_on_log(const process_spec& spec, const any_event& happened,
                               const stream_id& from, const std::optional<std::string>& process,
                               const any_reaction& without_log)
{
    asked_process asked{spec, process, without_log};
    record_in(spec.store, from, {happened});
    auto        newest = spec.store.log().read_stream_backwards(from);
    const auto* r      = newest.next();
    const auto  cause  = r->timestamp;
    asked.leave_out(r->position);
    return {asked.run(before_all), cause};
}

recorded_reaction fired_on_log(const process_spec& spec, const timer_fired& timer,
                               const any_reaction& without_log)
{
    asked_process asked{spec, timer.process, without_log};
    asked.set_timer(timer.name, timer.due);
    return {asked.run(timer.now, timer.name), timer.due};
}

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
