// SPDX-License-Identifier: Apache-2.0
//
// Before the queue, on the appender's own thread and beside all others: what can be checked is
// checked, what can be looked up is looked up. The commit step looks again only where the answer
// may have changed.
#include "commit.hpp"
#include "engine.hpp"

#include <cairn/log/crc32c.hpp>

#include <algorithm>

namespace cairn::detail {

namespace {

[[noreturn]] void refuse_many_terms(const topic_state& t)
{
    throw error{errc::invalid_argument,
                "a record for topic " + t.name +
                    " has more than 255 types and tags together: what is beyond could not be "
                    "found again. Give it fewer tags"};
}

[[noreturn]] void refuse_keyless(const topic_state& t)
{
    throw error{errc::invalid_argument,
                "topic " + t.name +
                    " is compacted, which keeps the newest record of each key: give it one"};
}

/// At most; a command id becomes one more header.
std::size_t encoded_bytes(const append_record& r, const append_request& of)
{
    return record_bytes(r.record) + (of.command_id ? 32 + of.command_id->size() : 0);
}

/// Whether an item asks for neither types nor tags, and so for every record.
bool matches_all(const query_terms& q)
{
    return std::any_of(q.items.begin(), q.items.end(), [](const query_terms::item& i) {
        return i.types.empty() && i.tags.empty();
    });
}

}  // namespace

query_terms engine::terms_of(const query& q) const
{
    query_terms terms;
    terms.items.reserve(q.items.size());
    for (const auto& i : q.items) {
        auto& item = terms.items.emplace_back();
        for (const auto& type : i.types) {
            if (type.empty())
                throw error{errc::invalid_argument,
                            "a query has an empty type: name one, or leave types out for any"};
            item.types.push_back(index_->hasher().type(type));
        }
        for (const auto& tag : i.tags) {
            if (tag.empty())
                throw error{errc::empty_tag,
                            "a query has an empty tag: name one, or leave tags out for any"};
            item.tags.push_back(index_->hasher().tag(tag));
        }
    }
    return terms;
}

std::int32_t engine::locate(const topic_state& t, bytes_view key) const
{
    // Partitions may have been added since the stream began; it stays where it is. Of several
    // (a Kafka client put the key elsewhere) the oldest place is the stream's.
    const auto choose = [&](std::int32_t partitions) {
        const auto p = options_.partitioner(t.name, key, partitions);
        if (p < 0 || p >= partitions)
            throw error{errc::partition_out_of_range,
                        "the partitioner chose partition " + std::to_string(p) + " of topic " +
                            t.name + ", which has " + std::to_string(partitions)};
        return p;
    };
    for (std::size_t i = 0; i + 1 < t.counts.size(); ++i) {
        const auto p    = choose(t.counts[i]);
        const auto uid  = t.uids[static_cast<std::size_t>(p)];
        if (index_->head(index_->hasher().stream(uid, key)).count > 0) return p;
    }
    return choose(t.partitions());
}

void engine::prepare(pending_append& p)
{
    p.topics_epoch = topics_epoch_.load(std::memory_order_acquire);
    p.terms.clear();
    p.places.clear();
    if (p.request)
        prepare_records(p);
    else
        prepare_batch(p);
}

void engine::prepare_records(pending_append& p)
{
    const auto& request = *p.request;
    const auto& hasher  = index_->hasher();
    if (request.records.empty())
        throw error{errc::empty_append,
                    "an append needs at least one record: add one, or do not append"};

    p.bytes = 0;
    p.places.reserve(request.records.size());
    p.command = term{};
    if (request.command_id) {
        if (request.command_id->empty())
            throw error{errc::invalid_argument,
                        "the command id is empty: leave it out, or use one of its own"};
        p.command = hasher.command(*request.command_id);
    }

    topic_ptr t;
    for (const auto& r : request.records) {
        if (!t || t->name != r.topic) t = topic(r.topic);
        if (t->uids.front() < first_free_uid && !p.own)
            throw error{errc::internal_topic, "topic " + t->name +
                                                  " is the log's own: it is written through "
                                                  "topics and consumer groups only"};
        auto& place = p.places.emplace_back();
        if (r.partition) {
            if (*r.partition < 0 || *r.partition >= t->partitions())
                throw error{errc::partition_out_of_range,
                            "topic " + t->name + " has partitions 0 to " +
                                std::to_string(t->partitions() - 1) + ", not " +
                                std::to_string(*r.partition) +
                                ": name one of them, or add partitions"};
            place.number = *r.partition;
        } else if (r.record.key) {
            place.number = locate(*t, *r.record.key);
        } else {
            place.number = options_.partitioner(t->name, std::nullopt, t->partitions());
            if (place.number < 0 || place.number >= t->partitions())
                throw error{errc::partition_out_of_range,
                            "the partitioner chose partition " + std::to_string(place.number) +
                                " of topic " + t->name};
        }
        if (t->config.cleanup_compact && !r.record.key) refuse_keyless(*t);
        place.topic = t;
        place.uid   = t->uids[static_cast<std::size_t>(place.number)];

        const auto bytes = encoded_bytes(r, request);
        if (static_cast<std::int64_t>(bytes + batch_header_bytes) > t->config.max_message_bytes)
            throw error{errc::record_too_large,
                        "a record of " + std::to_string(bytes) + " bytes for topic " + t->name +
                            ", whose max.message.bytes is " +
                            std::to_string(t->config.max_message_bytes) +
                            ": raise it, or store the payload elsewhere and record a reference"};
        place.bytes = static_cast<std::uint32_t>(bytes);
        p.bytes += bytes + batch_header_bytes + 8;

        place.first_term = static_cast<std::uint32_t>(p.terms.size());
        if (place.uid >= first_free_uid) {
            if (r.record.key) {
                // Events of one stream often follow each other: the first looks it up for all.
                if (const auto* same = p.places.size() > 1 ? &*(p.places.end() - 2) : nullptr;
                    same && same->uid == place.uid && same->stream &&
                    request.records[p.places.size() - 2].record.key == r.record.key) {
                    place.stream = same->stream;
                    place.known  = same->known;
                } else {
                    place.stream = hasher.stream(place.uid, *r.record.key);
                    place.known  = &place.head;
                    index_->head(place.stream, place.known);
                }
            }
            place.command = p.command;
            term own_command;
            if (!collect_terms(hasher, r.record.headers, !t->internal, p.terms, own_command))
                refuse_many_terms(*t);
            if (!place.command) place.command = own_command;
        }
        place.terms = static_cast<std::uint32_t>(p.terms.size()) - place.first_term;
    }

    p.streams.clear();
    for (const auto& c : request.expect) {
        auto&       s     = p.streams.emplace_back();
        const auto& first = request.records.front();
        // Mostly it is the stream that is appended to, which has been looked up.
        if (p.places.front().stream && !first.partition && first.topic == c.stream.topic &&
            first.record.key == c.stream.key) {
            s.stream = p.places.front().stream;
            s.head   = p.places.front().head;
            continue;
        }
        const auto found = topic(c.stream.topic);
        const auto uid   = found->uids[static_cast<std::size_t>(locate(*found, c.stream.key))];
        s.stream         = hasher.stream(uid, c.stream.key);
        index_->head(s.stream, &s.head);
    }
    p.boundaries.clear();
    for (const auto& b : request.boundaries) {
        auto& prepared = p.boundaries.emplace_back();
        prepared.query = terms_of_newest(b.matching);
        index_->last_match(prepared.query, b.after, end(), &prepared.match);
    }
}

void engine::prepare_batch(pending_append& p)
{
    const auto& t   = p.batch_topic;
    const auto  now = find_topic(t->name);
    if (!now || now->id != t->id)
        throw error{errc::unknown_topic, "topic " + t->name + " was deleted"};
    if (static_cast<std::int64_t>(p.batch->bytes().size()) > now->config.max_message_bytes)
        throw error{errc::record_too_large,
                    "a batch of " + std::to_string(p.batch->bytes().size()) +
                        " bytes for topic " + t->name + ", whose max.message.bytes is " +
                        std::to_string(now->config.max_message_bytes)};
    if (p.batch->producer_id() >= 0 && p.batch->base_sequence() < 0 && !p.batch->is_control())
        throw error{errc::invalid_argument,
                    "batch for " + t->name + " has a producer id (" +
                        std::to_string(p.batch->producer_id()) +
                        ") and no sequence: number its batches from 0, or leave the id out"};
    p.log_append_time =
        now->config.message_timestamp_type == topic_config::timestamp_type::log_append_time;

    batch_fault why;
    const auto  payload = p.batch->unpack(p.scratch, unpack_bytes_max, &why);
    if (!payload) throw error{why.code, "batch for " + t->name + ": " + why.what};

    record_cursor records{*p.batch, *payload, position{0}};
    std::int64_t  next = p.batch->base_offset().value;
    // No more than parse: places are pointed to. A record takes at least seven bytes.
    p.places.reserve(std::min<std::size_t>(
        static_cast<std::size_t>(p.batch->record_count()), payload->size() / 7 + 1));
    while (records.next()) {
        const auto& r = records.current();
        if (r.offset.value != next++)
            throw error{errc::bad_count,
                        "batch for " + t->name + ": its records' offsets are not dense"};
        auto& place  = p.places.emplace_back();
        place.topic  = now;
        place.number = p.batch_number;
        place.uid    = p.batch_uid;
        place.at     = static_cast<std::uint32_t>(records.current_at());
        place.check  = crc32c(records.current_bytes());
        if (now->config.cleanup_compact && !r.key && !p.batch->is_control()) refuse_keyless(*now);
        if (r.key && !p.batch->is_control()) {
            place.stream = index_->hasher().stream(place.uid, *r.key);
            place.known  = &place.head;
            index_->head(place.stream, place.known);
        }
        place.first_term = static_cast<std::uint32_t>(p.terms.size());
        if (!p.batch->is_control() &&
            !collect_terms(index_->hasher(), r.headers, !now->internal, p.terms, place.command))
            refuse_many_terms(*now);
        place.terms = static_cast<std::uint32_t>(p.terms.size()) - place.first_term;
    }
    if (!records.ok()) {
        // All that is there parses, but it is not as many records as the header counts?
        const auto parsed = static_cast<std::int32_t>(p.places.size());
        const bool at_end = p.places.empty()
                                ? payload->empty()
                                : records.current_at() + records.current_bytes().size() ==
                                      payload->size();
        if (at_end || parsed == p.batch->record_count())
            throw error{errc::bad_count, "batch for " + t->name + ": its header counts " +
                                             std::to_string(p.batch->record_count()) +
                                             " records, and there are " +
                                             (at_end ? std::to_string(parsed) : "more") +
                                             ": send it again as its producer made it"};
        throw error{errc::corrupt_batch, "batch for " + t->name +
                                             ": its records do not parse: send it again as its "
                                             "producer made it"};
    }
    if (p.places.empty())
        throw error{errc::empty_append,
                    "a batch needs at least one record: add one, or do not append"};
    if (static_cast<std::int64_t>(p.places.size()) != p.batch->last_offset_delta() + 1)
        throw error{errc::bad_count, "batch for " + t->name + ": it says it has " +
                                         std::to_string(p.batch->last_offset_delta() + 1) +
                                         " records and has " + std::to_string(p.places.size())};
    p.bytes = p.batch->bytes().size() + 8;
}

/// A match of every record is looked up as a term of its own, which the newest of each commit has:
/// the index remembers it also where retention has taken the record, or its topic was deleted.
query_terms engine::terms_of_newest(const query& q) const
{
    auto terms = terms_of(q);
    if (matches_all(terms)) terms.items = {{{}, {index_->hasher().any_record()}}};
    return terms;
}

std::optional<position> engine::last_match(const query& q) const
{
    return index_->last_match(terms_of_newest(q), std::nullopt, end());
}

}  // namespace cairn::detail
