// SPDX-License-Identifier: Apache-2.0
//
// One version of a projection's tables, fed from the log.
#pragma once

#include "feed_gate.hpp"
#include "parked_events.hpp"
#include "shared_projection.hpp"
#include "table_feed.hpp"

#include <cairn/projections/projection_runner.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <span>

namespace cairn::detail {

/// What was thrown; "" of null.
std::string words_of(const std::exception_ptr& e);

/// Invariants
///   - upto() only grows, and what is before it is committed.
///   - Records of all partitions are handled in the order of their positions; where several
///     threads do, those of each partition are.
///   - When catch_up() throws projection_failed, all before that event is committed.
///
/// Threads   catch_up() one at a time (another waits); the others any.
/// Lifetime  The projection_type outlives it.
/// Errors    projection_failed, checkpoint_ahead, events_removed, fenced_generation; the store's.
class projection_run
{
public:
    static constexpr position everything{std::numeric_limits<std::int64_t>::max()};

    projection_run(event_store events, std::string name, int number,
                   std::shared_ptr<projection_tables> tables, const projection_type& type,
                   const projection_options& options, table_feed* feed = nullptr);

    /// With fewer records to read, threads are not worth their beginning.
    std::uint64_t worth_a_team = 10'000;

    int                                       number() const noexcept { return number_; }
    const std::shared_ptr<projection_tables>& tables() const noexcept { return tables_; }

    /// From now on its feeds deliver. By who holds it, or has just made it.
    void open_feeds();

    /// Handles what there was in the log when it began; less where it is to stop, and nothing from
    /// `before` on. `each_commit` is called after every commit.
    void catch_up(const std::atomic<bool>& stopping, const std::function<void()>& each_commit = {},
                  position before = everything);

    /// While it is held nothing is handled.
    std::unique_lock<std::mutex> hold() { return std::unique_lock{feeding_}; }
    /// As catch_up(), by who holds it.
    void catch_up_held(const std::atomic<bool>& stopping, const std::function<void()>& each_commit,
                       position before = everything);

    /// Commits that it can answer.
    void complete();

    // ---- Beside other runs of the same tables. -----------------------------------------------

    /// From now on each batch begins at the checkpoint that the store has then, and others are told
    /// how far it is. Again: nothing.
    void share(std::shared_ptr<shared_projection> with);
    /// Handles these partitions from now on.
    void own(const std::vector<topic_partition>& partitions);
    /// A batch of those, if there is one. False: there was nothing more when it looked.
    bool catch_up_a_batch(const std::atomic<bool>& stopping);
    /// What others have done.
    void hear(const shared_projection::progress& done);
    /// Another has written these tables: it is looked how far they are.
    void look();
    /// The tables are its own again, where another has written them.
    void begin_again();

    std::vector<topic_partition> owned() const;

    /// Handles up to the event at `which`, which is left out. Throws invalid_argument where it
    /// does not stand before that.
    void skip(position which);

    /// Commits whether it is paused.
    void pause(bool paused);
    bool paused() const;

    /// Ends before the next one where it is to stop.
    std::size_t retry_parked(const std::atomic<bool>& stopping);
    void        skip_parked(const topic_partition& in, offset at);

    /// Of each partition it handles what is counted there, and no more.
    void go_no_further_than(const projection_checkpoint& at);

    /// As catch_up(), of what is before `end`.
    void catch_up_to(position end);
    void catch_up_to(position end, const std::atomic<bool>& stopping);

    position upto() const;
    /// False at the deadline, or when interrupt() says that it does not go on.
    bool wait_for(position p, std::chrono::steady_clock::time_point deadline) const;
    void interrupt(bool ended);

    /// Why it stands; null: it does not. The next commit clears it, before anybody who waits for
    /// that commit is woken.
    std::exception_ptr failure() const;
    void               fail(std::exception_ptr why);

    /// It has handled all that there was when it looked; nobody has interrupted it since.
    bool caught_up() const;

    struct counts
    {
        std::uint64_t read = 0, handled = 0, commits = 0;
    };
    counts counted() const noexcept;

    /// The event that is in its handler now; of several threads' the first.
    std::optional<position> handling() const noexcept
    {
        std::optional<position> first;
        for (const auto& h : handling_)
            if (const position p{h.load(std::memory_order_relaxed)}; p.value >= 0)
                first = first ? std::min(*first, p) : p;
        return first;
    }
    /// "sales-0 offset 17 (position 40, Sold)"
    std::string event_at(position p) const;

