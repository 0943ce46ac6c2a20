// SPDX-License-Identifier: Apache-2.0
#include "log_workload.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>

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

query log_workload::tagged(std::size_t n)
{
    return {{{{}, {"kept:" + std::to_string(n)}}}};
}

position log_workload::append(commit_log& log)
{
    const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random_() % n); };

    append_request request;
    tried_append   mine;
    const auto     number = appends_.size();
    const auto     count  = 1 + pick(4);
    for (std::size_t i = 0; i < count; ++i) {
        tried t;
        t.topic = std::array{"kept", "kept", "short", "latest"}[pick(4)];
        t.key   = "k" + std::to_string(pick(7));
        t.value = text_of({number, i, count}) + std::string(pick(40) == 0 ? 6000 : pick(300), 'x');
        t.type  = "T" + std::to_string(pick(3));
        // Tags of "kept" are of nothing else: the newest of them is never removed.
        const auto prefix = t.topic == "kept" ? "kept:" : "other:";
        for (std::size_t n = 0; n < tags; ++n)
            if (pick(3) == 0) t.tags.push_back(prefix + std::to_string(n));
        append_record r;
        r.topic        = t.topic;
        r.record.key   = t.key;
        r.record.value = t.value;
        r.record.headers.push_back({"ce_type", t.type});
        if (!t.tags.empty()) r.record.headers.push_back({"ce_tags", join_tags(t.tags)});
        request.records.push_back(std::move(r));
        mine.records.push_back(std::move(t));
    }
    if (pick(3) == 0) request.command_id = "c" + std::to_string(number);
    if (pick(3) == 0) {
        const auto q = tagged(pick(tags));
        request.boundaries.push_back({q, log.last_match(q)});
        if (auto problem = refuses_less(log, request); !problem.empty())
            throw std::logic_error{problem};
    }
    if (pick(3) == 0) {
        const stream_id s{"kept", "k" + std::to_string(pick(7))};
        request.expect.push_back({s, expected_version::exactly(log.stream_version(s))});
    }
    mine.command_id = request.command_id;
    mine.boundaries = request.boundaries;
    mine.expect     = request.expect;
    appends_.push_back(std::move(mine));

    const auto& told = appends_.back().acknowledged.emplace(log.append(request));
    if (request.command_id && pick(4) == 0) {
        const auto again = log.append(request);
        if (!again.repeated || again.first != told.first || again.records != told.records)
            throw std::logic_error{"a repeat is not answered as the first was"};
    }
    return told.last().next();
}

std::string log_workload::refuses_less(commit_log& log, const append_request& request)
{
    const auto& b = request.boundaries.front();
    if (!b.after) return "";
    auto less = request;
    if (less.command_id) *less.command_id += "-less";
    less.boundaries.front().after = position{b.after->value - 1};
    const auto no                 = log.try_append(less);
    if (no) return "an append was recorded whose boundary is crossed";
    if (no.error().code != errc::boundary_crossed || no.error().found_position != b.after)
        return "a boundary that is crossed is not what is told: " + no.error().what;
    return "";
}

std::string log_workload::ask(commit_log& log, position end) const
{
    const auto one = [](const std::string& value) {
        append_request request;
        request.records.push_back({"kept",
                                   {.key     = "after",
                                    .value   = value,
                                    .headers = {{"ce_tags", join_tags({"kept:0", "kept:1"})}}}});
        return request;
    };
    for (std::size_t n = 0; n < tags; ++n) {
        auto request       = one("of " + std::to_string(n));
        request.boundaries = {{tagged(n), log.last_match(tagged(n))}};
        if (auto problem = refuses_less(log, request); !problem.empty()) return problem;
        if (const auto result = log.try_append(request); !result)
            return "an append was refused whose boundary holds: " + result.error().what;
    }
    for (std::size_t number = 0; number < appends_.size(); ++number) {
        const auto& a = appends_[number];
        if (!a.command_id || !a.acknowledged || a.acknowledged->last() >= end) continue;
        if (!only_kept(a)) continue;
        auto request       = one("a repeat");
        request.command_id = a.command_id;
        const auto again   = log.append(request);
        if (!again.repeated || again.first != a.acknowledged->first)
            return "append " + std::to_string(number) + " was made again";
        break;  // one will do: judge() has looked for all of them
    }
    return "";
}

