// SPDX-License-Identifier: Apache-2.0
//
// trace: why something happened, and what came of it.
//
// An event names the one that caused it: its ce_causationid is that event's ce_id, which is
// "topic/key@version", so a cause is one look-up away. Nothing leads from a cause to its effects;
// they come after it in the log, so one pass from there on finds them, and theirs. Records of
// internal topics are part of it: a timer that was set is an effect, and a cause when it fires.
#include "json.hpp"
#include "moment.hpp"
#include "record_printer.hpp"
#include "session.hpp"
#include "table.hpp"
#include "text.hpp"
#include "topic_reader.hpp"

#include <cairn/framework/envelope.hpp>
#include <cairn/log/commit_log.hpp>

#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <unordered_set>

namespace cairn::cli {

namespace {

constexpr std::size_t causes_max = 1000;

struct trace_options : common_options
{
    std::string  position;
    std::int64_t effects_max = 1000;
    std::int64_t scan_max    = 1'000'000;
};

/// An event of the tree, with all that is printed of it.
struct node
{
    std::string                id;
    std::optional<std::string> cause;
    std::int64_t               depth = 0;  ///< below 0: a cause of the one that was asked for
    std::vector<std::size_t>   effects{};

    std::int64_t position = 0;
    std::string  time, type, value;
    bool         value_is_json = false;
    std::string  json;
};

std::optional<std::string> header_of(const record_view& r, std::string_view name)
{
    const auto value = r.headers.find(name);
    return value ? std::optional{std::string{*value}} : std::nullopt;
}

/// "topic/key@version"; a key may have slashes and at signs of its own.
std::optional<std::pair<stream_id, version>> parse_id(std::string_view id)
{
    const auto slash = id.find('/');
    const auto at    = id.rfind('@');
    if (slash == id.npos || at == id.npos || at < slash) return std::nullopt;
    std::int64_t number = 0;
    const auto   end    = id.data() + id.size();
    const auto   read   = std::from_chars(id.data() + at + 1, end, number);
    if (read.ptr != end || read.ec != std::errc{} || number < 0) return std::nullopt;
    return std::pair{stream_id{std::string{id.substr(0, slash)},
                               std::string{id.substr(slash + 1, at - slash - 1)}},
                     version{number}};
}

/// The first offset of a partition whose record is at `p` or after it. Offsets may have holes, but
/// positions rise with them.
offset first_offset_from(const partition& part, position p)
{
    auto low = part.start_offset(), high = part.end_offset();
    while (low < high) {
        const offset middle{low.value + (high.value - low.value) / 2};
        auto         range = part.read(middle);
        const auto*  r     = range.next();
        if (!r || r->position >= p)
            high = middle;
        else
            low = offset{r->offset.value + 1};
    }
    return low;
}

std::vector<topic_reader::start> internal_partitions_from(const commit_log& log, position p)
{
    std::vector<topic_reader::start> starts;
    for (const auto& topic : log.topics(true))
        if (log.describe_topic(topic).internal)
            for (const auto& part : log.partitions(topic))
                starts.emplace_back(part, first_offset_from(part, p));
    return starts;
}

/// The whole log by position, internal topics too.
class everything
{
public:
    everything(const commit_log& log, position from)
        : visible_{log.read_all(from)}, internal_{log, internal_partitions_from(log, from)}
    {
    }

    /// The next record, good until the next call; null at the end.
    const record_view* next()
    {
        if (!given_ || given_ == a_) a_ = visible_.next();
        if (!given_ || given_ == b_) b_ = internal_.next();
        given_ = !b_ || (a_ && a_->position < b_->position) ? a_ : b_;
        return given_;
    }

private:
    record_range       visible_;
    topic_reader       internal_;
    const record_view* a_     = nullptr;
    const record_view* b_     = nullptr;
    const record_view* given_ = nullptr;
};

class tracer
{
public:
    tracer(const commit_log& log, session& s) : log_{log}, s_{s}, schemas_{schemas_of(log, s)} {}

