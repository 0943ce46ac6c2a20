// SPDX-License-Identifier: Apache-2.0
#include "progress_line.hpp"

#include "moment.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cairn/log/commit_log.hpp>

#include <unistd.h>
#include <algorithm>
#include <cstdio>

namespace cairn::cli {

namespace {

constexpr std::chrono::milliseconds redraw_every{100};

std::string amount(std::uint64_t n, std::string_view unit)
{
    if (unit == "bytes") return as_size(n);
    return with_commas(n);
}

}  // namespace

progress_line::progress_line() : watched_{::isatty(STDERR_FILENO) == 1} {}

progress_line::~progress_line()
{
    clear();
}

void progress_line::show(const progress& p)
{
    show(p.what, p.done, p.total);
}

void progress_line::show(std::string_view what, std::uint64_t done, std::uint64_t total,
                         std::string_view unit)
{
    if (!watched_) return;
    const std::lock_guard lock{mutex_};
    const auto            now = clock::now();
    if (what != what_ || done < first_) {
        what_  = what;
        began_ = now;
        drawn_ = now;  // work of less than a tenth of a second shows nothing
        first_ = done;
    }
    if (now - drawn_ < redraw_every) return;
    drawn_ = now;

    const std::chrono::duration<double> seconds = now - began_;

    auto text = progress_text(what, first_, done, total, seconds.count(), unit);
    if (const auto width = terminal_width(STDERR_FILENO); width > 10) text = cut(text, width - 1);
    std::fprintf(stderr, "\r\x1b[K%s", text.c_str());
    std::fflush(stderr);
    visible_ = true;
}

void progress_line::clear()
{
    const std::lock_guard lock{mutex_};
    erase();
}

void progress_line::erase()
{
    if (!visible_) return;
    std::fputs("\r\x1b[K", stderr);
    std::fflush(stderr);
    visible_ = false;
}

std::string progress_text(std::string_view what, std::uint64_t first, std::uint64_t done,
                          std::uint64_t total, double seconds, std::string_view unit)
{
    std::string text{what};
    if (total > 0) {
        text += "  " + std::to_string(std::min<std::uint64_t>(100, done * 100 / total)) + " %";
        text += "  " + amount(done, unit) + " of " + amount(total, unit);
    } else {
        text += "  " + amount(done, unit);
    }
    const double rate = seconds > 0 ? static_cast<double>(done - first) / seconds : 0;
    if (rate > 0) {
        text += "  " + amount(static_cast<std::uint64_t>(rate), unit) + "/s";
        if (total > done)
            text += "  " + as_duration(static_cast<double>(total - done) / rate) + " left";
    }
    return text;
}

}  // namespace cairn::cli
