// SPDX-License-Identifier: Apache-2.0
//
// A segment: a stretch of the whole log, positions [first, end). One LMDB environment in one
// file (MDB_NOSUBDIR), or, for a log in memory, a few ordered maps. In the file, keys big-endian
// and values little-endian:
//
//     "batches"      uid (u32), base offset of its first batch (i64) → a run
//     "commits"      position of its first batch (i64) → a block
//     "partitions"   uid (u32) → what the partition has in this segment
//     "meta"         "state" → the segment's own numbers
//     "slice"        number (u32) → bytes: the part of the index for what was rewritten away
//
// A run is what one append brought to one partition, up to 64 KB of it (a larger batch is a run
// of its own), so that a tree of millions of small batches stays a tree of a few thousand values,
// and most of them lie on pages of their own, which never move.
//
//     run       at  size
//                0     4  check: CRC-32C of the rest of this and of the directory, seeded by uid
//                4     4  batches, n
//                8     8  max timestamp of them
//               16   8·n  directory: base offset - base offset of the first (u32), where the
//                         envelope begins in the run (u32)
//                      n  envelope, RecordBatch v2
//     envelope   0     4  check: CRC-32C of the rest of it and of the first 61 bytes of the
//                         batch, seeded by uid
//                4     4  flags (0)
//                8     8  position of the record with offset delta 0
//               16     8  end offset of the batch before it in the partition, -1: none here
//               24     8  end position of the batch before it in the segment, -1: none
//
// The envelope binds a batch to its place; with the batch's own CRC, every byte of a stored batch
// is covered. It also names its neighbours: a reader notices when damage to the tree hides one.
//
//     block     20·n  position - position of the first (u32), uid (u32), the run: base offset of
//                     its first batch (i64), which batch in it (u32)
//     partition  0     4  check: CRC-32C of the rest, seeded by uid
//                4     4  0
//                8    48  first, end, bytes, batches, max timestamp, min timestamp
//     state      0     4  check: CRC-32C of the rest
//                4     4  format, 1
//                8     8  first                       -1: not yet given
//               16     8  end
//               24     8  end position of the last batch, -1: none
//               32     4  flags: 1 sealed
//               36     4  number of partitions
//               40     8  sum of the partitions' checks
//               48     8  batches
//               56     8  bytes of the slice
//               64     4  CRC-32C of the slice
//               68     4  0
#pragma once

#include <cairn/log/error.hpp>
#include <cairn/log/ids.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cairn::detail {

/// A batch at its place in the log. `bytes` is a RecordBatch v2 with its base offset patched.
struct placed_batch
{
    cairn::position             position;           ///< of the record with offset delta 0
    std::uint32_t               partition_uid = 0;
    cairn::offset               base;
    std::uint32_t               offsets = 0;        ///< last offset delta + 1
    bytes_view                  bytes;
    std::shared_ptr<const void> owner;              ///< keeps `bytes` alive
    timestamp                   max_timestamp{};

    cairn::offset   end_offset() const noexcept { return base + offsets; }
    cairn::position end_position() const noexcept { return position + offsets; }
};

/// What one partition has in one segment.
struct partition_slice
{
    cairn::offset first;              ///< base offset of the first batch
    cairn::offset end;                ///< offset after the last batch
    std::uint64_t bytes   = 0;        ///< of the batches
    std::uint64_t batches = 0;
    timestamp     max_timestamp{-1};
    timestamp     min_timestamp{-1};
};

using segment_summary = std::map<std::uint32_t, partition_slice>;

/// How much a read wants: at least one batch, then until either limit.
struct read_limits
{
    std::size_t bytes   = 256 * 1024;
    std::size_t batches = 4096;
};

/// A record that is wanted by itself: its offset, and where it begins in its batch's payload.
struct record_place
{
    offset        at;
    std::uint32_t in_payload = 0;
};

/// A segment, or an append to it, is too large for the map that it was prepared with. Nothing
/// was changed; reading goes on. What to do: seal it and append to a new one.
class segment_full : public storage_error
{
public:
    explicit segment_full(const std::string& what) : storage_error{errc::disk_full, what} {}
};

/// The file went away, or is another one now, before it was read for the first time: the process
/// that writes removed or rewrote it. Only where a log is read that another process writes.
/// What to do: open_all() again.
class segment_gone : public storage_error
{
public:
    explicit segment_gone(const std::string& what) : storage_error{errc::closed, what} {}
};

/// A batch, or what should lead to it, is not what was written.
class damaged_batch : public storage_error
{
public:
    damaged_batch(const std::string& what, std::uint32_t uid, offset at)
        : storage_error{errc::damaged_segment, what}, uid_{uid}, at_{at}
    {
    }

    std::uint32_t partition_uid() const noexcept { return uid_; }
    offset        at() const noexcept { return at_; }

private:
    std::uint32_t uid_;
    offset        at_;
};

