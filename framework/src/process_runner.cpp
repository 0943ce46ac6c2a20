// SPDX-License-Identifier: Apache-2.0
//
// Causes (events, and timers that are due) one after the other, several to an append:
//
//     load the process -> react -> send the commands, and react to what is refused
//            ^                        │
//            │ the next cause         v
//            ├── until there are  one append: what came of all of them, and the checkpoint,
//            │   batch_max        expecting the versions that the processes had, and the
//            │                    checkpoint that we wrote last
//            │                        │
//            └── each by itself, if it cannot be recorded: so it is known which one it is
//
// The checkpoint's expected version is what makes it exactly once: of two runners only one can
// record that a cause is handled. Commands go out before anything is recorded, because they are
// never stored. Their ids are made of the cause's position and their number in it, so those that
// are sent again after a crash are answered with what they came to the first time.
//
// For that, causes must meet the same state when they are handled again. Events do: they have an
// order. Where among them a timer goes off is known only once it is recorded, so what came before
// it is recorded first, and it is recorded alone. If it sends, it is recorded before that it does:
// a crash behind its first command must not let events go before it that came meanwhile.
#include <cairn/framework/process_runner.hpp>

#include "background.hpp"
#include "instance.hpp"
#include "process_causes.hpp"
#include "process_records.hpp"
#include "reason.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>

namespace cairn::detail {

namespace {

constexpr std::size_t timer_name_bytes_max = 256;
constexpr std::size_t processes_cached     = 1024;
constexpr std::size_t batch_bytes_max      = 1 << 20;

/// Causes that were reacted to, and are recorded together.
struct process_batch
{
    struct touched
    {
        std::unique_ptr<instance> body;
        std::size_t               events = 0;  ///< applied, and not recorded yet
        std::uint64_t             bytes  = 0;
    };

    std::vector<process_cause>     causes;
    process_changes                changes;
    std::map<std::string, version> seen;  ///< at which versions processes were read
    std::map<std::string, touched> processes;
    process_statistics             counts;  ///< to add once it is recorded
    std::size_t                    bytes = 0;
};

/// A cause, while it is reacted to.
struct process_reacting
{
    const process_cause&                             cause;
    process_batch&                                   batch;
    process_changes                                  changes{};
    std::deque<std::pair<std::string, sent_command>> to_send{};  ///< by process
    std::uint64_t                                    refused = 0;
};

/// What on_step threw. As if the program had ended there: nothing more is recorded.
class crash_at_step : public process_failed
{
public:
    using process_failed::process_failed;
};

/// It is no cause's doing, and nothing more can be recorded.
bool ends_all(const std::exception_ptr& thrown)
{
    try {
        std::rethrow_exception(thrown);
    } catch (const crash_at_step&) {
        return true;
    } catch (const error& e) {
        return e.code() == errc::fenced_generation || e.code() == errc::closed;
    } catch (...) {
        return false;
    }
}

}  // namespace

struct process_core::impl
{
    impl(event_store s, std::string t, process_type p, process_options o, std::vector<target> to)
        : store{std::move(s)},
          core{store.core()},
          log{core.log},
          topic{std::move(t)},
          type{std::move(p)},
          options{std::move(o)},
          targets{std::move(to)},
          records{core, topic},
          causes{core, type}
    {
        (void)log.describe_topic(topic);  // throws where there is none
        core.add_types(type.state.schemas);
    }
    ~impl() { thread.stop(); }

    // ---- Going through the log. ----------------------------------------------------------

    /// Handles what is there and what is due.
    void work(bool until_stopped)
    {
        const std::lock_guard turn{turns};
        try {
            stopped.reset();
            if (!claimed) records.claim(options.from);
            claimed = true;
            records.check();
            {
                const std::lock_guard lock{mutex};
                failure = nullptr;
            }
            while (!(until_stopped && thread.stopping()) && step()) {
            }
            record_batch();
        } catch (...) {
            in_hand = {};
            causes.reset();
            fence.reset();
            throw;
        }
        causes.rest();
    }

