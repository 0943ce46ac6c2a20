// SPDX-License-Identifier: Apache-2.0
//
// One input (an event, or a timer that is due) after the other:
//
//     load the process -> react -> send the commands, and react to what is refused
//            ^                        │
//            │                        v
//            └── again, if    one append: its events, timers, messages, and the checkpoint,
//                another wrote       expecting the versions that the processes had, and the
//                to its stream       checkpoint that we wrote last
//
// The checkpoint's expected version is what makes it exactly once: of two runners only one can
// record that an input is handled. Commands go out before anything is recorded, because they are
// never stored. Their ids are made of the input's position and their number in it, so those that
// are sent again after a crash are answered with what they came to the first time.
//
// Checkpoints are records of __processes by the topic's name. An input that comes to nothing is
// not recorded by itself: handled again, it comes to nothing again.
#include <cairn/framework/process_runner.hpp>

#include "background.hpp"
#include "checkpoint.hpp"
#include "instance.hpp"
#include "process_timers.hpp"

#include "process.capnp.h"

#include <cxxabi.h>
#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>

namespace cairn::detail {

namespace {

constexpr const char* checkpoints_topic    = "__processes";
constexpr std::size_t timer_name_bytes_max = 256;
constexpr std::size_t processes_cached     = 1024;
constexpr int         unrecorded_max       = 1000;  // inputs that came to nothing

topic_config compacted()
{
    topic_config c;
    c.cleanup_delete  = false;
    c.cleanup_compact = true;
    return c;
}

/// What is reacted to.
struct process_input
{
    struct part
    {
        const process_type::heard_entry* as;
        any_event                        event;
    };

    position          at;      ///< of the record that it comes from
    timestamp         time{};  ///< what after() counts from
    stream_id         from{};
    position          next;  ///< the checkpoint afterwards
    command_context   carried{};
    std::vector<part> parts{};
    std::optional<std::pair<process_timers::id, set_timer>> timer{};

    std::string text() const
    {
        if (timer)
            return "the timer \"" + timer->first.second + "\" of " + timer->first.first +
                   ", set at position " + std::to_string(at.value);
        return "the event at position " + std::to_string(at.value) +
               (parts.empty() ? "" : " (" + std::string{parts.front().event.type_name()} + ")");
    }
};

/// What an input comes to.
struct consequences
{
    struct touched
    {
        std::unique_ptr<instance> body;
        version                   before;
        std::size_t               events = 0;
        std::uint64_t             bytes  = 0;
    };

    std::map<std::string, touched>                         processes;
    std::vector<std::pair<std::string, any_event>>         events;  ///< by process
    std::map<process_timers::id, std::optional<timestamp>> timers;
    std::vector<any_reaction::posting>                     posted;
    std::deque<std::pair<std::string, sent_command>>       to_send;  ///< by process
    int                                                    sent    = 0;
    int                                                    refused = 0;

    bool nothing() const noexcept
    {
        return events.empty() && timers.empty() && posted.empty() && sent == 0;
    }
};

}  // namespace

std::string short_name_of(const std::type_info& type)
{
    int         status = 0;
    char* const whole  = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
    std::string name{whole ? whole : type.name()};
    std::free(whole);
    // Of a template's arguments the namespaces stay.
    const auto end = name.find('<');
    const auto cut = name.rfind("::", end);
    return cut == std::string::npos ? name : name.substr(cut + 2);
}

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
          progress{core, {checkpoints_topic, topic}, "runner of the process manager " + topic}
    {
        (void)log.describe_topic(topic);  // throws where there is none
        for (const auto schema : type.schemas) (void)core.codec_of(schema);
        for (const auto schema : type.state.schemas) (void)core.codec_of(schema);
        log.ensure_topic(timers_topic, 1, compacted());
        heard.items.push_back({core.query_types(type.schemas), {}});
    }
    ~impl() { thread.stop(); }

    // ---- Beginning. ----------------------------------------------------------------------

    void claim()
    {
        auto begin = options.from;
        progress.claim([&](capnp::MessageReader* newest) {
            if (newest) {
                const auto c = newest->getRoot<schema::ProcessCheckpoint>();
                begin        = position{c.getNext()};
                generation   = c.getGeneration();
            }
            ++generation;
            return checkpoint_at(begin);
        });
        const std::lock_guard lock{mutex};
        next = read_to = begin;
        timers.fold(core, topic);
        claimed = true;
    }