    /// Records before and behind the checkpoints, and how old the oldest behind them is.
    struct lag
    {
        std::uint64_t             done = 0, left = 0;
        std::chrono::milliseconds time{0};
    };
    /// own: of the partitions that it handles.
    lag lag_now(bool own = false) const;

private:
    /// A partition, read in its order; or what matches a query, of all of them.
    struct source
    {
        topic_partition       at;  ///< where `next` is
        record_range          records;
        std::uint64_t         left;  ///< records that there were when it was opened; 0: of a query
        const record_view*    next = nullptr;
        offset                done{-1};  ///< all before is handled, and not yet in at_; -1: none
        std::optional<offset> end{};     ///< it goes no further

        /// Of a query: the same of the other partitions, and what is to be left out.
        std::map<topic_partition, offset>       passed{};
        std::function<bool(const record_view&)> leave_out{};

        void move()
        {
            do next = records.next();
            while (next != nullptr && leave_out && leave_out(*next));
            if (next != nullptr && end && next->offset >= *end) next = nullptr;
            if (!leave_out || next == nullptr || *next->from == at) return;
            if (done.value >= 0) passed[at] = std::exchange(done, offset{-1});
            at = *next->from;
        }
    };
    struct part;

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

    /// Those that it is about; those that it handles.
    std::vector<topic_partition> partitions() const;
    std::vector<topic_partition> handled_partitions() const;
    bool                         has_work() const;
    bool                         owns(const topic_partition& p) const;
    /// What the store has, and what was of no interest beyond.
    void                refresh(table_writer& from);
    std::vector<source> open_sources();
    source              open_query() const;
    offset              counted_in(const topic_partition& in) const;
    /// Which events are counted, as a number.
    std::uint64_t subscription() const;
    /// Says of the partitions that what is before `end` is done.
    void pass_all(source& of_query, position end) const;
    void claim();
    void step(projection_step s) const
    {
        if (options_.on_step) options_.on_step(s);
    }
    /// Up to `end` of the log; stops before `not_beyond`. Throws handler_threw.
    void handle(position end, position not_beyond, const std::optional<put_aside>& aside,
                const std::atomic<bool>& stopping, const std::function<void()>& each_commit);
    /// As handle(), by several threads, where the tables allow it and there is enough to do.
    /// Handles what it can; false: nothing more that way, and what is left is for handle().
    bool handle_side_by_side(position end, const std::atomic<bool>& stopping,
                             const std::function<void()>& each_commit);
    void commit_parts(std::span<const std::unique_ptr<part>> parts, std::span<source> sources,
                      position end, const std::function<void()>& each_commit);
    /// As handle(); what fails is done with, or told by projection_failed.
    void              feed(position end, const std::atomic<bool>& stopping,
                           const std::function<void()>& each_commit);
    projection_failed failed_at(const handler_threw& threw) const;
    bool              retry_one(const topic_partition& in, offset at);
    append_record     parked_record(const topic_partition& in, const record_view& r,
                                    const std::string& why) const;
    /// Commits what has changed, and tells those who follow the tables.
    void commit_changes(table_writer& to, std::span<const row_change> changes,
                        const projection_checkpoint& c, position upto);
    /// Commits a change that is none of an event's.
    void change(const std::function<void()>& how);
    /// The checkpoint with what the sources have done.
    projection_checkpoint after(std::span<const source> sources, position upto) const;
    void advance(std::span<source> sources, projection_checkpoint to, position upto, bool all);

    event_store                              events_;
    const std::string                        name_;
    const int                                number_;
    const std::shared_ptr<projection_tables> tables_;
    const projection_type&                   type_;
    const projection_options&                options_;
    table_feed* const                        feed_;  // null: nobody can follow

    std::optional<std::map<topic_partition, partition_progress>> no_further_;

    /// It answers: what it parks is told.
    bool tells_ = false;

    std::mutex                         feeding_;
    std::shared_ptr<projection_base>   itself_;
    parked_events                      parked_;
    table_access&                      access_;
    feed_gate                          feeds_;
    event_dispatch                     dispatch_;
    bool                               claimed_ = false;
    std::shared_ptr<shared_projection> with_;           // null: nobody else writes
    std::uint64_t                      read_since_commit_ = 0;

    mutable std::mutex              mutex_;  // what follows
    mutable std::condition_variable advanced_;
    projection_checkpoint           at_;  // of what is committed, and of what was of no interest
    shared_projection::progress     heard_;
    std::vector<topic_partition>    own_;
    position                        upto_{0};
    bool                            ended_     = false;
    bool                            caught_up_ = false;
    std::exception_ptr              failure_;

    std::atomic<std::uint64_t> read_{0}, handled_{0}, commits_{0};

    /// Of each thread a position; -1: no event is in its handler.
    static constexpr std::size_t                       threads_max = 64;
    std::array<std::atomic<std::int64_t>, threads_max> handling_;
};

}  // namespace cairn::detail
