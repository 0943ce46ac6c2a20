// SPDX-License-Identifier: Apache-2.0
//
// Reading a run; see run_format.hpp for what lies in it.
#pragma once

#include "index/run_format.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace cairn::detail {

class run;

/// One of the three tables of a run.
template <class Entry>
class run_table
{
public:
    run_table(const run& owner, run_section blocks, run_section entries) noexcept;

    std::uint64_t size() const noexcept { return entries_; }

    /// Fetches into the cache what find(t) will read first.
    void prefetch(const term& t) const noexcept
    {
        if (blocks_ != 0)
            __builtin_prefetch(blocks_at_ + block_of(t, blocks_) * sizeof(table_block));
    }

    /// False where it is not there.
    bool find(const term& t, Entry& found) const;

    /// Which entries may be it: those numbered `from` + i where bit i is set, or, where the
    /// block has overflowed, one of all that it has.
    struct candidates
    {
        std::uint64_t from  = 0;
        std::uint32_t bits  = 0;
        std::uint32_t count = 0;
        bool          overflowed = false;

        bool none() const noexcept { return bits == 0 && !overflowed; }
    };
    candidates look(const term& t) const;
    bool       find_among(const candidates& c, const term& t, Entry& found) const;
    void       prefetch(const candidates& c) const noexcept
    {
        const auto first = c.overflowed ? c.count / 2
                                        : static_cast<std::uint32_t>(std::countr_zero(c.bits));
        __builtin_prefetch(entries_at_ + (c.from + first) * sizeof(Entry));
    }

    /// The entry with that number, checked.
    Entry at(std::uint64_t number) const;

    /// As it lies there, not checked.
    Entry peek(std::uint64_t number) const noexcept
    {
        Entry e;
        std::memcpy(static_cast<void*>(&e), entries_at_ + number * sizeof e, sizeof e);
        return e;
    }

private:
    const run*    run_;
    const char*   blocks_at_;
    const char*   entries_at_;
    std::uint64_t blocks_;
    std::uint64_t entries_;
    run_section   block_section_;
    run_section   entry_section_;
};

/// Invariants
///   - What a lookup returns, also "not found", was checked.
///
/// Threads   Any.
/// Lifetime  Keeps its bytes, or its map, alive. Its file may be unlinked meanwhile.
/// Errors    storage_error: damaged_index, naming the file and the byte.
class run
{
public:
    /// Maps the file and checks its header, no more. `key_check`: what the header must say.
    static std::shared_ptr<const run> open(const std::string& path, std::uint64_t key_check);

    /// The same for bytes in memory; `name` is for messages.
    static std::shared_ptr<const run> in_memory(std::string bytes, std::string name,
                                                std::uint64_t key_check);

    run(const run&)            = delete;
    run& operator=(const run&) = delete;
    ~run();

    position           first() const noexcept { return position{header_.first}; }
    position           end() const noexcept { return position{header_.end}; }
    const std::string& name() const noexcept { return name_; }
    std::uint64_t      bytes() const noexcept { return header_.bytes; }
    bytes_view         whole() const noexcept { return bytes_; }
    bool               is_file() const noexcept;
    run_counts         counts() const noexcept;

    const run_table<stream_entry>&  streams() const noexcept { return streams_; }
    const run_table<term_entry>&    terms() const noexcept { return terms_; }
    const run_table<command_entry>& commands() const noexcept { return commands_; }

    /// Tells the kernel that all of it is about to be read once, or no longer is.
    void advise_sequential(bool yes) const noexcept;

    /// A block of postings, checked.
    const char* posting_block(run_section s, std::uint64_t number) const;

    /// Checks every byte; tells each fault.
    void verify(const std::function<void(const std::string&)>& fault) const;

    std::uint32_t seed(run_section s, std::uint64_t number) const noexcept
    {
        return seed_(s, number);
    }
    const run_layout& layout() const noexcept { return layout_; }

    [[noreturn]] void damaged(run_section s, std::uint64_t byte_in_section,
                              const char* what) const;

private:
    template <class Entry>
    friend class run_table;
    struct backing;

    run(std::unique_ptr<backing> b, std::string name, std::uint64_t key_check);
    const char* section(run_section s) const noexcept { return bytes_.data() + layout_[s].at; }

    std::unique_ptr<backing> backing_;
    bytes_view               bytes_;
    std::string              name_;
    run_header               header_;
    run_layout               layout_;
    check_seed               seed_;
    run_table<stream_entry>  streams_;
    run_table<term_entry>    terms_;
    run_table<command_entry> commands_;
};

/// The postings of streams, one by one. Remembers the block that it checked last, so that
/// reading on is cheap.
class stream_cursor
{
public:
    explicit stream_cursor(const run& r) noexcept : run_{&r} {}

    /// The event with number `i` of the stream, i < e.count.
    packed_posting at(const stream_entry& e, std::uint32_t i)
    {
        if (e.count == 1) return {0, e.first, e.at_or_postings, e.check};
        const std::uint64_t number = std::uint64_t{e.at_or_postings} + i;
        const std::uint64_t block  = number / stream_postings_per_block;
        if (block != block_) {
            bytes_ = run_->posting_block(run_section::stream_postings, block);
            block_ = block;
        }
        packed_posting p;
        std::memcpy(&p, bytes_ + number % stream_postings_per_block * sizeof p, sizeof p);
        return p;
    }

    /// How many of the stream's events are before the position.
    std::uint32_t count_before(const stream_entry& e, std::uint64_t position);

private:
    const run*    run_;
    std::uint64_t block_ = ~0ull;
    const char*   bytes_ = nullptr;
};

/// The positions of a term, one by one and by search. Remembers the last block, as above.
class term_cursor
{
public:
    explicit term_cursor(const run& r, const term_entry& e = {}) noexcept : run_{&r}, entry_{e} {}

    /// Turns to another term of the same run.
    void reset(const term_entry& e) noexcept { entry_ = e; }

    std::uint32_t count() const noexcept { return entry_.count; }

    std::uint32_t at(std::uint32_t i)
    {
        if (entry_.is_inline()) return entry_.positions[i];
        const std::uint64_t number = std::uint64_t{entry_.postings()} + i;
        load(number / term_postings_per_block);
        return in_block(static_cast<std::uint32_t>(number % term_postings_per_block));
    }

    /// How many of the term's positions are before this one: the number of the first that is
    /// not, too. Guesses where it is from how the positions are spread, so that it takes two
    /// or three blocks rather than the logarithm of their number.
    std::uint32_t count_before(std::uint64_t position);

private:
    void load(std::uint64_t block)
    {
        if (block == block_) return;
        bytes_ = run_->posting_block(run_section::term_postings, block);
        block_ = block;
    }
    std::uint32_t in_block(std::uint32_t slot) const noexcept
    {
        std::uint32_t p;
        std::memcpy(&p, bytes_ + slot * sizeof p, sizeof p);
        return p;
    }

    const run*    run_;
    term_entry    entry_;
    std::uint64_t block_ = ~0ull;
    const char*   bytes_ = nullptr;
};

/// "00000000000000000000-00000000000000731642.run"
std::string run_file_name(position first, position end);

/// The positions that a file's name says; false where it is not the name of a run.
bool parse_run_file_name(const std::string& name, position& first, position& end);

}  // namespace cairn::detail
