// SPDX-License-Identifier: Apache-2.0
#include "store/lmdb.hpp"

#include "file.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <map>
#include <utility>

namespace cairn::detail::lmdb {
namespace {

constexpr std::size_t   idle_max    = 32;
constexpr std::uint64_t room_step   = 16u << 20;
constexpr unsigned      readers_max = 510;  // of all processes; more at once are refused

// Environments of this process that may change, by device and inode. LMDB's lock file is locked
// with fcntl, and closing any descriptor of a file drops all the locks a process has on it: so
// this is a property of the process and not of any one object.
// An entry leaves only when its environment has been closed.
struct open_environments
{
    std::mutex                                     mutex;
    std::condition_variable                        closed;
    std::map<inode_id, std::weak_ptr<environment>> by_inode;  // guarded by mutex
};

// A forked process begins with none: what it inherited is its parent's, down to the places in
// LMDB's shared table of readers, and must not be touched.
std::atomic<open_environments*> registry_of_process{nullptr};

open_environments& all_open()
{
    static std::once_flag once;
    std::call_once(once, [] {
        registry_of_process = new open_environments;
        pthread_atfork(nullptr, nullptr, [] { registry_of_process = new open_environments; });
    });
    return *registry_of_process;
}

template <class Integer>
Integer native(const char* at) noexcept  // LMDB writes integers as the machine has them
{
    Integer v;
    std::memcpy(&v, at, sizeof v);
    return v;
}

MDB_val as_val(bytes_view b) noexcept
{
    return {b.size(), const_cast<char*>(b.data())};
}

std::string lock_path(const std::string& path)
{
    return path + "-lock";
}

}  // namespace

void fail(int rc, std::string_view doing, const std::string& path)
{
    const auto about = [&](const char* next) {
        return "cannot " + std::string{doing} + " " + path + ": " + mdb_strerror(rc) + "; " + next;
    };
    switch (rc) {
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
        throw map_full{errc::disk_full,
                       about("nothing was written: go on in a new segment, with a larger map")};
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_CURSOR_FULL:
    case MDB_NOTFOUND:
    case MDB_INCOMPATIBLE:
    case MDB_BAD_VALSIZE:
        throw storage_error{
            errc::damaged_segment,
            about("the file is damaged: run `cairn verify`, then restore it from a backup")};
    case MDB_PANIC:
        throw storage_error{errc::io_failed,
                            about("an earlier flush failed: check the disk, then restart")};
    case MDB_READERS_FULL:
        throw storage_error{errc::io_failed, about("too many readers at once: close some")};
    default:
        if (rc > 0) throw_io_error(rc, doing, path);
        throw storage_error{errc::io_failed, about("this is a defect in Cairn: report it")};
    }
}

namespace {

void take(file_facts& facts, const struct stat& status) noexcept
{
    facts.device     = status.st_dev;
    facts.inode      = status.st_ino;
    facts.modified   = status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec;
    facts.file_bytes = static_cast<std::uint64_t>(status.st_size);
}

}  // namespace

std::optional<file_facts> identify(const std::string& path) noexcept
{
    struct stat status = {};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    file_facts facts;
    take(facts, status);
    return facts;
}

file_facts examine(const std::string& path)
{
    const file f{path, file::access::read};
    file_facts facts;

    const auto damaged = [&](const std::string& what) -> storage_error {
        return {errc::damaged_segment,
                path + " " + what + ": run `cairn verify`, then restore it from a backup"};
    };

    // A meta page: page header (16), magic, version, address (8), map size (8), two database
    // records (48 each; the first begins with the page size), last page, transaction number.
    constexpr std::size_t   meta_bytes = 16 + 24 + 96 + 16;
    constexpr std::uint32_t magic      = 0xbeefc0de;
    std::uint64_t           newest     = 0;
    std::uint64_t           page_bytes = 4096;
    for (int i = 0; i < 2; ++i) {
        char at[meta_bytes];
        if (f.read_at(static_cast<std::uint64_t>(i) * page_bytes, at, meta_bytes) != meta_bytes)
            throw damaged("is cut off in its first pages");
        if (native<std::uint32_t>(at + 16) != magic || native<std::uint32_t>(at + 20) != 1)
            throw damaged("has a damaged meta page");
        const auto size   = native<std::uint32_t>(at + 40);
        const auto number = native<std::uint64_t>(at + 144);
        if (size < 512 || size > 65536 || (size & (size - 1)) != 0 ||
            (i == 1 && size != page_bytes))
            throw damaged("has a damaged meta page");
        page_bytes = size;
        if (i == 0 || number > newest) {
            newest           = number;
            facts.pages      = native<std::uint64_t>(at + 136) + 1;
            facts.map_bytes  = native<std::uint64_t>(at + 32);
            facts.page_bytes = size;
        }
    }
    // After the meta pages: the file may be growing, and grows before they say so.
    struct stat status = {};
    if (fstat(f.fd(), &status) != 0) throw_io_error(errno, "examine", path);
    take(facts, status);
    if (facts.pages > facts.file_bytes / facts.page_bytes)
        throw damaged("is cut off: it has " + std::to_string(facts.file_bytes) + " bytes of " +
                      std::to_string(facts.pages * facts.page_bytes));
    return facts;
}

// ---- environment ---------------------------------------------------------------------------

environment::environment() : process_{getpid()} {}

std::shared_ptr<environment> environment::open(const options& o)
{
    file_facts facts;
    if (o.how != mode::create) facts = examine(o.path);
    const bool locks  = o.how != mode::never_changes;
    const bool writes = o.how == mode::create || o.how == mode::write;

    auto&            registry = all_open();
    std::unique_lock lock{registry.mutex, std::defer_lock};
    if (locks) {
        lock.lock();
        for (;;) {
            if (o.how == mode::create) break;
            const auto found = registry.by_inode.find({facts.device, facts.inode});
            if (found == registry.by_inode.end()) break;
            if (auto e = found->second.lock()) {
                if (writes && !e->writes_)
                    throw storage_error{errc::held_by_another,
                                        o.path +
                                            " is open read-only in this process: close that "
                                            "log before it is opened for writing"};
                return e;
            }
            registry.closed.wait(lock);  // its last owner is about to close it
        }
    }

    std::shared_ptr<environment> e{new environment};
    e->path_   = o.path;
    e->writes_ = writes;
    e->locks_  = locks;
    e->idle_.reserve(idle_max);
    check(mdb_env_create(&e->env_), "open", o.path);
    check(mdb_env_set_maxdbs(e->env_, static_cast<MDB_dbi>(o.databases.size())), "open", o.path);
    check(mdb_env_set_maxreaders(e->env_, readers_max), "open", o.path);
    if (o.how == mode::create)
        check(mdb_env_set_mapsize(e->env_, o.map_bytes), "create", o.path);
    else if (!locks)
        check(mdb_env_set_mapsize(e->env_, facts.pages * facts.page_bytes), "open", o.path);

    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS;
    if (!writes) flags |= MDB_RDONLY;
    if (!locks) flags |= MDB_NOLOCK;
    check(mdb_env_open(e->env_, o.path.c_str(), flags, 0644), writes ? "open for writing" : "open",
          o.path);
    if (locks) e->forget_dead_readers();

    e->open_databases(o);

    MDB_stat stat = {};
    check(mdb_env_stat(e->env_, &stat), "open", o.path);
    MDB_envinfo info = {};
    check(mdb_env_info(e->env_, &info), "open", o.path);
    e->page_bytes_ = stat.ms_psize;
    e->map_bytes_  = info.me_mapsize;
    e->pages_      = info.me_last_pgno + 1;

    if (locks) {
        if (o.how == mode::create) facts = examine(o.path);
        e->id_                    = {facts.device, facts.inode};
        registry.by_inode[e->id_] = e;
        e->registered_            = true;
    }
    return e;
}

void environment::open_databases(const options& o)
{
    MDB_txn* txn = nullptr;
    check(mdb_txn_begin(env_, nullptr, writes_ ? 0 : MDB_RDONLY, &txn), "open", path_);
    for (std::size_t i = 0; i < o.databases.size(); ++i) {
        const int rc = mdb_dbi_open(txn, o.databases[i], o.how == mode::create ? MDB_CREATE : 0,
                                    &databases_[i]);
        if (rc != MDB_SUCCESS) {
            mdb_txn_abort(txn);
            fail(rc, "find its databases in", path_);
        }
    }
    check(mdb_txn_commit(txn), "open", path_);  // of a read transaction too: it keeps the handles
}

environment::~environment()
{
    if (getpid() != process_) return;  // see all_open()
    for (auto* c : idle_) close(c);
    if (!registered_) {
        if (env_ != nullptr) mdb_env_close(env_);
        return;
    }
    auto& registry = all_open();
    {
        std::lock_guard lock{registry.mutex};
        mdb_env_close(env_);
        registry.by_inode.erase(id_);
    }
    registry.closed.notify_all();
}

std::uint64_t environment::pages() const noexcept
{
    if (!locks_) return pages_;
    MDB_envinfo info = {};
    mdb_env_info(env_, &info);
    return info.me_last_pgno + 1;
}

void environment::rename(const std::string& path)
{
    // The lock file first: who finds the data file by its new name must find the lock file that
    // is in use, and not make another one.
    if (locks_ && file_exists(lock_path(path_))) rename_file(lock_path(path_), lock_path(path));
    auto to = path;  // the name is the file's as soon as it is renamed
    rename_file(path_, path);
    path_ = std::move(to);
}

void environment::sync()
{
    mdb_filehandle_t fd = -1;
    check(mdb_env_get_fd(env_, &fd), "flush", path_);
    if (fsync(fd) != 0) {
        const int error = errno;
        if (error == EIO) failed_ = true;
        throw_io_error(error, "flush", path_);
    }
}

void environment::make_room(std::uint64_t bytes)
{
    const auto used = pages() * page_bytes_;
    const auto end  = std::min(used + bytes, map_bytes_);
    if (end <= room_end_) return;
    mdb_filehandle_t fd = -1;
    check(mdb_env_get_fd(env_, &fd), "write to", path_);

    // Large steps, so that it is done rarely; where the disk is nearly full, what is needed.
    for (const auto target : {std::min(end + room_step, map_bytes_), end}) {
        int rc = 0;
        do {
            rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(used),
                           static_cast<off_t>(target - used));
        } while (rc != 0 && errno == EINTR);
        if (rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS) {
            room_end_ = target;
            return;
        }
    }
    throw_io_error(errno, "make room in", path_);
}