/// Invariants
///   - Batches are appended in the order of positions; a sealed segment never changes.
///   - append() is one durable transaction: all of it is there after a crash, or nothing.
///   - A batch that is handed out passed its envelope's check and its own CRC.
///
/// Threads   append(), seal(): one thread at a time. Reads: any thread, beside it.
/// Lifetime  Batches handed out keep the segment, and so its map, alive. The file itself may be
///           unlinked meanwhile.
/// Errors    storage_error: damaged_batch (after the good ones before it have been read);
///           damaged_segment; io_failed, after which nothing more is appended; disk_full, after
///           which it may be tried again; segment_full; segment_gone. An append of batches that
///           are wrong in themselves throws error{corrupt_batch} or error{invalid_argument}.
class segment
{
public:
    virtual ~segment() = default;

    virtual position           first() const = 0;
    virtual position           end() const   = 0;
    virtual bool               sealed() const = 0;
    virtual const std::string& path() const = 0;   ///< "" in memory
    virtual std::uint64_t      bytes() const = 0;  ///< on disk (or in memory)

    /// A copy of what each partition has here. Cheap: kept in memory.
    virtual segment_summary summary() const = 0;

    /// Appends batches, ascending by position, and makes them durable. `end` is the position
    /// after them (it may be past the last batch where positions were left without a trace).
    virtual void append(std::span<const placed_batch> batches, position end) = 0;

    /// True while append() of so many more bytes surely fits; else roll to a new segment.
    virtual bool has_room(std::uint64_t bytes) const = 0;

    /// Marks it as never changing again, durably.
    virtual void seal() = 0;

    /// The batches of a partition from the one that holds `from` (or the first after it).
    /// Appends to `out`; returns how many.
    virtual std::size_t read(std::uint32_t uid, offset from, const read_limits& limits,
                             std::vector<placed_batch>& out) const = 0;

    /// Backwards: from the batch that holds `from` (or the last before it), newest first.
    virtual std::size_t read_backwards(std::uint32_t uid, offset from, const read_limits& limits,
                                       std::vector<placed_batch>& out) const = 0;

    /// All partitions, by position: from the batch that holds `from` (or the first after it).
    virtual std::size_t read_all(position from, const read_limits& limits,
                                 std::vector<placed_batch>& out) const = 0;
    virtual std::size_t read_all_backwards(position from, const read_limits& limits,
                                           std::vector<placed_batch>& out) const = 0;

    /// The one batch that holds the offset, or the position. Not checked against its CRC (its
    /// envelope is): the caller checks the record that it takes from it.
    virtual std::optional<placed_batch> find(std::uint32_t uid, offset at) const = 0;
    virtual std::optional<placed_batch> find(position at) const = 0;

    /// find() of several, whose waits for memory overlap: `out[i]` is for `wanted[i]`.
    virtual void find(std::uint32_t uid, std::span<const record_place> wanted,
                      std::span<std::optional<placed_batch>> out) const
    {
        for (std::size_t i = 0; i < wanted.size(); ++i) out[i] = find(uid, wanted[i].at);
    }

    /// The first offset whose batch has a max timestamp >= t.
    virtual std::optional<offset> offset_for_time(std::uint32_t uid, timestamp t) const = 0;

    /// The index slice that a rewrite left here; empty where there is none.
    virtual bool        has_index_slice() const = 0;  ///< cheap: does not read it
    virtual std::string index_slice() const = 0;
    virtual void        set_index_slice(bytes_view run) = 0;

    /// Reads everything and checks it: envelope, CRC, order, commits against batches.
    virtual void verify(const std::function<void(std::uint32_t uid, offset at,
                                                 const std::string& what)>& fault) const = 0;
};

/// Makes and finds segments.
///
/// Threads  One thread at a time.
class segment_store
{
public:
    virtual ~segment_store() = default;

    /// All published segments by first position, those superseded by a rewrite left out.
    virtual std::vector<std::shared_ptr<segment>> open_all() = 0;

    /// Prepares an empty segment under a temporary name, durable but not published.
    virtual std::shared_ptr<segment> prepare(std::uint64_t map_bytes) = 0;

    /// Gives a prepared segment its place and name, atomically and durably. It takes the place
    /// of `replaced` (adjacent segments that it rewrites: it begins where the first of them
    /// began), which are unlinked afterwards; readers that hold them are not disturbed.
    virtual void publish(const std::shared_ptr<segment>& s, position first,
                         std::span<const std::shared_ptr<segment>> replaced) = 0;

    /// Drops segments in which nothing is left.
    virtual void remove(const std::shared_ptr<segment>& s) = 0;
};

struct lmdb_store_options
{
    std::string directory;
    bool        read_only = false;
};

std::unique_ptr<segment_store> make_lmdb_store(lmdb_store_options o);
std::unique_ptr<segment_store> make_memory_store();

}  // namespace cairn::detail
