// SPDX-License-Identifier: Apache-2.0
//
// Looking after projections from outside of their process: what `cairn projection` asks.
#pragma once

#include <cairn/projections/projection_runner.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cairn {

/// Lets others on this machine look after a service's projections, at the Unix-domain socket
/// <data>/control.sock:
///
///     cairn::projection_runner<Revenue> revenue{log, "revenue", cairn::lmdb_tables(directory)};
///     cairn::projection_control         control{log};
///     control.add(revenue);
///     revenue.start();
///
/// and then `cairn projection status`.
///
/// Where several runners share a projection in a group, each is added. Each is listed, the event
/// that one of them stands before is skipped there, and what is asked of the projection is asked
/// of one of them, for all.
///
/// Invariants
///   - Only the user whose process it is, and root, can ask.
///   - One who asks and does not read, or says nothing, or nonsense, keeps nobody else from being
///     answered. What it holds in memory is bounded.
///   - What was asked by somebody who has gone away is given up, where it takes long: verifying
///     and retrying.
///
/// Threads   Any. It has one for the socket, and four that do what is asked.
/// Lifetime  Runner and control may go in either order; whichever goes first ends what is being
///           asked of it, and waits for that, which is not longer than one event takes to handle
///           or one answer of the store. The socket goes with it.
/// Errors    held_by_another where another process serves this log; invalid_argument where the log
///           is in memory, or has a projection of that name already that is not in one group with
///           this one. A socket that a dead process has left is replaced.
class projection_control
{
public:
    explicit projection_control(const commit_log& log);
    ~projection_control();
    projection_control(const projection_control&)            = delete;
    projection_control& operator=(const projection_control&) = delete;

    /// It is forgotten when it is destroyed.
    template <is_projection P>
    void add(projection_runner<P>& runner)
    {
        add(runner.core_.link());
    }

private:
    struct impl;

    void add(std::shared_ptr<detail::control_link> link);

    std::unique_ptr<impl> impl_;
};

/// Asks the service that has a log open, through its projection_control. Each call asks on a
/// connection of its own.
///
/// Invariants
///   - What a call returns the service has answered; where it throws, an error of the service's is
///     the one that the same call of a projection_runner would throw there.
///
/// Threads   One.
/// Lifetime  The service may go, and come again.
/// Errors    closed where nobody serves the log, or the service went before it had answered;
///           invalid_argument where it has no such projection.
class projection_client
{
public:
    /// `waiting` is called now and then while an answer is awaited; what it throws ends that.
    explicit projection_client(std::string data_directory, std::function<void()> waiting = {});

    /// Somebody serves the log.
    bool is_served() const;

    /// Of all projections, by name, and of each runner of a group; of one, which of a group's
    /// runners is the one that is asked for all.
    std::vector<projection_status> status();
    projection_status              status(const std::string& projection);
    /// Of each of its runners: more than one where they are in a group.
    std::vector<projection_status> instances(const std::string& projection);

    /// What the runners' stores hold besides, by name: projections of an old name, for instance,
    /// that no runner of this control feeds. Their versions, and how far the one is that answers;
    /// the rest is not known. What is in a store that is away is left out.
    std::vector<projection_status> unfed();

    /// Returns the number of the version that is being built.
    int  rebuild(const std::string& projection);
    void cancel_rebuild(const std::string& projection);
    void pause(const std::string& projection);
    void resume(const std::string& projection);
    void reset(const std::string& projection);
    void swap_to(const std::string& projection, int number);
    void drop(const std::string& projection, int number);
    void skip(const std::string& projection, position which);

    /// The next of them; none: these were all. May be fewer than there are.
    std::vector<parked_event> parked(const std::string&                 projection,
                                     const std::optional<parked_event>& after = {});
    std::size_t               retry_parked(const std::string& projection);
    void skip_parked(const std::string& projection, const topic_partition& in, offset at);

    verification verify(const std::string& projection);

private:
    std::string           directory_;
    std::function<void()> waiting_;
};

}  // namespace cairn
