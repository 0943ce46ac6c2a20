// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/ids.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

/// How a group's leader shares partitions among its members. Kafka's four.
enum class partition_assignor {
    /// Topic by topic, neighbours together: the first members have one more of each topic.
    /// Partitions of the same number go to the same member, for joins.
    range,
    /// All partitions of all topics, one to each member in turn.
    round_robin,
    /// As even as can be, and from there as it was: who has partitions keeps them.
    sticky,
    /// As sticky, and nobody stops for a rebalance: only what moves is given up first, and goes
    /// to its new owner in the generation after.
    cooperative_sticky,
};

/// Its name in Kafka's protocol: "range", "roundrobin", "sticky", "cooperative-sticky".
std::string_view name(partition_assignor how) noexcept;

/// What a member wants, and what it has.
struct member_subscription
{
    std::string                  member_id;
    std::optional<std::string>   instance_id{};
    std::vector<std::string>     topics{};
    std::vector<topic_partition> owned{};
    std::int32_t                 generation = -1;  ///< of which it owns them
};

/// Partitions by member id; every member is in it, its partitions in their order.
using partition_assignment = std::map<std::string, std::vector<topic_partition>>;

/// Shares the partitions of `topics` (their names, and how many they have) among members. A topic
/// that is not in it has none. Range and round-robin take members in the order of their instance
/// ids, before those that have none, in the order of their member ids: as Kafka does, and with the
/// same result.
///
/// What is the same whoever leads: the answer depends on nothing but what is given here, in any
/// order. No partition goes to two members or to one that has not subscribed to its topic, and
/// each goes to one where a member has; but for cooperative_sticky, which leaves those out that
/// another still owns. With sticky and cooperative_sticky no partition, nor a chain of them, could
/// move to make loads more even; with the same topics for all, loads differ by one at most, and no
/// more move than must. Of two who own the same partition, the one of the later generation does;
/// of the same one, neither.
partition_assignment assign(partition_assignor how, const std::vector<member_subscription>& members,
                            const std::map<std::string, std::int32_t>& topics);

}  // namespace cairn
