// SPDX-License-Identifier: Apache-2.0
//
// The engine behind commit_log: one commit step, a tail, a merger, segments, an index.
//
//     append() ──> gathering group ──> commit step ──> journal ──> tail + index ──> readers
//                  (first one leads)   conditions,     one flush     │
//                                      offsets                       └─> merger ──> segments, runs
//
// Locks, in the order in which they are taken:
//     commit_mutex_     the commit step; held across the flush. Only appenders wait for it.
//     publish_mutex_    tail, ends, folded state. Exclusive for microseconds; shared by readers.
//     segments_mutex_   the list of segments, replaced as a whole.
//     (inside)          the index's own
#pragma once

#include "../index/index.hpp"
#include "../journal/journal.hpp"
#include "../store/segment.hpp"
#include "state.hpp"
#include "tail.hpp"

#include <cairn/log/commit_log.hpp>

#include <boost/unordered/unordered_flat_map.hpp>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace cairn::detail {

class directory_lock;
struct pending_append;
struct commit_group;
class group_writer;

struct segment_entry
{
    std::shared_ptr<segment>               body;
    position                               first;
    position                               end;
    std::shared_ptr<const segment_summary> summary;
};

/// The segments as they are at one moment.
///
/// Lifetime  Its own: a copy is one shared pointer, and keeps every segment of that moment. A
///           range-for over a temporary one is safe.
class segment_list
{
public:
    segment_list() = default;
    explicit segment_list(std::vector<segment_entry> entries)
        : entries_{std::make_shared<const std::vector<segment_entry>>(std::move(entries))}
    {
    }

    auto        begin() const noexcept { return entries_->begin(); }
    auto        end() const noexcept { return entries_->end(); }
    auto        rbegin() const noexcept { return entries_->rbegin(); }
    auto        rend() const noexcept { return entries_->rend(); }
    const auto& back() const noexcept { return entries_->back(); }
    const auto& operator[](std::size_t i) const noexcept { return (*entries_)[i]; }
    bool        empty() const noexcept { return entries_->empty(); }
    std::size_t size() const noexcept { return entries_->size(); }

private:
    std::shared_ptr<const std::vector<segment_entry>> entries_ =
        std::make_shared<const std::vector<segment_entry>>();
};

class engine : public std::enable_shared_from_this<engine>
{
public:
    engine(std::string directory, log_options options);
    ~engine();

    // ---- Topics (topics.cpp). --------------------------------------------------------------

    void      create_topic(const std::string& name, std::int32_t partitions,
                           const topic_config& config);
    bool      ensure_topic(const std::string& name, std::int32_t partitions,
                           const topic_config& config);
    void      alter_topic(const std::string& name, const topic_config& config);
    void      add_partitions(const std::string& name, std::int32_t total);
    void      delete_topic(const std::string& name);
    topic_ptr topic(std::string_view name) const;       ///< throws unknown_topic
    topic_ptr find_topic(std::string_view name) const;  ///< null
    std::vector<topic_ptr> topics() const;
    topic_description      describe(const topic_state& t) const;
    void                   truncate(std::uint32_t uid, const topic_partition& at, offset to);

    // ---- Appending (commit.cpp). -----------------------------------------------------------

    append_result append(const append_request& request);
    std::optional<receipt> find_command(bytes_view id) const;
    receipt       append_batch(const topic_ptr& t, std::int32_t number, bytes_view batch);

    /// Records of the log's own topics. They are checked again in the commit step by `valid`,
    /// which sees the state that they will change, and throws. What concerns one `subject` (a
    /// consumer group) is not recorded in one group commit, where none would see the other.
    void append_own(std::uint32_t uid, std::vector<record> records,
                    const std::function<void(const folded_state&)>& valid   = {},
                    std::string_view                                subject = {});
    void append_own(append_request request, const std::function<void(const folded_state&)>& valid,
                    std::string_view subject);

