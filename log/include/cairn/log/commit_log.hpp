// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/append.hpp>
#include <cairn/log/consumer_groups.hpp>
#include <cairn/log/ids.hpp>
#include <cairn/log/partition.hpp>
#include <cairn/log/partitioner.hpp>
#include <cairn/log/record_range.hpp>
#include <cairn/log/topic.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cairn {

/// Long work as it goes: rebuilding the index, verifying, backing up.
struct progress
{
    std::string   what;      ///< "rebuilding the index", …
    std::uint64_t done  = 0;
    std::uint64_t total = 0; ///< 0: not known
};

struct log_options
{
    /// Makes the data directory where there is none. False: not_a_data_directory instead.
    bool create = true;

    /// Reads beside the process that writes, or alone. What is merged is seen: about
    /// merge_interval and 50 ms behind, more where the writer's disk is full. Appending throws
    /// read_only. A range over the whole log or a query may pass over what the writer's retention
    /// removes meanwhile; one over a partition or stream is told.
    bool read_only = false;

    /// A segment is closed and a new one begun at this size, or at this age.
    std::uint64_t             segment_bytes_max = 1ull << 30;
    std::chrono::milliseconds segment_age_max   = std::chrono::hours{24 * 7};

    /// How long, and how much, what is acknowledged waits in the journal before it is merged.
    std::chrono::milliseconds merge_interval  = std::chrono::milliseconds{100};
    std::uint64_t             merge_bytes     = 8ull << 20;
    std::uint64_t             journal_bytes   = 128ull << 20;  ///< then appends wait
    std::uint64_t             index_entries_in_memory = 65'536;

    /// How often retention and compaction look (zero: only when clean() is called), and what
    /// they may write per second.
    std::chrono::milliseconds cleanup_interval    = std::chrono::minutes{5};
    std::uint64_t             cleanup_bytes_per_s = 64ull << 20;

    /// Groups without a commit for so long are forgotten.
    std::chrono::milliseconds group_retention = std::chrono::hours{24 * 7};

    /// Where records without a partition go.
    cairn::partitioner partitioner = sticky_partitioner();

    /// The time of day. For tests.
    std::function<timestamp()> clock;

    std::function<void(const progress&)>    on_progress;
    /// Something worth a line in a log file: recovery, a torn tail, cleaning, a fault.
    std::function<void(const std::string&)> on_event;
};

/// What the log has done, and where it stands. Counters run from open().
struct log_statistics
{
    std::uint64_t appends = 0, records = 0, batches = 0, refused = 0, repeated = 0;
    std::uint64_t bytes_appended  = 0;  ///< of batches
    std::uint64_t groups          = 0;  ///< group commits
    std::uint64_t flushes         = 0;  ///< of the journal
    std::uint64_t group_size_max  = 0;  ///< appends in one group
    std::uint64_t journal_bytes   = 0;
    std::uint64_t journal_waits   = 0;  ///< back-pressure: appends that waited for the merger
    std::uint64_t merges          = 0;
    std::uint64_t merge_lag       = 0;  ///< records acknowledged and not yet merged
    std::uint64_t tail_bytes      = 0;
    std::uint64_t segments        = 0;
    std::uint64_t segment_bytes   = 0;
    std::uint64_t index_entries_in_memory = 0;
    std::uint64_t index_runs      = 0;
    std::uint64_t index_bytes     = 0;
    std::uint64_t cleaned_bytes   = 0;
    position      end;
    bool          failed = false;       ///< closed by an I/O error
    double        uptime_s = 0;
};

struct verify_fault
{
    std::string            where;  ///< a file, or topic-partition@offset
    std::string            what;
    std::optional<topic_partition> at;
    cairn::offset          offset{-1};
};

struct verify_report
{
    std::uint64_t             records = 0, batches = 0, bytes = 0, segments = 0, partitions = 0;
    std::vector<verify_fault> faults;  ///< at most 1,000
    bool ok() const noexcept { return faults.empty(); }
};

/// A partitioned commit log in this process, in a directory or in memory.
///
///     auto log = cairn::commit_log::open("./data");
///     log.create_topic("orders", 8);
///     log.append({.records = {{"orders", {.key = "o-1", .value = "placed"}}}});
///     for (const auto& r : log.read_stream({"orders", "o-1"})) …
///
/// Invariants
///   - Acknowledged means on disk: when append() returns, its records survive a power cut.
///   - Positions and offsets are given at commit and are dense; no reader sees n + 1 before n.
///   - An append is there whole or not at all.
///   - A condition is checked in the same serialized step that gives the positions.
///   - Everything durable is a record; all other state is a fold of the log.
///
/// Threads   Any thread, any time. append() blocks until the records are on disk; threads
///           that append at once share a flush.
/// Lifetime  A handle, cheap to copy; the log closes with the last one, or with close().
///           Ranges, partitions and groups must not outlive it.
/// Errors    error and its children; see errors.md. After an I/O error of a flush the log is
///           closed for appending, says so (`closed`), and still reads. A full disk refuses
///           appends (`disk_full`) until there is room; no restart is needed.
class commit_log
{
public:
    static commit_log open(const std::string& directory, log_options options = {});
    static commit_log in_memory(log_options options = {});

