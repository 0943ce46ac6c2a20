// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace cairn::cli {

/// Lines of a file, a pipe or a terminal, byte for byte: only the newline at the end is taken
/// off. The last line need not have one.
///
/// Lifetime  A line is good until the next call.
/// Errors    failure{"input_failed"} where the input cannot be read, or a line is longer than
///           it may be; the latter says its number.
class line_reader
{
public:
    /// `before_waiting` is called when the next line is not there yet, before waiting for it.
    line_reader(int descriptor, std::size_t longest, std::function<void()> before_waiting);

    /// False at the end, or when a signal came while it waited.
    bool next(std::string_view& line);

    /// The number of the line that next() gave last; the first is 1.
    std::uint64_t number() const noexcept { return number_; }

    /// Bytes read so far, newlines included.
    std::uint64_t bytes() const noexcept { return bytes_; }

private:
    bool fill();

    int                   descriptor_;
    std::size_t           longest_;
    std::function<void()> before_waiting_;
    std::string           buffer_;
    std::size_t           at_      = 0;  ///< of the first byte not yet given out
    std::size_t           filled_  = 0;
    std::size_t           scanned_ = 0;  ///< no newline between at_ and here
    std::uint64_t         number_  = 0;
    std::uint64_t         bytes_   = 0;
    bool                  ended_   = false;
};

}  // namespace cairn::cli
