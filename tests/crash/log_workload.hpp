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
/// "latest" (one) is compacted. Records have types and tags. Some appends have a command id, of
/// which some are repeated; some expect a stream's version, some have a boundary: the newest record
/// of a tag.
class log_workload
{
public:
    explicit log_workload(std::uint64_t seed) : random_{seed} {}

    /// Everything small, so that a short run meets all there is: segments that roll, runs that
    /// are merged, journal files that come round.
    static log_options options();

    static void create_topics(commit_log& log);

    /// One append of one to four records. Returns the end of the log after it; throws what the
    /// log throws, and then does not know whether it was recorded. Throws std::logic_error where a
    /// repeat, or a boundary that is crossed, is answered wrongly.
    position append(commit_log& log);

    /// Cuts the front of "short" off where it stands now.
    void cut(commit_log& log);

    /// What is wrong with this log, as far as it goes: empty where nothing is. `end` gets the
    /// position up to which it goes. What was acknowledged below it has to be there, where it was
    /// said to be: all of "kept", of "short" what was not cut off, of "latest" each key's newest.
    /// Queries and command ids find what is there, and no append has crossed its boundary.
    std::string judge(const commit_log& log, position& end) const;

    /// What is wrong with how this log, which was judged up to `end`, answers new conditions and a
    /// repeat.
    std::string ask(commit_log& log, position end) const;

private:
    static constexpr std::size_t tags = 4;  // of "kept", and as many of the others

    struct tried
    {
        std::string              topic;
        std::string              key;
        std::string              value;
        std::string              type;
        std::vector<std::string> tags;
    };

    struct tried_append
    {
        std::vector<tried>            records{};
        std::optional<std::string>    command_id{};
        std::vector<boundary>         boundaries{};
        std::vector<stream_condition> expect{};
        std::optional<receipt>        acknowledged{};
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
        std::map<std::string, std::vector<position>> matching;  ///< by type, and by tag
        std::map<std::size_t, position>              first;     ///< of each append, by number
    };

    static query       tagged(std::size_t n);
    static bool        only_kept(const tried_append& a);
    static std::string refuses_less(commit_log& log, const append_request& request);

    /// What the append expected of the stream, if this is its first record of it.
    expected_version expected_of(std::size_t append, std::size_t record,
                                 const std::string& key) const;

    offset      cut_before(position end) const;
    std::string missing(const found& there, position end) const;
    std::string crossed(const found& there) const;
    std::string wrong_queries(const commit_log& log, const found& there) const;
    std::string wrong_commands(const commit_log& log, const found& there, position end) const;

    std::mt19937_64           random_;
    std::vector<tried_append> appends_;  ///< by number, as their records' values say
    std::vector<tried_cut>    cuts_;
};

}  // namespace cairn::testing
