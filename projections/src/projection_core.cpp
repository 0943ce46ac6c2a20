// SPDX-License-Identifier: Apache-2.0
#include "control_link.hpp"
#include "projection_run.hpp"
#include "stall_watch.hpp"
#include "stored_tables.hpp"

#include <cairn/projections/live.hpp>

#include <algorithm>
#include <limits>
#include <map>
#include <thread>
#include <utility>

namespace cairn {

std::string_view name(projection_state s) noexcept
{
    switch (s) {
    case projection_state::idle:
        return "idle";
    case projection_state::catching_up:
        return "catching up";
    case projection_state::following:
        return "following";
    case projection_state::retrying:
        return "retrying";
    case projection_state::failed:
        return "failed";
    case projection_state::paused:
        return "paused";
    case projection_state::stalled:
        return "stalled";
    }
    return "?";
}

namespace detail {

namespace {

using clock = std::chrono::steady_clock;

const std::atomic<bool> never{false};

/// After this much time a rate is of old.
constexpr auto rate_window = std::chrono::seconds{5};

std::string words_of(const std::exception_ptr& e)
{
    if (!e) return {};
    try {
        std::rethrow_exception(e);
    } catch (const std::exception& known) {
        return known.what();
    } catch (...) {
        return "something that is no std::exception";
    }
}

/// The event that it stands before, if that is what failed.
std::optional<position> place_of(const std::exception_ptr& e)
{
    try {
        std::rethrow_exception(e);
    } catch (const projection_failed& known) {
        return known.position();
    } catch (...) {
        return std::nullopt;
    }
}

/// What passes by itself: the store is away, or full.
bool passes(const std::exception_ptr& e)
{
    try {
        std::rethrow_exception(e);
    } catch (const error& known) {
        return known.code() == errc::store_unavailable || known.code() == errc::disk_full;
    } catch (...) {
        return false;
    }
}

/// The projection's own, then those of what is parked.
std::vector<table_shape> shapes_of(const projection_type& type)
{
    const auto          one = type.create();
    const parked_events parked{*one};
    return access_of(*one).shapes();
}

/// A version and the thread that feeds it.
struct fed_version
{
    fed_version(std::shared_ptr<projection_run> r, std::chrono::milliseconds stall_after)
        : run{std::move(r)}, watch{stall_after}
    {
    }

    std::shared_ptr<projection_run> run;
    std::atomic<bool>               stopping{false};
    std::thread                     thread;
    std::atomic<bool>               has_thread{false};             // for who may not touch it
    std::shared_ptr<record_range>   asleep;                        // protected by the core's mutex
    bool                            woken         = false;         // likewise; while not asleep
    clock::time_point               begun         = clock::now();  // likewise
    std::uint64_t                   done_at_begin = 0;             // likewise
    clock::time_point               told{};
    stall_watch                     watch;                 // likewise
    bool                            told_stalled = false;  // the watchdog's own
};

}  // namespace

struct projection_core::impl final : projection_source, std::enable_shared_from_this<impl>
{
    impl(event_store e, std::string n, std::shared_ptr<table_store> t, projection_type ty,
         projection_options o)
        : events{std::move(e)},
          name{std::move(n)},
          store{std::move(t)},
          type{std::move(ty)},
          options{std::move(o)},
          shapes{shapes_of(type)},
          with{options.group ? options.group->shared()->named(name) : nullptr}
    {
        check_name();
        check_sinks(name, access_of(*type.create()).feeds(), options.feeds);
        if (with)
            listening =
                with->listen({[this](int version, const auto& done) { hear(version, done); },
                              [this] { wake(); }, &feed_of_tables});
        choose_versions();
        // In a group it is for all: each sees it at its next batch.
        for (const auto& v : fed()) paused = paused || (!with && v->run->paused());
    }

    void choose_versions()
    {
        const auto  all    = store->versions(name);
        const auto* mine   = static_cast<const stored_version*>(nullptr);
        const auto* active = static_cast<const stored_version*>(nullptr);
        for (const auto& v : all) {
            newest = std::max(newest.load(), v.number);
            if (v.active) active = &v;
            if (v.checkpoint.code_version == type.code_version) mine = &v;
        }
        if (active == nullptr) {
            const int number = mine ? mine->number : newest + 1;
            answer_from(make(number));
            store->activate(name, number);
            return;
        }
        active_number = active->number;
        if (mine == active) {
            answer_from(make(active->number));
            return;
        }
        // Other code made what answers. Its tables are read where they have the same shape, and
        // left as they are.
        try {
            others = store->open(name, active->number, 0, shapes);
        } catch (const error& why) {
            if (why.code() != errc::shape_differs) throw;
        }
        if (active->checkpoint.code_version == type.code_version) {
            // A newer version of the same code was not finished.
            others.reset();
            answer_from(make(active->number));
        }
        building = make(mine ? mine->number : next_number(), false);
    }