    event<schema::ProcessCheckpoint> checkpoint_at(position at) const
    {
        return event<schema::ProcessCheckpoint>{[&](auto c) {
            c.setNext(at.value);
            c.setGeneration(generation);
        }};
    }

    // ---- Going through the log. ----------------------------------------------------------

    /// Handles what is there and what is due.
    void work(bool until_stopped)
    {
        const std::lock_guard turn{turns};
        try {
            if (!claimed) claim();
            progress.check();
            {
                const std::lock_guard lock{mutex};
                failure = nullptr;
            }
            while (!(until_stopped && thread.stopping()) && step()) {
            }
        } catch (...) {
            reading.reset();
            ahead = nullptr;
            held.reset();
            fence.reset();
            const std::lock_guard lock{mutex};
            failure = std::current_exception();
            throw;
        }
        // Not kept while nobody reads: it holds a segment.
        if (!ahead) reading.reset();
    }

    /// Handles one input; false where there is none.
    bool step()
    {
        // Events that keep coming do not keep a timer from going off: it waits for those only that
        // were there when it was found to be due.
        if (!fence && due_now()) fence = log.end_position();
        if (!ahead) ahead = next_record();
        if (held && (!ahead || stream_of(*ahead) != held->from)) {
            handle(finished());
            return true;
        }
        if (fence && (!ahead || ahead->position >= *fence)) {
            fence.reset();
            if (const auto timer = due_now()) fire(*timer);
            return true;
        }
        if (!ahead) return false;
        const auto input = input_of(*ahead);
        read_to          = ahead->position.next();
        if (input) handle(*input);
        ahead = nullptr;
        return true;
    }

    std::optional<std::pair<process_timers::id, set_timer>> due_now() const
    {
        auto first = timers.first();
        if (first && first->second.at > time_from(options.clock)) first.reset();
        return first;
    }

    const record_view* next_record()
    {
        if (!reading) {
            reader.emplace(core, type.schemas);
            read_to = next;
            reading.emplace(log.read_query(heard, next));
        }
        if (const auto* r = reading->next()) return r;
        return reading->wait(record_range::clock::now()) ? reading->next() : nullptr;
    }

    /// What a record is read as, of what is heard; nullopt where that is to come with the next
    /// one.
    std::optional<process_input> input_of(const record_view& r)
    {
        process_input input;
        input.at        = r.position;
        input.next      = r.position.next();
        input.time      = r.timestamp;
        input.from      = stream_of(r);
        const auto text = [&](std::string_view name) -> std::optional<std::string> {
            const auto value = r.headers.find(name);
            return value ? std::optional{std::string{*value}} : std::nullopt;
        };
        auto cause = text(header_names::id);
        if (!cause && r.from)
            cause = r.from->topic + "-" + std::to_string(r.from->partition) + "@" +
                    std::to_string(r.offset.value);
        input.carried.causation_id   = cause;
        input.carried.correlation_id = text(header_names::correlation_id);
        if (!input.carried.correlation_id) input.carried.correlation_id = cause;
        input.carried.trace_parent = text(header_names::trace_parent);
        try {
            reader->read(r, [&](const event_type& t, bytes_view e) { take(input, t, e); });
        } catch (const std::exception& e) {
            fail(input, e.what());
        }
        // With upcasters it may be the first of two that are merged: it is not handled yet.
        held.reset();
        if (input.parts.empty() && !core.options.upcasters.empty()) {
            held = std::move(input);
            return std::nullopt;
        }
        return input;
    }

    /// What was held, where no second comes.
    process_input finished()
    {
        auto input = std::move(*held);
        held.reset();
        reader->finish([&](const event_type& t, bytes_view e) { take(input, t, e); });
        return input;
    }

    static stream_id stream_of(const record_view& r)
    {
        return {r.from ? r.from->topic : std::string{}, std::string{r.key.value_or(bytes_view{})}};
    }

    void take(process_input& into, const event_type& t, bytes_view e) const
    {
        for (const auto& h : type.heard)
            if (t.is(h.schema)) into.parts.push_back({&h, any_event{h.schema, e}});
    }

