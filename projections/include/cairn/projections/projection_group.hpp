// SPDX-License-Identifier: Apache-2.0
//
// Several runners of one projection.
#pragma once

#include <cairn/log/group_member.hpp>

#include <chrono>
#include <memory>

namespace cairn {

namespace detail {
class shared_projections;
}

struct projection_group_options
{
    partition_assignor assignor = partition_assignor::cooperative_sticky;

    /// A runner that is not heard of for so long is out, and others take its partitions.
    std::chrono::milliseconds session_timeout{45'000};
    /// How long the others wait for one who is in a long batch.
    std::chrono::milliseconds rebalance_timeout{60'000};
};

/// What the instances of a service have in common, where their runners of a projection share its
/// partitions: each handles some, and when one comes, goes or stands still, the others take over.
///
///     const cairn::projection_group group{cairn::local_group_coordinator{log}};
///     cairn::projection_runner<Revenue> one{log, "revenue", store, {.group = group}};
///     cairn::projection_runner<Revenue> two{log, "revenue", store, {.group = group}};
///     one.start();
///     two.start();
///
/// All are given the same table_store and the same group, in which the projection's name is the
/// group's. Each view answers from the tables of all, and wait_for() waits for whoever has the
/// event.
///
/// Invariants
///   - Each event counts once, whoever handles it: each batch begins at the checkpoint that it
///     finds in the store, under the store's lock.
///   - One runner builds a new version; where it is gone, another goes on that was asked for it
///     too, by rebuild() or by its code. All change to the new version at once.
///
/// Threads   Any.
/// Lifetime  A handle, cheap to copy.
/// Errors    Those of group_member. A runner without a group that writes the same tables is fenced.
class projection_group
{
public:
    explicit projection_group(local_group_coordinator coordinator, projection_group_options o = {});

    const local_group_coordinator& coordinator() const noexcept;

    const std::shared_ptr<detail::shared_projections>& shared() const noexcept { return shared_; }

private:
    std::shared_ptr<detail::shared_projections> shared_;
};

}  // namespace cairn
