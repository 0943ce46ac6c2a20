// SPDX-License-Identifier: Apache-2.0
//
// Where the lines of a json_feed go.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cairn {

/// A line of a feed: a JSON object, without the end of the line.
struct feed_line
{
    std::string id;  ///< as the line says it
    std::string json;
};

/// Takes lines to where they are wanted.
///
/// Invariants
///   - What deliver() has returned for is out, and stays out if the process stops then.
///
/// Threads   Any: versions and runners may share one.
/// Errors    error{store_unavailable} and storage_error{disk_full}, which pass: the projection
///           tries again, ever more slowly. Any other stops it. A line whose delivery failed is
///           delivered again, and so may be there twice.
class feed_sink
{
public:
    virtual ~feed_sink() = default;

    /// Takes the first of these lines, and returns how many: at least one. It is called again with
    /// the others. REQUIRES: there are some.
    virtual std::size_t deliver(std::span<const feed_line> lines) = 0;
};

/// Appends them to a file, which is made where it is not there, and flushes them to the disk. Lines
/// are there whole: half of one, from a crash or a full disk, is cut off before the next is
/// written.
/// Throws held_by_another where another sink, here or elsewhere, has the file; storage_error.
std::shared_ptr<feed_sink> json_lines_file(std::string path);

struct webhook_options
{
    /// Sent with each request: {"Authorization", "Bearer …"}.
    std::vector<std::pair<std::string, std::string>> headers{};

    /// Of a request, from looking the host up to the end of the answer.
    std::chrono::milliseconds timeout{10'000};

    /// A request has at most so many lines, and bytes if more than one; 1: each line has its own.
    std::size_t lines_max = 1'000;
    std::size_t bytes_max = 1u << 20;
};

/// POSTs them, as application/x-ndjson, to an address of http or https. The header
/// Idempotency-Key is the line's id, or of several lines what is the same only for these lines.
/// Taken is what is answered with 2xx. 408, 425, 429, 5xx and no answer are store_unavailable;
/// whatever else is delivery_failed, with the status and how the answer begins.
/// Throws invalid_argument where the address is none.
std::shared_ptr<feed_sink> webhook(std::string url, webhook_options o = {});

}  // namespace cairn
