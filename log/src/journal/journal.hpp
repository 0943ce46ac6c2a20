// SPDX-License-Identifier: Apache-2.0
//
// The journal: where an append becomes durable. A few preallocated, zero-filled files of one
// size, used in turn. The format, all integers little-endian (bytes and their names: format.hpp):
//
//     file    journal/<generation, 16 digits>.jnl
//             a sector of 512 bytes: magic, version, generation, salt, size, CRC; then groups
//     group   at  size
//              0     8  magic "CAIRNGRP"
//              8     8  salt of the file          (a stale or foreign group does not have it)
//             16     8  first position
//             24     4  positions
//             28     4  payload bytes
//             32     4  CRC-32C of the payload and the zeros after it
//             36     4  CRC-32C of bytes 0..35
//             40        payload, then zeros up to a whole sector
//     sector  504 bytes of a group, then 8 of its tag: the generation, whether a group begins
//             here, and a check of that and of the sector's number
//
// One group is written at a time, so only the last can be torn. Reading goes group by group up
// to the first that does not check. That one is a torn tail if some of its sectors were never
// written, which their tags tell. If all were, or if a group follows, it is damage.
#pragma once

#include <cairn/log/error.hpp>
#include <cairn/log/ids.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace cairn::detail {

struct journal_options
{
    std::string   directory;                     ///< exists
    std::uint64_t file_bytes = 16ull << 20;      ///< grown for a single larger group
    std::size_t   files      = 4;                ///< at most; all full: write() waits
    bool          read_only  = false;            ///< recover() changes nothing; no writing after

    /// Called when a write() begins to wait for release(), and each time that was not enough: who
    /// merges at leisure must do so now. It must neither throw nor call the journal.
    std::function<void()> on_wait = {};
};

struct journal_statistics
{
    std::uint64_t groups = 0;
    std::uint64_t bytes  = 0;  ///< written, tags and padding included
    std::uint64_t waits  = 0;  ///< writes that waited for release()
    std::uint64_t files  = 0;  ///< on disk
};

/// Invariants
///   - When write() returns, the group is on disk: it survives a power cut.
///   - Groups come back from recover() in order and whole, or not at all.
///   - A group that was refused with disk_full never comes back.
///   - A file is reused only after release() passed all that it holds, and under a new
///     generation and salt that are durable before its first group is written.
///   - No more than `files` files are ever on disk, the one being made ready included.
///   - A changed bit in anything that recover() reads is reported: no group is dropped in
///     silence, none comes back other than it was.
///
/// Threads   recover() first, alone. Then write() by one thread at a time and release() by
///           another, beside it; prepare() and stop() by any. The destructor alone: with all
///           released, it leaves the journal so that the next recover() need not read it.
/// Errors    storage_error. damaged_journal (file, byte, position) from recover(), also where
///           files are missing or cut off, and newer_format. An error while a group is written
///           or flushed is final: write() throws io_failed, and every later write() too; whether
///           that last group is there, only the next recover() can tell. disk_full (no room for
///           a new file, or for the group) and out_of_memory are not: nothing was written, and a
///           later write() may succeed. error{invalid_argument} where positions do not connect.
class journal
{
public:
    explicit journal(journal_options o);
    ~journal();
    journal(const journal&)            = delete;
    journal& operator=(const journal&) = delete;

    /// Reads what is there: calls back for every whole group that ends above `merged` (groups
    /// below are skipped), in order, and checks that first positions connect. The callback
    /// returns how many positions the payload takes; it must be what write() was told.
    /// Damage to what is certainly merged does not matter and is passed over.
    /// Afterwards writing goes on in a fresh file, from the end of the last group (or from
    /// `merged`, if that is higher). The payload is good until the callback returns.
    ///
    /// With read_only, a writer in another process may reuse a file while it is read, which
    /// looks like damage: where `merged` has moved on meanwhile, try again from there.
    void recover(position merged,
                 const std::function<std::int64_t(position first, bytes_view payload)>& group);

    /// Writes one group and flushes it: one write call (for each MiB) and one fdatasync, and no
    /// memory is allocated. The payload is given in pieces that are written one after the other.
    /// Waits (back-pressure) while all files hold what is not released.
    ///
    /// REQUIRES: `first` is the `end` of the group before; less than 4 GiB.
    void write(position first, std::span<const bytes_view> payload, position end);

    /// All positions below `merged` are durable elsewhere: files that hold only those are free.
    void release(position merged);

    /// Makes the next file ready, where none is: to be called off the path of an append, often.
    /// Where it fails nothing is lost: write() will try again when it needs the file.
    void prepare();

    /// While `yes`, a write() that would wait for release() throws disk_full instead: whoever
    /// should release has no room itself.
    void refuse_to_wait(bool yes);

    /// Makes a write() that has to wait throw `closed`, now and later.
    void stop();

    /// Whether an error was final: what write() threw last may be on disk or not, and every later
    /// one throws too. False after an error: nothing was written, and a later one may succeed.
    bool has_failed() const noexcept;

    journal_statistics statistics() const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace cairn::detail
