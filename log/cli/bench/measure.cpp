// SPDX-License-Identifier: Apache-2.0
#include "measure.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace cairn::bench {

namespace {

[[noreturn]] void fail(const std::string& what)
{
    throw std::system_error{errno, std::generic_category(), what};
}

}  // namespace

void latencies::add(const latencies& others)
{
    ns_.insert(ns_.end(), others.ns_.begin(), others.ns_.end());
}

double latencies::quantile(double share)
{
    if (ns_.empty()) return 0;
    const auto at = static_cast<std::size_t>(share * static_cast<double>(ns_.size() - 1));
    std::ranges::nth_element(ns_, ns_.begin() + static_cast<std::ptrdiff_t>(at));
    return static_cast<double>(ns_[at]) / 1000;
}

std::vector<summary> summarise(const std::vector<figure>& figures)
{
    std::vector<summary>     all;
    std::vector<std::string> names;  // in the order in which they were measured
    for (const auto& f : figures)
        if (std::ranges::find(names, f.name) == names.end()) names.push_back(f.name);

    for (const auto& name : names) {
        std::vector<figure> same;
        for (const auto& f : figures)
            if (f.name == name) same.push_back(f);
        std::ranges::sort(same, {}, &figure::rate);
        all.push_back({same[same.size() / 2], same.front().rate, same.back().rate, same.size()});
    }
    return all;
}

figure raw_overwrite(const std::string& directory, duration how_long)
{
    constexpr std::size_t   block_bytes = 4096;
    constexpr std::uint64_t blocks      = 4096;

    const scratch_file f{directory + "/raw"};
    const std::string  block(block_bytes, 'x');
    for (std::uint64_t i = 0; i < blocks; ++i) f.write_at(block, i * block_bytes);
    f.sync();

    auto result = timed(1, how_long, 1, [&](int, std::uint64_t call) {
        f.write_at(block, call % blocks * block_bytes);
        f.sync();
        return true;
    });
    result.name = "raw_disk";
    result.what = "the disk itself: 4 KiB overwritten, fdatasync";
    result.unit = "flushes";
    return result;
}

figure timed(int threads, duration how_long, std::uint64_t worth,
             const std::function<bool(int, std::uint64_t)>& work)
{
    std::barrier             start{threads + 1};
    std::atomic<bool>        over{false};
    std::mutex               mutex;
    latencies                all;
    std::exception_ptr       fault;
    std::vector<std::thread> running;

    for (int t = 0; t < threads; ++t)
        running.emplace_back([&, t] {
            latencies mine;
            start.arrive_and_wait();
            try {
                for (std::uint64_t call = 0; !over.load(std::memory_order_relaxed); ++call) {
                    const auto before = clock::now();
                    const bool more   = work(t, call);
                    mine.add(clock::now() - before);
                    if (!more) break;
                }
            } catch (...) {
                const std::lock_guard lock{mutex};
                if (!fault) fault = std::current_exception();
                over = true;
            }
            const std::lock_guard lock{mutex};
            all.add(mine);
        });

    start.arrive_and_wait();
    const auto         began = clock::now();
    const std::jthread bell{[&](const std::stop_token& done) {
        while (!over && !done.stop_requested() && clock::now() - began < how_long)
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        over = true;
    }};
    for (auto& thread : running) thread.join();
    const std::chrono::duration<double> took = clock::now() - began;
    if (fault) std::rethrow_exception(fault);

    figure result;
    result.count   = all.count() * worth;
    result.seconds = took.count();
    result.rate    = static_cast<double>(result.count) / took.count();
    result.p50_us  = all.quantile(0.5);
    result.p99_us  = all.quantile(0.99);
    return result;
}

scratch_file::scratch_file(const std::string& path)
    : path_{path}, descriptor_{::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)}
{
    if (descriptor_ < 0) fail(path_);
}

scratch_file::~scratch_file()
{
    ::close(descriptor_);
    ::unlink(path_.c_str());
}

void scratch_file::write_at(const std::string& block, std::uint64_t at) const
{
    if (::pwrite(descriptor_, block.data(), block.size(), static_cast<::off_t>(at)) !=
        static_cast<::ssize_t>(block.size()))
        fail(path_);
}

void scratch_file::sync() const
{
    if (::fdatasync(descriptor_) != 0) fail(path_);
}

scratch_directory::scratch_directory(const std::string& in)
{
    std::filesystem::create_directories(in);
    std::string pattern = in + "/cairn-bench-XXXXXX";
    if (!::mkdtemp(pattern.data())) fail(in);
    path_ = pattern;
}

scratch_directory::~scratch_directory()
{
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

}  // namespace cairn::bench
