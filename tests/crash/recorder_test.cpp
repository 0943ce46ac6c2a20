// SPDX-License-Identifier: Apache-2.0
// The recorder and the enumeration judge the log; here they are judged, by protocols whose
// faults are known.
#include "recorder.hpp"
#include "enumerate.hpp"
#include "faults.hpp"
#include "main/temporary_directory.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <lmdb.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace cairn::testing;

namespace {

namespace fs = std::filesystem;

constexpr std::size_t sector_bytes = 512;

/// System calls as a test wants them: they do, or the test ends.
class opened
{
public:
    explicit opened(const std::string& path, int flags = O_RDWR | O_CREAT)
        : fd_{::open(path.c_str(), flags | O_CLOEXEC, 0644)}
    {
        REQUIRE(fd_ >= 0);
    }
    ~opened() { ::close(fd_); }
    opened(const opened&)            = delete;
    opened& operator=(const opened&) = delete;

    void write(std::size_t at, const std::string& bytes)
    {
        REQUIRE(::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at)) ==
                static_cast<ssize_t>(bytes.size()));
    }
    void sync() { REQUIRE(::fdatasync(fd_) == 0); }
    void resize(std::size_t bytes) { REQUIRE(::ftruncate(fd_, static_cast<off_t>(bytes)) == 0); }
    int  fd() const { return fd_; }

private:
    int fd_;
};

void sync_directory(const std::string& path)
{
    opened d{path, O_RDONLY | O_DIRECTORY};
    REQUIRE(::fsync(d.fd()) == 0);
}

