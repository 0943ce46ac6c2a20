// SPDX-License-Identifier: Apache-2.0
#include "store/lmdb_segment.hpp"

#include "file.hpp"

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <limits>
#include <utility>

namespace cairn::detail {

using lmdb::environment;
using lmdb::reading;
using lmdb::writing;

namespace {

constexpr bytes_view  state_key         = "state";
constexpr std::size_t run_bytes_max     = 64 * 1024 - 16;  // whole pages, with LMDB's page header
constexpr std::size_t block_entries_max = 3276;            // as many as fit in 16 pages
constexpr std::size_t slice_chunk_bytes = 256 * 1024 - 16;
constexpr auto        delta_max         = std::numeric_limits<std::uint32_t>::max();

/// Makes no string, since destructors call it. A path that is too long was never opened.
void remove_lock_file(const std::string& path) noexcept
{
    std::array<char, PATH_MAX> name;
    const auto                 n =
        std::snprintf(name.data(), name.size(), "%s%s", path.c_str(), lock_suffix.data());
    if (n > 0 && static_cast<std::size_t>(n) < name.size()) std::remove(name.data());
}

/// What an append of so many bytes may take of a segment with so many partitions, at the most: a
/// run is rounded up to pages and changes a leaf of the tree; batches have envelopes, which for
/// the smallest ones nearly double them; and there is what LMDB copies on write.
std::uint64_t room_for(std::uint64_t bytes, std::size_t partitions, std::uint64_t page)
{
    const auto runs =
        std::min<std::uint64_t>(partitions + 64, bytes / 64 + 1) + bytes / run_bytes_max;
    return bytes * 2 + runs * 2 * page + 512 * page;
}

/// Writes batches [from, from + count) of `order` as one run.
void write_run(writing& w, std::span<const placed_batch> batches,
               std::span<const std::uint64_t> order, std::size_t run_bytes,
               std::int64_t previous_offset, std::int64_t last, std::vector<block_entry>& entries)
{
    const auto& front = batches[order.front() & delta_max];
    const auto  uid   = front.partition_uid;
    auto        top   = numbers_of(front.bytes)->max_timestamp;
    char* const run   = w.reserve(batches_db, run_key(uid, front.base), run_bytes, MDB_NOOVERWRITE);
    char* const directory = run + run_header_bytes;
    char*       at        = directory + run_entry_bytes * order.size();
    for (std::size_t k = 0; k < order.size(); ++k) {
        const auto  i = order[k] & delta_max;
        const auto& b = batches[i];
        store_little<std::uint32_t>(directory + run_entry_bytes * k,
                                    static_cast<std::uint32_t>(b.base - front.base));
        store_little<std::uint32_t>(directory + run_entry_bytes * k + 4,
                                    static_cast<std::uint32_t>(at - run));
        std::memcpy(at + envelope_bytes, b.bytes.data(), b.bytes.size());
        write_envelope(
            at, uid,
            {b.position, previous_offset, i == 0 ? last : batches[i - 1].end_position().value});
        at += envelope_bytes + b.bytes.size();
        previous_offset = b.end_offset().value;
        top             = std::max(top, numbers_of(b.bytes)->max_timestamp);
        entries[i]      = {b.position, uid, front.base, static_cast<std::uint32_t>(k)};
    }
    store_little<std::uint32_t>(run + 4, static_cast<std::uint32_t>(order.size()));
    store_little<std::int64_t>(run + 8, top.value);
    store_little<std::uint32_t>(
        run, crc32c({run + 4, run_header_bytes + run_entry_bytes * order.size() - 4}, uid));
}

/// Writes all batches as runs, by partition; returns where each of them is. `before` and `last`
/// are the segment's slices and the end of its last batch.
std::vector<block_entry> write_runs(writing& w, std::span<const placed_batch> batches,
                                    const slices& before, std::int64_t last)
{
    // uid and place in `batches`: sorted by partition, and within it as they came.
    std::vector<std::uint64_t> order(batches.size());
    for (std::size_t i = 0; i < batches.size(); ++i)
        order[i] = (std::uint64_t{batches[i].partition_uid} << 32) | i;
    std::sort(order.begin(), order.end());

    std::vector<block_entry> entries(batches.size());
    std::int64_t             previous = -1;
    for (std::size_t i = 0; i < order.size();) {
        const auto uid = static_cast<std::uint32_t>(order[i] >> 32);
        if (i == 0 || order[i - 1] >> 32 != uid) {
            const auto* s = before.find(uid);
            previous      = s != nullptr ? s->end.value : -1;
        }
        const auto  base  = batches[order[i] & delta_max].base;
        std::size_t count = 0;
        std::size_t bytes = run_header_bytes;
        for (; i + count < order.size() && order[i + count] >> 32 == uid; ++count) {
            const auto& b    = batches[order[i + count] & delta_max];
            const auto  more = run_entry_bytes + envelope_bytes + b.bytes.size();
            if (count > 0 && (bytes + more > run_bytes_max || b.base - base > delta_max)) break;
            bytes += more;
        }
        write_run(w, batches, std::span{order}.subspan(i, count), bytes, previous, last, entries);
        i += count;
        previous = batches[order[i - 1] & delta_max].end_offset().value;
    }
    return entries;
}

void write_blocks(writing& w, std::span<const block_entry> entries)
{
    while (!entries.empty()) {
        const auto  first = entries.front().position;
        std::size_t count = 1;
        while (count < std::min(entries.size(), block_entries_max) &&
               entries[count].position - first <= delta_max)
            ++count;
        char* at = w.reserve(commits_db, block_key(first), block_entry_bytes * count, MDB_APPEND);
        for (const auto& e : entries.first(count)) {
            write_block_entry(at, first, e);
            at += block_entry_bytes;
        }
        entries = entries.subspan(count);
    }
}

void write_partitions(writing& w, const slices& before, std::span<const slices::entry> changed,
                      segment_state& state)
{
    for (const auto& [uid, s] : changed) {
        if (const auto* old = before.find(uid))
            state.partition_checks -= check_in(encode(uid, *old));
        else
            ++state.partitions;
        const auto record = encode(uid, s);
        state.partition_checks += check_in(record);
        w.put(partitions_db, number_key(uid), record);
    }
}

}  // namespace

// ---- Sealed segments that are open without need. ---------------------------------------------

void idle_list::used(const environment& e) noexcept
{
    e.last_used.store(clock_.fetch_add(1, std::memory_order_relaxed), std::memory_order_relaxed);
}

void idle_list::keep(std::shared_ptr<environment> e)
{
    std::shared_ptr<environment> dropped;  // closed outside the lock
    std::lock_guard              lock{mutex_};
    if (kept_.size() < kept_max) {
        kept_.push_back(std::move(e));
        return;
    }
    auto oldest = std::min_element(kept_.begin(), kept_.end(), [](auto& a, auto& b) {
        return a->last_used.load(std::memory_order_relaxed) <
               b->last_used.load(std::memory_order_relaxed);
    });
    dropped     = std::exchange(*oldest, std::move(e));
}

void idle_list::drop(const std::shared_ptr<environment>& e) noexcept
{
    std::lock_guard lock{mutex_};
    std::erase(kept_, e);  // whose caller holds it: nothing is closed here
}

// ---- Its own numbers. ------------------------------------------------------------------------

segment_contents load_contents(const reading& r)
{
    const auto& path = r.of().path();
    bytes_view  record;
    if (!r.get(meta_db, state_key, record)) throw_damaged(path, "its state is missing");
    if (format_of(record) > segment_state::format && check_in(record) == crc32c(record.substr(4)))
        throw storage_error{errc::newer_format, path + " was written by a newer version: use that"};
    const auto state = decode_state(record);
    if (!state) throw_damaged(path, "its state is damaged");

    segment_contents c{*state, {}};
    std::uint64_t    checks = 0;
    bytes_view       key, value;
    for (bool more = r.move(partitions_db, MDB_FIRST, key, value); more;
         more      = r.move(partitions_db, MDB_NEXT, key, value)) {
        if (key.size() != 4) throw_damaged(path, "its list of partitions is damaged");
        const auto uid = load_big<std::uint32_t>(key.data());
        const auto s   = decode_partition(uid, value);
        if (!s) throw_damaged(path, uid, nowhere, "the partition's record is damaged");
        checks += check_in(value);
        c.partitions.push_back({uid, *s});
    }
    if (checks != state->partition_checks || c.partitions.size() != state->partitions)
        throw_damaged(path, "its list of partitions is damaged");
    return c;
}

lmdb_segment::lmdb_segment(std::string path, std::shared_ptr<idle_list> idle, segment_contents c,
                           const lmdb::file_facts& facts, std::shared_ptr<environment> e, role r)
    : path_{std::move(path)},
      idle_{std::move(idle)},
      id_{facts.device, facts.inode},
      role_{r},
      file_bytes_{facts.file_bytes},
      modified_{facts.modified},
      held_{std::move(e)},
      state_{c.state},
      partitions_{std::move(c.partitions)}
{
}

lmdb_segment::~lmdb_segment()
{
    if (is_published()) return;
    held_.reset();
    std::remove(path_.c_str());
    remove_lock_file(path_);
}

position lmdb_segment::first() const
{
    std::lock_guard lock{mutex_};
    return position{std::max<std::int64_t>(state_.first, 0)};
}

position lmdb_segment::end() const
{
    refresh();
    std::lock_guard lock{mutex_};
    return position{state_.end};
}

bool lmdb_segment::sealed() const
{
    refresh();
    std::lock_guard lock{mutex_};
    return state_.sealed;
}

std::uint64_t lmdb_segment::bytes() const
{
    std::lock_guard lock{open_mutex_};
    return held_ != nullptr && !pinned_ ? held_->pages() * held_->page_bytes() : file_bytes_;
}

segment_summary lmdb_segment::summary() const
{
    refresh();
    std::lock_guard lock{mutex_};
    return {partitions_.begin(), partitions_.end()};
}

std::optional<partition_slice> lmdb_segment::slice_of(std::uint32_t uid) const
{
    refresh();
    std::lock_guard lock{mutex_};
    const auto*     s = partitions_.find(uid);
    return s != nullptr ? std::optional{*s} : std::nullopt;
}

position lmdb_segment::last() const
{
    refresh();
    std::lock_guard lock{mutex_};
    return position{state_.last};
}

void lmdb_segment::refresh() const
{
    if (role_ != role::follows) return;
    std::shared_ptr<environment> e;
    {
        std::lock_guard lock{open_mutex_};
        e = held_;
    }
    if (e == nullptr) return;  // it has been sealed
    const reading r{*e};
    {
        std::lock_guard lock{mutex_};
        if (r.number() <= loaded_number_) return;
    }
    auto c = load_contents(r);
    if (c.state.sealed) let_go();
    std::lock_guard lock{mutex_};
    if (r.number() <= loaded_number_) return;
    loaded_number_ = r.number();
    state_         = c.state;
    partitions_    = std::move(c.partitions);
}

// ---- The environment. ------------------------------------------------------------------------

std::shared_ptr<environment> lmdb_segment::acquire() const
{
    std::shared_ptr<environment> e;
    {
        std::lock_guard lock{open_mutex_};
        // LMDB refuses reads too where a flush has failed. But then nobody writes any more, and
        // what was acknowledged can be read without it knowing.
        if (held_ != nullptr && !held_->has_failed()) return held_;
        if ((e = opened_.lock()) == nullptr) {
            if (!file_exists(path_))
                throw segment_gone{path_ +
                                   " was removed by the process that writes the log: "
                                   "look again at what there is"};
            if (!is_as_it_was(lmdb::examine(path_)))
                throw segment_gone{path_ +
                                   " was rewritten by the process that writes the log: "
                                   "look again at what there is"};
            e = environment::open({.path      = path_,
                                   .how       = environment::mode::never_changes,
                                   .databases = database_names});
            idle_->used(*e);
            idle_->keep(e);
            opened_ = e;
            return e;
        }
    }
    idle_->used(*e);
    return e;
}

// Who writes knows what it did to the file; who follows has to look.
bool lmdb_segment::is_as_it_was(const lmdb::file_facts& facts) const noexcept
{
    return lmdb::inode_id{facts.device, facts.inode} == id_ &&
           (role_ != role::follows || facts.modified == modified_);
}

bool lmdb_segment::is(const std::string& path, const lmdb::file_facts& facts) const
{
    std::lock_guard lock{open_mutex_};
    if (path != path_) return false;
    if (held_ != nullptr)  // it is written to, and only grows
        return lmdb::inode_id{facts.device, facts.inode} == id_ && facts.file_bytes >= file_bytes_;
    return is_as_it_was(facts);
}

void lmdb_segment::pin() noexcept
{
    try {
        auto            e = acquire();
        std::lock_guard lock{open_mutex_};
        if (held_ != nullptr) return;
        idle_->drop(e);  // or its space would stay in use after everybody has forgotten it
        held_   = std::move(e);
        pinned_ = true;
    } catch (const std::exception&) {
        // It cannot be read; then it cannot be read after it is unlinked either.
    }
}

// Nobody writes to it any more: from now on it is opened when it is needed, without locks, and
// with a map no larger than the file.
void lmdb_segment::let_go() const noexcept
{
    std::lock_guard lock{open_mutex_};
    if (held_ == nullptr) return;
    file_bytes_ = held_->pages() * held_->page_bytes();
    try {
        modified_ = lmdb::examine(path_).modified;
    } catch (const std::exception&) {
        modified_ = 0;  // it is gone already, and reading it will say so
    }
    held_.reset();
}

// ---- Writing. --------------------------------------------------------------------------------

void lmdb_segment::must_be_writable() const
{
    if (state_.sealed)
        throw error{errc::invalid_argument, path_ + " is sealed: append to a new segment"};
    if (role_ == role::follows || held_ == nullptr)
        throw error{errc::read_only, path_ + " was opened read-only"};
}

void lmdb_segment::append(std::span<const placed_batch> batches, position end)
{
    must_be_writable();

    auto next = state_;
    if (next.first < 0) next.first = batches.empty() ? end.value : batches.front().position.value;
    const position from    = state_.first < 0 ? position{0} : position{state_.end};
    const auto     changed = check_and_extend(partitions_, batches, from, end);
    const bool     grows   = std::any_of(changed.begin(), changed.end(), [&](const auto& c) {
        return partitions_.find(c.first) == nullptr;
    });
    slices         grown   = grows ? partitions_.with(changed) : slices{};

    std::uint64_t bytes = 0;
    for (const auto& b : batches) bytes += b.bytes.size();
    held_->make_room(
        room_for(bytes, std::max(partitions_.size(), changed.size()), held_->page_bytes()));

    next.end = end.value;
    next.batches += batches.size();
    if (!batches.empty()) next.last = batches.back().end_position().value;
    try {
        writing w{*held_};
        write_blocks(w, write_runs(w, batches, partitions_, state_.last));
        write_partitions(w, partitions_, changed, next);
        w.put(meta_db, state_key, encode(next));
        w.commit();
    } catch (const lmdb::map_full& full) {
        throw segment_full{full.what()};
    }

    {
        std::lock_guard lock{mutex_};  // from here on nothing throws
        state_ = next;
        if (grows)
            std::swap(partitions_, grown);
        else
            partitions_.update(changed);
    }
    // Readers of other processes that died without a word would keep pages from being used again.
    if (++appends_ % 256 == 0) held_->forget_dead_readers();
}

bool lmdb_segment::has_room(std::uint64_t bytes) const
{
    std::shared_ptr<environment> e;
    {
        std::lock_guard lock{open_mutex_};
        e = held_;
    }
    if (e == nullptr || !e->writes()) return false;
    const auto      page = e->page_bytes();
    std::lock_guard lock{mutex_};
    return e->pages() * page + room_for(bytes, partitions_.size(), page) <= e->map_bytes();
}

void lmdb_segment::write_state(const segment_state& s)
{
    held_->make_room(64 * held_->page_bytes());
    // LMDB has two meta pages and believes the newer. Of a sealed segment both tell the same, so
    // that damage to one of them cannot bring back an older state.
    for (int i = 0; i < (s.sealed ? 2 : 1); ++i) {
        writing w{*held_};
        w.put(meta_db, state_key, encode(s));
        w.commit();
    }
    std::lock_guard lock{mutex_};
    state_ = s;
}

void lmdb_segment::seal()
{
    if (state_.sealed) return;
    must_be_writable();
    auto s   = state_;
    s.sealed = true;
    write_state(s);
    held_->give_back_room();
    if (!is_published()) return;
    let_go();
    remove_lock_file(path_);
}

void lmdb_segment::publish(const std::string& path, position first)
{
    if (state_.first != first.value) {
        auto s = state_;
        if (s.last >= 0 && s.first < first.value)
            throw error{errc::invalid_argument, path_ + " cannot begin at position " +
                                                    std::to_string(first.value) +
                                                    ": it has batches before that"};
        s.first = first.value;
        s.end   = std::max(s.end, first.value);
        write_state(s);
    }
    auto to = path;  // after the renaming nothing may be in want of memory
    held_->sync();
    held_->rename(path);
    path_ = std::move(to);
    role_ = role::writes;
    sync_directory(parent_directory(path));
    if (!state_.sealed) return;
    let_go();
    remove_lock_file(path_);
}

// ---- The slice of the index. -----------------------------------------------------------------

bool lmdb_segment::has_index_slice() const
{
    refresh();
    std::lock_guard lock{mutex_};
    return state_.slice_bytes > 0;
}

std::string lmdb_segment::index_slice() const
{
    refresh();
    segment_state s;
    {
        std::lock_guard lock{mutex_};
        s = state_;
    }
    std::string run;
    if (s.slice_bytes == 0) return run;
    const auto    e = acquire();
    const reading r{*e};
    bytes_view    key, value;
    for (bool more = r.move(slice_db, MDB_FIRST, key, value); more;
         more      = r.move(slice_db, MDB_NEXT, key, value)) {
        if (run.size() + value.size() > s.slice_bytes) break;
        run.append(value);
    }
    if (run.size() != s.slice_bytes || crc32c(run) != s.slice_check)
        throw_damaged(path_, "its part of the index is damaged");
    return run;
}

void lmdb_segment::set_index_slice(bytes_view run)
{
    must_be_writable();
    auto s        = state_;
    s.slice_bytes = run.size();
    s.slice_check = crc32c(run);
    held_->make_room(room_for(run.size(), 0, held_->page_bytes()));
    try {
        writing w{*held_};
        for (std::uint32_t n = 0; w.remove(slice_db, number_key(n)); ++n) {
        }
        for (std::uint32_t n = 0; n * slice_chunk_bytes < run.size(); ++n)
            w.put(slice_db, number_key(n), run.substr(n * slice_chunk_bytes, slice_chunk_bytes));
        w.put(meta_db, state_key, encode(s));
        w.commit();
    } catch (const lmdb::map_full& full) {
        throw segment_full{full.what()};
    }
    std::lock_guard lock{mutex_};
    state_ = s;
}

}  // namespace cairn::detail
