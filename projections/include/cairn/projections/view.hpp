// SPDX-License-Identifier: Apache-2.0
//
// Asking a read model, and asking how it is.
#pragma once

#include <cairn/projections/followed_rows.hpp>
#include <cairn/projections/projection.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn {

enum class projection_state {
    idle,         ///< nobody runs it
    catching_up,  ///< with what was there when it began
    following,    ///< what comes
    retrying,     ///< its store is locked, full or away: error says which. It goes on by itself
    failed,       ///< it stands before an event that it cannot handle: error says which and why
    paused,       ///< until it is resumed, restarts included
    stalled,      ///< it should go on and does not: stalled says where
};
std::string_view name(projection_state s) noexcept;

/// An event that a projection could not handle, or that waits behind one of its key.
struct parked_event
{
    topic_partition in;
    offset          at;
    position        where;
    std::string     key, type;
    std::string     why;           ///< what was thrown, or what it waits for
    std::int64_t    attempts = 0;  ///< 0: it was not tried, for it waits
    timestamp       since;
};

/// A rebuild that goes on.
struct rebuild_progress
{
    int           version      = 0;  ///< that is being built
    std::uint64_t events       = 0;  ///< read so far, of the log's
    std::uint64_t total        = 0;
    double        events_per_s = 0;
    /// Until it is done, at that rate; nullopt while there is no telling.
    std::optional<std::chrono::milliseconds> remaining;
    std::string                              error;    ///< why it stands; else empty
    std::string                              stalled;  ///< where it stands still; else empty
};

struct projection_status
{
    std::string                     name;
    int                             version = 0;  ///< of its tables, that answers; 0: none can
    projection_state                state   = projection_state::idle;
    position                        upto{0};           ///< all before it is in the tables
    position                        end{0};            ///< of the log
    std::uint64_t                   lag_events = 0;    ///< not read yet
    std::chrono::milliseconds       lag_time{0};       ///< how old the oldest of them is
    std::uint64_t                   events       = 0;  ///< handled since it began to run
    std::uint64_t                   commits      = 0;
    double                          events_per_s = 0;  ///< read, in the last seconds
    std::string                     error{};           ///< what failed, and where
    std::optional<position>         stands_before{};   ///< the event that it failed at, if one
    std::string                     stalled{};         ///< where it stands still; else empty
    std::uint64_t                   parked = 0;        ///< events that were not handled, and wait
    std::optional<rebuild_progress> rebuild{};
    std::vector<topic_partition> partitions{};  ///< that are this runner's, where it is in a group
    std::vector<stored_version>  versions{};    ///< all that the store holds; none: it is away
};

/// What a projection threw at an event. Nothing of it is in the tables.
class projection_failed : public error
{
public:
    projection_failed(const std::string& what, topic_partition in, offset at, position p,
                      std::exception_ptr cause)
        : error{errc::projection_failed, what},
          in_{std::move(in)},
          offset_{at},
          position_{p},
          cause_{std::move(cause)}
    {
    }

    const topic_partition& in() const noexcept { return in_; }
    cairn::offset          at() const noexcept { return offset_; }
    cairn::position        position() const noexcept { return position_; }
    std::exception_ptr     cause() const noexcept { return cause_; }

private:
    topic_partition    in_;
    cairn::offset      offset_;
    cairn::position    position_;
    std::exception_ptr cause_;
};

namespace detail {

/// A projection's struct, reading the tables as they were at one moment.
struct bound_projection
{
    std::shared_ptr<projection_tables> tables;
    std::unique_ptr<table_reader>      reader;
    std::shared_ptr<projection_base>   itself;
    position                           upto;
};

class projection_core;

}  // namespace detail

/// A read model as it was at one moment: a pointer to the projection's struct.
///
/// Threads   One.
/// Lifetime  Short: as long as it lives, its store keeps what was changed since beside it.
template <is_projection P>
class reading
{
public:
    explicit reading(detail::bound_projection b) : bound_{std::move(b)} {}
    reading(reading&&) noexcept            = default;
    reading& operator=(reading&&) noexcept = default;

    const P& operator*() const noexcept { return static_cast<const P&>(*bound_.itself); }
    const P* operator->() const noexcept { return &**this; }

    /// All before this position is in what is read.
    position upto() const noexcept { return bound_.upto; }

private:
    detail::bound_projection bound_;
};

namespace detail {

/// What a view asks.
class projection_source
{
public:
    virtual ~projection_source() = default;

    virtual bound_projection  read()                                                           = 0;
    virtual projection_status status() const                                                   = 0;
    virtual bool wait_for(position p, std::chrono::steady_clock::time_point deadline) const    = 0;
    virtual std::shared_ptr<table_follower> follow(std::size_t table, const follow_options& o) = 0;
};

}  // namespace detail

/// A read model, to be asked.
///
///     auto spent = view.read()->spent_by("Ada");
///     auto done  = orders.execute("o-1", ConfirmOrder{}).value();
///     auto mine  = view.read(done.position, 1s);    // at least what I have just done
///
/// Invariants
///   - read() of what wait_for() has waited for has it in it.
///   - While a new version is built, read() is of the old one; after it, of the new one.
///
/// Threads   Any.
/// Lifetime  A handle, cheap to copy. It keeps the tables open; they change while the runner runs.
/// Errors    not_ready while there are no tables that the code can read: they are being built.
///           read_timeout.
template <is_projection P>
class view
{
public:
    explicit view(std::shared_ptr<detail::projection_source> of) : source_{std::move(of)} {}

    reading<P> read() const { return reading<P>{source_->read()}; }

    /// As read(), of a moment when the record at `at_least` and all before it were counted; waits
    /// for that. Throws read_timeout.
    reading<P> read(position at_least, std::chrono::steady_clock::duration timeout) const
    {
        if (!wait_for(at_least, timeout))
            throw error{errc::read_timeout, "the read model has not come to position " +
                                                std::to_string(at_least.value) +
                                                " in time: see its status()"};
        return read();
    }

    /// Waits, without polling, until the record at `p` and all before it are counted; false at the
    /// deadline, or when the projection stops or fails before.
    bool wait_for(position p, std::chrono::steady_clock::duration timeout) const
    {
        return source_->wait_for(p, std::chrono::steady_clock::now() + timeout);
    }

    /// A table's rows, and what becomes of them: `view.follow(&Revenue::spent)`. Of a
    /// windowed_table the keys are windowed.
    template <class Table, class Of>
    auto follow(Table Of::*which, const follow_options& o = {}) const
    {
        const P one{};
        return detail::followed<typename Table::row_type>(
            source_->follow((one.*which).number(), o));
    }
    /// The same as JSON, of the table of that name. Throws invalid_argument where there is none.
    followed_json follow_json(std::string_view table, const follow_options& o = {}) const
    {
        P           one{};
        const auto& shapes = detail::access_of(one).shapes();
        for (std::size_t i = 0; i < shapes.size(); ++i)
            if (shapes[i].name == table && !shapes[i].is_index)
                return {source_->follow(i, o), shapes[i]};
        throw error{errc::invalid_argument,
                    "the projection has no table '" + std::string{table} + "' to follow"};
    }

    projection_status status() const { return source_->status(); }

private:
    std::shared_ptr<detail::projection_source> source_;
};

}  // namespace cairn
