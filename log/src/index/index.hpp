// SPDX-License-Identifier: Apache-2.0
//
// The index: which records belong to a stream, have a type, carry a tag, came with a command.
//
// It is an LSM tree of hashed terms. Newest entries live in memory ("memtable"); flush() turns
// them into an immutable sorted file, a *run*, that covers the positions [first, end). Runs of
// like size are merged into larger ones. A run's file name says what it covers, so that the set
// of files needs no manifest:
//
//     index/00000000000000000000-00000000000000731642.run
//
// A term is a keyed 128-bit hash (SipHash-1-3-128 with the data directory's secret), so that a
// lookup needs no stored key, and nobody outside can make two terms collide.
#pragma once

#include "index/siphash.hpp"

#include <cairn/log/error.hpp>
#include <cairn/log/ids.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cairn::detail {

struct term
{
    std::uint64_t high = 0;
    std::uint64_t low  = 0;

    friend auto operator<=>(const term&, const term&) = default;
    explicit    operator bool() const noexcept { return (high | low) != 0; }
};

/// Makes terms. Two of different kinds never mix, whatever their text.
class term_hasher
{
public:
    explicit term_hasher(hash_key key) noexcept : key_{key} {}

    term stream(std::uint32_t partition_uid, bytes_view key) const noexcept;
    term type(bytes_view name) const noexcept;
    term tag(bytes_view name) const noexcept;
    term command(bytes_view id) const noexcept;

    /// Of records that users see, whatever is in them: the newest of each commit has it.
    term any_record() const noexcept;

    /// Tells one key from another, and nothing about either.
    std::uint64_t key_check() const noexcept;

private:
    term hash(std::uint8_t kind, std::uint32_t extra, bytes_view text) const noexcept;

    hash_key key_;
};

/// How far a stream has come. `count` is its version; 0: there is no such stream.
struct stream_head
{
    std::int64_t    count = 0;
    cairn::position last_position{-1};
    cairn::offset   last_offset{-1};
};

/// Remembers what a lookup found in the runs, so that asking again costs only the memtables and
/// the runs made since. It never goes stale: what is below a checkpoint does not change. One
/// hint belongs to one question; a default one remembers nothing.
template <class T>
struct lookup_hint
{
    position below{0};  ///< `found` is the answer for the positions below this
    T        found{};
};

/// One of several questions for a stream's head.
struct head_request
{
    term                      stream;
    lookup_hint<stream_head>* hint = nullptr;
    stream_head               head;  ///< the answer
};

/// What the index learns of one record.
struct index_entry
{
    cairn::position     position;
    std::uint32_t       partition_uid = 0;
    cairn::offset       offset;     ///< of a stream's records: ascending, as positions are
    std::uint32_t       at    = 0;  ///< where the record begins in the batch's (unpacked) payload
    std::uint32_t       check = 0;  ///< CRC-32C of the record's bytes there
    term                stream;     ///< zero: the record has no key
    term                command;    ///< zero: none
    std::span<const term> terms;    ///< types and tags

    /// Its version in its stream, where whoever adds it knows: add() then believes it and does
    /// not look.
    std::optional<cairn::version> version{};
};

/// Where one event of a stream is.
struct stream_posting
{
    cairn::version  version;
    cairn::position position;
    std::uint32_t   partition_uid;
    cairn::offset   offset;
    std::uint32_t   at;
    std::uint32_t   check;
};

/// What a command's append was.
struct command_found
{
    cairn::position first;
    std::int64_t    count = 0;  ///< records of the append: positions first … first + count - 1
};

/// One item of a query: any of `types` (if not empty) and all of `tags`.
struct query_terms
{
    struct item
    {
        std::vector<term> types;
        std::vector<term> tags;
    };
    std::vector<item> items;  ///< OR-ed; an item with neither matches every record
};

enum class direction
{
    forward,
    backward,
};

struct index_statistics
{
    std::uint64_t entries_in_memory = 0;
    std::uint64_t bytes_in_memory   = 0;
    std::uint64_t runs              = 0;
    std::uint64_t run_bytes         = 0;
    std::uint64_t flushes           = 0;
    std::uint64_t merges            = 0;
};

