// SPDX-License-Identifier: Apache-2.0
#include "log_workload.hpp"

#include <charconv>

namespace cairn::testing {

namespace {

/// "<append>.<record>/<of>:" and filling.
struct label
{
    std::size_t append = 0, record = 0, of = 0;
};

std::string text_of(const label& l)
{
    return std::to_string(l.append) + "." + std::to_string(l.record) + "/" +
           std::to_string(l.of) + ":";
}

std::optional<label> label_of(std::string_view value)
{
    label      l;
    const auto number = [&](char after, std::size_t& into) {
        const auto [end, failed] =
            std::from_chars(value.data(), value.data() + value.size(), into);
        if (failed != std::errc{} || end == value.data() + value.size() || *end != after)
            return false;
        value.remove_prefix(static_cast<std::size_t>(end - value.data()) + 1);
        return true;
    };
    if (!number('.', l.append) || !number('/', l.record) || !number(':', l.of)) return {};
    return l;
}

}  // namespace

log_options log_workload::options()
{
    log_options o;
    o.segment_bytes_max       = 64 * 1024;
    o.merge_interval          = std::chrono::milliseconds{1};
    o.merge_bytes             = 4 * 1024;
    o.journal_bytes           = 64 * 1024;
    o.index_entries_in_memory = 24;
    o.cleanup_interval        = std::chrono::hours{1};
    return o;
}

void log_workload::create_topics(commit_log& log)
{
    log.ensure_topic("kept", 4);
    log.ensure_topic("short", 1);
    topic_config compacted;
    compacted.set("cleanup.policy", "compact");
    log.ensure_topic("latest", 1, compacted);
}

position log_workload::append(commit_log& log)
{
    const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random_() % n); };

    append_request request;
    auto&          mine   = appends_.emplace_back();
    const auto     number = appends_.size() - 1;
    const auto     count  = 1 + pick(4);
    for (std::size_t i = 0; i < count; ++i) {
        tried t;
        t.topic = std::array{"kept", "kept", "short", "latest"}[pick(4)];
        t.key   = "k" + std::to_string(pick(7));
        t.value = text_of({number, i, count}) + std::string(pick(40) == 0 ? 6000 : pick(300), 'x');
        append_record r;
        r.topic        = t.topic;
        r.record.key   = t.key;
        r.record.value = t.value;
        r.record.headers.push_back({"ce_type", "T" + std::to_string(pick(3))});
        request.records.push_back(std::move(r));
        mine.push_back(std::move(t));
    }
    return log.append(request).last().next();
}

void log_workload::cut(commit_log& log)
{
    auto p = log.partition("short", 0);
    cut_   = p.end_offset();
    p.truncate_before(cut_);
}

std::string log_workload::judge(const commit_log& log, position& end) const
{
    end = log.end_position();

    std::map<std::size_t, std::size_t>  seen;      // records of an append, those of "kept"
    std::map<std::string, std::int64_t> versions;  // of the streams of "kept"
    std::map<std::string, offset>       next;      // by partition
    position                            last{-1};
    for (const auto& r : log.read_all()) {
        const std::string value{r.value.value_or("")};
        const auto        l = label_of(value);
        const auto at = r.from->topic + "-" + std::to_string(r.from->partition) + " offset " +
                        std::to_string(r.offset.value);
        if (!l || l->append >= appends_.size() || l->record >= appends_[l->append].size())
            return at + " was never written";
        const auto& t = appends_[l->append][l->record];
        if (t.topic != r.from->topic || t.key != r.key || t.value != value)
            return at + " is not what was written";
        if (r.position <= last) return at + " comes out of order";
        last = r.position;
        if (t.topic != "kept") continue;
        ++seen[l->append];
        ++versions[t.key];
        auto& expected = next[std::to_string(r.from->partition)];
        if (r.offset != expected) return at + ": its offset is not the next one";
        expected = r.offset.next();
    }
    // Whole or not at all.
    for (const auto& [number, n] : seen) {
        std::size_t of_kept = 0;
        for (const auto& t : appends_[number]) of_kept += t.topic == "kept";
        if (n != of_kept)
            return "append " + std::to_string(number) + " has " + std::to_string(n) + " of its " +
                   std::to_string(of_kept) + " records";
    }
    // The index says the same as the log.
    for (const auto& [key, count] : versions) {
        if (log.stream_version({"kept", key}).value != count)
            return "stream " + key + " has version " +
                   std::to_string(log.stream_version({"kept", key}).value) + " and " +
                   std::to_string(count) + " records";
        std::int64_t n = 0;
        for (const auto& r : log.read_stream({"kept", key}))
            if (r.version.value != n++) return "stream " + key + " has a version out of order";
        if (n != count) return "stream " + key + " reads " + std::to_string(n) + " records";
    }
    const auto of_short = log.try_describe_topic("short");
    if (of_short && of_short->partitions[0].start > cut_)
        return "\"short\" begins after where it was cut";
    return "";
}

}  // namespace cairn::testing
