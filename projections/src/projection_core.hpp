// SPDX-License-Identifier: Apache-2.0
//
// A projection_runner: the versions of a projection's tables, the threads that feed them, and what
// is asked of them.
//
//     projection_core.cpp       which versions there are: made, swapped, dropped, reset, paused
//     projection_feeding.cpp    threads; catching up; several runners in a group
//     projection_status.cpp     asking: reading, waiting, status, what is parked, what stands still
#pragma once

#include "projection_run.hpp"
#include "stall_watch.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cairn::detail {

/// What passes by itself: the store is away, or full.
bool passes(const std::exception_ptr& e);

/// The projection's own, then those of what is parked.
std::vector<table_shape> shapes_of(const projection_type& type);

/// A version and the thread that feeds it.
struct fed_version
{
    using clock = std::chrono::steady_clock;

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

/// Invariants
///   - At most one version answers, and at most one is built.
///   - A version is fed by one thread at a time.
///
/// Threads   Any. Locks, in this order: life, member_mutex, a run's, mutex. What is called with the
///           group's lock held (hear(), wake()) takes mutex only.
/// Lifetime  Kept by the runner and by each view.
/// Errors    As projection_runner.
struct projection_core::impl final : projection_source, std::enable_shared_from_this<impl>
{
    using clock = std::chrono::steady_clock;

    impl(event_store e, std::string n, std::shared_ptr<table_store> t, projection_type ty,
         projection_options o);

    void choose_versions();

    ~impl() override;

    void check_name() const;

    std::shared_ptr<fed_version> make(int number, bool answers = true);

    /// What is being built goes so far and no further, where there are feeds: all before it was
    /// delivered by the version that answers, what comes then is delivered by the one that answers
    /// then.
    position built_before() const;

    /// The one that is built next, or is being built by another of the group.
    int next_number() const;

    /// From now on; returns what answered before.
    std::shared_ptr<fed_version> answer_from(const std::shared_ptr<fed_version>& now);

    /// It is over, and its thread may be the one that says so.
    void retire(const std::shared_ptr<fed_version>& old);

    // ---- In a group. ---------------------------------------------------------------------------

    void hear(int version, const shared_projection::progress& done);

    void wake();

    /// Changes to the version that another of the group has made the active one. True: `v` is over,
    /// or is to wait for that.
    bool follow(fed_version& v);

    /// Of the partitions that this one has in the group.
    void catch_up_shared(fed_version& v, const std::atomic<bool>& stopping);

    void poll();

    /// It cannot go on, and stays in the group: others would come to the same event. Until it is
    /// stopped, or has other partitions.
    void stand_in_group(fed_version& v);

    // ---- Feeding. ------------------------------------------------------------------------------

    /// Handles what is there; then, where it was being built, makes it the one that answers.
    void catch_up(fed_version& v, const std::atomic<bool>& stopping);

    bool is_building(const fed_version& v);

    /// It may be another who has paused it.
    bool is_paused_in_group();

    void tell(fed_version& v, bool at_once);

    rebuild_progress progress_of(const fed_version& v) const;

    /// It answers from now on. What answered until now is held meanwhile, so that no reader is
    /// sent back.
    void swap_in(fed_version& v, const std::atomic<bool>& stopping);

    void begin_thread(const std::shared_ptr<fed_version>& v);

    void busy_with(const std::shared_ptr<fed_version>& v);
    void done_with(const std::shared_ptr<fed_version>& v) noexcept;

    void feed(fed_version& v);

    /// News of the log is none here: only stopping ends it.
    void wait_apart(const fed_version& v, std::chrono::milliseconds time);

    void end_thread(const std::shared_ptr<fed_version>& v) noexcept;

    void join_retired() noexcept;

    // ---- What the runner does. ---------------------------------------------------------------

    void run_until_idle();

    std::vector<std::shared_ptr<fed_version>> fed() const;

    void start_with(bool thread);

    void begin_all(bool thread);

    /// Whoever records something counts it, and what others have recorded meanwhile, before the
    /// call returns. As with a flush, one does it for all.
    void start_inline();
    /// Counts up to there. True: another version answers now, and is to count it.
    bool count_inline(position last);

    void start();

    void stop() noexcept;

    stop_result stop(clock::duration timeout);

    std::string busy_words(const fed_version& v) const;

    // ---- Watching. ---------------------------------------------------------------------------

    /// Where it stands still, and since when; else nothing.
    std::string stalled(fed_version& v) const;

    void begin_watch();
    void look_at(fed_version& v) noexcept;
    void end_watch() noexcept;

    void rebuild();

    void cancel_rebuild();

    void cancel_rebuild_held();

    void swap_to(int number);

    void drop(int number);

    bool is_paused();
    void pause();

    void resume();

    void reset();

    std::shared_ptr<fed_version> answering_one() const;

    std::vector<parked_event> parked(std::size_t at_most, const std::optional<parked_event>& after);

    /// What was failed may go on.
    void go_on(const std::shared_ptr<fed_version>& v);

    void skip(position which);

    verification verify(const std::atomic<bool>& stopping);

    // ---- What a view asks. -------------------------------------------------------------------

    bound_projection read() override;

    static position upto_of(table_reader& tables);

    std::shared_ptr<table_follower> follow(std::size_t table, const follow_options& o) override;

    /// What answers now, and how far it is: it may only be further.
    table_feed::opened open_for_followers();

    bool wait_for(position p, clock::time_point deadline) const override;

    projection_status status() const override;

    std::uint64_t count_parked(std::unique_ptr<table_reader> reader) const;

    double rate_of(std::uint64_t read) const;

    event_store                        events;
    const std::string                  name;
    const std::shared_ptr<table_store> store;
    const projection_type              type;
    const projection_options           options;
    const std::vector<table_shape>     shapes;

    std::timed_mutex      life;  // one of run_until_idle(), start(), stop(), … at a time
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

}  // namespace cairn::detail
