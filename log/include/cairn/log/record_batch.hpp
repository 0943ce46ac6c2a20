// SPDX-License-Identifier: Apache-2.0
//
// Kafka RecordBatch, magic 2. Big-endian. The CRC-32C covers attributes to the end, so that
// baseOffset and partitionLeaderEpoch can be patched in place.
//
//     at  size  field
//      0     8  baseOffset
//      8     4  batchLength              bytes after this field
//     12     4  partitionLeaderEpoch
//     16     1  magic                    2
//     17     4  crc                      CRC-32C of what follows
//     21     2  attributes               0-2 codec, 3 log append time, 4 transactional,
//                                        5 control, 6 delete horizon
//     23     4  lastOffsetDelta
//     27     8  baseTimestamp
//     35     8  maxTimestamp
//     43     8  producerId               -1: none
//     51     2  producerEpoch
//     53     4  baseSequence
//     57     4  recordCount
//     61        records, compressed as the codec says
//
// A record: length, attributes (int8), timestampDelta, offsetDelta, key length (-1: null), key,
// value length (-1: null), value, header count, headers (name length, name, value length (-1:
// null), value). Lengths, deltas and the count are zigzag varints; timestampDelta is a varlong.
#pragma once

#include <cairn/log/error.hpp>
#include <cairn/log/record.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace cairn {

enum class codec : std::uint8_t
{
    none   = 0,
    gzip   = 1,
    snappy = 2,
    lz4    = 3,
    zstd   = 4,
};

constexpr std::size_t batch_header_bytes = 61;

/// What may go wrong with the bytes of a batch, as a value.
struct batch_fault
{
    errc        code;
    std::string what;
};

/// A batch as it lies in memory, its header and CRC checked. It owns nothing.
///
/// Invariants
///   - bytes() is exactly one batch: header, then records, no more.
///   - The header's numbers agree: magic 2, a known codec, counts and deltas not negative.
///
/// Threads   A value; const members on any thread.
/// Lifetime  Views into the bytes it was parsed from.
/// Errors    parse() returns what is wrong. Nothing here throws, reads outside the bytes, or
///           allocates, except the words of a fault, and unpack(), which is bounded by its
///           argument.
///
/// record_count() of a packed batch is its producer's word until a cursor has gone through the
/// records: do not reserve by it.
class batch_view
{
public:
    /// Reads the batch at the front of `bytes`, which may hold more after it.
    /// With `check_crc` false only the shape is checked: for bytes checked before.
    static std::optional<batch_view> parse(bytes_view bytes, batch_fault* why = nullptr,
                                           bool check_crc = true);

    bytes_view bytes() const noexcept { return bytes_; }

    offset        base_offset() const noexcept;
    std::int32_t  leader_epoch() const noexcept;
    std::uint32_t crc() const noexcept;
    std::int16_t  attributes() const noexcept;
    cairn::codec  codec() const noexcept;
    bool          is_log_append_time() const noexcept;
    bool          is_transactional() const noexcept;
    bool          is_control() const noexcept;

    /// When the tombstones in it may go. Compaction sets it (KIP-534); the base timestamp holds
    /// it, which is why it costs no byte.
    std::optional<timestamp> delete_horizon() const noexcept;
    std::int32_t  last_offset_delta() const noexcept;
    timestamp     base_timestamp() const noexcept;
    timestamp     max_timestamp() const noexcept;
    std::int64_t  producer_id() const noexcept;
    std::int16_t  producer_epoch() const noexcept;
    std::int32_t  base_sequence() const noexcept;
    std::int32_t  record_count() const noexcept;

    /// The records as they lie there: packed if codec() is not none.
    bytes_view payload() const noexcept { return bytes_.substr(batch_header_bytes); }

    /// The records unpacked into `scratch` (not touched where codec() is none), at most
    /// `limit` bytes of them; nullopt, and why, when they do not unpack or are more.
    /// `scratch` grows as bytes really come out, whatever the packed bytes claim; reusing it
    /// spares most of the work of growing.
    std::optional<bytes_view> unpack(std::string& scratch, std::size_t limit,
                                     batch_fault* why = nullptr) const;

private:
    explicit batch_view(bytes_view bytes) noexcept : bytes_{bytes} {}

    bytes_view bytes_;
};

/// Goes through the records of a batch, one by one, without allocating.
///
///     record_cursor records{batch, payload};
///     while (records.next()) use(records.current());
///     if (!records.ok()) …                      // asked once, at the end
///
/// Invariants
///   - When next() is true, every length and every header of the record has been checked, and
///     its offset is larger than the one before and within the batch. Fewer records than
///     offsets are legal: compaction makes holes.
///
/// Threads   One at a time.
/// Lifetime  Views into the payload; the batch_view is not needed any more.
/// Errors    Sticky: after the first record that does not parse, next() is false and ok() is
///           false. A batch with fewer or more bytes than its records take is not ok either.
class record_cursor
{
public:
    record_cursor() = default;

    /// `payload` is batch.payload(), or what unpack() gave. `base` is the position of the
    /// record with offset delta 0.
    record_cursor(const batch_view& batch, bytes_view payload, position base) noexcept;

