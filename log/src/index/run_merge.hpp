// SPDX-License-Identifier: Apache-2.0
//
// One run out of several that follow each other, or out of a stretch of them. Reads each input
// twice from front to back: first its directories, to learn how large the result will be, then
// everything. Memory is bounded whatever the size.
#pragma once

#include "index/run.hpp"
#include "index/run_writer.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace cairn::detail {

using run_list = std::vector<std::shared_ptr<const run>>;

/// The positions [first, end) of `sources`, which are adjacent, oldest first, and cover them.
struct merge_job
{
    run_list sources;
    position first;
    position end;
};

/// Called now and then during long work; what it throws ends it.
using merge_tick = std::function<void()>;

/// How much the result will hold.
run_counts count_merged(const merge_job& job, const merge_tick& tick);

/// Writes it. REQUIRES: `to` was made for the job's positions and for those counts.
void write_merged(const merge_job& job, run_writer& to, const merge_tick& tick);

/// Each stream of the sources, ascending by hash, with how far it has come in them.
/// `f` returns false to end.
void each_stream_head(const run_list& sources,
                      const std::function<bool(const term&, const stream_head&)>& f);

/// Which of adjacent runs to merge, given their sizes, oldest first: a stretch [first, second)
/// of at least `fan_in`, where each is no larger than all newer ones of the stretch together.
/// So a large run is not written again for the sake of a few small ones, and their number grows
/// with the logarithm of what they hold. `fits` may shorten a stretch.
std::optional<std::pair<std::size_t, std::size_t>> pick_merge(
    const std::vector<std::uint64_t>& sizes, std::size_t fan_in,
    const std::function<bool(std::size_t first, std::size_t end)>& fits);

}  // namespace cairn::detail
