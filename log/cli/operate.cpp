// SPDX-License-Identifier: Apache-2.0
//
// verify, clean, backup, stats.
#include "json.hpp"
#include "moment.hpp"
#include "session.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cairn/log/commit_log.hpp>

#include <sys/stat.h>
#include <chrono>
#include <filesystem>
#include <utility>

namespace cairn::cli {

namespace {

struct operating_options : common_options
{
    std::string destination;
    bool        roll = false;
};

// ---- verify ---------------------------------------------------------------------------------

int verify_log(const operating_options& o, session& s)
{
    // A path that was mistyped is no damaged log.
    const std::filesystem::path directory = o.directory();
    if (!std::filesystem::exists(directory / "FORMAT") &&
        !std::filesystem::exists(directory / "log"))
        throw error{errc::not_a_data_directory,
                    "there is no log in " + directory.string() + ": check the path"};

    const auto report =
        verify(o.directory(), [&s](const cairn::progress& p) { s.progress().show(p); });
    s.progress().clear();

    auto& out = s.out();
    if (o.json()) {
        std::string line;
        json_writer json{line};
        json.begin_object().field("ok", report.ok()).field("records", report.records);
        json.field("batches", report.batches).field("bytes", report.bytes);
        json.field("segments", report.segments).field("partitions", report.partitions);
        json.name("faults").begin_array();
        for (const auto& fault : report.faults) {
            json.begin_object().field("where", printable(fault.where));
            json.field("what", printable(fault.what));
            if (fault.at)
                json.field("topic", fault.at->topic).field("partition", fault.at->partition);
            if (fault.offset.value >= 0) json.field("offset", fault.offset.value);
            json.end_object();
        }
        json.end_array().end_object();
        out.write(line + '\n');
    } else {
        if (!report.ok()) {
            table t{{"WHERE", "WHAT"}};
            for (const auto& fault : report.faults) t.row({fault.where, fault.what});
            t.print(out);
            out.write("\n");
        }
        out.write(counted(report.records, "record") + " in " + with_commas(report.batches) +
                  (report.batches == 1 ? " batch, " : " batches, ") +
                  counted(report.segments, "segment") + ", " +
                  counted(report.partitions, "partition") + ", " + as_size(report.bytes) + ": " +
                  (report.ok() ? "no faults" : counted(report.faults.size(), "fault")) + '\n');
    }
    if (report.ok()) return 0;
    throw failure{"faults_found", counted(report.faults.size(), "fault") + " in " + o.directory() +
                                      "; what is damaged is not served; a backup has it"};
}

// ---- clean ----------------------------------------------------------------------------------

int clean(const operating_options& o, session& s)
{
    auto log = s.open_to_write(o);
    if (o.roll) log.roll_segment();
    const auto freed = log.clean();
    s.progress().clear();
    const auto segments = log.statistics().segments;
    if (o.json()) {
        std::string line;
        json_writer json{line};
        json.begin_object().field("directory", o.directory()).field("freed", freed);
        json.field("segments", segments).end_object();
        s.out().write(line + '\n');
    } else {
        s.out().write((freed == 0 ? "nothing to remove" : "freed " + as_size(freed)) + "; " +
                      counted(segments, "segment") + " left\n");
    }
    return 0;
}

// ---- backup ---------------------------------------------------------------------------------

struct disk_use
{
    std::uint64_t journal = 0;
    std::uint64_t log     = 0;
    std::uint64_t index   = 0;
    std::uint64_t other   = 0;

