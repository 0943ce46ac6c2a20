// SPDX-License-Identifier: Apache-2.0
//
// What holds a runner while somebody else than its owner asks something of it.
#pragma once

#include <cairn/projections/projection_runner.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace cairn::detail {

/// Invariants
///   - After close() nothing runs on the runner, and nothing will.
///
/// Threads   Any.
/// Lifetime  Outlives the runner, which closes it first.
/// Errors    closed.
class control_link
{
public:
    /// `group` is what runners of this name have in common where they are in one group; null: it
    /// is in none. Neither it nor the store is kept.
    control_link(std::string name, projection_core& of, std::weak_ptr<const void> group,
                 std::weak_ptr<table_store> store)
        : name_{std::move(name)}, group_{std::move(group)}, store_{std::move(store)}, of_{&of}
    {
    }

    const std::string& name() const noexcept { return name_; }

    /// null: it is gone.
    std::shared_ptr<table_store> store() const noexcept { return store_.lock(); }

    /// Both handle partitions of one projection, in one group.
    bool shares_with(const control_link& other) const noexcept
    {
        const auto group = group_.lock();
        return this != &other && group && group == other.group_.lock();
    }

    bool is_closed() const
    {
        const std::lock_guard lock{mutex_};
        return of_ == nullptr;
    }

    /// ask(runner); close() waits for it, and sets `stopping` so that it is soon over.
    template <class Ask>
    auto use(std::atomic<bool>& stopping, Ask&& ask)
    {
        const in_use held{*this, stopping};
        return ask(*held.core);
    }

    void close() noexcept
    {
        std::unique_lock lock{mutex_};
        of_ = nullptr;
        for (auto* stopping : asking_) *stopping = true;
        over_.wait(lock, [&] { return asking_.empty(); });
    }

private:
    struct in_use
    {
        in_use(control_link& l, std::atomic<bool>& s) : link{l}, stopping{s}
        {
            const std::lock_guard lock{link.mutex_};
            core = link.of_;
            if (core == nullptr)
                throw error{errc::closed, "projection " + link.name_ + " runs no more"};
            link.asking_.push_back(&stopping);
        }
        ~in_use()
        {
            const std::lock_guard lock{link.mutex_};
            link.asking_.erase(std::find(link.asking_.begin(), link.asking_.end(), &stopping));
            link.over_.notify_all();
        }
        in_use(const in_use&)            = delete;
        in_use& operator=(const in_use&) = delete;

        control_link&      link;
        std::atomic<bool>& stopping;
        projection_core*   core = nullptr;
    };

    const std::string                name_;
    const std::weak_ptr<const void>  group_;
    const std::weak_ptr<table_store> store_;
    mutable std::mutex               mutex_;  // what follows
    std::condition_variable          over_;
    projection_core*                 of_;
    std::vector<std::atomic<bool>*>  asking_;
};

}  // namespace cairn::detail
