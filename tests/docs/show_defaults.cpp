// SPDX-License-Identifier: Apache-2.0
//
// Prints each field of what can be configured, with its default, and each field of the statistics,
// for docs_test.py to look for in the pages of docs/reference. A field that is added to a struct
// breaks the structured binding below, and so this program's compilation.
#include <cairn/log/commit_log.hpp>

#include <chrono>
#include <iostream>
#include <string>

namespace {

std::string text(bool b) { return b ? "true" : "false"; }
std::string text(std::uint64_t n) { return std::to_string(n); }
std::string text(std::chrono::milliseconds t) { return std::to_string(t.count()); }

template <class Default>
void config(const char* field, const Default& value)
{
    std::cout << "configuration " << field << " " << text(value) << "\n";
}

void log_options()
{
    const auto [create, read_only, segment_bytes_max, segment_age_max, merge_interval, merge_bytes,
                journal_bytes, index_entries_in_memory, cleanup_interval, cleanup_bytes_per_s,
                group_retention, partitioner, clock, on_progress, on_event] = cairn::log_options{};
    config("create", create);
    config("read_only", read_only);
    config("segment_bytes_max", segment_bytes_max);
    config("segment_age_max", segment_age_max);
    config("merge_interval", merge_interval);
    config("merge_bytes", merge_bytes);
    config("journal_bytes", journal_bytes);
    config("index_entries_in_memory", index_entries_in_memory);
    config("cleanup_interval", cleanup_interval);
    config("cleanup_bytes_per_s", cleanup_bytes_per_s);
    config("group_retention", group_retention);
    // The others have no default that a table could hold.
    for (const char* field : {"partitioner", "clock", "on_progress", "on_event"})
        std::cout << "configuration " << field << "\n";
    static_cast<void>(std::tie(partitioner, clock, on_progress, on_event));
}

void statistics()
{
    const auto [appends, records, batches, refused, repeated, bytes_appended, groups, flushes,
                group_size_max, journal_bytes, journal_waits, merges, merge_lag, tail_bytes,
                segments, segment_bytes, index_entries_in_memory, index_runs, index_bytes,
                cleaned_bytes, end, failed, uptime_s] = cairn::log_statistics{};
    static_cast<void>(std::tie(appends, records, batches, refused, repeated, bytes_appended, groups,
                               flushes, group_size_max, journal_bytes, journal_waits, merges,
                               merge_lag, tail_bytes, segments, segment_bytes,
                               index_entries_in_memory, index_runs, index_bytes, cleaned_bytes, end,
                               failed, uptime_s));
    for (const char* field :
         {"appends", "records", "batches", "refused", "repeated", "bytes_appended", "groups",
          "flushes", "group_size_max", "journal_bytes", "journal_waits", "merges", "merge_lag",
          "tail_bytes", "segments", "segment_bytes", "index_entries_in_memory", "index_runs",
          "index_bytes", "cleaned_bytes", "end", "failed", "uptime_s"})
        std::cout << "statistics " << field << "\n";
}

}  // namespace

int main()
{
    log_options();
    for (const auto& [name, value] : cairn::topic_config{}.entries())
        std::cout << "configuration " << name << " " << value << "\n";
    statistics();
}