std::string read(const std::string& path)
{
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

/// "name=content" of all files, sectors of one letter each written as that letter (zero: '.').
std::string show(const std::string& directory)
{
    std::set<std::string> files;
    for (const auto& e : fs::recursive_directory_iterator{directory}) {
        if (!e.is_regular_file()) continue;
        auto       text  = fs::relative(e.path(), directory).string() + "=";
        const auto bytes = read(e.path().string());
        for (std::size_t i = 0; i < bytes.size(); i += sector_bytes)
            text += bytes[i] == '\0' ? '.' : bytes[i];
        files.insert(text);
    }
    std::string all;
    for (const auto& f : files) all += (all.empty() ? "" : " ") + f;
    return all;
}

std::string sectors(const std::string& letters)
{
    std::string bytes;
    for (char c : letters) bytes += std::string(sector_bytes, c);
    return bytes;
}

/// All images of what `program` does in a directory, as show() has them; those of a cut after
/// its last operation, or of any.
enum class cuts {
    at_the_end,
    anywhere,
};

std::set<std::string> images_of(const std::function<void(const std::string&)>& program, cuts where,
                                const std::function<void(const std::string&)>& before = {})
{
    temporary_directory d;
    if (before) before(d.path());
    recorder r{d.path()};
    program(d.path());
    const auto          tape = r.stop();
    temporary_directory found;
    enumeration_options o;
    o.states = 4'000;
    if (where == cuts::at_the_end) o.from = tape.operations.size();
    // The check is in another process: it leaves what it saw in a file.
    const auto e = enumerate(tape, o, [&](const std::string& image) {
        std::ofstream{found / "all", std::ios::app} << show(image) << '\n';
        return verdict{};
    });
    INFO(e);
    REQUIRE(e.failed() == 0);
    std::set<std::string> all;
    std::ifstream         in{found / "all"};
    for (std::string line; std::getline(in, line);) all.insert(line);
    REQUIRE(all.size() == e.states);
    return all;
}

using strings = std::set<std::string>;

// ---- Toy logs ------------------------------------------------------------------------------

/// A log of numbered records of one sector each: the number, and a sum that must match.
std::string toy_record(std::int64_t n, std::size_t sectors_of_it = 1)
{
    std::string r(sectors_of_it * sector_bytes, static_cast<char>('a' + n % 26));
    std::memcpy(r.data(), &n, sizeof n);
    std::memcpy(r.data() + r.size() - sizeof n, &n, sizeof n);
    return r;
}

/// Reads toy records up to the first that is not there; a half one is a problem.
verdict read_toy(const std::string& bytes, std::size_t sectors_of_it = 1)
{
    verdict           v{.reached = -1};
    const std::size_t size = sectors_of_it * sector_bytes;
    for (std::size_t at = 0; at + size <= bytes.size(); at += size) {
        const auto wanted = toy_record(v.reached + 1, sectors_of_it);
        const auto found  = bytes.substr(at, size);
        if (found == std::string(size, '\0')) break;
        if (found != wanted) {
            v.problem = "record " + std::to_string(v.reached + 1) + " is damaged";
            break;
        }
        ++v.reached;
    }
    return v;
}

constexpr int toy_records = 30;

enumeration judge(const std::function<void(const std::string&, recorder&)>& program,
                  const image_check& check, std::size_t states = 2'000)
{
    temporary_directory d;
    recorder            r{d.path()};
    program(d.path(), r);
    enumeration_options o;
    o.states     = states;
    const auto e = enumerate(r.stop(), o, check);
    UNSCOPED_INFO(e);
    return e;
}

verdict check_toy(const std::string& directory)
{
    return read_toy(read(directory + "/toy"));
}

/// Makes the file first: all zeros, synced, its name too.
void make_toy(const std::string& directory, opened& f)
{
    f.write(0, std::string(toy_records * sector_bytes, '\0'));
    f.sync();
    sync_directory(directory);
}

}  // namespace

// ---- What is recorded ----------------------------------------------------------------------

TEST_CASE("every call that changes files is recorded, in order")
{
    temporary_directory d;
    std::ofstream{d / "before"} << "there";
    recorder r{d.path()};
    {
        opened f{d / "a"};
        f.write(3, "xyz");
        std::array<char, 2>        two{'1', '2'};
        const std::array<iovec, 2> pieces{iovec{&two[0], 1}, iovec{&two[1], 1}};
        REQUIRE(::writev(f.fd(), pieces.data(), 2) == 2);
        REQUIRE(::write(f.fd(), "3", 1) == 1);
        REQUIRE(::pwritev(f.fd(), pieces.data(), 2, 100) == 2);
        f.resize(50);
        REQUIRE(::posix_fallocate(f.fd(), 0, 60) == 0);
        f.sync();
        r.mark(7);
        REQUIRE(::fsync(f.fd()) == 0);
    }
    {
        opened f{d / "b", O_RDWR | O_CREAT | O_DSYNC};
        f.write(0, std::string(8, '\0'));
    }
    REQUIRE(::rename((d / "a").c_str(), (d / "c").c_str()) == 0);
    REQUIRE(::link((d / "c").c_str(), (d / "e").c_str()) == 0);
    REQUIRE(::mkdir((d / "sub").c_str(), 0755) == 0);
    {
        opened f{d / "sub/f"};
    }
    {
        opened f{d / "before", O_WRONLY | O_TRUNC};
    }
    fs::remove(d / "b");
    sync_directory(d.path());
    const auto tape = r.stop();

    std::string text;
    for (const auto& o : tape.operations) text += describe(o) + '\n';
    CHECK(text ==
          "make file #2 as #0/a\n"
          "write 3 bytes at 3 of #2\n"
          "write 2 bytes at 0 of #2\n"
          "write 1 bytes at 2 of #2\n"
          "write 2 bytes at 100 of #2\n"
          "resize #2 to 50\n"
          "resize #2 to 60\n"
          "sync #2\n"
          "mark 7\n"
          "sync #2\n"
          "make file #3 as #0/b\n"
          "durable write 8 zeros at 0 of #3\n"
          "rename #2 from #0/a to #0/c\n"
          "link #2 as #0/e\n"
          "make directory #4 as #0/sub\n"
          "make file #5 as #4/f\n"
          "resize #1 to 0\n"
          "remove #3, #0/b\n"
          "sync #0\n");
    REQUIRE(tape.start.size() == 1);
    CHECK(tape.start[0].content == "there");
    CHECK(tape.bytes_of(tape.operations[2]) == "12");
}

TEST_CASE("what is done elsewhere, or when nothing is recorded, is not")
{
    temporary_directory watched, other;
    {
        recorder r{watched.path()};
        opened   f{other / "a"};
        f.write(0, "x");
        f.sync();
        CHECK(r.stop().operations.empty());
    }
    recorder r{watched.path()};
    r.stop();
    opened f{watched / "a"};
    f.write(0, "x");
    CHECK(recorder{watched.path()}.stop().start.size() == 1);
}

TEST_CASE("LMDB's commits are recorded: its pages, a sync, and its meta page, durable at once")
{
    temporary_directory d;
    recorder            r{d.path()};
    MDB_env*            env = nullptr;
    REQUIRE(mdb_env_create(&env) == 0);
    REQUIRE(mdb_env_open(env, (d / "env").c_str(), MDB_NOSUBDIR, 0644) == 0);
    for (int i = 0; i < 2; ++i) {
        MDB_txn* txn = nullptr;
        MDB_dbi  dbi = 0;
        MDB_val  key{3, const_cast<char*>("key")}, value{5, const_cast<char*>("value")};
        REQUIRE(mdb_txn_begin(env, nullptr, 0, &txn) == 0);
        REQUIRE(mdb_dbi_open(txn, nullptr, 0, &dbi) == 0);
        REQUIRE(mdb_put(txn, dbi, &key, &value, 0) == 0);
        REQUIRE(mdb_txn_commit(txn) == 0);
    }
    mdb_env_close(env);
    const auto tape = r.stop();

    node_id data = 0;
    for (const auto& o : tape.operations)
        if (o.what == operation::kind::make_file && o.name == "env") data = o.node;
    std::vector<operation> of_data;
    for (const auto& o : tape.operations)
        if (o.node == data && o.what != operation::kind::make_file) of_data.push_back(o);
    REQUIRE(of_data.size() >= 6);
    const auto& meta = of_data[of_data.size() - 1];
    CHECK(meta.what == operation::kind::write);
    CHECK(meta.durable);
    CHECK(meta.at < 2 * 4096);
    CHECK(of_data[of_data.size() - 2].what == operation::kind::sync);
    CHECK(of_data[of_data.size() - 3].what == operation::kind::write);
    CHECK_FALSE(of_data[of_data.size() - 3].durable);
}

// ---- The model -----------------------------------------------------------------------------

TEST_CASE("an unsynced write is there, not there, or torn at a sector")
{
    const auto start = [](const std::string& d) { opened{d + "/f"}.write(0, sectors("aaa")); };
    const auto all =
        images_of([](const std::string& d) { opened{d + "/f"}.write(512, sectors("bb")); },
                  cuts::at_the_end, start);
    CHECK(all == strings{"f=aaa", "f=aba", "f=aab", "f=abb"});
}

TEST_CASE("unsynced writes do not wait for each other, and a synced one is there")
{
    const auto start = [](const std::string& d) { opened{d + "/f"}.write(0, sectors("aaa")); };
    const auto all   = images_of(
        [](const std::string& d) {
            opened f{d + "/f"};
            f.write(0, sectors("b"));
            f.sync();
            f.write(512, sectors("c"));
            f.write(1024, sectors("d"));
        },
        cuts::at_the_end, start);
    CHECK(all == strings{"f=baa", "f=bca", "f=bad", "f=bcd"});
}

TEST_CASE("of writes to one place the last one that is there shows")
{
    const auto start = [](const std::string& d) { opened{d + "/f"}.write(0, sectors("a")); };
    const auto all   = images_of(
        [](const std::string& d) {
            opened f{d + "/f"};
            f.write(0, sectors("b"));
            f.write(0, sectors("c"));
        },
        cuts::at_the_end, start);
    CHECK(all == strings{"f=a", "f=b", "f=c"});

    const auto durable = images_of(
        [](const std::string& d) {
            opened f{d + "/f"}, g{d + "/f", O_RDWR | O_DSYNC};
            f.write(0, sectors("b"));
            g.write(0, sectors("c"));
        },
        cuts::at_the_end, start);
    CHECK(durable == strings{"f=c"});
}

TEST_CASE("a file that grew has its old size until it is synced")
{
    const auto start = [](const std::string& d) { opened{d + "/f"}.write(0, sectors("a")); };
    const auto grow  = [](const std::string& d) { opened{d + "/f"}.write(512, sectors("b")); };
    CHECK(images_of(grow, cuts::at_the_end, start) == strings{"f=a", "f=a.", "f=ab"});

    const auto shrink = [](const std::string& d) {
        opened f{d + "/f"};
        f.write(512, sectors("b"));
        f.resize(0);
        f.write(0, sectors("c"));
    };
    CHECK(images_of(shrink, cuts::at_the_end, start) ==
          strings{"f=a", "f=c", "f=a.", "f=ab", "f=c.", "f=cb", "f=", "f=."});
}

TEST_CASE("a sync covers what was over when it began, and only its own file")
{
    const auto all = images_of(
        [](const std::string& d) {
            opened f{d + "/f"}, g{d + "/g"};
            sync_directory(d);
            f.write(0, sectors("a"));
            g.write(0, sectors("b"));
            f.sync();
        },
        cuts::at_the_end);
    CHECK(all == strings{"f=a g=", "f=a g=.", "f=a g=b"});
}

TEST_CASE("a name is durable when its directory was synced, not before")
{
    CHECK(images_of(
              [](const std::string& d) {
                  opened f{d + "/f"};
                  f.write(0, sectors("a"));
                  f.sync();
              },
              cuts::at_the_end) == strings{"", "f=a"});

    const auto start = [](const std::string& d) {
        opened{d + "/f"}.write(0, sectors("a"));
        opened{d + "/g"}.write(0, sectors("b"));
    };
    const auto replace = [](const std::string& d) {
        REQUIRE(::rename((d + "/f").c_str(), (d + "/g").c_str()) == 0);
    };
    CHECK(images_of(replace, cuts::at_the_end, start) == strings{"f=a g=b", "g=a"});

    const auto chain = [](const std::string& d) {
        REQUIRE(::rename((d + "/f").c_str(), (d + "/h").c_str()) == 0);
        REQUIRE(::rename((d + "/h").c_str(), (d + "/i").c_str()) == 0);
        REQUIRE(::unlink((d + "/g").c_str()) == 0);
    };
    CHECK(images_of(chain, cuts::at_the_end, start) ==
          strings{"f=a g=b", "g=b h=a", "g=b i=a", "f=a", "h=a", "i=a"});

    const auto synced = [&](const std::string& d) {
        chain(d);
        sync_directory(d);
    };
    CHECK(images_of(synced, cuts::at_the_end, start) == strings{"i=a"});
}

TEST_CASE("a directory that is not durable takes with it what is in it")
{
    const auto all = images_of(
        [](const std::string& d) {
            REQUIRE(::mkdir((d + "/sub").c_str(), 0755) == 0);
            opened f{d + "/sub/f"};
            f.write(0, sectors("a"));
            f.sync();
            sync_directory(d + "/sub");
        },
        cuts::at_the_end);
    CHECK(all == strings{"", "sub/f=a"});
}

TEST_CASE("a made image is one of those that are enumerated")
{
    temporary_directory d;
    recorder            r{d.path()};
    {
        opened f{d / "f"};
        sync_directory(d.path());
        f.write(0, sectors("ab"));
    }
    const auto tape = r.stop();
    strings    found;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        temporary_directory image;
        make_image(tape, tape.operations.size(), seed, image.path());
        found.insert(show(image.path()));
    }
    CHECK(found == strings{"f=", "f=..", "f=a.", "f=.b", "f=ab"});
}

