// SPDX-License-Identifier: Apache-2.0
//
// Ways through a segment's databases. Whatever they come to is checked to be what belongs there,
// as far as one place can tell; that nothing was skipped is for the reader to check, who knows
// two neighbours.
#pragma once

#include "store/lmdb.hpp"
#include "store/segment_format.hpp"

#include <string>
#include <vector>

namespace cairn::detail {

/// The databases of a segment, in the order of `database_names`.
enum database : std::size_t {
    batches_db,
    commits_db,
    partitions_db,
    meta_db,
    slice_db,
};

inline const std::vector<const char*> database_names{"batches", "commits", "partitions", "meta",
                                                     "slice"};

constexpr offset nowhere{-1};

[[noreturn]] inline void throw_damaged(const std::string& path, std::uint32_t uid, offset at,
                                       const std::string& what)
{
    throw damaged_batch{path + ": partition uid " + std::to_string(uid) + ", offset " +
                            std::to_string(at.value) + ": " + what +
                            "; run `cairn verify`, then restore the file from a backup",
                        uid, at};
}

[[noreturn]] inline void throw_damaged(const std::string& path, position at,
                                       const std::string& what)
{
    throw storage_error{errc::damaged_segment,
                        path + ": position " + std::to_string(at.value) + ": " + what +
                            "; run `cairn verify`, then restore the file from a backup"};
}

[[noreturn]] inline void throw_damaged(const std::string& path, const std::string& what)
{
    throw storage_error{
        errc::damaged_segment,
        path + ": " + what + "; run `cairn verify`, then restore the file from a backup"};
}

/// A place among the batches of one partition.
class partition_walk
{
public:
    partition_walk(const lmdb::reading& r, std::uint32_t uid) : reading_{r}, uid_{uid} {}

    /// To the batch with the last base offset <= at; false where there is none.
    bool floor(offset at)
    {
        bytes_view key, value;
        if (!reading_.locate_floor(batches_db, run_key(uid_, at), key, value)) return false;
        if (!here(key, reading_.bounded(value)) || run_.base() > at) return false;
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
            throw_damaged(
                reading_.of().path(), uid_,
                key.size() == 12 ? offset{load_big<std::int64_t>(key.data() + 4)} : nowhere,
                "what is stored is not a run of batches");
        run_ = *r;
        return true;
    }

    const lmdb::reading& reading_;
    std::uint32_t        uid_;
    run_view             run_;
    std::uint32_t        index_ = 0;
};

/// A place among all batches, by position.
class position_walk
{
public:
    /// Remembers so many runs; a power of two.
    explicit position_walk(const lmdb::reading& r, std::size_t runs = 1) : reading_{r}, known_(runs)
    {
    }

    /// To the batch with the last position <= at; false where there is none.
    bool floor(position at)
    {
        bytes_view key, value;
        if (!reading_.locate_floor(commits_db, block_key(at), key, value)) return false;
        here(key, reading_.bounded(value));
        if (block_.first() > at) return false;
        index_ = block_.floor(at);
        return true;
    }

    bool first()
    {
        if (!turn(MDB_FIRST)) return false;
        index_ = 0;
        return true;
    }

    bool next()
    {
        if (index_ + 1 < block_.count()) {
            ++index_;
            return true;
        }
        if (!turn(MDB_NEXT)) return false;
        index_ = 0;
        return true;
    }

    bool previous()
    {
        if (index_ > 0) {
            --index_;
            return true;
        }
        if (!turn(MDB_PREV)) return false;
        index_ = block_.count() - 1;
        return true;
    }

    const block_view& block() const noexcept { return block_; }
    std::size_t       index() const noexcept { return index_; }

    /// The batch where this stands.
    stored_batch batch()
    {
        const auto e = block_[index_];
        find_run(e);
        const auto b = run_->batch(e.index);
        if (!b || b->position != e.position) [[unlikely]]
            throw_damaged(reading_.of().path(), e.uid, run_->about(e.index),
                          "a batch is not the one that was written here");
        return *b;
    }

    /// The run that the last batch() lies in.
    const run_view& run() const noexcept { return *run_; }

private:
    // Neighbours often lie in the same few runs.
    void find_run(const block_entry& e)
    {
        run_ = &known_[e.uid & (known_.size() - 1)];
        if (run_->count() != 0 && run_->uid() == e.uid && run_->base() == e.run) return;
        const auto key = run_key(e.uid, e.run);
        bytes_view value;
        if (!reading_.get(batches_db, key, value))
            throw_damaged(reading_.of().path(), e.uid, e.run, "a batch is missing");
        const auto r = run_view::parse(key, value);
        if (!r)
            throw_damaged(reading_.of().path(), e.uid, e.run,
                          "what is stored is not a run of batches");
        *run_ = *r;
    }

    bool turn(MDB_cursor_op to)
    {
        bytes_view key, value;
        if (!reading_.move(commits_db, to, key, value)) return false;
        here(key, value);
        return true;
    }

    void here(bytes_view key, bytes_view value)
    {
        const auto b = block_view::parse(key, value);
        if (!b) [[unlikely]]
            throw_damaged(reading_.of().path(), "what is stored is not a block of commits");
        block_ = *b;
    }

    const lmdb::reading&  reading_;
    block_view            block_;
    std::size_t           index_ = 0;
    std::vector<run_view> known_;  // by uid: neighbours in position are spread over partitions
    run_view*             run_ = nullptr;  // in known_
};

}  // namespace cairn::detail
