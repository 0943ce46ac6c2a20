// SPDX-License-Identifier: Apache-2.0
//
// LMDB, as much of it as Cairn uses: environments that are one file, a few named databases in
// each, one writer, many short readers.
//
// What of LMDB's data format (version 1) is relied upon here, so that damage is met before it is
// touched: the file begins with two meta pages, of which the one with the higher transaction
// number holds; a value that does not fit half a page lies alone on contiguous overflow pages,
// 16 bytes after their begin, where the first says how many they are.
#pragma once

#include <cairn/log/error.hpp>
#include <cairn/log/ids.hpp>

#include <lmdb.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::detail::lmdb {

/// The map of an environment is too small for a transaction. Nothing has changed.
class map_full : public storage_error
{
public:
    using storage_error::storage_error;
};

/// Throws what stands for LMDB's, or the system's, error: map_full; disk_full; io_failed;
/// damaged_segment; not_writable; out_of_memory. `doing` as in "append to".
[[noreturn]] void fail(int rc, std::string_view doing, const std::string& path);

inline void check(int rc, std::string_view doing, const std::string& path)
{
    if (rc != MDB_SUCCESS) [[unlikely]]
        fail(rc, doing, path);
}

/// What a file's meta pages say, read without LMDB.
struct file_facts
{
    std::uint64_t device     = 0;
    std::uint64_t inode      = 0;  ///< with `device`: which file it is
    std::int64_t  modified   = 0;  ///< ns; inodes are used again, and soon
    std::uint64_t file_bytes = 0;
    std::uint64_t page_bytes = 0;
    std::uint64_t pages      = 0;  ///< in use
    std::uint64_t map_bytes  = 0;
};

/// Throws damaged_segment where it is no LMDB file, or shorter than its meta page says: LMDB
/// would be killed by SIGBUS when it reads there.
file_facts examine(const std::string& path);

/// Which file it is, by one look at its directory entry: pages and map are left out. Nullopt where
/// it is not to be seen.
std::optional<file_facts> identify(const std::string& path) noexcept;

/// Device and inode: the file, whatever it is called now.
using inode_id = std::pair<std::uint64_t, std::uint64_t>;

class reading;
class writing;

/// One LMDB environment in one file.
///
/// Invariants
///   - A file that may change is open once in a process, however often it is asked for: LMDB's
///     locks do not survive a second opening.
///   - After a flush that failed with EIO nothing is written any more.
///
/// Threads   Reads from any; one writing at a time.
/// Forks     A forked process opens the file anew and leaves alone what it inherited.
/// Lifetime  Large values (see reading::view) live as long as the environment.
class environment
{
public:
    enum class mode {
        create,        ///< there must be no such file; writes
        write,         ///< exists; writes
        follow,        ///< exists and another process, or this one, may write to it
        never_changes  ///< exists and nobody ever writes to it again: no locks, no lock file
    };

    static constexpr std::size_t databases_max = 6;

    struct options
    {
        std::string              path;
        mode                     how       = mode::never_changes;
        std::uint64_t            map_bytes = 0;  ///< of a new one
        std::vector<const char*> databases;      ///< made by `create`, found by the others
    };

    static std::shared_ptr<environment> open(const options& o);

    ~environment();
    environment(const environment&)            = delete;
    environment& operator=(const environment&) = delete;

    const std::string& path() const noexcept { return path_; }
    std::uint64_t      page_bytes() const noexcept { return page_bytes_; }
    std::uint64_t      map_bytes() const noexcept { return map_bytes_; }
    std::uint64_t      pages() const noexcept;  ///< in use as of the last commit
    bool               writes() const noexcept { return writes_; }
    bool               has_failed() const noexcept { return failed_; }

    /// The file and, where it has one, its lock file get another name in the same directory;
    /// not synced.
    void rename(const std::string& path);

    /// fsync, of the data and all metadata.
    void sync();

    /// Has the file system set blocks aside for so many bytes more than are in use, so that a
    /// full disk is met here, where nothing has been written: LMDB takes a write that the disk
    /// cut short for an I/O error. Does nothing where the file system cannot do that.
    void make_room(std::uint64_t bytes);

