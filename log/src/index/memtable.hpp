// SPDX-License-Identifier: Apache-2.0
//
// What the index has learned and not yet written. A hash leads to a slot, and a slot to the
// newest of a chain of nodes; slots and nodes lie in arrays that never move.
#pragma once

#include "index/index.hpp"
#include "index/run_writer.hpp"

#include <boost/container/small_vector.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace cairn::detail {

/// An array that grows without moving what it holds: chunks, each twice as large as the one
/// before. Elements that were there when a thread last synchronised with the writer can be read
/// while it pushes more.
template <class T>
class growing_array
{
public:
    std::uint32_t size() const noexcept { return size_; }

    const T& operator[](std::uint32_t i) const noexcept
    {
        const auto p = place_of(i);
        return chunks_[p.chunk][p.slot];
    }
    T& operator[](std::uint32_t i) noexcept
    {
        const auto p = place_of(i);
        return chunks_[p.chunk][p.slot];
    }

    /// Makes room for so many more.
    void reserve_more(std::uint32_t n)
    {
        if (n == 0) return;
        const auto last = place_of(size_ + n - 1).chunk;
        for (auto c = place_of(size_).chunk; c <= last; ++c)
            if (!chunks_[c]) chunks_[c] = std::make_unique_for_overwrite<T[]>(first_chunk << c);
    }

    /// REQUIRES: there is room.
    void push_back(const T& v) noexcept
    {
        const auto p             = place_of(size_);
        chunks_[p.chunk][p.slot] = v;
        ++size_;
    }

private:
    static constexpr std::size_t first_chunk = 1024;

    struct place
    {
        std::size_t chunk;
        std::size_t slot;
    };
    static place place_of(std::uint32_t i) noexcept
    {
        const std::size_t n     = i + first_chunk;
        const auto        chunk = static_cast<std::size_t>(std::bit_width(n / first_chunk)) - 1;
        return {chunk, n - (first_chunk << chunk)};
    }

    std::array<std::unique_ptr<T[]>, 23> chunks_;
    std::uint32_t                        size_ = 0;
};

inline constexpr std::uint32_t no_node = ~0u;

/// From hash to slot number. Of what is not there, one cache line tells; and as the cells are
/// small, it is likely to be in the cache.
class slot_index
{
public:
    slot_index() : cells_(least_cells) {}

    std::uint32_t size() const noexcept { return size_; }
    std::uint64_t bytes() const noexcept { return cells_.size() * sizeof(cell); }

    /// Makes room for so many, so that adding them moves nothing.
    void reserve(std::uint32_t slots)
    {
        while (cells_.size() < std::size_t{2} * slots)
            grow();
    }

    void prefetch(const term& t) const noexcept { __builtin_prefetch(&cells_[home(t)]); }

    /// `same(number)`: whether the slot is of that hash. no_node where there is none.
    template <class Same>
    std::uint32_t find(const term& t, Same&& same) const noexcept
    {
        const auto low = static_cast<std::uint32_t>(t.low);
        for (auto i = home(t);; i = next(i)) {
            const auto& c = cells_[i];
            if (c.number == no_node) return no_node;
            if (c.low == low && same(c.number)) return c.number;
        }
    }

    /// Gives a hash that is not there the next number. REQUIRES: there is room.
    std::uint32_t add(const term& t) noexcept
    {
        place({static_cast<std::uint32_t>(t.low), size_});
        return size_++;
    }

private:
    struct cell
    {
        std::uint32_t low    = 0;  // of the hash
        std::uint32_t number = no_node;
    };
    static constexpr std::size_t least_cells = 64;

    std::size_t home(const term& t) const noexcept
    {
        return static_cast<std::uint32_t>(t.low) & (cells_.size() - 1);
    }
    std::size_t next(std::size_t i) const noexcept { return (i + 1) & (cells_.size() - 1); }

    void place(cell c) noexcept
    {
        auto i = std::size_t{c.low} & (cells_.size() - 1);
        while (cells_[i].number != no_node)
            i = next(i);
        cells_[i] = c;
    }
    void grow()
    {
        std::vector<cell> old(cells_.size() * 2);
        old.swap(cells_);
        for (const auto& c : old)
            if (c.number != no_node) place(c);
    }

    std::vector<cell> cells_;  // a power of two, at most half of them taken
    std::uint32_t     size_ = 0;
};

/// Invariants
///   - Nodes are in the order of positions. A node never changes.
///
/// Threads   add(), set_end(): one, with all others excluded. find_…(): any, with add()
///           excluded, and what they return is to be copied. What takes a copied slot, and a
///           memtable_query once it is made: any, beside add(), as they only touch nodes that
///           were there before.
class memtable
{
public:
    struct stream_slot
    {
        term          hash;
        std::int64_t  first_version;
        std::uint32_t partition_uid;
        std::uint32_t count;
        std::uint32_t last;

        std::int64_t end_version() const noexcept { return first_version + count; }
    };
    struct event_node
    {
        std::int64_t  position;
        std::int64_t  offset;
        std::uint32_t at;
        std::uint32_t check;
        std::uint32_t previous;  // of the stream
        std::uint32_t jump;      // further back, see event_at()
    };
    struct term_slot
    {
        term          hash;
        std::uint32_t count;
        std::uint32_t last;
    };
    struct term_node
    {
        std::uint32_t term;      // its slot
        std::uint32_t previous;  // of the term
        std::uint32_t record;
    };
    struct tagged_record
    {
        std::int64_t  position;
        std::uint32_t nodes;  // its own are [nodes, nodes + count)
        std::uint32_t count;
    };
    struct command_slot
    {
        term         hash;
        std::int64_t first;
        std::int64_t count;
    };

