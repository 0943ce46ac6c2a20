// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../store/segment.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

namespace cairn::detail {

/// What is acknowledged and not yet in a segment: the newest end of the log, in memory.
///
/// Invariants
///   - Batches are in the order of positions, without a hole, whole groups at a time.
///   - What is trimmed is in a segment already.
///
/// Threads  None of its own: the engine's publish lock guards it.
class tail
{
public:
    /// Adds the batches of one group commit, moved from where they are.
    void push(std::span<placed_batch> group);

    /// Drops everything before `merged`; returns it, so that it is freed outside the lock.
    std::vector<placed_batch> trim(position merged);

    bool          empty() const noexcept { return batches_.empty(); }
    std::uint64_t bytes() const noexcept { return bytes_; }

    /// Where the tail begins; `end` if it is empty.
    position first(position end) const noexcept
    {
        return batches_.empty() ? end : batches_.front().position;
    }
    std::optional<offset> first(std::uint32_t uid) const;

    /// The oldest whole groups, about `bytes` of them but at least one; and the position after.
    position oldest(std::uint64_t bytes, std::vector<placed_batch>& out) const;

    // As segment's, for what is here.
    std::size_t read(std::uint32_t uid, offset from, const read_limits& limits,
                     std::vector<placed_batch>& out) const;
    std::size_t read_backwards(std::uint32_t uid, offset from, const read_limits& limits,
                               std::vector<placed_batch>& out) const;
    std::size_t read_all(position from, const read_limits& limits,
                         std::vector<placed_batch>& out) const;
    std::size_t read_all_backwards(position from, const read_limits& limits,
                                   std::vector<placed_batch>& out) const;
    std::optional<placed_batch> find(std::uint32_t uid, offset at) const;
    std::optional<placed_batch> find(position at) const;
    std::optional<offset>       offset_for_time(std::uint32_t uid, timestamp t) const;

private:
    using list = std::deque<placed_batch>;

    list                                             batches_;
    boost::unordered_flat_map<std::uint32_t, list>   by_partition_;
    std::deque<position>                             group_ends_;
    std::uint64_t                                    bytes_ = 0;
};

}  // namespace cairn::detail