    /// A record of one of them, for an append to both.
    static append_record own_record(std::uint32_t uid, record r);

    /// Forgets groups that have not changed since; returns their names.
    std::vector<std::string> forget_groups(timestamp oldest);

    // ---- Reading (read.cpp). ---------------------------------------------------------------

    position end() const noexcept { return position{end_.load(std::memory_order_acquire)}; }
    offset   start_offset(std::uint32_t uid) const;
    offset   end_offset(std::uint32_t uid) const;
    bool     alive(std::uint32_t uid) const;

    /// How often retention has removed records since the log was opened; and the newest position
    /// that it removed after the first `seen` times, -1: none.
    std::uint64_t removals() const noexcept { return removals_.load(std::memory_order_acquire); }
    position      newest_removed_since(std::uint64_t seen) const;

    /// Throws unknown_topic when the partition's topic was deleted.
    void must_be_alive(const partition_state& at, std::uint32_t uid) const;

    std::size_t read(std::uint32_t uid, offset from, const read_limits& limits,
                     std::vector<placed_batch>& out) const;
    std::size_t read_backwards(std::uint32_t uid, offset from, const read_limits& limits,
                               std::vector<placed_batch>& out) const;
    std::size_t read_all(position from, const read_limits& limits,
                         std::vector<placed_batch>& out) const;
    std::size_t read_all_backwards(position from, const read_limits& limits,
                                   std::vector<placed_batch>& out) const;

    /// The batch that holds it, its CRC unchecked; nullopt: it was removed.
    std::optional<placed_batch> find(position at) const;
    void find(std::uint32_t uid, std::span<const stream_posting> wanted,
              std::vector<std::optional<placed_batch>>& out) const;

    std::optional<std::pair<offset, timestamp>> offset_for_time(std::uint32_t uid,
                                                                timestamp     t) const;

    /// The records from a position on, as what a receipt is made of again: `count` of one commit,
    /// or fewer, up to the first that was removed.
    std::vector<placement> placements(position first, std::int64_t count) const;

    /// The partition of a topic that holds the stream of a key, or would.
    std::int32_t locate(const topic_state& t, bytes_view key) const;
    query_terms  terms_of(const query& q) const;
    query_terms  terms_of_newest(const query& q) const;  ///< for index::last_match()

    /// The newest position of a record that matches, or did before it was removed.
    std::optional<position> last_match(const query& q) const;

    const class index& index() const noexcept { return *index_; }

    /// Waits until end() > `seen`; false at the deadline, when `stop` is set, or closed.
    bool wait_beyond(position seen, std::chrono::steady_clock::time_point deadline,
                     const std::atomic<bool>* stop = nullptr) const;
    void wake_waiters() const;

    /// Reading goes on after a failure, but not after close().
    void throw_if_shut() const;

    /// Topic and number of a partition; a null topic when it was deleted.
    partition_state partition_of(std::uint32_t uid) const;

    template <class F>
    auto with_state(F&& f) const
    {
        throw_if_shut();
        const std::shared_lock lock{publish_mutex_};
        return f(state_);
    }

    // ---- Operating (merge.cpp, clean.cpp, operate.cpp). ------------------------------------

    void               merge();
    void               roll_segment();
    std::uint64_t      clean();
    void               backup(const std::string& directory);
    log_statistics     statistics() const;
    const std::string& directory() const noexcept { return directory_; }
    void               close();
    timestamp          now() const { return options_.clock(); }

private:
    // Opening (open.cpp).
    void open();
    void open_segments();
    void open_index();
    void catch_up(position to);
    void take_in(const placed_batch& placed);
    void recover_journal();
    void run_refresher();
    void refresh();  ///< read-only: takes in what the writer has merged since

