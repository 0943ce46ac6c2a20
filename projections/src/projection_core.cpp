// SPDX-License-Identifier: Apache-2.0
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
    case projection_state::stalled:
        return "stalled";
    }
    return "?";
}

namespace detail {

namespace {

using clock = std::chrono::steady_clock;

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
    std::atomic<bool>               following{false};
    std::thread                     thread;
    std::exception_ptr              failure;  // protected by the core's mutex
    std::shared_ptr<record_range>   asleep;   // likewise
    clock::time_point               begun         = clock::now();
    std::uint64_t                   done_at_begin = 0;
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
          shapes{shapes_of(type)}
    {
        check_name();
        const auto  all    = store->versions(name);
        const auto* mine   = static_cast<const stored_version*>(nullptr);
        const auto* active = static_cast<const stored_version*>(nullptr);
        for (const auto& v : all) {
            newest = std::max(newest, v.number);
            if (v.active) active = &v;
            if (v.checkpoint.code_version == type.code_version) mine = &v;
        }
        if (active == nullptr) {
            const int number = mine ? mine->number : newest + 1;
            answering        = make(number);
            store->activate(name, number);
            active_number = number;
            return;
        }
        active_number = active->number;
        if (mine == active) {
            answering = make(active->number);
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
            answering = make(active->number);
        }
        building = make(mine ? mine->number : newest + 1);
    }

    ~impl() override { stop(); }

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

    std::shared_ptr<fed_version> make(int number)
    {
        newest = std::max(newest, number);
        return std::make_shared<fed_version>(
            std::make_shared<projection_run>(events, name, number,
                                             store->open(name, number, type.code_version, shapes),
                                             type, options, &feed_of_tables),
            options.stall_after);
    }

    // ---- Feeding. ------------------------------------------------------------------------------

    /// Handles what is there; then, where it was being built, makes it the one that answers.
    void catch_up(fed_version& v, const std::atomic<bool>& stopping)
    {
        const bool built = is_building(v);
        if (built) {
            v.begun         = clock::now();
            v.done_at_begin = v.run->lag_now().done;
        }
        v.run->catch_up(stopping, [&] {
            if (built) tell(v, false);
        });
        if (built && !stopping) swap_in(v, stopping);
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
        const auto took      = std::chrono::duration<double>(clock::now() - v.begun).count();
        const auto read      = lag.done - std::min(lag.done, v.done_at_begin);
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
        if (old) held = old->run->hold();
        const auto mine = v.run->hold();
        v.run->catch_up_held(stopping, {});
        if (stopping) return;
        v.run->complete();
        if (options.on_step) options.on_step(projection_step::swapping);
        store->activate(name, v.run->number());
        tell(v, true);
        std::shared_ptr<fed_version> me;
        {
            const std::lock_guard lock{mutex};
            me            = building;
            answering     = std::exchange(building, nullptr);
            active_number = v.run->number();
            others.reset();
            if (old) {
                old->stopping = true;
                if (old->asleep) old->asleep->stop();
                retired.push_back(old);
            }
        }
        changed.notify_all();
        feed_of_tables.begin_again();
        if (old) old->run->interrupt(true);
    }

