// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "measure.hpp"

#include <cairn/log/commit_log.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cairn::bench {

/// What is measured, and how much of it.
struct plan
{
    std::string              directory;             ///< scratch: it is used up
    std::size_t              event_bytes    = 200;  ///< of a value
    duration                 each           = std::chrono::seconds{2};
    std::uint64_t            streams        = 100'000;  ///< in the log that is read, of …
    std::uint64_t            events_of_each = 10;
    int                      writers        = 64;
    std::vector<std::string> only;  ///< parts by name; none: all

    std::function<bool()>                   stop;       ///< asked between parts
    std::function<void(const std::string&)> on_part;    ///< before each
    std::function<void(const figure&)>      on_figure;  ///< after each
};

struct part
{
    std::string name;
    std::string what;
};

/// The parts that there are, in the order in which they are measured.
std::vector<part> parts();

/// Measures, on logs of its own in plan.directory.
std::vector<figure> run(const plan& p);

// ---- The pieces, for other programs that measure. -------------------------------------------

/// The tags of an event: which order it is of, and which customer.
std::vector<std::string> tags_of(std::uint64_t stream);

std::string key_of(std::uint64_t stream);

/// An event as the framework writes it, as far as the log is concerned.
append_record event_of(std::uint64_t stream, std::size_t event_bytes);

/// Fills the topic with `streams` × `events_of_each` events, `batch` in an append.
figure fill(commit_log& log, const std::string& topic, std::uint64_t streams,
            std::uint64_t events_of_each, std::size_t batch, std::size_t event_bytes);

}  // namespace cairn::bench
