// SPDX-License-Identifier: Apache-2.0
//
// The control socket of a log: <data>/control.sock.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace cairn::detail {

/// Owns a file descriptor.
class descriptor
{
public:
    explicit descriptor(int fd = -1) noexcept : fd_{fd} {}
    descriptor(descriptor&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    descriptor& operator=(descriptor&& other) noexcept
    {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~descriptor();

    int get() const noexcept { return fd_; }

private:
    int fd_;
};

/// Begins to listen; nothing blocks on what it returns. Replaces what a dead process has left.
/// Throws held_by_another where somebody listens; storage_error.
descriptor listen_at(const std::string& data_directory);

/// Takes it away again.
void remove_socket(const std::string& data_directory) noexcept;

/// nullopt: nobody listens. Throws not_writable where this user may not ask; storage_error.
std::optional<descriptor> connect_to(const std::string& data_directory);

}  // namespace cairn::detail
