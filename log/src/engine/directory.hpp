// SPDX-License-Identifier: Apache-2.0
//
// The data directory itself:
//
//     FORMAT      "cairn 1", "cluster <22 characters>", "secret <32 hex>", "check <8 hex>", a line
//                 each. Written last when the directory is made: without it there is no log.
//     LOCK        held (flock) by the process that writes; its pid is in it
//     journal/ log/ index/
#pragma once

#include "../file.hpp"
#include "../index/index.hpp"

#include <memory>
#include <string>

namespace cairn::detail {

inline constexpr int format_version = 1;

struct directory_format
{
    std::string cluster_id;  ///< as Kafka's: 16 random bytes in base64url
    hash_key    secret{};
};

/// Whether a log may be opened here: there is one, or there is nothing and `create` is true; then
/// the directory is made. Throws not_a_data_directory, not_writable.
void check_directory(const std::string& directory, bool create);

/// Reads FORMAT, or writes it where there is none and `create` is true: with the lock held, so
/// that two who begin at once do not both. Throws as check_directory(), and newer_format.
directory_format open_directory(const std::string& directory, bool create);

/// A fresh format, as for a log in memory.
directory_format random_format();

/// Held by the process that writes the directory.
class directory_lock
{
public:
    /// Throws held_by_another, with the holder's pid.
    explicit directory_lock(const std::string& directory);

    /// Held against writers for as long as it lives; null while somebody writes.
    static std::unique_ptr<directory_lock> try_keep_writers_out(const std::string& directory);

private:
    explicit directory_lock(file f) noexcept : file_{std::move(f)} {}

    file file_;
};

}  // namespace cairn::detail
