// SPDX-License-Identifier: Apache-2.0
#include "engine.hpp"

#include <algorithm>

namespace cairn {

using detail::engine;
using detail::folded_state;
using detail::groups_state;

namespace {

constexpr std::size_t metadata_bytes_max = 4096;   // offset.metadata.max.bytes
constexpr std::size_t name_bytes_max     = 32'767;  // Kafka's STRING

void check_name(const std::string& group)
{
    if (group.empty() || group.size() > name_bytes_max)
        throw error{errc::illegal_group, "a consumer group needs a name of 1 to " +
                                             std::to_string(name_bytes_max) +
                                             " bytes: give it one"};
}

std::uint32_t uid_of(const engine& log, const topic_partition& at)
{
    const auto t = log.topic(at.topic);
    if (at.partition < 0 || at.partition >= t->partitions())
        throw error{errc::partition_out_of_range,
                    "topic " + at.topic + " has partitions 0 to " +
                        std::to_string(t->partitions() - 1) + ", not " +
                        std::to_string(at.partition) + ": name one of them, or add partitions"};
    return t->uids[static_cast<std::size_t>(at.partition)];
}

[[noreturn]] void unknown(const std::string& group)
{
    throw error{errc::unknown_group, "there is no consumer group \"" + group +
                                         "\": it has committed nothing, or was forgotten"};
}

record as_record(std::string key, std::optional<std::string> value)
{
    return {.key = std::move(key), .value = std::move(value), .headers = {}, .timestamp = {}};
}

std::optional<group_lag> lag_of(const engine& log, const topic_partition& at,
                                const committed_offset* committed)
{
    const auto t = log.find_topic(at.topic);
    if (!t || at.partition < 0 || at.partition >= t->partitions()) return std::nullopt;
    const auto uid = t->uids[static_cast<std::size_t>(at.partition)];
    group_lag  l;
    l.at             = at;
    l.end            = log.end_offset(uid);
    const auto start = log.start_offset(uid);
    if (committed) {
        l.committed = committed->offset;
        l.metadata  = committed->metadata;
        l.lag       = std::max<std::int64_t>(0, l.end - std::max(committed->offset, start));
    } else {
        l.lag = l.end - start;
    }
    return l;
}

}  // namespace

void consumer_groups::commit(const std::string&                   group,
                             const std::vector<committed_offset>& offsets,
                             std::int32_t                         generation)
{
    check_name(group);
    if (offsets.empty()) return;
    std::vector<record> records;
    for (const auto& given : offsets) {
        uid_of(*engine_, given.at);
        if (given.offset.value < 0)
            throw offset_out_of_range{"group " + group + " cannot commit offset " +
                                      std::to_string(given.offset.value) + " of " +
                                      given.at.topic + ": offsets begin at 0"};
        if (given.metadata.size() > metadata_bytes_max)
            throw error{errc::invalid_argument,
                        "the metadata of a commit is at most " +
                            std::to_string(metadata_bytes_max) + " bytes, not " +
                            std::to_string(given.metadata.size()) +
                            ": store it elsewhere and commit a reference"};
        auto c         = given;
        c.committed_at = engine_->now();
        records.push_back(
            as_record(groups_state::offset_key(group, c.at), groups_state::offset_value(c)));
    }
    engine_->append_own(detail::offsets_uid, std::move(records), [&](const folded_state& s) {
        const auto* g     = s.groups.find(group);
        const auto  known = g ? g->generation : -1;
        if (generation < known)
            throw error{errc::fenced_generation,
                        "group " + group + " is in generation " + std::to_string(known) +
                            ": a commit of generation " + std::to_string(generation) +
                            " comes too late; join the group again"};
        if (generation > known && generation >= 0 && known >= 0)
            throw error{errc::fenced_generation,
                        "group " + group + " is in generation " + std::to_string(known) +
                            ", which is before " + std::to_string(generation) +
                            ": raise it first"};
    }, group);
}

void consumer_groups::set_generation(const std::string& group, std::int32_t generation)
{
    check_name(group);
    engine_->append_own(
        detail::offsets_uid,
        {as_record(groups_state::group_key(group),
                   groups_state::group_value(generation, engine_->now()))},
        [&](const folded_state& s) {
            const auto* g = s.groups.find(group);
            if (generation < 0 || (g && generation < g->generation))
                throw error{errc::fenced_generation,
                            "group " + group + " is in generation " +
                                std::to_string(g ? g->generation : -1) +
                                ": it cannot go back to " + std::to_string(generation)};
        },
        group);
}

std::optional<std::int32_t> consumer_groups::generation(const std::string& group) const
{
    return engine_->with_state([&](const folded_state& s) -> std::optional<std::int32_t> {
        const auto* g = s.groups.find(group);
        if (!g || g->generation < 0) return std::nullopt;
        return g->generation;
    });
}

std::optional<committed_offset> consumer_groups::fetch(const std::string&     group,
                                                       const topic_partition& at) const
{
    return engine_->with_state([&](const folded_state& s) -> std::optional<committed_offset> {
        const auto* g = s.groups.find(group);
        if (!g) return std::nullopt;
        const auto found = g->offsets.find(at);
        if (found == g->offsets.end()) return std::nullopt;
        return found->second;
    });
}

std::vector<committed_offset> consumer_groups::fetch(const std::string& group) const
{
    return engine_->with_state([&](const folded_state& s) {
        std::vector<committed_offset> all;
        if (const auto* g = s.groups.find(group))
            for (const auto& [at, c] : g->offsets) all.push_back(c);
        return all;
    });
}

std::vector<std::string> consumer_groups::list() const
{
    return engine_->with_state([](const folded_state& s) {
        std::vector<std::string> names;
        for (const auto& [name, g] : s.groups.all()) names.push_back(name);
        return names;
    });
}

std::vector<group_lag> consumer_groups::lag(const std::string& group) const
{
    check_name(group);
    if (!engine_->with_state([&](const folded_state& s) { return s.groups.find(group); }))
        unknown(group);
    std::vector<group_lag> all;
    for (const auto& c : fetch(group))
        if (auto l = lag_of(*engine_, c.at, &c)) all.push_back(std::move(*l));
    return all;
}

std::vector<group_lag> consumer_groups::reset(const std::string&              group,
                                              const std::vector<std::string>& topics,
                                              const reset_target& to, bool dry_run)
{
    std::vector<topic_partition> partitions;
    for (const auto& c : fetch(group))
        if (topics.empty()) partitions.push_back(c.at);
    for (const auto& name : topics) {
        const auto t = engine_->topic(name);
        partitions.insert(partitions.end(), t->names.begin(), t->names.end());
    }
    if (partitions.empty()) unknown(group);
    return reset(group, partitions, to, dry_run);
}

std::vector<group_lag> consumer_groups::reset(const std::string&                  group,
                                              const std::vector<topic_partition>& partitions,
                                              const reset_target& to, bool dry_run)
{
    check_name(group);
    std::vector<group_lag>        planned;
    std::vector<committed_offset> commits;
    for (const auto& at : partitions) {
        const auto uid   = uid_of(*engine_, at);
        const auto start = engine_->start_offset(uid), end = engine_->end_offset(uid);
        const auto now   = fetch(group, at);

        offset wanted = end;
        if (std::holds_alternative<reset_to::earliest>(to)) {
            wanted = start;
        } else if (const auto* time = std::get_if<reset_to::time>(&to)) {
            if (const auto found = engine_->offset_for_time(uid, time->at)) wanted = found->first;
        } else if (const auto* exact = std::get_if<reset_to::exactly>(&to)) {
            wanted = exact->at;
        } else if (const auto* shift = std::get_if<reset_to::shift>(&to)) {
            const auto base = now ? now->offset : start;
            wanted = base + std::clamp(shift->by, start - base, end - base);  // of any size
        }
        wanted = std::clamp(wanted, start, end);
        committed_offset c;
        c.at     = at;
        c.offset = wanted;
        if (auto l = lag_of(*engine_, at, &c)) planned.push_back(std::move(*l));
        commits.push_back(std::move(c));
    }
    if (!dry_run) {
        const auto generation = engine_->with_state([&](const folded_state& s) {
            const auto* g = s.groups.find(group);
            return g ? g->generation : -1;
        });
        commit(group, commits, generation);
    }
    return planned;
}

void consumer_groups::remove(const std::string& group)
{
    check_name(group);
    std::vector<record> records;
    engine_->with_state([&](const folded_state& s) {
        const auto* g = s.groups.find(group);
        if (!g) unknown(group);
        for (const auto& [at, c] : g->offsets)
            records.push_back(as_record(groups_state::offset_key(group, at), std::nullopt));
        if (g->generation >= 0)
            records.push_back(as_record(groups_state::group_key(group), std::nullopt));
        return 0;
    });
    engine_->append_own(detail::offsets_uid, std::move(records), {}, group);
}

void consumer_groups::remove(const std::string&                  group,
                             const std::vector<topic_partition>& partitions)
{
    check_name(group);
    std::vector<record> records;
    for (const auto& at : partitions)
        if (fetch(group, at))
            records.push_back(as_record(groups_state::offset_key(group, at), std::nullopt));
    if (records.empty()) {
        if (!engine_->with_state([&](const folded_state& s) { return s.groups.find(group); }))
            unknown(group);
        return;
    }
    engine_->append_own(detail::offsets_uid, std::move(records), {}, group);
}

std::vector<std::string> consumer_groups::expire(std::int64_t retention_ms)
{
    return engine_->forget_groups(engine_->now() - retention_ms);
}

std::vector<std::string> detail::engine::forget_groups(timestamp oldest)
{
    std::map<std::string, std::vector<record>> due;
    with_state([&](const folded_state& s) {
        for (const auto& [name, g] : s.groups.all()) {
            if (g.changed_at >= oldest) continue;
            auto& records = due[name];
            for (const auto& [at, committed] : g.offsets)
                records.push_back(as_record(groups_state::offset_key(name, at), std::nullopt));
            if (g.generation >= 0)
                records.push_back(as_record(groups_state::group_key(name), std::nullopt));
        }
        return 0;
    });
    struct awake
    {
    };
    std::vector<std::string> forgotten;
    for (auto& [name, records] : due) {
        if (records.empty()) continue;
        try {
            append_own(offsets_uid, std::move(records), [&, group = name](const folded_state& s) {
                const auto* g = s.groups.find(group);
                if (!g || g->changed_at >= oldest) throw awake{};  // it has committed since
            }, name);
            forgotten.push_back(name);
        } catch (const awake&) {
        }
    }
    return forgotten;
}

}  // namespace cairn
