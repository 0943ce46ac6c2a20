// SPDX-License-Identifier: Apache-2.0
#include "json.hpp"
#include "moment.hpp"
#include "session.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cairn/log/commit_log.hpp>

#include <algorithm>
#include <map>
#include <utility>

namespace cairn::cli {

namespace {

struct group_options : common_options
{
    std::string                 group;
    std::vector<std::string>    groups;
    std::vector<std::string>    topics;
    bool                        all_topics  = false;
    bool                        execute     = false;
    bool                        dry_run     = false;
    bool                        to_earliest = false;
    bool                        to_latest   = false;
    std::optional<std::string>  to_datetime;
    std::optional<std::string>  by_duration;
    std::optional<std::int64_t> to_offset;
    std::optional<std::int64_t> shift_by;
};

/// "orders" or "orders:0,3": a topic, or some partitions of it.
std::vector<topic_partition> partitions_named(const commit_log& log, const std::string& text)
{
    const auto                   colon = text.find(':');
    const auto                   topic = text.substr(0, colon);
    std::vector<topic_partition> named;
    if (colon == std::string::npos) {
        for (const auto& part : log.partitions(topic)) named.push_back(part.id());
        return named;
    }
    for (const auto& word : split(std::string_view{text}.substr(colon + 1), ',')) {
        const auto number = parse_whole_number(word, "--topic");
        if (!std::in_range<std::int32_t>(number))
            throw usage_error{"--topic: there is no partition " + word};
        named.push_back(log.partition(topic, static_cast<std::int32_t>(number)).id());
    }
    return named;
}

std::vector<topic_partition> partitions_named(const commit_log&               log,
                                              const std::vector<std::string>& texts)
{
    std::vector<topic_partition> all;
    for (const auto& text : texts)
        for (auto& named : partitions_named(log, text)) all.push_back(std::move(named));
    std::ranges::sort(all);
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
}

std::string number_or_dash(const std::optional<offset>& o)
{
    return o ? std::to_string(o->value) : "-";
}

std::optional<std::int64_t> number_or_null(const std::optional<offset>& o)
{
    return o ? std::optional{o->value} : std::nullopt;
}

std::vector<group_lag> sorted(std::vector<group_lag> lags)
{
    std::ranges::sort(lags, {}, &group_lag::at);
    return lags;
}

void require_group(const commit_log& log, const std::string& group)
{
    const auto known = log.groups().list();
    if (std::ranges::find(known, group) == known.end())
        throw error{errc::unknown_group, "there is no consumer group '" + printable(group) +
                                             "'; 'cairn group list' shows those there are"};
}

// ---- list, describe -------------------------------------------------------------------------

int list(const group_options& o, session& s)
{
    const auto log    = s.open_to_read(o);
    const auto groups = log.groups();
    table      t{{"GROUP", "TOPICS >", "PARTITIONS >", "LAG >"}};
    for (const auto& name : groups.list()) {
        std::map<std::string, int> topics;
        std::int64_t               lag  = 0;
        const auto                 lags = groups.lag(name);
        for (const auto& l : lags) {
            ++topics[l.at.topic];
            lag += l.lag;
        }
        if (o.json()) {
            std::string line;
            json_writer json{line};
            json.begin_object().field("group", printable(name)).name("topics").begin_array();
            for (const auto& [topic, count] : topics) json.value(topic);
            json.end_array().field("partitions", lags.size()).field("lag", lag).end_object();
            s.out().write(line + '\n');
        } else {
            t.row({name, std::to_string(topics.size()), std::to_string(lags.size()),
                   std::to_string(lag)});
        }
    }
    if (o.json()) return 0;
    if (t.empty())
        s.note("there are no consumer groups; 'cairn consume TOPIC --group NAME' begins one");
    else
        t.print(s.out());
    return 0;
}

int describe(const group_options& o, session& s)
{
    const auto log = s.open_to_read(o);
    table      t{{"GROUP", "TOPIC", "PARTITION >", "CURRENT-OFFSET >", "LOG-END-OFFSET >", "LAG >",
                  "CONSUMER-ID", "HOST", "CLIENT-ID"}};
    for (const auto& name : o.groups) {
        require_group(log, name);
        for (const auto& l : sorted(log.groups().lag(name))) {
            if (!o.json()) {
                t.row({name, l.at.topic, std::to_string(l.at.partition),
                       number_or_dash(l.committed), std::to_string(l.end.value),
                       std::to_string(l.lag), "-", "-", "-"});
                continue;
            }
            std::string line;
            json_writer json{line};
            json.begin_object().field("group", printable(name)).field("topic", l.at.topic);
            json.field("partition", l.at.partition);
            json.field("current_offset", number_or_null(l.committed));
            json.field("log_end_offset", l.end.value).field("lag", l.lag);
            json.bytes("metadata", l.metadata);
            json.name("consumer_id").null().name("host").null().name("client_id").null();
            s.out().write(line + "}\n");
        }
    }
    if (!o.json()) t.print(s.out());
    return 0;
}

// ---- reset, delete --------------------------------------------------------------------------

reset_target target_of(const group_options& o)
{
    const int given = o.to_earliest + o.to_latest + o.to_datetime.has_value() +
                      o.by_duration.has_value() + o.to_offset.has_value() + o.shift_by.has_value();
    if (given != 1)
        throw usage_error{
            "where to? give one of --to-earliest, --to-latest, --to-datetime, "
            "--by-duration, --to-offset, --shift-by"};
    if (o.to_earliest) return reset_to::earliest{};
    if (o.to_latest) return reset_to::latest{};
    if (o.to_datetime) return reset_to::time{parse_time(*o.to_datetime, "--to-datetime")};
    if (o.by_duration)
        return reset_to::time{now() - parse_duration(*o.by_duration, "--by-duration").count()};
    if (o.to_offset) return reset_to::exactly{offset{*o.to_offset}};
    return reset_to::shift{*o.shift_by};
}

/// The partitions that --topic and --all-topics mean; all the group has, where both are absent
/// and that is allowed.
std::vector<topic_partition> partitions_meant(const commit_log& log, const group_options& o)
{
    if (!o.topics.empty()) return partitions_named(log, o.topics);
    std::vector<topic_partition> all;
    for (const auto& committed : log.groups().fetch(o.group)) all.push_back(committed.at);
    std::ranges::sort(all);
    return all;
}

void say_dry_run(const group_options& o, session& s)
{
    if (!o.execute) s.note("nothing was changed; do it with --execute");
}

void check_execute(const group_options& o)
{
    if (o.execute && o.dry_run) throw usage_error{"--execute and --dry-run exclude each other"};
}

int reset(const group_options& o, session& s)
{
    check_execute(o);
    const auto target = target_of(o);
    if (o.topics.empty() == !o.all_topics)
        throw usage_error{
            "which topics? give --topic TOPIC[:PARTITION,...], or --all-topics for "
            "those in which the group has committed"};

    const auto log    = o.execute ? s.open_to_write(o) : s.open_to_read(o);
    auto       groups = log.groups();
    // A group that there is not yet may be put somewhere, but not everywhere it is.
    if (o.all_topics) require_group(log, o.group);

    std::map<topic_partition, offset> before;
    for (const auto& committed : groups.fetch(o.group)) before[committed.at] = committed.offset;

    const auto after = sorted(groups.reset(o.group, partitions_meant(log, o), target, !o.execute));
    table      t{{"GROUP", "TOPIC", "PARTITION >", "CURRENT-OFFSET >", "NEW-OFFSET >", "LAG >"}};
    for (const auto& l : after) {
        std::optional<offset> current;
        if (const auto found = before.find(l.at); found != before.end()) current = found->second;
        if (!o.json()) {
            t.row({o.group, l.at.topic, std::to_string(l.at.partition), number_or_dash(current),
                   number_or_dash(l.committed), std::to_string(l.lag)});
            continue;
        }
        std::string line;
        json_writer json{line};
        json.begin_object().field("group", printable(o.group)).field("topic", l.at.topic);
        json.field("partition", l.at.partition);
        json.field("current_offset", number_or_null(current));
        json.field("new_offset", number_or_null(l.committed)).field("lag", l.lag);
        json.field("executed", o.execute).end_object();
        s.out().write(line + '\n');
    }
    if (!o.json()) t.print(s.out());
    say_dry_run(o, s);
    return 0;
}

int remove_group(const group_options& o, session& s)
{
    check_execute(o);
    const auto log    = o.execute ? s.open_to_write(o) : s.open_to_read(o);
    auto       groups = log.groups();
    require_group(log, o.group);

    const auto named = partitions_meant(log, o);
    table      t{{"GROUP", "TOPIC", "PARTITION >", "CURRENT-OFFSET >"}};
    for (const auto& at : named) {
        const auto committed = groups.fetch(o.group, at);
        if (!committed) continue;
        if (!o.json()) {
            t.row({o.group, at.topic, std::to_string(at.partition),
                   std::to_string(committed->offset.value)});
            continue;
        }
        std::string line;
        json_writer json{line};
        json.begin_object().field("group", printable(o.group)).field("topic", at.topic);
        json.field("partition", at.partition).field("current_offset", committed->offset.value);
        json.field("executed", o.execute).end_object();
        s.out().write(line + '\n');
    }
    if (o.execute) {
        if (o.topics.empty())
            groups.remove(o.group);
        else
            groups.remove(o.group, named);
    }
    if (!o.json()) t.print(s.out());
    say_dry_run(o, s);
    return 0;
}

void add_execute_options(command& c, group_options& o)
{
    c.flag("--execute", o.execute, "Do it. Without this it is only shown.");
    c.flag("--dry-run", o.dry_run, "Only show what would be done; it is so anyway.");
}

}  // namespace

void add_group(command& root)
{
    auto& group = root.add("group", "List, describe, reset and delete consumer groups");
    {
        auto  o = std::make_shared<group_options>();
        auto& c = group.add("list", "List the groups and how far they are behind");
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object per group", {{"group", "Its name."},
                                        {"topics", "The topics in which it has committed."},
                                        {"partitions", "In how many partitions."},
                                        {"lag", "Records that it has not seen, in all of them."}});
        c.shows("cairn group list", "All groups.");
        c.does([o](session& s) { return list(*o, s); });
    }
    {
        auto  o = std::make_shared<group_options>();
        auto& c = group.add("describe", "Show where a group is in each partition");
        c.text(
            "The columns are those of Kafka's kafka-consumer-groups.sh. The last three are of "
            "members connected to a broker; without one there are none.");
        c.arguments("GROUP", o->groups, "Which; may be several.").completes = completion::group;
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object per partition",
               {{"group", "Its name."},
                {"topic", "The topic."},
                {"partition", "The partition."},
                {"current_offset", "The next offset that the group wants, or null."},
                {"log_end_offset", "The next offset that will be given."},
                {"lag", "Records between the two."},
                {"metadata", "What the group wrote beside its offset."},
                {"consumer_id", "null: there are no members without a broker."},
                {"host", "null, likewise."},
                {"client_id", "null, likewise."}});
        c.shows("cairn group describe billing", "How far billing is behind.");
        c.does([o](session& s) { return describe(*o, s); });
    }
    {
        auto  o = std::make_shared<group_options>();
        auto& c = group.add("reset", "Put a group somewhere else");
        c.text(
            "Shows where the group would be put; with --execute it is put there. The options "
            "are those of Kafka's kafka-consumer-groups.sh --reset-offsets. An offset beyond "
            "what there is becomes the nearest that is there.");
        c.argument("GROUP", o->group, "Which; it may be one that there is not yet.").completes =
            completion::group;
        c.values("--topic", "TOPIC[:N,...]", o->topics,
                 "A topic, or some partitions of it; may be repeated.")
            .completes = completion::topic;
        c.flag("--all-topics", o->all_topics, "All partitions in which the group has committed.");
        c.flag("--to-earliest", o->to_earliest, "To the oldest record that is kept.");
        c.flag("--to-latest", o->to_latest, "To the end: only what comes from now on.");
        c.value("--to-datetime", "TIME", o->to_datetime,
                "To the first record of that time or later: 2010-12-01T08:26:00Z.");
        c.value("--by-duration", "AGE", o->by_duration,
                "The same, so long ago: 10m, 2h, 7d or PT2H.");
        c.value("--to-offset", "N", o->to_offset, "To that offset.");
        c.value("--shift-by", "N", o->shift_by, "N records forward, or back where N is negative.");
        add_execute_options(c, *o);
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object per partition",
               {{"group", "Its name."},
                {"topic", "The topic."},
                {"partition", "The partition."},
                {"current_offset", "Where it is, or null."},
                {"new_offset", "Where it is put."},
                {"lag", "How many records it will then be behind."},
                {"executed", "Whether it was done, and not only shown."}});
        c.shows("cairn group reset billing --topic orders --to-earliest",
                "Shows what it would do.");
        c.shows("cairn group reset billing --topic orders --to-earliest --execute",
                "billing reads everything again.");
        c.shows("cairn group reset billing --topic orders:0,3 --by-duration 2h --execute",
                "The last two hours of two partitions again.");
        c.shows("cairn group reset billing --all-topics --shift-by -100 --execute",
                "A hundred records of each partition again.");
        c.does([o](session& s) { return reset(*o, s); });
    }
    {
        auto  o = std::make_shared<group_options>();
        auto& c = group.add("delete", "Forget a group, or what it committed in some partitions");
        c.text("Shows what would be forgotten; with --execute it is. Records are not touched.");
        c.argument("GROUP", o->group, "Which.").completes = completion::group;
        c.values("--topic", "TOPIC[:N,...]", o->topics,
                 "Only in this topic, or in some partitions of it; may be repeated.")
            .completes = completion::topic;
        add_execute_options(c, *o);
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object per partition",
               {{"group", "Its name."},
                {"topic", "The topic."},
                {"partition", "The partition."},
                {"current_offset", "Where it is, or was."},
                {"executed", "Whether it was done, and not only shown."}});
        c.shows("cairn group delete billing", "Shows what would be forgotten.");
        c.shows("cairn group delete billing --execute", "Forgets it.");
        c.shows("cairn group delete billing --topic orders --execute", "Only of orders.");
        c.does([o](session& s) { return remove_group(*o, s); });
    }
}

}  // namespace cairn::cli
