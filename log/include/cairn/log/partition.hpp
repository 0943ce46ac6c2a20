// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/append.hpp>
#include <cairn/log/ids.hpp>
#include <cairn/log/record_batch.hpp>
#include <cairn/log/record_range.hpp>

#include <memory>
#include <optional>
#include <vector>

namespace cairn {

namespace detail {
class engine;
}

/// A batch as it is stored: a Kafka RecordBatch, its offsets given.
struct stored_batch
{
    cairn::position             position;  ///< of its first record
    cairn::offset               base;
    cairn::offset               end;       ///< the offset after it
    bytes_view                  bytes;     ///< checked against its CRC
    std::shared_ptr<const void> owner;     ///< keeps `bytes` where they are
};

/// An ordered, append-only sequence of records: the unit of order, and of parallelism.
///
/// Records with one key land in one partition and are read back in the order they were
/// appended. Between partitions nothing is promised but the position.
///
///     offset    3    4    5    6    7
///             +----+----+----+----+ - -
///             | k1 | k2 | k1 | k3 |      <- append()
///             +----+----+----+----+ - -
///               ^                   ^
///         start_offset()      end_offset()
///
/// Invariants
///   - Offsets are dense when given: the record after offset n is at n + 1. Compaction and
///     retention remove records and leave the others at their offsets.
///   - A record never changes. Retention removes whole records, oldest first.
///   - start_offset() <= end_offset(), and neither ever goes back.
///   - A batch is there whole or not at all.
///
/// Threads   Any thread, any time; reading never waits for a flush.
/// Lifetime  A handle, cheap to copy. It must not outlive its commit_log.
/// Errors    storage_error when the disk fails. unknown_topic when the topic was deleted.
class partition
{
public:
    const topic_partition& id() const noexcept;

    /// The oldest offset still kept; equal to end_offset() when the partition is empty.
    offset start_offset() const;

    /// The offset the next record will get. (Kafka's log end offset; as there is one copy
    /// of the log, its high watermark too.)
    offset end_offset() const;

    /// Appends a batch as a Kafka client made it and returns where its first record went. Its
    /// bytes are stored as they are (but for base offset, leader epoch, and the times where the
    /// topic has log append time). On return it is on disk. Threads that append at once share a
    /// flush. A batch with a producer id is recognised when it is repeated: see receipt.
    /// Throws corrupt_batch, bad_magic, bad_count, record_too_large, unpacks_too_large,
    /// out_of_order_sequence, fenced_producer.
    receipt append_batch(bytes_view batch);

    /// The records from `from` up to what end_offset() is now. Throws offset_out_of_range unless
    /// start_offset() <= from <= end_offset().
    record_range read(offset from) const;

    /// As read(), for callers to whom a lost offset is ordinary: nullopt, not a throw.
    std::optional<record_range> try_read(offset from) const;

    /// The records from `from` down to start_offset(), newest first; from end_offset() - 1
    /// where `from` is beyond it.
    record_range read_backwards(offset from) const;

    /// Whole batches from the one that holds `from`, at least one where there is any, then until
    /// about `max_bytes` (or the end of a segment): what a fetch answers. Checked against their
    /// CRC, not unpacked.
    std::vector<stored_batch> read_batches(offset from, std::size_t max_bytes) const;

    /// The first record whose time is >= t: its offset and time; nullopt where there is none.
    std::optional<std::pair<offset, timestamp>> offset_for_time(timestamp t) const;

    /// Makes `to` the oldest offset kept; what is older is removed in the background. (Kafka's
    /// DeleteRecords.) Throws offset_out_of_range beyond end_offset().
    void truncate_before(offset to);

private:
    friend class commit_log;
    struct handle;
    explicit partition(std::shared_ptr<const handle> h) noexcept : handle_{std::move(h)} {}

    std::shared_ptr<const handle> handle_;
};

}  // namespace cairn
