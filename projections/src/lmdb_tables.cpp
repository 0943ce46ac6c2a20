// SPDX-License-Identifier: Apache-2.0
//
// Tables in LMDB. A version is an environment of its own, <directory>/<projection>@<version>/:
//
//     meta        "shapes" -> the tables, as text; "checkpoint" -> how far they have come
//     <table>     the rows
//
// and <directory>/<projection>.active is a file that holds the number of the version that answers.
#include <cairn/projections/table_store.hpp>

#include "stored_tables.hpp"

#include <fcntl.h>
#include <lmdb.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

namespace cairn {

namespace {

namespace fs = std::filesystem;

/// Only address space: the file grows with what is in it.
constexpr std::size_t map_bytes   = std::size_t{64} << 30;
constexpr unsigned    readers_max = 1024;

constexpr bytes_view shapes_key     = "shapes";
constexpr bytes_view checkpoint_key = "checkpoint";

[[noreturn]] void fail(int rc, const std::string& doing, const std::string& path)
{
    const auto what = "cannot " + doing + " " + path + ": " + mdb_strerror(rc);
    if (rc == ENOSPC || rc == EDQUOT || rc == MDB_MAP_FULL)
        throw storage_error{errc::disk_full, what + "; make room, and it goes on"};
    if (rc == ENOMEM) throw storage_error{errc::out_of_memory, what};
    if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID || rc == MDB_PANIC)
        throw storage_error{errc::damaged_table,
                            what + "; delete the directory, and it is rebuilt from the log"};
    if (rc == MDB_VERSION_MISMATCH) throw storage_error{errc::newer_format, what};
    if (rc == EACCES || rc == EROFS || rc == EPERM) throw storage_error{errc::not_writable, what};
    throw storage_error{errc::io_failed, what + "; check the disk, then restart"};
}

void check(int rc, const char* doing, const std::string& path)
{
    if (rc != MDB_SUCCESS) fail(rc, doing, path);
}

MDB_val as_val(bytes_view b) noexcept
{
    return {b.size(), const_cast<char*>(b.data())};
}
bytes_view as_bytes(const MDB_val& v) noexcept
{
    return {static_cast<const char*>(v.mv_data), v.mv_size};
}

/// LMDB must not open a file twice in a process: closing one would drop the locks of the other.
class open_paths
{
public:
    explicit open_paths(const fs::path& p) : path_{fs::weakly_canonical(p).string()}
    {
        const std::lock_guard lock{mutex()};
        if (!all().insert({path_, 0}).second)
            throw error{errc::held_by_another,
                        path_ + " is open in this process already: share one table_store"};
    }
    ~open_paths()
    {
        const std::lock_guard lock{mutex()};
        all().erase(path_);
    }
    open_paths(const open_paths&)            = delete;
    open_paths& operator=(const open_paths&) = delete;

private:
    static std::mutex& mutex()
    {
        static std::mutex m;
        return m;
    }
    static std::map<std::string, int>& all()
    {
        static std::map<std::string, int> paths;
        return paths;
    }