bool log_workload::only_kept(const tried_append& a)
{
    return std::all_of(a.records.begin(), a.records.end(),
                       [](const tried& t) { return t.topic == "kept"; });
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
        const auto& records = appends_[number].records;
        const auto& told    = appends_[number].acknowledged;
        const auto  any     = there.records.find(number);
        const auto& mine    = any == there.records.end() ? none : any->second;
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

std::string log_workload::crossed(const found& there) const
{
    for (const auto& [number, first] : there.first)
        for (const auto& b : appends_[number].boundaries) {
            const auto all = there.matching.find(b.matching.items.front().tags.front());
            if (all == there.matching.end()) continue;
            const auto in = std::upper_bound(all->second.begin(), all->second.end(),
                                             b.after.value_or(position{-1}));
            if (in != all->second.end() && *in < first)
                return "append " + std::to_string(number) +
                       " has crossed its boundary: " + std::to_string(in->value) + " was before it";
        }
    return "";
}

std::string log_workload::wrong_queries(const commit_log& log, const found& there) const
{
    const auto wrong = [&](const std::string& what, const query& q) -> std::string {
        static const std::vector<position> none;
        const auto                         all = there.matching.find(what);
        const auto&           wanted           = all == there.matching.end() ? none : all->second;
        std::vector<position> got;
        for (const auto& r : log.read_query(q)) got.push_back(r.position);
        if (got != wanted)
            return "the query of " + what + " finds " + std::to_string(got.size()) +
                   " records, of " + std::to_string(wanted.size());
        // Of what was removed the index may know the newest still.
        const auto newest = wanted.empty() ? position{-1} : wanted.back();
        const auto last   = log.last_match(q).value_or(position{-1});
        if (what.starts_with("kept:") ? last != newest : last < newest)
            return "the last match of " + what + " is " + std::to_string(last.value) + ", not " +
                   std::to_string(newest.value);
        return "";
    };
    for (std::size_t n = 0; n < tags; ++n)
        for (const std::string prefix : {"kept:", "other:"}) {
            const auto tag = prefix + std::to_string(n);
            if (auto problem = wrong(tag, {{{{}, {tag}}}}); !problem.empty()) return problem;
        }
    for (const std::string type : {"T0", "T1", "T2"})
        if (auto problem = wrong(type, {{{{type}, {}}}}); !problem.empty()) return problem;
    return "";
}

std::string log_workload::wrong_commands(const commit_log& log, const found& there,
                                         position end) const
{
    for (std::size_t number = 0; number < appends_.size(); ++number) {
        const auto& a = appends_[number];
        if (!a.command_id) continue;
        const auto first = there.first.find(number);
        const bool is_there =
            first != there.first.end() || (a.acknowledged && a.acknowledged->last() < end);
        std::optional<receipt> known;
        try {
            known = log.find_command(*a.command_id);
        } catch (const error& e) {
            if (e.code() == errc::command_reused && !only_kept(a)) continue;  // it was removed
            throw;
        }
        const auto text = "command " + *a.command_id;
        if (known.has_value() != is_there && (known || only_kept(a)))
            return text + (known ? " is known and not recorded" : " is recorded and not known");
        if (known && first != there.first.end() && known->first != first->second)
            return text + " is known at another position";
        if (known && a.acknowledged && known->records != a.acknowledged->records)
            return text + " has another receipt than was acknowledged";
    }
    return "";
}

expected_version log_workload::expected_of(std::size_t append, std::size_t record,
                                           const std::string& key) const
{
    const auto& a = appends_[append];
    for (std::size_t i = 0; i < record; ++i)
        if (a.records[i].topic == "kept" && a.records[i].key == key) return expected_version::any();
    for (const auto& e : a.expect)
        if (e.stream.key == key) return e.expected;
    return expected_version::any();
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
        const auto& records = appends_[l->append].records;
        const auto& told    = appends_[l->append].acknowledged;
        const auto& t       = records[l->record];
        if (t.topic != r.from->topic || t.key != r.key || t.value != value)
            return at + " is not what was written";
        if (r.position <= last) return at + " comes out of order";
        last = r.position;
        if (!there.records[l->append].insert(l->record).second) return at + " comes a second time";
        if (told && (r.position != told->first + static_cast<std::int64_t>(l->record) ||
                     r.offset != told->records[l->record].offset ||
                     *r.from != told->records[l->record].at))
            return at + " is not where it was acknowledged";
        there.first.emplace(l->append, r.position - static_cast<std::int64_t>(l->record));
        there.matching[t.type].push_back(r.position);
        for (const auto& tag : t.tags) there.matching[tag].push_back(r.position);
        if (t.topic == "latest") there.newest[t.key] = r.position;
        if (t.topic != "kept") continue;
        ++versions[t.key];
        auto& expected = next[r.from->partition];
        if (r.offset != expected) return at + ": its offset is not the next one";
        expected = r.offset.next();
    }
    if (auto problem = missing(there, end); !problem.empty()) return problem;
    if (auto problem = crossed(there); !problem.empty()) return problem;
    if (auto problem = wrong_queries(log, there); !problem.empty()) return problem;
    if (auto problem = wrong_commands(log, there, end); !problem.empty()) return problem;

    // The index says the same as the log.
    for (const auto& [key, count] : versions) {
        if (log.stream_version({"kept", key}).value != count)
            return "stream " + key + " has version " +
                   std::to_string(log.stream_version({"kept", key}).value) + " and " +
                   std::to_string(count) + " records";
        std::int64_t n = 0;
        for (const auto& r : log.read_stream({"kept", key})) {
            if (r.version.value != n++) return "stream " + key + " has a version out of order";
            const auto l = label_of(r.value.value_or(""));
            if (l && !expected_of(l->append, l->record, key).accepts(version{n - 1}))
                return "append " + std::to_string(l->append) + " found stream " + key +
                       " at another version than it expected";
        }
        if (n != count) return "stream " + key + " reads " + std::to_string(n) + " records";
    }
    const auto of_short = log.try_describe_topic("short");
    if (of_short && of_short->partitions[0].start > cut_before(end))
        return "\"short\" begins after where it was cut";
    return "";
}

}  // namespace cairn::testing
