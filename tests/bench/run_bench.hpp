// SPDX-License-Identifier: Apache-2.0
//
// What the benchmarks' main()s have in common.
#pragma once

#include "machine.hpp"
#include "settings.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <filesystem>

namespace cairn::bench {

/// As the format asks.
inline void print_machine(const settings& o)
{
    if (o.json())
        print_machine_json(o.directory);
    else
        print_machine(o.directory);
}

/// Reads the command line, measures, and says what failed.
template <class Measure>
int run_bench(CLI::App& app, int argc, char** argv, Measure measure)
{
    CLI11_PARSE(app, argc, argv);
    try {
        measure();
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s: %s\n", std::filesystem::path{argv[0]}.filename().c_str(),
                     e.what());
        return 1;
    }
    return 0;
}

}  // namespace cairn::bench
