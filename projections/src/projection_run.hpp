// SPDX-License-Identifier: Apache-2.0
//
// One version of a projection's tables, fed from the log.
#pragma once

#include "parked_events.hpp"
#include "table_feed.hpp"

#include <cairn/projections/projection_runner.hpp>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <span>

namespace cairn::detail {

/// Invariants
///   - upto() only grows, and what is before it is committed.
///   - Records of all partitions are handled in the order of their positions.
///   - When catch_up() throws projection_failed, all before that event is committed.
///
/// Threads   catch_up() one at a time (another waits); the others any.
/// Lifetime  The projection_type outlives it.
/// Errors    projection_failed, checkpoint_ahead, events_removed, fenced_generation; the store's.
class projection_run
{
public:
    projection_run(event_store events, std::string name, int number,
                   std::shared_ptr<projection_tables> tables, const projection_type& type,
                   const projection_options& options, table_feed* feed = nullptr);

    int                                       number() const noexcept { return number_; }
    const std::shared_ptr<projection_tables>& tables() const noexcept { return tables_; }

    /// Handles what there was in the log when it began; less where it is to stop. `each_commit` is
    /// called after every commit.
    void catch_up(const std::atomic<bool>& stopping, const std::function<void()>& each_commit = {});

    /// While it is held nothing is handled.
    std::unique_lock<std::mutex> hold() { return std::unique_lock{feeding_}; }
    /// As catch_up(), by who holds it.
    void catch_up_held(const std::atomic<bool>& stopping, const std::function<void()>& each_commit);

    /// Commits that it can answer.
    void complete();

    /// Handles up to the event at `which`, which is left out. Throws invalid_argument where it
    /// does not stand before that.
    void skip(position which);

    std::size_t retry_parked();
    void        skip_parked(const topic_partition& in, offset at);

    /// As catch_up(), of what is before `end`.
    void catch_up_to(position end);

    position upto() const;
    /// False at the deadline, or when interrupt() says that it does not go on.
    bool wait_for(position p, std::chrono::steady_clock::time_point deadline) const;
    void interrupt(bool ended);

    struct counts
    {
        std::uint64_t read = 0, handled = 0, commits = 0;
    };
    counts counted() const noexcept;

    /// The event that is in its handler now.
    std::optional<position> handling() const noexcept
    {
        const auto p = handling_.load(std::memory_order_relaxed);
        return p < 0 ? std::nullopt : std::optional{position{p}};
    }
    /// "sales-0 offset 17 (position 40, Sold)"
    std::string event_at(position p) const;

    /// Records before and behind the checkpoints, and how old the oldest behind them is.
    struct lag
    {
        std::uint64_t             done = 0, left = 0;
        std::chrono::milliseconds time{0};
    };
    lag lag_now() const;

private:
    struct source;

    /// A handler threw: the batch is gone.
    struct handler_threw
    {
        topic_partition    in;
        offset             at;
        cairn::position    where;
        std::string        type;
        std::exception_ptr cause;
    };
    /// An event that is not handled: it is parked, or left out.
    struct put_aside
    {
        position    where;
        bool        parked = true;
        std::string why{};
    };

    std::vector<topic_partition> partitions() const;
    std::vector<source>          open_sources();
    source                       open_query() const;
    /// Which events are counted, as a number.
    std::uint64_t subscription() const;
    /// Says of all partitions that what is before `end` is done.
    void pass_all(source& of_query, position end) const;
    void claim();
    void step(projection_step s) const
    {
        if (options_.on_step) options_.on_step(s);
    }
    /// Up to `end` of the log; stops before `not_beyond`. Throws handler_threw.
    void handle(position end, position not_beyond, const std::optional<put_aside>& aside,
                const std::atomic<bool>& stopping, const std::function<void()>& each_commit);
    /// As handle(); what fails is done with, or told by projection_failed.
    void              feed(position end, const std::atomic<bool>& stopping,
                           const std::function<void()>& each_commit);
    projection_failed failed_at(const handler_threw& threw) const;
    bool              retry_one(const topic_partition& in, offset at);
    append_record     parked_record(const topic_partition& in, const record_view& r,
                                    const std::string& why) const;
    /// Commits what has changed, and tells those who follow the tables.
    void commit_changes(table_writer& to, const projection_checkpoint& c, position upto);
    /// Commits a change that is none of an event's.
    void change(const std::function<void()>& how);
    /// The checkpoint with what the sources have done.
    projection_checkpoint after(std::span<const source> sources, position upto) const;
    void advance(std::span<source> sources, projection_checkpoint to, position upto);

    event_store                              events_;
    const std::string                        name_;
    const int                                number_;
    const std::shared_ptr<projection_tables> tables_;
    const projection_type&                   type_;
    const projection_options&                options_;
    table_feed* const                        feed_;  // null: nobody can follow

    std::mutex                       feeding_;
    std::shared_ptr<projection_base> itself_;
    parked_events                    parked_;
    table_access&                    access_;
    event_dispatch                   dispatch_;
    bool                             claimed_           = false;
    std::uint64_t                    read_since_commit_ = 0;

    mutable std::mutex              mutex_;  // what follows
    mutable std::condition_variable advanced_;
    projection_checkpoint           at_;  // of what is committed, and of what was of no interest
    position                        upto_{0};
    bool                            ended_ = false;

    std::atomic<std::uint64_t> read_{0}, handled_{0}, commits_{0};
    std::atomic<std::int64_t>  handling_{-1};  // a position; -1: no event is in its handler
};

}  // namespace cairn::detail
