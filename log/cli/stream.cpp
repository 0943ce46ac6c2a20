// SPDX-License-Identifier: Apache-2.0
//
// stream, and query: the records of one key, and those of types and tags.
#include "json.hpp"
#include "moment.hpp"
#include "record_printer.hpp"
#include "session.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cairn/log/commit_log.hpp>

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

namespace cairn::cli {

namespace {

struct stream_options : common_options
{
    std::string                 topic;
    std::string                 key;
    std::string                 prefix;
    std::optional<std::int64_t> from;
    std::optional<std::int64_t> max;
    std::optional<std::int64_t> at;
    bool                        backwards = false;
    std::vector<std::string>    types;
    std::vector<std::string>    tags;
    bool                        follow = false;
};

bool is_table(const common_options& o)
{
    return o.format == "text";
}

/// A table is printed whole so that its columns fit; this many rows at a time, so that any
/// number of records may be shown.
constexpr std::size_t rows_at_once = 1000;

/// Prints the records of a range as rows, or as --format says.
class record_list
{
public:
    record_list(const common_options& o, std::optional<std::int64_t> max, session& s,
                const commit_log& log, std::vector<std::string> heading)
        : heading_{std::move(heading)},
          table_{heading_},
          left_{max.value_or(-1)},
          s_{s},
          schemas_{schemas_of(log, s)}
    {
        if (left_ < -1 || (max && *max < 0)) throw usage_error{"--max must not be negative"};
        if (is_table(o)) return;
        printer_.emplace(o.format);
        printer_->use(schemas_);
    }

    /// Ends before a record of a later version.
    void end_after(cairn::version v) { last_ = v; }

    /// `row` makes the cells of a record, but for the last, which is its value.
    template <class Row>
    void print(record_range& range, Row&& row)
    {
        while (left_ != 0 && !session::interrupted()) {
            const auto* record = range.next();
            if (!record || (last_ && record->version > *last_)) break;
            if (printer_)
                printer_->print(s_.out(), *record);
            else
                add(row(*record), *record);
            if (left_ > 0) --left_;
            if (++rows_ % rows_at_once == 0) flush();
        }
        flush();
    }

    bool is_done() const { return left_ == 0; }

private:
    void add(std::vector<std::string> cells, const record_view& record)
    {
        if (auto event = schemas_ ? schemas_->json(record) : std::nullopt) {
            cells.push_back(std::move(*event));
            table_.row_with_printable_end(std::move(cells));
        } else {
            cells.push_back(shown(record.value));
            table_.row(std::move(cells));
        }
    }

    void flush()
    {
        if (!table_.empty()) {
            table_.print(s_.out(), !std::exchange(has_heading_, true));
            table_ = table{heading_};
        }
        s_.out().flush();
    }

