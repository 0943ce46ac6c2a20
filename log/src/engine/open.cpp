// SPDX-License-Identifier: Apache-2.0
//
// Opening: lock, segments, index, then the fold goes on from where its snapshot and the index's
// runs end, first over the segments, then over the journal.
//
//     segments  0 ───────────────────────────────── merged
//     runs      0 ─────────────── checkpoint             │
//     snapshot            state_at │                     │
//                           └──────┴── catch_up() ───────┤
//     journal                                  released ─┴── recover_journal() ── end
#include "directory.hpp"
#include "engine.hpp"
#include "group_writer.hpp"

#include "../file.hpp"

#include <cairn/log/crc32c.hpp>

#include <algorithm>
#include <cstring>

#include "commit.hpp"

namespace cairn::detail {

namespace {

timestamp system_now()
{
    return timestamp{std::chrono::duration_cast<std::chrono::milliseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count()};
}

}  // namespace

void fold_into_index(class index& into, const placed_batch& placed, position from, bool shown)
{
    if (placed.partition_uid < first_free_uid) return;
    const auto batch = batch_view::parse(placed.bytes, nullptr, false);
    if (!batch || batch->is_control()) return;
    std::string scratch;
    batch_fault why;
    const auto  payload = batch->unpack(scratch, unpack_bytes_max, &why);
    if (!payload)
        throw storage_error{why.code, "at position " + std::to_string(placed.position.value) +
                                          ": " + why.what + "; run `cairn verify`"};
    record_cursor            records{*batch, *payload, placed.position};
    std::vector<index_entry> entries;
    std::vector<term>        terms;       // of all of them
    std::vector<std::size_t> terms_ends;  // by entry
    const auto               newest = placed.end_position() - 1;
    while (records.next()) {
        const auto& r = records.current();
        if (r.position < from) continue;
        const auto  first_term = terms.size();
        index_entry e;
        if (shown && r.position == newest) terms.push_back(into.hasher().any_record());
        collect_terms(into.hasher(), r.headers, shown, terms, e.command);
        if (r.key) e.stream = into.hasher().stream(placed.partition_uid, *r.key);
        if (!e.stream && !e.command && terms.size() == first_term) continue;
        e.position      = r.position;
        e.partition_uid = placed.partition_uid;
        e.offset        = r.offset;
        e.at            = static_cast<std::uint32_t>(records.current_at());
        e.check         = crc32c(records.current_bytes());
        entries.push_back(e);
        terms_ends.push_back(terms.size());
    }
    for (std::size_t i = 0, first = 0; i < entries.size(); first = terms_ends[i++])
        entries[i].terms = std::span{terms}.subspan(first, terms_ends[i] - first);
    std::vector<version> versions(entries.size());
    into.add(entries, versions);
}

engine::engine(std::string directory, log_options options)
    : directory_{std::move(directory)}, options_{std::move(options)},
      in_memory_{directory_.empty()}
{
    if (!options_.clock) options_.clock = system_now;
    if (!options_.partitioner) options_.partitioner = sticky_partitioner();
    try {
        open();
    } catch (...) {
        closed_ = true;
        stop_threads();
        throw;
    }
}

engine::~engine()
{
    try {
        close();
    } catch (const std::exception& e) {
        say_why("closing: ", e);
    }
}

void engine::say_why(const char* doing, const std::exception& e) const noexcept
{
    try {
        say(doing + std::string{e.what()});
    } catch (...) {
        // What failed is tried again, or is told by what it made fail.
    }
}

void engine::say(const std::string& what) const
{
    if (options_.on_event) options_.on_event(what);
}

void engine::open()
{
    if (in_memory_) {
        hash_key_ = random_format().secret;
        store_    = make_memory_store();
    } else {
        const bool create = options_.create && !options_.read_only;
        check_directory(directory_, create);
        if (!options_.read_only) lock_ = std::make_unique<directory_lock>(directory_);
        hash_key_ = detail::open_directory(directory_, create).secret;
        store_ = make_lmdb_store({directory_ + "/log", options_.read_only});
    }
    for (int attempt = 0;; ++attempt) {
        try {
            open_segments();
            open_index();
            break;
        } catch (const segment_gone&) {
            // The process that writes has rewritten one meanwhile: look at what there is now.
            if (!options_.read_only || attempt == 3) throw;
        }
    }
    if (!in_memory_ && !options_.read_only) {
        recover_journal();
    } else if (const auto alone = in_memory_
                                      ? nullptr
                                      : directory_lock::try_keep_writers_out(directory_)) {
        // Nobody writes: what is acknowledged and not merged is ours to read.
        reload_segments();
        for (const auto& s : segments())
            for (const auto& [uid, slice] : *s.summary)
                ends_[uid] = std::max(ends_[uid], slice.end);
        if (!all_.empty()) catch_up(all_.back()->end());
        recover_journal();
    }
    if (!options_.read_only && index_->checkpoint() > end()) {
        // A restored or swapped log under a newer index: the log is what is true.
        say("the index is ahead of the log; it is rebuilt");
        index_.reset();
        for (const auto& name : list_directory(directory_ + "/index"))
            remove_file(directory_ + "/index/" + name);
        tail_ = {};
        journal_.reset();
        unmerged_bytes_ = 0;
        open_index();
        recover_journal();
    }
    topics_epoch_.store(state_.topics.epoch());
    if (options_.read_only)
        refresher_ = std::thread{[this] { run_refresher(); }};
    else
        start_threads();
}

void engine::open_segments()
{
    all_ = store_->open_all();
    if (!options_.read_only && (all_.empty() || all_.back()->sealed())) roll(0);
    active_since_ = now();
    publish_segments();
    ends_.clear();
    for (const auto& s : segments())
        for (const auto& [uid, slice] : *s.summary)
            ends_[uid] = std::max(ends_[uid], slice.end);
}

void engine::open_index()
{
    index::options o;
    o.directory = in_memory_ ? std::string{} : directory_ + "/index";
    o.key       = hash_key_;
    o.read_only = options_.read_only;
    if (!in_memory_ && !options_.read_only) make_directory(o.directory);
    index_ = std::make_unique<class index>(
        std::move(o), [this](const std::string& what) { say("the index: " + what); });

    const position merged = all_.empty() ? position{0} : all_.back()->end();
    state_         = {};
    state_at_      = position{0};
    if (!in_memory_) {
        if (const auto bytes = try_read_file(directory_ + "/index/folded.state")) {
            auto snapshot = folded_state::decode(*bytes);
            if (!snapshot)
                say("the snapshot index/folded.state does not check; it is folded anew");
            else
                std::tie(state_at_, state_) = std::move(*snapshot);
        }
    }
    catch_up(merged);
}

void engine::take_in(const placed_batch& placed)
{
    if (placed.position >= state_at_) state_.apply(placed, now());
    if (placed.end_position() <= index_->end()) return;
    const auto* p = state_.topics.find(placed.partition_uid);
    fold_into_index(*index_, placed, index_->end(), !p || p->shown());
}

void engine::catch_up(position to)
{
    constexpr std::uint64_t rebuild_flush = 1u << 20;

    const auto from = std::min(state_at_, index_->end());
    progress   p{"rebuilding the index", 0, static_cast<std::uint64_t>(std::max<std::int64_t>(
                                                0, to - from))};
    const bool long_work = p.total > options_.index_entries_in_memory * 4;

    for (const auto& s : segments()) {
        if (s.end <= from) continue;
        // What a rewrite took out of the segment, its slice of the index still knows; also where
        // the index ends amid it, because a run of it was damaged.
        if (index_->end() < s.end)
            if (const auto slice = s.body->index_slice(); !slice.empty()) {
                if (index_->end() < s.first) index_->set_end(s.first);
                index_->add_slice(slice);
            }
        auto                      next = std::max(from, s.first);
        std::vector<placed_batch> batches;
        while (next < std::min(s.end, to)) {
            batches.clear();
            if (s.body->read_all(next, {1 << 20, 4096}, batches) == 0) break;
            for (const auto& placed : batches) {
                next = placed.end_position();
                take_in(placed);
            }
            if (!options_.read_only &&
                index_->statistics().entries_in_memory >= rebuild_flush) {
                index_->set_end(std::max(index_->end(), next));
                index_->flush();
                index_->merge();
            }
            p.done = static_cast<std::uint64_t>(next - from);
            if (long_work && options_.on_progress) options_.on_progress(p);
        }
        index_->set_end(std::max(index_->end(), std::min(s.end, to)));
    }
    if (index_->end() < to) index_->set_end(to);
    end_.store(std::max(end_.load(), to.value));
}

void engine::recover_journal()
{
    // The snapshot may be newer than what is merged.
    const auto            merged = all_.empty() ? position{0} : all_.back()->end();
    constexpr std::size_t files  = 4;
    constexpr auto        sector = std::uint64_t{512};
    journal_options       o;
    o.directory  = directory_ + "/journal";
    o.file_bytes = std::max(2 * sector, options_.journal_bytes / files / sector * sector);
    o.files      = files;
    o.read_only  = options_.read_only;
    o.on_wait    = [this] { hurry_merger(); };
    if (options_.read_only) {
        if (!file_exists(o.directory)) return;
    } else {
        make_directory(o.directory);
    }
    journal_ = std::make_shared<journal>(o);

    position end = merged;
    journal_->recover(merged, [&](position first, bytes_view payload) -> std::int64_t {
        auto                      buffer = std::make_shared<std::string>(payload);
        std::vector<placed_batch> group;
        position                  next = first;
        for (bytes_view rest{*buffer}; !rest.empty();) {
            placed_batch  placed;
            std::uint32_t length = 0;
            if (rest.size() >= 8) {
                std::memcpy(&placed.partition_uid, rest.data(), 4);
                std::memcpy(&length, rest.data() + 4, 4);
                rest.remove_prefix(8);
            }
            batch_fault why{errc::damaged_journal, "it ends early"};
            const auto  batch = length <= rest.size() && length > 0
                                    ? batch_view::parse(rest.substr(0, length), &why)
                                    : std::nullopt;
            if (!batch)
                throw storage_error{errc::damaged_journal,
                                    "the journal's group at position " +
                                        std::to_string(first.value) + " checks, but a batch in it "
                                        "does not (" + why.what + "): this is a bug, keep the "
                                        "directory"};
            placed.position      = next;
            placed.base          = batch->base_offset();
            placed.offsets       = static_cast<std::uint32_t>(batch->last_offset_delta() + 1);
            placed.bytes         = batch->bytes();
            placed.owner         = buffer;
            placed.max_timestamp = batch->max_timestamp();
            next += placed.offsets;
            rest.remove_prefix(length);
            take_in(placed);
            ends_[placed.partition_uid] = placed.end_offset();
            if (placed.position >= merged) {
                unmerged_bytes_ += placed.bytes.size() + 8;
                group.push_back(std::move(placed));
            }
        }
        tail_.push(group);
        end = next;
        return next - first;
    });
    if (index_->end() < end) index_->set_end(end);
    end_.store(end.value);
    if (options_.read_only) journal_.reset();
}

void engine::close()
{
    {
        const std::lock_guard turn{commit_mutex_};
        if (closing_.exchange(true)) return;
    }
    // Appends are refused from here on; what is acknowledged is merged by the threads' last turn.
    stop_threads();
    closed_ = true;
    wake_waiters();
    if (journal_) journal_->stop();

    // Whatever readers hold they keep; all else is given back, the lock last, so that the
    // directory can be opened again.
    const std::scoped_lock all{clean_mutex_, index_step_mutex_, merge_step_mutex_};
    {
        const std::lock_guard lock{handles_mutex_};
        journal_ = nullptr;
    }
    {
        const std::lock_guard lock{segments_mutex_};
        segments_ = {};
    }
    prepared_ = nullptr;
    all_.clear();
    if (!in_memory_) store_ = nullptr;
    lock_ = nullptr;
}

void engine::run_refresher()
{
    // Another process cannot wake us: LMDB has no such means, and a data directory may lie where
    // inotify does not work. So this is the one place that looks from time to time.
    constexpr auto interval = std::chrono::milliseconds{50};
    for (;;) {
        {
            std::unique_lock lock{threads_mutex_};
            merger_wakes_.wait_for(lock, interval, [&] { return threads_stop_; });
            if (threads_stop_) return;
        }
        try {
            refresh();
        } catch (const std::exception& e) {
            say_why("refreshing: ", e);
        }
    }
}

void engine::refresh()
{
    const std::lock_guard one_at_a_time{refresh_mutex_};
    reload_segments();
    const auto list   = segments();
    const auto merged = list.empty() ? position{0} : list.back().end;
    if (merged <= end()) return;
    std::vector<placed_batch> trimmed;  // what was read from the journal once
    {
        const std::unique_lock lock{publish_mutex_};
        trimmed = tail_.trim(merged);
    }

    std::vector<placed_batch> batches;
    for (auto next = end(); next < merged;) {
        batches.clear();
        if (read_all(next, {1 << 20, 4096}, batches) == 0) break;
        const std::unique_lock lock{publish_mutex_};
        for (const auto& placed : batches) {
            next = placed.end_position();
            take_in(placed);
            ends_[placed.partition_uid] = std::max(ends_[placed.partition_uid],
                                                   placed.end_offset());
        }
        topics_epoch_.store(state_.topics.epoch());
    }
    {
        const std::unique_lock lock{publish_mutex_};
        if (index_->end() < merged) index_->set_end(merged);
    }
    end_.store(merged.value, std::memory_order_release);
    wake_waiters();
}

}  // namespace cairn::detail
