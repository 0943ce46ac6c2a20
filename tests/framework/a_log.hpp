// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/commit_log.hpp>

#include <catch2/catch.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>

namespace cairn::testing {

/// A log with a topic "accounts"; in memory, or in a directory where it can be opened again.
struct a_log
{
    explicit a_log(bool on_disk)
        : directory{on_disk ? std::filesystem::temp_directory_path() /
                                  ("cairn-framework-" + std::to_string(::getpid()))
                            : std::filesystem::path{}}
    {
        options.clock = [this] { return timestamp{now}; };
        std::filesystem::remove_all(directory);
        open();
        log->create_topic("accounts", 3);
    }
    ~a_log()
    {
        log.reset();
        if (!directory.empty()) std::filesystem::remove_all(directory);
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

    std::filesystem::path     directory;
    log_options               options;
    std::int64_t              now = 1'700'000'000'000;
    std::optional<commit_log> log;
};

inline std::vector<std::string> types_of(const commit_log& log, const std::string& id)
{
    std::vector<std::string> all;
    for (const auto& r : log.read_stream({"accounts", id}))
        all.emplace_back(*r.headers.find(header_names::type));
    return all;
}

template <class F>
errc code_of(F&& f)
{
    try {
        f();
    } catch (const error& e) {
        UNSCOPED_INFO(e.what());
        return e.code();
    }
    return errc{};
}

}  // namespace cairn::testing
