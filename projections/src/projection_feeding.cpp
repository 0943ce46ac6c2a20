// SPDX-License-Identifier: Apache-2.0
#include "projection_core.hpp"

#include <algorithm>

namespace cairn::detail {

namespace {

/// Leaves a build that another of the group has paused.
struct paused_in_group
{};

}  // namespace

// ---- In a group. -------------------------------------------------------------------------------

void projection_core::impl::hear(int version, const shared_projection::progress& done)
{
    for (const auto& v : fed())
        if (v->run->number() == version) v->run->hear(done);
}

void projection_core::impl::wake()
{
    const std::lock_guard lock{mutex};
    for (const auto& v : {answering, building}) {
        if (!v) continue;
        v->woken = true;
        if (v->asleep) v->asleep->stop();
    }
    changed.notify_all();
}

bool projection_core::impl::follow(fed_version& v)
{
    const int  active = with->active();
    const bool built  = is_building(v);
    if (active == 0 || (active == v.run->number()) != built) return false;
    std::shared_ptr<fed_version> now;
    {
        const std::lock_guard lock{mutex};
        if (building && building->run->number() == active) now = building;
        if (now && !built && now->has_thread) return true;  // that thread sees to it
        if (!built && answering.get() != &v) return true;
    }
    if (now) {
        now->run->look();
        now->run->open_feeds();
        now->run->fail(nullptr);
    } else
        now = make(active);
    now->run->share(with);  // before a thread looks at it
    if (!built && v.has_thread) {
        if (now->thread.joinable()) now->thread.join();  // it has failed, and is over
        begin_thread(now);
    }
    retire(answer_from(now));
    return !built;
}

void projection_core::impl::catch_up_shared(fed_version& v, const std::atomic<bool>& stopping)
{
    const std::lock_guard one{member_mutex};
    do {
        poll();
        v.run->own(me->assignment());
    } while (v.run->catch_up_a_batch(stopping) && !stopping);
}

void projection_core::impl::poll()
{
    if (!me) {
        const auto& o = options.group->shared()->options;
        me            = std::make_unique<group_member>(
            options.group->coordinator(),
            member_options{name, options.topics, o.assignor, options.instance_id, o.session_timeout,
                           o.rebalance_timeout, [this] { wake(); }});
    }
    me->poll();
}

void projection_core::impl::stand_in_group(fed_version& v)
{
    const auto had = v.run->owned();
    for (;;) {
        wait_apart(v, std::chrono::seconds{1});
        if (v.stopping || !v.run->failure() || with->is_frozen(v.run->number())) return;
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

// ---- Catching up. ------------------------------------------------------------------------------

void projection_core::impl::catch_up(fed_version& v, const std::atomic<bool>& stopping)
{
    if (with && follow(v)) return;
    const bool built = is_building(v);
    if (with && !built) return catch_up_shared(v, stopping);
    std::shared_ptr<void> builds;
    if (with) {
        if (is_paused_in_group()) return;
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
    try {
        v.run->catch_up(
            stopping,
            [&] {
                if (built) tell(v, false);
                if (with && is_paused_in_group()) throw paused_in_group{};
            },
            built ? built_before() : projection_run::everything);
    } catch (const paused_in_group&) {
        return;
    }
    if (!built || stopping) return;
    swap_in(v, stopping);
    if (!with && !is_building(v)) v.run->catch_up(stopping);  // what it left to deliver
}

bool projection_core::impl::is_paused_in_group()
{
    std::shared_ptr<fed_version> on;
    {
        const std::lock_guard lock{mutex};
        on = answering;
    }
    return on && on->run->tables()->read()->checkpoint().paused;
}

bool projection_core::impl::is_building(const fed_version& v)
{
    const std::lock_guard lock{mutex};
    return building.get() == &v;
}

void projection_core::impl::tell(fed_version& v, bool at_once)
{
    if (!options.on_progress) return;
    const auto now = clock::now();
    if (!at_once && now - v.told < std::chrono::milliseconds{200}) return;
    v.told = now;
    options.on_progress(progress_of(v));
}

rebuild_progress projection_core::impl::progress_of(const fed_version& v) const
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

void projection_core::impl::swap_in(fed_version& v, const std::atomic<bool>& stopping)
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

// ---- Threads. ----------------------------------------------------------------------------------

void projection_core::impl::begin_thread(const std::shared_ptr<fed_version>& v)
{
    if (!v || v->thread.joinable() || paused) return;
    v->stopping = false;
    v->run->interrupt(false);
    busy_with(v);
    try {
        v->has_thread = true;
        v->thread     = std::thread{[self = this, v] {
            try {
                self->feed(*v);
            } catch (...) {
                v->run->fail(std::current_exception());
                v->run->interrupt(true);
            }
            v->has_thread = false;
            self->done_with(v);
        }};
    } catch (...) {
        v->has_thread = false;
        done_with(v);
        throw;
    }
}

void projection_core::impl::busy_with(const std::shared_ptr<fed_version>& v)
{
    const std::lock_guard lock{mutex};
    busy.push_back(v);
}

void projection_core::impl::done_with(const std::shared_ptr<fed_version>& v) noexcept
{
    {
        const std::lock_guard lock{mutex};
        busy.erase(std::find(busy.begin(), busy.end(), v));
    }
    changed.notify_all();
}

void projection_core::impl::feed(fed_version& v)
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
                wait_apart(v, std::exchange(
                                  pause, std::min(pause * 2, std::chrono::milliseconds{10'000})));
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

void projection_core::impl::wait_apart(const fed_version& v, std::chrono::milliseconds time)
{
    std::unique_lock lock{mutex};
    changed.wait_for(lock, time, [&] { return v.stopping.load(); });
}

void projection_core::impl::end_thread(const std::shared_ptr<fed_version>& v) noexcept
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

void projection_core::impl::join_retired() noexcept
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

std::vector<std::shared_ptr<fed_version>> projection_core::impl::fed() const
{
    const std::lock_guard                     lock{mutex};
    std::vector<std::shared_ptr<fed_version>> all;
    for (const auto& v : {answering, building})
        if (v) all.push_back(v);
    return all;
}

void projection_core::impl::run_until_idle()
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

void projection_core::impl::start_with(bool thread)
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

void projection_core::impl::begin_all(bool thread)
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

void projection_core::impl::start_inline()
{
    start_with(false);
    const std::lock_guard one{life};
    if (inlined) return;
    is_inline = true;
    inlined   = events.on_recorded([this](position last) {
        while (count_inline(last)) continue;
    });
}

bool projection_core::impl::count_inline(position last)
{
    std::shared_ptr<fed_version> v;
    {
        const std::lock_guard lock{mutex};
        v = answering;
        if (!v || v->stopping || paused || v->run->upto() > last) return false;
        if (const auto failure = v->run->failure(); failure && !passes(failure)) return false;
        busy.push_back(v);
    }
    const std::shared_ptr<void> done{nullptr, [&](void*) { done_with(v); }};
    try {
        const auto held = v->run->hold();
        {
            const std::lock_guard lock{mutex};
            if (v != answering) return true;  // another took its place while it was waited for
        }
        if (v->run->upto() <= last) v->run->catch_up_held(v->stopping, {});
    } catch (...) {
        v->run->fail(std::current_exception());
    }
    return false;
}

void projection_core::impl::start()
{
    start_with(true);
}

void projection_core::impl::stop() noexcept
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

stop_result projection_core::impl::stop(clock::duration timeout)
{
    {
        const auto             deadline = deadline_of(timeout);
        const std::unique_lock one{life, deadline};
        if (!one)
            return {false, "projection " + name + " is being asked for something that takes long"};
        running = false;
        std::unique_lock lock{mutex};
        for (const auto& v : {answering, building}) {
            if (!v) continue;
            v->stopping = true;
            if (v->asleep) v->asleep->stop();
        }
        changed.notify_all();
        if (!changed.wait_until(lock, deadline, [&] { return busy.empty(); })) {
            const auto v = busy.front();
            lock.unlock();
            return {false, busy_words(*v)};
        }
    }
    stop();
    return {true, {}};
}

void projection_core::impl::go_on(const std::shared_ptr<fed_version>& v)
{
    const std::lock_guard one{life};
    v->run->fail(nullptr);
    // One that lives goes on by itself; inline, whoever records next does.
    if (!running || v->has_thread || (is_inline && !is_building(*v))) return;
    end_thread(v);
    begin_thread(v);
}

}  // namespace cairn::detail
