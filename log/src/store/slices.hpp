// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "store/segment.hpp"
#include "store/segment_format.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace cairn::detail {

/// What each partition has in a segment, sorted by uid: small, for there may be thousands of
/// segments of thousands of partitions.
class slices
{
public:
    using entry = std::pair<std::uint32_t, partition_slice>;

    const partition_slice* find(std::uint32_t uid) const noexcept
    {
        const auto at = lower_bound(uid);
        return at != entries_.end() && at->first == uid ? &at->second : nullptr;
    }

    /// The same with `changed` (sorted by uid) in place of, and beside, what is there.
    slices with(const std::vector<entry>& changed) const
    {
        slices s;
        s.entries_.reserve(entries_.size() + changed.size());
        auto old = entries_.begin();
        for (const auto& c : changed) {
            while (old != entries_.end() && old->first < c.first) s.entries_.push_back(*old++);
            if (old != entries_.end() && old->first == c.first) ++old;
            s.entries_.push_back(c);
        }
        s.entries_.insert(s.entries_.end(), old, entries_.end());
        return s;
    }

    /// Replaces what is there already. REQUIRES: each uid of `changed` is.
    void update(const std::vector<entry>& changed) noexcept
    {
        for (const auto& c : changed) {
            const auto at                                                    = lower_bound(c.first);
            entries_[static_cast<std::size_t>(at - entries_.begin())].second = c.second;
        }
    }

    void push_back(const entry& e) { entries_.push_back(e); }

    std::size_t size() const noexcept { return entries_.size(); }
    auto        begin() const noexcept { return entries_.begin(); }
    auto        end() const noexcept { return entries_.end(); }

private:
    std::vector<entry>::const_iterator lower_bound(std::uint32_t uid) const noexcept
    {
        return std::lower_bound(entries_.begin(), entries_.end(), uid,
                                [](const entry& e, std::uint32_t u) { return e.first < u; });
    }

    std::vector<entry> entries_;
};

/// Adds a batch at the end of a partition's slice.
inline void extend(partition_slice& s, const batch_numbers& n, std::size_t bytes) noexcept
{
    const auto low = std::min(n.base_timestamp, n.max_timestamp);
    if (s.batches == 0) {
        s.first         = n.base;
        s.max_timestamp = n.max_timestamp;
        s.min_timestamp = low;
    } else {
        s.max_timestamp = std::max(s.max_timestamp, n.max_timestamp);
        s.min_timestamp = std::min(s.min_timestamp, low);
    }
    s.end = n.base + n.offsets;
    s.bytes += bytes;
    ++s.batches;
}

/// Checks batches before they are written, each in itself and after what came before it, and
/// returns the slices that they change, sorted by uid. What is wrong here would be found when it
/// is read, too late.
///
/// Throws error{invalid_argument} and error{corrupt_batch}.
inline std::vector<slices::entry> check_and_extend(const slices&                 before,
                                                   std::span<const placed_batch> batches,
                                                   position from, position end)
{
    const auto refuse = [](const placed_batch& b, errc code, const std::string& what) {
        throw error{code, "batch at position " + std::to_string(b.position.value) +
                              ", partition uid " + std::to_string(b.partition_uid) + ", offset " +
                              std::to_string(b.base.value) + " cannot be stored: " + what};
    };

    std::vector<slices::entry> changed;
    {
        std::vector<std::uint32_t> uids;
        uids.reserve(batches.size());
        for (const auto& b : batches)
            if (uids.empty() || uids.back() != b.partition_uid) uids.push_back(b.partition_uid);
        std::sort(uids.begin(), uids.end());
        uids.erase(std::unique(uids.begin(), uids.end()), uids.end());
        changed.reserve(uids.size());
        for (const auto uid : uids) {
            const auto* s = before.find(uid);
            changed.emplace_back(uid, s != nullptr ? *s : partition_slice{});
        }
    }

    auto at = changed.begin();
    for (const auto& b : batches) {
        const auto n = numbers_of(b.bytes);
        if (!n) refuse(b, errc::corrupt_batch, "it is not one whole batch");
        if (n->base != b.base || n->offsets != b.offsets)
            refuse(b, errc::invalid_argument, "its header says other offsets");
        if (!crc_holds(b.bytes)) refuse(b, errc::corrupt_batch, "its CRC does not hold");
        if (b.position < from || b.position.value < 0 || b.base.value < 0)
            refuse(b, errc::invalid_argument, "it comes before what is there");
        from = b.end_position();

        if (at->first != b.partition_uid)
            at = std::lower_bound(changed.begin(), changed.end(), b.partition_uid,
                                  [](const auto& e, std::uint32_t u) { return e.first < u; });
        if (at->second.batches != 0 && b.base < at->second.end)
            refuse(b, errc::invalid_argument, "its partition is already further");
        extend(at->second, *n, b.bytes.size());
    }
    if (end < from)
        throw error{errc::invalid_argument, "an append cannot end at position " +
                                                std::to_string(end.value) + ", before " +
                                                std::to_string(from.value)};
    return changed;
}

}  // namespace cairn::detail