    std::string path_;
};

void sync(const std::string& path, int flags)
{
    const int fd = ::open(path.c_str(), flags | O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail(errno, "flush", path);
    const int rc    = ::fsync(fd);
    const int error = errno;
    ::close(fd);
    if (rc != 0) fail(error, "flush", path);
}

struct close_environment
{
    void operator()(MDB_env* e) const noexcept { mdb_env_close(e); }
};
struct abort_transaction
{
    void operator()(MDB_txn* t) const noexcept { mdb_txn_abort(t); }
};
struct close_cursor
{
    void operator()(MDB_cursor* c) const noexcept { mdb_cursor_close(c); }
};
using transaction = std::unique_ptr<MDB_txn, abort_transaction>;

using environment = std::unique_ptr<MDB_env, close_environment>;

environment opened(const std::string& path, std::size_t tables, unsigned flags)
{
    MDB_env* e = nullptr;
    check(mdb_env_create(&e), "open", path);
    environment opening{e};
    check(mdb_env_set_mapsize(e, map_bytes), "open", path);
    check(mdb_env_set_maxreaders(e, readers_max), "open", path);
    check(mdb_env_set_maxdbs(e, static_cast<MDB_dbi>(tables + 1)), "open", path);
    check(mdb_env_open(e, path.c_str(), MDB_NOTLS | MDB_NORDAHEAD | flags, 0644), "open", path);
    return opening;
}

/// A directory without this is none: it is about to be made, or was being removed.
constexpr const char* data_file = "data.mdb";

class lmdb_version final : public projection_tables,
                           public std::enable_shared_from_this<lmdb_version>
{
public:
    lmdb_version(const std::string& projection, int version, int code_version,
                 const fs::path& directory, std::span<const table_shape> wanted_shapes)
        : path{directory.string()},
          shapes{wanted_shapes.begin(), wanted_shapes.end()},
          open_{directory}
    {
        if (!fs::exists(directory / data_file)) make(directory, code_version);
        // One flush a commit. A power cut may undo the newest commit whole, rows and checkpoint,
        // which is then made again from the log.
        environment_ = opened(path, shapes.size(), MDB_NOMETASYNC);
        int dead     = 0;
        mdb_reader_check(environment_.get(), &dead);

        MDB_txn* t = nullptr;
        check(mdb_txn_begin(environment_.get(), nullptr, 0, &t), "open", path);
        transaction opening{t};
        check(mdb_dbi_open(t, "meta", 0, &meta), "open", path);
        auto key = as_val(shapes_key), value = MDB_val{};
        check(mdb_get(t, meta, &key, &value), "read", path);
        detail::check_shapes(projection, version, std::string{as_bytes(value)}, shapes);
        for (const auto& s : shapes)
            check(mdb_dbi_open(t, s.name.c_str(), MDB_CREATE, &tables.emplace_back()), "open",
                  path);
        opening.release();
        check(mdb_txn_commit(t), "write to", path);
    }

    std::unique_ptr<table_reader> read() override;
    std::unique_ptr<table_writer> write() override;

    transaction begin(unsigned flags)
    {
        if (failed)
            throw storage_error{errc::io_failed,
                                path +
                                    ": an earlier flush failed and what is on disk is not "
                                    "known; check the disk, then restart"};
        MDB_txn* t = nullptr;
        check(mdb_txn_begin(environment_.get(), nullptr, flags, &t), "read", path);
        return transaction{t};
    }

    const std::string              path;
    const std::vector<table_shape> shapes;
    MDB_dbi                        meta = 0;
    std::vector<MDB_dbi>           tables;
    std::atomic<bool>              failed{false};

private:
    /// In one step: who finds the directory finds a whole environment in it, also after a power
    /// cut.
    void make(const fs::path& directory, int code_version) const
    {
        const fs::path  beside{path + ".new"};
        std::error_code why;
        fs::remove_all(beside, why);
        if (!why) fs::create_directories(beside, why);
        if (why) fail(why.value(), "make", beside.string());
        {
            const auto making = opened(beside.string(), shapes.size(), 0);
            MDB_txn*   t      = nullptr;
            check(mdb_txn_begin(making.get(), nullptr, 0, &t), "make", path);
            transaction writing{t};
            MDB_dbi     in = 0;
            check(mdb_dbi_open(t, "meta", MDB_CREATE, &in), "make", path);
            projection_checkpoint nothing;
            nothing.code_version = code_version;
            const auto put       = [&](bytes_view name, const std::string& bytes) {
                auto key = as_val(name), value = as_val(bytes);
                check(mdb_put(t, in, &key, &value, 0), "make", path);
            };
            put(shapes_key, detail::text_of(shapes));
            put(checkpoint_key, detail::encode(nothing));
            writing.release();
            check(mdb_txn_commit(t), "make", path);
        }
        sync((beside / data_file).string(), 0);
        fs::remove_all(directory, why);
        if (!why) fs::rename(beside, directory, why);
        if (why) fail(why.value(), "make", path);
        sync(directory.parent_path().string(), O_DIRECTORY);
    }

    open_paths  open_;
    environment environment_;
};

class lmdb_cursor final : public row_cursor
{
public:
    lmdb_cursor(MDB_txn* t, MDB_dbi table, key_range rows, const std::string& path)
        : rows_{std::move(rows)}, path_{path}
    {
        MDB_cursor* c = nullptr;
        check(mdb_cursor_open(t, table, &c), "read", path_);
        cursor_.reset(c);
    }

    bool next() override
    {
        const int rc = std::exchange(started_, true)
                           ? mdb_cursor_get(cursor_.get(), &key_, &value_,
                                            rows_.backwards ? MDB_PREV : MDB_NEXT)
                           : first();
        if (rc == MDB_NOTFOUND) return false;
        check(rc, "read", path_);
        return rows_.backwards ? key() >= rows_.from : !rows_.to || key() < *rows_.to;
    }
    bytes_view key() const override { return as_bytes(key_); }
    bytes_view value() const override { return as_bytes(value_); }

private:
    int first()
    {
        if (rows_.backwards) {
            if (!rows_.to) return mdb_cursor_get(cursor_.get(), &key_, &value_, MDB_LAST);
            key_         = as_val(*rows_.to);
            const int rc = mdb_cursor_get(cursor_.get(), &key_, &value_, MDB_SET_RANGE);
            return mdb_cursor_get(cursor_.get(), &key_, &value_,
                                  rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
        }
        if (rows_.from.empty()) return mdb_cursor_get(cursor_.get(), &key_, &value_, MDB_FIRST);
        key_ = as_val(rows_.from);
        return mdb_cursor_get(cursor_.get(), &key_, &value_, MDB_SET_RANGE);
    }

    key_range                                 rows_;
    const std::string&                        path_;
    std::unique_ptr<MDB_cursor, close_cursor> cursor_;
    MDB_val                                   key_{}, value_{};
    bool                                      started_ = false;
};

class lmdb_transaction final : public table_writer
{
public:
    lmdb_transaction(std::shared_ptr<lmdb_version> of, unsigned flags)
        : of_{std::move(of)}, transaction_{of_->begin(flags)}
    {
    }

    projection_checkpoint checkpoint() override
    {
        auto      key = as_val(checkpoint_key), value = MDB_val{};
        const int rc = mdb_get(transaction_.get(), of_->meta, &key, &value);
        if (rc == MDB_NOTFOUND) return {};
        check(rc, "read", of_->path);
        return detail::decode_checkpoint(as_bytes(value));
    }
    bool get(std::size_t table, bytes_view key, std::string& value) override
    {
        auto      k = as_val(key), v = MDB_val{};
        const int rc = mdb_get(transaction_.get(), of_->tables[table], &k, &v);
        if (rc == MDB_NOTFOUND) return false;
        check(rc, "read", of_->path);
        value = as_bytes(v);
        return true;
    }
    std::unique_ptr<row_cursor> scan(std::size_t table, const key_range& rows) override
    {
        return std::make_unique<lmdb_cursor>(transaction_.get(), of_->tables[table], rows,
                                             of_->path);
    }
    std::uint64_t count(std::size_t table) override
    {
        MDB_stat s{};
        check(mdb_stat(transaction_.get(), of_->tables[table], &s), "read", of_->path);
        return s.ms_entries;
    }

    void commit(std::span<const row_change> changes, const projection_checkpoint& c) override
    {
        detail::check_epoch(checkpoint(), c);
        for (const auto& change : changes) {
            auto       k     = as_val(change.key);
            const auto table = of_->tables[change.table];
            if (change.value) {
                auto v = as_val(*change.value);
                check(mdb_put(transaction_.get(), table, &k, &v, 0), "write to", of_->path);
            } else if (const int rc = mdb_del(transaction_.get(), table, &k, nullptr);
                       rc != MDB_NOTFOUND)
                check(rc, "write to", of_->path);
        }
        const auto bytes = detail::encode(c);
        auto       k = as_val(checkpoint_key), v = as_val(bytes);
        check(mdb_put(transaction_.get(), of_->meta, &k, &v, 0), "write to", of_->path);
        const int rc = mdb_txn_commit(transaction_.release());
        if (rc != MDB_SUCCESS && rc != ENOSPC && rc != MDB_MAP_FULL && rc != ENOMEM)
            of_->failed = true;  // a failed flush is final
        check(rc, "write to", of_->path);
    }

private:
    std::shared_ptr<lmdb_version> of_;
    transaction                   transaction_;
};

std::unique_ptr<table_reader> lmdb_version::read()
{
    return std::make_unique<lmdb_transaction>(shared_from_this(), MDB_RDONLY);
}
std::unique_ptr<table_writer> lmdb_version::write()
{
    return std::make_unique<lmdb_transaction>(shared_from_this(), 0u);
}

/// What is in a small file; "" where there is none.
std::string read_small(const std::string& path)
{
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT) return {};
        fail(errno, "read", path);
    }
    char       bytes[64];
    const auto n     = ::read(fd, bytes, sizeof bytes);
    const int  error = errno;
    ::close(fd);
    if (n < 0) fail(error, "read", path);
    return {bytes, static_cast<std::size_t>(n)};
}

/// Replaces a small file in one step.
void write_small(const fs::path& path, const std::string& text)
{
    const auto beside = path.string() + ".tmp";
    const int  fd     = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) fail(errno, "write", beside);
    const auto n     = ::write(fd, text.data(), text.size());
    const int  error = n < 0 ? errno : ENOSPC;
    ::close(fd);
    if (n != static_cast<ssize_t>(text.size())) fail(error, "write", beside);
    sync(beside, 0);
    if (::rename(beside.c_str(), path.c_str()) != 0) fail(errno, "rename", beside);
    sync(path.parent_path().string(), O_DIRECTORY);
}

