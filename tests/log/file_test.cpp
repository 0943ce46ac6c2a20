// SPDX-License-Identifier: Apache-2.0
#include "file.hpp"
#include "crash/faults.hpp"
#include "main/complaint.hpp"
#include "main/temporary_directory.hpp"

#include <catch2/catch.hpp>

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

using namespace cairn;
using namespace cairn::detail;
using cairn::testing::code_of;
using cairn::testing::complaint_of;
using cairn::testing::fault;
using cairn::testing::fault_injection;

namespace {

struct with_a_directory
{
    cairn::testing::temporary_directory directory;

    std::string path(const std::string& name) const { return directory / name; }
};

}  // namespace

TEST_CASE("an errno has its code")
{
    for (int e : {ENOSPC, EDQUOT, EFBIG}) CHECK(errc_of(e) == errc::disk_full);
    for (int e : {EACCES, EPERM, EROFS}) CHECK(errc_of(e) == errc::not_writable);
    CHECK(errc_of(ENOMEM) == errc::out_of_memory);
    for (int e : {EIO, ENOENT, EMFILE, ENXIO}) CHECK(errc_of(e) == errc::io_failed);
}

TEST_CASE_METHOD(with_a_directory,
                 "an error says what was being done, to what, and what to do next")
{
    const auto c = complaint_of([&] { file{path("none"), file::access::read}; });
    REQUIRE(c);
    CHECK_THROWS_AS((file{path("none"), file::access::read}), storage_error);
    CHECK(c->what == "cannot read " + path("none") +
                                        ": No such file or directory (errno 2); see whether "
                                        "something else moved or removed it");

    file                  f{path("f"), file::access::create};
    const fault_injection full{{.where = fault::call::write, .error = ENOSPC}};
    const auto            c2 = complaint_of([&] { f.write_at(5, "abc"); });
    REQUIRE(c2);
    CHECK_THAT(c2->what, Catch::StartsWith("cannot write 3 bytes at byte 5 of " + path("f")));
    CHECK_THAT(c2->what, Catch::Contains("free some space"));
}

TEST_CASE_METHOD(with_a_directory, "files are opened, made, made new or emptied")
{
    CHECK(code_of([&] { file{path("f"), file::access::write}; }) == errc::io_failed);
    CHECK_FALSE(file::try_open(path("f"), file::access::write));
    file{path("f"), file::access::create_new}.write_at(0, "abc");
    CHECK(code_of([&] { file{path("f"), file::access::create_new}; }) == errc::io_failed);
    CHECK(file{path("f"), file::access::create}.size() == 3);
    CHECK(file::try_open(path("f"), file::access::read)->size() == 3);
    CHECK(file{path("f"), file::access::truncate}.size() == 0);
}

TEST_CASE_METHOD(with_a_directory, "an open file moves, and closes once")
{
    file       a{path("f"), file::access::create};
    const auto fd = a.fd();
    file       b{std::move(a)};
    CHECK_FALSE(a);
    CHECK(b.fd() == fd);
    CHECK(b.path() == path("f"));
    b = file{path("g"), file::access::create};
    CHECK(b.path() == path("g"));
    b.close();
    b.close();
    CHECK_FALSE(b);
}

TEST_CASE_METHOD(with_a_directory,
                 "pieces are written one after the other, also many and empty ones")
{
    file                     f{path("f"), file::access::create};
    std::string              all;
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < 300; ++i)
        texts.push_back(std::string(i % 7, static_cast<char>('a' + i % 26)));
    std::vector<bytes_view> pieces(texts.begin(), texts.end());
    for (const auto& t : texts) all += t;

    f.write_at(10, pieces);
    CHECK(read_file(path("f")).substr(10) == all);
    f.write_at(0, std::vector<bytes_view>(100));

    for (int nth = 1; nth <= 5; ++nth) {
        file                    g{path("g"), file::access::truncate};
        std::vector<bytes_view> large{pieces};
        const std::string       four(4'096, 'z');
        large.insert(large.begin() + 40, four);
        const fault_injection brief{
            {.where = fault::call::write, .how = fault::way::brief, .nth = nth, .count = 2}};
        g.write_at(0, large);
        auto        expected = all;
        std::size_t before   = 0;
        for (std::size_t i = 0; i < 40; ++i) before += texts[i].size();
        CHECK(read_file(path("g")) == expected.insert(before, four));
    }
}

TEST_CASE_METHOD(with_a_directory, "a disk that takes nothing and gives no reason is an error")
{
    file f{path("f"), file::access::create};
    // Half of less than two sectors is nothing, and nothing is what a torn write then writes.
    const fault_injection nothing{
        {.where = fault::call::write, .error = EIO, .how = fault::way::torn, .count = -1}};
    CHECK(code_of([&] { f.write_at(0, "abc"); }) == errc::io_failed);
    CHECK(code_of([&] { f.write_blocks(0, "abc", 512); }) == errc::io_failed);
}

