// SPDX-License-Identifier: Apache-2.0
//
// What runners of one projection tell each other.
#pragma once

#include "table_feed.hpp"

#include <cairn/projections/projection_group.hpp>
#include <cairn/projections/table_store.hpp>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cairn::detail {

/// Invariants
///   - At most one runner builds.
///   - What is said of a version is heard by all who listen to it, before the call returns.
///
/// Threads   Any. Listeners are called with it locked, and call nothing of it.
/// Lifetime  Kept by its runners.
/// Errors    None.
class shared_projection
{
public:
    using progress = std::map<topic_partition, partition_progress>;

    struct listener
    {
        /// What others, or itself, have done in that version.
        std::function<void(int version, const progress&)> heard;
        /// Another version answers, or nobody builds any more.
        std::function<void()> woken;
        /// Who follows its tables.
        table_feed* feed;
    };

    /// As long as what it returns lives; it is told at once of what is known. Not from within
    /// commit().
    std::shared_ptr<void> listen(listener l);

    void say(int version, const progress& done);

    /// As table_feed::commit(), for those who follow through any of the runners.
    void commit(int version, std::span<const row_change> changes, position upto,
                const std::function<void()>& how);

    /// The version that is being built, by whoever it is.
    std::optional<int> builds() const;
    bool               is_built_by_another(const void* who) const;
    /// False: another does. REQUIRES: it is who builds, or nobody listens as it any more.
    bool begin_building(const void* who, int version);
    void end_building(const void* who) noexcept;

    /// While a version is frozen, nobody begins a batch of it.
    void freeze(int version);
    void thaw() noexcept;
    bool is_frozen(int version) const;

    /// That one answers from now on.
    void activated(int version);
    /// 0: nobody has said.
    int active() const;

private:
    std::mutex                                               committing_;
    std::map<std::uint64_t, table_feed*>                     feeds_;  // protected by it
    mutable std::mutex                                       mutex_;  // what follows
    std::map<std::uint64_t, std::shared_ptr<const listener>> listeners_;
    std::uint64_t                                            next_listener_ = 0;
    std::map<int, progress>                                  done_;
    const void*                                              builder_ = nullptr;
    int building_ = 0, frozen_ = 0, active_ = 0;

    void wake() const;
};

/// Those of a group, by name.
class shared_projections
{
public:
    shared_projections(local_group_coordinator c, projection_group_options o)
        : coordinator{std::move(c)}, options{o}
    {
    }

    std::shared_ptr<shared_projection> named(const std::string& name)
    {
        const std::lock_guard lock{mutex_};
        auto&                 known = all_[name];
        auto                  one   = known.lock();
        if (!one) known = one = std::make_shared<shared_projection>();
        return one;
    }

    const local_group_coordinator  coordinator;
    const projection_group_options options;

private:
    std::mutex                                              mutex_;
    std::map<std::string, std::weak_ptr<shared_projection>> all_;
};

}  // namespace cairn::detail
