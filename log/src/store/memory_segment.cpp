// SPDX-License-Identifier: Apache-2.0
//
// Segments in memory: the same behaviour, nothing on disk. For logs in memory.
#include "store/segment.hpp"

#include "store/segment_format.hpp"
#include "store/slices.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>
#include <unordered_map>

namespace cairn::detail {
namespace {

class memory_segment final : public segment
{
public:
    explicit memory_segment(std::uint64_t bytes_max) : bytes_max_{bytes_max} {}

    position first() const override
    {
        std::lock_guard lock{mutex_};
        return position{std::max<std::int64_t>(first_, 0)};
    }
    position end() const override
    {
        std::lock_guard lock{mutex_};
        return end_;
    }
    bool sealed() const override
    {
        std::lock_guard lock{mutex_};
        return sealed_;
    }
    const std::string& path() const override { return path_; }

    std::uint64_t bytes() const override
    {
        std::lock_guard lock{mutex_};
        return bytes_;
    }
    segment_summary summary() const override
    {
        std::lock_guard lock{mutex_};
        return {partitions_.begin(), partitions_.end()};
    }

    void append(std::span<const placed_batch> batches, position end) override
    {
        std::lock_guard lock{mutex_};
        must_be_writable();
        const auto from    = first_ < 0 ? position{0} : end_;
        const auto changed = check_and_extend(partitions_, batches, from, end);

        std::size_t size = 0;
        for (const auto& b : batches) size += b.bytes.size();
        if (bytes_ + size > bytes_max_)
            throw segment_full{"the segment in memory is full: go on in a new one"};

        auto       after = partitions_.with(changed);
        const auto chunk = std::make_shared_for_overwrite<char[]>(size);
        for (const auto& [uid, s] : changed) {
            auto& mine = by_partition_[uid];
            if (s.batches > mine.capacity())
                mine.reserve(std::max<std::size_t>(s.batches, mine.capacity() * 2));
        }

        const auto before = all_.size();
        try {
            char* at = chunk.get();
            for (const auto& b : batches) {
                std::memcpy(at, b.bytes.data(), b.bytes.size());
                auto& kept         = all_.emplace_back(b);
                kept.bytes         = {at, b.bytes.size()};
                kept.owner         = chunk;
                kept.max_timestamp = numbers_of(b.bytes)->max_timestamp;
                at += b.bytes.size();
            }
        } catch (...) {
            all_.resize(before);
            throw;
        }
        // From here on nothing throws: there is room for all of it.
        for (std::size_t i = before; i < all_.size(); ++i)
            by_partition_.find(all_[i].partition_uid)->second.push_back(i);
        if (first_ < 0) first_ = batches.empty() ? end.value : batches.front().position.value;
        bytes_ += size;
        end_ = end;
        std::swap(partitions_, after);
    }

    bool has_room(std::uint64_t bytes) const override
    {
        std::lock_guard lock{mutex_};
        return !sealed_ && bytes_ + bytes <= bytes_max_;
    }

    void seal() override
    {
        std::lock_guard lock{mutex_};
        sealed_ = true;
    }

    std::size_t read(std::uint32_t uid, offset from, const read_limits& limits,
                     std::vector<placed_batch>& out) const override
    {
        std::lock_guard lock{mutex_};
        const auto*     mine = of(uid);
        if (mine == nullptr) return 0;
        auto i = after(*mine, from);
        if (i > 0 && all_[(*mine)[i - 1]].end_offset() > from) --i;
        return take(
            mine->size() - i, limits,
            out, [&](std::size_t n) -> auto& { return all_[(*mine)[i + n]]; });
    }

    std::size_t read_backwards(std::uint32_t uid, offset from, const read_limits& limits,
                               std::vector<placed_batch>& out) const override
    {
        std::lock_guard lock{mutex_};
        const auto*     mine = of(uid);
        if (mine == nullptr) return 0;
        const auto i = after(*mine, from);
        return take(
            i, limits, out, [&](std::size_t n) -> auto& { return all_[(*mine)[i - 1 - n]]; });
    }

    std::size_t read_all(position from, const read_limits& limits,
                         std::vector<placed_batch>& out) const override
    {
        std::lock_guard lock{mutex_};
        auto            i = after(from);
        if (i > 0 && all_[i - 1].end_position() > from) --i;
        return take(
            all_.size() - i, limits, out, [&](std::size_t n) -> auto& { return all_[i + n]; });
    }

    std::size_t read_all_backwards(position from, const read_limits& limits,
                                   std::vector<placed_batch>& out) const override
    {
        std::lock_guard lock{mutex_};
        const auto      i = after(from);
        return take(
            i, limits, out, [&](std::size_t n) -> auto& { return all_[i - 1 - n]; });
    }

    using segment::find;
    std::optional<placed_batch> find(std::uint32_t uid, offset at) const override
    {
        std::lock_guard lock{mutex_};
        const auto*     mine = of(uid);
        if (mine == nullptr) return std::nullopt;
        const auto i = after(*mine, at);
        if (i == 0 || all_[(*mine)[i - 1]].end_offset() <= at) return std::nullopt;
        return all_[(*mine)[i - 1]];
    }

