// SPDX-License-Identifier: Apache-2.0
#include "sql_tables.hpp"

#include "stored_tables.hpp"
#include "utf8.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <limits>
#include <mutex>
#include <utility>

namespace cairn::detail {

namespace {

/// A name, however it is written.
std::string quoted(const std::string& name)
{
    std::string q = "\"";
    for (const char c : name) {
        q.push_back(c);
        if (c == '"') q.push_back('"');
    }
    return q + "\"";
}

/// Idle connections, each to be used by one at a time.
class connections : public std::enable_shared_from_this<connections>
{
public:
    explicit connections(sql_database d) : database{std::move(d)} {}

    std::shared_ptr<sql_connection> take()
    {
        std::unique_ptr<sql_connection> c;
        {
            const std::lock_guard lock{mutex_};
            if (!idle_.empty()) {
                c = std::move(idle_.back());
                idle_.pop_back();
            }
        }
        if (!c) c = database.connect();
        return {c.release(), [self = shared_from_this()](sql_connection* used) {
                    self->give_back(std::unique_ptr<sql_connection>{used});
                }};
    }

    const sql_database database;

private:
    void give_back(std::unique_ptr<sql_connection> c) noexcept
    {
        constexpr std::size_t idle_max = 8;
        if (c->broken()) return;
        try {
            const std::lock_guard lock{mutex_};
            if (idle_.size() < idle_max) idle_.push_back(std::move(c));
        } catch (const std::bad_alloc&) {
            // Then it is closed.
        }
    }

