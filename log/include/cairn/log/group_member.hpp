// SPDX-License-Identifier: Apache-2.0
//
// Consumer groups whose members are in this process.
#pragma once

#include <cairn/log/commit_log.hpp>
#include <cairn/log/group_coordinator.hpp>
#include <cairn/log/partition_assignor.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cairn {

namespace detail {
class local_groups;
}

/// The coordinator of the groups of one process: group_coordinator behind a lock for each group.
/// It makes a generation durable in its log before anybody is told of it.
///
/// Invariants  What group_coordinator promises.
/// Threads   Any thread, any time. It has none of its own: who polls, or waits, does the work.
/// Lifetime  A handle, cheap to copy. It keeps the log open.
/// Errors    storage_error and closed, where a generation cannot be made durable: it begins when
///           somebody polls and it can be.
class local_group_coordinator
{
public:
    using clock   = group_coordinator::clock;
    using instant = group_coordinator::instant;

    /// `now`: the time, by which sessions end. For tests.
    explicit local_group_coordinator(commit_log log, group_options options = {},
                                     std::function<instant()> now = clock::now);

    group_description         describe(const std::string& group) const;
    std::vector<listed_group> list() const;

    /// Lets happen what is due, and wakes whom it is for. poll() and wait() do so for their group;
    /// for tests whose time is their own.
    void tick();

private:
    friend class group_member;
    std::shared_ptr<detail::local_groups> groups_;
};

struct member_options
{
    std::string              group;
    std::vector<std::string> topics{};  ///< none: all that are not internal
    partition_assignor       assignor = partition_assignor::cooperative_sticky;

    /// A name that stays over restarts: who comes back with it has what it had, without a
    /// rebalance, where it does so before its session ends. Whoever had it before is fenced.
    std::optional<std::string> instance_id{};

    /// Who does not poll for so long is out of the group.
    std::chrono::milliseconds session_timeout{45'000};
    /// How long the others wait, in a rebalance, for one who does not poll.
    std::chrono::milliseconds rebalance_timeout{60'000};

    /// Called when poll() may have something new, on the thread that made it so, with the group
    /// locked: it may wake somebody, and must not call anything of the group.
    std::function<void()> on_change{};
};

/// What poll() has to say.
struct assignment_change
{
    std::vector<topic_partition> added{};
    /// Of these, what is done may be committed until the next poll() or wait(), and no more done.
    std::vector<topic_partition> revoked{};
    /// Others may have these already: what was not committed is to be forgotten.
    std::vector<topic_partition> lost{};

    bool        any() const noexcept { return !added.empty() || !revoked.empty() || !lost.empty(); }
    friend bool operator==(const assignment_change&, const assignment_change&) = default;
};

/// A member of a consumer group in this process: it shares the partitions of some topics with the
/// group's other members.
///
///     cairn::group_member me{coordinator, {.group = "billing", .topics = {"orders"}}};
///     while (running) {
///         for (const auto& p : me.poll().added) begin(p);   // at what the group has committed
///         for (const auto& p : me.assignment()) handle_a_batch(p);
///         me.commit(offsets);
///     }
///
/// Invariants
///   - No partition is in the assignments of two members of one generation.
///   - A partition is added after its last owner's last commit.
///   - commit() writes while the partitions are the member's, or not at all.
///   - A member that does not poll for its session time-out is out of the group, and is told by
///     its next poll() that it has lost what it had.
///
/// Threads   One at a time; interrupt() on any thread.
/// Lifetime  The destructor leaves the group; but one with an instance id is expected back, and
///           stays until its session ends. leave() always leaves.
/// Errors    fenced_instance, for good, where another has joined with its instance id;
///           group_refused, where the group does not take it: the next poll() tries again.
///           storage_error and closed, of the coordinator's log: nothing is lost, poll() again.
class group_member
{
public:
    using instant = group_coordinator::instant;

    group_member(local_group_coordinator coordinator, member_options options);
    ~group_member();
    group_member(group_member&&) noexcept;
    group_member& operator=(group_member&&) noexcept;

    /// Does what the group's protocol asks for now, and says what changed. It does not wait for
    /// others; to be called between batches. The first one joins.
    assignment_change poll();

    /// Waits until poll() has something to say: true. False at the deadline and after interrupt().
    /// Who waits is no less alive than who polls.
    bool wait(instant deadline);
    bool wait(group_coordinator::clock::duration time);

    /// Makes a wait() return false, now and later.
    void interrupt() noexcept;

    /// As of the last poll(), in its order.
    const std::vector<topic_partition>& assignment() const noexcept;

    /// The generation in which it has them; -1, none. consumer_groups refuses commits of earlier
    /// ones.
    std::int32_t generation() const noexcept;

    /// Its id in describe(); none before it has joined.
    const std::string& member_id() const noexcept;

    /// Calls `write` while nobody else can be given what this member has: where its generation is
    /// still the group's, and what `write` does is done before the next one begins. False while a
    /// rebalance completes: poll(), then commit again what was not lost. Throws fenced_generation
    /// where it is too late: poll() says what is lost. The group stands still meanwhile.
    [[nodiscard]] bool commit(const std::function<void()>& write);
    /// The same, of offsets of its group.
    [[nodiscard]] bool commit(const std::vector<committed_offset>& offsets);

    /// Leaves the group; what it has is to be given up before. The next poll() joins again.
    void leave();

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace cairn