    ~impl() override
    {
        stop();
        listening.reset();  // before what it is told of
    }

    void check_name() const
    {
        const bool good = !name.empty() && name.size() <= 100 &&
                          std::all_of(name.begin(), name.end(),
                                      [](char c) {
                                          return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                                                 c == '-' || c == '_' || c == '.';
                                      }) &&
                          name.front() != '.';
        if (!good)
            throw error{errc::invalid_argument, "a projection cannot be called '" + name +
                                                    "': take 1 to 100 letters, digits, '.', '_' "
                                                    "and '-'"};
    }

    std::shared_ptr<fed_version> make(int number, bool answers = true)
    {
        newest   = std::max(newest.load(), number);
        auto run = std::make_shared<projection_run>(
            events, name, number, store->open(name, number, type.code_version, shapes), type,
            options, &feed_of_tables);
        if (answers) run->open_feeds();
        return std::make_shared<fed_version>(std::move(run), options.stall_after);
    }

    /// What is being built goes so far and no further, where there are feeds: all before it was
    /// delivered by the version that answers, what comes then is delivered by the one that answers
    /// then.
    position built_before() const
    {
        if (options.feeds.empty()) return projection_run::everything;
        {
            const std::lock_guard lock{mutex};
            if (answering) return answering->run->upto();
        }
        // Other code's, which another process may be running.
        for (const auto& v : store->versions(name))
            if (v.active) return v.checkpoint.upto();
        return projection_run::everything;
    }

    /// The one that is built next, or is being built by another of the group.
    int next_number() const
    {
        const auto begun = with ? with->builds() : std::nullopt;
        return begun ? *begun : newest + 1;
    }

    /// From now on; returns what answered before.
    std::shared_ptr<fed_version> answer_from(const std::shared_ptr<fed_version>& now)
    {
        if (with) now->run->share(with);
        std::shared_ptr<fed_version> old;
        {
            const std::lock_guard lock{mutex};
            old           = std::exchange(answering, now);
            active_number = now->run->number();
            others.reset();
            if (building == now) building.reset();
        }
        changed.notify_all();
        feed_of_tables.begin_again();
        return old;
    }

    /// It is over, and its thread may be the one that says so.
    void retire(const std::shared_ptr<fed_version>& old)
    {
        if (!old) return;
        {
            const std::lock_guard lock{mutex};
            old->stopping = true;
            if (old->asleep) old->asleep->stop();
            retired.push_back(old);
        }
        changed.notify_all();
        old->run->interrupt(true);
    }

    // ---- In a group. ---------------------------------------------------------------------------

    void hear(int version, const shared_projection::progress& done)
    {
        for (const auto& v : fed())
            if (v->run->number() == version) v->run->hear(done);
    }

    void wake()
    {
        const std::lock_guard lock{mutex};
        for (const auto& v : {answering, building}) {
            if (!v) continue;
            v->woken = true;
            if (v->asleep) v->asleep->stop();
        }
        changed.notify_all();
    }

    /// Changes to the version that another of the group has made the active one. True: `v` is over,
    /// or is to wait for that.
    bool follow(fed_version& v)
    {
        const int  active = with->active();
        const bool built  = is_building(v);
        if (active == 0 || (active == v.run->number()) != built) return false;
        std::shared_ptr<fed_version> now;
        {
            const std::lock_guard lock{mutex};
            if (building && building->run->number() == active) now = building;
            if (now && !built) return true;  // its own thread sees to that
        }
        if (built) {
            now->run->look();
            retire(answer_from(now));
            return false;
        }
        if (answering.get() != &v) return true;
        now = make(active);
        if (v.thread.joinable()) begin_thread(now);
        retire(answer_from(now));
        return true;
    }

    /// Of the partitions that this one has in the group.
    void catch_up_shared(fed_version& v, const std::atomic<bool>& stopping)
    {
        const std::lock_guard one{member_mutex};
        do {
            poll();
            v.run->own(me->assignment());
        } while (v.run->catch_up_a_batch(stopping) && !stopping);
    }

    void poll()
    {
        if (!me) {
            const auto& o = options.group->shared()->options;
            me            = std::make_unique<group_member>(
                options.group->coordinator(),
                member_options{name, options.topics, o.assignor, options.instance_id,
                               o.session_timeout, o.rebalance_timeout, [this] { wake(); }});
        }
        me->poll();
    }

    /// It cannot go on, and stays in the group: others would come to the same event. Until it is
    /// stopped, or has other partitions.
    void stand_in_group(fed_version& v)
    {
        const auto had = v.run->owned();
        for (;;) {
            wait_apart(v, std::chrono::seconds{1});
            if (v.stopping || with->is_frozen(v.run->number())) return;
            const std::lock_guard one{member_mutex};
            try {
                poll();
            } catch (...) {
                v.run->fail(std::current_exception());  // that is why it stands, from now on
                continue;
            }
            if (me->assignment() != had) return;
        }
    }

