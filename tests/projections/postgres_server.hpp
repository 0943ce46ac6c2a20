// SPDX-License-Identifier: Apache-2.0
//
// A server of PostgreSQL that a test has for itself: on a socket in a directory of its own.
#pragma once

#include "main/temporary_directory.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace cairn::testing {

/// Threads   One.
/// Lifetime  It ends with this object, or with the test's process.
class postgres_server
{
public:
    /// Where Debian installs its programs; "" where they are not there.
    static std::string programs()
    {
        namespace fs = std::filesystem;
        std::error_code none;
        std::string     newest;
        for (const auto& entry : fs::directory_iterator{"/usr/lib/postgresql", none})
            if (fs::exists(entry.path() / "bin/initdb"))
                newest = std::max(newest, (entry.path() / "bin").string());
        return newest;
    }

    postgres_server() : data_{place_ / "data"}
    {
        if (::geteuid() == 0) {  // as which it does not run
            const auto* someone = ::getpwnam("nobody");
            if (someone == nullptr ||
                ::chown(place_.path().c_str(), someone->pw_uid, someone->pw_gid) != 0)
                throw std::runtime_error{"PostgreSQL does not run as root, nor is there nobody"};
            user_  = someone->pw_uid;
            group_ = someone->pw_gid;
        }
        const auto made   = run({programs() + "/initdb", "-D", data_, "-U", "cairn", "-A", "trust",
                                 "-E", "UTF8", "--locale=C", "-N"});
        int        status = 0;
        ::waitpid(made.process, &status, 0);
        if (status != 0) throw std::runtime_error{"initdb failed"};
        start();
    }
    ~postgres_server() { kill(); }
    postgres_server(const postgres_server&)            = delete;
    postgres_server& operator=(const postgres_server&) = delete;

    std::string connection() const
    {
        return "host=" + place_.path() + " user=cairn dbname=postgres";
    }

    void start()
    {
        server_ = run({programs() + "/postgres", "-D", data_, "-k", place_.path(), "-c",
                       "listen_addresses="});
        std::string said;
        char        c = 0;
        while (said.find("ready to accept connections") == std::string::npos) {
            if (::read(server_.output, &c, 1) != 1)
                throw std::runtime_error{"PostgreSQL did not start: " + said};
            said.push_back(c);
        }
        // Or it would wait for somebody to read what it says.
        reads_ = std::thread{[from = server_.output] {
            char some[512];
            while (::read(from, some, sizeof some) > 0) continue;
        }};
    }

    /// As a crash of it.
    void kill()
    {
        if (server_.process <= 0) return;
        ::kill(server_.process, SIGQUIT);
        ::waitpid(server_.process, nullptr, 0);
        reads_.join();
        ::close(server_.output);
        server_ = {};
    }

private:
    struct child
    {
        pid_t process = -1;
        int   output  = -1;
    };

    child run(const std::vector<std::string>& words) const
    {
        std::vector<char*> arguments;
        for (const auto& w : words) arguments.push_back(const_cast<char*>(w.c_str()));
        arguments.push_back(nullptr);
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error{"no pipe"};
        const auto parent = ::getpid();
        const auto id     = ::fork();
        if (id == 0) {
            ::dup2(ends[1], STDERR_FILENO);
            ::dup2(ends[1], STDOUT_FILENO);
            if (user_ != 0 && (::setgid(group_) != 0 || ::setuid(user_) != 0)) ::_exit(126);
            ::prctl(PR_SET_PDEATHSIG, SIGQUIT);  // after setuid, which would forget it
            if (::getppid() != parent || ::chdir("/") != 0) ::_exit(126);
            ::unsetenv("LD_PRELOAD");
            ::execv(arguments[0], arguments.data());
            ::_exit(127);
        }
        ::close(ends[1]);
        return {id, ends[0]};
    }

    temporary_directory place_;
    std::string         data_;
    uid_t               user_  = 0;
    gid_t               group_ = 0;
    child               server_;
    std::thread         reads_;
};

}  // namespace cairn::testing
