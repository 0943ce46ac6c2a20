// SPDX-License-Identifier: Apache-2.0
//
// A disk that is really full: a small one of its own, which only root may mount, or who may have
// a namespace of his own. Elsewhere this is skipped; log.faults has the same with calls that fail.
#include "contract/fixture.hpp"
#include "contract/other_process.hpp"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

using namespace contract;
using namespace std::chrono_literals;

namespace {

constexpr int skipped = 77;  // what ctest takes for it

std::string code_and_words(const error& e)
{
    return std::string{name(e.code())} + ": " + e.what();
}

}  // namespace

TEST_CASE("child: appends on a small disk", "[.child]")
{
    const std::string disk = parent::argument(0);
    if (disk.empty()) return;
    // A disk of its own, where this may be had; nobody else sees it.
    const bool mounted =
        ::unshare(::geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
        ::mount("small", disk.c_str(), "tmpfs", 0, "size=12m") == 0;
    if (!mounted) {
        parent::say("skip");
        return;
    }
    log_options options;
    options.journal_bytes     = 2 << 20;
    options.segment_bytes_max = 1 << 20;
    options.merge_interval    = std::chrono::milliseconds{5};
    commit_log log            = commit_log::open(disk + "/data", options);
    log.create_topic("orders");

    // Fill it, until it says that it is full.
    std::int64_t acknowledged = 0;
    std::string  why;
    const auto   append = [&] {
        try {
            log.append({.records = {event("orders", "k", std::string(50'000, 'x'))}});
            ++acknowledged;
            return true;
        } catch (const error& e) {
            why = code_and_words(e);
            return false;
        }
    };
    while (acknowledged < 2'000 && append()) continue;
    parent::say(why);

    // It goes on reading, refusing, and not failing.
    const auto there = [&] {
        std::int64_t n = 0;
        for (const record_view& r : log.read_stream({"orders", "k"})) n += r.version.value == n;
        return n == acknowledged ? "all is there"
                                 : std::to_string(n) + " of " + std::to_string(acknowledged);
    };
    parent::say(there());
    for (int i = 0; i < 5; ++i) append();
    parent::say(why);
    parent::say(there());
    parent::say(log.statistics().failed ? "failed" : "not failed");

    // There is room again; it goes on by itself. (It may take the merger a moment to find out:
    // an append that is refused meanwhile is tried again.)
    if (::mount("small", disk.c_str(), "tmpfs", MS_REMOUNT, "size=64m") != 0) parent::say("mount");
    const auto deadline = std::chrono::steady_clock::now() + 1min;
    bool       resumed  = false;
    while (!(resumed = append()) && std::chrono::steady_clock::now() < deadline)
        std::this_thread::yield();
    parent::say(resumed ? "resumed" : "did not resume: " + why);
    for (int i = 0; i < 40; ++i) append();
    parent::say(there());
    log.close();
    log = commit_log::open(disk + "/data", options);
    parent::say(there());
    log.close();
}

TEST_CASE_METHOD(a_log_on_disk,
                 "a full disk refuses appends, goes on reading, and resumes when "
                 "there is room")
{
    other_process     child{"child: appends on a small disk", {directory().string()}};
    const std::string full = child.hear();
    if (full == "skip") {
        std::cout << "no disk of its own may be mounted here\n";
        child.wait();
        fs::remove_all(directory());  // exit() does not leave this scope
        std::exit(skipped);
    }
    CHECK(full.starts_with("disk_full: "));
    CHECK(full.find("; ") != std::string::npos);
    CHECK(child.hear() == "all is there");
    CHECK(child.hear().starts_with("disk_full: "));
    CHECK(child.hear() == "all is there");
    CHECK(child.hear() == "not failed");
    CHECK(child.hear() == "resumed");
    CHECK(child.hear() == "all is there");
    CHECK(child.hear() == "all is there");
    CHECK(child.wait() == 0);
}
