// SPDX-License-Identifier: Apache-2.0
//
// The driver for PostgreSQL, by libpq. Rows are sent in pipeline mode: one round trip for a batch
// of them.
#include "sql_tables.hpp"

#include <cairn/log/error.hpp>

#include <libpq-fe.h>

#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <utility>

namespace cairn {

namespace {

using namespace detail;

struct finish_connection
{
    void operator()(PGconn* c) const noexcept { PQfinish(c); }
};
struct clear_result
{
    void operator()(PGresult* r) const noexcept { PQclear(r); }
};
using result_ptr = std::unique_ptr<PGresult, clear_result>;

class postgres_row final : public sql_row
{
public:
    postgres_row(const PGresult* r, int n) : result_{r}, row_{n} {}

    std::int64_t number(int column) const override
    {
        std::uint64_t n = 0;
        const auto    b = bytes(column);
        for (const char c : b) n = (n << 8) | static_cast<std::uint8_t>(c);
        return b.size() == 4 ? std::int64_t{static_cast<std::int32_t>(n)}
                             : static_cast<std::int64_t>(n);
    }
    bytes_view bytes(int column) const override
    {
        return {PQgetvalue(result_, row_, column),
                static_cast<std::size_t>(PQgetlength(result_, row_, column))};
    }

private:
    const PGresult* result_;
    int             row_;
};

/// Parameters as libpq wants them: bytes in binary, the rest as text.
struct bound_parameters
{
    explicit bound_parameters(std::span<const sql_value> values)
    {
        for (const auto& v : values) {
            const char* at     = nullptr;
            std::size_t length = 0;
            bool        binary = false;
            if (const auto* bytes = std::get_if<sql_bytes>(&v)) {
                at     = bytes->bytes.empty() ? "" : bytes->bytes.data();
                length = bytes->bytes.size();
                binary = true;
            } else if (!std::holds_alternative<std::monostate>(v)) {
                auto& text = kept.emplace_back();
                if (const auto* n = std::get_if<std::int64_t>(&v))
                    text = std::to_string(*n);
                else if (const auto* d = std::get_if<double>(&v)) {
                    std::array<char, 32> digits{};
                    std::snprintf(digits.data(), digits.size(), "%.17g", *d);
                    text = digits.data();
                } else
                    text = std::get<std::string_view>(v);
                at     = text.c_str();
                length = text.size();
            }
            values_.push_back(at);
            lengths.push_back(static_cast<int>(length));
            formats.push_back(binary ? 1 : 0);
        }
    }

    std::deque<std::string>  kept;
    std::vector<const char*> values_;
    std::vector<int>         lengths, formats;
};

class postgres_connection final : public sql_connection
{
public:
    explicit postgres_connection(const std::string& info) : connection_{PQconnectdb(info.c_str())}
    {
        if (!connection_ || PQstatus(connection_.get()) != CONNECTION_OK) fail_away("connect");
        PQsetNoticeProcessor(
            connection_.get(), [](void*, const char*) {}, nullptr);
    }

    void run(const std::string& sql, std::span<const sql_value> parameters,
             const std::function<void(const sql_row&)>& each) override
    {
        flush();
        const auto             name = statement(sql);
        const bound_parameters p{parameters};
        const auto             count = static_cast<int>(p.values_.size());
        const result_ptr r{PQexecPrepared(connection_.get(), name.c_str(), count, p.values_.data(),
                                          p.lengths.data(), p.formats.data(), 1)};
        check(r.get());
        const int rows = PQntuples(r.get());
        for (int n = 0; each && n < rows; ++n) each(postgres_row{r.get(), n});
    }

    void send(const std::string& sql, std::span<const sql_value> parameters) override
    {
        // What has been sent is answered, and answers are read, before either side's buffer is
        // full.
        constexpr std::size_t pending_max = 500;
        const bool            prepared    = names_.contains(sql);
        if (!prepared || pending_ >= pending_max) flush();
        const auto name = statement(sql);
        if (pending_ == 0 && PQenterPipelineMode(connection_.get()) != 1) fail_away("write");
        const bound_parameters p{parameters};
        ++pending_;
        if (PQsendQueryPrepared(connection_.get(), name.c_str(), static_cast<int>(p.values_.size()),
                                p.values_.data(), p.lengths.data(), p.formats.data(), 1) != 1)
            fail_away("write");
    }