// ---- Protocols that are right, and ones that are not ---------------------------------------

TEST_CASE("a log that syncs before it acknowledges loses nothing")
{
    const auto e = judge(
        [](const std::string& d, recorder& r) {
            opened f{d + "/toy"};
            make_toy(d, f);
            for (int i = 0; i < toy_records; ++i) {
                f.write(static_cast<std::size_t>(i) * sector_bytes, toy_record(i));
                f.sync();
                r.mark(i);
            }
        },
        check_toy);
    CHECK(e.failed() == 0);
    CHECK(e.states > toy_records);
}

TEST_CASE("a log that acknowledges before it syncs is caught")
{
    const auto e = judge(
        [](const std::string& d, recorder& r) {
            opened f{d + "/toy"};
            make_toy(d, f);
            for (int i = 0; i < toy_records; ++i) {
                f.write(static_cast<std::size_t>(i) * sector_bytes, toy_record(i));
                r.mark(i);
                f.sync();
            }
        },
        check_toy);
    CHECK(e.lost > 0);
    CHECK(e.corrupt == 0);
    REQUIRE_FALSE(e.failures.empty());
    CHECK_THAT(e.failures[0], Catch::Contains("was promised"));
}

TEST_CASE("a log in a growing file that only starts write-back is caught")
{
    const auto e = judge(
        [](const std::string& d, recorder& r) {
            opened f{d + "/toy"};
            sync_directory(d);
            for (int i = 0; i < toy_records; ++i) {
                f.write(static_cast<std::size_t>(i) * sector_bytes, toy_record(i));
                constexpr unsigned and_wait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                              SYNC_FILE_RANGE_WAIT_AFTER;
                REQUIRE(::sync_file_range(f.fd(), 0, 0, and_wait) == 0);
                r.mark(i);
            }
        },
        check_toy);
    CHECK(e.lost > 0);
}

