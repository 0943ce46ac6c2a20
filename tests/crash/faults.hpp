// SPDX-License-Identifier: Apache-2.0
//
// Makes system calls fail, by the same means as recorder.hpp: link recorder.cpp.
#pragma once

#include <cerrno>
#include <cstdint>
#include <string>

namespace cairn::testing {

/// What is made to fail, and how.
struct fault
{
    enum class call : std::uint8_t {
        open,    ///< open, openat, creat
        write,   ///< write, writev, pwrite, pwritev
        sync,    ///< fsync, fdatasync, msync
        resize,  ///< ftruncate, truncate, fallocate
        rename,
        remove,  ///< unlink, rmdir
        map,     ///< mmap of a file
        read,    ///< read, pread
        any,     ///< each of these
    };
    enum class way : std::uint8_t {
        fail,   ///< nothing is done; `error`
        torn,   ///< write: the first half of the sectors is written; `error` all the same
        brief,  ///< write: the first half of the sectors (or the only one) is, and said so
    };

    call        where = call::write;
    int         error = EIO;
    way         how   = way::fail;
    int         nth   = 1;   ///< the first call that fails; 0: none does, calls are counted only
    int         count = 1;   ///< so many fail, one after the other; -1: all from there on
    std::string path  = {};  ///< only files whose path has this in it
    int         flags = 0;   ///< open: only where these are set
};

/// Injects a fault while it lives. One at a time in a process; any thread's calls count.
class fault_injection
{
public:
    explicit fault_injection(fault f);
    ~fault_injection();
    fault_injection(const fault_injection&)            = delete;
    fault_injection& operator=(const fault_injection&) = delete;

    /// How many calls were of the kind so far.
    int calls() const;

    /// How many of them were made to fail.
    int hits() const;
};

}  // namespace cairn::testing
