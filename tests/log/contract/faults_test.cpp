// SPDX-License-Identifier: Apache-2.0
//
// What the world does to a log: a flush that fails, a journal that is torn, damaged, or full. (A
// full disk: full_disk_test.cpp. Every system call that may fail, in turn, and every state after a
// power cut: tests/crash.)
#include "fixture.hpp"

#include <chrono>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <unistd.h>

using namespace contract;
using namespace std::chrono_literals;

namespace {

/// Makes the open files under `directory` swallow what is written, and fail to be flushed.
class broken_disk
{
public:
    explicit broken_disk(const std::string& directory)
    {
        const int null_device = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        for (const auto& entry : fs::directory_iterator{"/proc/self/fd"}) {
            std::error_code   gone;
            const std::string target = fs::read_symlink(entry, gone).string();
            if (gone || !target.starts_with(directory)) continue;
            const int fd = std::stoi(entry.path().filename().string());
            saved_.emplace_back(fd, ::fcntl(fd, F_DUPFD_CLOEXEC, 0));
            ::dup2(null_device, fd);
        }
        ::close(null_device);
    }
    ~broken_disk()
    {
        for (const auto& [fd, original] : saved_) {
            ::dup2(original, fd);
            ::close(original);
        }
    }
    broken_disk(const broken_disk&)            = delete;
    broken_disk& operator=(const broken_disk&) = delete;

    std::size_t files() const noexcept { return saved_.size(); }

private:
    std::vector<std::pair<int, int>> saved_;
};

}  // namespace

TEST_CASE_METHOD(a_log_on_disk, "after a flush that failed nothing is acknowledged, and reading "
                                "goes on")
{
    options.merge_interval = 1h;  // so that the failure is met by the append
    topic("orders", 2);
    for (int i = 0; i < 10; ++i) append("orders", "k", std::to_string(i));
    const position end = log().end_position();
    {
        const broken_disk broken{data() + "/journal/"};
        REQUIRE(broken.files() >= 1);
        const complaint failed = complaint_of([&] { return append("orders", "k", "lost"); });
        CHECK((failed == errc::io_failed || failed == errc::closed));
        check_complete(failed, {data()});
    }
    // The disk is well again; but what it did with the write nobody knows.
    const complaint closed = complaint_of([&] { return append("orders", "k", "later"); });
    CHECK(closed == errc::closed);
    check_complete(closed, {"open"});
    CHECK(log().statistics().failed);
    CHECK(log().end_position() == end);
    CHECK(text(log().read_all()) == "0 1 2 3 4 5 6 7 8 9");
    CHECK(text(log().read_stream_backwards({"orders", "k"}, version{2})) == "2 1 0");
    CHECK(log().stream_version({"orders", "k"}) == version{10});

    reopen();
    CHECK_FALSE(log().statistics().failed);
    CHECK(text(log().read_all()) == "0 1 2 3 4 5 6 7 8 9");
    CHECK(append("orders", "k", "again").records[0].version == version{10});
}

namespace {

/// The files of a running log with unmerged appends of 0 … 9, as a crash leaves them; and in its
/// journal the places where groups begin.
struct a_crashed_log : a_log_on_disk
{
    a_crashed_log()
    {
        options.merge_interval = 1h;
        topic("orders");
        log().merge();
        for (int i = 0; i < 10; ++i) append("orders", "k", std::to_string(i));
        fs::copy(data(), copy, fs::copy_options::recursive);
        for (const auto& entry : fs::directory_iterator{copy / "journal"}) {
            std::ifstream     in{entry.path(), std::ios::binary};
            std::stringstream all;
            all << in.rdbuf();
            const std::string        text = all.str();
            std::vector<std::size_t> at;
            for (auto g = text.find("CAIRNGRP"); g != std::string::npos;
                 g      = text.find("CAIRNGRP", g + 1))
                at.push_back(g);
            if (at.size() < 10) continue;
            file   = entry.path();
            bytes  = text;
            groups = at;
        }
        REQUIRE(groups.size() >= 10);
    }