    std::mutex                                   mutex_;
    std::vector<std::unique_ptr<sql_connection>> idle_;
};

column_value column_for_people(row_bytes& in, const column& c, bool of_key, const sql_dialect& d)
{
    auto value = read_column(in, c, of_key);
    if (auto* n = std::get_if<std::uint64_t>(&value.is)) {
        if (*n > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            value.is = std::to_string(*n);
        else
            value.is = static_cast<std::int64_t>(*n);
    }
    if (auto* text = std::get_if<std::string>(&value.is); text && !value.as_bytes && d.text_is_utf8)
        *text = as_utf8(*text);
    return value;
}

/// As a parameter; a view of it.
sql_value as_parameter(const column_value& v)
{
    if (const auto* n = std::get_if<std::int64_t>(&v.is)) return *n;
    if (const auto* d = std::get_if<double>(&v.is)) return *d;
    if (const auto* s = std::get_if<std::string>(&v.is)) {
        if (v.as_bytes) return sql_bytes{*s};
        return std::string_view{*s};
    }
    return std::monostate{};
}

const char* type_of(const column& c, const sql_dialect& d)
{
    switch (c.type) {
    case column_type::boolean:
        return d.boolean;
    case column_type::integer:
        return d.integer;
    case column_type::unsigned_integer:
        return c.width < 8 ? d.integer : d.unsigned_integer;
    case column_type::real:
        return d.real;
    case column_type::text:
        return d.text;
    case column_type::bytes:
        break;
    }
    return d.bytes;
}

/// A table's statements.
struct sql_table
{
    sql_table(const std::string& of, const table_shape& s) : shape{s}
    {
        const auto name     = quoted(of + "." + s.name);
        get                 = "SELECT row_value FROM " + name + " WHERE row_key = $1";
        count               = "SELECT count(*) FROM " + name;
        erase               = "DELETE FROM " + name + " WHERE row_key = $1";
        scan                = "SELECT row_key, row_value FROM " + name + " WHERE row_key ";
        std::string columns = "row_key, row_value", values = "$1, $2",
                    change = "row_value = excluded.row_value";
        std::size_t n      = 3;
        for (const auto* list : {&s.key, &s.value})
            for (const auto& c : *list) {
                columns += ", " + quoted(c.name);
                values += ", $" + std::to_string(n++);
                change += ", " + quoted(c.name) + " = excluded." + quoted(c.name);
            }
        put = "INSERT INTO " + name + " (" + columns + ") VALUES (" + values +
              ") ON CONFLICT (row_key) DO UPDATE SET " + change;
    }

    std::string create(const std::string& of, const sql_dialect& d) const
    {
        std::string text = "CREATE TABLE " + quoted(of + "." + shape.name) + " (row_key " +
                           d.bytes + " NOT NULL PRIMARY KEY, row_value " + d.bytes + " NOT NULL";
        for (const auto* list : {&shape.key, &shape.value})
            for (const auto& c : *list) text += ", " + quoted(c.name) + " " + type_of(c, d);
        return text + ") " + d.table_options;
    }

    table_shape shape;
    std::string get, count, erase, scan, put;
};

std::string versioned(const std::string& projection, int version)
{
    return projection + "@" + std::to_string(version);
}

class sql_version final : public projection_tables, public std::enable_shared_from_this<sql_version>
{
public:
    sql_version(std::shared_ptr<connections> c, std::string p, int v,
                std::span<const table_shape> shapes)
        : to{std::move(c)}, projection{std::move(p)}, version{v}
    {
        for (const auto& s : shapes) tables.emplace_back(versioned(projection, version), s);
    }

    std::unique_ptr<table_reader> read() override;
    std::unique_ptr<table_writer> write() override;

    const std::shared_ptr<connections> to;
    const std::string                  projection;
    const int                          version;
    std::vector<sql_table>             tables;
};

/// A page of rows after the other, by key.
class sql_cursor final : public row_cursor
{
public:
    sql_cursor(std::shared_ptr<sql_connection> c, const sql_table& t, key_range rows)
        : connection_{std::move(c)}, table_{t}, rows_{std::move(rows)}
    {
    }

    bool next() override
    {
        if (at_ + 1 < page_.size()) {
            ++at_;
            return true;
        }
        if (last_page_) return false;
        constexpr std::size_t page_rows = 256;

        std::vector<sql_value> parameters;
        std::string            sql   = table_.scan;
        const auto             last  = page_.empty() ? std::string{} : page_.back().first;
        const auto             bound = [&](const char* how, const std::string& key) {
            if (!parameters.empty()) sql += " AND row_key ";
            parameters.push_back(sql_bytes{key});
            sql += how + std::string{" $"} + std::to_string(parameters.size());
        };
        if (rows_.backwards) {
            bound(">=", rows_.from);
            if (started_)
                bound("<", last);
            else if (rows_.to)
                bound("<", *rows_.to);
        } else {
            bound(started_ ? ">" : ">=", started_ ? last : rows_.from);
            if (rows_.to) bound("<", *rows_.to);
        }
        sql += rows_.backwards ? " ORDER BY row_key DESC LIMIT " : " ORDER BY row_key LIMIT ";
        sql += std::to_string(page_rows);
        std::vector<std::pair<std::string, std::string>> page;
        connection_->run(sql, parameters,
                         [&](const sql_row& r) { page.emplace_back(r.bytes(0), r.bytes(1)); });
        page_      = std::move(page);
        started_   = true;
        at_        = 0;
        last_page_ = page_.size() < page_rows;
        return !page_.empty();
    }
    bytes_view key() const override { return page_[at_].first; }
    bytes_view value() const override { return page_[at_].second; }

private:
    std::shared_ptr<sql_connection>                  connection_;
    const sql_table&                                 table_;
    key_range                                        rows_;
    std::vector<std::pair<std::string, std::string>> page_;
    std::size_t                                      at_        = 0;
    bool                                             started_   = false;
    bool                                             last_page_ = false;
};

class sql_transaction final : public table_writer
{
public:
    sql_transaction(std::shared_ptr<sql_version> of, bool writes)
        : of_{std::move(of)}, connection_{of_->to->take()}
    {
        if (writes)
            connection_->begin_writing(versioned(of_->projection, of_->version));
        else
            connection_->begin_reading();
        open_ = true;
    }
    ~sql_transaction() override
    {
        if (!open_) return;
        try {
            connection_->run("ROLLBACK");
        } catch (...) {
            // The database does it when the connection closes.
        }
    }

    projection_checkpoint checkpoint() override
    {
        projection_checkpoint c;
        const sql_value of[] = {std::string_view{of_->projection}, std::int64_t{of_->version}};
        connection_->run(
            "SELECT checkpoint FROM cairn_projections WHERE projection = $1 AND "
            "version = $2",
            of, [&](const sql_row& r) { c = decode_checkpoint(r.bytes(0)); });
        return c;
    }
    bool get(std::size_t table, bytes_view key, std::string& value) override
    {
        bool            found = false;
        const sql_value of[]  = {sql_bytes{key}};
        connection_->run(of_->tables[table].get, of, [&](const sql_row& r) {
            value = r.bytes(0);
            found = true;
        });
        return found;
    }
    std::unique_ptr<row_cursor> scan(std::size_t table, const key_range& rows) override
    {
        return std::make_unique<sql_cursor>(connection_, of_->tables[table], rows);
    }
    std::uint64_t count(std::size_t table) override
    {
        std::uint64_t n = 0;
        connection_->run(of_->tables[table].count, {},
                         [&](const sql_row& r) { n = static_cast<std::uint64_t>(r.number(0)); });
        return n;
    }

    void commit(std::span<const row_change> changes, const projection_checkpoint& c) override
    {
        check_epoch(checkpoint(), c);
        const auto& dialect = of_->to->database.dialect;
        for (const auto& change : changes) {
            const auto&            table = of_->tables[change.table];
            std::vector<sql_value> parameters{sql_bytes{change.key}};
            if (!change.value) {
                connection_->send(table.erase, parameters);
                continue;
            }
            parameters.push_back(sql_bytes{*change.value});
            std::deque<column_value> columns;
            row_bytes                key{change.key}, value{*change.value};
            for (const auto& column : table.shape.key)
                parameters.push_back(as_parameter(
                    columns.emplace_back(column_for_people(key, column, true, dialect))));
            for (const auto& column : table.shape.value)
                parameters.push_back(as_parameter(
                    columns.emplace_back(column_for_people(value, column, false, dialect))));
            connection_->send(table.put, parameters);
        }
        const auto      bytes = encode(c);
        const sql_value row[] = {sql_bytes{bytes}, std::string_view{of_->projection},
                                 std::int64_t{of_->version}};
        connection_->send(
            "UPDATE cairn_projections SET checkpoint = $1 WHERE projection = $2 AND "
            "version = $3",
            row);
        connection_->flush();
        connection_->run("COMMIT");
        open_ = false;
    }

private:
    std::shared_ptr<sql_version>    of_;
    std::shared_ptr<sql_connection> connection_;
    bool                            open_ = false;
};

std::unique_ptr<table_reader> sql_version::read()
{
    return std::make_unique<sql_transaction>(shared_from_this(), false);
}
std::unique_ptr<table_writer> sql_version::write()
{
    return std::make_unique<sql_transaction>(shared_from_this(), true);
}

class sql_store final : public table_store
{
public:
    explicit sql_store(sql_database d) : to_{std::make_shared<connections>(std::move(d))}
    {
        change([&](sql_connection& c) {
            const auto& d2 = to_->database.dialect;
            c.run(std::string{"CREATE TABLE IF NOT EXISTS cairn_projections (projection "} +
                  d2.text + " NOT NULL, version " + d2.integer + " NOT NULL, active " + d2.integer +
                  " NOT NULL, shapes " + d2.text + " NOT NULL, tables " + d2.text +
                  " NOT NULL, checkpoint " + d2.bytes +
                  " NOT NULL, PRIMARY KEY (projection, version)) " + d2.table_options);
        });
    }

    std::vector<std::string> projections() override
    {
        std::vector<std::string> all;
        to_->take()->run("SELECT DISTINCT projection FROM cairn_projections ORDER BY projection",
                         {}, [&](const sql_row& r) { all.emplace_back(r.bytes(0)); });
        return all;
    }

    std::vector<table_shape> shapes(const std::string& projection, int version) override
    {
        std::vector<table_shape> all;
        const sql_value          of[] = {std::string_view{projection}, std::int64_t{version}};
        to_->take()->run(
            "SELECT shapes FROM cairn_projections WHERE projection = $1 AND version = $2", of,
            [&](const sql_row& r) { all = shapes_from(r.bytes(0)); });
        return all;
    }

    std::vector<stored_version> versions(const std::string& projection) override
    {
        std::vector<stored_version> all;
        const sql_value             of[] = {std::string_view{projection}};
        to_->take()->run(
            "SELECT version, active, checkpoint FROM cairn_projections WHERE "
            "projection = $1 ORDER BY version",
            of, [&](const sql_row& r) {
                all.push_back({static_cast<int>(r.number(0)), r.number(1) != 0,
                               decode_checkpoint(r.bytes(2))});
            });
        return all;
    }

    std::shared_ptr<projection_tables> open(const std::string& projection, int version,
                                            int                          code_version,
                                            std::span<const table_shape> shapes) override
    {
        auto       tables = std::make_shared<sql_version>(to_, projection, version, shapes);
        const auto wanted = text_of(shapes);
        change([&](sql_connection& c) {
            std::optional<std::string> stored;
            const sql_value            of[] = {std::string_view{projection}, std::int64_t{version}};
            c.run("SELECT shapes FROM cairn_projections WHERE projection = $1 AND version = $2", of,
                  [&](const sql_row& r) { stored = r.bytes(0); });
            if (stored) return check_shapes(projection, version, *stored, shapes);
            std::string names;
            for (const auto& t : tables->tables) {
                c.run(t.create(versioned(projection, version), to_->database.dialect));
                names += t.shape.name + "\n";
            }
            projection_checkpoint nothing;
            nothing.code_version  = code_version;
            const auto      bytes = encode(nothing);
            const sql_value row[] = {std::string_view{projection}, std::int64_t{version},
                                     std::string_view{wanted}, std::string_view{names},
                                     sql_bytes{bytes}};
            c.run(
                "INSERT INTO cairn_projections (projection, version, active, shapes, tables, "
                "checkpoint) VALUES ($1, $2, 0, $3, $4, $5)",
                row);
        });
        return tables;
    }

    void activate(const std::string& projection, int version) override
    {
        change([&](sql_connection& c) {
            for (const auto& [number, names] : tables_of(c, projection))
                for (const auto& table : names)
                    c.run("DROP VIEW IF EXISTS " + quoted(projection + "_" + table));
            for (const auto& [number, names] : tables_of(c, projection))
                if (number == version)
                    for (const auto& table : names)
                        c.run("CREATE VIEW " + quoted(projection + "_" + table) +
                              " AS SELECT * FROM " +
                              quoted(versioned(projection, version) + "." + table));
            const sql_value now[] = {std::int64_t{version}, std::string_view{projection}};
            c.run(
                "UPDATE cairn_projections SET active = CASE WHEN version = $1 THEN 1 ELSE 0 END "
                "WHERE projection = $2",
                now);
        });
    }

    void drop(const std::string& projection, int version) override
    {
        change([&](sql_connection& c) {
            for (const auto& [number, names] : tables_of(c, projection))
                if (number == version)
                    for (const auto& table : names)
                        c.run("DROP TABLE " + quoted(versioned(projection, version) + "." + table));
            const sql_value of[] = {std::string_view{projection}, std::int64_t{version}};
            c.run("DELETE FROM cairn_projections WHERE projection = $1 AND version = $2", of);
        });
    }

private:
    void change(const std::function<void(sql_connection&)>& how)
    {
        const auto c = to_->take();
        c->begin_writing("cairn_projections");
        try {
            how(*c);
            c->run("COMMIT");
        } catch (...) {
            try {
                c->run("ROLLBACK");
            } catch (...) {
                // The database does it when the connection closes.
            }
            throw;
        }
    }

    static std::vector<std::pair<int, std::vector<std::string>>> tables_of(
        sql_connection& c, const std::string& projection)
    {
        std::vector<std::pair<int, std::vector<std::string>>> all;
        const sql_value                                       of[] = {std::string_view{projection}};
        c.run("SELECT version, tables FROM cairn_projections WHERE projection = $1", of,
              [&](const sql_row& r) {
                  auto& names =
                      all.emplace_back(static_cast<int>(r.number(0)), std::vector<std::string>{})
                          .second;
                  std::string name;
                  for (const char ch : r.bytes(1))
                      if (ch == '\n')
                          names.push_back(std::exchange(name, {}));
                      else
                          name.push_back(ch);
              });
        return all;
    }

    std::shared_ptr<connections> to_;
};

}  // namespace

std::shared_ptr<table_store> make_sql_store(sql_database database)
{
    return std::make_shared<sql_store>(std::move(database));
}

}  // namespace cairn::detail
