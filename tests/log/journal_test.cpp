// SPDX-License-Identifier: Apache-2.0
#include "journal_fixture.hpp"

#include "allocation_meter.hpp"
#include "crash/faults.hpp"
#include "main/seed.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace journal_test;
using cairn::testing::fault;
using cairn::testing::fault_injection;
using cairn::testing::seed;

namespace fs = std::filesystem;

// ---- Writing and reading -------------------------------------------------------------------

TEST_CASE_METHOD(a_journal, "an empty directory is an empty journal")
{
    CHECK(open().empty());
    CHECK(log->statistics().groups == 0);
}

TEST_CASE_METHOD(a_journal, "groups come back from recover() in order and whole")
{
    open();
    for (unsigned i = 0; i < 20; ++i) write(text(1 + i * 37, i));
    CHECK(open() == groups);
    CHECK(open() == groups);
}

TEST_CASE_METHOD(a_journal, "a payload of any size around the sectors' ends comes back")
{
    options.file_bytes = 8 << 20;
    open();
    for (std::size_t sectors : {1u, 2u, 3u, 8u, 2047u, 2048u, 2049u, 4096u})
        for (int more = -1; more <= 1; ++more)
            write(
                text(fill(sectors) + static_cast<std::size_t>(more), static_cast<unsigned>(more)));
    write("");
    write(text(1));
    CHECK(open() == groups);
}

