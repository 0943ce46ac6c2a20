// SPDX-License-Identifier: Apache-2.0
#include "instance.hpp"

namespace cairn::detail {

namespace {

constexpr std::size_t stream_id_bytes_max = 1024;
constexpr const char* rejections_topic    = "__rejections";

[[noreturn]] void throw_removed(const stream_id& stream, version from, version to)
{
    throw error{errc::events_removed,
                stream.topic + "/" + stream.key + ": its versions " + std::to_string(from.value) +
                    " to " + std::to_string(to.value - 1) +
                    " were removed by retention or compaction, and what it would be without them "
                    "is not true: keep such a topic for ever, or take snapshots before they go"};
}

[[noreturn]] void throw_removed(const query::item& matching, std::uint64_t count)
{
    std::string tags;
    for (const auto& tag : matching.tags) tags += (tags.empty() ? "" : " and ") + tag;
    throw error{errc::events_removed,
                "of the events " + (tags.empty() ? "of its types " : "with the tag " + tags + " ") +
                    std::to_string(count) + (count == 1 ? " was" : " were") +
                    " removed, by retention or compaction or with their topic, and what is decided "
                    "without them may be wrong: keep for ever what rules depend on"};
}

}  // namespace

stream_id checked_stream(const std::string& topic, const std::string& id)
{
    if (id.empty() || id.size() > stream_id_bytes_max)
        throw error{errc::illegal_stream_id, "a stream id of " + std::to_string(id.size()) +
                                                 " bytes, for topic " + topic + ": it has 1 to " +
                                                 std::to_string(stream_id_bytes_max)};
    return {topic, id};
}

execute_result result_of(const event_store_core& store, const receipt& first)
{
    const auto& at = first.records.front();
    if (at.at.topic == rejections_topic) {
        auto range = store.log.partition(at.at.topic, at.at.partition).read(at.offset);
        if (const auto* r = range.next(); r && r->value && r->offset == at.offset)
            return rejection{std::string{*r->value}};
    }
    return outcome{first.last(), first.records.back().version.next(), first.records.size(), true};
}

std::optional<execute_result> first_result(const event_store_core& store,
                                           const command_context&  context)
{
    if (!context.command_id) return std::nullopt;
    const auto first = store.log.find_command(*context.command_id);
    return first ? std::optional{result_of(store, *first)} : std::nullopt;
}

void add_rejection(append_request& to, const std::string& command_id, const rejection& why)
{
    record r;
    r.key         = command_id;
    r.value       = why.reason;
    to.command_id = command_id;
    to.records.push_back({rejections_topic, std::move(r)});
}

void throw_conflict(const stream_id& stream, int attempts)
{
    throw error{errc::conflict, stream.topic + "/" + stream.key + ": decided " +
                                    std::to_string(attempts) +
                                    " times, and each time another was quicker; try again"};
}

void instance::catch_up(event_store_core& store, const stream_id& stream, unknown_events unknown,
                        const stream_limit& limit)
{
    const auto enough = [&] { return limit.at && at_ >= *limit.at; };
    if (enough()) return;
    event_reader reader{store, type_.schemas};
    auto         records = store.log.read_stream(stream, at_);
    for (const auto* r = records.next();; r = records.next()) {
        if (enough()) break;
        if (!r) {
            if (const auto gone = static_cast<std::int64_t>(records.removed()); gone > 0)
                throw_removed(stream, at_, at_ + gone);
            break;
        }
        if (r->version != at_) throw_removed(stream, at_, r->version);
        if ((limit.until && r->timestamp > *limit.until) ||
            (limit.last && r->position > *limit.last))
            break;
        apply(*r, stream, reader, unknown);
    }
    finish(stream, reader, unknown);
}

void instance::fold(event_store_core& store, const query::item& matching, position last)
{
    // Asked for by type; what else an upcaster makes of it is not this state's.
    constexpr auto unknown = unknown_events::skip;
    event_reader   reader{store, type_.schemas};
    auto           records = store.log.read_query({{matching}});
    for (const auto* r = records.next(); r && r->position <= last; r = records.next())
        apply(*r, {r->from->topic, std::string{r->key.value_or("")}}, reader, unknown);
    if (records.removed() > 0) throw_removed(matching, records.removed());
    finish({}, reader, unknown);
}

void instance::apply(const record_view& r, const stream_id& stream, event_reader& reader,
                     unknown_events unknown)
{
    reader.read(r, [&](const event_type& type, bytes_view event) {
        take(type, event, reader, stream, unknown);
    });
    at_   = at_.next();
    last_ = r.position;
    unsaved_bytes_ += r.value.value_or(bytes_view{}).size();
}

/// At the end of the records.
void instance::finish(const stream_id& stream, event_reader& reader, unknown_events unknown)
{
    if (reader.waits()) unsettle();
    reader.finish([&](const event_type& type, bytes_view event) {
        take(type, event, reader, stream, unknown);
    });
}

void instance::refuse(const event_type& type, const stream_id& stream) const
{
    throw error{errc::unknown_event,
                stream.topic + "/" + stream.key + " version " + std::to_string(at_.value) +
                    ": the event " + type.text() +
                    " is not one of the aggregate's: add it to aggregate<...>, or an upcaster "
                    "that makes of it one that is"};
}

}  // namespace cairn::detail
