// SPDX-License-Identifier: Apache-2.0
//
// SQLite as an event store: a write-ahead log, synchronous=FULL, one table with a unique index on
// stream and version, one of tags. One connection under a mutex: SQLite has one writer anyway, and
// several connections wait for each other by sleeping.
#include "stores.hpp"

#include <sqlite3.h>

#include <mutex>
#include <stdexcept>

namespace cairn::bench {

namespace {

class statement
{
public:
    statement(sqlite3* db, const char* text) : db_{db}
    {
        if (sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, &s_, nullptr) != SQLITE_OK)
            throw std::runtime_error{sqlite3_errmsg(db)};
    }
    ~statement() { sqlite3_finalize(s_); }
    statement(const statement&)            = delete;
    statement& operator=(const statement&) = delete;

    statement& text(int at, std::string_view v)
    {
        sqlite3_bind_text(s_, at, v.data(), static_cast<int>(v.size()), SQLITE_STATIC);
        return *this;
    }
    statement& blob(int at, std::string_view v)
    {
        sqlite3_bind_blob(s_, at, v.data(), static_cast<int>(v.size()), SQLITE_STATIC);
        return *this;
    }
    statement& number(int at, std::int64_t v)
    {
        sqlite3_bind_int64(s_, at, v);
        return *this;
    }
    bool row()
    {
        const auto code = sqlite3_step(s_);
        if (code != SQLITE_ROW && code != SQLITE_DONE)
            throw std::runtime_error{sqlite3_errmsg(db_)};
        return code == SQLITE_ROW;
    }
    std::string_view bytes(int at)
    {
        const auto* data = static_cast<const char*>(sqlite3_column_blob(s_, at));
        return {data, static_cast<std::size_t>(sqlite3_column_bytes(s_, at))};
    }
    void reset() { sqlite3_reset(s_); }
    void run()
    {
        row();
        reset();
    }

private:
    sqlite3*      db_;
    sqlite3_stmt* s_ = nullptr;
};

sqlite3* open_database(const std::string& file)
{
    sqlite3* db = nullptr;
    if (sqlite3_open(file.c_str(), &db) != SQLITE_OK) throw std::runtime_error{"sqlite3_open"};
    const auto* setup =
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=17179869184;"
        "CREATE TABLE events(position INTEGER PRIMARY KEY, stream TEXT NOT NULL,"
        " version INTEGER NOT NULL, type TEXT NOT NULL, value BLOB NOT NULL,"
        " UNIQUE(stream, version));"
        "CREATE TABLE tags(tag TEXT NOT NULL, position INTEGER NOT NULL,"
        " PRIMARY KEY(tag, position)) WITHOUT ROWID;";
    if (sqlite3_exec(db, setup, nullptr, nullptr, nullptr) != SQLITE_OK)
        throw std::runtime_error{sqlite3_errmsg(db)};
    return db;
}

class sqlite_store final : public store_of_events
{
public:
    explicit sqlite_store(const std::string& directory)
        : db_{open_database(directory + "/events.sqlite")}
    {
    }
    const char* name() const override { return "sqlite"; }

    void append(std::span<const event> events) override
    {
        const std::lock_guard lock{mutex_};
        begin_.run();
        for (const auto& e : events) insert(e, e.version);
        commit_.run();
    }

    bool has_boundaries() const override { return true; }
    void append_under_boundary(const event& e) override
    {
        const std::lock_guard lock{mutex_};
        begin_.run();
        const bool crossed = both_.text(1, e.tags.at(0)).text(2, e.tags.at(1)).row();
        both_.reset();
        if (crossed) throw std::runtime_error{"boundary crossed"};
        insert(e, e.version);
        commit_.run();
    }

    void bulk_of(std::span<const event> events, std::int64_t version) override
    {
        const std::lock_guard lock{mutex_};
        begin_.run();
        for (const auto& e : events) insert(e, version);
        commit_.run();
    }

    void read_all(const std::function<void(std::string_view, std::string_view)>& each) override
    {
        while (all_.row()) each(all_.bytes(0), all_.bytes(1));
        all_.reset();
    }
    void replay(tally& t) override
    {
        while (all_.row()) t.take(all_.bytes(0), all_.bytes(1));
        all_.reset();
    }
    void settle() override { sqlite3_wal_checkpoint(db_.get(), nullptr); }

private:
    void insert(const event& e, std::int64_t version)
    {
        insert_.text(1, e.stream).number(2, version).text(3, e.type).blob(4, e.value).run();
        if (e.tags.empty()) return;
        const auto position = sqlite3_last_insert_rowid(db_.get());
        for (const auto& tag : e.tags) tag_.text(1, tag).number(2, position).run();
    }

    struct closer
    {
        void operator()(sqlite3* db) const { sqlite3_close(db); }
    };
    std::unique_ptr<sqlite3, closer> db_;
    std::mutex                       mutex_;
    statement begin_{db_.get(), "BEGIN IMMEDIATE"};
    statement commit_{db_.get(), "COMMIT"};
    statement insert_{db_.get(),
                      "INSERT INTO events(stream, version, type, value) VALUES(?, ?, ?, ?)"};
    statement tag_{db_.get(), "INSERT OR IGNORE INTO tags(tag, position) VALUES(?, ?)"};
    statement both_{db_.get(), "SELECT 1 FROM tags a WHERE a.tag = ? AND EXISTS (SELECT 1 FROM "
                               "tags b WHERE b.tag = ? AND b.position = a.position) LIMIT 1"};
    statement all_{db_.get(), "SELECT type, value FROM events ORDER BY position"};
};

}  // namespace

std::unique_ptr<store> make_sqlite(const std::string& directory)
{
    return std::make_unique<sqlite_store>(directory);
}

}  // namespace cairn::bench
