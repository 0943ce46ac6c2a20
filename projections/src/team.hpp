// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace cairn::detail {

/// Threads that do their parts of one thing after the other.
///
/// Invariants
///   - run() returns when all parts are done.
///
/// Threads   One, who is the first of the team.
/// Lifetime  The destructor ends the threads.
/// Errors    What a part throws is thrown by run(), when all are done; of several, one.
class team
{
public:
    explicit team(std::size_t members)
    {
        try {
            for (std::size_t i = 1; i < members; ++i) others_.emplace_back([this, i] { work(i); });
        } catch (...) {
            end();
            throw;
        }
    }
    ~team() { end(); }
    team(const team&)            = delete;
    team& operator=(const team&) = delete;

    /// part(i), of each member, from 0.
    void run(const std::function<void(std::size_t)>& part)
    {
        {
            const std::lock_guard lock{mutex_};
            part_   = &part;
            failed_ = nullptr;
            left_   = others_.size();
            ++turn_;
        }
        begun_.notify_all();
        const auto       mine = outcome(part, 0);
        std::unique_lock lock{mutex_};
        done_.wait(lock, [&] { return left_ == 0; });
        if (mine) std::rethrow_exception(mine);
        if (failed_) std::rethrow_exception(failed_);
    }

private:
    void end() noexcept
    {
        {
            const std::lock_guard lock{mutex_};
            over_ = true;
        }
        begun_.notify_all();
        for (auto& t : others_) t.join();
    }

    static std::exception_ptr outcome(const std::function<void(std::size_t)>& part, std::size_t i)
    {
        try {
            part(i);
            return nullptr;
        } catch (...) {
            return std::current_exception();
        }
    }

    void work(std::size_t i)
    {
        for (std::size_t turn = 0;;) {
            const std::function<void(std::size_t)>* part = nullptr;
            {
                std::unique_lock lock{mutex_};
                begun_.wait(lock, [&] { return over_ || turn_ != turn; });
                if (over_) return;
                turn = turn_;
                part = part_;
            }
            auto                  failed = outcome(*part, i);
            const std::lock_guard lock{mutex_};
            if (failed) failed_ = std::move(failed);
            if (--left_ == 0) done_.notify_one();
        }
    }

    std::mutex                              mutex_;  // what follows
    std::condition_variable                 begun_, done_;
    const std::function<void(std::size_t)>* part_ = nullptr;
    std::exception_ptr                      failed_;
    std::size_t                             turn_ = 0, left_ = 0;
    bool                                    over_ = false;
    std::vector<std::thread>                others_;  // last: they use the others
};

}  // namespace cairn::detail