    // The commit step (commit.cpp).
    void prepare(pending_append& p);
    void prepare_records(pending_append& p);
    void prepare_batch(pending_append& p);
    void submit(pending_append& p);
    void commit(commit_group& group);
    void decide(group_writer& writer, pending_append& p, timestamp time);
    void decide_batch(group_writer& writer, pending_append& p, timestamp time);
    offset& next_offset(group_writer& writer, std::uint32_t uid) const;
    void    publish(group_writer& writer, timestamp time);
    void throw_if_closed() const;
    void fail(std::string_view before, std::string_view why) noexcept;  ///< said together
    receipt repeated(position first, std::int64_t count, bool command) const;
    version version_at(const term& stream, offset at) const;

    // The merger (merge.cpp).
    void run_merger();
    void hurry_merger();
    void run_indexer();
    void run_cleaner();
    bool merge_some();       ///< REQUIRES: merge_step_mutex_
    void flush_index();
    void roll(std::uint64_t room_for);
    bool must_roll(std::uint64_t bytes) const;
    void make_ready(std::uint64_t room_for);
    void publish_segments() const;
    void note_removal(std::uint32_t uid, offset to);
    void start_threads();
    void stop_threads();

    segment_list segments() const;

    /// Reads the segments: names the partition where a batch is damaged, and takes a fresh look
    /// where the process that writes has replaced one (read-only).
    template <class F>
    auto reading(F&& read) const;
    void reload_segments() const;
    void say(const std::string& what) const;
    /// For a thread that goes on after a failure: where there is no memory for the words, or the
    /// listener throws, nothing is said.
    void say_why(const char* doing, const std::exception& e) const noexcept;

    // Cleaning (clean.cpp).
    struct cleaning;
    struct rewrite_plan
    {
        std::vector<segment_entry> segments;  ///< adjacent, sealed
        bool                       garbage = false;
    };
    std::uint64_t clean_all(bool in_background);
    void          consumer_groups_expire();
    void          roll_if_expired(timestamp at);
    void          advance_starts(timestamp at);
    void          advance(const std::vector<std::pair<std::uint32_t, offset>>& starts);
    offset        expired_by_time(const segment_list& list, const topic_state& t,
                                  std::uint32_t uid, offset start, timestamp at) const;
    offset        expired_by_size(const segment_list& list, const topic_state& t,
                                  std::uint32_t uid, offset start) const;
    offset        newest_of_own(cleaning& c, std::uint32_t uid, bytes_view key);
    bool          keeps(cleaning& c, const batch_view& batch, const record_view& r,
                        const partition_state& of, std::uint32_t uid, offset start);
    std::uint64_t superseded_bytes(cleaning& c, const segment_entry& s);
    rewrite_plan  plan_rewrite(cleaning& c);
    std::uint64_t rewrite(cleaning& c, const rewrite_plan& plan);
    bool          holds_place(const batch_view& batch, std::uint32_t uid, offset base,
                              offset start) const;
    std::optional<placed_batch> without_garbage(cleaning& c, const placed_batch& placed,
                                                const partition_state& of, offset start,
                                                batch_builder& builder, std::string& scratch);

    // ---- Constant after open. --------------------------------------------------------------

    std::string                      directory_;
    log_options                      options_;
    bool                             in_memory_ = false;
    hash_key                         hash_key_{};
    std::unique_ptr<directory_lock>  lock_;
    std::unique_ptr<segment_store>   store_;
    std::unique_ptr<class index>     index_;
    std::shared_ptr<journal>         journal_;
    position                         state_at_{};  ///< of the snapshot that was opened

    // ---- Appenders that wait for a commit step. --------------------------------------------

    std::mutex                    gather_mutex_;
    std::shared_ptr<commit_group> gathering_;
    std::mutex                    commit_mutex_;
    std::unique_ptr<group_writer> writer_;  ///< guarded by commit_mutex_

    // ---- Guarded by publish_mutex_. --------------------------------------------------------

