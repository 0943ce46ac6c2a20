// SPDX-License-Identifier: Apache-2.0
//
// Segments in files, one LMDB environment each. The files of a directory:
//
//     00000000000000731642.seg        a segment; its first position, 20 digits
//     00000000000000731642.seg-lock   LMDB's lock file, while it may still be written
//     prepared-7.tmp, …-lock          not published yet; removed when the store is opened
//
// A published name never shows half a segment: the file is whole and synced before it is renamed.
#include "store/segment.hpp"

#include "file.hpp"
#include "store/lmdb.hpp"
#include "store/segment_format.hpp"
#include "store/slices.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <mutex>
#include <utility>

namespace cairn::detail {
namespace {

using lmdb::environment;
using lmdb::reading;
using lmdb::writing;

enum database : std::size_t
{
    batches_db,
    commits_db,
    partitions_db,
    meta_db,
    slice_db,
};

const std::vector<const char*> database_names{"batches", "commits", "partitions", "meta",
                                              "slice"};

constexpr bytes_view  state_key         = "state";
constexpr std::size_t run_bytes_max     = 64 * 1024 - 16;  // whole pages, with LMDB's page header
constexpr std::size_t block_entries_max = 3276;            // as many as fit in 16 pages
constexpr std::size_t slice_chunk_bytes = 256 * 1024 - 16;
constexpr std::size_t map_bytes_min     = 4u << 20;
constexpr std::size_t idle_sealed_max   = 64;
constexpr std::size_t runs_kept         = 1024;
constexpr offset      nowhere{-1};

constexpr std::string_view suffix      = ".seg";
constexpr std::string_view lock_suffix = "-lock";

std::string name_of(position first)
{
    char name[32];
    std::snprintf(name, sizeof name, "%020lld.seg", static_cast<long long>(first.value));
    return name;
}

std::optional<position> position_in(std::string_view name)
{
    if (name.size() != 20 + suffix.size() || !name.ends_with(suffix)) return std::nullopt;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + 20, value);
    if (error != std::errc{} || end != name.data() + 20 || value < 0) return std::nullopt;
    return position{value};
}

[[noreturn]] void throw_damaged(const std::string& path, std::uint32_t uid, offset at,
                                const std::string& what)
{
    throw damaged_batch{path + ": partition uid " + std::to_string(uid) + ", offset " +
                            std::to_string(at.value) + ": " + what +
                            "; run `cairn verify`, then restore the file from a backup",
                        uid, at};
}

[[noreturn]] void throw_damaged(const std::string& path, position at, const std::string& what)
{
    throw storage_error{errc::damaged_segment,
                        path + ": position " + std::to_string(at.value) + ": " + what +
                            "; run `cairn verify`, then restore the file from a backup"};
}

[[noreturn]] void throw_damaged(const std::string& path, const std::string& what)
{
    throw storage_error{errc::damaged_segment,
                        path + ": " + what +
                            "; run `cairn verify`, then restore the file from a backup"};
}

// ---- Environments that are open without need. ----------------------------------------------

// Keeps the sealed segments that were used last open, so that reading does not open a file each
// time, and file descriptors stay few. Threads: any.
class idle_list
{
public:
    void used(const environment& e) noexcept
    {
        e.last_used.store(clock_.fetch_add(1, std::memory_order_relaxed),
                          std::memory_order_relaxed);
    }

    void keep(std::shared_ptr<environment> e)
    {
        std::shared_ptr<environment> dropped;  // closed outside the lock
        std::lock_guard              lock{mutex_};
        if (kept_.size() < idle_sealed_max) {
            kept_.push_back(std::move(e));
            return;
        }
        auto oldest = std::min_element(kept_.begin(), kept_.end(), [](auto& a, auto& b) {
            return a->last_used.load(std::memory_order_relaxed) <
                   b->last_used.load(std::memory_order_relaxed);
        });
        dropped     = std::exchange(*oldest, std::move(e));
    }

    void drop(const std::shared_ptr<environment>& e)
    {
        std::lock_guard lock{mutex_};
        std::erase(kept_, e);
    }

private:
    std::atomic<std::uint64_t>                clock_{1};
    std::mutex                                mutex_;
    std::vector<std::shared_ptr<environment>> kept_;  // guarded by mutex_
};

/// What an append of so many bytes may take of a segment with so many partitions, at the most: a
/// run is rounded up to pages and changes a leaf of the tree; batches have envelopes, which for
/// the smallest ones nearly double them; and there is what LMDB copies on write.
std::uint64_t room_for(std::uint64_t bytes, std::size_t partitions, std::uint64_t page)
{
    const auto runs =
        std::min<std::uint64_t>(partitions + 64, bytes / 64 + 1) + bytes / run_bytes_max;
    return bytes * 2 + runs * 2 * page + 512 * page;
}

// ---- Copies. -------------------------------------------------------------------------------

// Gives small batches, which move when LMDB writes, a place of their own: many in one buffer.
class copies
{
public:
    explicit copies(std::size_t chunk_bytes) : chunk_bytes_{chunk_bytes} {}

    bytes_view copy(bytes_view b, std::shared_ptr<const void>& owner)
    {
        if (b.size() > left_) {
            left_  = std::max(b.size(), chunk_bytes_);
            chunk_ = std::make_shared_for_overwrite<char[]>(left_);
            at_    = chunk_.get();
            chunk_bytes_ = std::min<std::size_t>(chunk_bytes_ * 4, 64 * 1024);
        }
        std::memcpy(at_, b.data(), b.size());
        owner = chunk_;
        const bytes_view copied{at_, b.size()};
        at_ += b.size();
        left_ -= b.size();
        return copied;
    }

private:
    std::shared_ptr<char[]> chunk_;
    char*                   at_   = nullptr;
    std::size_t             left_ = 0;
    std::size_t             chunk_bytes_;
};

// ---- Walking. ------------------------------------------------------------------------------

// A place among the batches of one partition.
class partition_walk
{
public:
    partition_walk(const reading& r, std::uint32_t uid) : reading_{r}, uid_{uid} {}