    void fire(const std::pair<process_timers::id, set_timer>& timer)
    {
        process_input input;
        input.at      = timer.second.set_at;
        input.time    = timer.second.at;
        input.next    = next;
        input.carried = timer.second.carried;
        input.timer   = timer;
        handle(input);
    }

    // ---- One input. ----------------------------------------------------------------------

    void handle(const process_input& input)
    {
        try {
            for (int attempt = 1; !try_once(input); ++attempt) {
                if (attempt >= options.attempts_max)
                    throw error{errc::conflict, "others wrote to its process's stream " +
                                                    std::to_string(attempt) +
                                                    " times while it was reacting"};
                const std::lock_guard lock{mutex};
                ++counts.tried_again;
            }
        } catch (const error& e) {
            if (e.code() == errc::fenced_generation || e.code() == errc::closed) throw;
            fail(input, e.what());
        } catch (const std::exception& e) {
            fail(input, e.what());
        } catch (...) {
            fail(input, "something was thrown that is no std::exception");
        }
    }

    /// False where others were quicker at the process's stream.
    bool try_once(const process_input& input)
    {
        auto what = react(input);
        if (what.nothing() && !input.timer) {
            pass_over(input, what);
            return true;
        }
        if (!record_all(input, what)) return false;
        step_done(input, what);
        return true;
    }

    [[noreturn]] void fail(const process_input& input, const std::string& why) const
    {
        throw process_failed{topic + " stops: " + input.text() + " could not be handled: " + why,
                             input.at, std::current_exception()};
    }

    void step_now(process_step s) const
    {
        if (options.on_step) options.on_step(s);
    }

    consequences react(const process_input& input)
    {
        consequences what;
        if (input.timer) {
            const auto& [id, timer] = *input.timer;
            if (!type.react_timer)
                throw error{errc::invalid_argument,
                            "it has no `reaction react(const cairn::timer_fired&) const`"};
            what.timers[id] = std::nullopt;  // unless it is set again
            auto& process   = load(id.first, what);
            step_now(process_step::reacting);
            carry_out(input, id.first,
                      type.react_timer(process.body->state(),
                                       {id.first, id.second, timer.at, time_from(options.clock)}),
                      what);
        }
        message opened;
        for (const auto& part : input.parts) {
            const auto id = part.as->process_of(opened.open(part.event.bytes()), input.from);
            if (!id) continue;
            auto& process = load(*id, what);
            step_now(process_step::reacting);
            carry_out(input, *id,
                      part.as->react(process.body->state(), opened.open(part.event.bytes())), what);
        }
        return what;
    }

    consequences::touched& load(const std::string& id, consequences& what)
    {
        const auto [at, is_new] = what.processes.try_emplace(id);
        auto& process           = at->second;
        if (!is_new) return process;
        const auto stream = checked_stream(topic, id);
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
        if (process.body->at() < log.stream_version(stream)) {
            event_reader own{core, type.state.schemas};
            for (const auto& r : log.read_stream(stream, process.body->at()))
                process.body->apply(r, stream, own, unknown_events::refuse);
            process.body->finish(stream, own, unknown_events::refuse);
        }
        process.before = process.body->at();
        return process;
    }

    /// Takes over what a reaction holds, and what comes of its commands.
    void carry_out(const process_input& input, const std::string& id, any_reaction reaction,
                   consequences& what)
    {
        take_over(input, id, std::move(reaction), what);
        while (!what.to_send.empty()) {
            const auto [process, command] = std::move(what.to_send.front());
            what.to_send.pop_front();
            if (what.sent >= options.commands_max)
                throw error{errc::invalid_argument,
                            "it came to more than " + std::to_string(options.commands_max) +
                                " commands: does one refusal lead to the next?"};
            step_now(process_step::sending);
            progress.check();
            const auto answer = send(input, command, what.sent++);
            if (answer) continue;
            ++what.refused;
            if (type.react_refused)
                take_over(input, process,
                          type.react_refused(what.processes.at(process).body->state(),
                                             {process, command, answer.error()}),
                          what);
        }
    }

