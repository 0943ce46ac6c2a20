// SPDX-License-Identifier: Apache-2.0
#include "control_socket.hpp"

#include <cairn/log/error.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cairn::detail {

namespace {

std::string path_in(const std::string& data_directory)
{
    return data_directory + "/control.sock";
}

[[noreturn]] void fail(const char* doing, const std::string& data_directory)
{
    const int  why = errno;
    const auto what =
        std::string{"cannot "} + doing + " " + path_in(data_directory) + ": " + std::strerror(why);
    throw storage_error{
        why == EACCES || why == EPERM || why == EROFS ? errc::not_writable : errc::io_failed, what};
}

descriptor make_socket(const std::string& data_directory)
{
    descriptor made{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (made.get() < 0) fail("make a socket for", data_directory);
    return made;
}

/// The address of a socket holds a path of 107 bytes. One that is longer is said by way of its
/// directory, which is open meanwhile.
struct address
{
    explicit address(const std::string& data_directory)
    {
        auto path = path_in(data_directory);
        if (path.size() >= sizeof name.sun_path) {
            directory = descriptor{::open(data_directory.c_str(), O_PATH | O_CLOEXEC)};
            if (directory.get() < 0) fail("find", data_directory);
            path = path_in("/proc/self/fd/" + std::to_string(directory.get()));
        }
        name.sun_family = AF_UNIX;
        std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
    }
    const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&name); }

    sockaddr_un name{};
    descriptor  directory;
};

/// False: nobody listens there.
bool connects(const descriptor& to, const address& a, const std::string& data_directory)
{
    while (::connect(to.get(), a.get(), sizeof a.name) != 0) {
        if (errno == EINTR) continue;
        if (errno == ECONNREFUSED || errno == ENOENT || errno == ENOTDIR) return false;
        if (errno == EAGAIN)
            throw error{errc::held_by_another, path_in(data_directory) +
                                                   ": so many ask that one more has to wait; ask "
                                                   "again"};
        fail("connect to", data_directory);
    }
    return true;
}

}  // namespace

descriptor::~descriptor()
{
    if (fd_ >= 0) ::close(fd_);
}

descriptor listen_at(const std::string& data_directory)
{
    constexpr int waiting_max = 128;
    const address here{data_directory};
    auto          made = make_socket(data_directory);
    if (::bind(made.get(), here.get(), sizeof here.name) != 0) {
        if (errno != EADDRINUSE) fail("make", data_directory);
        if (connects(make_socket(data_directory), here, data_directory))
            throw error{errc::held_by_another,
                        "another process serves " + path_in(data_directory) +
                            ": one projection_control serves all projections of a log"};
        if (::unlink(here.name.sun_path) != 0 ||
            ::bind(made.get(), here.get(), sizeof here.name) != 0)
            fail("make", data_directory);
    }
    // Before it listens nobody can connect.
    if (::chmod(here.name.sun_path, S_IRUSR | S_IWUSR) != 0 ||
        ::fcntl(made.get(), F_SETFL, O_NONBLOCK) != 0 || ::listen(made.get(), waiting_max) != 0)
        fail("listen at", data_directory);
    return made;
}

void remove_socket(const std::string& data_directory) noexcept
{
    ::unlink(path_in(data_directory).c_str());
}

std::optional<descriptor> connect_to(const std::string& data_directory)
{
    struct ::stat found = {};
    if (::stat(path_in(data_directory).c_str(), &found) != 0 && errno == ENOENT)
        return std::nullopt;
    auto made = make_socket(data_directory);
    // Where the service does not come to accept it.
    const ::timeval patience{10, 0};
    ::setsockopt(made.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (!connects(made, address{data_directory}, data_directory)) return std::nullopt;
    return made;
}

}  // namespace cairn::detail