void environment::give_back_room() noexcept
{
    mdb_filehandle_t fd = -1;
    if (mdb_env_get_fd(env_, &fd) != MDB_SUCCESS) return;
    // Cutting the file at what is in use also drops blocks beyond its end. It is only space: an
    // error changes nothing.
    if (ftruncate(fd, static_cast<off_t>(pages() * page_bytes_)) == 0) room_end_ = 0;
}

void environment::forget_dead_readers() noexcept
{
    int dead = 0;
    mdb_reader_check(env_, &dead);
}

environment::context* environment::take() const
{
    context* c = nullptr;
    {
        std::lock_guard lock{mutex_};
        if (!idle_.empty()) {
            c = idle_.back();
            idle_.pop_back();
        }
    }
    if (c != nullptr) {
        if (!locks_) return c;  // nothing has changed since
        if (const int rc = mdb_txn_renew(c->txn); rc != MDB_SUCCESS) {
            close(c);
            fail(rc, "read", path_);
        }
        c->stale.fill(true);
        return c;
    }
    auto fresh = std::make_unique<context>();
    int  rc    = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &fresh->txn);
    if (rc == MDB_READERS_FULL) {
        int dead = 0;
        mdb_reader_check(env_, &dead);
        rc = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &fresh->txn);
    }
    check(rc, "read", path_);
    return fresh.release();
}

