// SPDX-License-Identifier: Apache-2.0
//
// The machine that a figure was measured on, and what this process takes of it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cairn::bench {

/// What a figure needs beside it to mean anything: processor, cores, memory, file system, kernel,
/// date, in this order. No name of a machine or a person.
std::vector<std::pair<std::string, std::string>> machine(const std::string& directory);

/// As one JSON line: {"table":"machine", …}.
void print_machine_json(const std::string& directory);
void print_machine(const std::string& directory);

/// Seconds of a core that this process has used, all threads together.
double cpu_seconds();

/// Bytes of memory that are this process's own: resident, and no file behind them.
std::uint64_t private_bytes();

}  // namespace cairn::bench