    /// To the batch with the last base offset <= at; false where there is none.
    bool floor(offset at)
    {
        const auto wanted = run_key(uid_, at);
        bytes_view key    = wanted;
        bytes_view value;
        if (!reading_.move(batches_db, MDB_SET_RANGE, key, value)) {
            key = {};
            if (!reading_.move(batches_db, MDB_LAST, key, value)) return false;
        } else if (key != bytes_view{wanted} &&
                   !reading_.move(batches_db, MDB_PREV, key, value)) {
            return false;
        }
        if (!here(key, value) || run_.base() > at) return false;
        index_ = run_.floor(at);
        return true;
    }

    bool first()
    {
        const auto wanted = run_key(uid_, offset{0});
        bytes_view key    = wanted;
        bytes_view value;
        if (!reading_.move(batches_db, MDB_SET_RANGE, key, value) || !here(key, value))
            return false;
        index_ = 0;
        return true;
    }

    bool next()
    {
        if (index_ + 1 < run_.count()) {
            ++index_;
            return true;
        }
        return next_run();
    }

    bool next_run()
    {
        bytes_view key, value;
        if (!reading_.move(batches_db, MDB_NEXT, key, value) || !here(key, value)) return false;
        index_ = 0;
        return true;
    }

    bool previous()
    {
        if (index_ > 0) {
            --index_;
            return true;
        }
        bytes_view key, value;
        if (!reading_.move(batches_db, MDB_PREV, key, value) || !here(key, value)) return false;
        index_ = run_.count() - 1;
        return true;
    }

    const run_view& run() const noexcept { return run_; }
    std::uint32_t   index() const noexcept { return index_; }

    stored_batch batch() const { return batch(index_); }
    stored_batch batch(std::uint32_t i) const
    {
        const auto b = run_.batch(i);
        if (!b) [[unlikely]]
            throw_damaged(reading_.of().path(), uid_, run_.about(i),
                          "a batch is not the one that was written here");
        return *b;
    }

private:
    bool here(bytes_view key, bytes_view value)
    {
        if (key.size() == 12 && load_big<std::uint32_t>(key.data()) != uid_) return false;
        const auto r = run_view::parse(key, value);
        if (!r) [[unlikely]]
            throw_damaged(reading_.of().path(), uid_,
                          key.size() == 12 ? offset{load_big<std::int64_t>(key.data() + 4)}
                                           : nowhere,
                          "what is stored is not a run of batches");
        run_ = *r;
        return true;
    }

    const reading& reading_;
    std::uint32_t  uid_;
    run_view       run_;
    std::uint32_t  index_ = 0;
};

// A place among all batches, by position.
class position_walk
{
public:
    /// `runs_kept`: how many runs are remembered, a power of two.
    explicit position_walk(const reading& r, std::size_t runs_kept = 1)
        : reading_{r}, known_(runs_kept)
    {
    }

    /// To the batch with the last position <= at; false where there is none.
    bool floor(position at)
    {
        const auto wanted = block_key(at);
        bytes_view key    = wanted;
        bytes_view value;
        if (!reading_.move(commits_db, MDB_SET_RANGE, key, value)) {
            key = {};
            if (!reading_.move(commits_db, MDB_LAST, key, value)) return false;
        } else if (key != bytes_view{wanted} &&
                   !reading_.move(commits_db, MDB_PREV, key, value)) {
            return false;
        }
        here(key, value);
        if (block_.first() > at) return false;
        index_ = block_.floor(at);
        return true;
    }

    bool first()
    {
        bytes_view key, value;
        if (!reading_.move(commits_db, MDB_FIRST, key, value)) return false;
        here(key, value);
        index_ = 0;
        return true;
    }

    bool next()
    {
        if (index_ + 1 < block_.count()) {
            ++index_;
            return true;
        }
        bytes_view key, value;
        if (!reading_.move(commits_db, MDB_NEXT, key, value)) return false;
        here(key, value);
        index_ = 0;
        return true;
    }

    bool previous()
    {
        if (index_ > 0) {
            --index_;
            return true;
        }
        bytes_view key, value;
        if (!reading_.move(commits_db, MDB_PREV, key, value)) return false;
        here(key, value);
        index_ = block_.count() - 1;
        return true;
    }

    block_entry entry() const noexcept { return block_[index_]; }

    /// The run that an entry names. Neighbours often lie in the same few runs.
    const run_view& run(const block_entry& e)
    {
        auto& known = known_[e.uid & (known_.size() - 1)];
        if (known.count() != 0 && known.uid() == e.uid && known.base() == e.run) return known;
        const auto key = run_key(e.uid, e.run);
        bytes_view value;
        if (!reading_.get(batches_db, key, value))
            throw_damaged(reading_.of().path(), e.uid, e.run, "a batch is missing");
        const auto r = run_view::parse(key, value);
        if (!r)
            throw_damaged(reading_.of().path(), e.uid, e.run,
                          "what is stored is not a run of batches");
        return known = *r;
    }

    stored_batch batch(const run_view& run, const block_entry& e) const
    {
        const auto b = run.batch(e.index);
        if (!b || b->position != e.position) [[unlikely]]
            throw_damaged(reading_.of().path(), e.uid, run.about(e.index),
                          "a batch is not the one that was written here");
        return *b;
    }

private:
    void here(bytes_view key, bytes_view value)
    {
        const auto b = block_view::parse(key, value);
        if (!b) [[unlikely]]
            throw_damaged(reading_.of().path(), "what is stored is not a block of commits");
        block_ = *b;
    }

