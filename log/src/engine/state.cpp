// SPDX-License-Identifier: Apache-2.0
#include "state.hpp"

#include "bytes.hpp"

#include <cairn/log/crc32c.hpp>
#include <cairn/log/error.hpp>

#include <algorithm>
#include <charconv>

namespace cairn::detail {

namespace {

constexpr std::string_view topic_prefix = "topic/";
constexpr std::string_view start_prefix = "start/";

template <class T>
std::optional<T> number(std::string_view text)
{
    T value{};
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

template <class T>
std::optional<std::vector<T>> numbers(std::string_view text)
{
    std::vector<T> all;
    while (!text.empty()) {
        const auto comma = text.find(',');
        const auto n     = number<T>(text.substr(0, comma));
        if (!n) return std::nullopt;
        all.push_back(*n);
        text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    }
    return all;
}

template <class T>
std::string joined(const std::vector<T>& all)
{
    std::string text;
    for (const auto& n : all) {
        if (!text.empty()) text += ',';
        text += std::to_string(n);
    }
    return text;
}

[[noreturn]] void damaged(bytes_view key)
{
    throw storage_error{errc::damaged_segment,
                        "the record \"" + std::string{key} +
                            "\" of __topics cannot be read: the log is damaged, or a newer Cairn "
                            "wrote it; run `cairn verify`, restore a backup"};
}

void name_partitions(topic_state& t)
{
    t.names.clear();
    for (std::int32_t p = 0; p < t.partitions(); ++p) t.names.push_back({t.name, p});
}

topic_ptr own_topic(const char* name, std::uint32_t uid)
{
    topic_state t;
    t.name                   = name;
    t.id[15]                 = static_cast<std::uint8_t>(uid + 1);
    t.config.cleanup_delete  = false;
    t.config.cleanup_compact = true;
    t.uids                   = {uid};
    t.counts                 = {1};
    t.internal               = true;
    name_partitions(t);
    return std::make_shared<const topic_state>(std::move(t));
}

std::optional<topic_state> parse_topic(std::string_view name, std::string_view text)
{
    topic_state t;
    t.name     = name;
    t.internal = name.starts_with("__");
    while (!text.empty()) {
        const auto line  = text.substr(0, text.find('\n'));
        const auto space = line.find(' ');
        if (space == std::string_view::npos) return std::nullopt;
        const auto word = line.substr(0, space), value = line.substr(space + 1);
        if (word == "id") {
            if (value.size() != 32) return std::nullopt;
            for (std::size_t i = 0; i < 16; ++i) {
                const auto pair = value.substr(2 * i, 2);
                const auto [end, failed] =
                    std::from_chars(pair.data(), pair.data() + 2, t.id[i], 16);
                if (failed != std::errc{} || end != pair.data() + 2) return std::nullopt;
            }
        } else if (word == "partitions") {
            auto uids = numbers<std::uint32_t>(value);
            if (!uids) return std::nullopt;
            t.uids = std::move(*uids);
        } else if (word == "counts") {
            auto counts = numbers<std::int32_t>(value);
            if (!counts) return std::nullopt;
            t.counts = std::move(*counts);
        } else {
            try {
                t.config.set(word, value);
            } catch (const error&) {
                return std::nullopt;
            }
        }
        text.remove_prefix(std::min(text.size(), line.size() + 1));
    }
    if (t.uids.empty() || t.counts.empty()) return std::nullopt;
    name_partitions(t);
    return t;
}

}  // namespace

// ---- Topics. ----------------------------------------------------------------------------------

topics_state::topics_state()
{
    put(own_topic(topics_topic, topics_uid));
    put(own_topic(offsets_topic, offsets_uid));
}

void topics_state::put(topic_ptr t)
{
    for (std::int32_t p = 0; p < t->partitions(); ++p)
        by_uid_[t->uids[static_cast<std::size_t>(p)]] = {t, p};
    by_name_[t->name] = std::move(t);
    ++epoch_;
}

void topics_state::drop(std::string_view name)
{
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) return;
    for (const auto uid : found->second->uids) by_uid_.erase(uid);
    by_name_.erase(found);
    ++epoch_;
}

void topics_state::apply(bytes_view key, std::optional<bytes_view> value)
{
    if (key.starts_with(topic_prefix)) {
        const auto name = key.substr(topic_prefix.size());
        if (!value) return drop(name);
        auto t = parse_topic(name, *value);
        if (!t) damaged(key);
        // A topic that is made anew under an old name has other partitions.
        if (const auto old = find(name); old && old->id != t->id) drop(name);
        put(std::make_shared<const topic_state>(std::move(*t)));
    } else if (key.starts_with(start_prefix)) {
        const auto uid = number<std::uint32_t>(key.substr(start_prefix.size()));
        if (!uid) damaged(key);
        if (!value) {
            starts_.erase(*uid);
            return;
        }
        const auto start = number<std::int64_t>(*value);
        if (!start) damaged(key);
        starts_[*uid] = offset{*start};
    } else if (key == next_uid_key() && value) {
        const auto n = number<std::uint32_t>(*value);
        if (!n) damaged(key);
        next_uid_ = std::max(next_uid_, *n);
    }
}

topic_ptr topics_state::find(std::string_view name) const
{
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
}

const partition_state* topics_state::find(std::uint32_t uid) const
{
    const auto found = by_uid_.find(uid);
    return found == by_uid_.end() ? nullptr : &found->second;
}

offset topics_state::start(std::uint32_t uid) const
{
    const auto found = starts_.find(uid);
    return found == starts_.end() ? offset{0} : found->second;
}

std::string topics_state::topic_key(std::string_view name)
{
    return std::string{topic_prefix} + std::string{name};
}

std::string topics_state::topic_value(const topic_state& t)
{
    constexpr char digits[] = "0123456789abcdef";
    std::string    text     = "id ";
    for (const auto byte : t.id) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    text += "\npartitions " + joined(t.uids) + "\ncounts " + joined(t.counts);
    for (const auto& [name, value] : t.config.entries()) text += "\n" + name + " " + value;
    return text;
}

std::string topics_state::start_key(std::uint32_t uid)
{
    return std::string{start_prefix} + std::to_string(uid);
}

const std::string& topics_state::next_uid_key()
{
    static const std::string key = "next-uid";
    return key;
}

std::vector<std::pair<std::string, std::string>> topics_state::records() const
{
    std::vector<std::pair<std::string, std::string>> all;
    all.emplace_back(next_uid_key(), std::to_string(next_uid_));
    for (const auto& [name, t] : by_name_)
        if (t->uids.front() >= first_free_uid) all.emplace_back(topic_key(name), topic_value(*t));
    for (const auto& [uid, start] : starts_)
        all.emplace_back(start_key(uid), std::to_string(start.value));
    return all;
}

// ---- Groups. ----------------------------------------------------------------------------------

std::string groups_state::offset_key(std::string_view group, const topic_partition& at)
{
    std::string key;
    put(key, std::int16_t{1});
    put_string(key, group);
    put_string(key, at.topic);
    put(key, at.partition);
    return key;
}

std::string groups_state::offset_value(const committed_offset& c)
{
    std::string value;
    put(value, std::int16_t{3});
    put(value, c.offset.value);
    put(value, c.leader_epoch);
    put_string(value, c.metadata);
    put(value, c.committed_at.value);
    return value;
}

std::string groups_state::group_key(std::string_view group)
{
    std::string key;
    put(key, std::int16_t{2});
    put_string(key, group);
    return key;
}

std::string groups_state::group_value(std::int32_t generation, timestamp changed_at)
{
    std::string value;
    put(value, std::int16_t{3});
    put_string(value, "consumer");
    put(value, generation);
    put(value, std::int16_t{-1});  // protocol: null
    put(value, std::int16_t{-1});  // leader: null
    put(value, changed_at.value);
    put(value, std::int32_t{0});  // members: none; they are the coordinator's
    return value;
}

void groups_state::apply(bytes_view key, std::optional<bytes_view> value)
{
    byte_reader k{key};
    const auto  kind = k.get<std::int16_t>();
    if (kind == 0 || kind == 1) {
        const std::string     group{k.get_string()};
        const std::string     topic{k.get_string()};
        const topic_partition at{topic, k.get<std::int32_t>()};
        if (!k.ok()) return;
        if (!value) {
            const auto found = groups_.find(group);
            if (found == groups_.end()) return;
            found->second.offsets.erase(at);
            if (found->second.offsets.empty() && found->second.generation < 0)
                groups_.erase(found);
            return;
        }
        byte_reader      v{*value};
        const auto       format = v.get<std::int16_t>();
        committed_offset c;
        c.at     = at;
        c.offset = offset{v.get<std::int64_t>()};
        if (format == 3) c.leader_epoch = v.get<std::int32_t>();
        c.metadata     = v.get_string();
        c.committed_at = timestamp{v.get<std::int64_t>()};
        if (!v.ok() || format < 0 || format > 3) return;
        auto& g      = groups_[group];
        g.changed_at = std::max(g.changed_at, c.committed_at);
        g.offsets.insert_or_assign(at, std::move(c));
    } else if (kind == 2) {
        const std::string group{k.get_string()};
        if (!k.ok()) return;
        if (!value) {
            const auto found = groups_.find(group);
            if (found == groups_.end()) return;
            found->second.generation = -1;
            if (found->second.offsets.empty()) groups_.erase(found);
            return;
        }
        byte_reader v{*value};
        const auto  format = v.get<std::int16_t>();
        v.get_string();
        const auto generation = v.get<std::int32_t>();
        for (int i = 0; i < 2; ++i)
            if (const auto length = v.get<std::int16_t>(); length > 0)
                v.get_bytes(static_cast<std::size_t>(length));
        const timestamp changed_at{format >= 2 ? v.get<std::int64_t>() : -1};
        if (!v.ok() || format < 0 || format > 3) return;
        auto& g      = groups_[group];
        g.generation = generation;
        g.changed_at = std::max(g.changed_at, changed_at);
    }
}

const group_state* groups_state::find(std::string_view group) const
{
    const auto found = groups_.find(group);
    return found == groups_.end() ? nullptr : &found->second;
}

std::vector<std::pair<std::string, std::string>> groups_state::records() const
{
    std::vector<std::pair<std::string, std::string>> all;
    for (const auto& [name, g] : groups_) {
        if (g.generation >= 0)
            all.emplace_back(group_key(name), group_value(g.generation, g.changed_at));
        for (const auto& [at, c] : g.offsets)
            all.emplace_back(offset_key(name, at), offset_value(c));
    }
    return all;
}

// ---- Producers. -------------------------------------------------------------------------------

const producer_state* producers_state::find(std::int64_t id, std::uint32_t uid) const
{
    const auto found = producers_.find({id, uid});
    return found == producers_.end() ? nullptr : &found->second;
}

bool producers_state::remembers(const batch_view& batch, std::uint32_t uid, offset base) const
{
    if (batch.producer_id() < 0 || batch.base_sequence() < 0) return false;
    const auto* p = find(batch.producer_id(), uid);
    return p && std::any_of(p->batches.begin(), p->batches.end(),
                            [&](const producer_batch& b) { return b.base == base; });
}

void producer_state::take(const batch_view& batch, offset base, position first)
{
    if (epoch != batch.producer_epoch()) batches.clear();
    epoch = batch.producer_epoch();
    if (batch.is_control() || batch.base_sequence() < 0) return;
    if (batches.size() == producers_state::batches_kept) batches.erase(batches.begin());
    batches.push_back({batch.base_sequence(),
                       next_sequence(batch.base_sequence(), batch.last_offset_delta()), base,
                       first});
}

void producers_state::apply(const batch_view& batch, std::uint32_t uid, position first,
                            timestamp now)
{
    auto& p = producers_[{batch.producer_id(), uid}];
    p.take(batch, batch.base_offset(), first);
    p.at = now;
}

void producers_state::expire(timestamp now)
{
    std::erase_if(producers_, [&](const auto& p) { return now - p.second.at > kept_ms; });
}

std::string producers_state::encode() const
{
    std::string out;
    for (const auto& [k, p] : producers_) {
        put(out, k.id);
        put(out, k.uid);
        put(out, p.epoch);
        put(out, p.at.value);
        put(out, static_cast<std::uint8_t>(p.batches.size()));
        for (const auto& b : p.batches) {
            put(out, b.first_sequence);
            put(out, b.last_sequence);
            put(out, b.base.value);
            put(out, b.first.value);
        }
    }
    return out;
}

bool producers_state::decode(bytes_view bytes)
{
    byte_reader in{bytes};
    while (in.ok() && !in.empty()) {
        const auto id  = in.get<std::int64_t>();
        const auto uid = in.get<std::uint32_t>();
        auto&      p   = producers_[{id, uid}];
        p.epoch        = in.get<std::int16_t>();
        p.at           = timestamp{in.get<std::int64_t>()};
        const auto n   = in.get<std::uint8_t>();
        if (n > batches_kept) return false;
        for (int i = 0; i < n; ++i) {
            producer_batch b;
            b.first_sequence = in.get<std::int32_t>();
            b.last_sequence  = in.get<std::int32_t>();
            b.base           = offset{in.get<std::int64_t>()};
            b.first          = position{in.get<std::int64_t>()};
            p.batches.push_back(b);
        }
    }
    return in.ok();
}

// ---- All of it. -------------------------------------------------------------------------------

void folded_state::apply(const placed_batch& placed, timestamp now)
{
    const auto batch = batch_view::parse(placed.bytes, nullptr, false);
    if (!batch) return;  // whoever read it has checked it
    if (batch->producer_id() >= 0)
        producers.apply(*batch, placed.partition_uid, placed.position, now);
    if (placed.partition_uid >= first_free_uid) return;

    record_cursor records{*batch, batch->payload(), placed.position};
    while (records.next()) {
        const auto& r = records.current();
        if (!r.key) continue;
        if (placed.partition_uid == topics_uid)
            topics.apply(*r.key, r.value);
        else
            groups.apply(*r.key, r.value);
    }
}

namespace {

constexpr std::string_view snapshot_magic = "CAIRNST1";

void put_long(std::string& out, bytes_view bytes)
{
    put(out, static_cast<std::uint32_t>(bytes.size()));
    out += bytes;
}

void put_records(std::string&                                            out,
                 const std::vector<std::pair<std::string, std::string>>& records)
{
    put(out, static_cast<std::uint32_t>(records.size()));
    for (const auto& [key, value] : records) {
        put_long(out, key);
        put_long(out, value);
    }
}

template <class Fold>
bool get_records(byte_reader& in, Fold& fold)
{
    const auto n = in.get<std::uint32_t>();
    for (std::uint32_t i = 0; i < n && in.ok(); ++i) {
        const auto key   = in.get_bytes(in.get<std::uint32_t>());
        const auto value = in.get_bytes(in.get<std::uint32_t>());
        if (in.ok()) fold.apply(key, value);
    }
    return in.ok();
}

}  // namespace

std::string folded_state::encode(position at) const
{
    std::string body;
    put(body, at.value);
    put_records(body, topics.records());
    put_records(body, groups.records());
    put_long(body, producers.encode());

    std::string out{snapshot_magic};
    put(out, crc32c(body));
    return out + body;
}

std::optional<std::pair<position, folded_state>> folded_state::decode(bytes_view bytes)
{
    if (!bytes.starts_with(snapshot_magic)) return std::nullopt;
    byte_reader head{bytes.substr(snapshot_magic.size())};
    const auto  crc  = head.get<std::uint32_t>();
    if (!head.ok()) return std::nullopt;
    const auto body = bytes.substr(snapshot_magic.size() + 4);
    if (crc32c(body) != crc) return std::nullopt;

    byte_reader    in{body};
    const position at{in.get<std::int64_t>()};
    folded_state   state;
    if (!get_records(in, state.topics) || !get_records(in, state.groups)) return std::nullopt;
    const auto producers = in.get_bytes(in.get<std::uint32_t>());
    if (!in.ok() || !state.producers.decode(producers)) return std::nullopt;
    return std::pair{at, std::move(state)};
}

}  // namespace cairn::detail
