// SPDX-License-Identifier: Apache-2.0
//
// Where a batch is: in the tail, or in one of the segments. The tail is asked first; what it no
// longer has is in a segment by then, because the list of segments is replaced before the tail
// is trimmed.
#include "engine.hpp"

#include <algorithm>

namespace cairn::detail {

segment_list engine::segments() const
{
    const std::lock_guard lock{segments_mutex_};
    return segments_;
}

void engine::reload_segments() const
{
    const std::lock_guard step{merge_step_mutex_};
    throw_if_shut();  // close() has taken the store away then
    all_ = store_->open_all();
    publish_segments();
}

template <class F>
auto engine::reading(F&& read) const
{
    for (int attempt = 0;; ++attempt) {
        try {
            const auto list = segments();
            return read(list);
        } catch (const segment_gone&) {
            if (attempt == 3) throw;
            reload_segments();
        } catch (const damaged_batch& e) {
            const auto p = partition_of(e.partition_uid());
            if (!p.topic) throw;
            throw storage_error{errc::damaged_segment,
                                p.topic->name + "-" + std::to_string(p.number) + " offset " +
                                    std::to_string(e.at().value) + ": " + e.what()};
        }
    }
}

offset engine::start_offset(std::uint32_t uid) const
{
    const std::shared_lock lock{publish_mutex_};
    return state_.topics.start(uid);
}

offset engine::end_offset(std::uint32_t uid) const
{
    const std::shared_lock lock{publish_mutex_};
    const auto             found = ends_.find(uid);
    const auto             start = state_.topics.start(uid);
    return found == ends_.end() ? start : std::max(found->second, start);
}

partition_state engine::partition_of(std::uint32_t uid) const
{
    const std::shared_lock lock{publish_mutex_};
    const auto*            p = state_.topics.find(uid);
    return p ? *p : partition_state{};
}

void engine::note_removal(std::uint32_t uid, offset to)
{
    std::vector<placed_batch> newest;
    if (read_backwards(uid, to - 1, {1, 1}, newest) == 0) return;
    const auto& b  = newest.front();
    const auto  at = b.position + (std::min(to, b.end_offset()) - b.base) - 1;

    const std::unique_lock lock{publish_mutex_};
    while (!removed_.empty() && removed_.back().second <= at) removed_.pop_back();
    removed_.emplace_back(removals_ + 1, at);
    ++removals_;
}

position engine::newest_removed_since(std::uint64_t seen) const
{
    if (removals() == seen) return position{-1};
    const std::shared_lock lock{publish_mutex_};
    const auto first = std::find_if(removed_.begin(), removed_.end(),
                                    [&](const auto& r) { return r.first > seen; });
    return first == removed_.end() ? position{-1} : first->second;
}

void engine::must_be_alive(const partition_state& at, std::uint32_t uid) const
{
    if (alive(uid)) return;
    throw error{errc::unknown_topic,
                "topic " + (at.topic ? at.topic->name : "of partition uid " + std::to_string(uid)) +
                    " was deleted while it was read: there is nothing more to come"};
}

bool engine::alive(std::uint32_t uid) const { return partition_of(uid).topic != nullptr; }

std::size_t engine::read(std::uint32_t uid, offset from, const read_limits& limits,
                         std::vector<placed_batch>& out) const
{
    throw_if_shut();
    {
        const std::shared_lock lock{publish_mutex_};
        if (const auto first = tail_.first(uid); first && *first <= from)
            return tail_.read(uid, from, limits, out);
    }
    const auto n = reading([&](const segment_list& list) -> std::size_t {
        for (const auto& s : list) {
            const auto slice = s.summary->find(uid);
            if (slice == s.summary->end() || slice->second.end <= from) continue;
            if (const auto read = s.body->read(uid, from, limits, out)) return read;
        }
        return 0;
    });
    if (n > 0) return n;
    // Nothing between `from` and the tail: retention or compaction took it.
    const std::shared_lock lock{publish_mutex_};
    return tail_.read(uid, from, limits, out);
}

std::size_t engine::read_backwards(std::uint32_t uid, offset from, const read_limits& limits,
                                   std::vector<placed_batch>& out) const
{
    throw_if_shut();
    {
        const std::shared_lock lock{publish_mutex_};
        if (const auto first = tail_.first(uid); first && *first <= from)
            return tail_.read_backwards(uid, from, limits, out);
    }
    return reading([&](const segment_list& list) -> std::size_t {
        for (auto s = list.rbegin(); s != list.rend(); ++s) {
            const auto slice = s->summary->find(uid);
            if (slice == s->summary->end() || slice->second.first > from) continue;
            if (const auto n = s->body->read_backwards(uid, from, limits, out)) return n;
        }
        return 0;
    });
}

std::size_t engine::read_all(position from, const read_limits& limits,
                             std::vector<placed_batch>& out) const
{
    throw_if_shut();
    {
        const std::shared_lock lock{publish_mutex_};
        if (!tail_.empty() && tail_.first(end()) <= from)
            return tail_.read_all(from, limits, out);
    }
    const auto n = reading([&](const segment_list& list) -> std::size_t {
        for (const auto& s : list) {
            if (s.end <= from) continue;
            if (const auto read = s.body->read_all(from, limits, out)) return read;
        }
        return 0;
    });
    if (n > 0) return n;
    const std::shared_lock lock{publish_mutex_};
    return tail_.read_all(from, limits, out);
}

std::size_t engine::read_all_backwards(position from, const read_limits& limits,
                                       std::vector<placed_batch>& out) const
{
    throw_if_shut();
    {
        const std::shared_lock lock{publish_mutex_};
        if (!tail_.empty() && tail_.first(end()) <= from)
            return tail_.read_all_backwards(from, limits, out);
    }
    return reading([&](const segment_list& list) -> std::size_t {
        for (auto s = list.rbegin(); s != list.rend(); ++s) {
            if (s->first > from) continue;
            if (const auto n = s->body->read_all_backwards(from, limits, out)) return n;
        }
        return 0;
    });
}

namespace {

/// The segment that covers a position; null before the first.
const segment_entry* covering(const segment_list& list, position at)
{
    const auto after = std::partition_point(
        list.begin(), list.end(), [&](const segment_entry& s) { return s.first <= at; });
    return after == list.begin() ? nullptr : &*(after - 1);
}

}  // namespace

std::optional<placed_batch> engine::find(position at) const
{
    throw_if_shut();
    {
        const std::shared_lock lock{publish_mutex_};
        if (auto found = tail_.find(at)) return found;
    }
    return reading([&](const segment_list& list) {
        const auto* s = covering(list, at);
        return s ? s->body->find(at) : std::nullopt;
    });
}

void engine::find(std::uint32_t uid, std::span<const stream_posting> wanted,
                  std::vector<std::optional<placed_batch>>& out) const
{
    throw_if_shut();
    out.assign(wanted.size(), std::nullopt);
    {
        const std::shared_lock lock{publish_mutex_};
        const auto             first = tail_.first(end());
        for (std::size_t i = 0; i < wanted.size(); ++i)
            if (first <= wanted[i].position) out[i] = tail_.find(uid, wanted[i].offset);
    }
    reading([&](const segment_list& list) {
        std::vector<record_place> places;
        for (std::size_t i = 0; i < wanted.size();) {
            const auto* const s     = out[i] ? nullptr : covering(list, wanted[i].position);
            const auto        begin = i;
            places.clear();
            for (; s && i < wanted.size() && !out[i] && covering(list, wanted[i].position) == s;
                 ++i)
                places.push_back({wanted[i].offset, wanted[i].at});
            if (places.empty()) {
                ++i;
                continue;
            }
            s->body->find(uid, places, std::span{out}.subspan(begin, places.size()));
        }
    });
}

std::vector<placement> engine::placements(position first, std::int64_t count) const
{
    std::vector<placement>  all;
    std::map<term, version> versions;  // of the next record of each stream that was met
    std::string             scratch;
    const auto              end = first + count;
    for (auto next = first; next < end;) {
        const auto placed = find(next);
        const auto owner  = placed ? partition_of(placed->partition_uid) : partition_state{};
        if (!owner.topic) return all;
        const auto& at = owner.topic->names[static_cast<std::size_t>(owner.number)];

        batch_fault why;
        const auto  batch   = batch_view::parse(placed->bytes, &why, true);
        const auto  payload = batch ? batch->unpack(scratch, unpack_bytes_max, &why) : std::nullopt;
        if (!payload)
            throw storage_error{errc::damaged_segment,
                                at.topic + "-" + std::to_string(at.partition) + " offset " +
                                    std::to_string(placed->base.value) + ": " + why.what +
                                    "; run `cairn verify`"};
        record_cursor records{*batch, *payload, placed->position};
        const auto    until = std::min(end, placed->end_position());
        while (next < until && records.next()) {
            const auto& r = records.current();
            if (r.position < next) continue;
            if (r.position > next) return all;  // compaction took it out of its batch
            placement p{.at = at, .offset = r.offset, .version = version{-1}};
            if (r.key) {
                const auto stream = index_->hasher().stream(placed->partition_uid, *r.key);
                const auto [known, is_new] = versions.try_emplace(stream);
                if (is_new) known->second = version_at(stream, r.offset);
                p.version = known->second;
                ++known->second.value;
            }
            all.push_back(std::move(p));
            next = next.next();
        }
        if (next < until) return all;
    }
    return all;
}

/// The version of a stream's record: by halving, since a stream's offsets rise with its versions.
version engine::version_at(const term& stream, offset at) const
{
    std::int64_t low = 0, high = index_->head(stream).count;
    while (low < high) {
        const auto middle = low + (high - low) / 2;
        const auto found  = index_->stream(stream, version{middle}, direction::forward, 1);
        if (!found.empty() && found.front().offset < at)
            low = middle + 1;
        else
            high = middle;
    }
    return version{low};
}

std::optional<std::pair<offset, timestamp>> engine::offset_for_time(std::uint32_t uid,
                                                                    timestamp     t) const
{
    throw_if_shut();
    const auto start = start_offset(uid);
    const auto limit = end_offset(uid);

    // The first batch whose newest record is young enough holds the answer. The tail is looked at
    // before the segments: what is merged meanwhile is seen in one of them.
    std::optional<offset> from;
    {
        const std::shared_lock lock{publish_mutex_};
        from = tail_.offset_for_time(uid, t);
    }
    const auto merged = reading([&](const segment_list& list) -> std::optional<offset> {
        for (const auto& s : list) {
            const auto slice = s.summary->find(uid);
            if (slice == s.summary->end() || slice->second.end <= start) continue;
            if (slice->second.max_timestamp < t) continue;
            if (const auto found = s.body->offset_for_time(uid, t)) return found;
        }
        return std::nullopt;
    });
    if (merged) from = merged;
    if (!from) return std::nullopt;

    auto                      next = std::max(*from, start);
    std::vector<placed_batch> batches;
    while (next < limit) {
        batches.clear();
        if (read(uid, next, {64 * 1024, 64}, batches) == 0) break;
        for (const auto& placed : batches) {
            next              = placed.end_offset();
            const auto  batch = batch_view::parse(placed.bytes, nullptr, false);
            std::string scratch;
            const auto  payload = batch->unpack(scratch, unpack_bytes_max);
            if (!payload) continue;
            record_cursor records{*batch, *payload, placed.position};
            while (records.next())
                if (records.current().timestamp >= t && records.current().offset >= start)
                    return std::pair{records.current().offset, records.current().timestamp};
        }
    }
    return std::nullopt;
}

bool engine::wait_beyond(position seen, std::chrono::steady_clock::time_point deadline,
                         const std::atomic<bool>* stop) const
{
    const auto ready = [&] { return end() > seen || closed_ || (stop && *stop); };
    if (!ready()) {
        waiters_.fetch_add(1);
        std::unique_lock lock{wait_mutex_};
        waited_for_.wait_until(lock, deadline, ready);
        lock.unlock();
        waiters_.fetch_sub(1);
    }
    return end() > seen && !(stop && *stop);
}

void engine::wake_waiters() const
{
    // A waiter counts itself before it looks at end(); we look at the count after end() was set,
    // and by a write, so that the two have an order: either we see it, or it sees the new end.
    if (waiters_.fetch_add(0) == 0) return;
    {
        const std::lock_guard lock{wait_mutex_};
    }
    waited_for_.notify_all();
}

}  // namespace cairn::detail