class lmdb_store final : public table_store
{
public:
    explicit lmdb_store(std::string directory) : directory_{std::move(directory)}
    {
        std::error_code failed;
        fs::create_directories(directory_, failed);
        if (failed) fail(failed.value(), "make", directory_.string());
    }

    std::vector<std::string> projections() override
    {
        std::set<std::string> all;
        std::error_code       failed;
        for (const auto& entry : fs::directory_iterator{directory_, failed}) {
            const auto name = entry.path().filename().string();
            if (const auto at = name.rfind('@'); at != std::string::npos)
                if (const auto of = name.substr(0, at); number_in(name, of)) all.insert(of);
        }
        if (failed) fail(failed.value(), "list", directory_.string());
        return {all.begin(), all.end()};
    }

    std::vector<table_shape> shapes(const std::string& projection, int version) override
    {
        {
            const std::lock_guard lock{mutex_};
            const auto            known = open_.find({projection, version});
            if (known != open_.end())
                if (const auto tables = known->second.lock()) return tables->shapes;
        }
        if (!fs::is_directory(path_of(projection, version))) return {};
        return detail::shapes_from(meta_of(projection, version, shapes_key));
    }

    std::vector<stored_version> versions(const std::string& projection) override
    {
        const int                   answering = active(projection);
        std::vector<stored_version> all;
        std::error_code             failed;
        for (const auto& entry : fs::directory_iterator{directory_, failed}) {
            if (const auto number = number_in(entry.path().filename().string(), projection);
                number && fs::exists(entry.path() / data_file))
                all.push_back({*number, *number == answering, checkpoint_of(projection, *number)});
        }
        if (failed) fail(failed.value(), "list", directory_.string());
        std::sort(all.begin(), all.end(),
                  [](const auto& a, const auto& b) { return a.number < b.number; });
        return all;
    }

