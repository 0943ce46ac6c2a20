// SPDX-License-Identifier: Apache-2.0
#include "table.hpp"

#include "documents.hpp"
#include "output.hpp"
#include "progress_line.hpp"

#include <catch2/catch.hpp>

#include <unistd.h>
#include <string>

using namespace cairn::cli;

namespace {

std::string printed(const table& t)
{
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    output out{ends[1]};
    t.print(out);
    out.flush();
    ::close(ends[1]);
    std::string text(4096, '\0');
    const auto  n = ::read(ends[0], text.data(), text.size());
    ::close(ends[0]);
    REQUIRE(n >= 0);
    text.resize(static_cast<std::size_t>(n));
    return text;
}

}  // namespace

TEST_CASE("columns are as wide as they need to be, numbers to the right")
{
    table t{{"TOPIC", "RECORDS >", "NOTE"}};
    t.row({"a", "1", "x"});
    t.row({"größer", "12345678", ""});
    CHECK(printed(t) ==
          "TOPIC    RECORDS  NOTE\n"
          "a              1  x\n"
          "größer  12345678  \n");
}

TEST_CASE("a cell cannot break its row")
{
    table t{{"KEY", "VALUE"}};
    t.row({"\x1b]0;title\x07", "two\nlines"});
    CHECK(printed(t) ==
          "KEY               VALUE\n"
          "\\x1b]0;title\\x07  two\\nlines\n");
}

TEST_CASE("only the last column may be very wide")
{
    table t{{"KEY", "VALUE"}};
    t.row({std::string(100, 'k'), std::string(100, 'v')});
    CHECK(printed(t) == "KEY" + std::string(63, ' ') + "VALUE\n" + std::string(63, 'k') + "…  " +
                            std::string(100, 'v') + '\n');
}

TEST_CASE("progress says rate and what is left")
{
    CHECK(progress_text("verifying", 0, 250, 1000, 2.0, "") ==
          "verifying  25 %  250 of 1,000  125/s  6.0 s left");
    CHECK(progress_text("producing", 0, 4096, 0, 1.0, "bytes") == "producing  4.0 KiB  4.0 KiB/s");
    CHECK(progress_text("going on", 500, 600, 1000, 1.0, "") ==
          "going on  60 %  600 of 1,000  100/s  4.0 s left");
    CHECK(progress_text("done", 0, 10, 10, 1.0, "") == "done  100 %  10 of 10  10/s");
}

TEST_CASE("paragraphs are broken at spaces")
{
    CHECK(wrapped("one two three", 2, 9) == "  one two\n  three\n");
    CHECK(wrapped("averylongword x", 0, 5) == "averylongword\nx\n");
}
