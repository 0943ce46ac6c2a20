// SPDX-License-Identifier: Apache-2.0
//
// Opening and closing, a second process, backup, verify, statistics.
#include "fixture.hpp"
#include "main/files.hpp"
#include "other_process.hpp"

#include <functional>
#include <future>

#include <unistd.h>

using namespace contract;
using cairn::testing::read_bytes;
using cairn::testing::write_bytes;
using namespace std::chrono_literals;

namespace {

complaint complaint_of_open(const std::string& directory, log_options options = {})
{
    return complaint_of([&] { return commit_log::open(directory, std::move(options)); });
}

/// Topics, streams, tags, a group and a command: something of everything.
struct a_filled_log : every_log_on_disk
{
    a_filled_log()
    {
        topic("orders", 3, {{"retention.ms", "86400000"}});
        topic("notes", 1);
        for (int i = 0; i < 30; ++i)
            append({event("orders", "o-" + std::to_string(i % 4), std::to_string(i)).type("T"),
                    event("notes", no_key, "n" + std::to_string(i)).tags({"note"})});
        append(command);
        log().groups().commit("billing", {{.at = {"orders", 1}, .offset = offset{1}}});
    }

    append_request command{.records    = {event("orders", "o-1", "by command")},
                           .command_id = "c-1"};
};

std::vector<row> everything(commit_log& log)
{
    return rows(log.read_all());
}

}  // namespace

// ---- Opening. --------------------------------------------------------------------------------

TEST_CASE_METHOD(a_log_on_disk, "a directory is made where there is none, unless that is not "
                                "wanted")
{
    const complaint c = complaint_of_open(data(), {.create = false});
    CHECK(c == errc::not_a_data_directory);
    check_complete(c, {data()});
    CHECK_FALSE(fs::exists(data()));

    fs::create_directory(data());  // an empty one will do
    CHECK(complaint_of_open(data(), {.create = false}) == errc::not_a_data_directory);
    topic("orders");
    CHECK(log().directory() == data());
    close();
    options.create = false;
    CHECK(log().topics() == std::vector<std::string>{"orders"});
}

TEST_CASE_METHOD(a_log_on_disk, "what is not a data directory is not made one")
{
    fs::create_directory(data());
    write_bytes(fs::path{data()} / "letter.txt", "Dear Sir");
    complaint c = complaint_of_open(data());
    CHECK(c == errc::not_a_data_directory);
    check_complete(c, {data()});
    CHECK(std::distance(fs::directory_iterator{data()}, {}) == 1);

    const std::string a_file = (directory() / "file").string();
    write_bytes(a_file, "bytes");
    c = complaint_of_open(a_file);
    CHECK(c == errc::not_a_data_directory);
    check_complete(c, {a_file});
    CHECK(read_bytes(a_file) == "bytes");

    write_bytes(fs::path{data()} / "FORMAT", "version 7\n");
    CHECK(complaint_of_open(data()) == errc::not_a_data_directory);

    c = complaint_of_open((directory() / "not" / "there").string());
    check_complete(c, {"not/there"});
}

TEST_CASE_METHOD(a_log_on_disk, "a directory of a newer version is left alone")
{
    topic("orders");
    append("orders", "k", "a");
    close();
    const fs::path    format = fs::path{data()} / "FORMAT";
    const std::string was    = read_bytes(format);
    REQUIRE(was.starts_with("cairn 1\n"));
    write_bytes(format, "cairn 2\nsomething new\n");
    const complaint c = complaint_of_open(data());
    CHECK(c == errc::newer_format);
    check_complete(c, {data(), "2"});
    write_bytes(format, was);
    CHECK(text(log().read_all()) == "a");
}