TEST_CASE("a log whose name was never made durable is caught")
{
    const auto e = judge(
        [](const std::string& d, recorder& r) {
            opened f{d + "/toy"};
            for (int i = 0; i < 5; ++i) {
                f.write(static_cast<std::size_t>(i) * sector_bytes, toy_record(i));
                f.sync();
                r.mark(i);
            }
        },
        check_toy);
    CHECK(e.lost > 0);
}

TEST_CASE("records of several sectors without a check are caught half written")
{
    constexpr std::size_t size = 3;
    const auto            e    = judge(
        [](const std::string& d, recorder& r) {
            opened f{d + "/toy"};
            f.write(0, std::string(toy_records * size * sector_bytes, '\0'));
            f.sync();
            sync_directory(d);
            for (int i = 0; i < toy_records; ++i) {
                f.write(static_cast<std::size_t>(i) * size * sector_bytes, toy_record(i, size));
                f.sync();
                r.mark(i);
            }
        },
        [](const std::string& d) { return read_toy(read(d + "/toy"), size); });
    CHECK(e.lost == 0);
    CHECK(e.corrupt > 0);
}

namespace {

/// A new version of a file by rename; the last step may be left out.
void replace_toy(const std::string& d, recorder& r, bool sync_data, bool sync_name)
{
    for (int i = 0; i < toy_records; ++i) {
        {
            opened f{d + "/toy.tmp", O_RDWR | O_CREAT | O_TRUNC};
            f.write(0, toy_record(i));
            if (sync_data) f.sync();
        }
        REQUIRE(::rename((d + "/toy.tmp").c_str(), (d + "/toy").c_str()) == 0);
        if (sync_name) sync_directory(d);
        r.mark(i);
    }
}

verdict check_replaced_toy(const std::string& d)
{
    const auto bytes = read(d + "/toy");
    verdict    v{.reached = -1};
    if (!fs::exists(d + "/toy")) return v;
    if (bytes.size() != sector_bytes) {
        v.problem = "half a version";
        return v;
    }
    std::memcpy(&v.reached, bytes.data(), sizeof v.reached);
    if (bytes != toy_record(v.reached)) v.problem = "a version that never was";
    return v;
}

}  // namespace

