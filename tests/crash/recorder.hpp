// SPDX-License-Identifier: Apache-2.0
//
// Records what this process does to its files, libraries (LMDB) included.
//
// How: recorder.cpp defines open(), pwrite(), fdatasync() and their like. Linked into a test
// program with -rdynamic, these stand before libc's for all that the program loads; they make
// the system call themselves and note it. What does not go through them is not seen: stdio
// (fwrite), copy_file_range, and writes to shared memory maps. The log uses none for its data;
// LMDB writes its lock file through a map, which a crash makes void anyway.
#pragma once

#include "recording.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace cairn::testing {

/// Watches a directory from construction to stop(). One at a time in a process.
///
/// Threads   mark(): any. A write is in the recording in the order in which it took effect; a
///           sync covers what was over when it began, and counts from when it returned.
class recorder
{
public:
    /// REQUIRES: the directory exists. Files that are in it may be open.
    explicit recorder(const std::string& directory);
    ~recorder();
    recorder(const recorder&)            = delete;
    recorder& operator=(const recorder&) = delete;

    /// Notes that by now something was promised, for instance all below a position.
    void mark(std::int64_t value);

    /// Ends it. Files may still be open; what is done to them later is not seen.
    recording stop();
};

}  // namespace cairn::testing
