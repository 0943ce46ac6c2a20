// SPDX-License-Identifier: Apache-2.0
#include "instance.hpp"

namespace cairn::detail {

namespace {

constexpr std::size_t stream_id_bytes_max = 1024;
constexpr const char* rejections_topic    = "__rejections";

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

void instance::refuse(const event_type& type, const stream_id& stream) const
{
    throw error{errc::unknown_event,
                stream.topic + "/" + stream.key + " version " + std::to_string(at_.value) +
                    ": the event " + type.text() +
                    " is not one of the aggregate's: add it to aggregate<...>, or an upcaster "
                    "that makes of it one that is"};
}

}  // namespace cairn::detail