void environment::give_back(context* c) const noexcept
{
    if (locks_) mdb_txn_reset(c->txn);
    {
        std::lock_guard lock{mutex_};
        if (idle_.size() < idle_max) {
            idle_.push_back(c);
            return;
        }
    }
    close(c);
}

void environment::close(context* c) const noexcept
{
    for (auto* cursor : c->cursors)
        if (cursor != nullptr) mdb_cursor_close(cursor);
    mdb_txn_abort(c->txn);
    delete c;
}

// ---- reading -------------------------------------------------------------------------------

bytes_view reading::bounded(bytes_view value) const
{
    // A damaged page can name a value that reaches past its page, or past the file. Looking there
    // would be the end of the process.
    const auto       page_bytes = environment_->page_bytes_;
    const auto       in_page    = reinterpret_cast<std::uintptr_t>(value.data()) & (page_bytes - 1);
    bool             good       = false;
    if (in_page != 16) {
        good = in_page + value.size() <= page_bytes;
    } else {
        const char* const       page     = value.data() - 16;
        const auto              number   = native<std::uint64_t>(page);
        const auto              flags    = native<std::uint16_t>(page + 10);
        const std::uint64_t     pages    = native<std::uint32_t>(page + 12);
        constexpr std::uint16_t overflow = 4;
        good = flags == overflow && value.size() <= pages * page_bytes - 16 && pages != 0;
        if (good) {
            const auto end = environment_->pages();
            good           = number < end && pages <= end - number;
        }
    }
    if (!good) [[unlikely]]
        fail(MDB_CORRUPTED, "read", environment_->path_);
    return value;
}

