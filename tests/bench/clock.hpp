// SPDX-License-Identifier: Apache-2.0
//
// Time as the benchmarks take it.
#pragma once

#include <chrono>
#include <ctime>

namespace cairn::bench {

inline double seconds_since(std::chrono::steady_clock::time_point t)
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

/// Seconds of a core that this thread has used: on a busy machine the better measure of cost.
inline double thread_seconds()
{
    timespec t{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace cairn::bench