    // ---- Feeding. ------------------------------------------------------------------------------

    /// Handles what is there; then, where it was being built, makes it the one that answers.
    void catch_up(fed_version& v, const std::atomic<bool>& stopping)
    {
        if (with && follow(v)) return;
        const bool built = is_building(v);
        if (with && !built) return catch_up_shared(v, stopping);
        std::shared_ptr<void> builds;
        if (with) {
            if (!with->begin_building(this, v.run->number())) return v.run->look();
            builds = {this, [this](void* who) { with->end_building(who); }};
            v.run->begin_again();
        }
        if (built) {
            const auto            done = v.run->lag_now().done;
            const std::lock_guard lock{mutex};
            v.begun         = clock::now();
            v.done_at_begin = done;
        }
        v.run->catch_up(
            stopping,
            [&] {
                if (built) tell(v, false);
            },
            built ? built_before() : projection_run::everything);
        if (!built || stopping) return;
        swap_in(v, stopping);
        if (!is_building(v)) v.run->catch_up(stopping);  // what it left to deliver
    }

    bool is_building(const fed_version& v)
    {
        const std::lock_guard lock{mutex};
        return building.get() == &v;
    }

    void tell(fed_version& v, bool at_once)
    {
        if (!options.on_progress) return;
        const auto now = clock::now();
        if (!at_once && now - v.told < std::chrono::milliseconds{200}) return;
        v.told = now;
        options.on_progress(progress_of(v));
    }

    rebuild_progress progress_of(const fed_version& v) const
    {
        rebuild_progress p;
        const auto       lag = v.run->lag_now();
        p.version            = v.run->number();
        p.events             = lag.done;
        p.total              = lag.done + lag.left;
        const std::lock_guard lock{mutex};
        const auto            took = std::chrono::duration<double>(clock::now() - v.begun).count();
        const auto            read = lag.done - std::min(lag.done, v.done_at_begin);
        if (took > 0 && read > 0) {
            p.events_per_s = static_cast<double>(read) / took;
            p.remaining    = std::chrono::milliseconds{
                static_cast<std::int64_t>(1000.0 * static_cast<double>(lag.left) / p.events_per_s)};
        }
        return p;
    }

    /// It answers from now on. What answered until now is held meanwhile, so that no reader is
    /// sent back.
    void swap_in(fed_version& v, const std::atomic<bool>& stopping)
    {
        std::shared_ptr<fed_version> old;
        {
            const std::lock_guard lock{mutex};
            old = answering;
        }
        std::unique_lock<std::mutex> held;
        std::shared_ptr<void>        frozen;
        if (with && old) {
            // Of all who share it: who has its lock, writes; from then on nobody begins.
            with->freeze(old->run->number());
            frozen = {this, [this](void*) { with->thaw(); }};
            (void)old->run->tables()->write();
        }
        if (old) held = old->run->hold();
        const auto mine = v.run->hold();
        v.run->catch_up_held(stopping, {}, built_before());
        if (stopping) return;
        v.run->complete();
        if (options.on_step) options.on_step(projection_step::swapping);
        store->activate(name, v.run->number());
        v.run->open_feeds();
        tell(v, true);
        std::shared_ptr<fed_version> now;
        {
            const std::lock_guard lock{mutex};
            now = building;
        }
        retire(answer_from(now));
        if (with) with->activated(v.run->number());
    }

    void begin_thread(const std::shared_ptr<fed_version>& v)
    {
        if (!v || v->thread.joinable() || paused) return;
        v->stopping = false;
        v->run->interrupt(false);
        busy_with(v);
        try {
            v->thread     = std::thread{[self = this, v] {
                self->feed(*v);
                self->done_with(v);
            }};
            v->has_thread = true;
        } catch (...) {
            done_with(v);
            throw;
        }
    }

    void busy_with(const std::shared_ptr<fed_version>& v)
    {
        const std::lock_guard lock{mutex};
        busy.push_back(v);
    }
    void done_with(const std::shared_ptr<fed_version>& v) noexcept
    {
        {
            const std::lock_guard lock{mutex};
            busy.erase(std::find(busy.begin(), busy.end(), v));
        }
        changed.notify_all();
    }