TEST_CASE_METHOD(with_a_directory, "reading gives what is there")
{
    file f{path("f"), file::access::create};
    f.write_at(0, "0123456789");
    std::string to(20, '.');
    CHECK(f.read_at(2, to.data(), 3) == 3);
    CHECK(to.substr(0, 4) == "234.");
    CHECK(f.read_at(8, to.data(), 20) == 2);
    CHECK(f.read_at(30, to.data(), 1) == 0);
    CHECK(read_file(path("f")) == "0123456789");
    CHECK(try_read_file(path("none")) == std::nullopt);
    CHECK(code_of([&] { read_file(path("none")); }) == errc::io_failed);
}

TEST_CASE_METHOD(with_a_directory, "zeros fill what they are told to")
{
    file f{path("f"), file::access::create};
    f.write_at(0, std::string(3 << 20, 'x'));
    f.fill_with_zeros(5, (2 << 20) + 7);
    const auto bytes = read_file(path("f"));
    CHECK(bytes.substr(0, 5) == "xxxxx");
    CHECK(bytes.substr(5, (2 << 20) + 2) == std::string((2 << 20) + 2, '\0'));
    CHECK(bytes.find_first_not_of('x', (2 << 20) + 7) == std::string::npos);
    f.truncate(4);
    CHECK(f.size() == 4);
}

TEST_CASE_METHOD(with_a_directory, "a map shows the whole file, also when it is gone or was empty")
{
    file{path("f"), file::access::create}.write_at(0, "mapped");
    file{path("empty"), file::access::create};
    file_map map{path("f"), file_map::pattern::random};
    remove_file(path("f"));
    CHECK(map.bytes() == "mapped");
    file_map other{std::move(map)};
    CHECK(other.bytes() == "mapped");
    CHECK(map.bytes().empty());
    CHECK(file_map{path("empty")}.bytes().empty());
    CHECK(code_of([&] { file_map{path("f")}; }) == errc::io_failed);
}

TEST_CASE_METHOD(with_a_directory,
                 "a file that is written atomically is the old one or the new one")
{
    write_file_atomically(path("f"), "old");
    for (auto where :
         {fault::call::open, fault::call::write, fault::call::sync, fault::call::rename}) {
        const fault_injection fault{{.where = where, .error = ENOSPC}};
        CHECK(code_of([&] { write_file_atomically(path("f"), "new"); }) == errc::disk_full);
        CHECK(read_file(path("f")) == "old");
    }
    write_file_atomically(path("f"), "new");
    CHECK(read_file(path("f")) == "new");
    CHECK(list_directory(directory.path()) == std::vector<std::string>{"f"});
}

TEST_CASE_METHOD(with_a_directory, "directories and names")
{
    CHECK(make_directory(path("d")));
    CHECK_FALSE(make_directory(path("d")));
    CHECK(code_of([&] { make_directory(path("x/y")); }) == errc::io_failed);
    file{path("d/b"), file::access::create};
    file{path("d/a"), file::access::create};
    CHECK(list_directory(path("d")) == std::vector<std::string>{"a", "b"});
    CHECK(code_of([&] { list_directory(path("none")); }) == errc::io_failed);
    rename_file(path("d/a"), path("d/c"));
    CHECK(file_exists(path("d/c")));
    CHECK_FALSE(file_exists(path("d/a")));
    CHECK_FALSE(file_exists(path("d/c/none")));
    CHECK(remove_file(path("d/c")));
    CHECK_FALSE(remove_file(path("d/c")));
    sync_directory(path("d"));
    CHECK(code_of([&] { sync_directory(path("none")); }) == errc::io_failed);
    CHECK(parent_directory("a/b/c") == "a/b");
    CHECK(parent_directory("a") == ".");
    CHECK(parent_directory("/a") == "/");
}

TEST_CASE_METHOD(with_a_directory, "interrupted calls are made again")
{
    for (auto where :
         {fault::call::open, fault::call::write, fault::call::sync, fault::call::resize,
          fault::call::read, fault::call::rename, fault::call::remove}) {
        const fault_injection fault{{.where = where, .error = EINTR, .count = 3}};
        file                  f{path("f"), file::access::create};
        f.write_at(0, "abc");
        f.sync_data();
        f.truncate(2);
        CHECK(read_file(path("f")) == "ab");
        f.rename(path("g"));
        CHECK(remove_file(path("g")));
        CHECK(fault.hits() == 3);
    }
}
