// SPDX-License-Identifier: Apache-2.0
//
// What segments in files promise beyond the contract: names, crashes, other processes.
#include <catch2/catch.hpp>

#include "main/complaint.hpp"
#include "main/files.hpp"
#include "segment_checks.hpp"
#include "store/lmdb.hpp"
#include "store/segment_format.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

using namespace segment_test;
using cairn::testing::code_of;
using cairn::testing::read_bytes;
using cairn::testing::write_bytes;
namespace fs = std::filesystem;

namespace {

// Three sealed segments and one that is not.
struct four_segments
{
    any_store                             store{"on disk"};
    writer                                w;
    std::vector<std::shared_ptr<segment>> all;

    four_segments()
    {
        for (int i = 0; i < 4; ++i) {
            all.push_back(store.begin(w.end()));
            append(*all.back(), std::vector{w.make(1, 400), w.make(2, 4'000), w.make(1, 40'000)});
            if (i < 3) all.back()->seal();
        }
    }

    std::vector<placed_batch> written(std::size_t from, std::size_t to) const
    {
        const auto& m = w.written().all;
        return {m.begin() + static_cast<std::ptrdiff_t>(from),
                m.begin() + static_cast<std::ptrdiff_t>(to)};
    }

    void close()
    {
        all.clear();
        store.open();
    }
};

std::size_t open_files()
{
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& f : fs::directory_iterator{"/proc/self/fd"}) ++n;
    return n;
}

}  // namespace

