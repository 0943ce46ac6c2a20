// SPDX-License-Identifier: Apache-2.0
//
// What the log knows besides its records: topics, what groups committed, what idempotent
// producers sent. All of it is a fold of the log. A snapshot of the fold is kept beside the
// index, so that opening need not read the log from its beginning; it may be deleted.
//
// Records of __topics (key → value; a null value forgets):
//
//     topic/<name>     lines "id <32 hex>", "partitions <uid>,…", "counts <n>,…" (how many there
//                      were after each change), then every config as "<name> <value>"
//     start/<uid>      the oldest offset kept, in decimal
//     next-uid         the next partition uid, in decimal: none is ever given twice
//
// Records of __consumer_offsets are Kafka's: OffsetCommitKey 1 → OffsetCommitValue 3, and
// GroupMetadataKey 2 → GroupMetadataValue 3 for a group's generation.
#pragma once

#include "../store/segment.hpp"

#include <cairn/log/consumer_groups.hpp>
#include <cairn/log/record_batch.hpp>
#include <cairn/log/topic.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace cairn::detail {

/// The log's own partitions. Uids below first_free_uid are not indexed as streams.
inline constexpr std::uint32_t topics_uid      = 0;
inline constexpr std::uint32_t offsets_uid     = 1;
inline constexpr std::uint32_t first_free_uid  = 2;
inline constexpr const char*   topics_topic    = "__topics";
inline constexpr const char*   offsets_topic   = "__consumer_offsets";

struct topic_state
{
    std::string                name;
    topic_id                   id{};
    topic_config               config;
    std::vector<std::uint32_t> uids;    ///< by partition number
    std::vector<std::int32_t>  counts;  ///< the numbers of partitions it has had, oldest first
    bool                       internal = false;
    std::vector<topic_partition> names;  ///< by partition number: what record_view::from shows

    std::int32_t partitions() const noexcept { return static_cast<std::int32_t>(uids.size()); }
};

using topic_ptr = std::shared_ptr<const topic_state>;

/// A partition uid, resolved.
struct partition_state
{
    topic_ptr    topic;
    std::int32_t number = 0;

    /// Whether lists, queries and readers of all that there is show its records.
    bool shown() const noexcept { return topic && !topic->internal; }
};

class topics_state
{
public:
    topics_state();

    /// Takes one record of __topics. A value that does not parse is a damaged log.
    void apply(bytes_view key, std::optional<bytes_view> value);

    topic_ptr              find(std::string_view name) const;
    const partition_state* find(std::uint32_t uid) const;
    offset                 start(std::uint32_t uid) const;
    std::uint32_t          next_uid() const noexcept { return next_uid_; }

    /// Changes with every record of a topic (not of a start).
    std::uint64_t epoch() const noexcept { return epoch_; }

    const std::map<std::string, topic_ptr, std::less<>>& all() const noexcept { return by_name_; }

    static std::string topic_key(std::string_view name);
    static std::string topic_value(const topic_state& t);
    static std::string start_key(std::uint32_t uid);
    static const std::string& next_uid_key();

    /// All of it as records.
    std::vector<std::pair<std::string, std::string>> records() const;

private:
    void put(topic_ptr t);
    void drop(std::string_view name);

    std::map<std::string, topic_ptr, std::less<>>      by_name_;
    std::unordered_map<std::uint32_t, partition_state> by_uid_;
    std::unordered_map<std::uint32_t, offset>          starts_;
    std::uint32_t                                      next_uid_ = first_free_uid;
    std::uint64_t                                      epoch_    = 1;
};

struct group_state
{
    std::int32_t                                generation = -1;
    timestamp                                   changed_at{-1};
    std::map<topic_partition, committed_offset> offsets;
};

class groups_state
{
public:
    /// Takes one record of __consumer_offsets. What is of a kind not known here (a newer Kafka
    /// wrote it) is passed over.
    void apply(bytes_view key, std::optional<bytes_view> value);

    const group_state* find(std::string_view group) const;
    const std::map<std::string, group_state, std::less<>>& all() const noexcept { return groups_; }

    static std::string offset_key(std::string_view group, const topic_partition& at);
    static std::string offset_value(const committed_offset& c);
    static std::string group_key(std::string_view group);
    static std::string group_value(std::int32_t generation, timestamp changed_at);

    std::vector<std::pair<std::string, std::string>> records() const;

private:
    std::map<std::string, group_state, std::less<>> groups_;
};

/// What is remembered of a producer's batch, so that a repeat is recognised.
struct producer_batch
{
    std::int32_t first_sequence = 0;
    std::int32_t last_sequence  = 0;
    offset       base;
    position     first;
};

struct producer_state
{
    std::int16_t                epoch = -1;
    timestamp                   at{-1};
    std::vector<producer_batch> batches;  ///< the last five, oldest first

    /// Takes a batch that is recorded, or about to be, at `base` and `first`.
    void take(const batch_view& batch, offset base, position first);
};

/// What idempotent producers sent, by producer and partition.
class producers_state
{
public:
    static constexpr std::size_t  batches_kept = 5;          // as Kafka: its clients pipeline five
    static constexpr std::int64_t kept_ms      = 86'400'000;  // producer.id.expiration.ms

    const producer_state* find(std::int64_t id, std::uint32_t uid) const;

    /// Whether it is one of the batches that are remembered.
    bool remembers(const batch_view& batch, std::uint32_t uid, offset base) const;

    void apply(const batch_view& batch, std::uint32_t uid, position first, timestamp now);
    void expire(timestamp now);

    std::string encode() const;
    bool        decode(bytes_view bytes);

private:
    struct key
    {
        std::int64_t  id;
        std::uint32_t uid;
        friend auto   operator<=>(const key&, const key&) = default;
    };
    std::map<key, producer_state> producers_;
};

/// The sequence after n: sequences go from 0 to 2^31 - 1 and around.
constexpr std::int32_t next_sequence(std::int32_t n, std::int32_t by) noexcept
{
    return static_cast<std::int32_t>((std::int64_t{n} + by) & 0x7fffffff);
}

/// The whole fold.
struct folded_state
{
    topics_state    topics;
    groups_state    groups;
    producers_state producers;

    /// Takes a batch that was committed. Its records are looked at only where they are the log's
    /// own.
    void apply(const placed_batch& placed, timestamp now);

    /// A snapshot at position `at`, with a CRC; and back. Nullopt: not a snapshot, or damaged.
    std::string encode(position at) const;
    static std::optional<std::pair<position, folded_state>> decode(bytes_view bytes);
};

}  // namespace cairn::detail