    void flush() override
    {
        if (pending_ == 0) return;
        if (PQpipelineSync(connection_.get()) != 1) fail_away("write");
        std::exception_ptr first;
        for (std::size_t left = std::exchange(pending_, 0); left > 0; --left) {
            const result_ptr r{PQgetResult(connection_.get())};
            try {
                check(r.get());
            } catch (...) {
                if (!first) first = std::current_exception();
            }
            if (broken()) std::rethrow_exception(first);
            (void)result_ptr{PQgetResult(connection_.get())};  // the null behind each
        }
        (void)result_ptr{PQgetResult(connection_.get())};  // of the sync
        if (PQexitPipelineMode(connection_.get()) != 1) fail_away("write");
        if (first) std::rethrow_exception(first);
    }

    void begin_reading() override
    {
        run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", {}, {});
        // The state is that of the first look.
        run("SELECT count(*) FROM cairn_projections", {}, {});
    }
    void begin_writing(const std::string& name) override
    {
        const sql_value of[] = {std::string_view{name}};
        run("BEGIN", {}, {});
        run("SELECT 1 FROM pg_advisory_xact_lock(hashtextextended($1, 0))", of, {});
    }

    bool broken() const noexcept override
    {
        return broken_ || PQstatus(connection_.get()) != CONNECTION_OK;
    }

private:
    /// Prepares it, once.
    std::string statement(const std::string& sql)
    {
        const auto known = names_.find(sql);
        if (known != names_.end()) return known->second;
        const auto       name = "cairn_" + std::to_string(names_.size());
        const result_ptr r{PQprepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr)};
        check(r.get());
        return names_[sql] = name;
    }

    void check(const PGresult* r)
    {
        const auto status = r != nullptr ? PQresultStatus(r) : PGRES_FATAL_ERROR;
        if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return;
        if (status == PGRES_PIPELINE_ABORTED)
            throw error{errc::io_failed, "PostgreSQL: not done, because of an earlier error"};
        const char*       code = r != nullptr ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : nullptr;
        const std::string state{code != nullptr ? code : ""};
        std::string       said{r != nullptr ? PQresultErrorMessage(r)
                                            : PQerrorMessage(connection_.get())};
        while (!said.empty() && said.back() == '\n') said.pop_back();
        // Its classes of what passes: the connection, rolled back to be tried again, an operator's
        // doing, locks; then what an operator can mend.
        const auto of = [&](const char* c) { return state.starts_with(c); };
        if (broken() || state.empty() || of("08") || of("40") || of("57") || of("55")) {
            broken_ = broken_ || state.empty() || of("57") || of("08");
            throw error{errc::store_unavailable, "PostgreSQL: " + said + "; it is tried again"};
        }
        if (of("53100")) throw storage_error{errc::disk_full, "PostgreSQL: " + said};
        if (of("53")) throw error{errc::store_unavailable, "PostgreSQL: " + said};
        throw storage_error{errc::io_failed, "PostgreSQL: " + said + " (" + state + ")"};
    }

    [[noreturn]] void fail_away(const char* doing)
    {
        broken_ = true;
        std::string said{connection_ ? PQerrorMessage(connection_.get()) : "out of memory"};
        while (!said.empty() && said.back() == '\n') said.pop_back();
        throw error{errc::store_unavailable,
                    "PostgreSQL, to " + std::string{doing} + ": " + said + "; it is tried again"};
    }

    std::unique_ptr<PGconn, finish_connection> connection_;
    std::map<std::string, std::string>         names_;
    std::size_t                                pending_ = 0;
    bool                                       broken_  = false;
};

}  // namespace

std::shared_ptr<table_store> postgres_tables(std::string connection)
{
    sql_database d;
    d.what    = "PostgreSQL";
    d.dialect = {"BYTEA", "BIGINT", "NUMERIC(20)", "DOUBLE PRECISION", "BOOLEAN", "TEXT", "", true};
    d.connect = [connection = std::move(connection)]() -> std::unique_ptr<sql_connection> {
        return std::make_unique<postgres_connection>(connection);
    };
    return make_sql_store(std::move(d));
}

}  // namespace cairn
