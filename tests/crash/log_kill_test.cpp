// SPDX-License-Identifier: Apache-2.0
//
// A process that writes is killed, again and again: what it was told is recorded must be there.
#include "main/seed.hpp"
#include "main/temporary_directory.hpp"

#include <cairn/log/commit_log.hpp>

#include <catch2/catch.hpp>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <new>
#include <random>
#include <thread>
#include <vector>

using namespace cairn;
using namespace cairn::testing;

namespace {

constexpr int writers = 8;

/// What the child was told, where the parent can read it after the child's death.
struct told
{
    std::array<std::atomic<std::int64_t>, writers> acknowledged;
};

log_options small()
{
    log_options o;
    o.segment_bytes_max       = 512 * 1024;
    o.merge_interval          = std::chrono::milliseconds{2};
    o.merge_bytes             = 16 * 1024;
    o.journal_bytes           = 256 * 1024;
    o.index_entries_in_memory = 500;
    return o;
}

std::string stream_of(int writer)
{
    return "writer-" + std::to_string(writer);
}

/// Never returns: appends until it is killed.
[[noreturn]] void write_until_killed(const std::string& directory, told& shared)
{
    try {
        auto log = commit_log::open(directory, small());
        log.ensure_topic("t", 4);
        std::vector<std::thread> threads;
        for (int w = 0; w < writers; ++w)
            threads.emplace_back([&, w] {
                auto& mine = shared.acknowledged[static_cast<std::size_t>(w)];
                for (auto next = log.stream_version({"t", stream_of(w)});; next = next.next()) {
                    append_request request;
                    request.records.push_back(
                        {"t",
                         {.key   = stream_of(w),
                          .value = std::to_string(next.value) + std::string(
                                       static_cast<std::size_t>(next.value % 7) * 100, '.')}});
                    request.expect.push_back(
                        {{"t", stream_of(w)}, expected_version::exactly(next)});
                    log.append(request);
                    mine = next.value + 1;
                }
            });
        for (auto& t : threads) t.join();
    } catch (const std::exception& e) {
        std::cerr << "the writing process: " << e.what() << '\n';
    }
    ::_exit(1);
}

}  // namespace

TEST_CASE("what eight writers were told survives kill -9, a hundred times")
{
    const char* const asked  = std::getenv("CAIRN_KILL_CYCLES");
    const int         cycles = asked ? std::atoi(asked) : std::getenv("CAIRN_LONG") ? 2000 : 100;
    std::mt19937_64   random{seed()};

    temporary_directory directory;
    const auto          data = directory / "data";
    void* const memory = ::mmap(nullptr, sizeof(told), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    auto& shared = *new (memory) told{};

    std::int64_t acknowledged = 0;
    for (int cycle = 0; cycle < cycles; ++cycle) {
        const auto child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) write_until_killed(data, shared);

        // Killed when so many more appends were acknowledged: no clock, any moment.
        std::int64_t before = 0;
        for (const auto& a : shared.acknowledged) before += a;
        const auto enough = before + static_cast<std::int64_t>(random() % 200);
        for (std::int64_t now = 0; now < enough || now == before;) {
            now = 0;
            for (const auto& a : shared.acknowledged) now += a;
            int status = 0;
            REQUIRE(::waitpid(child, &status, WNOHANG) == 0);  // it has not died by itself
            std::this_thread::yield();
        }
        ::kill(child, SIGKILL);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);

        auto log     = commit_log::open(data, small());
        acknowledged = 0;
        for (int w = 0; w < writers; ++w) {
            const auto   expected = shared.acknowledged[static_cast<std::size_t>(w)].load();
            std::int64_t n        = 0;
            for (const auto& r : log.read_stream({"t", stream_of(w)})) {
                const auto text = std::to_string(n);
                if (r.version.value != n || !r.value->starts_with(text))
                    FAIL("writer " << w << ": version " << r.version << " where " << n
                                   << " belongs");
                ++n;
            }
            INFO("cycle " << cycle << ", writer " << w);
            CHECK(n >= expected);
            CHECK(n <= expected + 1);  // one may have been recorded and not yet told
            CHECK(log.stream_version({"t", stream_of(w)}).value == n);
            shared.acknowledged[static_cast<std::size_t>(w)] = n;
            acknowledged += n;
        }
    }
    std::cout << cycles << " kills, " << acknowledged << " appends acknowledged, 0 lost\n";
    ::munmap(memory, sizeof(told));
}
