// SPDX-License-Identifier: Apache-2.0
//
// What the SQL store asks of a database; one driver for each.
#pragma once

#include <cairn/log/ids.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cairn::detail {

struct sql_bytes
{
    bytes_view bytes;
};

/// null, a number, text, bytes. Views.
using sql_value = std::variant<std::monostate, std::int64_t, double, std::string_view, sql_bytes>;

/// One row of an answer; good until the next is asked for.
class sql_row
{
public:
    virtual ~sql_row() = default;

    virtual std::int64_t number(int column) const = 0;
    virtual bytes_view   bytes(int column) const  = 0;  ///< of text too
};

/// Parameters are $1, $2, … in the order in which they first appear.
///
/// Threads   One.
/// Errors    error{store_unavailable} where it passes (locked, away); storage_error.
class sql_connection
{
public:
    virtual ~sql_connection() = default;

    virtual void run(const std::string& sql, std::span<const sql_value> parameters = {},
                     const std::function<void(const sql_row&)>& each = {}) = 0;

    /// As run(), but it may be sent together with others; errors come at flush() at the latest.
    virtual void send(const std::string& sql, std::span<const sql_value> parameters) = 0;
    virtual void flush()                                                             = 0;

    /// A transaction that reads one state; and one that writes, alone among those of `name`.
    virtual void begin_reading()                        = 0;
    virtual void begin_writing(const std::string& name) = 0;

    /// It cannot be used any more.
    virtual bool broken() const noexcept = 0;
};

/// How a database calls things.
struct sql_dialect
{
    const char* bytes;  ///< the type of byte strings: BLOB, BYTEA
    const char* integer;
    const char* unsigned_integer;  ///< up to 2^64 - 1
    const char* real;
    const char* boolean;
    const char* text;
    const char* table_options;  ///< after CREATE TABLE (…)
    bool        text_is_utf8;   ///< and nothing else, nor a zero byte
};

struct sql_database
{
    std::string                                      what;  ///< for messages: a file, a server
    sql_dialect                                      dialect;
    std::function<std::unique_ptr<sql_connection>()> connect;
};

}  // namespace cairn::detail
