// SPDX-License-Identifier: Apache-2.0
#include "table.hpp"

#include "output.hpp"
#include "text.hpp"

#include <sys/ioctl.h>
#include <unistd.h>
#include <algorithm>
#include <string_view>
#include <utility>

namespace cairn::cli {

namespace {

constexpr std::size_t inner_columns_max = 64;

}  // namespace

table::table(std::vector<std::string> heading) : heading_{std::move(heading)}
{
    for (auto& name : heading_) {
        const bool right = name.ends_with(" >");
        if (right) name.resize(name.size() - 2);
        to_the_right_.push_back(right);
    }
}

void table::row(std::vector<std::string> cells)
{
    add(std::move(cells), false);
}

void table::row_with_printable_end(std::vector<std::string> cells)
{
    add(std::move(cells), true);
}

void table::add(std::vector<std::string> cells, bool end_is_printable)
{
    cells.resize(heading_.size());
    for (auto& cell : cells) {
        if (!end_is_printable || &cell != &cells.back()) cell = printable(cell);
        // The last column may be as wide as it likes; another would push all that follows away.
        if (&cell != &cells.back()) cell = cut(cell, inner_columns_max);
    }
    rows_.push_back(std::move(cells));
}

void table::print(output& out, bool with_heading) const
{
    std::vector<std::size_t> widths;
    for (const auto& name : heading_) widths.push_back(columns(name));
    for (const auto& row : rows_)
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], columns(row[i]));

    const std::size_t width = out.is_terminal() ? terminal_width(STDOUT_FILENO) : 0;

    const auto line_of = [&](const std::vector<std::string>& row) {
        std::string line;
        std::size_t used = 0;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const bool  last = i + 1 == row.size();
            std::string cell = row[i];
            if (last && width > used + 10) cell = cut(cell, width - used);
            const std::size_t pad = widths[i] - std::min(widths[i], columns(cell));
            if (to_the_right_[i]) line.append(pad, ' ');
            line += cell;
            if (!to_the_right_[i] && !last) line.append(pad, ' ');
            if (!last) line += "  ";
            used += widths[i] + 2;
        }
        return line;
    };

    if (with_heading) out.write(bold(line_of(heading_), out.is_coloured()) + '\n');
    for (const auto& row : rows_) out.write(line_of(row) + '\n');
}

std::size_t terminal_width(int descriptor) noexcept
{
    ::winsize size{};
    if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0) return 0;
    return size.ws_col;
}

}  // namespace cairn::cli