    const reading&        reading_;
    block_view            block_;
    std::size_t           index_ = 0;
    std::vector<run_view> known_;  // by uid: neighbours in position are spread over partitions
};

// ---- One segment. --------------------------------------------------------------------------

struct loaded
{
    segment_state state;
    slices        partitions;
};

loaded load(const reading& r)
{
    const auto& path = r.of().path();
    bytes_view  record;
    if (!r.get(meta_db, state_key, record)) throw_damaged(path, "its state is missing");
    if (format_of(record) > segment_state::format && check_in(record) == crc32c(record.substr(4)))
        throw storage_error{errc::newer_format, path + " was written by a newer version: use that"};
    const auto state = decode_state(record);
    if (!state) throw_damaged(path, "its state is damaged");

    loaded        l{*state, {}};
    std::uint64_t checks = 0;
    bytes_view    key, value;
    for (bool more = r.move(partitions_db, MDB_FIRST, key, value); more;
         more      = r.move(partitions_db, MDB_NEXT, key, value)) {
        if (key.size() != 4) throw_damaged(path, "its list of partitions is damaged");
        const auto uid = load_big<std::uint32_t>(key.data());
        const auto s   = decode_partition(uid, value);
        if (!s) throw_damaged(path, uid, nowhere, "the partition's record is damaged");
        checks += check_in(value);
        l.partitions.push_back({uid, *s});
    }
    if (checks != state->partition_checks || l.partitions.size() != state->partitions)
        throw_damaged(path, "its list of partitions is damaged");
    return l;
}

class lmdb_segment final : public segment
{
public:
    /// As it lies there. `e` may be null where it is sealed.
    lmdb_segment(std::string path, std::shared_ptr<idle_list> idle, loaded l,
                 const lmdb::file_facts& facts, std::shared_ptr<environment> e)
        : path_{std::move(path)}
        , idle_{std::move(idle)}
        , id_{facts.device, facts.inode}
        , file_bytes_{facts.file_bytes}
        , follows_{e != nullptr && !l.state.sealed}
        , held_{std::move(e)}
        , state_{l.state}
        , partitions_{std::move(l.partitions)}
    {
    }

    ~lmdb_segment() override
    {
        // A prepared one that was never published leaves nothing behind.
        if (!published_) {
            held_.reset();
            ::remove(path_.c_str());
            ::remove((path_ + std::string{lock_suffix}).c_str());
        }
    }

    position first() const override
    {
        refresh();
        std::lock_guard lock{mutex_};
        return position{std::max<std::int64_t>(state_.first, 0)};
    }
    position end() const override
    {
        refresh();
        std::lock_guard lock{mutex_};
        return position{state_.end};
    }
    bool sealed() const override
    {
        refresh();
        std::lock_guard lock{mutex_};
        return state_.sealed;
    }
    const std::string& path() const override { return path_; }

    std::uint64_t bytes() const override
    {
        std::lock_guard lock{open_mutex_};
        return held_ != nullptr && !pinned_ ? held_->pages() * held_->page_bytes() : file_bytes_;
    }

    segment_summary summary() const override
    {
        refresh();
        std::lock_guard lock{mutex_};
        return {partitions_.begin(), partitions_.end()};
    }

    void        append(std::span<const placed_batch> batches, position end) override;
    bool        has_room(std::uint64_t bytes) const override;
    void        seal() override;
    std::size_t read(std::uint32_t uid, offset from, const read_limits& limits,
                     std::vector<placed_batch>& out) const override;
    std::size_t read_backwards(std::uint32_t uid, offset from, const read_limits& limits,
                               std::vector<placed_batch>& out) const override;
    std::size_t read_all(position from, const read_limits& limits,
                         std::vector<placed_batch>& out) const override;
    std::size_t read_all_backwards(position from, const read_limits& limits,
                                   std::vector<placed_batch>& out) const override;

    std::optional<placed_batch> find(std::uint32_t uid, offset at) const override;
    std::optional<placed_batch> find(position at) const override;
    std::optional<offset> offset_for_time(std::uint32_t uid, timestamp t) const override;

    std::string index_slice() const override;
    void        set_index_slice(bytes_view run) override;
    void verify(const std::function<void(std::uint32_t uid, offset at, const std::string& what)>&
                    fault) const override;

    // ---- For the store. --------------------------------------------------------------------

    void                            publish(const std::string& path, position first);
    void                            pin() noexcept;
    const lmdb::inode_id&           id() const noexcept { return id_; }
    void                            writes_alone() noexcept { follows_ = false; }
    void                            published() noexcept { published_ = true; }

private:
    friend class lmdb_store;

    struct limits_of_partition
    {
        offset first;
        offset end;
    };

    std::shared_ptr<environment> acquire() const;
    void                         refresh() const;
    std::optional<partition_slice> slice_of(std::uint32_t uid) const;
    position                     last() const;
    void                         write_state(const segment_state& s);
    void                         must_be_writable() const;
    void                         let_go() noexcept;

    placed_batch hand_out(const reading& r, const std::shared_ptr<environment>& e,
                          const run_view& run, const stored_batch& b, copies& small) const;
    void         must_hold(std::uint32_t uid, const stored_batch& b) const;
    void         must_not_hide(const reading& r, partition_walk& w, const stored_batch& b,
                               offset end) const;

    std::string                path_;
    std::shared_ptr<idle_list> idle_;
    lmdb::inode_id             id_;
    std::uint64_t              file_bytes_;
    bool                       published_ = true;
    bool                       follows_;  // somebody else writes: look again

    mutable std::mutex                   open_mutex_;
    mutable std::shared_ptr<environment> held_;    // while it is written, or its file is unlinked
    mutable std::weak_ptr<environment>   opened_;  // otherwise
    bool                                 pinned_ = false;