    /// Opens the copy with one bit of its journal changed; what it holds then.
    std::string opened_with_flipped(std::size_t at)
    {
        std::string bad = bytes;
        bad[at]         = static_cast<char>(bad[at] ^ 32);
        return opened_with(bad);
    }
    std::string opened_with(const std::string& bad)
    {
        std::ofstream{file, std::ios::binary} << bad;
        log_options how = options;
        how.on_event    = [this](const std::string& line) { said += line + '\n'; };
        commit_log other = commit_log::open(copy.string(), how);
        return text(other.read_all());
    }

    fs::path                 copy = directory() / "copy", file;
    std::string              bytes, said;
    std::vector<std::size_t> groups;
};

}  // namespace

TEST_CASE_METHOD(a_crashed_log, "what was torn at the journal's end was not acknowledged, and is "
                                "cut off")
{
    // A disk writes whole sectors: the last group's did not come to be.
    std::string torn = bytes;
    torn.replace(groups.back(), 512, 512, '\0');
    CHECK(opened_with(torn) == "0 1 2 3 4 5 6 7 8");
}

TEST_CASE_METHOD(a_crashed_log, "a flipped bit in the last group is damage, and no torn end")
{
    const complaint c = complaint_of([&] { return opened_with_flipped(groups.back() + 40); });
    CHECK(c == errc::damaged_journal);
}

TEST_CASE_METHOD(a_crashed_log, "damage in the middle of the journal is no torn end: it is refused")
{
    const complaint c = complaint_of([&] { return opened_with_flipped(groups[5] + 40); });
    CHECK(c == errc::damaged_journal);
    check_complete(c, {file.string(), std::to_string(groups[5])});
    // It was left as it was: with the byte put right, all is there.
    const std::size_t harmless = bytes.size() - 1;  // zeros behind the last group
    CHECK(opened_with_flipped(harmless) == "0 1 2 3 4 5 6 7 8 9");
}

TEST_CASE_METHOD(a_log_on_disk, "no append fails while the journal is full and segments are "
                                "filled")
{
    options.journal_bytes     = 64 << 10;
    options.segment_bytes_max = 64 << 10;
    // Not before the journal is full: it is those who wait there that set the merger to work.
    options.merge_interval = 1h;
    options.merge_bytes    = 1ull << 40;
    topic("orders", 2);
    std::vector<std::size_t> sizes;
    for (int i = 0; i < 60; ++i) {
        // Now and then one that is larger than all of the journal, and than a segment.
        sizes.push_back(i % 20 == 10 ? 300'000 : 3'000);
        append({event("orders", "k" + std::to_string(i % 5), std::string(sizes.back(), 'x')),
                event("orders", no_key, std::to_string(i))});
    }
    const auto s = log().statistics();
    CHECK(s.journal_waits > 0);
    CHECK(s.merges > 0);
    CHECK(s.segments > 3);
    CHECK(s.refused == 0);
    const auto check_all = [&] {
        std::size_t              n = 0;
        std::vector<std::size_t> found;
        for (const record_view& r : log().read_all()) {
            if (n % 2 == 0) found.push_back(r.value->size());
            if (n % 2 == 1) CHECK(r.value == std::to_string(n / 2));
            ++n;
        }
        CHECK(found == sizes);
    };
    check_all();
    reopen();
    check_all();
}

TEST_CASE_METHOD(plain_log, "an append larger than a segment's map gets a segment that holds it")
{
    options.segment_bytes_max = 64 << 10;
    options.merge_interval    = 1h;
    options.merge_bytes       = 1ull << 40;
    topic("orders");
    append("orders", "k", "before");
    log().merge();
    const auto before = log().statistics().segments;

    // A map has room for two transactions of 32 MiB above segment_bytes_max; see make_ready().
    std::vector<append_record> records;
    for (int i = 0; i < 72; ++i)
        records.push_back(
            event("orders", "k", std::string(1'000'000, static_cast<char>('a' + i % 26))));
    append(records);
    log().merge();
    CHECK(log().statistics().segments > before);
    CHECK_FALSE(log().statistics().failed);

    append("orders", "k", "after");
    reopen();
    std::size_t n = 0;
    for (const record_view& r : log().read_stream({"orders", "k"})) {
        if (n > 0 && n <= records.size()) CHECK(r.value == records[n - 1].record.value);
        ++n;
    }
    CHECK(n == records.size() + 2);
}