    void take_over(const process_input& input, const std::string& id, any_reaction reaction,
                   consequences& what)
    {
        auto& process = what.processes.at(id);
        for (auto& e : reaction.events) {
            process.body->apply(e);
            ++process.events;
            process.bytes += e.bytes().size();
            what.events.emplace_back(id, std::move(e));
        }
        for (const auto& t : reaction.timers) {
            if (t.name.empty() || t.name.size() > timer_name_bytes_max ||
                t.name.find('/') != std::string::npos)
                throw error{errc::invalid_argument,
                            "a timer called \"" + t.name + "\": its name has 1 to " +
                                std::to_string(timer_name_bytes_max) + " bytes, none of them /"};
            if (t.when && !type.react_timer)
                throw error{errc::invalid_argument,
                            "it sets the timer \"" + t.name +
                                "\", and has no `reaction react(const cairn::timer_fired&) const`"};
            what.timers[{id, t.name}] =
                t.when ? std::optional{t.when->from(input.time)} : std::nullopt;
        }
        for (auto& p : reaction.posted) {
            if (p.topic == topic)
                throw error{errc::invalid_argument,
                            "it posts to its own topic " + topic + ": name another one"};
            (void)checked_stream(p.topic, p.key);
            what.posted.push_back(std::move(p));
        }
        for (auto& c : reaction.commands) what.to_send.emplace_back(id, std::move(c));
    }

    std::string command_id_of(const process_input& input) const
    {
        return topic + "/" + std::to_string(input.at.value);
    }

    execute_result send(const process_input& input, const sent_command& command, int number)
    {
        auto context               = input.carried;
        context.command_id         = command_id_of(input) + "/" + std::to_string(number);
        context.remember_rejection = true;
        for (const auto& t : targets)
            if (*t.aggregate == *command.type().aggregate)
                return command.type().execute(t.repository, command.id(), command.command(),
                                              context);
        throw error{errc::invalid_argument,
                    "there is no repository of " + command.aggregate_name()};
    }

    // ---- Recording it. -------------------------------------------------------------------

    /// False where a process's stream has moved on meanwhile: it reacts again.
    bool record_all(const process_input& input, consequences& what)
    {
        for (;;) {
            append_request request;
            request.command_id     = command_id_of(input);
            const auto timers_from = add_records(request, input, what);
            progress.add_to(request, checkpoint_at(input.next));
            step_now(process_step::recording);
            const auto result = log.try_append(request);
            if (result) {
                if (result->repeated) {
                    progress.check();
                    // So somebody has deleted the topic of the checkpoints.
                    const std::lock_guard lock{mutex};
                    what.processes.clear();
                    timers.fold(core, topic);
                    next = input.next;
                    return true;
                }
                keep(input, what, result->first + static_cast<std::int64_t>(timers_from));
                return true;
            }
            const auto why = result.error();
            if (why.code != errc::wrong_expected_version || !why.stream) throw append_refused{why};
            const auto& moved = *why.stream;
            if (moved == progress.stream()) progress.throw_fenced();
            if (moved.topic == topic) return false;
            // A message's number in its stream was taken: it gets the next.
        }
    }

    /// Returns where among the records those of the timers begin.
    std::size_t add_records(append_request& request, const process_input& input,
                            const consequences& what)
    {
        std::map<stream_id, version> at;
        for (const auto& [id, process] : what.processes) {
            const stream_id stream{topic, id};
            request.expect.push_back({stream, expected_version::exactly(process.before)});
            at[stream] = process.before;
        }
        const auto add = [&](const stream_id& stream, const any_event& e) {
            const auto [known_at, is_new] = at.try_emplace(stream, version{0});
            auto& number                  = known_at->second;
            if (is_new) {
                number = log.stream_version(stream);
                request.expect.push_back({stream, expected_version::exactly(number)});
            }
            request.records.push_back(
                {stream.topic, core.record_of(e, stream, number, input.carried)});
            ++number;
        };
        for (const auto& [id, e] : what.events) add({topic, id}, e);
        for (const auto& p : what.posted) add({p.topic, p.key}, p.message);
        const auto timers_from = request.records.size();
        for (const auto& [id, when] : what.timers) {
            const stream_id stream{timers_topic, process_timers::key_of(topic, id)};
            cairn::record   r;
            if (when) {
                const event<schema::TimerSet> set{[&, &id = id, &when = when](auto t) {
                    t.setTopic(topic);
                    t.setProcess(id.first);
                    t.setName(id.second);
                    t.setDueMs(when->value);
                }};
                r = core.record_of(set, stream, log.stream_version(stream), input.carried);
            }
            r.key = stream.key;
            if (when || timers.has(id)) request.records.push_back({timers_topic, std::move(r)});
        }
        return timers_from;
    }

