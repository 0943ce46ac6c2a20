// SPDX-License-Identifier: Apache-2.0
#include "line_reader.hpp"

#include "command.hpp"

#include <catch2/catch.hpp>

#include <unistd.h>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

using namespace cairn::cli;
using namespace std::string_literals;

namespace {

/// A pipe, written by a thread so that it never fills up.
class piped
{
public:
    explicit piped(std::string bytes)
    {
        std::signal(SIGPIPE, SIG_IGN);  // a reader may stop before the end
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        reading_ = ends[0];
        writer_  = std::thread{[bytes = std::move(bytes), to = ends[1]] {
            for (std::size_t at = 0; at < bytes.size();) {
                const auto n = ::write(to, bytes.data() + at, bytes.size() - at);
                if (n <= 0) break;
                at += static_cast<std::size_t>(n);
            }
            ::close(to);
        }};
    }
    ~piped()
    {
        ::close(reading_);
        writer_.join();
    }

    int end() const { return reading_; }

private:
    int         reading_;
    std::thread writer_;
};

std::vector<std::string> lines_of(const std::string& bytes, std::size_t longest = 1 << 20)
{
    const piped              in{bytes};
    line_reader              reader{in.end(), longest, [] {}};
    std::vector<std::string> lines;
    for (std::string_view line; reader.next(line);) lines.emplace_back(line);
    CHECK(reader.number() == lines.size());
    CHECK(reader.bytes() == bytes.size());
    return lines;
}

using strings = std::vector<std::string>;

}  // namespace

TEST_CASE("lines come byte for byte, without their newline")
{
    CHECK(lines_of("") == strings{});
    CHECK(lines_of("a\nb\n") == strings{"a", "b"});
    CHECK(lines_of("no newline at the end") == strings{"no newline at the end"});
    CHECK(lines_of("\n\nx\n\n") == strings{"", "", "x", ""});
    CHECK(lines_of("dos\r\nnul\0byte\nu\xfc\n"s) == strings{"dos\r", "nul\0byte"s, "u\xfc"});
}

TEST_CASE("lines may be longer than what is read at once")
{
    const std::string big(3'000'000, 'x');
    CHECK(lines_of(big + '\n' + big, 4'000'000) == strings{big, big});
}

TEST_CASE("a line that is too long is refused by its number, with or without an end")
{
    CHECK(lines_of("12345678\n", 8) == strings{"12345678"});
    CHECK_THROWS_WITH(lines_of("short\n123456789\n", 8), Catch::Contains("line 2"));

    const piped      endless{std::string(1 << 20, 'x')};
    line_reader      reader{endless.end(), 1000, [] {}};
    std::string_view line;
    CHECK_THROWS_AS(reader.next(line), failure);
}

TEST_CASE("before it waits for more, it says so")
{
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    REQUIRE(::write(ends[1], "one\ntwo\nthr", 11) == 11);

    int              waits = 0;
    line_reader      reader{ends[0], 100, [&] {
                           ++waits;
                           REQUIRE(::write(ends[1], "ee\n", 3) == 3);
                       }};
    std::string_view line;
    REQUIRE(reader.next(line));
    REQUIRE(reader.next(line));
    CHECK(waits == 0);
    REQUIRE(reader.next(line));
    CHECK(line == "three");
    CHECK(waits == 1);
    ::close(ends[0]);
    ::close(ends[1]);
}
