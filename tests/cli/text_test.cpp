// SPDX-License-Identifier: Apache-2.0
#include "text.hpp"

#include "command.hpp"

#include <catch2/catch.hpp>

using namespace cairn::cli;
using namespace std::string_literals;

TEST_CASE("a number has its commas")
{
    CHECK(with_commas(0) == "0");
    CHECK(with_commas(999) == "999");
    CHECK(with_commas(1000) == "1,000");
    CHECK(with_commas(541910) == "541,910");
    CHECK(with_commas(18446744073709551615u) == "18,446,744,073,709,551,615");
}

TEST_CASE("a size has the unit that keeps it short")
{
    CHECK(as_size(0) == "0 B");
    CHECK(as_size(1023) == "1023 B");
    CHECK(as_size(1024) == "1.0 KiB");
    CHECK(as_size(48ull << 20) == "48.0 MiB");
    CHECK(as_size(3ull << 40) == "3.0 TiB");
}

TEST_CASE("printable text plays no tricks on a terminal")
{
    CHECK(printable("plain, ünï → text") == "plain, ünï → text");
    CHECK(printable("two\nlines\ttab\r\\") == "two\\nlines\\ttab\\r\\\\");
    CHECK(printable("\x1b[2J") == "\\x1b[2J");
    CHECK(printable("a\0b"s) == "a\\x00b");
    CHECK(printable("\x7f") == "\\x7f");
    CHECK(printable("\xc2\x9b") == "\\xc2\\x9b");  // a control character of ISO 6429
    CHECK(printable("\xff\xfe") == "\\xff\\xfe");
    CHECK(printable("\xc0\xaf") == "\\xc0\\xaf");           // overlong
    CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // a surrogate
    CHECK(printable("caf\xc3") == "caf\\xc3");              // cut off
}

TEST_CASE("UTF-8 is told from other bytes")
{
    CHECK(is_utf8(""));
    CHECK(is_utf8("a\0b"s));
    CHECK(is_utf8("ü€😀"));
    CHECK_FALSE(is_utf8("\x80"));
    CHECK_FALSE(is_utf8("\xe2\x82"));
    CHECK_FALSE(is_utf8("\xf4\x90\x80\x80"));  // beyond U+10FFFF
    CHECK_FALSE(is_utf8("\xf0\x80\x80\x80"));  // overlong
}

TEST_CASE("Base64 as in RFC 4648")
{
    CHECK(base64("") == "");
    CHECK(base64("f") == "Zg==");
    CHECK(base64("fo") == "Zm8=");
    CHECK(base64("foo") == "Zm9v");
    CHECK(base64("foobar") == "Zm9vYmFy");
    CHECK(base64("\xff\x00\x7f"s) == "/wB/");
}

TEST_CASE("text is cut at whole characters")
{
    CHECK(columns("ü€😀") == 3);
    CHECK(cut("short", 5) == "short");
    CHECK(cut("longer", 5) == "long…");
    CHECK(cut("üüü", 2) == "ü…");
}

TEST_CASE("escapes stand for bytes")
{
    CHECK(unescape("a\\tb\\n", "x") == "a\tb\n");
    CHECK(unescape("\\0", "x") == "\0"s);
    CHECK(unescape("\\x41\\101", "x") == "AA");
    CHECK(unescape("\\\\n", "x") == "\\n");
    CHECK(unescape("\\xffz", "x") == "\xffz");
    CHECK_THROWS_AS(unescape("\\q", "x"), usage_error);
    CHECK_THROWS_AS(unescape("tail\\", "x"), usage_error);
    CHECK_THROWS_AS(unescape("\\x", "x"), usage_error);
    CHECK_THROWS_AS(unescape("\\777", "x"), usage_error);
}

TEST_CASE("things are counted in words")
{
    CHECK(counted(1, "record") == "1 record");
    CHECK(counted(0, "record") == "0 records");
    CHECK(counted(1200, "record") == "1,200 records");
}

TEST_CASE("a list is split at every separator")
{
    CHECK(split("a,b,,c", ',') == std::vector<std::string>{"a", "b", "", "c"});
    CHECK(split("", ',') == std::vector<std::string>{""});
}
