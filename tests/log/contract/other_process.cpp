// SPDX-License-Identifier: Apache-2.0
#include "other_process.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <stdexcept>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace contract {

namespace {

constexpr int heard_from_parent = 3, said_to_parent = 4;

void write_line(int fd, std::string_view line)
{
    std::string all{line};
    all += '\n';
    for (std::size_t at = 0; at < all.size();) {
        const ssize_t n = ::write(fd, all.data() + at, all.size() - at);
        if (n < 0 && errno != EINTR) throw std::runtime_error{"the other process is gone"};
        if (n > 0) at += static_cast<std::size_t>(n);
    }
}

std::string read_line(int fd, std::string& buffer)
{
    for (;;) {
        if (const auto end = buffer.find('\n'); end != std::string::npos) {
            std::string line = buffer.substr(0, end);
            buffer.erase(0, end + 1);
            return line;
        }
        char          some[512];
        const ssize_t n = ::read(fd, some, sizeof some);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return {};
        buffer.append(some, static_cast<std::size_t>(n));
    }
}

}  // namespace

other_process::other_process(const std::string&              test_case,
                             const std::vector<std::string>& arguments)
{
    int to[2], from[2];
    if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0)
        throw std::runtime_error{"no pipe"};

    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    // First out of the way of 3 and 4, which may be among them.
    ::posix_spawn_file_actions_adddup2(&actions, to[0], 100);
    ::posix_spawn_file_actions_adddup2(&actions, from[1], 101);
    ::posix_spawn_file_actions_adddup2(&actions, 100, heard_from_parent);
    ::posix_spawn_file_actions_adddup2(&actions, 101, said_to_parent);
    ::posix_spawn_file_actions_addclose(&actions, 100);
    ::posix_spawn_file_actions_addclose(&actions, 101);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);

    std::vector<std::string> variables;
    for (char** v = environ; *v != nullptr; ++v) variables.emplace_back(*v);
    for (std::size_t i = 0; i < arguments.size(); ++i)
        variables.push_back("CAIRN_TEST_ARGUMENT_" + std::to_string(i) + "=" + arguments[i]);
    std::vector<char*> environment;
    for (std::string& v : variables) environment.push_back(v.data());
    environment.push_back(nullptr);

    std::string program = "/proc/self/exe", name = test_case;
    char*       argv[]  = {program.data(), name.data(), nullptr};
    const int   failed =
        ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, environment.data());
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(to[0]);
    ::close(from[1]);
    in_  = to[1];
    out_ = from[0];
    if (failed != 0) throw std::runtime_error{"cannot start another process"};
    std::signal(SIGPIPE, SIG_IGN);
}

other_process::~other_process()
{
    if (in_ >= 0) ::close(in_);  // it ends when it hears nothing more
    if (pid_ > 0) wait();
    ::close(out_);
}

std::string other_process::hear()
{
    return read_line(out_, heard_);
}

void other_process::say(std::string_view line)
{
    write_line(in_, line);
}

void other_process::kill()
{
    ::kill(pid_, SIGKILL);
    wait();
}

int other_process::wait()
{
    if (in_ >= 0) ::close(in_);
    in_        = -1;
    int status = 0;
    while (pid_ > 0 && ::waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

namespace parent {

std::string argument(int number)
{
    const char* value = std::getenv(("CAIRN_TEST_ARGUMENT_" + std::to_string(number)).c_str());
    return value == nullptr ? std::string{} : std::string{value};
}

void say(std::string_view line)
{
    write_line(said_to_parent, line);
}

std::string hear()
{
    static std::string heard;
    return read_line(heard_from_parent, heard);
}

}  // namespace parent

}  // namespace contract
