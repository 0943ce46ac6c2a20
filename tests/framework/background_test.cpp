// SPDX-License-Identifier: Apache-2.0
#include "background.hpp"
#include "a_log.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

using namespace cairn;
using namespace cairn::testing;
using cairn::detail::background;

TEST_CASE("after stop() the thread has ended, and no sleep is begun")
{
    a_log             on{false};
    std::atomic<bool> inside = false;
    std::atomic<int>  slept  = 0;
    background        thread;
    for (int round = 0; round < 200; ++round) {
        std::promise<void> begun;
        thread.start([&] {
            inside = true;
            begun.set_value();
            while (!thread.stopping()) {
                thread.sleep(on.log->read_all(on.log->end_position()), std::chrono::hours{1});
                ++slept;
            }
            // One that is begun now, behind the last look at stopping(), ends at once.
            thread.sleep(on.log->read_all(on.log->end_position()), std::chrono::hours{1});
            inside = false;
        });
        begun.get_future().wait();
        if (round % 2) std::this_thread::yield();
        thread.stop();
        REQUIRE_FALSE(inside);
        REQUIRE_FALSE(thread.running());
        const int then = slept;
        std::this_thread::yield();
        REQUIRE(slept == then);
    }
}

TEST_CASE("start() after stop() or ended() starts a thread, also while the one before is ending")
{
    background        thread;
    std::atomic<int>  begun = 0;
    std::atomic<bool> go    = false;
    const bool        stops = GENERATE(false, true);
    const auto        body  = [&] {
        if (++begun > 1) return;
        if (stops)
            thread.stop();  // by itself
        else
            thread.ended();
        go = true;
        for (int i = 0; i < 100; ++i) std::this_thread::yield();
    };
    thread.start(body);
    while (!go) std::this_thread::yield();
    thread.start(body);
    while (thread.running()) std::this_thread::yield();
    CHECK(begun == 2);
}

TEST_CASE("start() where it runs already begins no second thread")
{
    background         thread;
    std::atomic<int>   begun = 0;
    std::promise<void> first;
    const auto         body = [&] {
        if (++begun == 1) first.set_value();
        thread.start([&] { ++begun; });  // by itself: it runs
        while (!thread.stopping()) std::this_thread::yield();
    };
    thread.start(body);
    first.get_future().wait();
    thread.start(body);
    thread.stop();
    CHECK(begun == 1);
}