    void start_at(position p)
    {
        everything  range{log_, p};
        const auto* r = range.next();
        if (!r || r->position != p)
            throw failure{"unknown_position", "there is no record at position " +
                                                  std::to_string(p.value) +
                                                  "; the next one would get " +
                                                  std::to_string(log_.end_position().value)};
        nodes_.push_back(node_of(*r, 0));
    }

    void find_causes()
    {
        std::unordered_set<std::string> seen{nodes_.front().id};
        auto                            cause = nodes_.front().cause;
        while (cause && causes_.size() < causes_max) {
            if (!seen.insert(*cause).second) return;  // a circle, which somebody wrote by hand
            auto found = look_up(*cause, -static_cast<std::int64_t>(causes_.size()) - 1);
            if (!found) {
                s_.note("what it began with, " + printable(*cause) + ", is no record of this log");
                return;
            }
            cause = found->cause;
            causes_.push_back(std::move(*found));
        }
        if (cause) s_.note("there are more causes than " + with_commas(causes_max));
    }

    void find_effects(const trace_options& o)
    {
        const auto                                   first = nodes_.front().position + 1;
        const auto                                   total = log_.end_position().value - first;
        everything                                   range{log_, position{first}};
        std::unordered_map<std::string, std::size_t> known{{nodes_.front().id, 0}};
        std::int64_t                                 done = 0;
        while (const auto* r = range.next()) {
            if (session::interrupted()) break;
            if (done == o.scan_max) {
                s_.note("the search for effects ended after " +
                        counted(static_cast<std::uint64_t>(done), "record") +
                        "; --scan-max says how many");
                break;
            }
            if (++done % 1024 == 0)
                s_.progress().show("looking for effects", static_cast<std::uint64_t>(done),
                                   static_cast<std::uint64_t>(std::max(total, done)));
            const auto cause = r->headers.find(header_names::causation_id);
            if (!cause) continue;
            const auto by = known.find(std::string{*cause});
            if (by == known.end()) continue;
            if (std::cmp_equal(nodes_.size() - 1, o.effects_max)) {
                s_.note("there are more effects than " +
                        with_commas(static_cast<std::uint64_t>(o.effects_max)) +
                        "; --max says how many are shown");
                break;
            }
            nodes_.push_back(node_of(*r, nodes_[by->second].depth + 1));
            nodes_[by->second].effects.push_back(nodes_.size() - 1);
            known.emplace(nodes_.back().id, nodes_.size() - 1);
        }
        s_.progress().clear();
    }

    void print(bool as_json)
    {
        table t{{"", "POSITION >", "TIME", "EVENT", "TYPE", "VALUE"}};
        for (auto c = causes_.rbegin(); c != causes_.rend(); ++c) print(*c, as_json, t);
        print_from(0, as_json, t);
        if (as_json) return;
        t.print(s_.out());
        if (causes_.empty() && nodes_.size() == 1)
            s_.note(
                "nothing in the log is known to have caused it, and nothing to have come of "
                "it: events name their cause in ce_causationid");
    }

private:
    node node_of(const record_view& r, std::int64_t depth)
    {
        node n;
        n.depth    = depth;
        n.position = r.position.value;
        n.time     = as_iso_time(r.timestamp);
        n.type     = type_of(r);
        n.cause    = header_of(r, header_names::causation_id);
        n.id       = header_of(r, header_names::id).value_or("");
        if (n.id.empty()) n.id = place_of(r);

        auto event      = schemas_ ? schemas_->json(r) : std::nullopt;
        n.value_is_json = event.has_value();
        json_writer json{n.json};
        json.begin_object().field("id", std::string_view{n.id}).field("depth", depth);
        json.name("cause");
        n.cause ? json.value(std::string_view{*n.cause}) : json.null();
        write_members(json, r, event);
        json.end_object();
        n.value = event ? std::move(*event) : shown(r.value);
        return n;
    }

    /// A record that is no event has a place in its stream nevertheless, by which others may name
    /// it. The way to it is through the stream, from its end.
    std::string place_of(const record_view& r) const
    {
        const auto topic = r.from ? r.from->topic : std::string{};
        const auto key   = r.key ? std::string{*r.key} : std::string{};
        if (r.version.value >= 0) return topic + '/' + key + '@' + std::to_string(r.version.value);
        if (r.from && r.key) {
            auto range = log_.read_stream_backwards({topic, key});
            while (const auto* one = range.next()) {
                if (one->position == r.position)
                    return topic + '/' + key + '@' + std::to_string(one->version.value);
                if (one->position < r.position) break;
            }
        }
        return topic + '/' + key;
    }

