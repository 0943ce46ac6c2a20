// SPDX-License-Identifier: Apache-2.0
//
// Another process: this very program, running one hidden case of it. (Not a fork: what has
// threads cannot be forked under a thread sanitizer, and one LMDB environment must not be shared
// by a fork.)
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace contract {

class other_process
{
public:
    /// Starts the case of that name with those arguments; see argument().
    other_process(const std::string& test_case, const std::vector<std::string>& arguments);
    ~other_process();
    other_process(const other_process&)            = delete;
    other_process& operator=(const other_process&) = delete;

    /// The next line that it says; "" when it has ended.
    std::string hear();
    void        say(std::string_view line);

    /// Ends it with SIGKILL, as a crash does.
    void kill();

    /// Waits for its end; its exit status, or -1 when it was killed.
    int wait();

    pid_t pid() const noexcept { return pid_; }

private:
    pid_t       pid_ = -1;
    int         in_  = -1;
    int         out_ = -1;
    std::string heard_;
};

/// In the hidden case: the arguments, none when a person has started it; saying and hearing.
namespace parent {
std::string argument(int number);
void        say(std::string_view line);
std::string hear();
}  // namespace parent

}  // namespace contract
