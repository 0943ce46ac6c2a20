// SPDX-License-Identifier: Apache-2.0
//
// The program of README.md.
//[ readme
#include <cairn/log/commit_log.hpp>

#include <iostream>

int main()
{
    auto log = cairn::commit_log::open("data");
    log.ensure_topic("orders", 4);

    // Only if there is no order o-7 yet. What is recorded is on disk when try_append() returns.
    const auto result = log.try_append({
        .records = {{"orders", {.key = "o-7", .value = "placed"}}},
        .expect  = {{{"orders", "o-7"}, cairn::expected_version::no_stream()}},
    });
    if (result)
        std::cout << "recorded at position " << result->first << "\n";
    else
        std::cout << "refused: " << result.error().what << "\n";

    for (const cairn::record_view& r : log.read_stream({"orders", "o-7"}))
        std::cout << "version " << r.version << ": " << *r.value << "\n";
}
//]