    /// Gives back what was set aside and not used.
    void give_back_room() noexcept;

    /// Forgets readers whose process has died, so that they pin no pages.
    void forget_dead_readers() noexcept;

    /// For the owner's least-recently-used list.
    mutable std::atomic<std::uint64_t> last_used{0};

private:
    friend class reading;
    friend class writing;

    struct context  // a read transaction and its cursors, used again and again
    {
        MDB_txn*                               txn = nullptr;
        std::array<MDB_cursor*, databases_max> cursors{};
        std::array<bool, databases_max>        stale{};  // the cursor belongs to an earlier txn
    };

    environment();

    void     open_databases(const options& o);
    context* take() const;
    void     give_back(context* c) const noexcept;
    void     close(context* c) const noexcept;

    std::string                        path_;
    MDB_env*                           env_ = nullptr;
    std::array<MDB_dbi, databases_max> databases_{};
    std::uint64_t                      page_bytes_ = 4096;
    std::uint64_t                      map_bytes_  = 0;
    std::uint64_t                      pages_      = 0;  // where it never changes
    std::uint64_t                      room_end_   = 0;  // blocks are set aside up to here
    bool                               writes_     = false;
    bool                               locks_      = false;
    bool                               registered_ = false;
    inode_id                           id_{};
    const int                          process_;
    std::atomic<bool>                  failed_{false};

    mutable std::mutex            mutex_;
    mutable std::vector<context*> idle_;  // guarded by mutex_
};

/// A snapshot to read from. Short-lived: while it is there, pages that were replaced since
/// cannot be used again. Taking one costs about 100 ns, and less where nothing ever changes.
///
/// Threads  One.
class reading
{
public:
    explicit reading(const environment& e) : environment_{&e}, context_{e.take()} {}
    ~reading() { environment_->give_back(context_); }
    reading(const reading&)            = delete;
    reading& operator=(const reading&) = delete;

    const environment& of() const noexcept { return *environment_; }
    std::uint64_t      number() const noexcept { return mdb_txn_id(context_->txn); }

    bool get(std::size_t database, bytes_view key, bytes_view& value) const;

    /// Moves the one cursor that there is for a database. False where nothing is found.
    bool move(std::size_t database, MDB_cursor_op how, bytes_view& key, bytes_view& value) const;

    /// Like move(), but does not look at the page where the value lies: bounded() must, before
    /// anybody reads there. In between it can be fetched.
    bool locate(std::size_t database, MDB_cursor_op how, bytes_view& key, bytes_view& value) const;

    /// To the last key <= `wanted`; like locate(). False: there is none.
    bool locate_floor(std::size_t database, bytes_view wanted, bytes_view& key,
                      bytes_view& value) const;

    /// The value, once it is seen to lie inside of its pages and they inside of the file.
    bytes_view bounded(bytes_view value) const;

    /// True for a value that lies on pages of its own. Where nothing is ever deleted it stays
    /// there unchanged as long as the environment is open, also after this reading.
    bool lasts(bytes_view value) const noexcept
    {
        return (reinterpret_cast<std::uintptr_t>(value.data()) & (environment_->page_bytes_ - 1)) ==
               16;
    }

private:
    const environment*    environment_;
    environment::context* context_;
};

/// A write transaction. Unless commit() returned, nothing has changed.
///
/// Threads  One, the same from begin to end.
class writing
{
public:
    explicit writing(environment& e);
    ~writing();
    writing(const writing&)            = delete;
    writing& operator=(const writing&) = delete;

    void put(std::size_t database, bytes_view key, bytes_view value, unsigned flags = 0);

    /// Room for a value, to be filled before the next call.
    char* reserve(std::size_t database, bytes_view key, std::size_t bytes, unsigned flags = 0);

    bool remove(std::size_t database, bytes_view key);

    /// Durable when it returns.
    void commit();

private:
    environment* environment_;
    MDB_txn*     txn_ = nullptr;
};

}  // namespace cairn::detail::lmdb
