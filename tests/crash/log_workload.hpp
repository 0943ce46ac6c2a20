// SPDX-License-Identifier: Apache-2.0
//
// What the crash, fault and kill tests do to a log, and how they judge what is left of it.
#pragma once

#include <cairn/log/commit_log.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace cairn::testing {

/// Appends that say of themselves what they are, so that what is read back can be judged by its
/// position alone. All that is tried is noted, acknowledged or not.
///
/// Topic "kept" (four partitions, keyed) loses nothing; "short" (one) is cut at its front;
/// "latest" (one) is compacted.
class log_workload
{
public:
    explicit log_workload(std::uint64_t seed) : random_{seed} {}

    /// Everything small, so that a short run meets all there is: segments that roll, runs that
    /// are merged, journal files that come round.
    static log_options options();

    static void create_topics(commit_log& log);

    /// One append of one to four records. Returns the end of the log after it; throws what the
    /// log throws, and then does not know whether it was recorded.
    position append(commit_log& log);

    /// Cuts the front of "short" off where it stands now.
    void cut(commit_log& log);

    /// What is wrong with this log, as far as it goes: empty where nothing is. `end` gets the
    /// position up to which it goes. What was acknowledged below it has to be there, where it was
    /// said to be: all of "kept", of "short" what was not cut off, of "latest" each key's newest.
    std::string judge(const commit_log& log, position& end) const;

private:
    struct tried
    {
        std::string topic;
        std::string key;
        std::string value;
    };

    struct tried_append
    {
        std::vector<tried>     records;
        std::optional<receipt> acknowledged;
    };

    struct tried_cut
    {
        position after;  ///< the log ended here; a log that does not go further is not cut so
        offset   to;
    };

    struct found
    {
        std::map<std::size_t, std::set<std::size_t>> records;  ///< of each append, by number
        std::map<std::string, position>              newest;   ///< of each key of "latest"
    };

    offset      cut_before(position end) const;
    std::string missing(const found& there, position end) const;

    std::mt19937_64           random_;
    std::vector<tried_append> appends_;  ///< by number, as their records' values say
    std::vector<tried_cut>    cuts_;
};

}  // namespace cairn::testing