    std::optional<placed_batch> find(position at) const override
    {
        std::lock_guard lock{mutex_};
        const auto      i = after(at);
        if (i == 0 || all_[i - 1].end_position() <= at) return std::nullopt;
        return all_[i - 1];
    }

    std::optional<offset> offset_for_time(std::uint32_t uid, timestamp t) const override
    {
        std::lock_guard lock{mutex_};
        const auto*     mine = of(uid);
        if (mine == nullptr) return std::nullopt;
        for (const auto i : *mine)
            if (all_[i].max_timestamp >= t) return all_[i].base;
        return std::nullopt;
    }

    bool has_index_slice() const override
    {
        std::lock_guard lock{mutex_};
        return !slice_.empty();
    }
    std::string index_slice() const override
    {
        std::lock_guard lock{mutex_};
        return slice_;
    }
    void set_index_slice(bytes_view run) override
    {
        std::lock_guard lock{mutex_};
        must_be_writable();
        slice_ = run;
    }

    void verify(const std::function<void(std::uint32_t uid, offset at, const std::string& what)>&
                    fault) const override
    {
        std::lock_guard lock{mutex_};
        for (const auto& b : all_)
            if (!crc_holds(b.bytes)) fault(b.partition_uid, b.base, "a batch's CRC does not hold");
    }

    void begin_at(position first)
    {
        std::lock_guard lock{mutex_};
        if (!all_.empty() && all_.front().position < first)
            throw error{errc::invalid_argument, "the segment cannot begin at position " +
                                                    std::to_string(first.value) +
                                                    ": it has batches before that"};
        first_ = first.value;
        end_   = std::max(end_, first);
    }

private:
    using places = std::vector<std::size_t>;  // of a partition's batches in all_

    void must_be_writable() const
    {
        if (sealed_)
            throw error{errc::invalid_argument, "the segment is sealed: append to a new segment"};
    }

    const places* of(std::uint32_t uid) const
    {
        const auto found = by_partition_.find(uid);
        return found == by_partition_.end() ? nullptr : &found->second;
    }

    // How many batches begin at or before.
    std::size_t after(const places& mine, offset at) const
    {
        return static_cast<std::size_t>(
            std::upper_bound(mine.begin(), mine.end(), at,
                             [&](offset o, std::size_t i) { return o < all_[i].base; }) -
            mine.begin());
    }
    std::size_t after(position at) const
    {
        return static_cast<std::size_t>(
            std::upper_bound(all_.begin(), all_.end(), at,
                             [](position p, const placed_batch& b) { return p < b.position; }) -
            all_.begin());
    }

    template <class At>
    static std::size_t take(std::size_t available, const read_limits& limits,
                            std::vector<placed_batch>& out, const At& at)
    {
        std::size_t bytes = 0;
        std::size_t count = 0;
        while (count < available) {
            const placed_batch& b = at(count);
            if (count > 0 && bytes + b.bytes.size() > limits.bytes) break;
            out.push_back(b);
            bytes += b.bytes.size();
            if (++count >= limits.batches || bytes >= limits.bytes) break;
        }
        return count;
    }

    const std::string   path_;
    const std::uint64_t bytes_max_;

    // Not a shared_mutex: its readers, when they keep coming, keep the one who appends waiting.
    mutable std::mutex                        mutex_;  // guards all below
    std::int64_t                              first_ = -1;
    position                                  end_;
    bool                                      sealed_ = false;
    std::uint64_t                             bytes_  = 0;
    std::deque<placed_batch>                  all_;  // by position
    std::unordered_map<std::uint32_t, places> by_partition_;
    slices                                    partitions_;
    std::string                               slice_;
};

class memory_store final : public segment_store
{
public:
    std::vector<std::shared_ptr<segment>> open_all() override
    {
        std::vector<std::shared_ptr<segment>> all;
        for (const auto& [first, s] : published_) all.push_back(s);
        return all;
    }

    std::shared_ptr<segment> prepare(std::uint64_t map_bytes) override
    {
        return std::make_shared<memory_segment>(map_bytes);
    }

    void publish(const std::shared_ptr<segment>& s, position first,
                 std::span<const std::shared_ptr<segment>> replaced) override
    {
        auto& mine = dynamic_cast<memory_segment&>(*s);
        for (const auto& [at, p] : published_)
            if (p == s) throw error{errc::invalid_argument, "the segment is published already"};
        if (!replaced.empty() && (!mine.sealed() || first != replaced.front()->first() ||
                                  mine.end() != replaced.back()->end()))
            throw error{errc::invalid_argument,
                        "a rewritten segment must be sealed, and hold the positions of what it "
                        "replaces"};
        if (replaced.empty() && published_.contains(first))
            throw error{errc::invalid_argument, "there is a segment at position " +
                                                    std::to_string(first.value) + " already"};
        mine.begin_at(first);
        for (const auto& r : replaced) published_.erase(r->first());
        published_[first] = s;
    }

    void remove(const std::shared_ptr<segment>& s) override
    {
        std::erase_if(published_, [&](const auto& p) { return p.second == s; });
    }

private:
    std::map<position, std::shared_ptr<segment>> published_;
};

}  // namespace

std::unique_ptr<segment_store> make_memory_store()
{
    return std::make_unique<memory_store>();
}

}  // namespace cairn::detail