    mutable std::shared_mutex                        publish_mutex_;
    tail                                             tail_;
    boost::unordered_flat_map<std::uint32_t, offset> ends_;
    bool half_taken_in_ = false;  // there was no memory for it: the journal alone has all of it
    folded_state                                     state_;
    std::atomic<std::int64_t>                        end_{0};
    std::atomic<std::uint64_t>                       topics_epoch_{0};
    std::atomic<std::uint64_t>                       removals_{0};

    /// Which removal, and the newest position that it took: descending positions, so that the
    /// first after a given removal is the newest of all after it.
    std::vector<std::pair<std::uint64_t, position>> removed_;

    // ---- Readers that wait for a commit. ---------------------------------------------------

    mutable std::mutex              wait_mutex_;
    mutable std::condition_variable waited_for_;
    mutable std::atomic<int>        waiters_{0};

    // ---- Segments. -------------------------------------------------------------------------

    mutable std::mutex   segments_mutex_;
    mutable segment_list segments_;

    // ---- Guarded by merge_step_mutex_: one merge, roll or rewrite at a time. ----------------

    mutable std::mutex                            merge_step_mutex_;
    mutable std::vector<std::shared_ptr<segment>> all_;  ///< the last one is active
    std::shared_ptr<segment>              prepared_;  ///< the next one
    std::uint64_t                         prepared_room_ = 0;
    timestamp                             active_since_{};
    bool                                  no_room_ = false;  ///< appends do not wait for it

    // ---- The threads: merger, indexer, cleaner. --------------------------------------------

    std::mutex                 threads_mutex_;
    std::condition_variable    merger_wakes_, indexer_wakes_, cleaner_wakes_;
    bool                       threads_stop_ = false;
    bool                       merge_wanted_ = false;  ///< an append waits for it
    bool                       clean_soon_   = false;  ///< a topic was deleted
    std::atomic<std::uint64_t> unmerged_bytes_{0};
    std::mutex                 index_step_mutex_;  ///< one flush of the index at a time
    std::mutex                 topics_mutex_;      ///< one change of topics at a time
    std::mutex                 clean_mutex_;
    std::mutex                 refresh_mutex_;     ///< read-only

    /// What compaction found when it last looked at a partition's part of a segment.
    struct compaction_mark
    {
        offset        end;
        timestamp     again_at;
        std::uint64_t dead = 0;  ///< bytes that are superseded
    };
    std::map<std::pair<position, std::uint32_t>, compaction_mark> compacted_up_to_;
    std::thread                merger_, indexer_, cleaner_, refresher_;

    // ---- Where it stands. ------------------------------------------------------------------

    std::atomic<bool> closing_{false};  ///< appends are refused
    std::atomic<bool> closed_{false};   ///< and so is all else
    mutable std::mutex handles_mutex_;  ///< journal_, for statistics() beside close()
    std::atomic<bool> failed_{false};
    mutable std::mutex why_mutex_;
    std::string        why_failed_;

    struct counters
    {
        std::atomic<std::uint64_t> appends{0}, records{0}, batches{0}, refused{0}, repeated{0},
            bytes{0}, groups{0}, group_size_max{0}, merges{0}, cleaned_bytes{0};
    };
    mutable counters                      counters_;
    std::chrono::steady_clock::time_point opened_ = std::chrono::steady_clock::now();
};

/// Index entries of a stored batch, for records at or after `from`; for recovery and rebuilds.
/// Types and tags only of records that queries show.
void fold_into_index(class index& into, const placed_batch& placed, position from, bool shown);

/// How much a compressed batch may unpack to.
inline constexpr std::size_t unpack_bytes_max = 64ull << 20;

/// A batch that append() builds is not grown beyond this: sixteen bytes of LMDB's page header,
/// the envelope and the batch then fill four pages. Small enough that checking it to serve one
/// record costs about a microsecond.
inline constexpr std::size_t built_batch_bytes = 4 * 4096 - 16 - 16;

}  // namespace cairn::detail
