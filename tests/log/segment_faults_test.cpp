// SPDX-License-Identifier: Apache-2.0
//
// Segments on a disk that fails. This program has its own pwrite, writev, fdatasync, … in front
// of the system's, and LMDB, a shared library, calls these.
#include <catch2/catch.hpp>

#include "segment_checks.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace {

enum class call {
    none,
    write,
    flush,
    make_room,
};

// The n-th call of a kind from now on fails; of make_room, also those after it.
std::atomic<call> failing{call::none};
std::atomic<int>  countdown{0};
std::atomic<int>  failure{0};
std::atomic<bool> cut_short{false};
std::atomic<bool> failed{false};
std::atomic<int>  writes{0};  // that were asked for

bool fails(call c)
{
    if (failing != c || --countdown > 0) return false;
    failed = true;
    if (c != call::make_room) failing = call::none;
    errno = failure;
    return true;
}

template <class Function>
Function* next(const char* name)
{
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t pwrite(int fd, const void* from, size_t bytes, off_t at)
{
    static auto* const real = next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
    ++writes;
    if (fails(call::write)) {
        if (cut_short) return real(fd, from, bytes / 2, at);
        return -1;
    }
    return real(fd, from, bytes, at);
}

ssize_t writev(int fd, const iovec* pieces, int count)
{
    static auto* const real = next<ssize_t(int, const iovec*, int)>("writev");
    ++writes;
    if (fails(call::write)) {
        if (cut_short) return real(fd, pieces, 1);
        return -1;
    }
    return real(fd, pieces, count);
}

int fdatasync(int fd)
{
    static auto* const real = next<int(int)>("fdatasync");
    return fails(call::flush) ? -1 : real(fd);
}

int fsync(int fd)
{
    static auto* const real = next<int(int)>("fsync");
    return fails(call::flush) ? -1 : real(fd);
}

int fallocate(int fd, int mode, off_t at, off_t bytes)
{
    static auto* const real = next<int(int, int, off_t, off_t)>("fallocate");
    return fails(call::make_room) ? -1 : real(fd, mode, at, bytes);
}

}  // extern "C"

using namespace segment_test;

namespace {

void arm(call c, int nth, int error)
{
    failed    = false;
    failure   = error;
    countdown = nth;
    failing   = c;
}

void disarm()
{
    failing = call::none;
}

// What a merger does: begins a segment, appends, seals. Returns how many batches were
// acknowledged before the first failure, and tells its code.
struct run
{
    any_store                store{"on disk"};
    std::shared_ptr<segment> s;
    writer                   w;
    std::size_t              acknowledged = 0;
    std::size_t              batches      = 0;  // of the next append
    std::optional<errc>      code;

    std::vector<placed_batch> next;

    bool step(const std::function<void()>& f)
    {
        try {
            f();
            return true;
        } catch (const storage_error& e) {
            code = e.code();
            return false;
        }
    }

    bool append_next()
    {
        if (next.empty())
            next = {w.make(1, 300), w.make(2, 9'000), w.make(3, 70'000), w.make(1, 300)};
        if (!step([&] { append(*s, next); })) return false;
        acknowledged += next.size();
        next.clear();
        return true;
    }

    bool all()
    {
        if (!s && !step([&] {
                auto fresh = store->prepare(16 << 20);
                store->publish(fresh, position{0}, {});
                s = fresh;
            }))
            return false;
        while (acknowledged < 12)
            if (!append_next()) return false;
        return step([&] { s->seal(); });
    }

    std::vector<placed_batch> written() const
    {
        const auto& m = w.written().all;
        return {m.begin(), m.begin() + static_cast<std::ptrdiff_t>(acknowledged)};
    }

    void check_after_restart()
    {
        s.reset();
        store.open();
        const auto found = store->open_all();
        if (found.empty()) {
            CHECK(acknowledged == 0);
            return;
        }
        REQUIRE(found.size() == 1);
        const auto all = all_of(*found[0]);
        // An append that was not acknowledged may be there, whole.
        REQUIRE(all.size() >= acknowledged);
        CHECK((all.size() == acknowledged || all.size() == acknowledged + next.size()));
        for (std::size_t i = 0; i < all.size(); ++i) CHECK(same(all[i], w.written().all[i]));
        int faults = 0;
        found[0]->verify([&](auto, auto, const auto&) { ++faults; });
        CHECK(faults == 0);
    }
};

}  // namespace

TEST_CASE("a full disk refuses, loses nothing, and it goes on when there is room", "[segment]")
{
    int failures = 0;
    for (const auto kind : {call::make_room, call::write}) {
        for (int nth = 1;; ++nth) {
            INFO("kind " << static_cast<int>(kind) << ", call " << nth);
            run r;
            arm(kind, nth, ENOSPC);
            const bool done = r.all();
            disarm();
            if (!failed) {
                CHECK(done);
                break;
            }
            ++failures;
            if (!done) {
                CHECK(name(*r.code) == "disk_full");
                if (r.s) check_same(all_of(*r.s), r.written());
            }
            // LMDB takes a failed write of its meta page, which is there already, for the end.
            if (!r.all()) CHECK(name(*r.code) == "io_failed");
            if (r.s) check_same(all_of(*r.s), r.written());
            r.check_after_restart();
        }
    }
    std::printf("disk full at %d calls\n", failures);
    CHECK(failures > 10);
}

TEST_CASE("after a flush that failed with EIO nothing is written any more, nor acknowledged",
          "[segment]")
{
    int failures = 0, went_on = 0;
    for (const auto kind : {call::flush, call::write}) {
        for (int nth = 1;; ++nth) {
            INFO("kind " << static_cast<int>(kind) << ", call " << nth);
            run r;
            arm(kind, nth, EIO);
            r.all();
            disarm();
            if (!failed) break;
            ++failures;
            CHECK(name(*r.code) == "io_failed");
            if (r.s && !r.s->sealed()) {
                const auto before  = r.acknowledged;
                const int  written = writes;
                CHECK_FALSE(r.append_next());
                CHECK(r.code == errc::io_failed);
                CHECK_FALSE(r.step([&] { r.s->seal(); }));
                CHECK(r.acknowledged == before);
                CHECK(writes == written);
                ++went_on;
                check_same(all_of(*r.s), r.written());
            }
            r.check_after_restart();
        }
    }
    std::printf("I/O errors at %d calls\n", failures);
    CHECK(failures > 10);
    CHECK(went_on > 5);
}

TEST_CASE("a write that the disk cuts short loses nothing", "[segment]")
{
    cut_short = true;
    for (int nth = 1;; ++nth) {
        INFO("call " << nth);
        run r;
        arm(call::write, nth, 0);
        r.all();
        disarm();
        if (!failed) break;
        if (r.s) check_same(all_of(*r.s), r.written());
        r.check_after_restart();
    }
    cut_short = false;
}