    explicit memtable(position first) : first_{first}, end_{first} {}

    /// One that begins where `before` ends and has room for as much.
    explicit memtable(const memtable& before);

    position first() const noexcept { return first_; }
    position end() const noexcept { return end_; }
    void     set_end(position end) noexcept { end_ = end; }

    std::uint64_t entries() const noexcept { return entries_; }
    std::uint64_t bytes() const noexcept;

    /// Makes room for these, so that adding them cannot fail.
    void reserve_more(std::span<const index_entry> entries);

    /// `versions_before`: how many events the stream had before, where it is new here.
    /// REQUIRES: there is room.
    version add(const index_entry& e, std::int64_t versions_before) noexcept;

    void               prefetch_stream(const term& t) const noexcept { by_stream_.prefetch(t); }
    const stream_slot* find_stream(const term& t) const noexcept
    {
        return find(by_stream_, streams_, t);
    }
    std::optional<command_found> find_command(const term& t) const noexcept;

    stream_head head(const stream_slot& s) const noexcept
    {
        const auto& n = events_[s.last];
        return {s.end_version(), position{n.position}, offset{n.offset}};
    }
    const event_node& event(std::uint32_t node) const noexcept { return events_[node]; }

    /// The node of the stream's event with this version, which it has here. Takes a number of
    /// steps that grows with the logarithm of the count.
    std::uint32_t node_of(const stream_slot& s, std::int64_t version) const noexcept;

    template <class F>
    void each_stream(F&& f) const
    {
        for (std::uint32_t i = 0; i < streams_.size(); ++i)
            f(streams_[i]);
    }

    /// What it has of the positions [from, before), sorted as a run wants it.
    class selection;

private:
    friend class memtable_query;

    template <class Slot>
    static const Slot* find(const slot_index& index, const growing_array<Slot>& slots,
                            const term& t) noexcept
    {
        const auto n = index.find(t, [&](std::uint32_t number) { return slots[number].hash == t; });
        return n == no_node ? nullptr : &slots[n];
    }

    version add_event(const index_entry& e, std::int64_t versions_before) noexcept;
    void    add_terms(const index_entry& e) noexcept;
    void    add_command(const index_entry& e) noexcept;

    position                     first_;
    position                     end_;
    std::uint64_t                entries_ = 0;
    slot_index                   by_stream_;
    slot_index                   by_term_;
    slot_index                   by_command_;
    growing_array<stream_slot>   streams_;
    growing_array<term_slot>     terms_;
    growing_array<command_slot>  commands_;
    growing_array<event_node>    events_;
    growing_array<term_node>     term_nodes_;
    growing_array<tagged_record> tagged_;
};

/// REQUIRES: the memtable is frozen.
class memtable::selection
{
public:
    selection(const memtable& m, position from, position before);

    run_counts counts() const;
    void       write(run_writer& to) const;

private:
    /// The nodes of a chain that are in the stretch, oldest first, and how many are before it.
    struct stretch
    {
        std::vector<std::uint32_t> nodes;
        std::uint32_t              older = 0;
    };
    void          events_of(const stream_slot& s, stretch& out) const;
    void          records_of(const term_slot& s, stretch& out) const;
    void          write_streams(run_writer& to) const;
    void          write_terms(run_writer& to) const;
    std::uint32_t relative(std::int64_t position) const noexcept
    {
        return static_cast<std::uint32_t>(position - from_);
    }

    const memtable&            table_;
    std::int64_t               from_;
    std::int64_t               before_;
    std::vector<std::uint32_t> streams_;   // slots, ascending by hash
    std::vector<std::uint32_t> terms_;
    std::vector<std::uint32_t> commands_;
};

/// A query against one memtable, its terms looked up.
class memtable_query
{
public:
    /// REQUIRES: add() excluded, only meanwhile.
    memtable_query(const memtable& m, const query_terms& q);

    /// The newest match <= `bound` and >= `from`. Each call's bound must be less than the last.
    std::optional<std::int64_t> previous(std::int64_t bound, std::int64_t from);

    /// Appends to `out` the first of the matches >= from and < before, ascending, until it
    /// holds `max`. Instead of previous(), not after it.
    void forward(std::int64_t from, std::int64_t before, std::size_t max,
                 std::vector<position>& out);

private:
    struct item
    {
        bool                                             all = false;
        boost::container::small_vector<std::uint32_t, 4> chains;  // where each stands
        boost::container::small_vector<std::uint32_t, 4> tags;    // must all be there
        boost::container::small_vector<std::uint32_t, 4> types;   // one must be there
        std::optional<std::int64_t>                      found;   // not yet given out
    };
    std::optional<std::int64_t> previous(item& i, std::int64_t bound, std::int64_t from) const;
    std::optional<std::int64_t> previous_record(std::int64_t bound, std::int64_t from);
    bool                        matches(const item& i, const memtable::tagged_record& r) const;
    bool                        matches(const memtable::tagged_record& r) const;
    bool                        add_item(const query_terms::item& wanted);
    std::uint32_t               first_record_at(std::int64_t position) const;

    /// Chains lead back from the newest only. Where they hold many of all records, it is better
    /// to go to the place in question and look at each record there.
    bool many() const noexcept { return in_chains_ > records_ / 8; }

    const memtable*                         table_;
    std::int64_t                            first_;
    std::int64_t                            end_;
    std::uint32_t                           records_;          // as there are now
    std::optional<std::uint32_t>            reached_;          // by previous_record()
    std::uint64_t                           in_chains_ = 0;    // nodes
    bool                                    everything_ = false;
    boost::container::small_vector<item, 2> items_;
};

}  // namespace cairn::detail