    std::optional<node> look_up(const std::string& id, std::int64_t depth)
    {
        const auto place = parse_id(id);
        if (!place || !log_.try_describe_topic(place->first.topic)) return std::nullopt;
        auto        range = log_.read_stream(place->first, place->second);
        const auto* r     = range.next();
        if (!r || r->version != place->second) return std::nullopt;
        return node_of(*r, depth);
    }

    void print_from(std::size_t at, bool as_json, table& t)
    {
        // Depth first, without recursion: a chain may be as long as the log.
        std::vector<std::size_t> left{at};
        while (!left.empty()) {
            const auto& n = nodes_[left.back()];
            left.pop_back();
            print(n, as_json, t);
            left.insert(left.end(), n.effects.rbegin(), n.effects.rend());
        }
    }

    void print(const node& n, bool as_json, table& t)
    {
        if (as_json) {
            s_.out().write(n.json + '\n');
            return;
        }
        const auto  level = static_cast<std::size_t>(n.depth) + causes_.size();
        const auto  shown = std::min<std::size_t>(level, 12);
        std::string event;
        if (level > 0) event = std::string((shown - 1) * 2, ' ') + "└ ";
        event += n.id;
        std::vector<std::string> cells{
            n.depth == 0 ? "*" : "", std::to_string(n.position), n.time, event, n.type, n.value};
        if (n.value_is_json)
            t.row_with_printable_end(std::move(cells));
        else
            t.row(std::move(cells));
    }

    commit_log                     log_;
    session&                       s_;
    std::optional<schema_registry> schemas_;
    std::vector<node>              causes_;  ///< the nearest first
    std::vector<node>              nodes_;   ///< the one that was asked for, and its effects
};

int trace(const trace_options& o, session& s)
{
    const auto at = parse_whole_number(o.position, "POSITION");
    if (at < 0) throw usage_error{"POSITION: positions begin at 0"};
    if (o.effects_max < 0) throw usage_error{"--max must not be negative"};
    if (o.scan_max < 0) throw usage_error{"--scan-max must not be negative"};

    const auto log = s.open_to_read(o);
    tracer     t{log, s};
    t.start_at(position{at});
    t.find_causes();
    t.find_effects(o);
    t.print(o.json());
    return 0;
}

}  // namespace

void add_trace(command& root)
{
    auto  o = std::make_shared<trace_options>();
    auto& c = root.add("trace", "Show why an event happened, and what came of it");
    c.text(
        "Events name what caused them: the header ce_causationid is the ce_id of another. Shows "
        "the causes of the event at a position, back to the first; the event itself, marked *; "
        "and its effects, with theirs below them.");
    c.text(
        "Causes are looked up. For effects the log is read on from the event, a million records "
        "at most unless --scan-max says otherwise. Records of internal topics, such as timers, are "
        "causes and effects like others, and may be asked for.");
    c.argument("POSITION", o->position,
               "Its place in the log, as 'cairn query' and 'cairn trace' show it.");
    c.value("-n,--max", "N", o->effects_max, "At most N effects; without it, 1,000.");
    c.value("--scan-max", "N", o->scan_max,
            "Look at N records at most for effects; without it, 1,000,000.");
    add_data_option(c, *o);
    add_format_option(c, *o);
    auto fields = std::vector<json_field>{
        {"id", "Its ce_id: topic/key@version."},
        {"depth", "0 for the event that was asked for, -1 for its cause, 1 for its effects."},
        {"cause", "The id of what caused it, or null."}};
    for (auto& f : record_fields()) fields.push_back(std::move(f));
    c.json("one object per event", std::move(fields));
    c.shows("cairn trace 4711", "The chain that leads to the record, and on from it.");
    c.does([o](session& s) { return trace(*o, s); });
}

}  // namespace cairn::cli
