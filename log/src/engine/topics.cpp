// SPDX-License-Identifier: Apache-2.0
//
// Topics are records of __topics. One change at a time, so that what a change was decided on
// still holds when it is recorded.
#include "engine.hpp"

#include <sys/random.h>

#include <algorithm>

namespace cairn::detail {

namespace {

constexpr std::int32_t partitions_max = 10'000;

record topic_record(const topic_state& t)
{
    return {.key       = topics_state::topic_key(t.name),
            .value     = topics_state::topic_value(t),
            .headers   = {},
            .timestamp = {}};
}

record number_record(std::string key, std::int64_t number)
{
    return {.key       = std::move(key),
            .value     = std::to_string(number),
            .headers   = {},
            .timestamp = {}};
}

record tombstone(std::string key)
{
    return {.key = std::move(key), .value = std::nullopt, .headers = {}, .timestamp = {}};
}

/// A name as a message can show it, whatever is in it.
std::string shown_name(std::string_view name)
{
    std::string text;
    for (const char c : name.substr(0, 300))
        text += c >= ' ' && c <= '~' ? c : '?';
    return text;
}

void check_count(const std::string& name, std::int32_t partitions)
{
    if (partitions < 1 || partitions > partitions_max)
        throw error{errc::illegal_partition_count,
                    "topic " + name + " cannot have " + std::to_string(partitions) +
                        " partitions: 1 to " + std::to_string(partitions_max) + " are legal"};
}

void check_config(const topic_config& c)
{
    auto checked = topic_config{};
    for (const auto& [name, value] : c.entries()) checked.set(name, value);
    if (!c.cleanup_delete && !c.cleanup_compact)
        throw error{errc::illegal_config,
                    "cleanup.policy cannot be empty: legal is delete, compact, compact,delete"};
}

}  // namespace

topic_ptr engine::find_topic(std::string_view name) const
{
    const std::shared_lock lock{publish_mutex_};
    return state_.topics.find(name);
}

topic_ptr engine::topic(std::string_view name) const
{
    throw_if_shut();
    if (auto t = find_topic(name)) return t;
    throw error{errc::unknown_topic, "there is no topic \"" + std::string{name} +
                                         "\": create it first (create_topic, or `cairn topic "
                                         "create`)"};
}

std::vector<topic_ptr> engine::topics() const
{
    const std::shared_lock lock{publish_mutex_};
    std::vector<topic_ptr> all;
    for (const auto& [name, t] : state_.topics.all()) all.push_back(t);
    return all;
}

bool engine::ensure_topic(const std::string& name, std::int32_t partitions,
                          const topic_config& config)
{
    if (!is_legal_topic_name(name))
        throw error{errc::illegal_topic_name,
                    "\"" + shown_name(name) + "\" is no topic name: 1 to 249 of a-z A-Z 0-9 . _ - "
                        "are legal, and not . or .."};
    check_count(name, partitions);
    check_config(config);

    const std::lock_guard one_at_a_time{topics_mutex_};
    if (find_topic(name)) return false;
    throw_if_closed();
    const auto same = [](char c) { return c == '.' ? '_' : c; };
    for (const auto& other : topics())
        if (std::equal(name.begin(), name.end(), other->name.begin(), other->name.end(),
                       [&](char a, char b) { return same(a) == same(b); }))
            throw error{errc::illegal_topic_name,
                        "topic " + name + " collides with " + other->name +
                            ": as in Kafka, names that differ in . and _ only are one in metrics; "
                            "choose another"};

    topic_state t;
    t.name   = name;
    t.config = config;
    if (::getrandom(t.id.data(), t.id.size(), 0) != static_cast<ssize_t>(t.id.size()))
        throw storage_error{errc::io_failed, "the system gives no random bytes for a topic id"};
    auto next = with_state([](const folded_state& s) { return s.topics.next_uid(); });
    for (std::int32_t p = 0; p < partitions; ++p) t.uids.push_back(next++);
    t.counts = {partitions};
    append_own(topics_uid, {number_record(topics_state::next_uid_key(), next), topic_record(t)});
    return true;
}

void engine::create_topic(const std::string& name, std::int32_t partitions,
                          const topic_config& config)
{
    if (!ensure_topic(name, partitions, config))
        throw error{errc::topic_exists, "topic " + name +
                                            " exists already: use it, or delete it first"};
}

void engine::alter_topic(const std::string& name, const topic_config& config)
{
    check_config(config);
    const std::lock_guard one_at_a_time{topics_mutex_};
    auto                  t = *topic(name);
    if (t.uids.front() < first_free_uid)
        throw error{errc::internal_topic,
                    "topic " + name + " is the log's own: it stays as it is; make one of yours"};
    t.config = config;
    append_own(topics_uid, {topic_record(t)});
}

void engine::add_partitions(const std::string& name, std::int32_t total)
{
    check_count(name, total);
    const std::lock_guard one_at_a_time{topics_mutex_};
    auto                  t = *topic(name);
    if (t.uids.front() < first_free_uid)
        throw error{errc::internal_topic,
                    "topic " + name + " is the log's own: it stays as it is; make one of yours"};
    if (total <= t.partitions())
        throw error{errc::illegal_partition_count,
                    "topic " + name + " has " + std::to_string(t.partitions()) +
                        " partitions: their number can only grow"};
    auto next = with_state([](const folded_state& s) { return s.topics.next_uid(); });
    while (t.partitions() < total) t.uids.push_back(next++);
    t.counts.push_back(total);
    append_own(topics_uid, {number_record(topics_state::next_uid_key(), next), topic_record(t)});
}

void engine::delete_topic(const std::string& name)
{
    const std::lock_guard one_at_a_time{topics_mutex_};
    const auto            t = topic(name);
    if (t->uids.front() < first_free_uid)
        throw error{errc::internal_topic,
                    "topic " + name + " is the log's own: it stays; delete one of yours"};
    append_request gone;
    const auto     forget = [&](std::uint32_t uid, std::string key) {
        gone.records.push_back(own_record(uid, tombstone(std::move(key))));
    };
    forget(topics_uid, topics_state::topic_key(name));
    for (const auto uid : t->uids)
        if (start_offset(uid) > offset{0}) forget(topics_uid, topics_state::start_key(uid));

    // What groups had committed there is forgotten with it, or a new topic would begin with it.
    with_state([&](const folded_state& s) {
        for (const auto& [group, g] : s.groups.all())
            for (const auto& [at, c] : g.offsets)
                if (at.topic == name) forget(offsets_uid, groups_state::offset_key(group, at));
        return 0;
    });
    append_own(std::move(gone), {}, {});
    {
        const std::lock_guard lock{threads_mutex_};
        clean_soon_ = true;
    }
    cleaner_wakes_.notify_all();
}

void engine::truncate(std::uint32_t uid, const topic_partition& at, offset to)
{
    const std::lock_guard one_at_a_time{topics_mutex_};
    if (!alive(uid))
        throw error{errc::unknown_topic, "topic " + at.topic + " was deleted"};
    if (to > end_offset(uid) || to.value < 0)
        throw offset_out_of_range{at.topic + "-" + std::to_string(at.partition) + ": offset " +
                                  std::to_string(to.value) + " is not in 0 to " +
                                  std::to_string(end_offset(uid).value)};
    if (to <= start_offset(uid)) return;
    note_removal(uid, to);  // before a reader can miss it
    append_own(topics_uid, {number_record(topics_state::start_key(uid), to.value)});
}

void engine::advance(const std::vector<std::pair<std::uint32_t, offset>>& starts)
{
    const std::lock_guard one_at_a_time{topics_mutex_};
    append_request        moved;
    for (const auto& [uid, to] : starts) {
        if (!alive(uid) || to <= start_offset(uid)) continue;
        note_removal(uid, to);
        moved.records.push_back(
            own_record(topics_uid, number_record(topics_state::start_key(uid), to.value)));
    }
    if (!moved.records.empty()) append_own(std::move(moved), {}, {});
}

topic_description engine::describe(const topic_state& t) const
{
    topic_description d;
    d.name     = t.name;
    d.id       = t.id;
    d.config   = t.config;
    d.internal = t.internal;
    const auto list = segments();
    for (std::int32_t p = 0; p < t.partitions(); ++p) {
        const auto            uid = t.uids[static_cast<std::size_t>(p)];
        partition_description part;
        part.partition = p;
        part.start     = start_offset(uid);
        part.end       = end_offset(uid);
        for (const auto& s : list)
            if (const auto slice = s.summary->find(uid);
                slice != s.summary->end() && slice->second.end > part.start)
                part.bytes += slice->second.bytes;
        d.partitions.push_back(part);
    }
    return d;
}

}  // namespace cairn::detail
