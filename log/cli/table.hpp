// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

namespace cairn::cli {

class output;

/// Rows below a heading, the columns as wide as they need to be; all but the last are cut at 64.
/// Cells are made printable, so that nothing in a log can play tricks on a terminal.
///
///     table t{{"TOPIC", "RECORDS >"}};      // > : to the right
///     t.row({"orders", "12"});
///     t.print(out);
///
///     TOPIC   RECORDS
///     orders       12
class table
{
public:
    explicit table(std::vector<std::string> heading);

    void row(std::vector<std::string> cells);
    /// As row(); the last cell is printable as it is, such as JSON that was made here.
    void row_with_printable_end(std::vector<std::string> cells);
    bool empty() const noexcept { return rows_.empty(); }

    /// On a terminal, the last column is cut where the line would be longer than it is wide.
    void print(output& out) const { print(out, true); }
    void print(output& out, bool with_heading) const;

private:
    void add(std::vector<std::string> cells, bool end_is_printable);

    std::vector<std::string>              heading_;
    std::vector<bool>                     to_the_right_;
    std::vector<std::vector<std::string>> rows_;
};

/// How many columns the terminal at this descriptor has; 0: it is none.
std::size_t terminal_width(int descriptor) noexcept;

}  // namespace cairn::cli