bool reading::get(std::size_t database, bytes_view key, bytes_view& value) const
{
    auto      k  = as_val(key);
    MDB_val   v  = {};
    const int rc = mdb_get(context_->txn, environment_->databases_[database], &k, &v);
    if (rc == MDB_NOTFOUND) return false;
    check(rc, "read", environment_->path_);
    value = bounded({static_cast<const char*>(v.mv_data), v.mv_size});
    return true;
}

bool reading::move(std::size_t database, MDB_cursor_op how, bytes_view& key,
                   bytes_view& value) const
{
    if (!locate(database, how, key, value)) return false;
    value = bounded(value);
    return true;
}

bool reading::locate_floor(std::size_t database, bytes_view wanted, bytes_view& key,
                           bytes_view& value) const
{
    key = wanted;
    if (!locate(database, MDB_SET_RANGE, key, value)) {
        key = {};
        return locate(database, MDB_LAST, key, value);
    }
    return key <= wanted || locate(database, MDB_PREV, key, value);
}

bool reading::locate(std::size_t database, MDB_cursor_op how, bytes_view& key,
                     bytes_view& value) const
{
    auto& cursor = context_->cursors[database];
    if (cursor == nullptr)
        check(mdb_cursor_open(context_->txn, environment_->databases_[database], &cursor), "read",
              environment_->path_);
    else if (context_->stale[database])
        check(mdb_cursor_renew(context_->txn, cursor), "read", environment_->path_);
    context_->stale[database] = false;

    auto      k  = as_val(key);
    MDB_val   v  = {};
    const int rc = mdb_cursor_get(cursor, &k, &v, how);
    if (rc == MDB_NOTFOUND) return false;
    check(rc, "read", environment_->path_);
    const auto at = reinterpret_cast<std::uintptr_t>(k.mv_data) & (environment_->page_bytes_ - 1);
    // With MDB_SET and its kin a key that was found may be the caller's own.
    if (k.mv_data != key.data() && at + k.mv_size > environment_->page_bytes_) [[unlikely]]
        fail(MDB_CORRUPTED, "read", environment_->path_);
    key   = {static_cast<const char*>(k.mv_data), k.mv_size};
    value = {static_cast<const char*>(v.mv_data), v.mv_size};
    return true;
}

// ---- writing -------------------------------------------------------------------------------

writing::writing(environment& e) : environment_{&e}
{
    if (e.failed_)
        throw storage_error{errc::io_failed, "cannot write to " + e.path_ +
                                                 ": an earlier flush failed and what is on disk "
                                                 "is not known; check the disk, then restart"};
    check(mdb_txn_begin(e.env_, nullptr, 0, &txn_), "write to", e.path_);
}

writing::~writing()
{
    if (txn_ != nullptr) mdb_txn_abort(txn_);
}

void writing::put(std::size_t database, bytes_view key, bytes_view value, unsigned flags)
{
    auto k = as_val(key);
    auto v = as_val(value);
    check(mdb_put(txn_, environment_->databases_[database], &k, &v, flags), "write to",
          environment_->path_);
}

char* writing::reserve(std::size_t database, bytes_view key, std::size_t bytes, unsigned flags)
{
    auto    k = as_val(key);
    MDB_val v = {bytes, nullptr};
    check(mdb_put(txn_, environment_->databases_[database], &k, &v, flags | MDB_RESERVE),
          "write to", environment_->path_);
    return static_cast<char*>(v.mv_data);
}

bool writing::remove(std::size_t database, bytes_view key)
{
    auto      k  = as_val(key);
    const int rc = mdb_del(txn_, environment_->databases_[database], &k, nullptr);
    if (rc == MDB_NOTFOUND) return false;
    check(rc, "write to", environment_->path_);
    return true;
}

void writing::commit()
{
    const int rc = mdb_txn_commit(std::exchange(txn_, nullptr));
    if (rc != MDB_SUCCESS) {
        // After a failed fsync the page cache says "clean" of pages that are not on disk. And
        // whatever the error was, LMDB gives up where it hit the meta page: ask whether it did.
        MDB_txn*  probe = nullptr;
        const int alive = mdb_txn_begin(environment_->env_, nullptr, MDB_RDONLY, &probe);
        if (alive == MDB_SUCCESS) mdb_txn_abort(probe);
        if (rc == EIO || rc == MDB_PANIC || alive == MDB_PANIC) environment_->failed_ = true;
    }
    check(rc, "commit to", environment_->path_);
}

}  // namespace cairn::detail::lmdb