    mutable std::mutex    mutex_;
    mutable segment_state state_;       // guarded by mutex_, but read freely by who appends
    mutable slices        partitions_;  // the same
    mutable std::uint64_t loaded_number_ = 0;
    std::uint32_t         appends_       = 0;
};

std::shared_ptr<environment> lmdb_segment::acquire() const
{
    std::shared_ptr<environment> e;
    {
        std::lock_guard lock{open_mutex_};
        if (held_ != nullptr) return held_;
        if ((e = opened_.lock()) == nullptr) {
            if (!file_exists(path_))
                throw segment_gone{path_ + " was removed by the process that writes the log: "
                                           "look again at what there is"};
            const auto facts = lmdb::examine(path_);
            if (lmdb::inode_id{facts.device, facts.inode} != id_)
                throw segment_gone{path_ + " was rewritten by the process that writes the log: "
                                           "look again at what there is"};
            e = environment::open({.path      = path_,
                                   .how       = environment::mode::never_changes,
                                   .databases = database_names});
            opened_ = e;
            idle_->used(*e);
            idle_->keep(e);
            return e;
        }
    }
    idle_->used(*e);
    return e;
}

void lmdb_segment::pin() noexcept
{
    try {
        auto            e = acquire();
        std::lock_guard lock{open_mutex_};
        if (held_ == nullptr) {
            held_   = std::move(e);
            pinned_ = true;
        }
    } catch (const std::exception&) {
        // It cannot be read; then it cannot be read after it is unlinked either.
    }
}

void lmdb_segment::refresh() const
{
    if (!follows_) return;
    std::shared_ptr<environment> e;
    {
        std::lock_guard lock{open_mutex_};
        e = held_;
    }
    if (e == nullptr) return;  // it was sealed
    reading r{*e};
    {
        std::lock_guard lock{mutex_};
        if (r.number() <= loaded_number_) return;
    }
    auto            now = load(r);
    std::lock_guard lock{mutex_};
    if (r.number() <= loaded_number_) return;
    loaded_number_ = r.number();
    state_         = now.state;
    partitions_    = std::move(now.partitions);
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

// ---- Writing. ------------------------------------------------------------------------------

void lmdb_segment::must_be_writable() const
{
    if (held_ == nullptr || !held_->writes() || follows_)
        throw error{state_.sealed ? errc::invalid_argument : errc::read_only,
                    path_ + (state_.sealed ? " is sealed: append to a new segment"
                                           : " was opened read-only")};
}

void lmdb_segment::append(std::span<const placed_batch> batches, position end)
{
    must_be_writable();
    if (state_.sealed) throw error{errc::invalid_argument, path_ + " is sealed"};

    auto next  = state_;
    auto begin = position{state_.end};
    if (state_.first < 0) {
        begin      = position{0};
        next.first = batches.empty() ? end.value : batches.front().position.value;
    }
    const auto changed = check_and_extend(partitions_, batches, begin, end);

    // By partition, and within it as they came.
    std::vector<std::uint64_t> order(batches.size());
    for (std::size_t i = 0; i < batches.size(); ++i)
        order[i] = (std::uint64_t{batches[i].partition_uid} << 32) | i;
    if (changed.size() > 1) std::sort(order.begin(), order.end());
    const auto batch_at = [&](std::size_t i) -> const placed_batch& {
        return batches[order[i] & 0xffffffff];
    };

    slices after;
    bool   grows = false;
    for (const auto& c : changed) grows = grows || partitions_.find(c.first) == nullptr;
    if (grows) after = partitions_.with(changed);

    std::uint64_t bytes = 0;
    for (const auto& b : batches) bytes += b.bytes.size();
    held_->make_room(
        room_for(bytes, std::max(partitions_.size(), changed.size()), held_->page_bytes()));

    std::vector<block_entry> entries(batches.size());
    try {
        writing w{*held_};

        std::int64_t previous = -1;
        for (std::size_t i = 0; i < order.size();) {
            const auto uid = batch_at(i).partition_uid;
            if (i == 0 || batch_at(i - 1).partition_uid != uid) {
                const auto* s = partitions_.find(uid);
                previous      = s != nullptr ? s->end.value : -1;
            }
            const auto  base  = batch_at(i).base;
            std::size_t count = 0;
            std::size_t size  = run_header_bytes;
            while (i + count < order.size()) {
                const auto& b    = batch_at(i + count);
                const auto  more = run_entry_bytes + envelope_bytes + b.bytes.size();
                if (b.partition_uid != uid || (count > 0 && size + more > run_bytes_max) ||
                    b.base - base > std::numeric_limits<std::uint32_t>::max())
                    break;
                size += more;
                ++count;
            }

            char* const run = w.reserve(batches_db, run_key(uid, base), size, MDB_NOOVERWRITE);
            char*       at  = run + run_header_bytes + run_entry_bytes * count;
            auto        top = numbers_of(batch_at(i).bytes)->max_timestamp;
            for (std::size_t k = 0; k < count; ++k) {
                const auto& b     = batch_at(i + k);
                const auto  index = order[i + k] & 0xffffffff;
                char* const entry = run + run_header_bytes + run_entry_bytes * k;
                store_little<std::uint32_t>(entry, static_cast<std::uint32_t>(b.base - base));
                store_little<std::uint32_t>(entry + 4, static_cast<std::uint32_t>(at - run));
                std::memcpy(at + envelope_bytes, b.bytes.data(), b.bytes.size());
                write_envelope(at, uid,
                               {b.position, previous,
                                index == 0 ? state_.last
                                           : batches[index - 1].end_position().value});
                previous = b.end_offset().value;
                at += envelope_bytes + b.bytes.size();
                top            = std::max(top, numbers_of(b.bytes)->max_timestamp);
                entries[index] = {b.position, uid, base, static_cast<std::uint32_t>(k)};
            }
            store_little<std::uint32_t>(run + 4, static_cast<std::uint32_t>(count));
            store_little<std::int64_t>(run + 8, top.value);
            store_little<std::uint32_t>(
                run,
                crc32c({run + 4, run_header_bytes + run_entry_bytes * count - 4}, uid));
            i += count;
        }

        for (std::size_t i = 0; i < entries.size();) {
            const auto  first = entries[i].position;
            std::size_t count = 1;
            while (count < block_entries_max && i + count < entries.size() &&
                   entries[i + count].position - first <=
                       std::numeric_limits<std::uint32_t>::max())
                ++count;
            char* at = w.reserve(commits_db, block_key(first), block_entry_bytes * count,
                                 MDB_APPEND);
            for (std::size_t k = 0; k < count; ++k, at += block_entry_bytes)
                write_block_entry(at, first, entries[i + k]);
            i += count;
        }

        for (const auto& [uid, s] : changed) {
            if (const auto* old = partitions_.find(uid)) {
                next.partition_checks -= check_in(encode(uid, *old));
            } else {
                ++next.partitions;
            }
            const auto record = encode(uid, s);
            next.partition_checks += check_in(record);
            w.put(partitions_db, number_key(uid), record);
        }
        next.end = end.value;
        next.batches += batches.size();
        if (!batches.empty()) next.last = batches.back().end_position().value;
        w.put(meta_db, state_key, encode(next));
        w.commit();
    } catch (const lmdb::map_full& full) {
        throw segment_full{full.what()};
    }

    {
        std::lock_guard lock{mutex_};
        state_ = next;
        if (grows)
            std::swap(partitions_, after);
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
    const auto page = e->page_bytes();
    return e->pages() * page + room_for(bytes, partitions_.size(), page) <= e->map_bytes();
}

void lmdb_segment::write_state(const segment_state& s)
{
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
    if (published_) let_go();
}

// Nobody writes to it any more: from now on it is opened when it is needed, without locks, and
// with a map no larger than the file.
void lmdb_segment::let_go() noexcept
{
    std::lock_guard lock{open_mutex_};
    held_->give_back_room();
    file_bytes_ = held_->pages() * held_->page_bytes();
    held_.reset();
    ::remove((path_ + std::string{lock_suffix}).c_str());
}

void lmdb_segment::publish(const std::string& path, position first)
{
    must_be_writable();
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
    held_->sync();
    held_->rename(path);
    path_      = path;
    published_ = true;
    sync_directory(parent_directory(path));
    if (state_.sealed) let_go();
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
    const auto e = acquire();
    reading    r{*e};
    bytes_view key, value;
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
    auto s = state_;
    try {
        writing w{*held_};
        for (std::uint32_t n = 0; w.remove(slice_db, number_key(n)); ++n) {
        }
        for (std::uint32_t n = 0; n * slice_chunk_bytes < run.size(); ++n)
            w.put(slice_db, number_key(n), run.substr(n * slice_chunk_bytes, slice_chunk_bytes));
        s.slice_bytes = run.size();
        s.slice_check = crc32c(run);
        w.put(meta_db, state_key, encode(s));
        w.commit();
    } catch (const lmdb::map_full& full) {
        throw segment_full{full.what()};
    }
    std::lock_guard lock{mutex_};
    state_ = s;
}

// ---- Reading. ------------------------------------------------------------------------------

placed_batch lmdb_segment::hand_out(const reading& r, const std::shared_ptr<environment>& e,
                                    const run_view& run, const stored_batch& b,
                                    copies& small) const
{
    placed_batch p{b.position, run.uid(), b.base, b.offsets, b.bytes, nullptr, b.max_timestamp};
    if (r.lasts(run.value()))
        p.owner = e;
    else
        p.bytes = small.copy(b.bytes, p.owner);
    return p;
}

void lmdb_segment::must_hold(std::uint32_t uid, const stored_batch& b) const
{
    if (!crc_holds(b.bytes)) [[unlikely]]
        throw_damaged(path_, uid, b.base, "a batch's CRC does not hold");
}

// After `b`, where the walk stands, no batch begins that could hold what was asked for: either
// the next one says that `b` came before it, or `b` is the last. Moves the walk.
void lmdb_segment::must_not_hide(const reading&, partition_walk& w, const stored_batch& b,
                                 offset end) const
{
    const auto uid = w.run().uid();
    if (w.next() ? w.batch().previous_offset != b.end_offset().value : b.end_offset() < end)
        throw_damaged(path_, uid, b.end_offset(), "a batch is missing");
}

std::size_t lmdb_segment::read(std::uint32_t uid, offset from, const read_limits& limits,
                               std::vector<placed_batch>& out) const
{
    const auto slice = slice_of(uid);
    if (!slice || from >= slice->end) return 0;

    const auto     e = acquire();
    reading        r{*e};
    copies         small{4096};
    partition_walk walk{r, uid};
    std::size_t    count = 0;
    std::size_t    bytes = 0;
    try {
        if (!walk.floor(from) && !walk.first())
            throw_damaged(path_, uid, std::max(from, slice->first), "a batch is missing");
        auto b = walk.batch();
        if (b.end_offset() <= from) {
            const auto end = b.end_offset();
            if (!walk.next()) throw_damaged(path_, uid, end, "a batch is missing");
            b = walk.batch();
        }
        if (b.previous_offset > from.value)
            throw_damaged(path_, uid, from, "a batch is missing");
        for (;;) {
            if (count > 0 && bytes + b.bytes.size() > limits.bytes) break;
            must_hold(uid, b);
            out.push_back(hand_out(r, e, walk.run(), b, small));
            bytes += b.bytes.size();
            if (++count >= limits.batches || bytes >= limits.bytes) break;
            const auto end = b.end_offset();
            if (!walk.next()) {
                if (end < slice->end) throw_damaged(path_, uid, end, "a batch is missing");
                break;
            }
            b = walk.batch();
            if (b.previous_offset != end.value)
                throw_damaged(path_, uid, end, "a batch is missing");
        }
    } catch (const storage_error&) {
        if (count == 0) throw;  // else what is good first; who reads on meets the fault again
    }
    return count;
}

std::size_t lmdb_segment::read_backwards(std::uint32_t uid, offset from,
                                         const read_limits&         limits,
                                         std::vector<placed_batch>& out) const
{
    const auto slice = slice_of(uid);
    if (!slice || from < slice->first) return 0;

    const auto     e = acquire();
    reading        r{*e};
    copies         small{4096};
    partition_walk walk{r, uid};
    std::size_t    count = 0;
    std::size_t    bytes = 0;
    try {
        if (!walk.floor(from)) throw_damaged(path_, uid, from, "a batch is missing");
        auto b = walk.batch();
        if (b.end_offset() <= from) {
            must_not_hide(r, walk, b, slice->end);
            walk.floor(from);
        }
        for (;;) {
            if (count > 0 && bytes + b.bytes.size() > limits.bytes) break;
            must_hold(uid, b);
            out.push_back(hand_out(r, e, walk.run(), b, small));
            bytes += b.bytes.size();
            if (++count >= limits.batches || bytes >= limits.bytes) break;
            const auto expected = b.previous_offset;
            if (!walk.previous()) {
                if (expected != -1) throw_damaged(path_, uid, offset{expected - 1},
                                                  "a batch is missing");
                break;
            }
            b = walk.batch();
            if (b.end_offset().value != expected)
                throw_damaged(path_, uid, b.end_offset(), "a batch is missing");
        }
    } catch (const storage_error&) {
        if (count == 0) throw;
    }
    return count;
}

std::size_t lmdb_segment::read_all(position from, const read_limits& limits,
                                   std::vector<placed_batch>& out) const
{
    const auto last_end = last();
    if (from >= last_end) return 0;

    const auto    e = acquire();
    reading       r{*e};
    copies        small{4096};
    position_walk walk{r, runs_kept};
    std::size_t   count = 0;
    std::size_t   bytes = 0;
    try {
        if (!walk.floor(from) && !walk.first()) throw_damaged(path_, from, "a batch is missing");
        auto            entry = walk.entry();
        const run_view* run   = &walk.run(entry);
        auto            b     = walk.batch(*run, entry);
        const auto      step  = [&] {
            const auto end = b.end_position();
            if (!walk.next()) {
                if (end < last_end) throw_damaged(path_, end, "a batch is missing");
                return false;
            }
            entry = walk.entry();
            run   = &walk.run(entry);
            b     = walk.batch(*run, entry);
            if (b.previous_position != end.value)
                throw_damaged(path_, end, "a batch is missing");
            return true;
        };
        if (b.end_position() <= from && !step())
            throw_damaged(path_, from, "a batch is missing");
        if (b.previous_position > from.value) throw_damaged(path_, from, "a batch is missing");
        do {
            if (count > 0 && bytes + b.bytes.size() > limits.bytes) break;
            must_hold(entry.uid, b);
            out.push_back(hand_out(r, e, *run, b, small));
            bytes += b.bytes.size();
            if (++count >= limits.batches || bytes >= limits.bytes) break;
        } while (step());
    } catch (const storage_error&) {
        if (count == 0) throw;
    }
    return count;
}

std::size_t lmdb_segment::read_all_backwards(position from, const read_limits& limits,
                                             std::vector<placed_batch>& out) const
{
    const auto last_end = last();
    if (last_end.value < 0) return 0;

    const auto    e = acquire();
    reading       r{*e};
    copies        small{4096};
    position_walk walk{r, runs_kept};
    std::size_t   count = 0;
    std::size_t   bytes = 0;
    try {
        const auto take = [&](const block_entry& entry) {
            return walk.batch(walk.run(entry), entry);
        };
        if (!walk.floor(from)) {
            if (!walk.first()) throw_damaged(path_, from, "a batch is missing");
            const auto b = take(walk.entry());
            if (b.previous_position != -1 || b.position <= from)
                throw_damaged(path_, from, "a batch is missing");
            return 0;
        }
        auto entry = walk.entry();
        auto b     = take(entry);
        if (b.end_position() <= from) {
            const auto end = b.end_position();
            if (walk.next() ? take(walk.entry()).previous_position != end.value : end < last_end)
                throw_damaged(path_, end, "a batch is missing");
            walk.floor(from);
        }
        for (;;) {
            if (count > 0 && bytes + b.bytes.size() > limits.bytes) break;
            must_hold(entry.uid, b);
            out.push_back(hand_out(r, e, walk.run(entry), b, small));
            bytes += b.bytes.size();
            if (++count >= limits.batches || bytes >= limits.bytes) break;
            const auto expected = b.previous_position;
            if (!walk.previous()) {
                if (expected != -1) throw_damaged(path_, position{expected - 1},
                                                  "a batch is missing");
                break;
            }
            entry = walk.entry();
            b     = take(entry);
            if (b.end_position().value != expected)
                throw_damaged(path_, b.end_position(), "a batch is missing");
        }
    } catch (const storage_error&) {
        if (count == 0) throw;
    }
    return count;
}

std::optional<placed_batch> lmdb_segment::find(std::uint32_t uid, offset at) const
{
    const auto slice = slice_of(uid);
    if (!slice || at < slice->first || at >= slice->end) return std::nullopt;

    const auto     e = acquire();
    reading        r{*e};
    partition_walk walk{r, uid};
    if (!walk.floor(at)) throw_damaged(path_, uid, at, "a batch is missing");
    const auto b = walk.batch();
    if (b.end_offset() <= at) {
        must_not_hide(r, walk, b, slice->end);
        return std::nullopt;
    }
    copies small{0};
    return hand_out(r, e, walk.run(), b, small);
}

std::optional<placed_batch> lmdb_segment::find(position at) const
{
    const auto last_end = last();
    if (at >= last_end || at.value < 0) return std::nullopt;

    const auto e = acquire();
    reading    r{*e};
    copies     small{0};

    position_walk walk{r};
    const bool    found = walk.floor(at);
    if (!found && !walk.first()) throw_damaged(path_, at, "a batch is missing");
    const auto      entry = walk.entry();
    const run_view& run   = walk.run(entry);
    const auto      b     = walk.batch(run, entry);
    if (!found) {
        if (b.previous_position != -1 || b.position <= at)
            throw_damaged(path_, at, "a batch is missing");
        return std::nullopt;
    }
    if (b.end_position() <= at) {
        const auto end  = b.end_position();
        const bool more = walk.next();
        if (!more) throw_damaged(path_, end, "a batch is missing");
        const auto following = walk.entry();
        if (walk.batch(walk.run(following), following).previous_position != end.value)
            throw_damaged(path_, end, "a batch is missing");
        return std::nullopt;
    }
    return hand_out(r, e, run, b, small);
}

std::optional<offset> lmdb_segment::offset_for_time(std::uint32_t uid, timestamp t) const
{
    const auto slice = slice_of(uid);
    if (!slice || slice->max_timestamp < t) return std::nullopt;

    const auto     e = acquire();
    reading        r{*e};
    partition_walk walk{r, uid};
    std::int64_t   previous = -1;
    for (bool more = walk.first(); more; more = walk.next_run()) {
        const auto& run = walk.run();
        if (!run.check_holds())
            throw_damaged(path_, uid, run.base(), "the directory of a run is damaged");
        if (walk.batch(0).previous_offset != previous)
            throw_damaged(path_, uid, run.base(), "a batch is missing");
        if (run.max_timestamp() >= t)
            for (std::uint32_t i = 0; i < run.count(); ++i)
                if (const auto b = walk.batch(i); b.max_timestamp >= t) return b.base;
        previous = walk.batch(run.count() - 1).end_offset().value;
    }
    throw_damaged(path_, uid, offset{previous}, "a batch is missing");
}

// ---- Verifying. ----------------------------------------------------------------------------

void lmdb_segment::verify(
    const std::function<void(std::uint32_t uid, offset at, const std::string& what)>& fault) const
{
    const auto guarded = [&](const auto& f) {
        try {
            f();
        } catch (const damaged_batch& d) {
            fault(d.partition_uid(), d.at(), d.what());
        } catch (const storage_error& s) {
            fault(0, nowhere, s.what());
        }
    };

    guarded([&] {
        const auto e = acquire();
        reading    r{*e};

        // Without its own numbers there is nothing to compare with; the batches are read anyway.
        std::optional<loaded> l;
        guarded([&] { l = load(r); });

        std::uint64_t found = 0;
        guarded([&] {
            std::map<std::uint32_t, partition_slice> seen;
            std::optional<std::uint32_t>             uid;
            std::int64_t                             previous = -1;
            bytes_view                               key, value;
            for (bool more = r.move(batches_db, MDB_FIRST, key, value); more;
                 more      = r.move(batches_db, MDB_NEXT, key, value)) {
                const auto run = run_view::parse(key, value);
                if (!run) {
                    fault(0, nowhere, path_ + ": what is stored is not a run of batches");
                    continue;
                }
                if (uid != run->uid()) {
                    uid      = run->uid();
                    previous = -1;
                }
                if (!run->check_holds())
                    fault(*uid, run->base(), path_ + ": the directory of a run is damaged");
                auto top = std::numeric_limits<std::int64_t>::min();
                for (std::uint32_t i = 0; i < run->count(); ++i) {
                    ++found;
                    const auto b = run->batch(i);
                    if (!b) {
                        fault(*uid, run->about(i),
                              path_ + ": a batch is not the one that was written here");
                        continue;
                    }
                    if (!crc_holds(b->bytes))
                        fault(*uid, b->base, path_ + ": a batch's CRC does not hold");
                    if (b->previous_offset != previous)
                        fault(*uid, b->base, path_ + ": the batch before it is missing");
                    previous = b->end_offset().value;
                    top      = std::max(top, b->max_timestamp.value);
                    extend(seen[*uid],
                           {b->base, b->offsets, b->base_timestamp, b->max_timestamp},
                           b->bytes.size());
                }
                if (top != run->max_timestamp().value)
                    fault(*uid, run->base(), path_ + ": a run's max timestamp is wrong");
            }
            if (!l) return;
            for (const auto& [id, s] : seen)
                if (l->partitions.find(id) == nullptr)
                    fault(id, s.first, path_ + ": batches of a partition that is not there");
            for (const auto& [id, s] : l->partitions) {
                const auto at = seen.find(id);
                if (at == seen.end() ||
                    bytes_view{encode(id, s)} != bytes_view{encode(id, at->second)})
                    fault(id, s.first, path_ + ": the partition's record and batches differ");
            }
        });

        guarded([&] {
            position_walk walk{r, runs_kept};
            std::int64_t  previous = -1;
            std::uint64_t listed   = 0;
            for (bool more = walk.first(); more; more = walk.next()) {
                ++listed;
                guarded([&] {
                    const auto entry = walk.entry();
                    const auto b     = walk.batch(walk.run(entry), entry);
                    if (b.previous_position != previous)
                        fault(entry.uid, b.base, path_ + ": the batch at the position before is "
                                                         "missing");
                    previous = b.end_position().value;
                });
            }
            if (listed != found || (l && (listed != l->state.batches || previous != l->state.last)))
                fault(0, nowhere, path_ + ": " + std::to_string(found) + " batches, of which " +
                                      std::to_string(listed) + " have a position");
            if (l && (l->state.end < l->state.last || l->state.first > l->state.end))
                fault(0, nowhere, path_ + ": its state contradicts itself");
        });

        guarded([&] { index_slice(); });
    });
}

// ---- The store. ----------------------------------------------------------------------------

class lmdb_store final : public segment_store
{
public:
    explicit lmdb_store(lmdb_store_options o) : options_{std::move(o)} {}

    std::vector<std::shared_ptr<segment>> open_all() override;
    std::shared_ptr<segment>              prepare(std::uint64_t map_bytes) override;
    void publish(const std::shared_ptr<segment>& s, position first,
                 std::span<const std::shared_ptr<segment>> replaced) override;
    void remove(const std::shared_ptr<segment>& s) override;

private:
    using segments = std::vector<std::shared_ptr<lmdb_segment>>;

    std::optional<segments>       look();
    std::shared_ptr<lmdb_segment> open_one(const std::string& name, bool newest);
    void                          clean_up();
    std::string                   path(const std::string& name) const
    {
        return options_.directory + "/" + name;
    }
    void must_write() const
    {
        if (options_.read_only)
            throw error{errc::read_only, options_.directory + " was opened read-only"};
    }

    lmdb_store_options                                  options_;
    std::shared_ptr<idle_list>                          idle_ = std::make_shared<idle_list>();
    std::map<lmdb::inode_id, std::weak_ptr<lmdb_segment>> known_;  // where read-only
    std::uint64_t                                       prepared_ = 0;
};

void lmdb_store::clean_up()
{
    const auto names = list_directory(options_.directory);
    for (const auto& name : names) {
        const std::string_view n = name;
        const bool temporary = n.starts_with("prepared-");
        const bool orphan =
            n.ends_with(lock_suffix) &&
            !std::binary_search(names.begin(), names.end(),
                                name.substr(0, name.size() - lock_suffix.size()));
        if (temporary || orphan) remove_file(path(name));
    }
}

std::shared_ptr<lmdb_segment> lmdb_store::open_one(const std::string& name, bool newest)
{
    const auto file  = path(name);
    const auto facts = lmdb::examine(file);
    const auto id    = lmdb::inode_id{facts.device, facts.inode};
    if (const auto known = known_.find(id); known != known_.end())
        if (auto s = known->second.lock()) return s;

    // Nobody but this process writes, unless it only reads. Then the newest one may be written to
    // at this moment, and reading it without LMDB's locks would be reading what is overwritten.
    const bool shared = options_.read_only && newest;
    auto       e      = environment::open(
        {.path      = file,
                    .how       = shared ? environment::mode::follow : environment::mode::never_changes,
                    .databases = database_names});
    auto l = load(reading{*e});
    if (l.state.sealed) {
        if (!options_.read_only) remove_file(file + std::string{lock_suffix});
        e.reset();
    } else if (!options_.read_only) {
        e.reset();
        e = environment::open({.path      = file,
                               .how       = environment::mode::write,
                               .databases = database_names});
    } else if (!shared) {
        e = environment::open({.path      = file,
                               .how       = environment::mode::follow,
                               .databases = database_names});
        l = load(reading{*e});
    }
    if (position{l.state.first} != *position_in(name))
        throw_damaged(file, "it begins at position " + std::to_string(l.state.first) +
                                ", which is not its name");
    auto s = std::make_shared<lmdb_segment>(file, idle_, std::move(l), facts, std::move(e));
    if (options_.read_only)
        known_[id] = s;
    else
        s->writes_alone();
    return s;
}

std::optional<lmdb_store::segments> lmdb_store::look()
{
    std::vector<std::string> names;
    for (const auto& name : list_directory(options_.directory))
        if (position_in(name)) names.push_back(name);

    segments all;
    for (std::size_t i = 0; i < names.size(); ++i) {
        try {
            all.push_back(open_one(names[i], i + 1 == names.size()));
        } catch (const storage_error&) {
            if (options_.read_only && !file_exists(path(names[i]))) return std::nullopt;
            throw;
        }
    }

    // A crash between the swap and the last unlink of a rewrite leaves segments whose positions
    // another one has already.
    segments kept;
    for (auto& s : all) {
        if (!kept.empty() && s->first() < kept.back()->end()) {
            if (s->end() > kept.back()->end())
                throw_damaged(s->path(), "its positions overlap with those of " +
                                             kept.back()->path());
            if (!options_.read_only) remove_file(s->path());
            continue;
        }
        kept.push_back(s);
    }
    if (!options_.read_only && kept.size() != all.size()) sync_directory(options_.directory);
    return kept;
}

std::vector<std::shared_ptr<segment>> lmdb_store::open_all()
{
    if (!options_.read_only) clean_up();
    std::erase_if(known_, [](const auto& k) { return k.second.expired(); });
    // While this looks, another process may remove what was just listed.
    for (int tries = 0;; ++tries) {
        if (auto found = look()) return {found->begin(), found->end()};
        if (tries == 100)
            throw segment_gone{options_.directory + " changes faster than it can be read"};
    }
}

std::shared_ptr<segment> lmdb_store::prepare(std::uint64_t map_bytes)
{
    must_write();
    const auto file = path("prepared-" + std::to_string(++prepared_) + ".tmp");
    remove_file(file);
    remove_file(file + std::string{lock_suffix});
    map_bytes = (std::max<std::uint64_t>(map_bytes, map_bytes_min) + 65535) / 65536 * 65536;

    std::shared_ptr<lmdb_segment> s;
    try {
        auto e = environment::open({.path      = file,
                                    .how       = environment::mode::create,
                                    .map_bytes = map_bytes,
                                    .databases = database_names});
        writing w{*e};
        w.put(meta_db, state_key, encode(segment_state{}));
        w.commit();
        e->make_room(0);
        e->sync();
        s = std::make_shared<lmdb_segment>(file, idle_, loaded{}, lmdb::examine(file), e);
    } catch (...) {
        ::remove(file.c_str());
        ::remove((file + std::string{lock_suffix}).c_str());
        throw;
    }
    s->writes_alone();
    s->published_ = false;
    return s;
}

void lmdb_store::publish(const std::shared_ptr<segment>& s, position first,
                         std::span<const std::shared_ptr<segment>> replaced)
{
    must_write();
    auto& mine = dynamic_cast<lmdb_segment&>(*s);
    if (mine.published_)
        throw error{errc::invalid_argument, mine.path_ + " is published already"};
    if (!replaced.empty() && (!mine.sealed() || first != replaced.front()->first() ||
                              mine.end() != replaced.back()->end()))
        throw error{errc::invalid_argument,
                    "a rewritten segment must be sealed, and hold the positions of what it "
                    "replaces"};
    for (const auto& r : replaced) dynamic_cast<lmdb_segment&>(*r).pin();

    const auto name = path(name_of(first));
    if (replaced.empty() && file_exists(name))
        throw error{errc::invalid_argument, name + " is there already"};
    mine.publish(name, first);

    bool unlinked = false;
    for (const auto& r : replaced)
        if (r->path() != name) unlinked = remove_file(r->path()) || unlinked;
    if (unlinked) sync_directory(options_.directory);
}

void lmdb_store::remove(const std::shared_ptr<segment>& s)
{
    must_write();
    auto& mine = dynamic_cast<lmdb_segment&>(*s);
    mine.pin();
    remove_file(mine.path());
    remove_file(mine.path() + std::string{lock_suffix});
    sync_directory(options_.directory);
}

}  // namespace

std::unique_ptr<segment_store> make_lmdb_store(lmdb_store_options o)
{
    return std::make_unique<lmdb_store>(std::move(o));
}

}  // namespace cairn::detail
