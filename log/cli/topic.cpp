// SPDX-License-Identifier: Apache-2.0
#include "json.hpp"
#include "moment.hpp"
#include "session.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cairn/log/commit_log.hpp>

#include <unistd.h>
#include <iostream>
#include <limits>
#include <utility>

namespace cairn::cli {

namespace {

struct topic_options : common_options
{
    std::string                 topic;
    std::vector<std::string>    topics;
    std::optional<std::int64_t> partitions;
    std::vector<std::string>    config;
    std::vector<std::string>    unset;
    bool                        if_not_exists = false;
    bool                        if_exists     = false;
    bool                        internal      = false;
    bool                        yes           = false;
};

std::int32_t partition_count(std::int64_t asked)
{
    if (!std::in_range<std::int32_t>(asked))
        throw usage_error{"--partitions: " + std::to_string(asked) + " is too large"};
    return static_cast<std::int32_t>(asked);
}

void change(topic_config& config, const topic_options& o)
{
    for (const auto& entry : o.config) {
        const auto at = entry.find('=');
        if (at == std::string::npos || at == 0)
            throw usage_error{"--config: '" + entry + "' should be NAME=VALUE"};
        config.set(entry.substr(0, at), entry.substr(at + 1));
    }
    for (const auto& name : o.unset) config.reset(name);
}

std::uint64_t records_of(const topic_description& t)
{
    std::int64_t sum = 0;
    for (const auto& p : t.partitions) sum += p.end - p.start;
    return static_cast<std::uint64_t>(sum);
}

std::uint64_t bytes_of(const topic_description& t)
{
    std::uint64_t sum = 0;
    for (const auto& p : t.partitions) sum += p.bytes;
    return sum;
}

std::string config_of(const topic_config& config, std::string_view name)
{
    for (const auto& [key, value] : config.entries())
        if (key == name) return value;
    return {};
}

std::string retention_of(const topic_config& config)
{
    std::string text;
    if (config.retention_ms >= 0)
        text = as_duration(static_cast<double>(config.retention_ms) / 1000);
    if (config.retention_bytes >= 0)
        text += (text.empty() ? "" : ", ") +
                as_size(static_cast<std::uint64_t>(config.retention_bytes));
    return text.empty() ? "for ever" : text;
}

std::string hex(const topic_id& id)
{
    constexpr char digits[] = "0123456789abcdef";
    std::string    text;
    for (const auto byte : id) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

std::string as_json(const topic_description& t)
{
    std::string line;
    json_writer json{line};
    json.begin_object().field("topic", t.name).field("id", hex(t.id));
    json.field("internal", t.internal);
    json.field("records", records_of(t)).field("bytes", bytes_of(t));
    json.name("config").begin_object();
    for (const auto& [name, value] : t.config.entries()) json.field(name, value);
    json.end_object().name("partitions").begin_array();
    for (const auto& p : t.partitions)
        json.begin_object()
            .field("partition", p.partition)
            .field("start", p.start.value)
            .field("end", p.end.value)
            .field("bytes", p.bytes)
            .end_object();
    json.end_array().end_object();
    return line + '\n';
}

const std::vector<json_field> topic_fields{
    {"topic", "Its name."},
    {"id", "Its id, in hex: another one if a topic is deleted and made again."},
    {"internal", "Whether it is one of the log's own."},
    {"records", "How many records it keeps."},
    {"bytes", "Of its batches, as they are stored."},
    {"config", "An object: every setting by its name."},
    {"partitions",
     "An array of objects: partition, start (the oldest offset kept), end (the next "
     "to be given), bytes."}};

void print_one(session& s, const topic_description& t)
{
    auto& out = s.out();
    out.write(bold(printable(t.name), out.is_coloured()) + ": " +
              counted(t.partitions.size(), "partition") + ", " + counted(records_of(t), "record") +
              ", " + as_size(bytes_of(t)) + '\n');
    table              config{{"SETTING", "VALUE"}};
    const topic_config usual;
    for (const auto& [name, value] : t.config.entries())
        config.row({name, value + (config_of(usual, name) == value ? "" : "  (set)")});
    out.write("\n");
    config.print(out);

    table partitions{{"PARTITION >", "START >", "END >", "RECORDS >", "BYTES >"}};
    for (const auto& p : t.partitions)
        partitions.row({std::to_string(p.partition), std::to_string(p.start.value),
                        std::to_string(p.end.value), std::to_string(p.end - p.start),
                        std::to_string(p.bytes)});
    out.write("\n");
    partitions.print(out);
}

int create(const topic_options& o, session& s)
{
    topic_config config;
    change(config, o);
    auto       log   = s.open_to_write(o, session::if_missing::make_it);
    const auto count = partition_count(o.partitions.value_or(1));
    bool       made  = true;
    if (o.if_not_exists)
        made = log.ensure_topic(o.topic, count, config);
    else
        log.create_topic(o.topic, count, config);

    const auto t = log.describe_topic(o.topic);
    if (o.json())
        s.out().write(as_json(t));
    else
        s.out().write((made ? "created " : "there is already ") + o.topic + " with " +
                      counted(t.partitions.size(), "partition") + '\n');
    return 0;
}

int list(const topic_options& o, session& s)
{
    const auto log = s.open_to_read(o);
    table      t{{"TOPIC", "PARTITIONS >", "RECORDS >", "BYTES >", "CLEANUP", "RETENTION"}};
    for (const auto& name : log.topics(o.internal)) {
        const auto described = log.try_describe_topic(name);
        if (!described) continue;  // deleted since
        if (o.json())
            s.out().write(as_json(*described));
        else
            t.row({name, std::to_string(described->partitions.size()),
                   std::to_string(records_of(*described)), std::to_string(bytes_of(*described)),
                   config_of(described->config, "cleanup.policy"),
                   retention_of(described->config)});
    }
    if (o.json()) return 0;
    if (t.empty())
        s.note("there are no topics; 'cairn topic create NAME' makes one");
    else
        t.print(s.out());
    return 0;
}

int describe(const topic_options& o, session& s)
{
    const auto log   = s.open_to_read(o);
    bool       first = true;
    for (const auto& name : o.topics) {
        const auto t = log.describe_topic(name);
        if (o.json()) {
            s.out().write(as_json(t));
            continue;
        }
        if (!std::exchange(first, false)) s.out().write("\n");
        print_one(s, t);
    }
    return 0;
}

int alter(const topic_options& o, session& s)
{
    if (o.config.empty() && o.unset.empty() && !o.partitions)
        throw usage_error{"what shall be altered? give --config, --delete-config or --partitions"};
    auto log    = s.open_to_write(o);
    auto config = log.describe_topic(o.topic).config;
    change(config, o);
    // The partitions first: of the two, they are what may be refused.
    if (o.partitions) log.add_partitions(o.topic, partition_count(*o.partitions));
    if (!o.config.empty() || !o.unset.empty()) log.alter_topic(o.topic, config);

    const auto t = log.describe_topic(o.topic);
    if (o.json())
        s.out().write(as_json(t));
    else
        print_one(s, t);
    return 0;
}

/// A person at a terminal is asked; a script has said what it wants.
bool is_meant(const topic_options& o, session& s, const topic_description& t)
{
    if (o.yes || ::isatty(STDIN_FILENO) != 1 || ::isatty(STDERR_FILENO) != 1) return true;
    s.out().flush();
    std::cerr << "delete " << printable(t.name) << " and its " << counted(records_of(t), "record")
              << "? [y/N] " << std::flush;
    std::string answer;
    std::getline(std::cin, answer);
    return answer == "y" || answer == "Y" || answer == "yes";
}

int remove(const topic_options& o, session& s)
{
    auto log = s.open_to_write(o);
    for (const auto& name : o.topics) {
        const auto t = log.try_describe_topic(name);
        if (!t && o.if_exists) continue;
        if (t && !is_meant(o, s, *t)) {
            s.note("kept " + printable(name));
            continue;
        }
        log.delete_topic(name);
        if (o.json()) {
            std::string line;
            json_writer{line}
                .begin_object()
                .field("topic", name)
                .field("deleted", true)
                .end_object();
            s.out().write(line + '\n');
        } else {
            s.out().write("deleted " + name + '\n');
        }
    }
    return 0;
}

void add_config_option(command& c, topic_options& o)
{
    c.values("-c,--config", "NAME=VALUE", o.config,
             "A setting, by Kafka's name; may be repeated. There are cleanup.policy "
             "(delete, compact, or both with a comma), retention.ms, retention.bytes, "
             "segment.bytes, max.message.bytes, message.timestamp.type (CreateTime or "
             "LogAppendTime), min.compaction.lag.ms, delete.retention.ms.");
}

}  // namespace

void add_topic(command& root)
{
    auto& topic = root.add("topic", "Make, list, describe, alter and delete topics");
    {
        auto  o = std::make_shared<topic_options>();
        auto& c = topic.add("create", "Make a topic");
        c.text("Makes the log too, where the directory is empty or does not exist.");
        c.argument("TOPIC", o->topic, "Its name: 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'.");
        c.value("-p,--partitions", "N", o->partitions, "How many partitions; without it, 1.");
        add_config_option(c, *o);
        c.flag("--if-not-exists", o->if_not_exists, "Be content where there is one of that name.");
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("the topic", topic_fields);
        c.shows("cairn topic create orders --partitions 8", "Eight partitions.");
        c.shows("cairn topic create prices --config cleanup.policy=compact",
                "Keeps the newest record of each key.");
        c.shows("cairn topic create clicks --config retention.ms=604800000",
                "Forgets records after seven days.");
        c.does([o](session& s) { return create(*o, s); });
    }
    {
        auto  o = std::make_shared<topic_options>();
        auto& c = topic.add("list", "List the topics");
        c.flag("--internal", o->internal, "The log's own topics too; their names begin with __.");
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object per topic", topic_fields);
        c.shows("cairn topic list --data ./data",
                "All topics, how large they are, how they are kept.");
        c.shows("cairn topic list --format json | jq -r .topic", "Only their names.");
        c.does([o](session& s) { return list(*o, s); });
    }
    {
        auto  o = std::make_shared<topic_options>();
        auto& c = topic.add("describe", "Show a topic's settings and partitions");
        c.arguments("TOPIC", o->topics, "Which; may be several.").completes = completion::topic;
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object per topic", topic_fields);
        c.shows("cairn topic describe orders",
                "Its settings, and where each partition begins and ends.");
        c.does([o](session& s) { return describe(*o, s); });
    }
    {
        auto  o = std::make_shared<topic_options>();
        auto& c = topic.add("alter", "Change a topic's settings, or add partitions");
        c.text(
            "Keys that have records stay in their partition when partitions are added; only new "
            "keys go to the new ones.");
        c.argument("TOPIC", o->topic, "Which.").completes = completion::topic;
        c.value("-p,--partitions", "N", o->partitions,
                "How many partitions it shall have: more than now.");
        add_config_option(c, *o);
        c.values("--delete-config", "NAME", o->unset,
                 "A setting that goes back to its default; may be repeated.");
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("the topic as it is then", topic_fields);
        c.shows("cairn topic alter orders --partitions 16", "Eight more, if it had eight.");
        c.shows("cairn topic alter clicks --config retention.ms=86400000", "One day from now on.");
        c.shows("cairn topic alter clicks --delete-config retention.ms", "For ever again.");
        c.does([o](session& s) { return alter(*o, s); });
    }
    {
        auto  o = std::make_shared<topic_options>();
        auto& c = topic.add("delete", "Delete a topic and its records");
        c.text("There is no way back. At a terminal it asks first.");
        c.arguments("TOPIC", o->topics, "Which; may be several.").completes = completion::topic;
        c.flag("-y,--yes", o->yes, "Do not ask.");
        c.flag("--if-exists", o->if_exists, "Be content where there is none of that name.");
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object per topic deleted", {{"topic", "Its name."}, {"deleted", "true"}});
        c.shows("cairn topic delete clicks --yes", "Deletes it, and asks nobody.");
        c.does([o](session& s) { return remove(*o, s); });
    }
}

}  // namespace cairn::cli