/// Invariants
///   - Every position below end() has been added, in order, once, or left no trace.
///   - What runs hold is exactly the positions below checkpoint(); they are durable.
///   - Versions of a stream are dense, from 0, in the order of positions.
///   - A damaged run is reported, never believed: what a lookup reads was checked first.
///
/// Threads   add(), set_end() and add_slice(): one thread at a time. flush(): one thread at a
///           time, beside the former. merge(): one thread at a time, beside all else, so that
///           a long merge delays no flush. Lookups: any thread; they wait for no disk write.
/// Lifetime  Lookups copy what they return.
/// Errors    storage_error: damaged_index, io_failed, disk_full. After a flush() or merge()
///           that threw, all is as it was before, and it may be tried again.
class index
{
public:
    struct options
    {
        std::string directory;          ///< empty: in memory only; runs are kept as bytes
        hash_key    key{};
        std::size_t merge_fan_in = 8;   ///< so many neighbours of like size become one run
        bool        read_only = false;  ///< nothing is removed; flush() keeps runs in memory
    };

    /// Opens what is in the directory: takes the runs that cover [0, checkpoint) without a hole,
    /// removes files that a merge has superseded or that do not connect. A run that does not
    /// check ends what is taken; it and all after it are removed and told to `on_damage`.
    explicit index(options o, std::function<void(const std::string&)> on_damage = {});
    ~index();
    index(const index&)            = delete;
    index& operator=(const index&) = delete;

    const term_hasher& hasher() const noexcept;

    position checkpoint() const;
    position end() const;

    /// Adds the next record; its position must be end() or larger (a hole is legal: what was
    /// there left no trace). Returns the version that the record has in its stream; -1 for a
    /// record without a key.
    version add(const index_entry& e);

    /// Adds several at once, which is cheaper: readers see all of them or none, and if it
    /// throws none was added. The versions go to `versions`, which has room for as many.
    void add(std::span<const index_entry> entries, std::span<version> versions);

    /// All positions below `end` are covered, also those that had nothing to add.
    void set_end(position end);

    // ---- Lookups. ------------------------------------------------------------------------

    stream_head head(term stream, lookup_hint<stream_head>* hint = nullptr) const;

    /// head() of many streams, in a fraction of the time.
    void heads(std::span<head_request> requests) const;

    /// The events of a stream from `from` on (backward: from `from` down), at most `max`.
    std::vector<stream_posting> stream(term stream, version from, direction d,
                                       std::size_t max) const;

    /// The newest position > `after` (all, where none) and < `before` that the query matches.
    /// A hint is for one query; `after` must not be less than when it was last used.
    std::optional<position> last_match(const query_terms& q, std::optional<position> after,
                                       position before,
                                       lookup_hint<std::optional<position>>* hint = nullptr) const;

    /// Positions that match: forward the first `max` that are >= from and < before, ascending;
    /// backward the last `max` that are < before and >= from, descending.
    std::vector<position> matches(const query_terms& q, position from, position before,
                                  direction d, std::size_t max) const;

    /// What the command with that id appended.
    std::optional<command_found> command(term id) const;

    /// Each stream with its head, in no order that means anything, for statistics. Calls back
    /// until it returns false.
    void each_stream(const std::function<bool(term, const stream_head&)>& f) const;

    // ---- Maintenance. --------------------------------------------------------------------

    /// Freezes what is in memory and makes a durable run of it. Nothing to do: returns at once.
    void flush();

    /// Merges runs where the policy asks for it; true if it did something. A long merge makes
    /// room for small ones in between, so that runs do not pile up behind it.
    bool merge();

    /// Makes a merge() that is running, and any later one, return soon. From any thread.
    void stop_merging() noexcept;

    /// The part of the index for positions [first, end) as the bytes of a run, which keeps what
    /// a rewritten segment no longer can tell. `end` must be <= checkpoint().
    std::string slice(position first, position end) const;

    /// Takes a slice as the next part, from end() on: it must not begin after that. For rebuilding.
    void add_slice(bytes_view run);

    /// Checks every byte of every run; a line for each fault.
    void verify(const std::function<void(const std::string&)>& fault) const;

    index_statistics statistics() const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace cairn::detail