TEST_CASE_METHOD(a_log_on_disk, "whatever byte of FORMAT is damaged, the log is not opened, and "
                                "is not taken for something else")
{
    topic("orders");
    append("orders", "k", "a");
    close();
    const fs::path    format = fs::path{data()} / "FORMAT";
    const std::string was    = read_bytes(format);
    for (std::size_t i = 0; i < was.size(); ++i) {
        std::string bad = was;
        bad[i]          = static_cast<char>(bad[i] ^ 4);
        write_bytes(format, bad);
        const complaint c = complaint_of_open(data());
        INFO(i << ": " << c.what);
        // Of a newer format nothing more than its number is known.
        CHECK((c == errc::damaged_index || (c == errc::newer_format && was[i] == '1')));
    }
    write_bytes(format, was);
    CHECK(text(log().read_all()) == "a");
}

TEST_CASE("child: opens as a user without rights", "[.child]")
{
    if (parent::argument(0).empty()) return;
    if (::geteuid() == 0 && ::setuid(65'534) != 0) {
        parent::say("skip");
        return;
    }
    const complaint c = complaint_of_open(parent::argument(0));
    parent::say(std::string{name(c.code)});
    parent::say(c.what);
}

TEST_CASE_METHOD(a_log_on_disk, "a directory that may not be written is said to be so")
{
    topic("orders");
    close();
    fs::permissions(directory(), fs::perms::all);
    for (const auto& entry : fs::recursive_directory_iterator{data()})
        if (entry.is_directory()) fs::permissions(entry, fs::perms{0555});
    fs::permissions(data(), fs::perms{0555});
    for (const auto& entry : fs::recursive_directory_iterator{data()})
        if (entry.is_regular_file()) fs::permissions(entry, fs::perms{0444});

    other_process child{"child: opens as a user without rights", {data()}};
    const std::string code = child.hear();
    if (code != "skip") {
        CHECK(code == "not_writable");
        check_complete({errc::not_writable, child.hear()}, {data()});
    }
    child.wait();
    fs::permissions(data(), fs::perms::owner_all);
    for (const auto& entry : fs::recursive_directory_iterator{data()})
        fs::permissions(entry, fs::perms::owner_all);
}

TEST_CASE_METHOD(every_log_on_disk, "acknowledged means on disk: a log that was not closed is as "
                                    "it was")
{
    // Nothing may move while the files are copied, which takes a moment.
    options.merge_interval = std::chrono::hours{1};
    options.merge_bytes    = 1 << 30;
    topic("orders", 2);
    for (int i = 0; i < 25; ++i)
        append({event("orders", "k", std::to_string(i)), event("orders", no_key, "x").in(1)});
    const auto before = everything(log());
    // A copy of the files as they are: what a crash of the process leaves. (LOCK is the other's.)
    const fs::path copy = directory() / "copy";
    fs::copy(data(), copy, fs::copy_options::recursive);
    commit_log other = commit_log::open(copy.string(), options);
    CHECK((everything(other) == before));
    CHECK(other.stream_version({"orders", "k"}) == version{25});
    CHECK(other.end_position() == log().end_position());
}

TEST_CASE_METHOD(a_filled_log, "everything durable is a record; all other state is a fold of the "
                               "log")
{
    append_batch("notes", 0, producer{.id = 7}.batch(0, 2));
    const auto seen = [&] {
        std::ostringstream all;
        for (const std::string& t : log().topics(true)) {
            const topic_description d = log().describe_topic(t);
            all << t << " of " << d.partitions.size();
            for (const auto& [name, value] : d.config.entries()) all << ' ' << value;
            for (const partition_description& p : d.partitions) all << ' ' << p.end;
            all << '\n';
        }
        for (const committed_offset& c : log().groups().fetch("billing"))
            all << c.at << ' ' << c.offset << ' ' << c.committed_at << '\n';
        for (const row& r : everything(log())) all << r << '\n';
        all << log().stream_version({"orders", "o-1"}) << ' '
            << log().last_match({{of_types({"T"})}})->value << ' '
            << log().append(command).first << ' '
            << log().partition("notes", 0).append_batch(producer{.id = 7}.batch(0, 2)).first;
        return all.str();
    };
    const std::string before = seen();
    for (int i = 0; i < 2; ++i) {
        reopen_without_index();
        CHECK((seen() == before));
    }
}

// ---- A second process. -----------------------------------------------------------------------

TEST_CASE("child: holds a log open", "[.child]")
{
    const std::string directory = parent::argument(0);
    if (directory.empty()) return;
    commit_log log = commit_log::open(directory);
    log.ensure_topic("orders");
    log.append({.records = {event("orders", "k", "from the child")}});
    parent::say("open");
    parent::hear();
}

TEST_CASE_METHOD(a_log_on_disk, "a second writer is refused with the holder's pid")
{
    other_process     holder{"child: holds a log open", {data()}};
    const std::string pid = std::to_string(holder.pid());
    REQUIRE(holder.hear() == "open");
    const complaint c = complaint_of_open(data());
    CHECK(c == errc::held_by_another);
    check_complete(c, {data(), pid, "read-only"});

    holder.kill();  // what holds the lock is the process, not the file
    append("orders", "k", "from here");
    CHECK(text(log().read_all()) == "from the child from here");

    const complaint mine = complaint_of_open(data());
    CHECK(mine == errc::held_by_another);
    check_complete(mine, {std::to_string(::getpid())});
    commit_log handle = log();
    close();
    CHECK_NOTHROW(commit_log::open(data()));
}

TEST_CASE("child: reads beside the writer", "[.child]")
{
    const std::string directory = parent::argument(0);
    if (directory.empty()) return;
    commit_log log = commit_log::open(directory, {.read_only = true});
    record_range all    = log.read_all();
    record_range stream = log.read_stream({"orders", "o-1"});
    record_range tagged = log.read_query({{of_tags({"t"})}});
    record_range other  = log.partition("notes", 0).read(offset{0});
    for (;;) {
        const std::string line = parent::hear();
        if (line.empty()) break;
        record_range& r = line == "all" ? all : line == "stream" ? stream
                                            : line == "tagged" ? tagged : other;
        // What is acknowledged is merged before long; wait() is the reader's way to hear of it.
        std::string seen = text(r);
        while (seen.empty() && r.wait(30s)) seen = text(r);
        parent::say(seen + " | " + std::to_string(log.stream_version({"orders", "o-1"}).value));
    }
    const complaint c = complaint_of(
        [&] { return log.append({.records = {event("orders", "k", "v")}}); });
    parent::say(std::string{name(c.code)});
}

TEST_CASE_METHOD(every_log_on_disk, "another process reads beside the writer, and follows it")
{
    topic("orders", 2);
    topic("notes", 1);
    append({event("orders", "o-1", "a").tags({"t"}), event("notes", no_key, "b")});
    log().merge();
    other_process reader{"child: reads beside the writer", {data()}};
    const auto    hears = [&](const char* what) {
        reader.say(what);
        return reader.hear();
    };
    CHECK(hears("all") == "a b | 1");
    CHECK(hears("stream") == "a | 1");
    CHECK(hears("tagged") == "a | 1");
    CHECK(hears("notes") == "b | 1");
    for (int i = 0; i < 3; ++i) {
        append({event("orders", "o-1", "c").tags({"t"}), event("notes", no_key, "d")});
        if (i == 1) log().roll_segment();
        const std::string version = " | " + std::to_string(i + 2);
        CHECK(hears("all") == "c d" + version);
        CHECK(hears("stream") == "c" + version);
        CHECK(hears("tagged") == "c" + version);
        CHECK(hears("notes") == "d" + version);
    }
    reader.say("");
    CHECK(reader.hear() == "read_only");
    CHECK(reader.wait() == 0);
}

TEST_CASE("child: asks for times beside the writer", "[.child]")
{
    const std::string directory = parent::argument(0);
    if (directory.empty()) return;
    commit_log      log   = commit_log::open(directory, {.read_only = true});
    const partition notes = log.partition("notes", 0);
    while (!parent::hear().empty()) {
        try {
            const auto found = notes.offset_for_time(timestamp{0});
            parent::say(found ? std::to_string(found->first.value) : "none");
        } catch (const std::exception& e) {
            parent::say(e.what());
        }
    }
}

TEST_CASE_METHOD(a_log_on_disk, "a reader beside the writer finds by time also what was just "
                                "rewritten")
{
    topic("table", 1, {{"cleanup.policy", "compact"}});
    topic("notes", 1);
    append("notes", no_key, "n");
    append("table", "k", "0");
    roll_and_clean();
    other_process reader{"child: asks for times beside the writer", {data()}};
    for (int i = 0; i < 60; ++i) {
        append("table", "k", std::to_string(i));
        roll_and_clean();
        reader.say("when?");
        CHECK(reader.hear() == "0");
    }
    reader.say("");
    CHECK(reader.wait() == 0);
}

TEST_CASE_METHOD(a_filled_log, "a log is opened read-only alone, and is only read")
{
    const auto before = everything(log());
    close();
    options.read_only = true;
    CHECK((everything(log()) == before));
    CHECK(log().stream_version({"orders", "o-1"}) == version{9});
    CHECK(rows(log().read_query({{of_tags({"note"})}})).size() == 30);
    CHECK(log().groups().fetch("billing", {"orders", 1})->offset == offset{1});
    CHECK(log().describe_topic("orders").config.retention_ms == 86'400'000);

    const std::vector<std::function<void()>> changes = {
        [&] { append("orders", "k", "v"); },
        [&] { append_batch("orders", 0, kafka_batch({event("", "k", "v")})); },
        [&] { topic("more"); },
        [&] { log().ensure_topic("more"); },
        [&] { log().alter_topic("orders", {}); },
        [&] { log().add_partitions("orders", 9); },
        [&] { log().delete_topic("orders"); },
        [&] { log().partition("orders", 0).truncate_before(offset{1}); },
        [&] { log().groups().commit("billing", {{.at = {"orders", 1}, .offset = offset{2}}}); },
        [&] { log().groups().set_generation("billing", 1); },
        [&] { log().groups().remove("billing"); },
        [&] { log().roll_segment(); },
        [&] { log().clean(); },
    };
    for (std::size_t i = 0; i < changes.size(); ++i) {
        INFO(i);
        const complaint c = complaint_of([&] {
            changes[i]();
            return 0;
        });
        CHECK(c == errc::read_only);
        check_complete(c, {"read-only"});
    }
    close();
    options.read_only = false;
    CHECK((everything(log()) == before));
}

TEST_CASE_METHOD(a_log_on_disk, "there is nothing to be read where there is no log")
{
    const complaint c = complaint_of_open(data(), {.read_only = true});
    CHECK(c == errc::not_a_data_directory);
    CHECK_FALSE(fs::exists(data()));
}

// ---- Closing. --------------------------------------------------------------------------------

TEST_CASE_METHOD(plain_log, "after close() every call says that the log is closed")
{
    topic("orders");
    append("orders", "k", "a");
    commit_log      other_handle = log();
    consumer_groups groups       = log().groups();
    log().close();
    log().close();  // twice is once

    const std::vector<std::function<void()>> calls = {
        [&] { other_handle.append({.records = {event("orders", "k", "v")}}); },
        [&] { (void)other_handle.try_append({.records = {event("orders", "k", "v")}}); },
        [&] { other_handle.create_topic("more"); },
        [&] { other_handle.delete_topic("orders"); },
        [&] { other_handle.merge(); },
        [&] { other_handle.roll_segment(); },
        [&] { other_handle.clean(); },
        [&] { groups.commit("g", {{.at = {"orders", 0}, .offset = offset{0}}}); },
        [&] { (void)other_handle.read_all(); },
        [&] { (void)other_handle.read_stream({"orders", "k"}); },
        [&] { (void)other_handle.read_query(query::all()); },
        [&] { (void)other_handle.partition("orders", 0).read(offset{0}); },
        [&] { (void)other_handle.describe_topic("orders"); },
    };
    for (std::size_t i = 0; i < calls.size(); ++i) {
        INFO(i);
        const complaint c = complaint_of([&] {
            calls[i]();
            return 0;
        });
        CHECK(c == errc::closed);
        CHECK(c.says("closed"));
    }
}

TEST_CASE_METHOD(a_log_on_disk, "the log closes with its last handle")
{
    topic("orders");
    append("orders", "k", "a");
    {
        commit_log first = commit_log::open((directory() / "other").string(), options);
        first.create_topic("t");
        commit_log second = first;
        first             = log();
        CHECK(complaint_of_open((directory() / "other").string()) == errc::held_by_another);
        second.append({.records = {event("t", "k", "v")}});
    }
    commit_log again = commit_log::open((directory() / "other").string(), options);
    CHECK(text(again.read_all()) == "v");
    CHECK(text(log().read_all()) == "a");
}

TEST_CASE_METHOD(plain_log, "close() waits for the appends that it meets, and loses none that was "
                            "acknowledged")
{
    topic("orders", 2);
    std::atomic<int>                   acknowledged = 0, closed = 0;
    std::atomic<bool>                  begun = false;
    std::vector<std::function<void()>> jobs;
    for (int t = 0; t < 3; ++t)
        jobs.emplace_back([&, t] {
            try {
                for (;;) {
                    log().append({.records = {event("orders", "t" + std::to_string(t), "v")}});
                    if (++acknowledged == 20) begun = true, begun.notify_all();
                }
            } catch (const error& e) {
                if (e.code() != errc::closed) throw;
                ++closed;
            }
        });
    jobs.emplace_back([&] {
        begun.wait(false);
        log().close();
    });
    at_once(jobs);
    CHECK(closed == 3);
    if (!on_disk()) return;
    close();
    CHECK(static_cast<int>(everything(log()).size()) == acknowledged);
}

// ---- Backup. ---------------------------------------------------------------------------------

TEST_CASE_METHOD(a_filled_log, "a copy of a running log is a log: all that it had, as it was")
{
    const auto        before = everything(log());
    const std::string copy   = (directory() / "copy").string();
    log().backup(copy);
    append("orders", "o-1", "after the copy");

    CHECK(verify(copy).ok());
    commit_log restored = commit_log::open(copy, options);
    CHECK((everything(restored) == before));
    CHECK(restored.end_position() == log().end_position() - 1);
    CHECK(restored.topics() == log().topics());
    CHECK(restored.describe_topic("orders").id == log().describe_topic("orders").id);
    CHECK(restored.describe_topic("orders").config.retention_ms == 86'400'000);
    CHECK(restored.stream_version({"orders", "o-1"}) == version{9});
    CHECK(rows(restored.read_query({{of_tags({"note"})}})).size() == 30);
    CHECK(restored.groups().fetch("billing", {"orders", 1})->offset == offset{1});
    CHECK(restored.append(command).repeated);
    // It is a log of its own from now on.
    CHECK(restored.append({.records = {event("orders", "o-1", "elsewhere")}}).records[0].version ==
          version{9});
    CHECK(text(log().read_stream({"orders", "o-1"}, version{9})) == "after the copy");
}

TEST_CASE_METHOD(every_log_on_disk, "a copy made while others append is the log up to a position")
{
    topic("orders", 2);
    std::atomic<bool> done = false;
    std::thread       appender{[&] {
        for (int i = 0; !done; ++i)
            log().append({.records = {event("orders", "a", std::to_string(i)),
                                            event("orders", "b", std::to_string(i))}});
    }};
    std::vector<std::string> copies;
    for (int i = 0; i < 3; ++i) {
        const position at_least = log().end_position();
        copies.push_back((directory() / ("copy" + std::to_string(i))).string());
        log().backup(copies.back());
        commit_log copy = commit_log::open(copies.back(), options);
        CHECK(copy.end_position() >= at_least);
    }
    done = true;
    appender.join();
    const auto all = everything(log());
    for (const std::string& c : copies) {
        CHECK(verify(c).ok());
        commit_log copy = commit_log::open(c, options);
        const auto some = everything(copy);
        REQUIRE(some.size() <= all.size());
        CHECK(some.size() % 2 == 0);  // an append is there whole or not at all
        CHECK(std::equal(some.begin(), some.end(), all.begin()));
        CHECK(copy.stream_version({"orders", "a"}).value ==
              static_cast<std::int64_t>(some.size() / 2));
    }
}

TEST_CASE_METHOD(a_filled_log, "a copy goes into an empty or new directory only")
{
    const fs::path copy = directory() / "copy";
    fs::create_directory(copy);
    log().backup(copy.string());
    CHECK(complaint_of([&] {
              log().backup(copy.string());
              return 0;
          }).says(copy.string()));
    CHECK(complaint_of([&] {
              log().backup(data());
              return 0;
          }).says(data()));
    CHECK(verify(copy.string()).ok());

    const fs::path letters = directory() / "letters";
    fs::create_directory(letters);
    write_bytes(letters / "letter.txt", "Dear Sir");
    CHECK_THROWS_AS(log().backup(letters.string()), error);
    CHECK(std::distance(fs::directory_iterator{letters}, {}) == 1);
}

TEST_CASE("a log in memory has nothing on disk to copy")
{
    commit_log      log = commit_log::in_memory();
    const complaint c   = complaint_of([&] {
        log.backup("anywhere");
        return 0;
    });
    CHECK(c == errc::invalid_argument);
    CHECK(c.says("memory"));
    CHECK(log.directory() == "");
    CHECK_FALSE(fs::exists("anywhere"));
}

// ---- Verifying. ------------------------------------------------------------------------------

TEST_CASE_METHOD(a_filled_log, "verify() finds nothing wrong with a log that is well")
{
    for (const bool running : {true, false}) {
        if (running)
            log().merge();
        else
            close();
        bool                told = false;
        const verify_report r    = verify(data(), [&](const progress&) { told = true; });
        for (const verify_fault& f : r.faults) UNSCOPED_INFO(f.where << ": " << f.what);
        CHECK(r.ok());
        CHECK(r.records >= 61);
        CHECK(r.batches > 0);
        CHECK(r.bytes > 0);
        CHECK(r.segments >= 1);
        CHECK(r.partitions >= 4);
        CHECK(told);
    }
}

TEST_CASE_METHOD(every_log_on_disk, "verify() finds nothing wrong with a log that was cleaned")
{
    topic("table", 2, {{"cleanup.policy", "compact"}});
    topic("old", 1, {{"retention.ms", "1000"}});
    topic("gone", 1);
    for (int i = 0; i < 40; ++i)
        append({event("table", "k" + std::to_string(i % 5), "v").tags({"t"}),
                event("old", "k", "v"), event("gone", "k", "v")});
    log().delete_topic("gone");
    pass(5000);
    roll_and_clean();
    append("old", "k", "new");
    close();
    const verify_report r = verify(data());
    for (const verify_fault& f : r.faults) UNSCOPED_INFO(f.where << ": " << f.what);
    CHECK(r.ok());
}

TEST_CASE_METHOD(a_filled_log, "what is served has passed its checksum; verify() says topic, "
                               "partition and offset of a flipped bit")
{
    // A value that is found nowhere else in the files.
    const std::string mark = "a value that is looked for";
    append("orders", "o-1", "before");
    const placement p = append("orders", "o-1", mark).records[0];
    append("orders", "o-1", "after");
    close();

    int found = 0;
    for (const auto& entry : fs::directory_iterator{fs::path{data()} / "log"}) {
        std::string bytes = read_bytes(entry);
        auto        at    = bytes.find(mark);
        if (at == std::string::npos) continue;
        ++found;
        // Wherever it stands: a page that LMDB has given up still has a copy of it.
        for (; at != std::string::npos; at = bytes.find(mark, at + 1))
            bytes[at + 5] = static_cast<char>(bytes[at + 5] ^ 4);
        write_bytes(entry, bytes);
    }
    REQUIRE(found == 1);

    const verify_report r = verify(data());
    for (const verify_fault& each : r.faults) UNSCOPED_INFO(each.where << ": " << each.what);
    REQUIRE(r.faults.size() == 1);
    CHECK_FALSE(r.ok());
    const verify_fault& f = r.faults[0];
    CHECK(f.at == p.at);
    CHECK(f.offset <= p.offset);  // of its batch
    CHECK(f.offset + 3 > p.offset);
    CHECK_FALSE(f.what.empty());

    const auto served = [&](record_range&& range) {
        std::string     all;
        const complaint c = complaint_of([&] {
            while (const record_view* v = range.next()) all += std::string{*v->value} + "|";
            return 0;
        });
        CHECK(c == errc::damaged_segment);
        std::ostringstream where;
        where << p.at;
        check_complete(c, {where.str()});
        CHECK(all.find("value") == std::string::npos);
        return all;
    };
    served(log().read_all());
    served(log().read_stream({"orders", "o-1"}));
    served(log().partition(p.at.topic, p.at.partition).read(offset{0}));
    served(log().read_query({{of_types({"T"}), query::item{}}}));
    // The rest of the log is as well as it was.
    CHECK(rows(log().partition("notes", 0).read(offset{0})).size() == 30);
    CHECK(append("notes", no_key, "x").records[0].offset == offset{30});
}

TEST_CASE_METHOD(a_log_on_disk, "verify() goes on behind a segment whose part of the index is "
                                "damaged")
{
    topic("table", 1, {{"cleanup.policy", "compact"}});
    topic("notes", 1);
    for (int i = 0; i < 4; ++i) append("table", "k", std::to_string(i));
    roll_and_clean();
    for (int i = 0; i < 30; ++i) append("notes", no_key, "n" + std::to_string(i));
    close();

    // The slice is a run, and the only one in the folder of segments.
    int found = 0;
    for (const auto& entry : fs::directory_iterator{fs::path{data()} / "log"}) {
        std::string bytes = read_bytes(entry);
        for (auto at = bytes.find("CAIRNRUN"); at != std::string::npos;
             at      = bytes.find("CAIRNRUN", at + 1)) {
            bytes[at + 12] = static_cast<char>(bytes[at + 12] ^ 4);
            ++found;
        }
        write_bytes(entry, bytes);
    }
    REQUIRE(found >= 1);

    const verify_report r = verify(data());
    for (const verify_fault& each : r.faults) UNSCOPED_INFO(each.where << ": " << each.what);
    CHECK(r.faults.size() == 1);
    CHECK(r.segments == 2);
    CHECK(r.records >= 30);
    CHECK(r.partitions >= 1);
}

TEST_CASE_METHOD(a_filled_log, "verify() says that there is no log where there is none")
{
    for (const std::string& wrong : {(directory() / "nothing").string(), directory().string()}) {
        const complaint c = complaint_of([&] { return verify(wrong); });
        CHECK(c == errc::not_a_data_directory);
        check_complete(c, {wrong});
    }
}

TEST_CASE_METHOD(a_filled_log, "a damaged index is reported or built anew, never believed")
{
    log().merge();
    close();
    const auto               before = [&] {
        const auto all = everything(log());
        close();
        return all;
    }();
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator{fs::path{data()} / "index"})
        if (entry.is_regular_file() && entry.file_size() > 0) files.push_back(entry);
    REQUIRE_FALSE(files.empty());
    for (const fs::path& file : files) {
        if (!fs::exists(file)) continue;  // merged into another meanwhile
        std::string bytes = read_bytes(file);
        INFO(file << ", " << bytes.size() << " bytes");
        for (const std::size_t at : {std::size_t{0}, bytes.size() / 3, bytes.size() / 2,
                                     bytes.size() - 1}) {
            const std::string good = read_bytes(file);
            std::string       bad  = good;
            if (at >= bad.size()) continue;
            bad[at] = static_cast<char>(bad[at] ^ 16);
            write_bytes(file, bad);
            try {
                CHECK(log().stream_version({"orders", "o-1"}) == version{9});
                CHECK(rows(log().read_query({{of_tags({"note"})}})).size() == 30);
                CHECK((everything(log()) == before));
                CHECK(log().groups().fetch("billing", {"orders", 1})->offset == offset{1});
            } catch (const storage_error& e) {
                CHECK(e.code() == errc::damaged_index);
                CHECK(std::string{e.what()}.find("index") != std::string::npos);
            }
            close();
            reopen_without_index();
            CHECK(log().stream_version({"orders", "o-1"}) == version{9});
            close();
            if (!fs::exists(file)) break;
        }
    }
}