TEST_CASE_METHOD(a_journal, "the pieces of a payload are written one after the other")
{
    open();
    const auto              all = text(5'000);
    std::vector<bytes_view> pieces;
    for (std::size_t at = 0, n = 0; at < all.size(); at += n++)
        pieces.push_back(bytes_view{all}.substr(at, n));
    write_pieces(pieces);
    REQUIRE(groups.back().payload == all);
    CHECK(open() == groups);
}

TEST_CASE_METHOD(a_journal, "writing goes on after recover(), in a fresh file")
{
    open();
    write(text(100));
    const auto before = files();
    open();
    write(text(200));
    CHECK(files().size() == before.size() + 1);
    CHECK(open() == groups);
}

TEST_CASE_METHOD(a_journal, "groups below `merged` are skipped, one across it is not")
{
    open();
    for (unsigned i = 0; i < 30; ++i) write(text(300, i));
    for (std::int64_t merged = 0; merged <= next; ++merged) {
        std::vector<written> above;
        for (const auto& g : groups)
            if (g.end > merged) above.push_back(g);
        crash();
        CHECK(open(merged) == above);
    }
}

TEST_CASE_METHOD(a_journal, "a position above all groups is where writing goes on")
{
    open();
    write(text(100));
    CHECK(open(1'000).empty());
    write(text(100));
    CHECK(groups.back().first == 1'000);
    CHECK(open(1'000) == std::vector{groups.back()});
}

TEST_CASE_METHOD(a_journal, "a group that does not begin where the one before ended is refused")
{
    open();
    write(text(100));
    const auto write_at = [&](std::int64_t first, std::int64_t end) {
        return code_of([&] { log->write(position{first}, {}, position{end}); });
    };
    CHECK(write_at(next + 1, next + 2) == errc::invalid_argument);
    CHECK(write_at(next - 1, next) == errc::invalid_argument);
    CHECK(write_at(next, next - 1) == errc::invalid_argument);
    CHECK(write_at(next, next + (1ll << 32)) == errc::invalid_argument);
    CHECK(open() == groups);
}

TEST_CASE_METHOD(a_journal, "before recover() nothing can be written")
{
    log = std::make_unique<journal>(options);
    CHECK(code_of([&] { log->write(position{0}, {}, position{0}); }) == errc::invalid_argument);
    log->prepare();
    CHECK(files().empty());
}

TEST_CASE("options that make no journal are refused")
{
    const auto made = [](std::uint64_t file_bytes, std::size_t files) {
        return code_of(
            [&] { journal{{.directory = ".", .file_bytes = file_bytes, .files = files}}; });
    };
    CHECK(made(1024, 1) == std::nullopt);
    CHECK(made(512, 4) == errc::invalid_argument);
    CHECK(made(1025, 4) == errc::invalid_argument);
    CHECK(made(1024, 0) == errc::invalid_argument);
}

TEST_CASE_METHOD(a_journal, "a group is one write call and one fdatasync, and no allocation")
{
    open();
    const auto payload = text(10'000);
    write(payload);  // takes a file
    const bytes_view piece{payload};
    const auto       count = positions_of(payload);
    {
        const fault_injection                  calls{{.where = fault::call::any, .nth = 0}};
        const cairn::testing::allocation_meter meter;
        log->write(position{next}, {&piece, 1}, position{next + count});
        CHECK(meter.allocations() == 0);
        CHECK(calls.calls() == 2);
    }
    const auto s = log->statistics();
    CHECK(s.groups == 2);
    CHECK(s.bytes == 2 * journal_group_sectors(payload.size()) * sector_bytes);
}

TEST_CASE_METHOD(a_journal, "a journal that is opened read-only is read, and not changed")
{
    open();
    for (unsigned i = 0; i < 12; ++i) write(text(fill(20), i));
    write_bytes(directory / "0000000000000099.tmp", "being made");
    std::vector<std::string> before;
    for (const auto& f : files()) before.push_back(f + read_bytes(f));

    // Beside the one that writes.
    std::vector<written> found;
    {
        journal_options o = options;
        o.read_only       = true;
        journal               reader{o};
        const fault_injection changes{{.where = fault::call::write, .nth = 0}};
        reader.recover(position{groups[2].end}, [&](position first, bytes_view payload) {
            const auto count = positions_of(payload);
            found.push_back({first.value, first.value + count, std::string{payload}});
            return count;
        });
        CHECK(changes.calls() == 0);
        reader.prepare();
        CHECK(code_of([&] { reader.write(position{next}, {}, position{next + 1}); }) ==
              errc::invalid_argument);
    }
    CHECK(found == std::vector(groups.begin() + 3, groups.end()));
    std::vector<std::string> after;
    for (const auto& f : files()) after.push_back(f + read_bytes(f));
    CHECK(after == before);
}

// ---- Files ---------------------------------------------------------------------------------

TEST_CASE_METHOD(a_journal, "no more than `files` files are ever on disk, whatever is written")
{
    open();
    std::mt19937_64 random{seed()};
    std::int64_t merged = 0;
    for (unsigned i = 0; i < 2'000; ++i) {
        if (random() % 3 == 0) log->prepare();
        // Half a file is always free: with two files held nobody has to wait.
        if (i % 8 == 0) {
            merged = std::max<std::int64_t>(merged, next - static_cast<int>(random() % 20));
            release(merged);
        }
        write(text(random() % 3'000, i));
        REQUIRE(files().size() <= options.files);
        REQUIRE(log->statistics().files == files().size());
        if (random() % 200 == 0) {
            crash();
            std::vector<written> above;
            for (const auto& g : groups)
                if (g.end > merged) above.push_back(g);
            REQUIRE(open(merged) == above);
            groups = above;
        }
    }
    CHECK(log->statistics().waits == 0);
}

TEST_CASE_METHOD(a_journal, "a file is reused only after release() passed all that it holds")
{
    open();
    const auto write_a_file = [&] {
        for (unsigned i = 0; i < 4; ++i) write(text(fill(15), i));
    };
    for (int i = 0; i < 4; ++i) write_a_file();
    const auto full = files();
    REQUIRE(full.size() == 4);
    const auto end_of_first = groups[3].end;

    release(end_of_first - 1);
    log->prepare();
    CHECK(files() == full);

    release(end_of_first);
    log->prepare();
    CHECK(files().size() == 4);
    CHECK_FALSE(fs::exists(full[0]));
    CHECK(read_bytes(files().back()).size() == options.file_bytes);

    write_a_file();
    crash();
    CHECK(open(end_of_first) == std::vector(groups.begin() + 4, groups.end()));
}

TEST_CASE_METHOD(a_journal, "what a reused file held before never comes back")
{
    options.files = 1;
    open();
    for (unsigned round = 0; round < 20; ++round) {
        // Ever fewer groups: behind them lie those of former generations, whole.
        const auto merged = next;
        groups.clear();
        for (unsigned i = 0; i < 20 - round; ++i) write(text(fill(3), round * 100 + i));
        crash();
        REQUIRE(open(merged) == groups);
        release(next);
    }
    CHECK(files().size() == 1);
}

TEST_CASE_METHOD(a_journal, "a group larger than a file gets a file of its own, in its place")
{
    open();
    write(text(500, 1));
    log->prepare();
    write(text(3 * options.file_bytes, 2));
    write(text(500, 3));
    CHECK(fs::file_size(files()[1]) >= 3 * options.file_bytes);
    crash();
    CHECK(open() == groups);

    release(next);
    log->prepare();
    log->prepare();
    for (const auto& f : files()) CHECK(fs::file_size(f) == options.file_bytes);
}

TEST_CASE_METHOD(a_journal, "a larger group waits for room as others do")
{
    options.files = 2;
    open();
    write(text(options.file_bytes, 1));
    write(text(500, 2));
    release(groups[0].end);
    write(text(options.file_bytes, 3));
    CHECK(files().size() == 2);
    crash();
    CHECK(open(groups[0].end) == std::vector(groups.begin() + 1, groups.end()));
}

TEST_CASE_METHOD(a_journal, "with fewer files or another size than before, old ones go")
{
    open();
    for (unsigned i = 0; i < 10; ++i) write(text(fill(20), i));
    REQUIRE(files().size() == 4);
    crash();
    options.files      = 2;
    options.file_bytes = 32 * 512;
    CHECK(open(next).empty());
    CHECK(files().size() == 2);
    write(text(100));
    log->prepare();
    for (const auto& f : files()) CHECK(fs::file_size(f) == options.file_bytes);
    CHECK(open(next - 1) == std::vector{groups.back()});
}

TEST_CASE_METHOD(a_journal, "leftovers of a file that was being made are removed, others are not")
{
    write_bytes(directory / "0000000000000007.tmp", "half");
    write_bytes(directory / "notes.txt", "mine");
    write_bytes(directory / "7.jnl", "mine");
    CHECK(open().empty());
    CHECK(files() == std::vector{directory / "7.jnl", directory / "notes.txt"});
}

TEST_CASE_METHOD(a_journal, "after all was released and the journal closed, old files are not read")
{
    open();
    for (unsigned i = 0; i < 10; ++i) write(text(fill(10), i));
    release(next);
    close();
    auto all = files();
    REQUIRE(all.size() > 1);
    all.pop_back();
    for (const auto& f : all)
        edit(f, [](std::string& bytes) { std::fill(bytes.begin() + 600, bytes.end(), 'x'); });
    const fault_injection reads{{.where = fault::call::read, .nth = 0}};
    CHECK(open(next).empty());
    CHECK(reads.calls() <= static_cast<int>(files().size()) + 1);
}

TEST_CASE_METHOD(a_journal, "opening reads from the last file that begins at or below `merged`")
{
    open();
    for (unsigned i = 0; i < 12; ++i) write(text(fill(20), i));
    REQUIRE(files().size() == 4);
    crash();
    edit(files()[0], [](std::string& bytes) { bytes[700] ^= 1; });
    CHECK(open(groups[4].first) == std::vector(groups.begin() + 4, groups.end()));
}

// ---- Back-pressure -------------------------------------------------------------------------

TEST_CASE_METHOD(a_journal, "write() waits while all files hold what is not released")
{
    options.files = 2;
    open();
    for (unsigned i = 0; i < 8; ++i) write(text(fill(15), i));
    std::atomic<bool> written{false};
    std::thread       writer{[&] {
        write(text(fill(15), 8));
        written = true;
    }};
    while (log->statistics().waits == 0) std::this_thread::yield();
    log->prepare();  // cannot help
    release(groups[2].end);
    CHECK_FALSE(written);
    release(groups[3].end);
    writer.join();
    CHECK(written);
    CHECK(log->statistics().waits == 1);
    crash();
    CHECK(open(groups[3].end) == std::vector(groups.begin() + 4, groups.end()));
}

namespace {

/// Releases what is merged for as long as it lives, also when the test ends early.
class merger_beside
{
public:
    explicit merger_beside(journal& log)
        : thread_{[this, &log](const std::stop_token& done) {
              while (!done.stop_requested()) {
                  log.release(position{merged.load()});
                  std::this_thread::yield();
              }
          }}
    {
    }

    std::atomic<std::int64_t> merged{0};

private:
    std::jthread thread_;  // the last member: it is joined before the others go
};

}  // namespace

TEST_CASE_METHOD(a_journal, "a write() that waits says so, and again where a release is not enough")
{
    std::atomic<int> asked{0};
    options.files   = 2;
    options.on_wait = [&] { ++asked; };
    open();
    for (unsigned i = 0; i < 8; ++i) write(text(fill(15), i));
    CHECK(asked == 0);
    std::thread writer{[&] { write(text(fill(15), 8)); }};
    while (asked == 0) std::this_thread::yield();
    release(groups[2].end);
    while (asked == 1) std::this_thread::yield();
    release(groups[3].end);
    writer.join();
    CHECK(log->statistics().waits == 1);
}

TEST_CASE_METHOD(a_journal, "with one file each is waited for, and reused")
{
    options.files = 1;
    open();
    {
        merger_beside merger{*log};
        for (unsigned i = 0; i < 40; ++i) {
            write(text(fill(15), i));
            if (i + 1 < 40) merger.merged = next;  // the last is looked for afterwards
        }
    }
    CHECK(files().size() == 1);
    CHECK(open(groups.back().first) == std::vector{groups.back()});
}

TEST_CASE_METHOD(a_journal, "stop() makes a write() that has to wait throw `closed`, now and later")
{
    options.files = 1;
    open();
    for (unsigned i = 0; i < 4; ++i) write(text(fill(15), i));
    std::optional<errc> thrown;
    std::thread         writer{[&] { thrown = code_of([&] { write(text(fill(15), 4)); }); }};
    while (log->statistics().waits == 0) std::this_thread::yield();
    log->stop();
    writer.join();
    CHECK(thrown == errc::closed);
    CHECK(code_of([&] { write(text(fill(15), 4)); }) == errc::closed);
    CHECK(open() == groups);
}

TEST_CASE_METHOD(a_journal, "while it refuses to wait, a write() that would wait throws disk_full")
{
    options.files = 1;
    open();
    for (unsigned i = 0; i < 4; ++i) write(text(fill(15), i));
    std::optional<errc> thrown;
    std::thread         writer{[&] { thrown = code_of([&] { write(text(fill(15), 4)); }); }};
    while (log->statistics().waits == 0) std::this_thread::yield();
    log->refuse_to_wait(true);
    writer.join();
    CHECK(thrown == errc::disk_full);
    CHECK(code_of([&] { write(text(fill(15), 4)); }) == errc::disk_full);
    log->refuse_to_wait(false);
    const auto merged = next;
    release(merged);
    write(text(fill(15), 4));
    CHECK(open(merged) == std::vector{groups.back()});
}

TEST_CASE_METHOD(a_journal, "writing, releasing and preparing go on beside each other")
{
    options.files = 3;
    open();
    std::int64_t merged = 0;
    {
        merger_beside      merger{*log};
        const std::jthread preparer{[&](const std::stop_token& done) {
            while (!done.stop_requested()) {
                log->prepare();
                static_cast<void>(log->statistics());
                std::this_thread::yield();
            }
        }};
        for (unsigned i = 0; i < 1'000; ++i) {
            write(text(i % 97 * 100, i));
            merged = std::max(merged, groups[groups.size() - 1 - std::min(i, i % 3)].first);
            merger.merged = merged;
        }
    }
    std::vector<written> above;
    for (const auto& g : groups)
        if (g.end > merged) above.push_back(g);
    crash();
    CHECK(open(merged) == above);
}

// ---- A torn tail, and damage ---------------------------------------------------------------

namespace {

/// Three groups; the last has `sectors` sectors. What the file had before it is known too.
struct with_a_last_group : a_journal
{
    static constexpr std::size_t sectors = 6;

    std::string path, before, after;
    std::size_t begin = 0;  // of the last group, in the file
    std::string last;

    /// In a fresh file, or in one that holds what a former generation wrote.
    void make(bool reused)
    {
        options.files = 1;
        open();
        if (reused) {
            for (unsigned i = 0; i < 63; ++i) write(text(fill(1), 1'000 + i));
            release(next);
            groups.clear();
        }
        write(text(700, 1));
        write(text(100, 2));
        path   = files().back();
        before = read_bytes(path);
        write(text(fill(sectors) - 100, 3));
        after = read_bytes(path);
        begin = sector_bytes * 4;
        REQUIRE(before.substr(0, begin) == after.substr(0, begin));
        REQUIRE(before.substr(begin + sectors * sector_bytes) ==
                after.substr(begin + sectors * sector_bytes));
        crash();
        groups.pop_back();
    }

    /// Opens what a crash left with those sectors of the last group new.
    std::vector<written> open_with(unsigned new_sectors, std::int64_t merged)
    {
        auto bytes = after;
        for (std::size_t i = 0; i < sectors; ++i)
            if ((new_sectors >> i & 1) == 0)
                bytes.replace(begin + i * sector_bytes, sector_bytes, before,
                              begin + i * sector_bytes, sector_bytes);
        for (const auto& f : files()) fs::remove(f);
        write_bytes(path, bytes);
        return open(merged);
    }
};

}  // namespace

TEST_CASE_METHOD(with_a_last_group,
                 "a tail torn at any sectors is dropped, what is before it is not")
{
    const bool reused = GENERATE(false, true);
    CAPTURE(reused);
    make(reused);
    const auto merged = groups.front().first;
    for (unsigned new_sectors = 0; new_sectors + 1 < 1u << sectors; ++new_sectors) {
        CAPTURE(new_sectors);
        REQUIRE(open_with(new_sectors, merged) == groups);
    }
    CHECK(open_with((1u << sectors) - 1, merged).size() == groups.size() + 1);
}

TEST_CASE_METHOD(with_a_last_group,
                 "after a torn tail writing goes on, and all of it is read again")
{
    make(false);
    open_with(0b011011, 0);
    options.files = 4;
    for (unsigned round = 0; round < 3; ++round) {
        crash();
        CHECK(open() == groups);
        write(text(900, round));
    }
    CHECK(open() == groups);
}

TEST_CASE_METHOD(with_a_last_group, "a changed bit in the last group is damage, not a torn tail")
{
    const bool reused = GENERATE(false, true);
    CAPTURE(reused);
    make(reused);
    for (std::size_t byte = begin; byte < begin + sectors * sector_bytes; ++byte) {
        CAPTURE(byte);
        auto bytes = after;
        bytes[byte] ^= static_cast<char>(1 << byte % 8);
        for (const auto& f : files()) fs::remove(f);
        write_bytes(path, bytes);
        const auto c = complaint_of([&] { open(groups.front().first); });
        REQUIRE(c);
        REQUIRE(c->code == errc::damaged_journal);
        REQUIRE_THAT(c->what, Catch::Contains(path));
        REQUIRE_THAT(c->what, Catch::Contains("position " + std::to_string(groups.back().end)));
    }
}

TEST_CASE_METHOD(a_journal, "damage is reported with file, byte and position, and what to do next")
{
    open();
    for (unsigned i = 0; i < 5; ++i) write(text(fill(2), i));
    crash();
    const auto path = files()[0];
    edit(path, [](std::string& bytes) { bytes[512 + 2 * 1024 + 600] ^= 4; });
    const auto c = complaint_of([&] { open(); });
    REQUIRE(c);
    CHECK(c->code == errc::damaged_journal);
    CHECK_THAT(c->what, Catch::Contains(path));
    CHECK_THAT(c->what, Catch::Contains("byte " + std::to_string(512 + 2 * 1024)));
    CHECK_THAT(c->what, Catch::Contains("position " + std::to_string(groups[2].first)));
    CHECK_THAT(c->what, Catch::Contains("restore a backup"));
}

TEST_CASE_METHOD(a_journal, "a group that is missing before another is damage")
{
    open();
    for (unsigned i = 0; i < 5; ++i) write(text(fill(2), i));
    crash();
    edit(files()[0],
         [](std::string& bytes) { std::fill_n(bytes.begin() + 512 + 2 * 1024, 1024, '\0'); });
    const auto c = complaint_of([&] { open(); });
    REQUIRE(c);
    CHECK(c->code == errc::damaged_journal);
    CHECK_THAT(c->what, Catch::Contains("a group is missing"));
    CHECK_THAT(c->what, Catch::Contains("position " + std::to_string(groups[2].first)));
}

TEST_CASE_METHOD(a_journal, "an incomplete group before another is damage")
{
    open();
    for (unsigned i = 0; i < 5; ++i) write(text(fill(3), i));
    crash();
    edit(files()[0], [](std::string& bytes) {
        std::fill_n(bytes.begin() + 512 + 2 * 3 * 512 + 512, 512, '\0');
    });
    const auto c = complaint_of([&] { open(); });
    REQUIRE(c);
    CHECK(c->code == errc::damaged_journal);
    CHECK_THAT(c->what, Catch::Contains("incomplete"));
}

TEST_CASE_METHOD(a_journal, "a file that is missing is damage, in the middle and at the beginning")
{
    open();
    for (unsigned i = 0; i < 12; ++i) write(text(fill(20), i));
    crash();
    const auto missing = GENERATE(0u, 1u, 2u);
    fs::remove(files()[missing]);
    const auto c = complaint_of([&] { open(); });
    REQUIRE(c);
    CHECK(c->code == errc::damaged_journal);
    CHECK_THAT(c->what, Catch::Contains("is missing"));
}

namespace {

/// A journal file as it would be under another generation.
std::string under_generation(std::string bytes, std::uint64_t generation)
{
    journal_file_header h;
    std::memcpy(&h, bytes.data(), sizeof h);
    for (std::size_t i = 1; i < bytes.size() / 512; ++i) {
        const auto state = journal_sector_state(&bytes[i * 512], i, h.generation);
        if (state == sector_state::absent) continue;
        const auto mark = journal_mark(generation, state == sector_state::begins);
        const auto tag  = make_journal_tag(mark, i);
        std::memcpy(&bytes[i * 512 + journal_sector_data], &tag, sizeof tag);
    }
    h.generation = generation;
    std::memcpy(bytes.data(), &h, sizeof h);
    const auto check = crc32c(bytes_view{bytes}.substr(0, 508));
    std::memcpy(&bytes[508], &check, sizeof check);
    return bytes;
}

}  // namespace

TEST_CASE_METHOD(a_journal, "groups that overlap are damage")
{
    open();
    write("group");
    REQUIRE(next > 1);
    close();
    // As if two programs had written: another that knew of less.
    a_journal other;
    other.open(1);
    other.write("group");
    other.close();
    fs::copy(other.files()[0], directory / "0000000000000002.jnl");
    edit(files()[1], [](std::string& bytes) { bytes = under_generation(bytes, 2); });
    CHECK(code_of([&] { open(); }) == errc::damaged_journal);
}

TEST_CASE_METHOD(a_journal, "a callback that counts otherwise than the writer is damage")
{
    open();
    write(text(100));
    close();
    journal j{options};
    CHECK(code_of([&] {
              j.recover(position{0}, [](position, bytes_view) { return std::int64_t{99}; });
          }) == errc::damaged_journal);
}

TEST_CASE_METHOD(a_journal, "damage to what is certainly merged does not matter")
{
    open();
    for (unsigned i = 0; i < 12; ++i) write(text(fill(20), i));
    crash();
    const auto merged = groups[8].first;
    edit(files()[2], [](std::string& bytes) { bytes[700] ^= 1; });
    REQUIRE(code_of([&] { open(groups[6].first); }) == errc::damaged_journal);
    CHECK(open(merged) == std::vector(groups.begin() + 8, groups.end()));
}

TEST_CASE_METHOD(a_journal, "a file whose header is damaged, or that has another's name, is damage")
{
    open();
    write(text(100));
    close();
    const auto path  = files()[0];
    const auto bytes = read_bytes(path);
    for (std::size_t byte = 0; byte < 512; ++byte) {
        auto changed = bytes;
        changed[byte] ^= 16;
        write_bytes(path, changed);
        REQUIRE(code_of([&] { open(); }) == errc::damaged_journal);
    }
    write_bytes(path, bytes);
    fs::rename(path, directory / "0000000000000009.jnl");
    CHECK(code_of([&] { open(); }) == errc::damaged_journal);
}

TEST_CASE_METHOD(a_journal, "a newer format is not read")
{
    open();
    write(text(100));
    close();
    edit(files()[0], [](std::string& bytes) {
        bytes[8]         = 2;
        const auto check = crc32c(bytes_view{bytes}.substr(0, 508));
        std::memcpy(&bytes[508], &check, sizeof check);
    });
    CHECK(code_of([&] { open(); }) == errc::newer_format);
}

TEST_CASE_METHOD(a_journal, "a payload that looks like groups is a payload")
{
    open();
    write(text(fill(2), 1));
    write(text(fill(2), 2));
    // The file itself, with its salt and all: as the payload of a group it must not be taken
    // for groups, however the group is torn.
    const auto path  = files()[0];
    auto       whole = read_bytes(path).substr(512, 4 * 512);
    // Also so that the forged groups begin where sectors do.
    std::string payload(fill(1), 'y');
    payload += whole;
    payload += whole;
    write(payload);
    const auto begin   = std::size_t{512 * 5};
    const auto after   = read_bytes(path);
    const auto sectors = journal_group_sectors(groups.back().payload.size());
    crash();
    CHECK(open() == groups);
    groups.pop_back();
    for (std::size_t kept = 0; kept < sectors; ++kept) {
        for (std::size_t from : {std::size_t{0}, sectors - kept}) {
            auto bytes = after;
            for (std::size_t i = 0; i < sectors; ++i)
                if (i < from || i >= from + kept)
                    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(begin + i * 512), 512,
                                '\0');
            close();
            for (const auto& f : files()) fs::remove(f);
            write_bytes(path, bytes);
            REQUIRE(open() == groups);
        }
    }
}

TEST_CASE_METHOD(a_journal, "a group with the salt of another file is not a group of this one")
{
    open();
    write(text(fill(1), 1));
    write(text(fill(1), 2));
    close();
    a_journal other;
    other.open();
    other.write(text(fill(1), 3));
    other.write(text(fill(1), 4));
    const auto foreign = read_bytes(other.files()[0]).substr(2 * 512, 512);
    edit(files()[0], [&](std::string& bytes) { bytes.replace(2 * 512, 512, foreign); });
    CHECK(code_of([&] { open(); }) == errc::damaged_journal);
}

namespace {

/// Several files, some reused, with groups of many sizes; and their bytes.
struct a_worn_journal : a_journal
{
    std::vector<std::string>       names;
    std::vector<std::string>       bytes;
    std::int64_t                   merged = 0;
    std::vector<std::vector<bool>> used;  // sectors of each file that a group or header has

    a_worn_journal()
    {
        open();
        for (unsigned i = 0; i < 120; ++i) {
            write(text(i * 61 % 2'500, i));
            if (i % 10 == 0) release(groups[i - i / 3].first);
            if (i % 7 == 0) log->prepare();
        }
        crash();
        // What is merged: nothing of the oldest file that is left.
        for (merged = 0;; ++merged)
            if (code_of([&] { open(merged); }) == std::nullopt) break;
        crash();
        groups = open(merged);
        crash();
        names = files();
        for (const auto& n : names) {
            bytes.push_back(read_bytes(n));
            used.push_back(used_sectors(bytes.back()));
        }
    }

    static std::vector<bool> used_sectors(const std::string& file)
    {
        journal_file_header h;
        std::memcpy(&h, file.data(), sizeof h);
        std::vector<bool> result;
        for (std::size_t i = 0; i < file.size() / 512; ++i) {
            const auto s = journal_sector_state(file.data() + i * 512, i, h.generation);
            result.push_back(i == 0 || s != sector_state::absent);
        }
        return result;
    }

    void restore()
    {
        close();
        for (const auto& f : files()) fs::remove(f);
        for (std::size_t i = 0; i < names.size(); ++i) write_bytes(names[i], bytes[i]);
    }
};

}  // namespace

TEST_CASE_METHOD(a_worn_journal, "a changed bit in anything that recover() reads is reported")
{
    std::mt19937_64 random{seed()};
    int          reported = 0, in_use = 0;
    for (int i = 0; i < 3'000; ++i) {
        restore();
        const auto f    = random() % names.size();
        const auto byte = random() % bytes[f].size();
        const auto bit  = random() % 8;
        CAPTURE(names[f], byte, bit);
        edit(names[f], [&](std::string& b) { b[byte] ^= static_cast<char>(1u << bit); });
        std::vector<written> found;
        const auto           c = complaint_of([&] { found = open(merged); });
        if (c) REQUIRE(c->code == errc::damaged_journal);
        if (c) ++reported;
        // Served is what was written, all of it; or nothing is.
        if (!c) REQUIRE(found == groups);
        if (used[f][byte / 512]) {
            ++in_use;
            // The oldest file's header says only what may be read in it; a group says more.
            REQUIRE(c.has_value());
        }
    }
    CHECK(in_use > 500);
    CHECK(reported >= in_use);
}

TEST_CASE_METHOD(a_worn_journal, "a file that was cut off is reported")
{
    std::mt19937_64 random{seed()};
    for (int i = 0; i < 300; ++i) {
        restore();
        const auto f    = random() % names.size();
        const auto size = random() % bytes[f].size();
        CAPTURE(names[f], size);
        fs::resize_file(names[f], size);
        const auto c = complaint_of([&] { open(merged); });
        REQUIRE(c);
        REQUIRE(c->code == errc::damaged_journal);
        REQUIRE_THAT(c->what, Catch::Contains(names[f]) || Catch::Contains("is missing"));
    }
}

// ---- Errors of the disk --------------------------------------------------------------------

TEST_CASE_METHOD(a_journal, "an error of a flush is final: no acknowledgement is given after it")
{
    open();
    for (unsigned i = 0; i < 3; ++i) write(text(1'000, i));
    std::optional<complaint> c;
    {
        const fault_injection fault{{.where = fault::call::sync}};
        c = complaint_of([&] { write(text(1'000, 3)); });
    }
    REQUIRE(c);
    CHECK(c->code == errc::io_failed);
    CHECK_THAT(c->what, Catch::Contains("look at the disk"));
    CHECK(log->has_failed());
    // The disk would do it again; the journal does not.
    CHECK(code_of([&] { write(text(1'000, 4)); }) == errc::io_failed);
    release(next);
    log->prepare();
    // Nothing acknowledged is lost. The last group may be there: nobody was told that it is not.
    auto found = open();
    REQUIRE(found.size() >= groups.size());
    found.resize(groups.size());
    CHECK(found == groups);
}

TEST_CASE_METHOD(a_journal, "a full disk at a flush is final too")
{
    open();
    write(text(100));
    const fault_injection fault{{.where = fault::call::sync, .error = ENOSPC}};
    CHECK(code_of([&] { write(text(100)); }) == errc::io_failed);
    CHECK(code_of([&] { write(text(100)); }) == errc::io_failed);
}

TEST_CASE_METHOD(a_journal, "an error of a write is final")
{
    const auto how = GENERATE(fault::way::fail, fault::way::torn);
    open();
    for (unsigned i = 0; i < 3; ++i) write(text(1'000, i));
    {
        const fault_injection fault{{.where = fault::call::write, .how = how}};
        CHECK(code_of([&] { write(text(5'000, 3)); }) == errc::io_failed);
    }
    CHECK(code_of([&] { write(text(1'000, 4)); }) == errc::io_failed);
    CHECK(open() == groups);
}

TEST_CASE_METHOD(a_journal, "a disk without room for a new file refuses, and nothing is lost")
{
    const auto error = GENERATE(ENOSPC, EDQUOT, ENOMEM);
    const auto where = GENERATE(fault::call::write, fault::call::sync, fault::call::open);
    open();
    while (journal_sector_bytes * (1 + groups.size() * 16) + 16 * 512 <= options.file_bytes)
        write(text(fill(16), static_cast<unsigned>(groups.size())));
    const auto before = files();
    {
        const fault_injection fault{
            {.where = where, .error = error, .count = -1, .path = directory.path()}};
        const auto expected = error == ENOMEM ? errc::out_of_memory : errc::disk_full;
        for (unsigned i = 0; i < 3; ++i) {
            const auto c = complaint_of([&] { write(text(fill(16), i)); });
            REQUIRE(c);
            CHECK(c->code == expected);
            CHECK(code_of([&] { log->prepare(); }) == expected);
            CHECK_FALSE(log->has_failed());
        }
        CHECK(fault.hits() >= 6);
    }
    CHECK(files() == before);
    for (unsigned i = 0; i < 5; ++i) write(text(fill(16), i));
    CHECK(open() == groups);
}

TEST_CASE_METHOD(a_journal, "a group that was refused with disk_full never comes back")
{
    const auto how     = GENERATE(fault::way::fail, fault::way::torn);
    const auto refused = GENERATE(fill(1), fill(4), std::size_t{3 << 20});
    const auto nth     = GENERATE(1, 2, 3);
    // Where the end of a group is zeros, the disk may have all of it without having written it.
    const bool zeros   = GENERATE(false, true);
    options.file_bytes = 8 << 20;
    open();
    write(text(100, 1));
    auto payload = text(refused, 2);
    if (zeros) std::fill(payload.begin() + 200, payload.end(), '\0');
    {
        const fault_injection fault{
            {.where = fault::call::write, .error = ENOSPC, .how = how, .nth = nth}};
        const auto c = code_of([&] { write(payload); });
        if (fault.hits() == 0) return;  // fewer calls than that
        REQUIRE(c == errc::disk_full);
    }
    crash();
    CHECK(open() == groups);
    // Over it, shorter and longer ones.
    crash();
    open();
    for (std::size_t size : {fill(2), fill(1), fill(7), std::size_t{4 << 20}})
        write(text(size, static_cast<unsigned>(size)));
    CHECK(open() == groups);
}

TEST_CASE_METHOD(a_journal, "after a group was refused, writing goes on in its place")
{
    open();
    write(text(100, 1));
    for (unsigned i = 0; i < 30; ++i) {
        {
            const fault_injection fault{
                {.where = fault::call::write, .error = ENOSPC, .how = fault::way::torn}};
            REQUIRE(code_of([&] { write(text(fill(5), i)); }) == errc::disk_full);
        }
        crash();
        REQUIRE(open(groups.front().first) == groups);
        crash();
        REQUIRE(open(groups.back().first).size() == 1);
        release(groups.back().first);
        write(text(fill(1 + i % 6), i));
        groups.erase(groups.begin(), groups.end() - 2);
        crash();
        REQUIRE(open(groups.front().first) == groups);
        groups.erase(groups.begin());
        release(groups.front().first);
    }
}

TEST_CASE_METHOD(a_journal, "a refused group that cannot be taken back is final")
{
    open();
    write(text(100, 1));
    {
        const fault_injection fault{
            {.where = fault::call::write, .error = ENOSPC, .how = fault::way::torn, .count = -1}};
        CHECK(code_of([&] { write(text(fill(5), 2)); }) == errc::io_failed);
    }
    CHECK(code_of([&] { write(text(fill(5), 3)); }) == errc::io_failed);
    CHECK(open() == groups);
}

TEST_CASE_METHOD(a_journal, "calls that are interrupted or brief are finished")
{
    const auto where = GENERATE(fault::call::write, fault::call::sync, fault::call::any);
    const auto how   = GENERATE(fault::way::fail, fault::way::brief);
    if (how == fault::way::brief && where != fault::call::write) return;
    for (int nth = 1; nth < 20; ++nth) {
        a_journal             j;
        const fault_injection fault{{.where = where,
                                     .error = EINTR,
                                     .how   = how,
                                     .nth   = nth,
                                     .count = 3,
                                     .path  = j.directory.path()}};
        j.open();
        for (unsigned i = 0; i < 8; ++i) j.write(text(fill(12), i));
        REQUIRE(j.open() == j.groups);
    }
}

TEST_CASE_METHOD(a_journal, "where the disk refuses O_DIRECT, the cache is used")
{
    for (int nth = 1; nth <= 2; ++nth) {  // the zeros, and the header over them
        a_journal             j;
        const fault_injection fault{{.where = fault::call::write, .error = EINVAL, .nth = nth}};
        j.open();
        j.log->prepare();
        for (unsigned i = 0; i < 8; ++i) j.write(text(fill(3), i));
        REQUIRE(fault.hits() == 1);
        REQUIRE(j.open() == j.groups);
    }
}

TEST_CASE("whichever call fails, what was acknowledged is there, and what was refused is not")
{
    const auto where = GENERATE(fault::call::open, fault::call::write, fault::call::sync,
                                fault::call::rename, fault::call::remove, fault::call::read);
    const auto error = GENERATE(EIO, ENOSPC, ENOMEM, EACCES);
    const auto count = GENERATE(1, -1);
    for (int nth = 1; nth <= 25; ++nth) {
        CAPTURE(static_cast<int>(where), error, count, nth);
        a_journal    j;
        std::int64_t merged = 0;
        bool         unsure = false;  // the last group may be there although it failed
        j.options.files     = 2;
        j.open();
        for (unsigned i = 0; i < 5; ++i) j.write(text(fill(12), i));
        const auto keep_going = [&](auto action) {
            const auto c = code_of(action);
            if (c == errc::io_failed) unsure = true;
            return !c;
        };
        int         hits = 0;
        const fault what{
            .where = where, .error = error, .nth = nth, .count = count, .path = j.directory.path()};
        {
            const fault_injection fault{what};
            for (unsigned i = 0; i < 20; ++i) {
                if (i % 3 == 0) {
                    merged = j.groups.back().first;
                    j.release(merged);
                }
                if (i % 2 == 0) keep_going([&] { j.log->prepare(); });
                keep_going([&] { j.write(text(fill(12), i)); });
            }
            hits = fault.hits();
        }
        j.crash();
        {
            const fault_injection fault{what};
            keep_going([&] { j.open(merged); });
            hits += fault.hits();
        }
        j.crash();
        auto                 found = j.open(merged);
        std::vector<written> above;
        for (const auto& g : j.groups)
            if (g.end > merged) above.push_back(g);
        if (unsure && found.size() == above.size() + 1) found.pop_back();
        REQUIRE(found == above);
        if (hits == 0) break;
    }
}
