// SPDX-License-Identifier: Apache-2.0
//
// Where projections run.
#pragma once

#include <cairn/projections/feed_sink.hpp>
#include <cairn/projections/projection_group.hpp>
#include <cairn/projections/view.hpp>

#include <cairn/framework/event_store.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn {

/// What a projection_runner does one after the other; before it does, it calls options.on_step.
enum class projection_step {
    reading,     ///< a batch begins
    handling,    ///< an event
    posting,     ///< what its flows made for topics, and lines of its feeds, if anything
    committing,  ///< its rows and the checkpoint
    committed,
    swapping,  ///< a new version answers from then on
};

/// What becomes of an event that a handler throws at.
enum class on_failure {
    stop,  ///< the projection stands before it, until the code is mended or it is skipped
    park,  ///< it is put aside, and what comes later of its key waits behind it
};

struct projection_options
{
    /// Whose events: these topics; none: all that are not internal.
    std::vector<std::string> topics{};

    /// Of these only the events that match, found by the log's index: those that have certain tags.
    /// An item without types means all that the projection lists. None: all events. Where topics or
    /// query change, the struct's `version` does too; else shape_differs.
    std::optional<cairn::query> query{};

    /// A commit has at most so many events, bytes of changes, or time. It has fewer where there
    /// are no more: nothing waits for a batch to fill.
    std::size_t               commit_events_max = 10'000;
    std::size_t               commit_bytes_max  = 16u << 20;
    std::chrono::milliseconds commit_time_max{1'000};

    /// How many threads catch up with a long log, each with partitions of its own, where all tables
    /// say rows_apart or rows_merged; 0: one for each core of the machine.
    std::size_t threads = 0;

    /// Other runners of this projection have partitions too; none: all are this one's.
    std::optional<projection_group> group{};
    /// A name of this instance in that group that stays over restarts: who comes back with it soon
    /// has its partitions again, and the others are not disturbed.
    std::optional<std::string> instance_id{};

    /// Of events that throw. What is parked is written to the topic <projection>.parked as well,
    /// for whoever watches: at least once, with where it is from in its headers.
    cairn::on_failure on_failure = cairn::on_failure::stop;

    /// Versions that another has taken the place of are kept, so that one can swap back; false:
    /// they are dropped.
    bool keep_old_versions = true;

    /// Where its feeds go, each by its name: json_lines_file(), webhook(). A sink that is away, or
    /// full, holds the projection up; it goes on by itself.
    std::map<std::string, std::shared_ptr<feed_sink>> feeds{};
    /// What should go on and has not moved for so long stands still: one event has been in its
    /// handler all the time, or there are events and none was read. status() says so, and
    /// on_stalled is told, once each time, where and since when. It is called on a thread of its
    /// own that looks four times in that time while the runner runs; it does not throw, and does
    /// not stop the runner. Zero: nobody looks.
    std::chrono::milliseconds               stall_after{0};
    std::function<void(const std::string&)> on_stalled{};

    /// What time it is for that. For tests.
    std::function<std::chrono::steady_clock::time_point()> clock{};

    /// Called now and then while a version is rebuilt.
    std::function<void(const rebuild_progress&)> on_progress{};

    /// For tests: what it throws is a crash there.
    std::function<void(projection_step)> on_step{};
};

/// What stop() came to.
struct stop_result
{
    bool        ended = false;
    std::string busy{};  ///< where it has not: what it is busy with

    explicit operator bool() const noexcept { return ended; }
};

/// Whether tables are what the log says.
struct verification
{
    bool                     ok = false;
    position                 upto{0};      ///< compared as of this position
    std::uint64_t            stored  = 0;  ///< a digest of the rows
    std::uint64_t            rebuilt = 0;  ///< of those that were built again
    std::vector<std::string> different{};  ///< the tables that differ
};

class projection_control;

namespace detail {

class control_link;

/// A projection_runner without its type.
class projection_core
{
public:
    projection_core(event_store events, std::string name, std::shared_ptr<table_store> tables,
                    projection_type type, projection_options o);
    ~projection_core();
    projection_core(const projection_core&)            = delete;
    projection_core& operator=(const projection_core&) = delete;

    void                      run_until_idle();
    void                      start();
    void                      start_inline();
    void                      stop() noexcept;
    stop_result               stop(std::chrono::steady_clock::duration timeout);
    void                      rebuild();
    void                      cancel_rebuild();
    void                      swap_to(int number);
    void                      drop(int number);
    void                      pause();
    void                      resume();
    void                      reset();
    std::vector<parked_event> parked(std::size_t at_most, const std::optional<parked_event>& after);
    std::size_t               retry_parked();
    std::size_t               retry_parked(const std::atomic<bool>& stopping);
    void                      skip_parked(const topic_partition& in, offset at);
    void                      skip(position which);
    verification              verify();
    verification              verify(const std::atomic<bool>& stopping);

