// SPDX-License-Identifier: Apache-2.0
//
// Retention, compaction, deletion: one mechanism. Retention moves a partition's start, which is
// a record of __topics. Then sealed segments in which much is garbage (before a start, of a
// deleted topic, superseded in a compacted one) are written anew without it and swapped in;
// neighbours that have become small become one. A segment with nothing left is unlinked.
//
// The index keeps what it knows of the records that went: the versions of streams and what a
// boundary matches do not change. For the day it must be rebuilt, the new segment carries the
// part of the index for its positions (segment::set_index_slice).
#include "engine.hpp"

#include "commit.hpp"
#include "sources.hpp"

#include <algorithm>
#include <limits>

namespace cairn::detail {

namespace {

/// Garbage is rewritten away when it is at least this part of a segment.
constexpr std::uint64_t garbage_divisor = 3;

/// The newest offset of each key of one of the log's own partitions, which are not indexed.
using latest_offsets = std::unordered_map<std::string, offset>;

/// Of a partition's part of a segment: the bytes that lie before its start, in whole batches.
std::uint64_t bytes_dead(const segment& body, std::uint32_t uid, const partition_slice& slice,
                         offset start, bool alive)
{
    if (!alive || slice.end <= start) return slice.bytes;
    if (slice.first >= start) return 0;
    std::vector<placed_batch> oldest;
    body.read(uid, slice.first, {1, 1}, oldest);
    if (oldest.empty() || oldest.front().end_offset() > start) return 0;
    if (const auto batch = batch_view::parse(oldest.front().bytes, nullptr, false);
        batch && batch->record_count() == 0)
        return 0;  // it holds a place, and was looked at before
    const auto part = static_cast<double>(start - slice.first) /
                      static_cast<double>(slice.end - slice.first);
    return static_cast<std::uint64_t>(part * static_cast<double>(slice.bytes));
}

}  // namespace

struct engine::cleaning
{
    timestamp                               now;
    bool                                    in_background = false;
    std::map<std::uint32_t, latest_offsets> own;  ///< made when first needed
};

offset engine::newest_of_own(cleaning& c, std::uint32_t uid, bytes_view key)
{
    const auto [at, is_new] = c.own.try_emplace(uid);
    if (is_new)
        for (auto range = record_range{partition_source(shared_from_this(), partition_of(uid), uid,
                                                        start_offset(uid), direction::forward)};
             const auto& r : range)
            if (r.key) at->second[std::string{*r.key}] = r.offset;
    const auto found = at->second.find(std::string{key});
    return found == at->second.end() ? offset{-1} : found->second;
}

void engine::run_cleaner()
{
    for (;;) {
        {
            std::unique_lock lock{threads_mutex_};
            cleaner_wakes_.wait_for(lock, options_.cleanup_interval,
                                    [&] { return threads_stop_ || clean_soon_; });
            if (threads_stop_) return;
            clean_soon_ = false;
        }
        try {
            clean_all(true);
        } catch (const std::exception& e) {
            say_why("cleaning: ", e);
        }
    }
}

std::uint64_t engine::clean()
{
    throw_if_closed();
    merge();
    return clean_all(false);
}

std::uint64_t engine::clean_all(bool in_background)
{
    const std::lock_guard one_at_a_time{clean_mutex_};
    if (failed_ || closed_) return 0;
    cleaning c;
    c.now           = now();
    c.in_background = in_background;

    {
        const std::unique_lock lock{publish_mutex_};
        state_.producers.expire(c.now);
    }
    consumer_groups_expire();
    roll_if_expired(c.now);
    advance_starts(c.now);
    merge();

    std::uint64_t freed = 0;
    // Each rewrite leaves less garbage or fewer segments; the bound is for what we did not see.
    auto rewrites_left = 2 * segments().size();
    for (auto plan = plan_rewrite(c); !plan.segments.empty() && rewrites_left-- > 0;
         plan = plan_rewrite(c)) {
        freed += rewrite(c, plan);
        const std::lock_guard lock{threads_mutex_};
        if (threads_stop_) break;
    }
    counters_.cleaned_bytes += freed;
    return freed;
}

void engine::consumer_groups_expire()
{
    forget_groups(now() - options_.group_retention.count());
}

void engine::roll_if_expired(timestamp at)
{
    const auto list    = segments();
    const auto summary = list.back().summary;
    const bool expired = with_state([&](const folded_state& s) {
        return std::any_of(summary->begin(), summary->end(), [&](const auto& of) {
            const auto* p = s.topics.find(of.first);
            if (!p) return true;  // of a deleted topic
            const auto& config = p->topic->config;
            return config.cleanup_delete && config.retention_ms >= 0 &&
                   of.second.max_timestamp.value >= 0 &&
                   at - of.second.max_timestamp > config.retention_ms;
        });
    });
    if (expired) roll_segment();
}

void engine::advance_starts(timestamp at)
{
    // Oldest first, batch by batch, up to the first that stays. As in Kafka the active segment
    // stays whatever its age and size.
    const auto                                    list = segments();
    std::vector<std::pair<std::uint32_t, offset>> starts;
    for (const auto& t : topics()) {
        if (!t->config.cleanup_delete) continue;
        for (const auto uid : t->uids) {
            const auto old = start_offset(uid);
            const auto to  = std::max(expired_by_time(list, *t, uid, old, at),
                                      expired_by_size(list, *t, uid, old));
            if (to > old) starts.emplace_back(uid, to);
        }
    }
    advance(starts);
}

offset engine::expired_by_time(const segment_list& list, const topic_state& t, std::uint32_t uid,
                               offset start, timestamp at) const
{
    if (t.config.retention_ms < 0) return start;
    const auto oldest_kept = at - t.config.retention_ms;
    for (std::size_t i = 0; i + 1 < list.size(); ++i) {
        const auto slice = list[i].summary->find(uid);
        if (slice == list[i].summary->end() || slice->second.end <= start) continue;
        if (slice->second.max_timestamp < oldest_kept && slice->second.max_timestamp.value >= 0) {
            start = slice->second.end;
            continue;
        }
        const auto kept = list[i].body->offset_for_time(uid, oldest_kept);
        return kept ? std::max(start, *kept) : start;
    }
    return start;
}

offset engine::expired_by_size(const segment_list& list, const topic_state& t, std::uint32_t uid,
                               offset start) const
{
    if (t.config.retention_bytes < 0) return start;
    const auto    most = static_cast<std::uint64_t>(t.config.retention_bytes);
    std::uint64_t kept = 0;
    for (const auto& s : list)
        if (const auto slice = s.summary->find(uid);
            slice != s.summary->end() && slice->second.end > start)
            kept += slice->second.bytes;

    std::vector<placed_batch> batches;
    for (std::size_t i = 0; i + 1 < list.size() && kept > most; ++i) {
        const auto slice = list[i].summary->find(uid);
        if (slice == list[i].summary->end() || slice->second.end <= start) continue;
        if (kept - slice->second.bytes >= most) {
            kept -= slice->second.bytes;
            start = slice->second.end;
            continue;
        }
        for (auto next = start; next < slice->second.end;) {
            batches.clear();
            if (list[i].body->read(uid, next, {1 << 20, 4096}, batches) == 0) break;
            for (const auto& b : batches) {
                if (kept - b.bytes.size() < most) return start;
                kept -= b.bytes.size();
                start = next = b.end_offset();
            }
        }
    }
    return start;
}

/// Whether a record of a batch stays. The newest of its key does; a tombstone too, until the
/// horizon that its first cleaning gave the batch.
bool engine::keeps(cleaning& c, const batch_view& batch, const record_view& r,
                   const partition_state& of, std::uint32_t uid, offset start)
{
    if (!of.topic || r.offset < start) return false;
    const auto& config = of.topic->config;
    if (!config.cleanup_compact || !r.key) return true;
    if (c.now - r.timestamp < config.min_compaction_lag_ms) return true;

    const auto newest =
        uid < first_free_uid
            ? newest_of_own(c, uid, *r.key)
            : index_->head(index_->hasher().stream(uid, *r.key)).last_offset;
    if (newest > r.offset) return false;
    if (r.value) return true;
    const auto horizon = batch.delete_horizon();
    return !horizon || c.now < *horizon;
}

/// How many bytes of a segment's compacted partitions are superseded.
std::uint64_t engine::superseded_bytes(cleaning& c, const segment_entry& s)
{
    std::uint64_t dead = 0;
    for (const auto& [uid, slice] : *s.summary) {
        const auto of = partition_of(uid);
        if (!of.topic || !of.topic->config.cleanup_compact) continue;
        const auto start = start_offset(uid);
        if (slice.end <= start) continue;
        // Looked at before, and nothing has come since that could supersede what is in it.
        const auto end   = end_offset(uid);
        auto&      known = compacted_up_to_[{s.first, uid}];
        if (known.end == end && c.now < known.again_at) {
            dead += known.dead;
            continue;
        }

        std::uint64_t             found = 0;
        timestamp                 again_at{std::numeric_limits<std::int64_t>::max()};
        std::vector<placed_batch> batches;
        std::string               scratch;
        for (auto next = slice.first; next < slice.end;) {
            batches.clear();
            if (s.body->read(uid, next, {1 << 20, 4096}, batches) == 0) break;
            for (const auto& placed : batches) {
                next              = placed.end_offset();
                const auto  batch = batch_view::parse(placed.bytes, nullptr, false);
                const auto  payload = batch->unpack(scratch, unpack_bytes_max);
                if (!payload || batch->is_control()) continue;
                record_cursor records{*batch, *payload, placed.position};
                while (records.next()) {
                    const auto& r = records.current();
                    const bool stays = keeps(c, *batch, r, of, uid, start);
                    // A tombstone that stays wants its horizon, which is work too.
                    if (!stays || (!r.value && !batch->delete_horizon()))
                        found += records.current_bytes().size();
                    if (!stays) continue;
                    // It may have to go when its time is over, though nothing new comes.
                    const auto lag = of.topic->config.min_compaction_lag_ms;
                    if (c.now - r.timestamp < lag) again_at = std::min(again_at, r.timestamp + lag);
                    if (!r.value)
                        again_at = std::min(again_at,
                                            batch->delete_horizon().value_or(
                                                c.now + of.topic->config.delete_retention_ms));
                }
            }
        }
        known = {end, std::max(again_at, c.now + 1), found};
        dead += found;
    }
    return dead;
}

engine::rewrite_plan engine::plan_rewrite(cleaning& c)
{
    const auto   list = segments();
    rewrite_plan plan;
    std::uint64_t small = 0;  // live bytes of the neighbours that are small
    for (std::size_t i = 0; i + 1 < list.size(); ++i) {
        const auto&   s     = list[i];
        std::uint64_t total = 0, dead = 0;
        for (const auto& [uid, slice] : *s.summary) {
            total += slice.bytes;
            dead += bytes_dead(*s.body, uid, slice, start_offset(uid), alive(uid));
        }
        dead = std::min(total, dead + superseded_bytes(c, s));
        const bool garbage = c.in_background ? dead > 0 && dead * garbage_divisor >= total
                                             : dead > 0;
        const auto live = total - dead;
        const bool is_small = live * 4 < options_.segment_bytes_max &&
                              (live * 8 < options_.segment_bytes_max || garbage);
        if (is_small && small + live <= options_.segment_bytes_max / 2) {
            plan.segments.push_back(s);
            plan.garbage |= garbage;
            small += live;
            continue;
        }
        // Two or more small neighbours become one, garbage or not; one alone must have some.
        if (plan.garbage || plan.segments.size() > 1) return plan;
        plan  = {};
        small = is_small ? live : 0;
        if (is_small || garbage) {
            plan.segments.push_back(s);
            plan.garbage = garbage;
            if (garbage && !is_small) return plan;
        }
    }
    if (!plan.garbage && plan.segments.size() < 2) plan = {};
    return plan;
}

std::uint64_t engine::rewrite(cleaning& c, const rewrite_plan& plan)
{
    const auto first = plan.segments.front().first, end = plan.segments.back().end;
    if (index_->checkpoint() < end) flush_index();

    std::uint64_t room = 64ull << 20, before = 0;
    bool          sliced = false;
    for (const auto& s : plan.segments) {
        before += s.body->bytes();
        room += s.body->bytes();
        sliced |= s.body->has_index_slice();
    }
    auto body = store_->prepare(room + room / 4);

    bool                      dropped = false, any = false;
    std::string               scratch;
    batch_builder             builder;
    std::vector<placed_batch> batches, kept;
    for (const auto& s : plan.segments) {
        for (auto next = s.first; next < s.end;) {
            batches.clear();
            kept.clear();
            if (s.body->read_all(next, {4 << 20, 4096}, batches) == 0) break;
            std::uint64_t written = 0;
            for (const auto& placed : batches) {
                next = placed.end_position();
                const auto of    = partition_of(placed.partition_uid);
                const auto start = start_offset(placed.partition_uid);
                auto       one   = without_garbage(c, placed, of, start, builder, scratch);
                dropped |= !one || one->bytes.data() != placed.bytes.data();
                if (one) {
                    written += one->bytes.size();
                    kept.push_back(std::move(*one));
                }
            }
            any |= !kept.empty();
            if (!kept.empty()) body->append(kept, next);
            if (c.in_background && written > 0) {
                const auto pause = std::chrono::microseconds{
                    written * 1'000'000 / std::max<std::uint64_t>(1, options_.cleanup_bytes_per_s)};
                std::unique_lock lock{threads_mutex_};
                if (cleaner_wakes_.wait_for(lock, pause, [&] { return threads_stop_; })) return 0;
            }
        }
    }
    if (body->end() < end) body->append({}, end);
    std::string slice;
    if (dropped || sliced) slice = index_->slice(first, end);
    const bool something = any || !slice.empty();
    if (something && !slice.empty()) body->set_index_slice(slice);
    body->seal();

    std::vector<std::shared_ptr<segment>> replaced;
    for (const auto& s : plan.segments) replaced.push_back(s.body);
    const std::lock_guard step{merge_step_mutex_};
    store_->publish(body, first, replaced);
    const auto at = std::find(all_.begin(), all_.end(), replaced.front());
    *at           = body;
    all_.erase(at + 1, at + static_cast<std::ptrdiff_t>(replaced.size()));
    // What was found in the old ones is not in the new one.
    compacted_up_to_.erase(compacted_up_to_.lower_bound({first, 0}),
                           compacted_up_to_.lower_bound({end, 0}));
    if (!something) {
        all_.erase(std::find(all_.begin(), all_.end(), body));
        publish_segments();
        store_->remove(body);
        return before;
    }
    publish_segments();
    const auto after = body->bytes();
    return before > after ? before - after : 0;
}

/// Whether a batch of which no record stays must stay itself, empty: what a rebuild learns from it
/// is nowhere else. It is where the partition ends, or what an idempotent producer sent last.
bool engine::holds_place(const batch_view& batch, std::uint32_t uid, offset base,
                         offset start) const
{
    const auto end = end_offset(uid);
    if (start < end && base + (batch.last_offset_delta() + 1) == end) return true;
    return with_state(
        [&](const folded_state& s) { return s.producers.remembers(batch, uid, base); });
}

std::optional<placed_batch> engine::without_garbage(cleaning& c, const placed_batch& placed,
                                                    const partition_state& of, offset start,
                                                    batch_builder& builder, std::string& scratch)
{
    if (!of.topic) return std::nullopt;
    const auto batch = batch_view::parse(placed.bytes, nullptr, false);
    const bool goes  = placed.end_offset() <= start;  // all of it, or nothing
    if (goes && !holds_place(*batch, placed.partition_uid, placed.base, start))
        return std::nullopt;
    if (goes ? batch->record_count() == 0 : !of.topic->config.cleanup_compact) return placed;
    if (batch->is_control()) return placed;
    const auto payload = batch->unpack(scratch, unpack_bytes_max);
    if (!payload) return placed;

    // Decided once: a newer record of a key may come at any moment.
    std::vector<bool> stays;
    bool              tombstones = false;
    for (record_cursor records{*batch, *payload, placed.position}; records.next();) {
        const auto& r = records.current();
        stays.push_back(keeps(c, *batch, r, of, placed.partition_uid, start));
        tombstones |= stays.back() && !r.value;
    }
    const auto keep = static_cast<std::size_t>(std::count(stays.begin(), stays.end(), true));
    const bool wants_horizon =
        tombstones && of.topic->config.cleanup_compact && !batch->delete_horizon();
    if (keep == stays.size() && !wants_horizon) return placed;
    if (keep == 0 && !holds_place(*batch, placed.partition_uid, placed.base, start))
        return std::nullopt;

    batch_builder::options o;
    o.codec           = batch->codec();
    o.producer_id     = batch->producer_id();
    o.producer_epoch  = batch->producer_epoch();
    o.base_sequence   = batch->base_sequence();
    o.transactional   = batch->is_transactional();
    o.log_append_time = batch->is_log_append_time();
    o.log_time        = batch->max_timestamp();
    o.delete_horizon  = batch->delete_horizon();
    if (wants_horizon) o.delete_horizon = c.now + of.topic->config.delete_retention_ms;
    builder.start(o);
    auto stay = stays.begin();
    for (record_cursor records{*batch, *payload, placed.position}; records.next();)
        if (const auto& r = records.current(); *stay++)
            builder.add(r, static_cast<std::int32_t>(r.offset - placed.base));
    builder.set_last_offset_delta(batch->last_offset_delta());
    if (keep == 0) builder.set_max_timestamp(batch->max_timestamp());
    auto bytes = std::make_shared<std::string>(builder.finish());
    patch_base_offset(bytes->data(), placed.base);

    auto anew          = placed;
    anew.bytes         = *bytes;
    anew.owner         = bytes;
    anew.max_timestamp = batch_view::parse(anew.bytes, nullptr, false)->max_timestamp();
    return anew;
}

}  // namespace cairn::detail