    void run_until_idle()
    {
        try {
            work(false);
        } catch (...) {
            const std::lock_guard lock{mutex};
            failure = std::current_exception();
            throw;
        }
    }

    /// Goes on by one cause; false where there is none.
    bool step()
    {
        if (const auto begun = records.begun()) {
            fire({begun->id, begun->timer}, begun->shown);
            return true;
        }
        // Events that keep coming do not keep a timer from going off: it waits for those only that
        // were there when it was found to be due.
        if (!fence && due_now()) fence = log.end_position();
        if (auto cause = causes.next(records.next(), fence)) {
            handle(std::move(*cause));
            return true;
        }
        if (!fence && in_hand.causes.empty()) return false;
        record_batch();  // it may set timers, or cancel the one that was due
        if (std::exchange(fence, std::nullopt))
            if (const auto timer = due_now()) fire(*timer, time_from(options.clock));
        return true;
    }

    std::optional<std::pair<process_timers::id, set_timer>> due_now() const
    {
        auto first = records.first_timer();
        if (first && first->second.at > time_from(options.clock)) first.reset();
        return first;
    }

    void fire(const std::pair<process_timers::id, set_timer>& timer, timestamp shown)
    {
        process_cause cause;
        cause.at      = timer.second.set_at;
        cause.time    = timer.second.at;
        cause.next    = records.next();
        cause.carried = timer.second.carried;
        cause.timer   = timer;
        cause.shown   = shown;
        handle(std::move(cause));
        record_batch();
    }

    // ---- One cause. ----------------------------------------------------------------------

    void handle(process_cause cause)
    {
        try {
            react(cause, in_hand);
        } catch (...) {
            stop_before(cause, std::current_exception());
        }
        in_hand.causes.push_back(std::move(cause));
        if (in_hand.causes.size() >= static_cast<std::size_t>(std::max(options.batch_max, 1)) ||
            in_hand.bytes >= batch_bytes_max)
            record_batch();
    }

    /// Records what came before the cause, and fails.
    [[noreturn]] void stop_before(const process_cause& cause, const std::exception_ptr& thrown)
    {
        if (ends_all(thrown)) std::rethrow_exception(thrown);
        in_hand.processes.clear();  // they may have applied what is not recorded
        record_batch();
        fail(cause, thrown);
    }

    [[noreturn]] void fail(const process_cause& cause, const std::exception_ptr& thrown)
    {
        const auto what =
            topic + " stops: " + cause.text() + " could not be handled: " + reason_of(thrown);
        stopped = {cause, what};
        throw process_failed{what, cause.at, thrown};
    }

    void step_now(process_step s, const process_cause& at) const
    {
        if (!options.on_step) return;
        try {
            options.on_step(s);
        } catch (...) {
            throw crash_at_step{topic + " stops at " + at.text() + ": on_step threw", at.at,
                                std::current_exception()};
        }
    }

    /// Adds to the batch what comes of the cause; where it throws, nothing that is recorded.
    void react(const process_cause& cause, process_batch& batch)
    {
        process_reacting now{cause, batch};
        bool             concerns = false;
        if (cause.unreadable) std::rethrow_exception(cause.unreadable);
        if (cause.timer) {
            const auto& [id, timer] = *cause.timer;
            check_timer(timer);
            now.changes.timers[id] = {};  // unless it is set again
            const auto& process    = load(id.first, batch);
            step_now(process_step::reacting, cause);
            carry_out(now, id.first,
                      type.react_timer(process.body->state(),
                                       {id.first, id.second, timer.at, cause.shown}));
        }
        message opened;
        for (const auto& part : cause.parts) {
            const auto id = part.as->process_of(opened.open(part.event.bytes()), cause.from);
            if (!id) continue;
            concerns            = true;
            const auto& process = load(*id, batch);
            step_now(process_step::reacting, cause);
            carry_out(now, *id,
                      part.as->react(process.body->state(), opened.open(part.event.bytes())));
        }
        auto& done = batch.counts;
        ++(cause.timer ? done.timers_fired : concerns ? done.events : done.ignored);
        done.commands += static_cast<std::uint64_t>(now.changes.sent);
        done.commands_refused += now.refused;
        done.posted += now.changes.posted.size();
        for (const auto& p : now.changes.posted) batch.bytes += p.what.message.bytes().size();
        for (const auto& e : now.changes.events) batch.bytes += e.happened.bytes().size();
        batch.changes.add(std::move(now.changes));
    }

