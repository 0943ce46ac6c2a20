// SPDX-License-Identifier: Apache-2.0
// A program on the installed log: it opens, appends on a condition, and reads back.
#include <cairn/log/commit_log.hpp>

#include <filesystem>
#include <iostream>

int main(int count, char** arguments)
{
    if (count != 2) return 2;
    const std::string directory = arguments[1];
    std::filesystem::remove_all(directory);
    {
        auto log = cairn::commit_log::open(directory);
        log.create_topic("orders", 2);
        log.append({.records = {{"orders", {.key = "o-1", .value = "placed"}}},
                    .expect  = {{{"orders", "o-1"}, cairn::expected_version::no_stream()}}});
    }
    auto log = cairn::commit_log::open(directory);
    for (const auto& record : log.read_stream({"orders", "o-1"}))
        if (record.value == "placed" && record.version == cairn::version{0}) return 0;
    std::cerr << "what was appended is not there\n";
    return 1;
}
