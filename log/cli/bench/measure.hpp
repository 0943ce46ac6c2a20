// SPDX-License-Identifier: Apache-2.0
//
// What measuring needs, whatever is measured: figures, latencies, threads that start together,
// and what the disk itself can do.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace cairn::bench {

using clock    = std::chrono::steady_clock;
using duration = clock::duration;

/// How long each of many calls took, in a form that is cheap to add to.
class latencies
{
public:
    void add(duration took)
    {
        const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(took).count();
        ns_.push_back(ns < 0 ? 0 : static_cast<std::uint64_t>(ns));
    }
    void        add(const latencies& others);
    std::size_t count() const noexcept { return ns_.size(); }

    /// In microseconds: what `share` of the calls (0.5, 0.99) did not exceed; 0 without calls.
    double quantile(double share);

private:
    std::vector<std::uint64_t> ns_;
};

/// What one part of a run came to.
struct figure
{
    std::string   name;                 ///< short, and the same in every version: "append_64"
    std::string   what;                 ///< for people
    std::string   unit     = "events";  ///< of what the rate counts
    double        rate     = 0;         ///< per second
    double        p50_us   = 0;         ///< of one call; 0: not measured
    double        p99_us   = 0;
    double        raw_rate = 0;  ///< what the disk did just before; 0: no disk is waited for
    std::uint64_t count    = 0;
    double        seconds  = 0;

    /// The rate of the calls that wait for the disk, against the disk.
    std::optional<double> ratio() const
    {
        return raw_rate > 0 ? std::optional{rate / raw_rate} : std::nullopt;
    }
};

/// The same figure of several runs: the median by rate, and how far they lay apart.
struct summary
{
    figure        median;
    double        lowest  = 0;
    double        highest = 0;
    std::uint64_t runs    = 0;
};
std::vector<summary> summarise(const std::vector<figure>& figures);

/// Overwrites 4 KiB blocks of a file that is there already, one after the other, each with an
/// fdatasync: the most often that anything durable can be acknowledged here, one at a time.
/// Throws std::system_error.
figure raw_overwrite(const std::string& directory, duration how_long);

/// Calls `work(thread, call)` on so many threads, which start together, until the time is over or
/// it returns false; each call counts for `worth`.
figure timed(int threads, duration how_long, std::uint64_t worth,
             const std::function<bool(int, std::uint64_t)>& work);

/// A new file that is there for as long as this is, to see what the disk can do. All of it throws
/// std::system_error.
class scratch_file
{
public:
    explicit scratch_file(const std::string& path);
    ~scratch_file();
    scratch_file(const scratch_file&)            = delete;
    scratch_file& operator=(const scratch_file&) = delete;

    void write_at(const std::string& block, std::uint64_t at) const;
    void sync() const;

private:
    std::string path_;
    int         descriptor_;
};

/// A directory that is there for as long as this is.
class scratch_directory
{
public:
    explicit scratch_directory(const std::string& in);
    ~scratch_directory();
    scratch_directory(const scratch_directory&)            = delete;
    scratch_directory& operator=(const scratch_directory&) = delete;

    const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
};

}  // namespace cairn::bench
