// SPDX-License-Identifier: Apache-2.0
//
// The driver for SQLite.
#include "sql_tables.hpp"

#include <cairn/log/error.hpp>

#include <sqlite3.h>

#include <map>
#include <utility>

namespace cairn {

namespace {

using namespace detail;

/// So long another is waited for that has the file locked; then it is store_unavailable.
constexpr int busy_ms = 5'000;

struct close_database
{
    void operator()(sqlite3* d) const noexcept { sqlite3_close_v2(d); }
};
struct finalize_statement
{
    void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
};

class sqlite_row final : public sql_row
{
public:
    explicit sqlite_row(sqlite3_stmt* s) : statement_{s} {}

    std::int64_t number(int column) const override
    {
        return sqlite3_column_int64(statement_, column);
    }
    bytes_view bytes(int column) const override
    {
        const auto* at = static_cast<const char*>(sqlite3_column_blob(statement_, column));
        return {at, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
    }

private:
    sqlite3_stmt* statement_;
};

class sqlite_connection final : public sql_connection
{
public:
    explicit sqlite_connection(std::string file) : file_{std::move(file)}
    {
        sqlite3*  d  = nullptr;
        const int rc = sqlite3_open_v2(file_.c_str(), &d,
                                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                                           SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                                       nullptr);
        database_.reset(d);
        if (rc != SQLITE_OK) fail(rc);
        sqlite3_busy_timeout(d, busy_ms);
        // A power cut may undo the newest commits whole, rows and checkpoint, which are then made
        // again from the log.
        run("PRAGMA journal_mode = WAL");
        run("PRAGMA synchronous = NORMAL");
    }

    void run(const std::string& sql, std::span<const sql_value> parameters,
             const std::function<void(const sql_row&)>& each) override
    {
        auto& prepared = statement(sql);
        // A callback may run the same statement again: it is not found meanwhile.
        const auto s    = std::move(prepared);
        const auto done = [&] {
            sqlite3_reset(s.get());
            sqlite3_clear_bindings(s.get());
        };
        try {
            int n = 0;
            for (const auto& p : parameters) bind(s.get(), ++n, p);
            const sqlite_row row{s.get()};
            int              rc = SQLITE_ROW;
            while ((rc = sqlite3_step(s.get())) == SQLITE_ROW)
                if (each) each(row);
            if (rc != SQLITE_DONE) fail(rc);
        } catch (...) {
            done();
            throw;
        }
        done();
        auto& back       = const_cast<statement_ptr&>(s);
        statements_[sql] = std::move(back);
    }
    void send(const std::string& sql, std::span<const sql_value> parameters) override
    {
        run(sql, parameters, {});
    }
    void flush() override {}

    void begin_reading() override
    {
        run("BEGIN", {}, {});
        // The state is that of the first look.
        run("SELECT count(*) FROM cairn_projections", {}, {});
    }
    void begin_writing(const std::string&) override { run("BEGIN IMMEDIATE", {}, {}); }
    bool broken() const noexcept override { return broken_; }

private:
    using statement_ptr = std::unique_ptr<sqlite3_stmt, finalize_statement>;

    void run(const char* sql) { run(sql, {}, {}); }

    statement_ptr& statement(const std::string& sql)
    {
        auto& s = statements_[sql];
        if (s) return s;
        sqlite3_stmt* made = nullptr;
        const int rc = sqlite3_prepare_v2(database_.get(), sql.data(), static_cast<int>(sql.size()),
                                          &made, nullptr);
        s.reset(made);
        if (rc != SQLITE_OK) fail(rc);
        return s;
    }

    void bind(sqlite3_stmt* s, int n, const sql_value& value)
    {
        int rc = SQLITE_OK;
        if (const auto* number = std::get_if<std::int64_t>(&value))
            rc = sqlite3_bind_int64(s, n, *number);
        else if (const auto* real = std::get_if<double>(&value))
            rc = sqlite3_bind_double(s, n, *real);
        else if (const auto* text = std::get_if<std::string_view>(&value))
            rc = sqlite3_bind_text64(s, n, text->empty() ? "" : text->data(), text->size(),
                                     SQLITE_STATIC, SQLITE_UTF8);
        else if (const auto* bytes = std::get_if<sql_bytes>(&value))
            rc = bytes->bytes.empty() ? sqlite3_bind_zeroblob(s, n, 0)
                                      : sqlite3_bind_blob64(s, n, bytes->bytes.data(),
                                                            bytes->bytes.size(), SQLITE_STATIC);
        else
            rc = sqlite3_bind_null(s, n);
        if (rc != SQLITE_OK) fail(rc);
    }

    [[noreturn]] void fail(int rc)
    {
        const std::string what = "SQLite, " + file_ + ": " +
                                 (database_ ? sqlite3_errmsg(database_.get()) : sqlite3_errstr(rc));
        switch (rc & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            throw error{errc::store_unavailable,
                        what + "; another process holds it, and it is tried again"};
        case SQLITE_FULL:
            throw storage_error{errc::disk_full, what + "; make room, and it goes on"};
        case SQLITE_NOMEM:
            throw storage_error{errc::out_of_memory, what};
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_CANTOPEN:
            throw storage_error{errc::not_writable, what};
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            broken_ = true;
            throw storage_error{errc::damaged_table,
                                what + "; delete the file, and it is rebuilt from the log"};
        case SQLITE_IOERR:
            broken_ = true;
            throw storage_error{errc::io_failed, what + "; check the disk, then restart"};
        default:
            throw storage_error{errc::io_failed, what};
        }
    }

    const std::string                        file_;
    std::unique_ptr<sqlite3, close_database> database_;
    std::map<std::string, statement_ptr>     statements_;
    bool                                     broken_ = false;
};

}  // namespace

std::shared_ptr<table_store> sqlite_tables(std::string file)
{
    sql_database d;
    d.what    = file;
    d.dialect = {"BLOB", "INTEGER", "INTEGER", "REAL", "INTEGER", "TEXT", "WITHOUT ROWID", false};
    d.connect = [file = std::move(file)]() -> std::unique_ptr<sql_connection> {
        return std::make_unique<sqlite_connection>(file);
    };
    return make_sql_store(std::move(d));
}

}  // namespace cairn