    /// In memory what is on disk now.
    void keep(const process_input& input, consequences& what, position timer_at)
    {
        const std::lock_guard lock{mutex};
        for (const auto& [id, when] : what.timers) {
            if (when) {
                auto            carried = input.carried;
                const stream_id stream{timers_topic, process_timers::key_of(topic, id)};
                carried.causation_id = stream.topic + "/" + stream.key + "@" +
                                       std::to_string(log.stream_version(stream).value - 1);
                timers.set(id, {*when, timer_at, std::move(carried)});
                ++timer_at;
            } else if (timers.has(id)) {
                timers.remove(id);
                ++timer_at;
            }
        }
        progress.written();
        unrecorded = 0;
        next       = input.next;
        counts.posted += what.posted.size();
    }

    void step_done(const process_input& input, consequences& what)
    {
        {
            const std::lock_guard lock{mutex};
            ++(input.timer ? counts.timers_fired : counts.events);
            counts.commands += static_cast<std::uint64_t>(what.sent);
            counts.commands_refused += static_cast<std::uint64_t>(what.refused);
        }
        if (known.size() + what.processes.size() > processes_cached) known.clear();
        for (auto& [id, process] : what.processes) {
            process.body->recorded(process.events, process.bytes, process.body->last());
            known[id] = std::move(process.body);
        }
        step_now(process_step::recorded);
    }

    /// An input that comes to nothing. It is recorded now and then that they are behind us, so
    /// that a start does not go through all of them again.
    void pass_over(const process_input& input, consequences& what)
    {
        for (auto& [id, process] : what.processes)
            if (known.size() < processes_cached) known[id] = std::move(process.body);
        if (++unrecorded >= unrecorded_max) {
            append_request request;
            progress.add_to(request, checkpoint_at(input.next));
            if (!log.try_append(request)) progress.throw_fenced();
            progress.written();
            unrecorded = 0;
        }
        const std::lock_guard lock{mutex};
        next = input.next;
        ++(what.processes.empty() ? counts.ignored : counts.events);
    }

    // ---- In the background. --------------------------------------------------------------

    void follow() noexcept
    {
        while (!thread.stopping()) {
            try {
                work(true);
                position                  from;
                std::chrono::milliseconds nap{1000};
                {
                    const std::lock_guard turn{turns};
                    from = read_to;
                    if (const auto first = timers.first())
                        nap = std::clamp(
                            std::chrono::milliseconds{first->second.at - time_from(options.clock)},
                            std::chrono::milliseconds{0}, nap);
                }
                thread.sleep(log.read_query(heard, from), nap);
            } catch (...) {
                const std::lock_guard lock{mutex};
                failure = std::current_exception();
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
    checkpoint                progress;
    query                     heard;

    // One thread at a time handles; what others ask for changes under `mutex` as well.
    std::mutex                   turns;
    bool                         claimed    = false;
    std::int64_t                 generation = 0;
    int                          unrecorded = 0;
    std::optional<event_reader>  reader;
    std::optional<record_range>  reading;
    const record_view*           ahead = nullptr;  // read, not handled
    std::optional<process_input> held;             // for a second that it is merged with
    std::optional<position>      fence;            // what is before it comes before the timer
    position                     read_to;
    std::uint64_t                forgotten = 0;
    std::unordered_map<std::string, std::unique_ptr<instance>> known;

    mutable std::mutex mutex;
    position           next;
    process_timers     timers;
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
    impl_->work(false);
}

void process_core::start()
{
    impl_->thread.start([this] { impl_->follow(); });
}

void process_core::stop() noexcept
{
    impl_->thread.stop();
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
    const std::lock_guard lock{impl_->mutex};
    return impl_->next;
}

std::vector<pending_timer> process_core::timers() const
{
    const std::lock_guard lock{impl_->mutex};
    return impl_->timers.pending();
}

process_statistics process_core::statistics() const
{
    const std::lock_guard lock{impl_->mutex};
    return impl_->counts;
}

}  // namespace cairn::detail