TEST_CASE("write, sync, rename, sync of the directory: nothing is lost")
{
    const auto e = judge([](const std::string& d, recorder& r) { replace_toy(d, r, true, true); },
                         check_replaced_toy);
    CHECK(e.failed() == 0);
}

TEST_CASE("a rename without a sync of the directory is caught")
{
    const auto e = judge([](const std::string& d, recorder& r) { replace_toy(d, r, true, false); },
                         check_replaced_toy);
    CHECK(e.lost > 0);
    CHECK(e.corrupt == 0);
}

TEST_CASE("a rename of a file that was not synced is caught")
{
    const auto e = judge([](const std::string& d, recorder& r) { replace_toy(d, r, false, true); },
                         check_replaced_toy);
    CHECK(e.corrupt > 0);
}

TEST_CASE("a check that dies or hangs is counted, and the others go on")
{
    const auto program = [](const std::string& d, recorder&) {
        opened f{d + "/toy"};
        make_toy(d, f);
        f.write(0, sectors("ab"));
    };
    temporary_directory d;
    recorder            r{d.path()};
    program(d.path(), r);
    const auto          tape = r.stop();
    enumeration_options o;
    o.from         = tape.operations.size();
    o.hang_seconds = 0.2;
    const auto e   = enumerate(tape, o, [](const std::string& image) {
        const auto letters = show(image).substr(4, 2);
        if (letters == "a.") std::abort();
        if (letters == ".b")
            for (;;) ::pause();
        if (letters == "ab") throw std::runtime_error{"a word of my own"};
        return verdict{};
    });
    INFO(e);
    CHECK(e.states == 4);
    CHECK(e.signals == 1);
    CHECK(e.hangs == 1);
    CHECK(e.corrupt == 1);
    CHECK_THAT(e.failures.back() + e.failures.front(), Catch::Contains("a word of my own"));
}

