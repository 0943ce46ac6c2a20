// SPDX-License-Identifier: Apache-2.0
#include "tail.hpp"

#include <algorithm>

namespace cairn::detail {

namespace {

using list = std::deque<placed_batch>;

/// Forwards from `at` until the limits.
std::size_t take(const list& from, list::const_iterator at, const read_limits& limits,
                 std::vector<placed_batch>& out)
{
    std::size_t n = 0, bytes = 0;
    for (; at != from.end() && (n == 0 || (n < limits.batches && bytes < limits.bytes)); ++at) {
        out.push_back(*at);
        bytes += at->bytes.size();
        ++n;
    }
    return n;
}

/// Backwards: the batch before `at` first.
std::size_t take_backwards(const list& from, list::const_iterator at, const read_limits& limits,
                           std::vector<placed_batch>& out)
{
    std::size_t n = 0, bytes = 0;
    while (at != from.begin() && (n == 0 || (n < limits.batches && bytes < limits.bytes))) {
        --at;
        out.push_back(*at);
        bytes += at->bytes.size();
        ++n;
    }
    return n;
}

/// The first batch that ends after the offset.
auto first_ending_after(const list& batches, offset o)
{
    return std::partition_point(batches.begin(), batches.end(),
                                [&](const placed_batch& b) { return b.end_offset() <= o; });
}

auto first_ending_after(const list& batches, position p)
{
    return std::partition_point(batches.begin(), batches.end(),
                                [&](const placed_batch& b) { return b.end_position() <= p; });
}

}  // namespace

void tail::push(std::span<placed_batch> group)
{
    if (group.empty()) return;
    group_ends_.push_back(group.back().end_position());
    for (auto& batch : group) {
        bytes_ += batch.bytes.size();
        by_partition_[batch.partition_uid].push_back(batch);
        batches_.push_back(std::move(batch));
    }
}

std::vector<placed_batch> tail::trim(position merged)
{
    std::vector<placed_batch> trimmed;
    while (!batches_.empty() && batches_.front().end_position() <= merged) {
        auto& batch = batches_.front();
        bytes_ -= batch.bytes.size();
        const auto of_partition = by_partition_.find(batch.partition_uid);
        of_partition->second.pop_front();
        if (of_partition->second.empty()) by_partition_.erase(of_partition);
        trimmed.push_back(std::move(batch));
        batches_.pop_front();
    }
    while (!group_ends_.empty() && group_ends_.front() <= merged) group_ends_.pop_front();
    return trimmed;
}

std::optional<offset> tail::first(std::uint32_t uid) const
{
    const auto found = by_partition_.find(uid);
    if (found == by_partition_.end()) return std::nullopt;
    return found->second.front().base;
}

position tail::oldest(std::uint64_t bytes, std::vector<placed_batch>& out) const
{
    std::uint64_t taken = 0;
    auto          batch = batches_.begin();
    position      end{};
    for (const auto group_end : group_ends_) {
        if (taken > 0 && taken >= bytes) break;
        for (; batch != batches_.end() && batch->position < group_end; ++batch) {
            taken += batch->bytes.size();
            out.push_back(*batch);
        }
        end = group_end;
    }
    return end;
}

std::size_t tail::read(std::uint32_t uid, offset from, const read_limits& limits,
                       std::vector<placed_batch>& out) const
{
    const auto found = by_partition_.find(uid);
    if (found == by_partition_.end()) return 0;
    return take(found->second, first_ending_after(found->second, from), limits, out);
}

std::size_t tail::read_backwards(std::uint32_t uid, offset from, const read_limits& limits,
                                 std::vector<placed_batch>& out) const
{
    const auto found = by_partition_.find(uid);
    if (found == by_partition_.end()) return 0;
    const auto& batches = found->second;
    auto        at      = first_ending_after(batches, from);
    if (at != batches.end() && at->base <= from) ++at;
    return take_backwards(batches, at, limits, out);
}

std::size_t tail::read_all(position from, const read_limits& limits,
                           std::vector<placed_batch>& out) const
{
    return take(batches_, first_ending_after(batches_, from), limits, out);
}

std::size_t tail::read_all_backwards(position from, const read_limits& limits,
                                     std::vector<placed_batch>& out) const
{
    auto at = first_ending_after(batches_, from);
    if (at != batches_.end() && at->position <= from) ++at;
    return take_backwards(batches_, at, limits, out);
}

std::optional<placed_batch> tail::find(std::uint32_t uid, offset o) const
{
    const auto found = by_partition_.find(uid);
    if (found == by_partition_.end()) return std::nullopt;
    const auto at = first_ending_after(found->second, o);
    if (at == found->second.end() || at->base > o) return std::nullopt;
    return *at;
}

std::optional<placed_batch> tail::find(position p) const
{
    const auto at = first_ending_after(batches_, p);
    if (at == batches_.end() || at->position > p) return std::nullopt;
    return *at;
}

std::optional<offset> tail::offset_for_time(std::uint32_t uid, timestamp t) const
{
    const auto found = by_partition_.find(uid);
    if (found == by_partition_.end()) return std::nullopt;
    for (const auto& batch : found->second)
        if (batch.max_timestamp >= t) return batch.base;
    return std::nullopt;
}

}  // namespace cairn::detail