    void begin_thread(const std::shared_ptr<fed_version>& v)
    {
        if (!v || v->thread.joinable()) return;
        v->stopping = false;
        v->run->interrupt(false);
        busy_with(v);
        try {
            v->thread = std::thread{[self = this, v] {
                self->feed(*v);
                self->done_with(v);
            }};
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
                v.following = true;
            } catch (...) {
                failed = std::current_exception();
            }
            {
                const std::lock_guard lock{mutex};
                v.failure = failed;
            }
            if (failed && !passes(failed)) {
                v.run->interrupt(true);
                return;
            }
            try {
                auto news = std::make_shared<record_range>(events.log().read_all(seen));
                {
                    const std::lock_guard lock{mutex};
                    if (v.stopping) return;
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
                const std::lock_guard lock{mutex};
                v.failure = std::current_exception();
                v.asleep.reset();
                return;
            }
            const std::lock_guard lock{mutex};
            v.asleep.reset();
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
        v->following = false;
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
        for (const auto& v : fed()) {
            v->run->interrupt(false);
            try {
                catch_up(*v, go);
                v->following = true;
                const std::lock_guard lock{mutex};
                v->failure = nullptr;
            } catch (...) {
                const std::lock_guard lock{mutex};
                v->failure = std::current_exception();
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
        const std::lock_guard one{life};
        running = true;
        for (const auto& v : fed()) {
            if (!thread && !is_building(*v)) {
                v->stopping = false;
                v->run->interrupt(false);
                catch_up(*v, v->stopping);
                v->following = true;
                continue;
            }
            bool failed = false;
            {
                const std::lock_guard lock{mutex};
                failed = v->failure != nullptr;
            }
            if (failed || v->stopping) end_thread(v);
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
                if (!v || v->stopping || (v->failure && !passes(v->failure)) ||
                    v->run->upto() > last)
                    return;
                busy.push_back(v);
            }
            const std::shared_ptr<void> done{nullptr, [&](void*) { done_with(v); }};
            try {
                const auto held = v->run->hold();
                if (v->run->upto() > last) return;
                v->run->catch_up_held(v->stopping, {});
                const std::lock_guard lock{mutex};
                v->failure = nullptr;
            } catch (...) {
                const std::lock_guard lock{mutex};
                v->failure = std::current_exception();
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
        for (const auto& v : fed()) end_thread(v);
        join_retired();
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
        const auto         left = v.run->lag_now().left;
        stall_watch::sight now;
        now.read                            = v.run->counted().read;
        now.upto                            = v.run->upto();
        now.handling                        = v.run->handling();
        const auto                       at = options.clock ? options.clock() : clock::now();
        std::optional<clock::time_point> since;
        std::string                      why;
        {
            const std::lock_guard lock{mutex};
            why = words_of(v.failure);
            // What is counted inline goes on when something is recorded, and need not before.
            const bool goes_on =
                v.failure ||
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
            begun = building = make(newest + 1);
        }
        if (running) begin_thread(begun);
    }

    void cancel_rebuild()
    {
        const std::lock_guard        one{life};
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
        if (number == active_number) return;
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
        auto                         now = make(number);
        std::shared_ptr<fed_version> old;
        store->activate(name, number);
        {
            const std::lock_guard lock{mutex};
            old           = std::exchange(answering, now);
            active_number = number;
        }
        feed_of_tables.begin_again();
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
        {
            const std::lock_guard lock{mutex};
            if (!v->failure) return;
            v->failure = nullptr;
        }
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

    verification verify()
    {
        const auto   v    = answering_one();
        const auto   held = v->run->hold();
        verification result;
        result.upto       = v->run->upto();
        const auto memory = memory_tables();
        // It leaves out what the other has left out: parked events, and no more.
        auto o    = options;
        o.on_step = {};
        projection_run again{events, name, 1, memory->open(name, 1, type.code_version, shapes),
                             type,   o};
        again.catch_up_to(result.upto);
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
            if (on && on->failure) {
                s.error = words_of(on->failure);
                if (!passes(on->failure))
                    s.state = projection_state::failed;
                else if (is_inline || on->thread.joinable())
                    s.state = projection_state::retrying;
            }
        }
        if (on) {
            const auto lag   = on->run->lag_now();
            const auto count = on->run->counted();
            s.upto           = on->run->upto();
            s.lag_events     = lag.left;
            s.lag_time       = lag.time;
            s.events         = count.handled;
            s.commits        = count.commits;
            s.events_per_s   = rate_of(count.read);
            if (s.error.empty() && !on->stopping && (is_inline || on->thread.joinable()))
                s.state =
                    on->following ? projection_state::following : projection_state::catching_up;
            s.stalled = stalled(*on);
            if (!s.stalled.empty() && s.error.empty()) s.state = projection_state::stalled;
        }
        try {
            s.versions = store->versions(name);
            if (on) s.parked = count_parked(on->run->tables()->read());
        } catch (const error& e) {
            if (e.code() != errc::store_unavailable) throw;
            if (s.error.empty()) s.error = e.what();
        }
        if (next) {
            s.rebuild          = progress_of(*next);
            s.rebuild->stalled = stalled(*next);
            const std::lock_guard lock{mutex};
            s.rebuild->error = words_of(next->failure);
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
    int                   newest = 0;  // likewise

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
                                   std::move(type), std::move(o))}
{
}

projection_core::~projection_core()
{
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
    return impl_->answering_one()->run->retry_parked();
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
    return impl_->verify();
}

std::shared_ptr<projection_source> projection_core::source() const noexcept
{
    return impl_;
}

}  // namespace detail
}  // namespace cairn
