// SPDX-License-Identifier: Apache-2.0
#include "moment.hpp"
#include "record_printer.hpp"
#include "session.hpp"
#include "text.hpp"
#include "topic_reader.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <utility>

namespace cairn::cli {

namespace {

using std::chrono::steady_clock;

struct consume_options : common_options
{
    std::string                 topic;
    bool                        from_beginning = false;
    std::optional<std::string>  offset_text;
    std::optional<std::string>  since;
    std::vector<std::string>    partitions;
    std::optional<std::string>  group;
    bool                        follow = false;
    std::optional<std::int64_t> max;
};

/// How often the offsets of a group are committed while records go by, and how long a wait for
/// more may delay the answer to a signal.
constexpr std::uint64_t commit_every = 10'000;
constexpr auto          commit_after = std::chrono::seconds{1};
constexpr auto          wait_at_most = std::chrono::milliseconds{200};

// ---- Where to begin. ------------------------------------------------------------------------

struct place
{
    enum class kind { beginning, end, offset, newest, time };

    kind         what   = kind::beginning;
    std::int64_t number = 0;  ///< an offset, a count of records, or milliseconds since 1970
};

place place_of(const consume_options& o)
{
    if (o.from_beginning + o.offset_text.has_value() + o.since.has_value() > 1)
        throw usage_error{"--from-beginning, --offset and --since exclude each other"};
    if (o.since) return {place::kind::time, parse_time_or_age(*o.since, "--since").value};
    if (o.offset_text) {
        if (*o.offset_text == "beginning") return {place::kind::beginning};
        if (*o.offset_text == "end") return {place::kind::end};
        const auto number = parse_whole_number(*o.offset_text, "--offset");
        if (number == std::numeric_limits<std::int64_t>::min())
            throw usage_error{"--offset: " + *o.offset_text + " is too far back"};
        if (number < 0 || o.offset_text->starts_with('-')) return {place::kind::newest, -number};
        return {place::kind::offset, number};
    }
    // Who follows wants what comes; who does not would get nothing from the end.
    if (o.follow && !o.from_beginning && !o.group) return {place::kind::end};
    return {place::kind::beginning};
}

/// The offsets of the newest `count` records of the partitions taken together.
std::vector<offset> newest_of(const std::vector<partition>& parts, std::int64_t count)
{
    struct candidate
    {
        position    at;
        offset      start;
        std::size_t part;
    };
    // In each partition the newest are at its end: `count` of each are enough.
    std::vector<candidate> newest;
    std::vector<offset>    starts;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        starts.push_back(parts[i].end_offset());
        auto range = parts[i].read_backwards(starts.back());
        for (std::int64_t n = 0; n < count; ++n) {
            const auto* record = range.next();
            if (!record) break;
            newest.push_back({record->position, record->offset, i});
        }
    }
    std::ranges::sort(newest, std::greater{}, &candidate::at);
    if (std::cmp_less(count, newest.size())) newest.resize(static_cast<std::size_t>(count));
    for (const auto& c : newest) starts[c.part] = std::min(starts[c.part], c.start);
    return starts;
}

std::vector<offset> starts_of(const std::vector<partition>& parts, const place& from)
{
    if (from.what == place::kind::newest) return newest_of(parts, from.number);
    if (from.what == place::kind::offset && from.number > 0 && parts.size() > 1)
        throw usage_error{"offset " + std::to_string(from.number) +
                          " is in every partition; say which with --partition, or begin at "
                          "a time with --since"};
    std::vector<offset> starts;
    for (const auto& part : parts) {
        switch (from.what) {
        case place::kind::beginning:
            starts.push_back(part.start_offset());
            break;
        case place::kind::end:
            starts.push_back(part.end_offset());
            break;
        case place::kind::offset:
            starts.emplace_back(from.number);
            break;
        case place::kind::time: {
            const auto found = part.offset_for_time(timestamp{from.number});
            starts.push_back(found ? found->first : part.end_offset());
            break;
        }
        case place::kind::newest:
            break;
        }
    }
    return starts;
}

std::vector<partition> partitions_of(const commit_log& log, const consume_options& o)
{
    if (o.partitions.empty()) return log.partitions(o.topic);
    std::vector<std::int64_t> numbers;
    for (const auto& list : o.partitions)
        for (const auto& word : split(list, ','))
            numbers.push_back(parse_whole_number(word, "--partition"));
    std::ranges::sort(numbers);
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());

    std::vector<partition> parts;
    for (const auto number : numbers) {
        if (!std::in_range<std::int32_t>(number))
            throw usage_error{"--partition: there is no partition " + std::to_string(number)};
        parts.push_back(log.partition(o.topic, static_cast<std::int32_t>(number)));
    }
    return parts;
}

// ---- As a group. ----------------------------------------------------------------------------

/// What a group has been shown, and commits of it.
class group_cursor
{
public:
    group_cursor(const commit_log& log, std::string group)
        : groups_{log.groups()}, group_{std::move(group)}
    {
        if (group_.empty())
            throw error{errc::illegal_group, "a consumer group needs a name: --group NAME"};
    }