    std::shared_ptr<projection_tables> open(const std::string& projection, int version,
                                            int                          code_version,
                                            std::span<const table_shape> shapes) override
    {
        const std::lock_guard lock{mutex_};
        auto&                 known  = open_[{projection, version}];
        auto                  tables = known.lock();
        if (!tables)
            known = tables = std::make_shared<lmdb_version>(projection, version, code_version,
                                                            path_of(projection, version), shapes);
        return tables;
    }

    void activate(const std::string& projection, int version) override
    {
        write_small(directory_ / (projection + ".active"), std::to_string(version) + "\n");
    }

    void drop(const std::string& projection, int version) override
    {
        const std::lock_guard lock{mutex_};
        const auto            path = path_of(projection, version);
        if (version == active(projection))
            throw error{errc::invalid_argument,
                        path.string() + " is what answers: activate another version first"};
        if (!open_[{projection, version}].expired())
            throw error{errc::invalid_argument, path.string() + " is in use: stop it first"};
        std::error_code failed;
        fs::remove_all(path, failed);
        if (failed) fail(failed.value(), "remove", path.string());
    }

private:
    fs::path path_of(const std::string& projection, int version) const
    {
        return directory_ / (projection + "@" + std::to_string(version));
    }

    /// Of a directory <projection>@<number>; nullopt: it is none.
    static std::optional<int> number_in(const std::string& name, const std::string& projection)
    {
        if (name.size() <= projection.size() + 1 || !name.starts_with(projection) ||
            name[projection.size()] != '@')
            return std::nullopt;
        int        number = 0;
        const auto digits = bytes_view{name}.substr(projection.size() + 1);
        const auto end    = std::from_chars(digits.begin(), digits.end(), number);
        if (end.ec != std::errc{} || end.ptr != digits.end()) return std::nullopt;
        return number;
    }

