// SPDX-License-Identifier: Apache-2.0
#include "log_workload.hpp"

#include <algorithm>
#include <array>
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
    auto&          mine   = appends_.emplace_back().records;
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
    const auto& told = appends_.back().acknowledged.emplace(log.append(request));
    return told.last().next();
}

void log_workload::cut(commit_log& log)
{
    auto p = log.partition("short", 0);
    cuts_.push_back({log.end_position(), p.end_offset()});
    p.truncate_before(cuts_.back().to);
}

offset log_workload::cut_before(position end) const
{
    offset to;
    for (const auto& c : cuts_)
        if (c.after < end) to = std::max(to, c.to);
    return to;
}

std::string log_workload::missing(const found& there, position end) const
{
    static const std::set<std::size_t> none;
    for (std::size_t number = 0; number < appends_.size(); ++number) {
        const auto& [records, told] = appends_[number];
        const auto  any             = there.records.find(number);
        const auto& mine            = any == there.records.end() ? none : any->second;
        // Whole or not at all: one record of an append that nobody was told of says it is there.
        if (mine.empty() && !(told && told->last() < end)) continue;
        for (std::size_t i = 0; i < records.size(); ++i) {
            if (mine.contains(i)) continue;
            const auto& t      = records[i];
            bool        needed = t.topic == "kept";
            if (told && t.topic == "short") needed = told->records[i].offset >= cut_before(end);
            if (told && t.topic == "latest") {
                const auto newest = there.newest.find(t.key);
                needed            = newest == there.newest.end() ||
                         newest->second < told->first + static_cast<std::int64_t>(i);
            }
            if (needed)
                return "append " + std::to_string(number) +
                       (told ? ", acknowledged at " + std::to_string(told->first.value) : "") +
                       ", is without its record " + std::to_string(i) + ", of \"" + t.topic + '"';
        }
    }
    return "";
}

std::string log_workload::judge(const commit_log& log, position& end) const
{
    end = log.end_position();

    found                               there;
    std::map<std::string, std::int64_t> versions;  // of the streams of "kept"
    std::map<std::int32_t, offset>      next;      // of the partitions of "kept"
    position                            last{-1};
    for (const auto& r : log.read_all()) {
        const std::string value{r.value.value_or("")};
        const auto        l = label_of(value);
        const auto at = r.from->topic + "-" + std::to_string(r.from->partition) + " offset " +
                        std::to_string(r.offset.value);
        if (!l || l->append >= appends_.size() || l->record >= appends_[l->append].records.size())
            return at + " was never written";
        const auto& [records, told] = appends_[l->append];
        const auto& t               = records[l->record];
        if (t.topic != r.from->topic || t.key != r.key || t.value != value)
            return at + " is not what was written";
        if (r.position <= last) return at + " comes out of order";
        last = r.position;
        if (!there.records[l->append].insert(l->record).second) return at + " comes a second time";
        if (told && (r.position != told->first + static_cast<std::int64_t>(l->record) ||
                     r.offset != told->records[l->record].offset ||
                     *r.from != told->records[l->record].at))
            return at + " is not where it was acknowledged";
        if (t.topic == "latest") there.newest[t.key] = r.position;
        if (t.topic != "kept") continue;
        ++versions[t.key];
        auto& expected = next[r.from->partition];
        if (r.offset != expected) return at + ": its offset is not the next one";
        expected = r.offset.next();
    }
    if (auto problem = missing(there, end); !problem.empty()) return problem;

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
    if (of_short && of_short->partitions[0].start > cut_before(end))
        return "\"short\" begins after where it was cut";
    return "";
}

}  // namespace cairn::testing
