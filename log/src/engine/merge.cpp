// SPDX-License-Identifier: Apache-2.0
//
// The merger moves what is acknowledged from the tail into the active segment, in large
// transactions, and then gives the journal its files back. The indexer turns what the index has
// in memory into runs. Neither is on the path of an append; both only ever move forward, each
// at its own pace.
#include "engine.hpp"

#include "../file.hpp"

#include <algorithm>
#include <utility>

namespace cairn::detail {

namespace {

constexpr std::uint64_t merge_bytes_max      = 32ull << 20;  // one transaction
constexpr std::uint64_t merge_bytes_min      = 64ull << 10;
constexpr auto          index_flush_interval = std::chrono::seconds{5};
constexpr auto          pause_interval       = std::chrono::milliseconds{200};

}  // namespace

void engine::publish_segments() const
{
    std::vector<segment_entry> list;
    const auto                 old = segments();
    for (const auto& s : all_) {
        const auto known = std::find_if(old.begin(), old.end(),
                                        [&](const segment_entry& e) { return e.body == s; });
        if (known != old.end() && known->end == s->end())
            list.push_back(*known);
        else
            list.push_back({s, s->first(), s->end(),
                             std::make_shared<const segment_summary>(s->summary())});
    }
    const std::lock_guard lock{segments_mutex_};
    segments_ = segment_list{std::move(list)};
}

void engine::make_ready(std::uint64_t room_for)
{
    const auto room = options_.segment_bytes_max + options_.segment_bytes_max / 4 +
                      2 * merge_bytes_max + 2 * room_for;
    if (prepared_ && prepared_room_ >= room) return;
    prepared_      = store_->prepare(room);
    prepared_room_ = room;
}

void engine::roll(std::uint64_t room_for)
{
    make_ready(room_for);
    const auto first = all_.empty() ? position{0} : all_.back()->end();
    if (!all_.empty()) all_.back()->seal();
    store_->publish(prepared_, first, {});
    all_.push_back(std::move(prepared_));
    prepared_     = nullptr;
    active_since_ = now();
    publish_segments();
}

bool engine::must_roll(std::uint64_t bytes) const
{
    const auto& active = *all_.back();
    if (active.sealed() || !active.has_room(bytes)) return true;
    if (active.end() == active.first()) return false;
    if (active.bytes() >= options_.segment_bytes_max) return true;
    if (now() - active_since_ >= options_.segment_age_max.count()) return true;
    const auto list    = segments();
    const auto summary = list.back().summary;
    const std::shared_lock lock{publish_mutex_};
    return std::any_of(summary->begin(), summary->end(), [&](const auto& of) {
        const auto* p = state_.topics.find(of.first);
        return p && of.first >= first_free_uid &&
               static_cast<std::int64_t>(of.second.bytes) >= p->topic->config.segment_bytes;
    });
}

bool engine::merge_some()
{
    std::vector<placed_batch> batches;
    position                  end;
    {
        const std::shared_lock lock{publish_mutex_};
        if (half_taken_in_) return false;
        // No more at once than makes a segment, or small segments would all be one.
        auto most = std::min(merge_bytes_max, options_.segment_bytes_max);
        for (const auto& [name, t] : state_.topics.all())
            most = std::min(most, static_cast<std::uint64_t>(t->config.segment_bytes));
        end = tail_.oldest(std::max(most, merge_bytes_min), batches);
    }
    if (batches.empty()) return false;
    std::uint64_t bytes = 0;
    for (const auto& b : batches) bytes += b.bytes.size() + 8;

    if (must_roll(bytes)) roll(bytes);
    try {
        all_.back()->append(batches, end);
    } catch (const segment_full&) {
        roll(bytes);  // it needed more than it had thought
        all_.back()->append(batches, end);
    }
    publish_segments();
    {
        std::vector<placed_batch> trimmed;
        const std::unique_lock    lock{publish_mutex_};
        trimmed = tail_.trim(end);
        batches.swap(trimmed);
    }
    unmerged_bytes_ -= bytes;
    ++counters_.merges;
    if (std::exchange(no_room_, false)) {
        say("there is room on the disk again");
        if (journal_) journal_->refuse_to_wait(false);
    }
    if (journal_) {
        journal_->release(end);
        journal_->prepare();
    }
    make_ready(0);
    return true;
}

void engine::merge()
{
    throw_if_shut();
    if (options_.read_only) return refresh();
    {
        const auto            until = end();
        const std::lock_guard step{merge_step_mutex_};
        throw_if_shut();
        while (segments().back().end < until && merge_some()) {}
    }
    flush_index();
}

void engine::roll_segment()
{
    throw_if_closed();
    merge();
    const std::lock_guard step{merge_step_mutex_};
    throw_if_shut();
    if (all_.back()->end() > all_.back()->first()) roll(0);
}

void engine::flush_index()
{
    const std::lock_guard step{index_step_mutex_};
    throw_if_shut();
    std::string snapshot;
    if (!in_memory_) {
        const std::shared_lock lock{publish_mutex_};
        snapshot = state_.encode(end());
    }
    index_->flush();
    if (!in_memory_) write_file_atomically(directory_ + "/index/folded.state", snapshot);
}

void engine::hurry_merger()
{
    {
        const std::lock_guard lock{threads_mutex_};
        merge_wanted_ = true;
    }
    merger_wakes_.notify_one();
}

void engine::run_merger()
{
    bool full    = false;  // said so already
    bool pause   = false;  // it failed: what is unmerged would wake it at once
    auto flushed = std::chrono::steady_clock::now();
    for (;;) {
        bool stop = false;
        {
            std::unique_lock lock{threads_mutex_};
            merger_wakes_.wait_for(lock, pause ? pause_interval : options_.merge_interval, [&] {
                return threads_stop_ ||
                       (!pause && (merge_wanted_ || unmerged_bytes_ >= options_.merge_bytes));
            });
            stop          = threads_stop_;
            merge_wanted_ = false;
        }
        pause = false;
        try {
            bool more = true;
            while (more && !failed_) {
                const std::lock_guard step{merge_step_mutex_};
                more = merge_some() && (stop || unmerged_bytes_ >= options_.merge_bytes);
            }
            // Positions, not entries: also what leaves no trace in the index must be behind its
            // checkpoint, or every opening reads it again.
            const auto waiting =
                static_cast<std::uint64_t>(index_->end() - index_->checkpoint());
            const auto clock   = std::chrono::steady_clock::now();
            if (!failed_ && waiting > 0 &&
                (stop || waiting >= options_.index_entries_in_memory ||
                 clock - flushed >= index_flush_interval)) {
                flush_index();
                flushed = clock;
                indexer_wakes_.notify_one();
            }
            full = false;
        } catch (const storage_error& e) {
            pause = true;
            if (e.code() == errc::disk_full) {
                if (!full) say_why("the merger waits for room on the disk: ", e);
                full = true;
                const std::lock_guard step{merge_step_mutex_};
                no_room_ = true;
                if (journal_) journal_->refuse_to_wait(true);
            } else {
                fail("", e.what());
                if (journal_) journal_->stop();
            }
        } catch (const std::exception& e) {
            pause = true;
            say_why("the merger tries again: ", e);
        }
        if (stop || failed_) return;
    }
}

void engine::run_indexer()
{
    for (;;) {
        {
            std::unique_lock lock{threads_mutex_};
            if (!threads_stop_) indexer_wakes_.wait(lock);
            if (threads_stop_) return;
        }
        try {
            while (!failed_ && index_->merge()) {}
        } catch (const std::exception& e) {
            // The runs stay as they were, and the next flush brings the next try.
            say_why("runs of the index could not be merged: ", e);
        }
    }
}

void engine::start_threads()
{
    merger_  = std::thread{[this] { run_merger(); }};
    indexer_ = std::thread{[this] { run_indexer(); }};
    if (options_.cleanup_interval > options_.cleanup_interval.zero())
        cleaner_ = std::thread{[this] { run_cleaner(); }};
}

void engine::stop_threads()
{
    {
        const std::lock_guard lock{threads_mutex_};
        threads_stop_ = true;
    }
    if (index_) index_->stop_merging();
    merger_wakes_.notify_all();
    indexer_wakes_.notify_all();
    cleaner_wakes_.notify_all();
    for (auto* t : {&cleaner_, &merger_, &indexer_, &refresher_})
        if (t->joinable()) t->join();
}

}  // namespace cairn::detail