    std::uint64_t all() const { return journal + log + index + other; }
};

/// What the files take on the disk, holes left out.
disk_use disk_use_of(const std::filesystem::path& directory)
{
    disk_use        use;
    std::error_code ignored;  // a file may go while we look
    for (auto at = std::filesystem::recursive_directory_iterator{directory, ignored};
         at != std::filesystem::recursive_directory_iterator{}; at.increment(ignored)) {
        struct ::stat found = {};
        if (::lstat(at->path().c_str(), &found) != 0 || !S_ISREG(found.st_mode)) continue;
        const auto bytes = static_cast<std::uint64_t>(found.st_blocks) * 512;
        const auto top   = at->path().lexically_relative(directory).begin()->string();
        (top == "journal"           ? use.journal
         : top == "log"             ? use.log
         : top.starts_with("index") ? use.index
                                    : use.other) += bytes;
    }
    return use;
}

/// Copies the log as the one that writes it; or beside a process that does.
commit_log copy(const operating_options& o, session& s)
{
    const auto open = [&] {
        try {
            return s.open_to_write(o);
        } catch (const error& fault) {
            if (fault.code() != errc::held_by_another && fault.code() != errc::not_writable) throw;
            return s.open_to_read(o);
        }
    };
    auto log = open();
    log.backup(o.destination);
    return log;
}

int backup(const operating_options& o, session& s)
{
    const auto began = std::chrono::steady_clock::now();
    const auto log   = copy(o, s);
    s.progress().clear();

    const std::chrono::duration<double> took  = std::chrono::steady_clock::now() - began;
    const auto                          bytes = disk_use_of(o.destination).all();
    if (o.json()) {
        std::string line;
        json_writer json{line};
        json.begin_object().field("directory", o.destination).field("bytes", bytes);
        json.field("end_position", log.end_position().value).field("seconds", took.count());
        json.end_object();
        s.out().write(line + '\n');
    } else {
        s.out().write("copied to " + o.destination + ": " + as_size(bytes) + ", positions below " +
                      std::to_string(log.end_position().value) + "; " + as_duration(took.count()) +
                      "\nto restore it, open it: cairn topic list --data " + o.destination + '\n');
    }
    return 0;
}

// ---- stats ----------------------------------------------------------------------------------

int stats(const operating_options& o, session& s)
{
    const auto log   = s.open_to_read(o);
    const auto found = log.statistics();
    const auto use   = disk_use_of(o.directory());

    std::uint64_t records    = 0;
    std::uint64_t bytes      = 0;
    std::size_t   partitions = 0;
    const auto    topics     = log.topics();
    for (const auto& name : topics) {
        const auto t = log.try_describe_topic(name);
        if (!t) continue;
        for (const auto& p : t->partitions) {
            records += static_cast<std::uint64_t>(p.end - p.start);
            bytes += p.bytes;
            ++partitions;
        }
    }
    std::error_code ignored;
    const auto      space = std::filesystem::space(o.directory(), ignored);

    if (o.json()) {
        std::string line;
        json_writer json{line};
        json.begin_object().field("directory", o.directory());
        json.field("end_position", log.end_position().value);
        json.field("topics", topics.size()).field("partitions", partitions);
        json.field("records", records).field("bytes", bytes);
        json.field("groups", log.groups().list().size());
        json.field("segments", found.segments).field("index_runs", found.index_runs);
        json.field("merge_lag", found.merge_lag);
        json.field("disk_log", use.log).field("disk_index", use.index);
        json.field("disk_journal", use.journal).field("disk_all", use.all());
        json.field("disk_free", ignored ? 0 : space.available).end_object();
        s.out().write(line + '\n');
        return 0;
    }
    table t{{"WHAT", "VALUE >"}};
    t.row({"end position", with_commas(static_cast<std::uint64_t>(log.end_position().value))});
    t.row({"topics", with_commas(topics.size())});
    t.row({"partitions", with_commas(partitions)});
    t.row({"records kept", with_commas(records)});
    t.row({"bytes of their batches", as_size(bytes)});
    t.row({"consumer groups", with_commas(log.groups().list().size())});
    t.row({"segments", with_commas(found.segments)});
    t.row({"index runs", with_commas(found.index_runs)});
    t.row({"records not yet merged", with_commas(found.merge_lag)});
    t.row({"disk: segments", as_size(use.log)});
    t.row({"disk: index", as_size(use.index)});
    t.row({"disk: journal", as_size(use.journal)});
    t.row({"disk: all", as_size(use.all())});
    if (!ignored) t.row({"disk: free", as_size(space.available)});
    t.print(s.out());
    return 0;
}

}  // namespace

void add_operating(command& root)
{
    {
        auto  o = std::make_shared<operating_options>();
        auto& c = root.add("verify", "Check a log for damage");
        c.text(
            "Reads everything: the checksum of every batch, that offsets and positions have no "
            "holes, and that the index agrees with the log. Ends with 1 where it finds a fault, "
            "and says where each of them is. Of a log that a service writes, what has been "
            "merged so far is checked.");
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object", {{"ok", "Whether there are no faults."},
                              {"records", "How many were read."},
                              {"batches", "In how many batches."},
                              {"bytes", "Of the batches."},
                              {"segments", "In how many segments."},
                              {"partitions", "In how many partitions."},
                              {"faults",
                               "An array of objects: where, what and, where it is known, topic, "
                               "partition and offset."}});
        c.shows("cairn verify --data ./data", "Everything; ends with 0 where all is well.");
        c.does([o](session& s) { return verify_log(*o, s); });
    }
    {
        auto  o = std::make_shared<operating_options>();
        auto& c = root.add("clean", "Remove what retention and compaction no longer keep");
        c.text(
            "Does at once what a service does in the background: what is older or more than its "
            "topic keeps, superseded in a compacted topic, or of a deleted one, is removed from "
            "segments that are closed. The one that is written is left alone, unless --roll "
            "closes it. A service that has the log open does this by itself.");
        c.flag("--roll", o->roll, "Close the segment that is written first.");
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object", {{"directory", "The log."},
                              {"freed", "Bytes of segment files that were given back."},
                              {"segments", "How many files hold the records now."}});
        c.shows("cairn clean --data ./data", "Of what is in closed segments.");
        c.shows("cairn clean --roll", "Of everything.");
        c.does([o](session& s) { return clean(*o, s); });
    }
    {
        auto  o = std::make_shared<operating_options>();
        auto& c = root.add("backup", "Copy a log, while it is used or not");
        c.text(
            "The copy is the log as it was at one moment; it is opened like any other. A service "
            "may write meanwhile.");
        c.argument("DIRECTORY", o->destination, "Where to: an empty directory, or a new one.")
            .completes = completion::folder;
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object", {{"directory", "The copy."},
                              {"bytes", "What it takes on the disk."},
                              {"end_position", "The position after the last record in it."},
                              {"seconds", "How long it took."}});
        c.shows("cairn backup /backup/$(date +%F) --data ./data",
                "A copy with the date as its name.");
        c.does([o](session& s) { return backup(*o, s); });
    }
    {
        auto  o = std::make_shared<operating_options>();
        auto& c = root.add("stats", "Show how large a log is, and what it takes");
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object",
               {{"directory", "The log."},
                {"end_position", "The position that the next record will get."},
                {"topics", "How many, the log's own left out."},
                {"partitions", "How many of these topics."},
                {"records", "How many they keep."},
                {"bytes", "Of their batches."},
                {"groups", "How many consumer groups."},
                {"segments", "How many files hold the records."},
                {"index_runs", "How many sorted runs the index has."},
                {"merge_lag", "Records acknowledged and not yet moved to the segments."},
                {"disk_log", "Bytes that the segments take on the disk."},
                {"disk_index", "Bytes that the index takes."},
                {"disk_journal", "Bytes that the journal takes."},
                {"disk_all", "Bytes of all files of the directory."},
                {"disk_free", "Bytes that are free there."}});
        c.shows("cairn stats --data ./data", "A table.");
        c.shows("watch cairn stats", "While a service writes.");
        c.does([o](session& s) { return stats(*o, s); });
    }
}

}  // namespace cairn::cli