    /// Where the group goes on, if it has been there before.
    std::optional<offset> resume(const partition& part, session& s) const
    {
        const auto committed = groups_.fetch(group_, part.id());
        if (!committed) return std::nullopt;
        const auto kept = std::clamp(committed->offset, part.start_offset(), part.end_offset());
        if (kept != committed->offset)
            s.note(group_ + " was at offset " + std::to_string(committed->offset.value) + " of " +
                   part.id().topic + '-' + std::to_string(part.id().partition) +
                   ", which is not there any more; it goes on at " + std::to_string(kept.value));
        return kept;
    }

    void has_seen(const record_view& record)
    {
        next_[record.from->partition] = record.offset.next();
        topic_                        = record.from->topic;
        ++since_;
    }

    bool is_due() const
    {
        return since_ >= commit_every || (since_ > 0 && steady_clock::now() >= due_);
    }

    /// REQUIRES: what has been seen has left this process.
    void commit()
    {
        if (since_ > 0) {
            std::vector<committed_offset> offsets;
            for (const auto& [number, next] : next_)
                offsets.push_back({{topic_, number}, next, "", -1, {}});
            groups_.commit(group_, offsets);
            next_.clear();
            since_ = 0;
        }
        due_ = steady_clock::now() + commit_after;
    }

private:
    consumer_groups                groups_;
    std::string                    group_;
    std::string                    topic_;
    std::map<std::int32_t, offset> next_;
    std::uint64_t                  since_ = 0;
    steady_clock::time_point       due_   = steady_clock::now() + commit_after;
};

int consume(const consume_options& o, session& s)
{
    const auto     from = place_of(o);
    record_printer printer{o.format};
    if (o.max && *o.max < 0) throw usage_error{"--max must not be negative"};

    const auto log   = o.group ? s.open_to_write(o) : s.open_to_read(o);
    const auto parts = partitions_of(log, o);
    printer.use(schemas_of(log, s));

    std::optional<group_cursor> group;
    if (o.group) group.emplace(log, *o.group);

    std::vector<topic_reader::start> starts;
    const auto                       defaults = starts_of(parts, from);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const auto resumed = group ? group->resume(parts[i], s) : std::nullopt;
        starts.emplace_back(parts[i], resumed.value_or(defaults[i]));
    }

    auto&        out  = s.out();
    std::int64_t left = o.max.value_or(-1);
    topic_reader records{log, starts};

    const auto hand_over = [&] {
        out.flush();
        if (group) group->commit();
    };
    while (left != 0 && !session::interrupted()) {
        const auto* record = records.next();
        if (!record) {
            hand_over();
            if (!o.follow) break;
            records.wait(steady_clock::now() + wait_at_most);
            continue;
        }
        printer.print(out, *record);
        if (group) {
            group->has_seen(*record);
            if (group->is_due()) hand_over();
        }
        if (left > 0) --left;
    }
    hand_over();
    return 0;
}

}  // namespace

void add_consume(command& root)
{
    auto  o = std::make_shared<consume_options>();
    auto& c = root.add("consume", "Print the records of a topic");
    c.text(
        "Prints what is there, and ends; with --follow it goes on with what comes, until "
        "it is interrupted. Records of several partitions come in the order in which they were "
        "appended.");
    c.text(
        "It begins at the beginning, with --follow at the end, unless --from-beginning, "
        "--offset or --since says otherwise.");
    c.text(
        "With --group it goes on where the group ended, and commits how far it came: after the "
        "output has been handed over, so that a record may come twice after a crash, but never "
        "not at all. The options that say where to begin are then for partitions in which the "
        "group has committed nothing. Committing writes: it needs the directory for itself.");
    c.argument("TOPIC", o->topic, "Which.").completes = completion::topic;
    c.flag("-b,--from-beginning", o->from_beginning, "Begin with the oldest record that is kept.");
    c.value("-o,--offset", "OFFSET", o->offset_text,
            "Begin there: an offset; -N for the newest N records; beginning; or end.");
    c.value("-s,--since", "TIME", o->since,
            "Begin with the first record of that time or later: 2010-12-01T08:26:00Z, or an age "
            "like 10m, 2h or 7d.");
    c.values("-p,--partition", "N", o->partitions,
             "Only that partition; may be repeated, or several with commas.");
    c.value("-g,--group", "GROUP", o->group, "Read as this consumer group.").completes =
        completion::group;
    c.flag("-F,--follow", o->follow, "Go on with what is appended, until interrupted.");
    c.value("-n,--max", "N", o->max, "End after N records.");
    add_data_option(c, *o);
    c.value("-f,--format", "FORMAT", o->format, record_format_help);
    c.json("one object per record", record_fields());
    c.shows("cairn consume orders", "All values, one a line.");
    c.shows("cairn consume orders -o -10 -f '%p@%o %I %k: %s\\n'",
            "The newest ten: where, when, key and value.");
    c.shows("cairn consume orders --follow", "What comes from now on; Ctrl-C ends it.");
    c.shows("cairn consume orders --since 10m --format json", "The last ten minutes, as JSON.");
    c.shows("cairn consume orders --group billing --max 100",
            "The next hundred that billing has not seen.");
    c.does([o](session& s) { return consume(*o, s); });
}

}  // namespace cairn::cli
