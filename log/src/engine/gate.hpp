// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <climits>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace cairn::detail {

/// A gate that opens once. Any number of threads wait before it; one system call wakes them
/// all, and none when nobody waits. (A condition variable would have each of them take its
/// mutex again, one after the other; with 64 writers that was a third of the time.)
class gate
{
public:
    void wait() noexcept
    {
        std::uint32_t seen = state_.load(std::memory_order_acquire);
        while (seen != opened) {
            if (seen == nobody &&
                !state_.compare_exchange_weak(seen, somebody, std::memory_order_acquire))
                continue;
            ::syscall(SYS_futex, address(), FUTEX_WAIT_PRIVATE, somebody, nullptr, nullptr, 0);
            seen = state_.load(std::memory_order_acquire);
        }
    }

    void open() noexcept
    {
        if (state_.exchange(opened, std::memory_order_acq_rel) == somebody)
            ::syscall(SYS_futex, address(), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    }

private:
    static constexpr std::uint32_t nobody = 0, somebody = 1, opened = 2;

    std::uint32_t* address() noexcept { return reinterpret_cast<std::uint32_t*>(&state_); }

    std::atomic<std::uint32_t> state_{nobody};
};

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

}  // namespace cairn::detail
