// SPDX-License-Identifier: Apache-2.0
//
// stream diff: what happened to a stream between two versions, and what its fields said then.
#include "json.hpp"
#include "moment.hpp"
#include "record_printer.hpp"
#include "session.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cairn/log/commit_log.hpp>

#include <algorithm>
#include <optional>

namespace cairn::cli {

namespace {

struct diff_options : common_options
{
    std::string topic;
    std::string key;
    std::string from;
    std::string to;
};

/// A field by its name, whatever event it is of, and what was said of it last.
struct said
{
    std::string                name;
    std::optional<std::string> before{};  ///< at the earlier version, as JSON
    std::optional<std::string> after{};
    std::string                by{};  ///< the event that said it last: "OrderPlaced"
    std::int64_t               version = -1;

    bool differs() const { return before != after; }
};

/// Fields in the order in which they were first spoken of.
class fields
{
public:
    void take(const record_view& r, const std::string& json, bool is_before)
    {
        for (auto& [name, value] : members_of(json)) {
            auto known = std::ranges::find(all_, name, &said::name);
            if (known == all_.end()) known = all_.insert(all_.end(), said{name});
            if (is_before) known->before = value;
            known->after   = std::move(value);
            known->by      = type_of(r);
            known->version = r.version.value;
        }
    }
    const std::vector<said>& all() const noexcept { return all_; }

private:
    std::vector<said> all_;
};

void print_json(const fields& found, session& s)
{
    std::string line;
    for (const auto& f : found.all()) {
        line.clear();
        json_writer json{line};
        json.begin_object().field("field", std::string_view{f.name}).field("changed", f.differs());
        json.name("from").raw(f.before.value_or("null"));
        json.name("to").raw(f.after.value_or("null"));
        json.field("said_by", std::string_view{f.by}).field("version", f.version).end_object();
        s.out().write(line + '\n');
    }
}

int diff(const diff_options& o, session& s)
{
    const auto from = parse_whole_number(o.from, "FROM");
    const auto to   = parse_whole_number(o.to, "TO");
    if (from < 0 || to < from)
        throw usage_error{"FROM and TO are versions, the earlier first; the first record has 0"};

    const auto      log = s.open_to_read(o);
    const stream_id stream{o.topic, o.key};
    log.describe_topic(o.topic);
    const auto version = log.stream_version(stream).value;
    if (version == 0)
        throw failure{"unknown_stream", o.topic + " has no record with key '" + printable(o.key) +
                                            "'; 'cairn stream list " + o.topic +
                                            "' shows the keys"};
    if (to >= version)
        throw usage_error{"TO: the newest version of " + o.topic + '/' + printable(o.key) + " is " +
                          std::to_string(version - 1)};

    const auto  schemas = schemas_of(log, s);
    fields      found;
    std::size_t bytes = 0;
    table       events{{"VERSION >", "TIME", "TYPE", "VALUE"}};
    auto        range = log.read_stream(stream);
    while (const auto* r = range.next()) {
        if (r->version.value > to || session::interrupted()) break;
        const auto json = schemas ? schemas->json(*r) : std::nullopt;
        if (json)
            found.take(*r, *json, r->version.value <= from);
        else
            ++bytes;
        if (r->version.value <= from) continue;
        std::vector cells{std::to_string(r->version.value), as_iso_time(r->timestamp), type_of(*r)};
        if (json) {
            cells.push_back(*json);
            events.row_with_printable_end(std::move(cells));
        } else {
            cells.push_back(shown(r->value));
            events.row(std::move(cells));
        }
    }
    if (bytes > 0)
        s.note(counted(bytes, "record") + " of it " + (bytes == 1 ? "is" : "are") +
               " no event whose schema is registered: what they say of fields is not known");
    if (o.json()) {
        print_json(found, s);
        return 0;
    }

    s.out().write(bold(o.topic + '/' + printable(o.key), s.out().is_coloured()) +
                  ": from version " + std::to_string(from) + " to " + std::to_string(to) + "\n\n");
    if (!events.empty()) {
        events.print(s.out());
        s.out().write("\n");
    }
    table t{{"", "FIELD", "AT " + std::to_string(from), "AT " + std::to_string(to), "SAID BY"}};
    for (const auto& f : found.all())
        t.row({!f.differs() ? ""
               : f.before   ? "~"
                            : "+",
               f.name, f.before.value_or(""), f.after.value_or(""),
               f.by + '@' + std::to_string(f.version)});
    if (!t.empty()) t.print(s.out());
    return 0;
}

}  // namespace

void add_stream_diff(command& stream)
{
    auto  o = std::make_shared<diff_options>();
    auto& c = stream.add("diff", "Show what happened to a stream between two versions");
    c.text(
        "Shows the records after version FROM up to version TO and then, for each field that an "
        "event of the stream has, what was last said of it at FROM and at TO: ~ marks one that "
        "differs, + one that nothing had been said of. Needs the schemas of the events to be "
        "registered ('cairn schema list').");
    c.argument("TOPIC", o->topic, "The topic.").completes = completion::topic;
    c.argument("KEY", o->key, "The key.");
    c.argument("FROM", o->from, "The earlier version.");
    c.argument("TO", o->to, "The later version.");
    add_data_option(c, *o);
    add_format_option(c, *o);
    c.json("one object per field",
           {{"field", "Its name; that of a field inside of another as address.street."},
            {"changed", "Whether the two differ."},
            {"from", "What was last said of it at FROM, or null."},
            {"to", "The same at TO."},
            {"said_by", "The type of the event that said it last."},
            {"version", "The version of that event."}});
    c.shows("cairn stream diff orders o-1 0 3", "What the three records after the first changed.");
    c.does([o](session& s) { return diff(*o, s); });
}

}  // namespace cairn::cli
