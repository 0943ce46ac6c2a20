// SPDX-License-Identifier: Apache-2.0
//
// What the index has learned and not yet written: maps from hash to the newest of a chain of
// nodes, which lie in arrays that never move.
#pragma once

#include "index/index.hpp"
#include "index/run_writer.hpp"

#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
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

    void push_back(const T& v)
    {
        const auto p = place_of(size_);
        if (!chunks_[p.chunk])
            chunks_[p.chunk] = std::make_unique_for_overwrite<T[]>(first_chunk << p.chunk);
        chunks_[p.chunk][p.slot] = v;
        ++size_;
    }

    void clear() noexcept { size_ = 0; }

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

struct term_hash
{
    using is_avalanching = void;
    std::size_t operator()(const term& t) const noexcept { return t.low; }
};

inline constexpr std::uint32_t no_node = ~0u;

/// Invariants
///   - Nodes are in the order of positions. A node never changes.
///
/// Threads   add(), set_end(): one, with all others excluded. find_…(), resolve(): any, with
///           add() excluded. All that takes slots or a memtable_query, and write(): any, beside
///           add(), as they only touch nodes that were there before.
class memtable
{
public:
    struct stream_slot
    {
        std::int64_t  first_version = 0;
        std::uint32_t partition_uid = 0;
        std::uint32_t count         = 0;
        std::uint32_t last          = no_node;
        std::uint32_t id            = 0;
    };
    struct event_node
    {
        std::int64_t  position;
        std::int64_t  offset;
        std::uint32_t at;
        std::uint32_t check;
        std::uint32_t previous;  // of the stream
        std::uint32_t stream;    // id
    };
    struct term_slot
    {
        std::uint32_t id    = 0;
        std::uint32_t count = 0;
        std::uint32_t last  = no_node;
    };
    struct term_node
    {
        std::uint32_t term;      // id
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
        std::int64_t first = 0;
        std::int64_t count = 0;
    };

    explicit memtable(position first) noexcept { reset(first); }

    /// Forgets all, keeps the room.
    void reset(position first) noexcept;

    position first() const noexcept { return first_; }
    position end() const noexcept { return end_; }
    void     set_end(position end) noexcept { end_ = end; }

    std::uint64_t entries() const noexcept { return entries_; }
    std::uint64_t bytes() const noexcept;

    /// `versions_before`: called where the stream is new here; how many events it had before.
    template <class F>
    version add(const index_entry& e, F&& versions_before);

    const stream_slot* find_stream(const term& t) const noexcept
    {
        const auto found = streams_.find(t);
        return found == streams_.end() ? nullptr : &found->second;
    }
    std::optional<command_found> find_command(const term& t) const noexcept;
    const term_slot*             find_term(const term& t) const noexcept
    {
        const auto found = terms_.find(t);
        return found == terms_.end() ? nullptr : &found->second;
    }

    stream_head head(const stream_slot& s) const noexcept
    {
        const auto& n = events_[s.last];
        return {s.first_version + s.count, position{n.position}, offset{n.offset}};
    }
    const event_node&    event(std::uint32_t node) const noexcept { return events_[node]; }
    const term_node&     node(std::uint32_t node) const noexcept { return term_nodes_[node]; }
    const tagged_record& record(std::uint32_t record) const noexcept { return tagged_[record]; }

    bool has_stream(const term& t) const noexcept { return streams_.contains(t); }

    template <class F>
    void each_stream(F&& f) const
    {
        for (const auto& [hash, slot] : streams_)
            f(hash, slot);
    }

    /// What is in [from, before), for a run. REQUIRES: frozen.
    struct selection;
    selection select(position from, position before) const;

private:
    struct by_hash
    {
        term          hash;
        std::uint32_t id;
        std::uint32_t partition_uid;
        std::int64_t  first_version;
    };

    void add_terms(const index_entry& e);
    void add_command(const index_entry& e);

    template <class Value>
    using map = boost::unordered_flat_map<term, Value, term_hash>;

    position                     first_{0};
    position                     end_{0};
    std::uint64_t                entries_ = 0;
    map<stream_slot>             streams_;
    map<term_slot>               terms_;
    map<command_slot>            commands_;
    growing_array<event_node>    events_;
    growing_array<term_node>     term_nodes_;
    growing_array<tagged_record> tagged_;

public:
    /// The entries of a stretch of positions, sorted as a run wants them.
    struct selection
    {
        struct group
        {
            term          hash;
            std::uint32_t partition_uid = 0;
            std::int64_t  first_version = 0;
            std::uint32_t begin         = 0;  // of `nodes`
            std::uint32_t count         = 0;
        };
        struct command
        {
            term          hash;
            std::uint32_t first = 0;
            std::uint32_t count = 0;
        };
        position                   from;
        position                   before;
        std::vector<group>         streams;
        std::vector<std::uint32_t> stream_nodes;
        std::vector<group>         terms;
        std::vector<std::uint32_t> term_nodes;
        std::vector<command>       commands;

        run_counts counts() const noexcept;
    };
    void write(const selection& s, run_writer& to) const;
};

template <class F>
version memtable::add(const index_entry& e, F&& versions_before)
{
    version result{-1};
    if (e.stream) {
        auto [at, added] = streams_.try_emplace(e.stream);
        auto& slot       = at->second;
        if (added) {
            slot.first_version = versions_before();
            slot.partition_uid = e.partition_uid;
            slot.id            = static_cast<std::uint32_t>(streams_.size() - 1);
        }
        result = version{slot.first_version + slot.count};
        events_.push_back(
            {e.position.value, e.offset.value, e.at, e.check, slot.last, slot.id});
        slot.last = events_.size() - 1;
        ++slot.count;
    }
    if (!e.terms.empty()) add_terms(e);
    if (e.command) add_command(e);
    end_ = e.position.next();
    ++entries_;
    return result;
}

/// A query against one memtable, its terms looked up. Enumerates matches from the newest back.
class memtable_query
{
public:
    /// REQUIRES: add() excluded, only meanwhile.
    memtable_query(const memtable& m, const query_terms& q);

    /// The newest match <= `bound` and >= `from`. Each call's bound must be less than the last.
    std::optional<std::int64_t> previous(std::int64_t bound, std::int64_t from);

private:
    struct item
    {
        bool                                                 all = false;
        boost::container::small_vector<std::uint32_t, 4>     chains;  // where each stands
        boost::container::small_vector<std::uint32_t, 4>     tags;    // must all be there
        boost::container::small_vector<std::uint32_t, 4>     types;   // one must be there
        std::optional<std::int64_t>                          found;   // not yet given out
    };
    std::optional<std::int64_t> previous(item& i, std::int64_t bound, std::int64_t from) const;
    bool                        matches(const item& i, const memtable::tagged_record& r) const;
    bool                        add_item(const query_terms::item& wanted);

    const memtable*                        table_;
    std::int64_t                           first_;
    std::int64_t                           end_;
    boost::container::small_vector<item, 2> items_;
};

}  // namespace cairn::detail
