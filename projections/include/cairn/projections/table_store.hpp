// SPDX-License-Identifier: Apache-2.0
//
// Where tables are kept: what a store must do, and the stores that there are.
#pragma once

#include <cairn/projections/detail/row_codec.hpp>

#include <cairn/log/ids.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cairn {

/// A table as its store sees it.
struct table_shape
{
    std::string         name;
    std::vector<column> key;
    std::vector<column> value;
    bool                is_index = false;  ///< made from another table's rows

    /// "spent(text) -> u64": what must be the same when it is opened again.
    std::string text() const;
};

/// How far a projection has come in one partition.
struct partition_progress
{
    offset   next;  ///< all before it is in the tables
    position upto;  ///< so is all of the partition that is before this position of the log

    friend bool operator==(const partition_progress&, const partition_progress&) = default;
};

/// What is committed with the rows.
struct projection_checkpoint
{
    std::map<topic_partition, partition_progress> partitions;

    /// Raised by each that begins to write; commits under an older one are refused.
    std::int64_t epoch = 0;

    /// Of the code that made the tables.
    int code_version = 0;

    /// It has once caught up with the log, and so can answer.
    bool complete = false;

    /// It is not fed until it is resumed.
    bool paused = false;

    /// A digest of which events it counts.
    std::uint64_t subscription = 0;

    /// All before it is in the tables.
    position upto() const noexcept;
};

/// One row that changes, or goes.
struct row_change
{
    std::size_t               table;  ///< its number among the shapes that were opened
    bytes_view                key;
    std::optional<bytes_view> value;  ///< none: the row is erased
};

/// Rows in the order of their keys.
///
/// Threads   One.
/// Lifetime  key() and value() are good until the next call. Not longer than what it reads.
class row_cursor
{
public:
    virtual ~row_cursor() = default;

    /// Goes to the first row, from then on to the next; false at the end.
    virtual bool       next()        = 0;
    virtual bytes_view key() const   = 0;
    virtual bytes_view value() const = 0;
};

/// Which rows: keys from `from` on, before `to`, in either direction.
struct key_range
{
    std::string                from{};
    std::optional<std::string> to{};  ///< none: to the end
    bool                       backwards = false;
};

/// Tables as they were at one moment.
///
/// Threads   One at a time.
/// Lifetime  Not longer than its tables. Short: what was changed since is kept beside it.
class table_reader
{
public:
    virtual ~table_reader() = default;

    virtual projection_checkpoint checkpoint()                                               = 0;
    virtual bool                  get(std::size_t table, bytes_view key, std::string& value) = 0;
    virtual std::unique_ptr<row_cursor> scan(std::size_t table, const key_range& rows)       = 0;
    virtual std::uint64_t               count(std::size_t table)                             = 0;
};

/// The right to change tables, which one has at a time. It reads as a table_reader does, and sees
/// none of what is about to be committed.
class table_writer : public table_reader
{
public:
    /// Rows and checkpoint, all or nothing, on disk when it returns. `changes` are sorted by table
    /// and key. The writer is over then; without commit() nothing has changed.
    virtual void commit(std::span<const row_change> changes, const projection_checkpoint& c) = 0;
};

/// The tables of one version of one projection.
///
/// Invariants
///   - Rows and checkpoint are committed together, or neither.
///   - A reader sees whole commits.
///
/// Threads   Any.
/// Errors    storage_error: disk_full, io_failed; store_unavailable, which passes.
class projection_tables
{
public:
    virtual ~projection_tables() = default;

    virtual std::unique_ptr<table_reader> read() = 0;
    /// Waits while another has it.
    virtual std::unique_ptr<table_writer> write() = 0;
};

/// One version of a projection that the store holds.
struct stored_version
{
    int                   number = 0;
    bool                  active = false;  ///< the one that answers
    projection_checkpoint checkpoint;
};

/// Keeps the tables of projections, each in as many versions as are wanted.
///
/// Invariants
///   - Of a projection at most one version is active; activate() changes it in one step.
///
/// Threads   Any.
/// Lifetime  The tables that it opened outlive nothing of it: it is kept by them.
/// Errors    As projection_tables; shape_differs where a version was made with other tables.
class table_store
{
public:
    virtual ~table_store() = default;

    virtual std::vector<std::string>    projections()                           = 0;
    virtual std::vector<stored_version> versions(const std::string& projection) = 0;

    /// The tables that a version was made with, for whoever has not its code; their columns have
    /// no names. None: there is no such version.
    virtual std::vector<table_shape> shapes(const std::string& projection, int version) = 0;

    /// Makes the version where it is not there: then its checkpoint says this code_version.
    virtual std::shared_ptr<projection_tables> open(const std::string& projection, int version,
                                                    int                          code_version,
                                                    std::span<const table_shape> shapes) = 0;

    virtual void activate(const std::string& projection, int version) = 0;

    /// REQUIRES: it is not active, and nobody has it open.
    virtual void drop(const std::string& projection, int version) = 0;
};

/// Tables in memory: gone with the store, and rebuilt from the log.
std::shared_ptr<table_store> memory_tables();

/// Tables in LMDB: <directory>/<projection>@<version>/. One process may have a directory open for
/// writing. A table's key has at most 500 bytes, encoded.
std::shared_ptr<table_store> lmdb_tables(std::string directory);

/// Tables in a file of SQLite, for whoever wants to ask them by SQL. Of table `spent` of projection
/// `sales` there is a view `sales_spent` with a column for each field of its keys and values, named
/// as the table names them; it is of the active version, and rebuilding changes it in one step.
/// (row_key and row_value are what Cairn reads.) Whoever else writes to the file is waited for.
std::shared_ptr<table_store> sqlite_tables(std::string file);

/// The same in a schema of PostgreSQL; `connection` is as libpq takes it: "host=db dbname=shop".
/// While the server is away a projection waits, and goes on by itself.
std::shared_ptr<table_store> postgres_tables(std::string connection);

}  // namespace cairn