    int active(const std::string& projection) const
    {
        const auto text   = read_small((directory_ / (projection + ".active")).string());
        int        number = 0;
        std::from_chars(text.data(), text.data() + text.size(), number);
        return number;
    }

    projection_checkpoint checkpoint_of(const std::string& projection, int version)
    {
        // To the end: two that look at once would open it twice.
        const std::lock_guard lock{mutex_};
        const auto            known = open_.find({projection, version});
        if (known != open_.end())
            if (const auto tables = known->second.lock()) return tables->read()->checkpoint();
        const auto bytes = meta_of(projection, version, checkpoint_key);
        return bytes.empty() ? projection_checkpoint{} : detail::decode_checkpoint(bytes);
    }

    /// Of a version that nobody has open here: its tables need not be known for that.
    std::string meta_of(const std::string& projection, int version, bytes_view of) const
    {
        const auto       path = path_of(projection, version).string();
        const open_paths alone{path};
        MDB_env*         e = nullptr;
        check(mdb_env_create(&e), "open", path);
        const environment reading_only{e};
        check(mdb_env_set_mapsize(e, map_bytes), "open", path);
        check(mdb_env_set_maxdbs(e, 1), "open", path);
        check(mdb_env_open(e, path.c_str(), MDB_NOTLS | MDB_RDONLY, 0644), "open", path);
        MDB_txn* t = nullptr;
        check(mdb_txn_begin(e, nullptr, MDB_RDONLY, &t), "read", path);
        const transaction reading{t};
        MDB_dbi           meta = 0;
        auto              key = as_val(of), value = MDB_val{};
        int               rc = mdb_dbi_open(t, "meta", 0, &meta);
        if (rc == MDB_SUCCESS) rc = mdb_get(t, meta, &key, &value);
        if (rc == MDB_NOTFOUND) return {};
        check(rc, "read", path);
        return std::string{as_bytes(value)};
    }

    const fs::path                                                     directory_;
    std::mutex                                                         mutex_;
    std::map<std::pair<std::string, int>, std::weak_ptr<lmdb_version>> open_;
};

}  // namespace

std::shared_ptr<table_store> lmdb_tables(std::string directory)
{
    return std::make_shared<lmdb_store>(std::move(directory));
}

}  // namespace cairn