    void feed(fed_version& v)
    {
        auto pause = std::chrono::milliseconds{100};
        while (!v.stopping) {
            std::exception_ptr failed;
            position           seen;
            try {
                seen = events.log().end_position();
                catch_up(v, v.stopping);
            } catch (...) {
                failed = std::current_exception();
                v.run->fail(failed);
            }
            if (failed && !passes(failed)) {
                v.run->interrupt(true);
                if (!with || is_building(v)) return;
                stand_in_group(v);
                v.run->interrupt(false);
                continue;
            }
            try {
                auto news = std::make_shared<record_range>(events.log().read_all(seen));
                {
                    const std::lock_guard lock{mutex};
                    if (v.stopping) return;
                    if (std::exchange(v.woken, false)) continue;
                    v.asleep = news;
                }
                // What is away is asked for again, ever more slowly.
                if (failed)
                    wait_apart(
                        v, std::exchange(pause,
                                         std::min(pause * 2, std::chrono::milliseconds{10'000})));
                else {
                    pause = std::chrono::milliseconds{100};
                    news->wait(std::chrono::seconds{1});
                }
            } catch (...) {
                v.run->fail(std::current_exception());
                const std::lock_guard lock{mutex};
                v.asleep.reset();
                return;
            }
            const std::lock_guard lock{mutex};
            v.asleep.reset();
            v.woken = false;
        }
    }

    /// News of the log is none here: only stopping ends it.
    void wait_apart(const fed_version& v, std::chrono::milliseconds time)
    {
        std::unique_lock lock{mutex};
        changed.wait_for(lock, time, [&] { return v.stopping.load(); });
    }

    void end_thread(const std::shared_ptr<fed_version>& v) noexcept
    {
        if (!v) return;
        {
            const std::lock_guard lock{mutex};
            v->stopping = true;
            if (v->asleep) v->asleep->stop();
        }
        changed.notify_all();
        if (v->thread.joinable()) v->thread.join();
        v->has_thread = false;
        v->run->interrupt(true);
    }

    void join_retired() noexcept
    {
        std::vector<std::shared_ptr<fed_version>> all;
        {
            const std::lock_guard lock{mutex};
            all.swap(retired);
        }
        for (auto& v : all) {
            end_thread(v);
            const int number = v->run->number();
            v.reset();
            if (options.keep_old_versions) continue;
            try {
                store->drop(name, number);
            } catch (const std::exception&) {
                // A reading holds it still. It is listed, and can be dropped by hand.
            }
        }
    }

    // ---- What the runner does. ---------------------------------------------------------------

    void run_until_idle()
    {
        const std::lock_guard   one{life};
        const std::atomic<bool> go{false};
        if (paused) return;
        for (const auto& v : fed()) {
            v->run->interrupt(false);
            try {
                catch_up(*v, go);
            } catch (...) {
                v->run->fail(std::current_exception());
                throw;
            }
        }
        join_retired();
    }

    std::vector<std::shared_ptr<fed_version>> fed() const
    {
        const std::lock_guard                     lock{mutex};
        std::vector<std::shared_ptr<fed_version>> all;
        for (const auto& v : {answering, building})
            if (v) all.push_back(v);
        return all;
    }

    void start_with(bool thread)
    {
        if (!thread && with)
            throw error{errc::invalid_argument,
                        "projection " + name +
                            " is in a group, and cannot be inline: who records something would "
                            "wait for whoever has its partition; call start()"};
        const std::lock_guard one{life};
        running = true;
        begin_all(thread);
    }

    void begin_all(bool thread)
    {
        if (paused) return;
        for (const auto& v : fed()) {
            if (!thread && !is_building(*v)) {
                v->stopping = false;
                v->run->interrupt(false);
                catch_up(*v, is_over);
                continue;
            }
            if (v->run->failure() || v->stopping) end_thread(v);
            begin_thread(v);
        }
        begin_watch();
    }

    /// Whoever records something counts it, and what others have recorded meanwhile, before the
    /// call returns. As with a flush, one does it for all.
    void start_inline()
    {
        start_with(false);
        const std::lock_guard one{life};
        if (inlined) return;
        is_inline = true;
        inlined   = events.on_recorded([this](position last) {
            std::shared_ptr<fed_version> v;
            {
                const std::lock_guard lock{mutex};
                v = answering;
                if (!v || v->stopping || paused || v->run->upto() > last) return;
                if (const auto failure = v->run->failure(); failure && !passes(failure)) return;
                busy.push_back(v);
            }
            const std::shared_ptr<void> done{nullptr, [&](void*) { done_with(v); }};
            try {
                const auto held = v->run->hold();
                if (v->run->upto() > last) return;
                v->run->catch_up_held(v->stopping, {});
            } catch (...) {
                v->run->fail(std::current_exception());
            }
        });
    }

    void start() { start_with(true); }

    void stop() noexcept
    {
        {
            // Outside of `life`: it waits for calls that go on.
            std::shared_ptr<void> over;
            const std::lock_guard one{life};
            over.swap(inlined);
            is_inline = false;
        }
        const std::lock_guard one{life};
        running = false;
        // A thread that ends may have begun the next one.
        for (bool runs = true; std::exchange(runs, false);)
            for (const auto& v : fed()) {
                runs = runs || v->thread.joinable();
                end_thread(v);
            }
        join_retired();
        const std::lock_guard of_member{member_mutex};
        me.reset();
        end_watch();
    }

    stop_result stop(clock::duration timeout)
    {
        {
            const std::lock_guard one{life};
            running = false;
            std::unique_lock lock{mutex};
            for (const auto& v : {answering, building}) {
                if (!v) continue;
                v->stopping = true;
                if (v->asleep) v->asleep->stop();
            }
            changed.notify_all();
            if (!changed.wait_until(lock, deadline_of(timeout), [&] { return busy.empty(); })) {
                const auto v = busy.front();
                lock.unlock();
                return {false, busy_words(*v)};
            }
        }
        stop();
        return {true, {}};
    }

    std::string busy_words(const fed_version& v) const
    {
        const auto which =
            "projection " + name + " version " + std::to_string(v.run->number()) + " ";
        if (const auto event = v.run->handling())
            return which + "handles " + v.run->event_at(*event);
        return which + "waits for its store, or for the log";
    }

    // ---- Watching. ---------------------------------------------------------------------------

    /// Where it stands still, and since when; else nothing.
    std::string stalled(fed_version& v) const
    {
        using namespace std::chrono;
        if (options.stall_after <= milliseconds{0}) return {};
        const auto         left = v.run->lag_now(true).left;
        stall_watch::sight now;
        now.read                            = v.run->counted().read;
        now.upto                            = v.run->upto();
        now.handling                        = v.run->handling();
        const auto                       at = options.clock ? options.clock() : clock::now();
        std::optional<clock::time_point> since;
        std::string                      why;
        const auto                       failure = v.run->failure();
        {
            const std::lock_guard lock{mutex};
            why = words_of(failure);
            // What is counted inline goes on when something is recorded, and need not before.
            const bool goes_on =
                failure ||
                std::any_of(busy.begin(), busy.end(), [&](const auto& b) { return b.get() == &v; });
            now.behind = goes_on ? left : 0;
            since      = v.watch.look(now, at);
        }
        if (!since) return {};
        const auto length = std::to_string(duration_cast<seconds>(at - *since).count()) + " s";
        if (now.handling) return busy_words(v) + " for " + length;
        return "projection " + name + " version " + std::to_string(v.run->number()) + " is " +
               std::to_string(left) + " events behind, and has not moved for " + length +
               (why.empty() ? "" : ": " + why);
    }

    void begin_watch()
    {
        if (options.stall_after <= std::chrono::milliseconds{0} || watchdog.joinable()) return;
        watching = true;
        watchdog = std::thread{[this] {
            const auto pause = std::max(options.stall_after / 4, std::chrono::milliseconds{1});
            std::unique_lock lock{watch_mutex};
            while (!watch_over.wait_for(lock, pause, [&] { return !watching; })) {
                lock.unlock();
                for (const auto& v : fed()) look_at(*v);
                lock.lock();
            }
        }};
    }
    void look_at(fed_version& v) noexcept
    {
        try {
            const auto words = stalled(v);
            if (!words.empty() && !v.told_stalled && options.on_stalled) options.on_stalled(words);
            v.told_stalled = !words.empty();
        } catch (const std::exception&) {
            // The log is closed, or memory is short: it looks again.
        }
    }
    void end_watch() noexcept
    {
        {
            const std::lock_guard lock{watch_mutex};
            watching = false;
        }
        watch_over.notify_all();
        if (watchdog.joinable()) watchdog.join();
    }

    void rebuild()
    {
        const std::lock_guard one{life};
        join_retired();
        std::shared_ptr<fed_version> begun;
        {
            const std::lock_guard lock{mutex};
            if (building) return;
            begun = building = make(next_number(), false);
        }
        if (running) begin_thread(begun);
    }

    void cancel_rebuild()
    {
        const std::lock_guard one{life};
        cancel_rebuild_held();
    }

    void cancel_rebuild_held()
    {
        std::shared_ptr<fed_version> ended;
        {
            const std::lock_guard lock{mutex};
            if (!building || !answering) return;
            ended = building;
        }
        end_thread(ended);
        int number = 0;
        {
            const std::lock_guard lock{mutex};
            if (building != ended) return;  // it was quicker
            number = ended->run->number();
            building.reset();
        }
        ended.reset();
        store->drop(name, number);
    }

    void swap_to(int number)
    {
        const std::lock_guard one{life};
        join_retired();
        {
            const std::lock_guard lock{mutex};
            if (number == active_number) return;
        }
        const auto all   = store->versions(name);
        const auto found = std::find_if(
            all.begin(), all.end(), [&](const stored_version& v) { return v.number == number; });
        const auto refuse = [&](const std::string& why) {
            throw error{errc::invalid_argument, "projection " + name + " cannot go to version " +
                                                    std::to_string(number) + ": " + why};
        };
        if (found == all.end()) refuse("there is none; status() lists them");
        if (!found->checkpoint.complete && number > active_number)
            refuse("it is not built yet; wait for its rebuild");
        if (found->checkpoint.code_version != type.code_version)
            refuse("code of version " + std::to_string(found->checkpoint.code_version) +
                   " made it; run that code");
        auto now = make(number);
        if (now->run->paused() != paused) now->run->pause(paused);
        store->activate(name, number);
        const auto old = answer_from(now);
        if (with) with->activated(number);
        if (old) end_thread(old);
        if (running) begin_thread(now);
    }

    void drop(int number)
    {
        const std::lock_guard one{life};
        join_retired();
        {
            const std::lock_guard lock{mutex};
            if (number == active_number || (building && building->run->number() == number))
                throw error{errc::invalid_argument,
                            "projection " + name + " version " + std::to_string(number) +
                                " is in use: swap to another, or cancel its rebuild"};
        }
        store->drop(name, number);
    }

    void pause()
    {
        const std::lock_guard one{life};
        if (!with) {
            paused = true;
            for (const auto& v : fed()) end_thread(v);
        }
        for (const auto& v : fed()) v->run->pause(true);
    }

    void resume()
    {
        const std::lock_guard one{life};
        for (const auto& v : fed())
            if (v->run->paused()) v->run->pause(false);
        paused = false;
        if (!running) return;
        try {
            begin_all(!is_inline);
        } catch (...) {
            // Inline, what comes first may fail: as when it is recorded.
            for (const auto& v : fed()) v->run->fail(std::current_exception());
        }
    }

    void reset()
    {
        const std::lock_guard one{life};
        join_retired();
        cancel_rebuild_held();
        {
            const std::lock_guard lock{mutex};
            if (building)
                throw error{errc::invalid_argument,
                            "projection " + name + " is being built from the beginning already"};
        }
        const auto now    = make(newest + 1);
        const int  number = now->run->number();
        if (paused) now->run->pause(true);
        store->activate(name, number);
        auto old = answer_from(now);
        if (with) with->activated(number);
        end_thread(old);
        const int thrown_away = old->run->number();
        old.reset();
        try {
            store->drop(name, thrown_away);
        } catch (const std::exception&) {
            // A reading holds it still. It is listed, and can be dropped by hand.
        }
        if (running) begin_thread(now);
    }

    std::shared_ptr<fed_version> answering_one() const
    {
        const std::lock_guard lock{mutex};
        if (!answering)
            throw error{errc::not_ready, "projection " + name + " is being built: wait for that"};
        return answering;
    }

    std::vector<parked_event> parked(std::size_t at_most, const std::optional<parked_event>& after)
    {
        const auto          from   = answering_one();
        const auto          reader = from->run->tables()->read();
        const auto          one    = type.create();
        const parked_events of{*one};
        access_of(*one).read(reader.get());
        return of.list(at_most, after);
    }

    /// What was failed may go on.
    void go_on(const std::shared_ptr<fed_version>& v)
    {
        const std::lock_guard one{life};
        if (!v->run->failure()) return;
        v->run->fail(nullptr);
        if (!running) return;
        end_thread(v);
        begin_thread(v);
    }

    void skip(position which)
    {
        const auto v = answering_one();
        v->run->skip(which);
        go_on(v);
    }

    verification verify(const std::atomic<bool>& stopping)
    {
        const auto   v    = answering_one();
        const auto   held = v->run->hold();
        verification result;
        result.upto       = v->run->upto();
        const auto memory = memory_tables();
        // It leaves out what the other has left out: parked events, and no more.
        auto o    = options;
        o.on_step = {};
        o.threads = 1;  // one after the other: what rows_apart claims is checked by this
        projection_run again{events, name, 1, memory->open(name, 1, type.code_version, shapes),
                             type,   o};
        again.catch_up_to(result.upto, stopping);
        if (stopping)
            throw error{errc::closed, "projection " + name + " was stopped while it was verified"};
        const auto stored  = digests(*v->run->tables()->read(), shapes);
        const auto rebuilt = digests(*again.tables()->read(), shapes);
        const auto whole   = [](const auto& all) {
            std::uint64_t h = 0;
            for (const auto& [table, digest] : all) h = h * 31 + digest;
            return h;
        };
        result.stored  = whole(stored);
        result.rebuilt = whole(rebuilt);
        for (const auto& [table, digest] : stored)
            if (rebuilt.at(table) != digest) result.different.push_back(table);
        result.ok = result.different.empty();
        return result;
    }

    // ---- What a view asks.
    // ------------------------------------------------------------------------

    bound_projection read() override
    {
        std::shared_ptr<projection_tables> tables;
        std::shared_ptr<fed_version>       from;
        {
            const std::lock_guard lock{mutex};
            from   = answering;
            tables = from ? from->run->tables() : others;
        }
        if (!tables)
            throw error{
                errc::not_ready,
                "projection " + name +
                    " cannot answer yet: the tables that there are were "
                    "made by other code and look otherwise; wait for the rebuild (status() says "
                    "how far it is)"};
        // First how far it is, then the tables: they may only be further.
        bound_projection b{tables, nullptr, type.create(), position{0}};
        if (from) b.upto = from->run->upto();
        b.reader = tables->read();
        if (!from) b.upto = upto_of(*b.reader);
        access_of(*b.itself).read(b.reader.get());
        return b;
    }

    static position upto_of(table_reader& tables)
    {
        position upto{0};
        for (const auto& [at, p] : tables.checkpoint().partitions) upto = std::max(upto, p.upto);
        return upto;
    }

    std::shared_ptr<table_follower> follow(std::size_t table, const follow_options& o) override
    {
        return feed_of_tables.follow(shared_from_this(), table, o);
    }

    /// What answers now, and how far it is: it may only be further.
    table_feed::opened open_for_followers()
    {
        table_feed::opened now;
        const auto         from = [&] {
            const std::lock_guard lock{mutex};
            now.version = active_number;
            return std::pair{answering, answering ? answering->run->tables() : others};
        }();
        if (from.first) now.upto = from.first->run->upto();
        if (!from.second) return now;
        now.reader = from.second->read();
        if (!from.first) now.upto = upto_of(*now.reader);
        return now;
    }

    bool wait_for(position p, clock::time_point deadline) const override
    {
        for (;;) {
            std::shared_ptr<fed_version> on;
            {
                std::unique_lock lock{mutex};
                if (!answering)
                    changed.wait_until(lock, deadline, [&] { return answering != nullptr; });
                on = answering;
            }
            if (!on) return false;
            if (on->run->wait_for(p, deadline)) return true;
            const std::lock_guard lock{mutex};
            if (on == answering) return false;
            // Another took its place meanwhile.
        }
    }

    projection_status status() const override
    {
        projection_status s;
        s.name = name;
        s.end  = events.log().end_position();
        std::shared_ptr<fed_version> on, next;
        {
            const std::lock_guard lock{mutex};
            on        = answering;
            next      = building;
            s.version = on || others ? active_number : 0;
        }
        if (on) {
            const bool runs = !on->stopping && (is_inline || on->has_thread);
            if (const auto failure = on->run->failure()) {
                s.error         = words_of(failure);
                s.stands_before = place_of(failure);
                if (!passes(failure))
                    s.state = projection_state::failed;
                else if (runs)
                    s.state = projection_state::retrying;
            } else if (runs)
                s.state = on->run->caught_up() ? projection_state::following
                                               : projection_state::catching_up;
            const auto lag   = on->run->lag_now();
            const auto count = on->run->counted();
            s.partitions     = on->run->owned();
            s.upto           = on->run->upto();
            s.lag_events     = lag.left;
            s.lag_time       = lag.time;
            s.events         = count.handled;
            s.commits        = count.commits;
            s.events_per_s   = rate_of(count.read);
            s.stalled        = stalled(*on);
            if (!s.stalled.empty() && s.error.empty()) s.state = projection_state::stalled;
        }
        try {
            s.versions = store->versions(name);
            if (on) s.parked = count_parked(on->run->tables()->read());
        } catch (const error& e) {
            if (e.code() != errc::store_unavailable) throw;
            if (s.error.empty()) s.error = e.what();
        }
        if (paused || (on && on->run->paused())) s.state = projection_state::paused;
        if (next) {
            s.rebuild          = progress_of(*next);
            s.rebuild->stalled = stalled(*next);
            s.rebuild->error   = words_of(next->run->failure());
        }
        return s;
    }

    std::uint64_t count_parked(std::unique_ptr<table_reader> reader) const
    {
        const auto          one = type.create();
        const parked_events of{*one};
        access_of(*one).read(reader.get());
        return of.count();
    }

    double rate_of(std::uint64_t read) const
    {
        const std::lock_guard lock{mutex};
        const auto            now = clock::now();
        rates.push_back({now, read});
        while (rates.size() > 2 && now - rates.front().first > rate_window)
            rates.erase(rates.begin());
        const auto took = std::chrono::duration<double>(now - rates.front().first).count();
        if (took <= 0 || read < rates.front().second) return 0;
        return static_cast<double>(read - rates.front().second) / took;
    }

    event_store                        events;
    const std::string                  name;
    const std::shared_ptr<table_store> store;
    const projection_type              type;
    const projection_options           options;
    const std::vector<table_shape>     shapes;

    std::mutex            life;  // one of run_until_idle(), start(), stop(), … at a time
    bool                  running = false;  // protected by it
    std::shared_ptr<void> inlined;          // likewise
    std::atomic<bool>     is_inline{false};
    std::atomic<bool>     paused{false};
    std::atomic<bool>     is_over{false};  // nobody wants anything any more
    std::atomic<int>      newest{0};

    const std::shared_ptr<shared_projection> with;  // null: in no group
    std::shared_ptr<void>                    listening;
    std::mutex                               member_mutex;
    std::unique_ptr<group_member>            me;  // protected by it

    std::thread             watchdog;     // likewise
    std::mutex              watch_mutex;  // of what follows
    std::condition_variable watch_over;
    bool                    watching = false;

    table_feed feed_of_tables{[this] { return open_for_followers(); }};

    mutable std::mutex                        mutex;  // what follows
    mutable std::condition_variable           changed;
    std::shared_ptr<fed_version>              answering;
    std::shared_ptr<fed_version>              building;
    std::shared_ptr<projection_tables>        others;  // that answer, and other code made
    int                                       active_number = 0;
    std::vector<std::shared_ptr<fed_version>> retired;
    std::vector<std::shared_ptr<fed_version>> busy;  // those that a thread feeds now
    mutable std::vector<std::pair<clock::time_point, std::uint64_t>> rates;
};

projection_core::projection_core(event_store events, std::string name,
                                 std::shared_ptr<table_store> tables, projection_type type,
                                 projection_options o)
    : impl_{std::make_shared<impl>(std::move(events), std::move(name), std::move(tables),
                                   std::move(type), std::move(o))},
      link_{std::make_shared<control_link>(impl_->name, *this)}
{
}

projection_core::~projection_core()
{
    impl_->is_over = true;
    link_->close();
    impl_->stop();
    impl_->feed_of_tables.close();
}

void projection_core::run_until_idle()
{
    impl_->run_until_idle();
}
void projection_core::start()
{
    impl_->start();
}
void projection_core::start_inline()
{
    impl_->start_inline();
}
void projection_core::stop() noexcept
{
    impl_->stop();
}
stop_result projection_core::stop(std::chrono::steady_clock::duration timeout)
{
    return impl_->stop(timeout);
}
void projection_core::rebuild()
{
    impl_->rebuild();
}
void projection_core::cancel_rebuild()
{
    impl_->cancel_rebuild();
}
void projection_core::swap_to(int version)
{
    impl_->swap_to(version);
}
void projection_core::drop(int version)
{
    impl_->drop(version);
}

void projection_core::pause()
{
    impl_->pause();
}
void projection_core::resume()
{
    impl_->resume();
}
void projection_core::reset()
{
    impl_->reset();
}

bound_projection fold(const event_store& events, const projection_type& type, const fold_options& o)
{
    const auto       shapes = shapes_of(type);
    const auto       tables = memory_tables()->open("live", 1, type.code_version, shapes);
    const auto       end    = o.upto ? o.upto->next() : events.log().end_position();
    bound_projection b{tables, nullptr, type.create(), end};
    if (o.stream) {
        // A stream is short: it is folded as it is read.
        const auto     one    = type.create();
        auto&          access = access_of(*one);
        event_dispatch dispatch{events, type.handlers};
        auto           writer = tables->write();
        access.write(writer.get());
        for (const auto& r : events.log().read_stream(*o.stream)) {
            if (r.position >= end) break;
            dispatch.dispatch(r, type.as_itself(one.get()));
        }
        dispatch.finish(type.as_itself(one.get()));
        writer->commit(access.changes(), writer->checkpoint());
    } else {
        projection_options options;
        options.topics            = o.topics;
        options.query             = o.query;
        options.commit_events_max = std::numeric_limits<std::size_t>::max();
        options.commit_bytes_max  = options.commit_events_max;
        options.commit_time_max   = std::chrono::hours{24 * 365};
        projection_run{events, "live", 1, tables, type, options}.catch_up_to(end);
    }
    b.reader = tables->read();
    access_of(*b.itself).read(b.reader.get());
    return b;
}

std::vector<parked_event> projection_core::parked(std::size_t                        at_most,
                                                  const std::optional<parked_event>& after)
{
    return impl_->parked(at_most, after);
}
std::size_t projection_core::retry_parked()
{
    return retry_parked(never);
}
std::size_t projection_core::retry_parked(const std::atomic<bool>& stopping)
{
    return impl_->answering_one()->run->retry_parked(stopping);
}
void projection_core::skip_parked(const topic_partition& in, offset at)
{
    impl_->answering_one()->run->skip_parked(in, at);
}
void projection_core::skip(position which)
{
    impl_->skip(which);
}
verification projection_core::verify()
{
    return verify(never);
}
verification projection_core::verify(const std::atomic<bool>& stopping)
{
    return impl_->verify(stopping);
}

std::shared_ptr<projection_source> projection_core::source() const noexcept
{
    return impl_;
}

std::shared_ptr<control_link> projection_core::link() const noexcept
{
    return link_;
}

}  // namespace detail
}  // namespace cairn