    void check_timer(const set_timer& timer) const
    {
        if (!type.react_timer)
            throw error{errc::invalid_argument,
                        "it has no `reaction react(const cairn::timer_fired&) const`"};
        if (timer.chain >= options.timers_max)
            throw error{errc::invalid_argument,
                        std::to_string(timer.chain) +
                            " timers led to it, one by the other, with no time between them: "
                            "does it set itself to at once?"};
    }

    process_batch::touched& load(const std::string& id, process_batch& batch)
    {
        const auto [at, is_new] = batch.processes.try_emplace(id);
        auto& process           = at->second;
        if (!is_new) return process;
        const auto stream = checked_stream(topic, id);
        if (id == skipped_id)
            throw error{errc::illegal_stream_id,
                        "a process called " + id + ": that is where what was skipped is recorded"};
        if (forgotten != core.forgotten()) {
            forgotten = core.forgotten();
            known.clear();
        }
        if (const auto cached = known.find(id); cached != known.end()) {
            process.body = std::move(cached->second);
            known.erase(cached);
        } else {
            process.body = std::make_unique<instance>(type.state);
        }
        if (!process.body->settled()) process.body->forget();
        if (process.body->at() < log.stream_version(stream))
            process.body->catch_up(core, stream, unknown_events::refuse);
        batch.seen[id] = process.body->at();
        return process;
    }

    /// Takes over what a reaction holds, and what comes of its commands.
    void carry_out(process_reacting& now, const std::string& id, any_reaction reaction)
    {
        take_over(now, id, std::move(reaction));
        while (!now.to_send.empty()) {
            const auto [process, command] = std::move(now.to_send.front());
            now.to_send.pop_front();
            if (now.changes.sent >= options.commands_max)
                throw error{errc::invalid_argument,
                            "it came to more than " + std::to_string(options.commands_max) +
                                " commands: does one refusal lead to the next?"};
            if (now.cause.timer) records.begin(now.cause.timer->second, now.cause.shown);
            step_now(process_step::sending, now.cause);
            records.check();
            const auto answer = send(now.cause, command, now.changes.sent++);
            if (answer) continue;
            ++now.refused;
            if (type.react_refused)
                take_over(now, process,
                          type.react_refused(now.batch.processes.at(process).body->state(),
                                             {process, command, answer.error()}));
        }
    }

    void take_over(process_reacting& now, const std::string& id, any_reaction reaction)
    {
        const auto& carried = now.cause.carried;
        auto&       process = now.batch.processes.at(id);
        for (auto& e : reaction.events) {
            process.body->apply(e);
            if (core.is_old(e.type_id())) process.body->unsettle();
            ++process.events;
            process.bytes += e.bytes().size();
            now.changes.events.push_back({id, std::move(e), carried});
        }
        for (const auto& t : reaction.timers) {
            check_name(t);
            process_changes::timer_change change{.carried = carried};
            if (t.when) {
                change.at = t.when->from(now.cause.time);
                if (now.cause.timer && *change.at <= now.cause.time)
                    change.chain = now.cause.timer->second.chain + 1;
            }
            now.changes.timers.insert_or_assign({id, t.name}, std::move(change));
        }
        for (auto& p : reaction.posted) {
            if (p.topic == topic)
                throw error{errc::invalid_argument,
                            "it posts to its own topic " + topic + ": name another one"};
            (void)checked_stream(p.topic, p.key);
            now.changes.posted.push_back({std::move(p), carried});
        }
        for (auto& c : reaction.commands) now.to_send.emplace_back(id, std::move(c));
    }

