// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/decider.hpp>

#include "codec.hpp"
#include "instance.hpp"

#include <algorithm>
#include <deque>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

namespace cairn::detail {

struct decider_core::impl
{
    commit_log         log;
    std::string        topic;
    repository_options options;

    /// The codec of a type, made when it is first decided.
    const event_codec& codec_of(const any_event& e)
    {
        {
            const std::shared_lock lock{mutex};
            if (const auto known = codecs.find(e.type_id()); known != codecs.end())
                return known->second;
        }
        const std::unique_lock lock{mutex};
        return codecs.try_emplace(e.type_id(), e.schema()).first->second;
    }

    append_result record(const any_decision& decided, const stream_id& stream,
                         append_request request, const command_context& context);

    std::shared_mutex                              mutex;
    std::unordered_map<std::uint64_t, event_codec> codecs;
};

decider_core::decider_core(commit_log log, std::string topic, repository_options o)
    : impl_{new impl{std::move(log), std::move(topic), std::move(o), {}, {}}}
{
    (void)impl_->log.describe_topic(impl_->topic);  // throws where there is none
}

decider_core::~decider_core() = default;

namespace {

/// What a source with tags depends on: its events that have them.
query::item matching(const any_source& s)
{
    query::item item;
    for (const auto& e : s.type.events) item.types.push_back(data_schema_of(e.schema));
    item.tags = s.tags;
    return item;
}

}  // namespace

// The events say their version in their stream, so that is a condition too. Where it alone fails,
// what was decided still holds: only the number is another.
append_result decider_core::impl::record(const any_decision& decided, const stream_id& stream,
                                         append_request request, const command_context& context)
{
    const bool was_read = std::any_of(
        request.expect.begin(), request.expect.end(),
        [&](const stream_condition& c) { return c.stream == stream; });
    if (!was_read) request.expect.push_back({stream, expected_version::any()});
    for (;;) {
        const auto first = log.stream_version(stream);
        auto       next  = first;
        if (!was_read) request.expect.back().expected = expected_version::exactly(first);
        request.records.clear();
        for (const auto& e : decided.events) {
            request.records.push_back(
                {stream.topic, codec_of(e).record_of(e, stream, next, context, options.source)});
            next = next.next();
        }
        auto result = log.try_append(request);
        if (result || was_read || result.error().code != errc::wrong_expected_version ||
            result.error().stream != stream)
            return result;
    }
}

execute_result decider_core::execute(const std::vector<any_source>& sources, const decide& ask,
                                     const std::string& id, const command_context& context)
{
    auto&      log    = impl_->log;
    const auto stream = checked_stream(impl_->topic, id);
    if (context.command_id)
        if (const auto first = log.find_command(*context.command_id)) return repeated(*first);

    for (int attempt = 1;; ++attempt) {
        // All states are of the moment at which the log ended here.
        const auto         seen = log.end_position() - 1;
        append_request     request;
        query              read;
        std::deque<instance> states;
        std::vector<void*> as_they_are;
        for (const auto& s : sources) {
            auto& state = states.emplace_back(s.type);
            if (s.stream) {
                for (const auto& r : log.read_stream(*s.stream)) {
                    if (r.position > seen) break;
                    state.apply(r, *s.stream);
                }
                request.expect.push_back({*s.stream, expected_version::exactly(state.at())});
            } else {
                read.items.push_back(matching(s));
                for (const auto& r : log.read_query({{read.items.back()}})) {
                    if (r.position > seen) break;
                    state.apply(r, {r.from->topic, std::string{r.key.value_or("")}});
                }
            }
            as_they_are.push_back(state.state());
        }
        auto decided = ask(as_they_are);
        if (decided.rejected) return std::move(*decided.rejected);
        if (decided.events.empty()) return outcome{seen, log.stream_version(stream), 0, false};

        if (!read.items.empty())
            request.boundaries.push_back(
                {std::move(read), seen.value < 0 ? std::nullopt : std::optional{seen}});
        request.command_id = context.command_id;
        const auto result  = impl_->record(decided, stream, std::move(request), context);
        if (result) {
            if (result->repeated) return repeated(*result);
            return outcome{result->last(), result->records.back().version.next(),
                           decided.events.size(), false};
        }
        if (attempt >= impl_->options.attempts_max)
            throw error{errc::conflict, stream.topic + "/" + stream.key + ": decided " +
                                            std::to_string(attempt) +
                                            " times, and each time another was quicker; try again"};
    }
}

}  // namespace cairn::detail
