// SPDX-License-Identifier: Apache-2.0
#include "line_reader.hpp"

#include "session.hpp"
#include "text.hpp"

#include <poll.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace cairn::cli {

namespace {

constexpr std::size_t read_at_once = 256 * 1024;

bool would_wait(int descriptor)
{
    ::pollfd ready{descriptor, POLLIN, 0};
    return ::poll(&ready, 1, 0) == 0;
}

}  // namespace

line_reader::line_reader(int descriptor, std::size_t longest, std::function<void()> before_waiting)
    : descriptor_{descriptor}, longest_{longest}, before_waiting_{std::move(before_waiting)}
{
}

bool line_reader::next(std::string_view& line)
{
    for (;;) {
        const char* from  = buffer_.data() + scanned_;
        const auto* found = static_cast<const char*>(
            filled_ > scanned_ ? std::memchr(from, '\n', filled_ - scanned_) : nullptr);
        const std::size_t end = found ? static_cast<std::size_t>(found - buffer_.data()) : filled_;

        if (end - at_ > longest_)
            throw failure{"input_failed", "line " + with_commas(number_ + 1) + " is longer than " +
                                              with_commas(longest_) +
                                              " bytes, the most that the topic takes; raise its "
                                              "max.message.bytes with 'cairn topic alter'"};
        if (found) {
            line = std::string_view{buffer_}.substr(at_, end - at_);
            at_ = scanned_ = end + 1;
            ++number_;
            return true;
        }
        scanned_ = filled_;
        if (ended_) {
            line = std::string_view{buffer_}.substr(at_, filled_ - at_);
            at_ = scanned_ = filled_;
            if (line.empty()) return false;
            ++number_;
            return true;
        }
        if (!fill()) return false;
    }
}

bool line_reader::fill()
{
    if (at_ > 0) {
        buffer_.erase(0, at_);
        filled_ -= at_;
        scanned_ -= at_;
        at_ = 0;
    }
    buffer_.resize(filled_ + read_at_once);

    if (would_wait(descriptor_)) before_waiting_();
    while (!session::interrupted()) {
        const auto n = ::read(descriptor_, buffer_.data() + filled_, read_at_once);
        if (n >= 0) {
            ended_ = n == 0;
            filled_ += static_cast<std::size_t>(n);
            bytes_ += static_cast<std::uint64_t>(n);
            return true;
        }
        if (errno != EINTR && errno != EAGAIN)
            throw failure{"input_failed",
                          "the input cannot be read: " + std::generic_category().message(errno)};
        if (errno == EAGAIN) {
            ::pollfd ready{descriptor_, POLLIN, 0};
            ::poll(&ready, 1, -1);
        }
    }
    return false;
}

}  // namespace cairn::cli
