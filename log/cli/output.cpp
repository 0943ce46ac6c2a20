// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"

#include "command.hpp"

#include <poll.h>
#include <unistd.h>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>

namespace cairn::cli {

namespace {

bool wants_colour()
{
    const char* no_colour = std::getenv("NO_COLOR");
    const char* term      = std::getenv("TERM");
    return !(no_colour && *no_colour) && term && std::string_view{term} != "dumb";
}

std::string in_code(const char* code, std::string_view text, bool coloured)
{
    if (!coloured) return std::string{text};
    return "\x1b[" + std::string{code} + 'm' + std::string{text} + "\x1b[0m";
}

}  // namespace

output::output(int descriptor)
    : descriptor_{descriptor},
      terminal_{::isatty(descriptor) == 1},
      coloured_{terminal_ && wants_colour()}
{
}

void output::flush()
{
    // Taken out first: after a failure the bytes must not be tried again by whoever cleans up.
    std::string bytes = std::exchange(gathered_, {});

    for (std::string_view left = bytes; !left.empty();) {
        const auto n = ::write(descriptor_, left.data(), left.size());
        if (n >= 0) {
            left.remove_prefix(static_cast<std::size_t>(n));
        } else if (errno == EAGAIN) {
            ::pollfd ready{descriptor_, POLLOUT, 0};
            ::poll(&ready, 1, -1);
        } else if (errno == EPIPE) {
            throw nobody_reads{};
        } else if (errno != EINTR) {
            throw failure{"output_failed", "the output cannot be written: " +
                                               std::generic_category().message(errno)};
        }
    }
    bytes.clear();
    gathered_ = std::move(bytes);  // for its capacity
}

std::string bold(std::string_view text, bool coloured)
{
    return in_code("1", text, coloured);
}
std::string red(std::string_view text, bool coloured)
{
    return in_code("1;31", text, coloured);
}
std::string dim(std::string_view text, bool coloured)
{
    return in_code("2", text, coloured);
}

}  // namespace cairn::cli
