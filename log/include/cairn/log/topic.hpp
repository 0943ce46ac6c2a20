// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/ids.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn {

/// How a topic is kept. The names, meanings and legal values are Kafka's; the defaults are
/// Kafka's too but for one: nothing is forgotten until retention is asked for.
struct topic_config
{
    enum class timestamp_type
    {
        create_time,
        log_append_time,
    };

    bool           cleanup_delete         = true;                ///< cleanup.policy: delete
    bool           cleanup_compact        = false;               ///< cleanup.policy: compact
    std::int64_t   retention_ms           = -1;                  ///< retention.ms; -1: for ever
    std::int64_t   retention_bytes        = -1;                  ///< retention.bytes; -1: no limit
    std::int64_t   segment_bytes          = 1'073'741'824;       ///< segment.bytes
    std::int64_t   max_message_bytes      = 1'048'588;           ///< max.message.bytes, of a batch
    timestamp_type message_timestamp_type = timestamp_type::create_time;
    std::int64_t   min_compaction_lag_ms  = 0;                   ///< min.compaction.lag.ms
    std::int64_t   delete_retention_ms    = 86'400'000;          ///< delete.retention.ms

    friend bool operator==(const topic_config&, const topic_config&) = default;

    /// Sets one by Kafka's name, e.g. set("cleanup.policy", "compact,delete").
    /// Throws illegal_config, which says the legal values.
    void set(std::string_view name, std::string_view value);

    /// Puts one back to its default. Throws illegal_config when there is none of that name.
    void reset(std::string_view name);

    /// All of them, by Kafka's names, in alphabetical order.
    std::vector<std::pair<std::string, std::string>> entries() const;
};

using topic_id = std::array<std::uint8_t, 16>;

struct partition_description
{
    std::int32_t  partition = 0;
    offset        start;       ///< the oldest kept
    offset        end;         ///< the next to be given
    std::uint64_t bytes = 0;   ///< of its batches, where they are stored
};

struct topic_description
{
    std::string                        name;
    topic_id                           id{};
    topic_config                       config;
    bool                               internal = false;  ///< one of the log's own: "__…"
    std::vector<partition_description> partitions;
};

/// A legal name: 1 to 249 of [a-zA-Z0-9._-], and not "." or "..".
bool is_legal_topic_name(std::string_view name) noexcept;

}  // namespace cairn
