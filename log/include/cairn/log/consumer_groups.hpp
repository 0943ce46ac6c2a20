// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/ids.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace cairn {

namespace detail {
class engine;
}

/// How far a group has come in a partition.
struct committed_offset
{
    topic_partition at;
    cairn::offset   offset;            ///< the next to be read
    std::string     metadata{};        ///< what the group wrote beside it, at most 4,096 bytes
    std::int32_t    leader_epoch = -1;
    timestamp       committed_at{};
};

struct group_lag
{
    topic_partition              at;
    std::optional<cairn::offset> committed;
    cairn::offset                end;
    std::int64_t                 lag = 0;  ///< records between; all that is kept, where none
    std::string                  metadata;
};

/// Where a reset puts a group.
namespace reset_to {
struct earliest {};
struct latest {};
struct time { timestamp at; };        ///< the first record at or after
struct exactly { cairn::offset at; };
struct shift { std::int64_t by; };    ///< from where it is, kept within what is there
}  // namespace reset_to
using reset_target = std::variant<reset_to::earliest, reset_to::latest, reset_to::time,
                                  reset_to::exactly, reset_to::shift>;

/// What consumer groups have committed. All of it is records of __consumer_offsets, in Kafka's
/// own format; this is their fold.
///
/// Invariants
///   - What commit() returned from survives a power cut; several partitions commit together.
///   - A commit of an older generation than the group's is refused (fenced_generation).
///
/// Threads   Any thread.
/// Lifetime  A handle, cheap to copy. It must not outlive its commit_log.
/// Errors    illegal_group (empty name), unknown_group, unknown_topic, partition_out_of_range,
///           fenced_generation, storage_error.
class consumer_groups
{
public:
    /// Commits offsets of a group, all or none. `generation` -1: a simple consumer's commit,
    /// legal while the group has no generation.
    void commit(const std::string& group, const std::vector<committed_offset>& offsets,
                std::int32_t generation = -1);

    /// Raises the group's generation: commits of earlier ones are refused from now on.
    void set_generation(const std::string& group, std::int32_t generation);
    /// The generation that was set last; none where there was none.
    std::optional<std::int32_t> generation(const std::string& group) const;

    std::optional<committed_offset> fetch(const std::string&     group,
                                          const topic_partition& at) const;
    std::vector<committed_offset>   fetch(const std::string& group) const;

    std::vector<std::string> list() const;

    /// Every partition that the group has committed in, and how far behind it is.
    std::vector<group_lag> lag(const std::string& group) const;

    /// Where the group would be put, by partition: those of `topics`, or those it has committed
    /// in, where none is named; commits it unless `dry_run`.
    std::vector<group_lag> reset(const std::string& group, const std::vector<std::string>& topics,
                                 const reset_target& to, bool dry_run);
    /// The same for chosen partitions only.
    std::vector<group_lag> reset(const std::string&                  group,
                                 const std::vector<topic_partition>& partitions,
                                 const reset_target& to, bool dry_run);

    /// Forgets a group, or what it committed in some partitions.
    void remove(const std::string& group);
    void remove(const std::string& group, const std::vector<topic_partition>& partitions);

    /// Forgets groups whose newest commit is older than `retention_ms` (Kafka's
    /// offsets.retention.minutes, 7 days); returns their names. The log does so by itself too.
    std::vector<std::string> expire(std::int64_t retention_ms);

private:
    friend class commit_log;
    explicit consumer_groups(std::shared_ptr<detail::engine> e) noexcept : engine_{std::move(e)} {}

    std::shared_ptr<detail::engine> engine_;
};

}  // namespace cairn
