// SPDX-License-Identifier: Apache-2.0
#include "projection_core.hpp"
#include "stored_tables.hpp"

#include <algorithm>

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

/// After this much time a rate is of old.
constexpr auto rate_window = std::chrono::seconds{5};

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

}  // namespace

// ---- What a view asks. -------------------------------------------------------------------------

std::shared_ptr<fed_version> projection_core::impl::answering_one() const
{
    const std::lock_guard lock{mutex};
    if (!answering)
        throw error{errc::not_ready, "projection " + name + " is being built: wait for that"};
    return answering;
}

bound_projection projection_core::impl::read()
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

position projection_core::impl::upto_of(table_reader& tables)
{
    position upto{0};
    for (const auto& [at, p] : tables.checkpoint().partitions) upto = std::max(upto, p.upto);
    return upto;
}

std::shared_ptr<table_follower> projection_core::impl::follow(std::size_t           table,
                                                              const follow_options& o)
{
    return feed_of_tables.follow(shared_from_this(), table, o);
}

table_feed::opened projection_core::impl::open_for_followers()
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

bool projection_core::impl::wait_for(position p, clock::time_point deadline) const
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

projection_status projection_core::impl::status() const
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
            s.state =
                on->run->caught_up() ? projection_state::following : projection_state::catching_up;
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

std::uint64_t projection_core::impl::count_parked(std::unique_ptr<table_reader> reader) const
{
    const auto          one = type.create();
    const parked_events of{*one};
    access_of(*one).read(reader.get());
    return of.count();
}

double projection_core::impl::rate_of(std::uint64_t read) const
{
    const std::lock_guard lock{mutex};
    const auto            now = clock::now();
    rates.push_back({now, read});
    while (rates.size() > 2 && now - rates.front().first > rate_window) rates.erase(rates.begin());
    const auto took = std::chrono::duration<double>(now - rates.front().first).count();
    if (took <= 0 || read < rates.front().second) return 0;
    return static_cast<double>(read - rates.front().second) / took;
}

// ---- What a runner asks. -----------------------------------------------------------------------

std::vector<parked_event> projection_core::impl::parked(std::size_t                        at_most,
                                                        const std::optional<parked_event>& after)
{
    const auto          from   = answering_one();
    const auto          reader = from->run->tables()->read();
    const auto          one    = type.create();
    const parked_events of{*one};
    access_of(*one).read(reader.get());
    return of.list(at_most, after);
}

void projection_core::impl::skip(position which)
{
    const auto v = answering_one();
    v->run->skip(which);
    go_on(v);
}

verification projection_core::impl::verify(const std::atomic<bool>& stopping)
{
    const auto                           v = answering_one();
    verification                         result;
    projection_checkpoint                at;
    std::map<std::string, std::uint64_t> stored;
    {
        // Of one moment: others of a group may go on. Not longer, for the store's sake.
        const auto reader = v->run->tables()->read();
        at                = reader->checkpoint();
        stored            = digests(*reader, shapes);
    }
    result.upto       = at.upto();
    const auto memory = memory_tables();
    // It leaves out what the other has left out: parked events, and no more.
    auto o    = options;
    o.on_step = {};
    o.threads = 1;  // one after the other: what rows_apart claims is checked by this
    projection_run again{events, name, 1, memory->open(name, 1, type.code_version, shapes),
                         type,   o};
    again.go_no_further_than(at);
    again.catch_up_to(events.log().end_position(), stopping);
    if (stopping)
        throw error{errc::closed, "projection " + name + " was stopped while it was verified"};
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

// ---- Watching. ---------------------------------------------------------------------------------

std::string projection_core::impl::busy_words(const fed_version& v) const
{
    const auto which = "projection " + name + " version " + std::to_string(v.run->number()) + " ";
    if (const auto event = v.run->handling()) return which + "handles " + v.run->event_at(*event);
    return which + "waits for its store, or for the log";
}

std::string projection_core::impl::stalled(fed_version& v) const
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
    const auto                       failure     = v.run->failure();
    const bool                       is_paused   = v.run->paused();
    const bool                       is_anothers = with && with->is_built_by_another(this);
    {
        const std::lock_guard lock{mutex};
        why = words_of(failure);
        // What is counted inline goes on when something is recorded, and need not before.
        // Nor what is paused, or waits for another of the group.
        const bool goes_on = failure || std::any_of(busy.begin(), busy.end(),
                                                    [&](const auto& b) { return b.get() == &v; });
        const bool waits   = is_paused || (building.get() == &v && is_anothers);
        now.behind         = goes_on && !waits ? left : 0;
        since              = v.watch.look(now, at);
    }
    if (!since) return {};
    const auto length = std::to_string(duration_cast<seconds>(at - *since).count()) + " s";
    if (now.handling) return busy_words(v) + " for " + length;
    return "projection " + name + " version " + std::to_string(v.run->number()) + " is " +
           std::to_string(left) + " events behind, and has not moved for " + length +
           (why.empty() ? "" : ": " + why);
}

void projection_core::impl::begin_watch()
{
    if (options.stall_after <= std::chrono::milliseconds{0} || watchdog.joinable()) return;
    watching = true;
    watchdog = std::thread{[this] {
        const auto       pause = std::max(options.stall_after / 4, std::chrono::milliseconds{1});
        std::unique_lock lock{watch_mutex};
        while (!watch_over.wait_for(lock, pause, [&] { return !watching; })) {
            lock.unlock();
            for (const auto& v : fed()) look_at(*v);
            lock.lock();
        }
    }};
}

void projection_core::impl::look_at(fed_version& v) noexcept
{
    try {
        const auto words = stalled(v);
        if (!words.empty() && !v.told_stalled && options.on_stalled) options.on_stalled(words);
        v.told_stalled = !words.empty();
    } catch (const std::exception&) {
        // The log is closed, or memory is short: it looks again.
    }
}

void projection_core::impl::end_watch() noexcept
{
    {
        const std::lock_guard lock{watch_mutex};
        watching = false;
    }
    watch_over.notify_all();
    if (watchdog.joinable()) watchdog.join();
}

}  // namespace detail
}  // namespace cairn