    // ---- Topics. -------------------------------------------------------------------------

    /// Throws topic_exists, illegal_topic_name (also for a name that differs from another topic's
    /// in "." and "_" only), illegal_partition_count (1 to 10,000). A name that
    /// begins with "__" is internal, as in Kafka: lists, reads of the whole log and queries leave
    /// such topics out, and their records cross no boundary.
    void create_topic(const std::string& name, std::int32_t partitions = 1,
                      const topic_config& config = {});
    /// As create_topic(), but false where it exists already.
    bool ensure_topic(const std::string& name, std::int32_t partitions = 1,
                      const topic_config& config = {});
    std::vector<std::string>         topics(bool with_internal = false) const;
    topic_description                describe_topic(const std::string& name) const;
    std::optional<topic_description> try_describe_topic(const std::string& name) const;
    /// topic_description::id alone, which costs next to nothing. A topic that was deleted and made
    /// anew has another.
    topic_id                         id_of_topic(const std::string& name) const;
    void alter_topic(const std::string& name, const topic_config& config);
    /// Streams stay where they are: a key that has records keeps their partition.
    void add_partitions(const std::string& name, std::int32_t total);
    void delete_topic(const std::string& name);

    // ---- Appending. ----------------------------------------------------------------------

    /// Records all of it, or throws: append_refused when a condition fails.
    receipt append(const append_request& request);

    /// As append(), with a refusal as a value.
    append_result try_append(const append_request& request);

    /// The receipt of the append that had this command id; nullopt where there was none. Throws
    /// command_reused where retention has removed its records since.
    std::optional<receipt> find_command(const std::string& command_id) const;

    // ---- Reading. ------------------------------------------------------------------------

    cairn::partition              partition(const std::string& topic, std::int32_t number) const;
    std::vector<cairn::partition> partitions(const std::string& topic) const;

    /// The position that the next record will get.
    position end_position() const noexcept;

    /// The whole log by position, internal topics left out.
    record_range read_all(position from = {}) const;
    record_range read_all_backwards() const;
    record_range read_all_backwards(position from) const;

    /// The records of a stream: from a version on, or from the newest (or one) down.
    record_range read_stream(const stream_id& stream, version from = {}) const;
    record_range read_stream_backwards(const stream_id& stream) const;
    record_range read_stream_backwards(const stream_id& stream, version from) const;

    /// How many records the stream has had; 0: there is none.
    version stream_version(const stream_id& stream) const;

    /// The partition that a record of the stream is in, or would go to.
    std::int32_t partition_of(const stream_id& stream) const;

    /// The records that match, by position.
    record_range read_query(const query& q, position from = {}) const;
    record_range read_query_backwards(const query& q) const;
    record_range read_query_backwards(const query& q, position from) const;

    /// The newest position that matches; nullopt where none does.
    std::optional<position> last_match(const query& q) const;

    /// Blocks until the record at `p` is committed, and all before it; false at the deadline.
    bool wait_for(position p, std::chrono::steady_clock::time_point deadline) const;

    // ---- Groups. -------------------------------------------------------------------------

    consumer_groups groups() const;

    // ---- Operating. ----------------------------------------------------------------------

    /// Merges what is in the journal, now; returns when it is in the segments and the index.
    /// Read-only: looks for what was merged meanwhile.
    void merge();

    /// Ends the active segment and begins a new one.
    void roll_segment();

    /// Retention and compaction, now, all that is due; returns the bytes freed.
    std::uint64_t clean();

    /// Writes a copy of the log as it is now into an empty or new directory, while it runs. To
    /// restore is to open the copy.
    void backup(const std::string& directory) const;

    log_statistics statistics() const;

    const std::string& directory() const noexcept;  ///< "" in memory

    /// Flushes, merges, stops the threads. Waiting ranges end. Appending and reading throw `closed`
    /// from then on; statistics() and names are still told.
    void close();

private:
    explicit commit_log(std::shared_ptr<detail::engine> e) noexcept : engine_{std::move(e)} {}

    std::shared_ptr<detail::engine> engine_;
};

/// Checks a data directory that nobody writes (or one that runs: what is merged so far):
/// every CRC, dense offsets and positions, the index against the log. It runs in a child
/// process, because LMDB aborts on some damaged pages; that too is reported as a fault.
verify_report verify(const std::string& directory,
                     const std::function<void(const progress&)>& on_progress = {});

}  // namespace cairn
