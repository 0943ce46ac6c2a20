// SPDX-License-Identifier: Apache-2.0
//
// A thread that works, and between times sleeps until there is news.
#pragma once

#include <cairn/log/record_range.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace cairn::detail {

/// Invariants
///   - After stop() the thread has ended, and no sleep is begun. Where the body itself calls it,
///     which cannot wait for its own end, that is so once the body has returned.
///   - start() behind stop() or ended() starts a thread, also while the one before is still ending.
///
/// Threads   start(), stop(), running() and stopping() from any; the others are for the body.
class background
{
public:
    ~background() { stop(); }

    /// Does nothing where it runs, also where the body calls it.
    /// REQUIRES: `body` does not throw, and returns soon after stopping() is true.
    void start(std::function<void()> body)
    {
        if (here_ == this) return;
        const std::lock_guard lock{life_};
        if (thread_.joinable()) {
            if (running_ && !stopping_) return;
            thread_.join();
        }
        stopping_ = false;
        running_  = true;
        thread_   = std::thread{[this, body = std::move(body)] {
            here_ = this;
            body();
            ended();
        }};
    }

    /// What the body calls in the same critical section in which it says that it has failed:
    /// whoever sees that can start it again. It does nothing but return then.
    void ended() noexcept { running_ = false; }

    void stop() noexcept
    {
        if (here_ == this) {
            stopping_ = true;
            return;
        }
        const std::lock_guard lock{life_};
        {
            const std::lock_guard sleeping{mutex_};
            stopping_ = true;
            if (asleep_) asleep_->stop();
        }
        if (thread_.joinable()) thread_.join();
    }

    bool running() const noexcept { return running_; }
    bool stopping() const noexcept { return stopping_; }

    /// Sleeps until there is more in `news`, or so long, or until stop().
    void sleep(record_range news, std::chrono::milliseconds at_most)
    {
        {
            const std::lock_guard lock{mutex_};
            if (stopping_) return;
            asleep_ = &news;
        }
        try {
            (void)news.wait(at_most);
        } catch (...) {
            awake();
            throw;
        }
        awake();
    }

private:
    void awake() noexcept
    {
        const std::lock_guard lock{mutex_};
        asleep_ = nullptr;
    }

    static inline thread_local const background* here_ = nullptr;  // whose thread this is

    std::mutex        life_;   // start() and stop()
    std::mutex        mutex_;  // what follows
    record_range*     asleep_ = nullptr;
    std::atomic<bool> stopping_{false}, running_{false};
    std::thread       thread_;
};

/// A time of day from `clock`, or the system's.
inline timestamp time_from(const std::function<timestamp()>& clock)
{
    using namespace std::chrono;
    if (clock) return clock();
    return timestamp{duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count()};
}

}  // namespace cairn::detail
