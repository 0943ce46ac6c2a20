// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace cairn {
struct progress;
}

namespace cairn::cli {

/// One line on a terminal's stderr that says how long work goes, and is gone when it ends:
///
///     verifying  45 %  243,000 of 541,909  271,000/s  1.1 s left
///
/// Where stderr is no terminal it says nothing. Any thread may call it.
class progress_line
{
public:
    progress_line();
    ~progress_line();
    progress_line(const progress_line&)            = delete;
    progress_line& operator=(const progress_line&) = delete;

    /// `total` 0: not known. Cheap to call often: it draws ten times a second.
    void show(std::string_view what, std::uint64_t done, std::uint64_t total,
              std::string_view unit = "");
    void show(const progress& p);

    bool is_watched() const noexcept { return watched_; }

    /// Takes the line away.
    void clear();

private:
    using clock = std::chrono::steady_clock;

    void erase();

    std::mutex        mutex_;
    bool              watched_;
    std::string       what_;
    clock::time_point began_;
    clock::time_point drawn_;
    std::uint64_t     first_   = 0;
    bool              visible_ = false;
};

/// The text of such a line, `seconds` after `first` of `total` were done.
std::string progress_text(std::string_view what, std::uint64_t first, std::uint64_t done,
                          std::uint64_t total, double seconds, std::string_view unit);

}  // namespace cairn::cli