    void check_name(const any_reaction::timer_change& t) const
    {
        if (t.name.empty() || t.name.size() > timer_name_bytes_max ||
            t.name.find('/') != std::string::npos)
            throw error{errc::invalid_argument,
                        "a timer called \"" + t.name + "\": its name has 1 to " +
                            std::to_string(timer_name_bytes_max) + " bytes, none of them /"};
        if (t.when && !type.react_timer)
            throw error{errc::invalid_argument,
                        "it sets the timer \"" + t.name +
                            "\", and has no `reaction react(const cairn::timer_fired&) const`"};
    }

    std::string command_id_of(const process_cause& cause) const
    {
        return topic + "/" + std::to_string(cause.at.value);
    }

    execute_result send(const process_cause& cause, const sent_command& command, int number)
    {
        auto context               = cause.carried;
        context.command_id         = command_id_of(cause) + "/" + std::to_string(number);
        context.remember_rejection = true;
        for (const auto& t : targets)
            if (*t.aggregate == *command.type().aggregate) return t.send(command, context);
        throw error{errc::invalid_argument,
                    "there is no repository of " + command.aggregate_name()};
    }

    // ---- Recording them. -----------------------------------------------------------------

    /// Records what is in hand. Where that cannot be, its causes are handled again, each by
    /// itself: those before the one at fault are recorded, and it is known which one that is.
    void record_batch()
    {
        auto batch = std::exchange(in_hand, {});
        if (batch.causes.empty()) return;
        const bool alone = batch.causes.size() == 1;
        try {
            if (try_record(batch)) return;
        } catch (...) {
            if (ends_all(std::current_exception())) throw;
            if (alone) fail(batch.causes.front(), std::current_exception());
        }
        for (const auto& cause : batch.causes) try_again(cause, alone ? 1 : 0);
    }

    void try_again(const process_cause& cause, int attempts)
    {
        try {
            for (;; ++attempts) {
                if (attempts >= options.attempts_max)
                    throw error{errc::conflict, "others wrote to its process's stream " +
                                                    std::to_string(attempts) +
                                                    " times while it was reacting"};
                {
                    const std::lock_guard lock{mutex};
                    ++counts.tried_again;
                }
                process_batch alone;
                react(cause, alone);
                alone.causes.push_back(cause);
                if (try_record(alone)) return;
            }
        } catch (...) {
            if (ends_all(std::current_exception())) throw;
            fail(cause, std::current_exception());
        }
    }

    /// False where others were quicker at a process's stream.
    bool try_record(process_batch& batch)
    {
        const auto& last = batch.causes.back();
        if (batch.changes.nothing()) {
            records.pass_over(batch.causes.size(), last.next);
            keep(batch);
            return true;
        }
        const auto answer =
            records.record(batch.changes, batch.seen, last.next, command_id_of(last),
                           [&] { step_now(process_step::recording, last); });
        if (answer == process_records::answer::moved) return false;
        if (answer == process_records::answer::repeated) batch.processes.clear();
        keep(batch);
        step_now(process_step::recorded, last);
        return true;
    }

    /// In memory what is recorded now.
    void keep(process_batch& batch)
    {
        if (known.size() + batch.processes.size() > processes_cached) known.clear();
        for (auto& [id, process] : batch.processes) {
            process.body->recorded(process.events, process.bytes, process.body->last());
            known[id] = std::move(process.body);
        }
        const std::lock_guard lock{mutex};
        counts.events += batch.counts.events;
        counts.ignored += batch.counts.ignored;
        counts.timers_fired += batch.counts.timers_fired;
        counts.commands += batch.counts.commands;
        counts.commands_refused += batch.counts.commands_refused;
        counts.posted += batch.counts.posted;
    }