TEST_CASE("a segment that was not sealed goes on where it was, in the next process", "[segment]")
{
    any_store store{"on disk"};
    auto      s = store.begin();
    writer    w;
    for (int i = 0; i < 5; ++i) append(*s, std::vector{w.make(1, 300), w.make(2, 9'000)});
    const auto before = s->summary();
    s.reset();
    store.open();
    s = store->open_all().at(0);
    CHECK_FALSE(s->sealed());
    CHECK(s->end() == w.end());
    const auto after = s->summary();
    REQUIRE(after.size() == before.size());
    for (const auto& [uid, a] : after) {
        const auto& b = before.at(uid);
        CHECK(std::tuple{a.first, a.end, a.bytes, a.batches, a.max_timestamp, a.min_timestamp} ==
              std::tuple{b.first, b.end, b.bytes, b.batches, b.max_timestamp, b.min_timestamp});
    }
    append(*s, std::vector{w.make(2, 300), w.make(3, 300)});
    check_same(all_of(*s), w.written().all);
    CHECK(s->has_room(100 << 20));  // its map is as large as it was prepared
}

TEST_CASE("a prepared segment is not there until it is published", "[segment]")
{
    any_store store{"on disk"};
    auto      kept    = store->prepare(8 << 20);
    auto      dropped = store->prepare(8 << 20);
    dropped.reset();
    CHECK(store.files() == std::set<std::string>{"prepared-1.tmp", "prepared-1.tmp-lock"});

    // As a crash would leave it.
    fs::copy_file(store.directory() + "/prepared-1.tmp", store.directory() + "/prepared-9.tmp");
    write_bytes(store.directory() + "/00000000000000000077.seg-lock", "");
    kept.reset();
    store.open();
    CHECK(store->open_all().empty());
    CHECK(store.files().empty());
}

TEST_CASE("a segment that another one covers is removed when the store is opened", "[segment]")
{
    four_segments x;
    const auto    dir    = x.store.directory() + "/";
    const auto    second = dir + "00000000000000000003.seg";
    fs::copy_file(second, dir + "copy");
    auto s = x.store->prepare(16 << 20);
    s->append(x.written(0, 1), position{6});
    s->seal();
    x.store->publish(s, position{0}, std::span{x.all}.first(2));
    CHECK_FALSE(fs::exists(second));
    s.reset();
    x.close();
    fs::rename(dir + "copy", second);  // the crash came before it was unlinked

    SECTION("by who writes")
    {
        const auto found = x.store->open_all();
        REQUIRE(found.size() == 3);
        CHECK_FALSE(fs::exists(second));
        check_same(all_of(*found[0]), x.written(0, 1));
        check_same(all_of(*found[1]), x.written(6, 9));
    }
    SECTION("or ignored, by who only reads")
    {
        const auto store = make_lmdb_store({.directory = x.store.directory(), .read_only = true});
        const auto found = store->open_all();
        REQUIRE(found.size() == 3);
        CHECK(fs::exists(second));
        check_same(all_of(*found[0]), x.written(0, 1));
        CHECK(code_of([&] { store->prepare(1); }) == errc::read_only);
        CHECK(code_of([&] { append(*found[2], x.w.make(1, 1)); }) == errc::read_only);
        CHECK(code_of([&] { store->remove(found[0]); }) == errc::read_only);
    }
    SECTION("but one whose positions only overlap is damage")
    {
        fs::rename(second, dir + "00000000000000000004.seg");
        CHECK(code_of([&] { x.store->open_all(); }) == errc::damaged_segment);
    }
}

TEST_CASE("what is no segment is refused, and not touched", "[segment]")
{
    four_segments x;
    x.close();
    const auto file = x.store.directory() + "/00000000000000000003.seg";
    const auto size = fs::file_size(file);

    SECTION("empty")
    {
        write_bytes(file, "");
        CHECK(code_of([&] { x.store->open_all(); }) == errc::damaged_segment);
        CHECK(fs::file_size(file) == 0);
    }
    SECTION("something else")
    {
        write_bytes(file, std::string(100'000, 'x'));
        CHECK(code_of([&] { x.store->open_all(); }) == errc::damaged_segment);
    }
    SECTION("cut off")
    {
        fs::resize_file(file, size - 1);
        CHECK(code_of([&] { x.store->open_all(); }) == errc::damaged_segment);
        CHECK(fs::file_size(file) == size - 1);
    }
    SECTION("of another position")
    {
        fs::remove(x.store.directory() + "/00000000000000000000.seg");
        fs::copy_file(file, x.store.directory() + "/00000000000000000000.seg");
        CHECK(code_of([&] { x.store->open_all(); }) == errc::damaged_segment);
    }
    SECTION("of a newer version")
    {
        auto e = lmdb::environment::open(
            {.path = file, .how = lmdb::environment::mode::write, .databases = {"meta"}});
        std::string record{encode(segment_state{.first = 3, .end = 6, .sealed = true})};
        record[4] = 2;
        store_little<std::uint32_t>(record.data(), crc32c(bytes_view{record}.substr(4)));
        {
            lmdb::writing w{*e};
            w.put(0, "state", record);
            w.commit();
        }
        e.reset();
        CHECK(code_of([&] { x.store->open_all(); }) == errc::newer_format);
    }
}

TEST_CASE("who follows notices another file in the place, even with the same inode", "[segment]")
{
    four_segments x;
    const auto    reader = make_lmdb_store({.directory = x.store.directory(), .read_only = true});
    const auto    seen   = reader->open_all();
    const auto    file   = x.store.directory() + "/00000000000000000003.seg";

    // The same batches but one, in the same inode.
    auto other = x.store->prepare(8 << 20);
    other->append(x.written(3, 5), position{6});
    other->seal();
    std::ofstream{file, std::ios::binary | std::ios::in}
        << read_bytes(x.store.directory() + "/prepared-5.tmp");
    fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds{1});
    other.reset();

    CHECK_THROWS_AS(all_of(*seen[1]), segment_gone);
    check_same(all_of(*reader->open_all().at(1)), x.written(3, 5));
}

TEST_CASE("few files stay open, however many segments are read", "[segment]")
{
    any_store store{"on disk"};
    writer    w;
    for (int i = 0; i < 90; ++i) {
        auto s = store.begin(w.end(), 4 << 20);
        append(*s, w.make(1, 5'000));
        s->seal();
    }
    store.open();
    const auto before = open_files();
    const auto all    = store->open_all();
    REQUIRE(all.size() == 90);
    std::vector<placed_batch> found;
    for (int round = 0; round < 2; ++round) {
        found.clear();
        for (const auto& s : all) {
            // Each is given up at once, so that only the store keeps them open.
            const auto b = all_of(*s).at(0);
            found.push_back(b);
            found.back().owner = std::make_shared<std::string>(b.bytes);
            found.back().bytes = *std::static_pointer_cast<const std::string>(found.back().owner);
        }
        CHECK(open_files() <= before + 64);
    }
    check_same(found, w.written().all);
}

TEST_CASE("a removed segment gives its space back when nobody holds it any more", "[segment]")
{
    four_segments x;
    const auto    deleted_maps = [&] {
        int           n = 0;
        std::ifstream maps{"/proc/self/maps"};
        for (std::string line; std::getline(maps, line);)
            n += line.find(x.store.directory()) != std::string::npos &&
                 line.find("(deleted)") != std::string::npos;
        return n;
    };
    for (const auto& s : x.all) all_of(*s);
    const auto rewritten = x.store->prepare(16 << 20);
    rewritten->append({}, position{6});
    rewritten->seal();
    x.store->publish(rewritten, position{0}, std::span{x.all}.first(2));
    x.store->remove(x.all[2]);
    auto batches = all_of(*x.all[1]);
    check_same(all_of(*x.all[2]), x.written(6, 9));
    CHECK(deleted_maps() == 3);
    x.all.erase(x.all.begin(), x.all.begin() + 3);
    CHECK(deleted_maps() == 1);
    check_same(batches, x.written(3, 6));
    batches.clear();
    CHECK(deleted_maps() == 0);
}

TEST_CASE("one process may write and also read, without opening a file twice", "[segment]")
{
    four_segments x;
    const auto    reader = make_lmdb_store({.directory = x.store.directory(), .read_only = true});
    const auto    seen   = reader->open_all();
    REQUIRE(seen.size() == 4);
    CHECK(reader->open_all().at(2) == seen.at(2));
    append(*x.all[3], std::vector{x.w.make(1, 300), x.w.make(9, 30'000)});
    CHECK(seen[3]->end() == x.w.end());
    CHECK(seen[3]->summary().contains(9));
    check_same(all_of(*seen[3]), x.written(9, 14));
    x.all[3]->seal();
    CHECK(seen[3]->sealed());
    x.store->remove(x.all[0]);
    CHECK_THROWS_AS(all_of(*seen[0]), segment_gone);
    CHECK(reader->open_all().size() == 3);
}

TEST_CASE("after kill -9, all that was acknowledged is there, and no half append", "[segment]")
{
    std::minstd_rand  random{seed()};
    constexpr int     cycles = 8;
    temporary_directory directory{place::disk};

    std::int64_t acknowledged = 0;
    for (int cycle = 0; cycle < cycles; ++cycle) {
        int acks[2];
        REQUIRE(pipe(acks) == 0);
        const auto kill_after = 1 + random() % 60;
        const auto child      = fork();
        if (child == 0) {
            try {
                ::close(acks[0]);
                auto store = make_lmdb_store({.directory = directory.path()});
                auto all   = store->open_all();
                auto s     = all.empty() ? store->prepare(64 << 20) : all.back();
                if (all.empty()) store->publish(s, position{0}, {});
                const auto before = s->summary();
                offset     next   = before.contains(1) ? before.at(1).end : offset{0};
                for (;;) {
                    std::vector<placed_batch> batches;
                    std::vector<std::string>  bytes(5);
                    for (int i = 0; i < 5; ++i) {
                        bytes[i] =
                            make_batch(next, 1, timestamp{next.value}, std::string(700, 'x'));
                        batches.push_back({position{next.value}, 1, next, 1, bytes[i], nullptr,
                                           timestamp{next.value}});
                        ++next;
                    }
                    append(*s, batches);
                    const auto end = s->end().value;
                    if (write(acks[1], &end, sizeof end) != sizeof end) _exit(1);
                }
            } catch (const std::exception&) {
                _exit(2);
            }
        }
        ::close(acks[1]);
        for (unsigned i = 0; i < kill_after; ++i)
            REQUIRE(read(acks[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged);
        kill(child, SIGKILL);
        for (std::int64_t end; read(acks[0], &end, sizeof end) == sizeof end;) acknowledged = end;
        ::close(acks[0]);
        waitpid(child, nullptr, 0);

        const auto store = make_lmdb_store({.directory = directory.path()});
        const auto s     = store->open_all().at(0);
        CHECK(s->end().value >= acknowledged);
        CHECK(s->end().value <= acknowledged + 5);
        CHECK(s->end().value % 5 == 0);
        CHECK(all_of(*s).size() == static_cast<std::size_t>(s->end().value));
        int faults = 0;
        s->verify([&](auto, auto, const auto&) { ++faults; });
        CHECK(faults == 0);
    }
}

TEST_CASE("a forked process opens what its parent has open for itself", "[segment]")
{
    four_segments x;
    all_of(*x.all[3]);  // so that the parent has readers that the child must not use
    int go[2], done[2];
    REQUIRE(pipe(go) == 0);
    REQUIRE(pipe(done) == 0);
    const auto child = fork();
    if (child == 0) {
        try {
            const auto store =
                make_lmdb_store({.directory = x.store.directory(), .read_only = true});
            const auto  all = store->open_all();
            std::size_t n   = all_of(*all.at(3)).size();
            if (write(done[1], "x", 1) != 1) _exit(3);
            char c;
            if (read(go[0], &c, 1) != 1) _exit(4);
            n += all_of(*all.at(3)).size();
            _exit(n == 3 + 4 && all.at(3)->end() == position{16} ? 0 : 5);
        } catch (const std::exception& e) {
            std::fprintf(stderr, "the child: %s\n", e.what());
            _exit(6);
        }
    }
    char c;
    REQUIRE(read(done[0], &c, 1) == 1);
    append(*x.all[3], x.w.make(4, 300, 4));
    CHECK(x.w.end() == position{16});
    REQUIRE(write(go[1], "x", 1) == 1);
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    for (int i = 0; i < 20; ++i) {
        append(*x.all[3], x.w.make(4, 300));
        check_same(all_of(*x.all[3]), x.written(9, 13 + 1 + static_cast<std::size_t>(i)));
    }
    for (const int fd : {go[0], go[1], done[0], done[1]}) ::close(fd);
}

TEST_CASE("another process follows while this one appends, rolls and rewrites", "[segment]")
{
    temporary_directory directory{place::disk};
    int               ready[2];
    REQUIRE(pipe(ready) == 0);
    constexpr std::int64_t goal = 4'000;

    const auto child = fork();
    if (child == 0) {
        ::close(ready[1]);
        char c;
        if (read(ready[0], &c, 1) != 1) _exit(1);
        const auto   deadline = std::chrono::steady_clock::now() + std::chrono::seconds{60};
        const auto   store    = make_lmdb_store({.directory = directory.path(), .read_only = true});
        std::int64_t next     = 0;
        while (next < goal) {
            if (std::chrono::steady_clock::now() > deadline) _exit(3);
            try {
                const auto before = next;
                for (const auto& s : store->open_all()) {
                    std::vector<placed_batch> out;
                    while (s->end().value > next &&
                           s->read_all(position{next}, {100'000, 64}, out) != 0) {
                        for (const auto& b : out) {
                            // A rewrite drops every second batch of partition 1.
                            if (b.position.value != next && b.position.value != next + 1) _exit(4);
                            next = b.end_position().value;
                        }
                        out.clear();
                    }
                }
                if (next == before) sched_yield();
            } catch (const segment_gone&) {
                // It was rewritten meanwhile: look again.
            } catch (const std::exception& e) {
                std::fprintf(stderr, "the reader: %s\n", e.what());
                _exit(5);
            }
        }
        _exit(0);
    }
    ::close(ready[0]);

    const auto store  = make_lmdb_store({.directory = directory.path()});
    auto       active = store->prepare(16 << 20);
    store->publish(active, position{0}, {});
    REQUIRE(write(ready[1], "x", 1) == 1);
    ::close(ready[1]);

    writer                                w;
    std::vector<std::shared_ptr<segment>> sealed;
    while (w.end().value < goal) {
        std::vector<placed_batch> batches;
        for (int i = 0; i < 10; ++i) batches.push_back(w.make(1 + i % 2, i == 0 ? 5'000 : 200));
        append(*active, batches);
        if (w.end().value % 200 != 0) continue;
        active->seal();
        sealed.push_back(active);
        active = store->prepare(16 << 20);
        store->publish(active, w.end(), {});
        if (sealed.size() % 3 != 0) continue;
        const auto                replaced = std::span{sealed}.last(2);
        std::vector<placed_batch> rest;
        for (const auto& r : replaced)
            for (const auto& b : all_of(*r))
                if (b.partition_uid != 1 || b.base.value % 2 == 0) rest.push_back(b);
        auto rewritten = store->prepare(16 << 20);
        rewritten->append(rest, replaced.back()->end());
        rewritten->seal();
        store->publish(rewritten, replaced.front()->first(), replaced);
        sealed.resize(sealed.size() - 2);
        sealed.push_back(rewritten);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}
