// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "main/complaint.hpp"
#include "main/temporary_directory.hpp"

#include <cairn/log/commit_log.hpp>

#include <catch2/catch.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace cairn::testing {

/// A log with a topic "accounts"; in memory, or in a directory where it can be opened again.
struct a_log
{
    explicit a_log(bool on_disk)
    {
        if (on_disk) directory = place.emplace() / "log";
        options.clock = [this] { return timestamp{now}; };
        open();
        log->create_topic("accounts", 3);
    }
    void open()
    {
        log.emplace(directory.empty() ? commit_log::in_memory(options)
                                      : commit_log::open(directory.string(), options));
    }
    void reopen()
    {
        if (directory.empty()) return;
        log->close();
        open();
    }

    std::optional<temporary_directory> place;      // removed after the log is closed
    std::filesystem::path              directory;  // in it; empty: in memory
    log_options                        options;
    std::int64_t                       now = 1'700'000'000'000;
    std::optional<commit_log>          log;
};

inline std::vector<std::string> types_of(const commit_log& log, const std::string& id)
{
    std::vector<std::string> all;
    for (const auto& r : log.read_stream({"accounts", id}))
        all.emplace_back(*r.headers.find(header_names::type));
    return all;
}

}  // namespace cairn::testing