    std::vector<std::string>       heading_;
    table                          table_;
    std::int64_t                   left_;
    session&                       s_;
    std::optional<schema_registry> schemas_;
    std::optional<record_printer>  printer_;
    std::optional<cairn::version>  last_;
    std::size_t                    rows_        = 0;
    bool                           has_heading_ = false;
};

// ---- stream ---------------------------------------------------------------------------------

int show(const stream_options& o, session& s)
{
    if (o.at && *o.at < 0) throw usage_error{"--at: the first record has version 0"};
    const auto      log = s.open_to_read(o);
    const stream_id stream{o.topic, o.key};
    log.describe_topic(o.topic);  // an unknown topic is an error; an unknown key would be empty
    const auto version = log.stream_version(stream);
    if (version.value == 0)
        throw failure{"unknown_stream", o.topic + " has no record with key '" + printable(o.key) +
                                            "'; 'cairn stream list " + o.topic +
                                            "' shows the keys"};

    // Backwards it begins with the newest that is asked for.
    const auto newest = o.from && o.at ? std::optional{std::min(*o.from, *o.at)}
                        : o.from       ? o.from
                                       : o.at;
    auto range = o.backwards ? (newest ? log.read_stream_backwards(stream, cairn::version{*newest})
                                       : log.read_stream_backwards(stream))
                             : log.read_stream(stream, cairn::version{o.from.value_or(0)});
    record_list records{
        o, o.max, s, log, {"VERSION >", "OFFSET >", "POSITION >", "TIME", "TYPE", "VALUE"}};
    if (o.at) records.end_after(cairn::version{*o.at});
    if (is_table(o))
        s.out().write(bold(o.topic + '/' + printable(o.key), s.out().is_coloured()) + ": " +
                      counted(static_cast<std::uint64_t>(version.value), "record") +
                      ", partition " + std::to_string(log.partition_of(stream)) + "\n\n");
    records.print(range, [](const record_view& r) {
        return std::vector{std::to_string(r.version.value), std::to_string(r.offset.value),
                           std::to_string(r.position.value), as_iso_time(r.timestamp), type_of(r)};
    });
    return 0;
}

struct stream_summary
{
    std::string   key;
    std::int32_t  partition = 0;
    std::uint64_t records   = 0;
    timestamp     first;
    timestamp     last;
};

/// The streams of a topic, in the order of their first records that are kept. Nothing lists the
/// keys, so all records are looked at.
std::vector<stream_summary> summarise(const commit_log& log, const stream_options& o, session& s)
{
    std::vector<stream_summary>                  streams;
    std::unordered_map<std::string, std::size_t> known;
    std::uint64_t                                done  = 0;
    std::uint64_t                                total = 0;
    const auto                                   parts = log.partitions(o.topic);
    for (const auto& part : parts)
        total += static_cast<std::uint64_t>(part.end_offset() - part.start_offset());

    std::string key;
    for (const auto& part : parts) {
        auto range = part.read(part.start_offset());
        while (const auto* record = range.next()) {
            if (++done % 1024 == 0) s.progress().show("looking for streams", done, total);
            if (session::interrupted()) return streams;
            if (!record->key || !record->key->starts_with(o.prefix)) continue;
            key.assign(*record->key);
            const auto [found, is_new] = known.try_emplace(key, streams.size());
            if (is_new) streams.push_back({key, part.id().partition, 0, record->timestamp, {}});
            auto& stream = streams[found->second];
            ++stream.records;
            stream.first = std::min(stream.first, record->timestamp);
            stream.last  = std::max(stream.last, record->timestamp);
        }
    }
    s.progress().clear();
    return streams;
}

int list(const stream_options& o, session& s)
{
    if (o.max && *o.max < 0) throw usage_error{"--max must not be negative"};
    const auto log     = s.open_to_read(o);
    auto       streams = summarise(log, o, s);
    const auto all     = streams.size();
    if (o.max && std::cmp_less(*o.max, streams.size()))
        streams.resize(static_cast<std::size_t>(*o.max));

    table t{{"KEY", "PARTITION >", "VERSIONS >", "KEPT >", "FIRST", "LAST"}};
    for (const auto& stream : streams) {
        const auto versions = log.stream_version({o.topic, stream.key}).value;
        if (!o.json()) {
            t.row({stream.key, std::to_string(stream.partition), std::to_string(versions),
                   std::to_string(stream.records), as_iso_time(stream.first),
                   as_iso_time(stream.last)});
            continue;
        }
        std::string line;
        json_writer json{line};
        json.begin_object().field("topic", o.topic).bytes("key", stream.key);
        json.field("partition", stream.partition).field("versions", versions);
        json.field("kept", stream.records).field("first", as_iso_time(stream.first));
        json.field("last", as_iso_time(stream.last)).end_object();
        s.out().write(line + '\n');
    }
    if (o.json()) return 0;
    if (t.empty())
        s.note(o.topic + " has no records with such keys");
    else
        t.print(s.out());
    if (streams.size() < all)
        s.note("these are " + with_commas(streams.size()) + " of " + counted(all, "stream"));
    return 0;
}

// ---- query ----------------------------------------------------------------------------------

int run_query(const stream_options& o, session& s)
{
    if (o.types.empty() && o.tags.empty())
        throw usage_error{"what shall be found? give --type, --tag, or both"};
    if (o.backwards && o.follow) throw usage_error{"--backwards and --follow exclude each other"};

    const auto  log = s.open_to_read(o);
    const query asked{{{o.types, o.tags}}};
    auto        range = o.backwards ? (o.from ? log.read_query_backwards(asked, position{*o.from})
                                              : log.read_query_backwards(asked))
                                    : log.read_query(asked, position{o.from.value_or(0)});
    record_list records{o, o.max, s, log, {"POSITION >", "WHERE", "TIME", "TYPE", "KEY", "VALUE"}};
    const auto  row = [](const record_view& r) {
        return std::vector{std::to_string(r.position.value),
                           (r.from ? r.from->topic + '-' + std::to_string(r.from->partition) : "") +
                               '@' + std::to_string(r.offset.value),
                           as_iso_time(r.timestamp), type_of(r), shown(r.key)};
    };
    records.print(range, row);
    while (o.follow && !records.is_done() && !session::interrupted())
        if (range.wait(std::chrono::milliseconds{200})) records.print(range, row);
    return 0;
}

void add_list_options(command& c, stream_options& o)
{
    c.flag("-b,--backwards", o.backwards, "The newest first.");
    c.value("-n,--max", "N", o.max, "At most N.");
    add_data_option(c, o);
    c.value("-f,--format", "FORMAT", o.format,
            "text (the default): a table; json: an object a line; or a pattern, as for "
            "'cairn consume'.");
}

}  // namespace

void add_stream(command& root)
{
    auto& stream = root.add("stream", "List streams, and show the records of one");
    stream.text(
        "A stream is the records of one key of a topic. Its version is how many it has "
        "had; the first record has version 0.");
    {
        auto  o = std::make_shared<stream_options>();
        auto& c = stream.add("list", "List the streams of a topic");
        c.text(
            "In each partition in the order of their first records that are kept. All records of "
            "the topic are looked at.");
        c.argument("TOPIC", o->topic, "Which.").completes = completion::topic;
        c.value("--prefix", "TEXT", o->prefix, "Only keys that begin so.");
        c.value("-n,--max", "N", o->max, "At most N.");
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object per stream",
               {{"topic", "The topic."},
                {"key", "Its key; key_base64 instead where it is not UTF-8."},
                {"partition", "The partition that it is in."},
                {"versions", "How many records it has had."},
                {"kept", "How many of them are still kept."},
                {"first", "The earliest time of a record kept."},
                {"last", "The latest."}});
        c.shows("cairn stream list orders --max 20", "Twenty of them.");
        c.shows("cairn stream list orders --prefix customer-7", "Those of one customer.");
        c.does([o](session& s) { return list(*o, s); });
    }
    {
        auto  o = std::make_shared<stream_options>();
        auto& c = stream.add("show", "Show the records of a stream");
        c.argument("TOPIC", o->topic, "The topic.").completes = completion::topic;
        c.argument("KEY", o->key, "The key. One that begins with a dash comes after --.");
        c.text(
            "Of an event whose schema is registered ('cairn schema list') the value is what it "
            "says, as JSON.");
        c.value("--from", "VERSION", o->from, "Begin with that version.");
        c.value("--at", "VERSION", o->at,
                "The stream as it was then: up to the record of that version.");
        add_list_options(c, *o);
        c.json("one object per record", record_fields());
        c.shows("cairn stream show orders o-1", "Everything that happened to o-1.");
        c.shows("cairn stream show orders o-1 --backwards --max 1", "Only the newest.");
        c.shows("cairn stream show orders o-1 --at 3", "As it was when version 3 was recorded.");
        c.shows("cairn stream show orders o-1 --format json", "As JSON.");
        c.does([o](session& s) { return show(*o, s); });
    }
    add_stream_diff(stream);
}

void add_query(command& root)
{
    auto  o = std::make_shared<stream_options>();
    auto& c = root.add("query", "Find records by type and tags, over all topics");
    c.text(
        "A record's type is its header ce_type, or ce_dataschema; its tags are in ce_tags. They "
        "come in the order in which they were appended.");
    c.values("--type", "TYPE", o->types, "Of this type; may be repeated: of any of them.");
    c.values("--tag", "TAG", o->tags, "With this tag; may be repeated: with all of them.");
    c.value("--from", "POSITION", o->from, "Begin at that position.");
    c.flag("-F,--follow", o->follow, "Go on with what is appended, until interrupted.");
    add_list_options(c, *o);
    c.json("one object per record", record_fields());
    c.shows("cairn query --type OrderPlaced --type OrderPaid", "Of either type.");
    c.shows("cairn query --tag customer:7 --backwards --max 10", "The newest ten of a customer.");
    c.shows("cairn query --type OrderPlaced --tag customer:7 --format json", "Both must match.");
    c.does([o](session& s) { return run_query(*o, s); });
}

}  // namespace cairn::cli