    /// Moves to the next record; false at the end or at a fault.
    bool next() noexcept;

    const record_view& current() const noexcept { return current_; }

    /// Where the current record (its length prefix) begins in the payload, and its bytes,
    /// length prefix included.
    std::size_t current_at() const noexcept { return static_cast<std::size_t>(start_ - begin_); }
    bytes_view  current_bytes() const noexcept
    {
        return {start_, static_cast<std::size_t>(at_ - start_)};
    }

    bool ok() const noexcept { return ok_; }

    /// Moves to the one record that begins at `at` in the payload, wherever the cursor
    /// stands; false if none can be read there.
    ///
    /// After that, next() goes on with the records behind it up to the end of the payload (their
    /// count is not checked then), and ok() speaks of what was read since.
    bool seek(std::size_t at) noexcept;

private:
    bool read(const char* from) noexcept;
    bool fail() noexcept;

    const char*  begin_ = nullptr;
    const char*  at_    = nullptr;
    const char*  end_   = nullptr;
    const char*  start_ = nullptr;
    std::int32_t left_  = 0;  // records to come; -1 after a seek(): as many as there are bytes
    bool         ok_    = true;
    bool         log_append_time_ = false;
    std::int32_t last_delta_        = -1;  // of the current record
    std::int32_t last_offset_delta_ = -1;  // of the batch
    std::int64_t base_offset_     = 0;
    std::int64_t base_timestamp_  = 0;
    std::int64_t max_timestamp_   = 0;
    std::int64_t base_position_   = 0;
    record_view  current_;
};

/// Writes one batch, record by record, into a string that it keeps and reuses.
///
///     batch_builder b;
///     b.start();
///     b.add(timestamp, key, value, headers);
///     bytes_view bytes = b.finish();      // base offset 0; patch_base_offset() it
///
/// REQUIRES: start() before all else
///
/// Invariants
///   - What finish() returns is a batch that batch_view and record_cursor find no fault with.
///
/// Threads   One at a time.
/// Lifetime  What it returns points into it.
/// Errors    add() and finish() throw error: record_too_large where the batch would have 2 GiB
///           or more, invalid_argument for an offset delta that does not increase or times
///           that are more than 64 bits apart. The batch is then as before.
class batch_builder
{
public:
    struct options
    {
        cairn::codec codec           = codec::none;
        std::int64_t producer_id     = -1;
        std::int16_t producer_epoch  = -1;
        std::int32_t base_sequence   = -1;
        bool         transactional   = false;
        bool         control         = false;
        bool         log_append_time = false;  ///< maxTimestamp is `log_time` for all
        timestamp    log_time{};
        std::optional<timestamp> delete_horizon{};  ///< see batch_view::delete_horizon()
    };

    void start() { start(options{}); }
    void start(const options& o);

    /// Adds a record with the next offset delta (or the one given, which must be larger than
    /// the last: a compacted batch has holes). Returns where in the payload it begins.
    std::size_t add(timestamp time, std::optional<bytes_view> key,
                    std::optional<bytes_view> value, const std::vector<header>& headers);
    std::size_t add(const record_view& r, std::int32_t offset_delta);

    /// The offset delta of the last record of the batch, where it is more than that of the
    /// last record added: a compacted batch keeps its end.
    void set_last_offset_delta(std::int32_t delta) noexcept
    {
        if (delta > last_delta_) last_delta_ = delta;
    }

    /// The largest timestamp, where it is more than that of any record that was added.
    void set_max_timestamp(timestamp t) noexcept
    {
        if (t.value > max_time_) max_time_ = t.value;
    }

    std::int32_t count() const noexcept { return count_; }
    std::size_t  size() const noexcept { return used_; }

    /// The bytes of the uncompressed record last added, length prefix included; good until
    /// the next add() or start().
    bytes_view last_record() const noexcept
    {
        return {out_.data() + last_at_, used_ - last_at_};
    }

    /// Completes the batch (packing it, CRC). The view is good until the next start().
    bytes_view finish();

private:
    template <class WriteHeaders>
    std::size_t write(timestamp time, std::int32_t delta, std::optional<bytes_view> key,
                      std::optional<bytes_view> value, std::size_t header_count,
                      std::size_t header_bytes, const WriteHeaders& write_headers);

    options      options_;
    std::string  out_;  // room for more than is used, so that add() writes each byte once
    std::string  packed_;
    std::size_t  used_       = 0;
    std::int32_t count_      = 0;
    std::int32_t last_delta_ = -1;
    std::int64_t base_time_  = 0;
    std::int64_t max_time_   = 0;
    std::size_t  last_at_    = 0;
};

/// Writes `base` into the batch at `batch`; its CRC stays right.
void patch_base_offset(char* batch, offset base) noexcept;

/// Writes `epoch` into the batch at `batch`; its CRC stays right. A builder writes 0.
void patch_leader_epoch(char* batch, std::int32_t epoch) noexcept;

/// How many bytes one encoded record takes, at most.
std::size_t record_bytes(const record& r) noexcept;

}  // namespace cairn
