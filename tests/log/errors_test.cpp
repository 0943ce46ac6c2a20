// SPDX-License-Identifier: Apache-2.0
//
// docs/reference/errors.md has a line for each code of error.hpp, and for no other.
#include <cairn/log/error.hpp>

#include "main/files.hpp"

#include <catch2/catch.hpp>

#include <map>
#include <regex>
#include <set>
#include <string>

namespace {

std::string source(const std::string& path)
{
    return cairn::testing::read_bytes(std::string{CAIRN_SOURCE_DIR} + "/" + path);
}

/// The enumerators, as the header spells them.
std::map<int, std::string> codes()
{
    const std::string header = source("log/include/cairn/log/error.hpp");
    const auto        begin  = header.find("enum class errc");
    const std::string body   = header.substr(begin, header.find("};", begin) - begin);
    const std::regex  line{R"(([a-z_]+)\s*=\s*(\d+),)"};

    std::map<int, std::string> all;
    for (std::sregex_iterator i{body.begin(), body.end(), line}, end; i != end; ++i)
        all[std::stoi((*i)[2])] = (*i)[1];
    return all;
}

}  // namespace

TEST_CASE("every error code has a name of its own")
{
    const auto            all = codes();
    std::set<std::string> names;
    CHECK(all.size() >= 35);
    for (const auto& [code, text] : all) {
        CHECK(cairn::name(static_cast<cairn::errc>(code)) == text);
        names.insert(text);
    }
    CHECK(names.size() == all.size());
    CHECK(cairn::name(static_cast<cairn::errc>(99)) == "unknown");
}

TEST_CASE("every error code has its line in docs/reference/errors.md, and every line its code")
{
    // | 101 | `unknown_topic` | what it means | where it comes from | what to do |
    const std::regex line{R"(^\| (\d+) \| `([a-z_]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$)"};

    std::map<int, std::string> told;
    int                        last = 0;
    std::istringstream         lines{source("docs/reference/errors.md")};
    for (std::string text; std::getline(lines, text);) {
        std::smatch parts;
        if (!std::regex_match(text, parts, line)) {
            INFO(text);
            CHECK_FALSE(std::regex_search(text, std::regex{R"(^\| *\d)"}));
            continue;
        }
        const int code = std::stoi(parts[1]);
        INFO(code);
        CHECK(code > last);
        last       = code;
        told[code] = parts[2];
        for (int i = 3; i <= 5; ++i) CHECK(parts[i].length() > 4);
        CHECK(std::string{parts[5]}.back() == '.');
    }
    CHECK(told == codes());
}