    std::shared_ptr<projection_source> source() const noexcept;
    /// What others than its owner ask it through.
    std::shared_ptr<control_link> link() const noexcept;

private:
    struct impl;
    std::shared_ptr<impl>         impl_;
    std::shared_ptr<control_link> link_;
};

}  // namespace detail

/// Keeps a projection's tables as the log says.
///
///     cairn::projection_runner<Revenue> revenue{log, "revenue",
///     cairn::lmdb_tables("projections")}; revenue.start(); revenue.view().read()->spent_by("Ada");
///
/// A projection has versions of its tables, each with a number. The active one answers. rebuild()
/// makes the next one, from the beginning of the log, while the active one is kept up to date and
/// answers; when it has caught up, it is the active one, in one step. Where the struct's own
/// `version` is another than the one that the active tables were made with, a rebuild begins by
/// itself; as long as it goes on, the old tables answer where they have the same shape, and are
/// not changed by the new code.
///
/// Invariants
///   - Each event counts once in each version's tables, whatever crashes.
///   - The active version changes in one step, and only to one that has caught up.
///   - A rebuild that a crash has interrupted goes on where it was.
///   - Of several runners that write one version and are in no group, the one that began last
///     writes; the others stop with errc::fenced_generation.
///
/// Threads   Any. Each version that runs has a thread.
/// Lifetime  Keeps the log and the store open; not to outlive them closed. The destructor stops it.
/// Errors    projection_failed, from run_until_idle(), and said by status(). What was not handled
///           is tried again when that, or start(), is called again. checkpoint_ahead, where the
///           tables know events that the log does not have; events_removed, where retention has
///           taken events before they were counted: rebuild().
template <is_projection P>
class projection_runner
{
public:
    projection_runner(event_store events, std::string name, std::shared_ptr<table_store> tables,
                      projection_options o = {})
        : core_{std::move(events), std::move(name), std::move(tables),
                detail::describe_projection<P>(typename P::events{}), std::move(o)}
    {
    }

    /// Handles all that is there, a rebuild included, in this thread, and returns.
    void run_until_idle() { core_.run_until_idle(); }

    /// Handles what is there and what comes. It sleeps until the next commit.
    void start() { core_.start(); }
    /// Handles what is there, and from then on each event before the call that records it returns:
    /// whoever has done something finds it done. For that, repositories and deciders must be made
    /// of the same event_store as this runner. What others record (by a bare log, in another
    /// process) is handled with the next event. A handler that throws stops the projection, not the
    /// command: what has happened has happened. on() must not record anything through that
    /// event_store. Not in a group: invalid_argument.
    void start_inline() { core_.start_inline(); }
    /// Ends either, after the event that is being handled; what was handled is committed.
    void stop() noexcept { core_.stop(); }

    /// The same, within a time. Where an event takes longer to be handled, or a store to answer,
    /// that is what it is busy with: then nothing more is handled after it. stop(), or the
    /// destructor, waits for that.
    stop_result stop(std::chrono::steady_clock::duration timeout) { return core_.stop(timeout); }

    /// Begins to build the next version; where one is being built, that goes on. It runs where
    /// this runs.
    void rebuild() { core_.rebuild(); }
    /// Ends that, and drops what there is of the new version. None: nothing.
    void cancel_rebuild() { core_.cancel_rebuild(); }

    /// Makes another version that is kept the active one. It goes on where it was.
    /// Throws invalid_argument where it has never caught up or is not there.
    void swap_to(int number) { core_.swap_to(number); }
    /// Deletes a version that is not active.
    void drop(int number) { core_.drop(number); }

    /// Handles nothing more, a rebuild's events neither, until resume(). That is kept with the
    /// tables: it is so after a restart too. What is there answers. Where the store is away it
    /// throws, and is paused until the restart only.
    void pause() { core_.pause(); }
    /// Goes on where it was. One that has failed tries again.
    void resume() { core_.resume(); }

    /// Throws the tables that answer away and builds them from the beginning of the log: it
    /// answers with what there is so far, and a rebuild that goes on is cancelled. rebuild()
    /// leaves the old tables to answer meanwhile.
    void reset() { core_.reset(); }

    // ---- What could not be handled. ----------------------------------------------------------

    /// Those that are parked, by partition and offset: at most so many, from behind one.
    std::vector<parked_event> parked(std::size_t                        at_most = 100,
                                     const std::optional<parked_event>& after   = {})
    {
        return core_.parked(at_most, after);
    }
    /// Tries the parked events again, those of a key in their order, up to the first that fails
    /// again. Returns how many were handled.
    std::size_t retry_parked() { return core_.retry_parked(); }
    /// Gives a parked event up: it will never count. Those that wait behind it can be retried.
    /// Throws invalid_argument where it is not parked.
    void skip_parked(const topic_partition& in, offset at) { core_.skip_parked(in, at); }

    /// Gives the event up that the projection stands before, as projection_failed says: it will
    /// not count in this version. Throws invalid_argument where it does not stand there.
    void skip(position which) { core_.skip(which); }

    /// Builds the tables again in memory, up to where the active version is, and compares. That
    /// waits meanwhile.
    verification verify() { return core_.verify(); }

    cairn::view<P>    view() const { return cairn::view<P>{core_.source()}; }
    projection_status status() const { return core_.source()->status(); }

private:
    friend class projection_control;

    detail::projection_core core_;
};

}  // namespace cairn