TEST_CASE("what a check does to an image is gone in the next one")
{
    temporary_directory d;
    recorder            r{d.path()};
    {
        opened f{d / "f"}, g{d / "g"};
        f.write(0, sectors("aaaa"));
        g.write(0, sectors("bbbb"));
        f.sync();
        g.sync();
        sync_directory(d.path());
        f.write(0, sectors("ccccc"));
    }
    const auto          tape = r.stop();
    enumeration_options o;
    o.from       = tape.operations.size() - 1;
    int        n = 0;
    const auto e = enumerate(tape, o, [&](const std::string& image) {
        const auto seen = show(image);
        if (seen.find("g=bbbb") == std::string::npos || seen.find(" new") != std::string::npos)
            throw std::runtime_error{seen};
        switch (n++ % 4) {
        case 0:
            opened{image + "/g"}.write(512, "damage");
            break;
        case 1:
            fs::remove(image + "/g");
            break;
        case 2:
            fs::rename(image + "/f", image + "/g");
            break;
        default:
            opened{image + "/new"}.write(0, "new");
            fs::create_directory(image + "/newer");
        }
        return verdict{};
    });
    INFO(e);
    CHECK(e.failed() == 0);
    CHECK(e.states > 30);
}

// ---- Faults --------------------------------------------------------------------------------

TEST_CASE("the nth call fails, so many times, and the others do not")
{
    temporary_directory d;
    opened              f{d / "f"};
    fault_injection     fault{{.where = fault::call::write, .error = ENOSPC, .nth = 2, .count = 2}};
    const auto          write = [&] { return ::pwrite(f.fd(), "x", 1, 0) == 1 ? 0 : errno; };
    CHECK(write() == 0);
    CHECK(write() == ENOSPC);
    CHECK(write() == ENOSPC);
    CHECK(write() == 0);
    CHECK(fault.calls() == 4);
    CHECK(fault.hits() == 2);
}

TEST_CASE("a fault is for its kind of call and its path, in any thread")
{
    temporary_directory d;
    opened              f{d / "f"}, g{d / "g"};
    fault_injection     fault{{.where = fault::call::sync, .count = -1, .path = "/g"}};
    CHECK(::fdatasync(f.fd()) == 0);
    CHECK(::pwrite(g.fd(), "x", 1, 0) == 1);
    CHECK(::fdatasync(g.fd()) < 0);
    CHECK(errno == EIO);
    std::thread{[&] { CHECK(::fsync(g.fd()) < 0); }}.join();
    CHECK(fault.hits() == 2);
}

TEST_CASE("a write can be brief, or torn with an error")
{
    temporary_directory d;
    opened              f{d / "f"};
    const auto          bytes = sectors("abcd");
    {
        fault_injection fault{{.how = fault::way::brief}};
        CHECK(::pwrite(f.fd(), bytes.data(), bytes.size(), 0) == 1024);
    }
    CHECK(show(d.path()) == "f=ab");
    {
        fault_injection fault{{.error = EIO, .how = fault::way::torn}};
        CHECK(::pwrite(f.fd(), bytes.data(), bytes.size(), 1024) < 0);
        CHECK(errno == EIO);
    }
    CHECK(show(d.path()) == "f=abab");
}

TEST_CASE("opening, renaming, removing, resizing, mapping and reading can fail")
{
    temporary_directory                                              d;
    opened                                                           f{d / "f"};
    const auto                                                       path = d / "f";
    char                                                             c;
    const std::vector<std::pair<fault::call, std::function<bool()>>> calls{
        {fault::call::open, [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC) >= 0; }},
        {fault::call::rename, [&] { return ::rename(path.c_str(), path.c_str()) == 0; }},
        {fault::call::remove, [&] { return ::unlink(path.c_str()) == 0; }},
        {fault::call::resize, [&] { return ::ftruncate(f.fd(), 1) == 0; }},
        {fault::call::map,
         [&] { return ::mmap(nullptr, 1, PROT_READ, MAP_SHARED, f.fd(), 0) != MAP_FAILED; }},
        {fault::call::read, [&] { return ::pread(f.fd(), &c, 1, 0) >= 0; }},
    };
    for (const auto& [where, call] : calls) {
        fault_injection fault{{.where = where, .error = ENOMEM}};
        CHECK_FALSE(call());
        CHECK(errno == ENOMEM);
        CHECK(fault.hits() == 1);
    }
}
