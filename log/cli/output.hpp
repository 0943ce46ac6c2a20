// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cairn::cli {

/// Whoever read our output has gone, as `head` does. Nothing is wrong.
struct nobody_reads
{};

/// Bytes to a file descriptor, gathered into large writes.
///
/// Throws nobody_reads where the reader has gone, and failure{"output_failed"} where the bytes
/// cannot be written. What was written before flush() returned has been handed to the system.
class output
{
public:
    explicit output(int descriptor);

    void write(std::string_view bytes)
    {
        gathered_.append(bytes);
        if (gathered_.size() >= full_at) flush();
    }
    void flush();

    /// Somebody watches: it is a terminal.
    bool is_terminal() const noexcept { return terminal_; }

    /// A terminal that should be coloured. NO_COLOR and TERM=dumb are heeded.
    bool is_coloured() const noexcept { return coloured_; }

private:
    static constexpr std::size_t full_at = 256 * 1024;

    int         descriptor_;
    bool        terminal_;
    bool        coloured_;
    std::string gathered_;
};

/// `text` between the codes that make it bold, dim or red, where `coloured`.
std::string bold(std::string_view text, bool coloured);
std::string red(std::string_view text, bool coloured);
std::string dim(std::string_view text, bool coloured);

}  // namespace cairn::cli
