// SPDX-License-Identifier: Apache-2.0
//
// What the programs here are told on the command line, in common.
#pragma once

#include "bench/measure.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace cairn::bench {

struct settings
{
    std::string              directory = ".";
    std::uint64_t            runs      = 5;
    std::uint64_t            each_ms   = 3'000;  ///< a part that runs for a time
    std::uint64_t            raw_ms    = 500;    ///< the disk alone, before and after it
    std::vector<std::string> only;
    std::string              format = "text";

    duration each() const { return std::chrono::milliseconds{each_ms}; }
    duration raw() const { return std::chrono::milliseconds{raw_ms}; }
    bool     json() const { return format == "json"; }
    bool     wants(const std::string& part) const
    {
        if (only.empty()) return true;
        for (const auto& o : only)
            if (o == part) return true;
        return false;
    }
};

/// Adds the options of `settings` to a command line of CLI11.
template <class App>
void add_settings(App& app, settings& s)
{
    app.add_option("--dir", s.directory, "On the disk that is to be measured")
        ->capture_default_str();
    app.add_option("--runs", s.runs, "The median of so many runs is shown, and their range")
        ->capture_default_str();
    app.add_option("--each-ms", s.each_ms, "How long a part runs")->capture_default_str();
    app.add_option("--raw-ms", s.raw_ms, "How long the disk is measured before and after it")
        ->capture_default_str();
    app.add_option("--only", s.only, "Only these parts")->delimiter(',');
    app.add_option("--format", s.format, "text or json (one object per line)")
        ->capture_default_str();
}

}  // namespace cairn::bench
