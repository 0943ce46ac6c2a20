// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/commit_log.hpp>

#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

namespace cairn::cli {

/// Several partitions as one sequence, in the order of their positions.
///
/// Invariants
///   - The order is that of the positions, also while records are appended: what a partition
///     shows before the others were looked at waits for them.
///
/// Threads   One thread at a time.
/// Lifetime  A record is good until the next call. It must not outlive the log.
/// Errors    Those of record_range.
class topic_reader
{
public:
    using start = std::pair<partition, offset>;

    topic_reader(const commit_log& log, const std::vector<start>& starts);

    /// The next record, or null at the end of what was there.
    const record_view* next();

    /// Waits until anything at all is appended to the log, and goes on: true. False at the
    /// deadline.
    bool wait(std::chrono::steady_clock::time_point deadline);

private:
    struct source
    {
        record_range       range;
        const record_view* at;
        bool               is_behind;  ///< its range has not been told of end_ yet
    };

    void advance(source& s);
    void refill();
    void sink(std::size_t i);

    commit_log               log_;
    position                 end_;  ///< all sources have been read up to here
    std::vector<source>      sources_;
    std::vector<std::size_t> heap_;  ///< sources that have a record, the earliest in front
    bool                     moving_ = false;  ///< the front was given out and must move on
};

}  // namespace cairn::cli