    void skip(position which, const std::string& reason)
    {
        const std::lock_guard turn{turns};
        if (reason.empty())
            throw error{errc::invalid_argument, "nothing is skipped without a reason: say one"};
        if (!stopped || stopped->cause.at != which)
            throw error{errc::invalid_argument,
                        "the runner of " + topic + " does not stand before position " +
                            std::to_string(which.value) +
                            ": only what it failed at can be skipped, where process_failed::at() "
                            "says"};
        const auto&              cause = stopped->cause;
        process_records::skipped what{{cause.at}, {}, reason, stopped->why, cause.carried};
        if (cause.first) what.records.insert(what.records.begin(), *cause.first);
        if (cause.timer) what.timer = cause.timer->first;
        records.skip(what, cause.next);
        stopped.reset();
        const std::lock_guard lock{mutex};
        failure = nullptr;
        ++counts.skipped;
    }

    // ---- In the background. --------------------------------------------------------------

    void follow() noexcept
    {
        while (!thread.stopping()) {
            try {
                work(true);
                std::optional<record_range> news;
                std::chrono::milliseconds   nap{1000};
                {
                    const std::lock_guard turn{turns};
                    news = causes.news();
                    if (const auto first = records.first_timer())
                        nap = std::clamp(
                            std::chrono::milliseconds{first->second.at - time_from(options.clock)},
                            std::chrono::milliseconds{0}, nap);
                }
                thread.sleep(std::move(*news), nap);
            } catch (...) {
                const std::lock_guard lock{mutex};
                failure = std::current_exception();
                thread.ended();
                return;
            }
        }
    }

    event_store               store;
    event_store_core&         core;
    commit_log&               log;
    const std::string         topic;
    const process_type        type;
    const process_options     options;
    const std::vector<target> targets;
    process_records           records;
    process_causes            causes;

    struct failed_at
    {
        process_cause cause;
        std::string   why;
    };

    // One thread at a time handles.
    std::mutex               turns;
    bool                     claimed = false;
    std::optional<position>  fence;  // what is before it comes before the timer
    process_batch            in_hand;
    std::optional<failed_at> stopped;  // what it stands before
    std::uint64_t            forgotten = 0;
    std::unordered_map<std::string, std::unique_ptr<instance>> known;

    mutable std::mutex mutex;
    process_statistics counts;
    std::exception_ptr failure;

    background thread;
};

process_core::process_core(event_store store, std::string topic, process_type type,
                           process_options o, std::vector<target> targets)
    : impl_{std::make_unique<impl>(std::move(store), std::move(topic), std::move(type),
                                   std::move(o), std::move(targets))}
{
}

process_core::~process_core() = default;

void process_core::run_until_idle()
{
    impl_->run_until_idle();
}

void process_core::start()
{
    impl_->thread.start([this] { impl_->follow(); });
}

void process_core::stop() noexcept
{
    impl_->thread.stop();
}

void process_core::skip(position which, const std::string& reason)
{
    impl_->skip(which, reason);
}

runner_state process_core::state() const noexcept
{
    const std::lock_guard lock{impl_->mutex};
    if (impl_->failure) return runner_state::failed;
    return impl_->thread.running() ? runner_state::running : runner_state::idle;
}

std::exception_ptr process_core::failure() const noexcept
{
    const std::lock_guard lock{impl_->mutex};
    return impl_->failure;
}

position process_core::next() const noexcept
{
    return impl_->records.next();
}

std::vector<pending_timer> process_core::timers() const
{
    return impl_->records.pending();
}

process_statistics process_core::statistics() const
{
    const std::lock_guard lock{impl_->mutex};
    return impl_->counts;
}

}  // namespace cairn::detail