// ---- Statistics. -----------------------------------------------------------------------------

TEST_CASE_METHOD(every_log, "the log says what it has done, and where it stands")
{
    topic("orders", 2);
    const log_statistics before = log().statistics();
    for (int i = 0; i < 10; ++i)
        append({event("orders", "a", std::string(1000, 'x')), event("orders", "b", "v")});
    append(append_request{.records = {event("orders", "a", "v")}, .command_id = "c"});
    append(append_request{.records = {event("orders", "a", "v")}, .command_id = "c"});
    CHECK(attempt({.records = {event("orders", "a", "v")},
                   .expect  = {{{"orders", "a"}, expected_version::no_stream()}}})
              .has_error());
    const log_statistics s = log().statistics();
    CHECK(s.appends - before.appends == 11);
    CHECK(s.records - before.records == 21);
    CHECK(s.batches - before.batches >= 11);
    CHECK(s.refused - before.refused == 1);
    CHECK(s.repeated - before.repeated == 1);
    CHECK(s.bytes_appended - before.bytes_appended > 10'000);
    CHECK(s.groups - before.groups >= 1);
    CHECK(s.groups - before.groups <= 13);
    CHECK(s.group_size_max >= 1);
    if (on_disk()) {
        CHECK(s.flushes > before.flushes);
        CHECK(s.journal_bytes > 0);
    }
    CHECK(s.end == log().end_position());
    CHECK_FALSE(s.failed);
    CHECK(s.uptime_s >= 0);

    log().merge();
    const log_statistics merged = log().statistics();
    CHECK(merged.merge_lag == 0);
    CHECK(merged.merges >= 1);
    CHECK(merged.segments >= 1);
    CHECK(merged.segment_bytes > 10'000);
}

TEST_CASE_METHOD(every_log, "segments are rolled by size, by age, and when asked")
{
    options.segment_bytes_max = 100'000;
    options.segment_age_max   = std::chrono::milliseconds{60'000};
    topic("orders");
    append("orders", "k", "v");
    log().merge();
    std::uint64_t segments = log().statistics().segments;
    const auto    rolled   = [&] {
        log().merge();
        const std::uint64_t now = log().statistics().segments;
        return now - std::exchange(segments, now);
    };
    for (int i = 0; i < 12; ++i) {
        append("orders", "k", std::string(20'000, 'x'));
        log().merge();
    }
    CHECK(rolled() >= 1);
    append("orders", "k", "v");
    log().roll_segment();
    append("orders", "k", "v");
    CHECK(rolled() >= 1);
    pass(61'000);
    append("orders", "k", "v");
    log().merge();
    append("orders", "k", "v");
    CHECK(rolled() >= 1);
    CHECK(rows(reading().read_all()).size() == 17);
    CHECK(log().stream_version({"orders", "k"}) == version{17});
}

TEST_CASE_METHOD(every_log_on_disk, "long work says how far it is")
{
    topic("orders", 2);
    for (int i = 0; i < 20; ++i) append("orders", "k", "v");
    std::atomic<int> told = 0, wrong = 0;
    options.on_progress = [&](const progress& p) {
        ++told;
        if (p.what.empty() || (p.total != 0 && p.done > p.total)) ++wrong;
    };
    options.index_entries_in_memory = 1;  // so that rebuilding counts as long
    reopen_without_index();
    CHECK(told > 0);
    CHECK(wrong == 0);
    CHECK(log().stream_version({"orders", "k"}) == version{20});
    close();
}
