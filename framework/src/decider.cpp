// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/decider.hpp>

#include "instance.hpp"

#include <algorithm>
#include <deque>

namespace cairn::detail {

struct decider_core::impl
{
    impl(event_store s, std::string t, repository_options o)
        : store{std::move(s)}, core{store.core()}, log{core.log}, topic{std::move(t)},
          options{std::move(o)}
    {
        (void)log.describe_topic(topic);  // throws where there is none
    }

    event_store        store;
    event_store_core&  core;
    commit_log&        log;
    std::string        topic;
    repository_options options;

    append_result record(const any_decision& decided, const stream_id& stream,
                         append_request request, const command_context& context);

    /// The stream that the first of these events names.
    stream_id named_by(const any_decision& decided) const
    {
        const auto& first = decided.events.front();
        const auto  key   = core.codec_of(first.schema()).key_of(first);
        if (!key)
            throw error{errc::illegal_stream_id,
                        std::string{first.type_name()} +
                            " has no field marked $Cairn.key: say the stream that it is to be "
                            "recorded in, or mark one"};
        return checked_stream(topic, *key);
    }

    /// What a source with tags depends on: its events that have them.
    query::item matching(const any_source& s) const
    {
        return {core.query_types(s.type.schemas), s.tags};
    }
};

decider_core::decider_core(event_store store, std::string topic, repository_options o)
    : impl_{std::make_unique<impl>(std::move(store), std::move(topic), std::move(o))}
{
}

decider_core::~decider_core() = default;

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
        auto together = decided.events.size();
        for (const auto& e : decided.events) {
            request.records.push_back(
                {stream.topic, core.record_of(e, stream, next, context, together)});
            together = 1;
            next = next.next();
        }
        auto result = core.try_append(request);
        if (result || was_read || result.error().code != errc::wrong_expected_version ||
            result.error().stream != stream)
            return result;
    }
}

execute_result decider_core::execute(const std::vector<any_source>& sources, const decide& ask,
                                     const std::optional<std::string>& id,
                                     const command_context& context)
{
    auto&       core    = impl_->core;
    auto&       log     = impl_->log;
    const auto& topic   = impl_->topic;
    const auto  named   = id ? std::optional{checked_stream(topic, *id)} : std::nullopt;
    const auto  unknown = impl_->options.unknown;
    if (auto first = first_result(core, context)) return std::move(*first);

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
                state.catch_up(core, *s.stream, unknown, {{}, {}, seen});
                request.expect.push_back({*s.stream, expected_version::exactly(state.at())});
            } else {
                read.items.push_back(impl_->matching(s));
                state.fold(core, read.items.back(), seen);
            }
            as_they_are.push_back(state.state());
        }
        auto decided = ask(as_they_are);
        const bool remembered =
            decided.rejected && context.command_id && context.remember_rejection;
        if (decided.rejected && !remembered) return std::move(*decided.rejected);
        if (!remembered && decided.events.empty())
            return outcome{seen, named ? log.stream_version(*named) : version{0}, 0, false};

        if (!read.items.empty())
            request.boundaries.push_back(
                {std::move(read), seen.value < 0 ? std::nullopt : std::optional{seen}});
        request.command_id = context.command_id;
        if (remembered) {
            log.ensure_topic("__rejections");
            add_rejection(request, *context.command_id, *decided.rejected);
            if (const auto result = log.try_append(request)) return result_of(core, *result);
        } else if (const auto result =
                       impl_->record(decided, named ? *named : impl_->named_by(decided),
                                     std::move(request), context)) {
            if (result->repeated) return result_of(core, *result);
            return outcome{result->last(), result->records.back().version.next(),
                           decided.events.size(), false};
        }
        if (attempt >= impl_->options.attempts_max)
            throw_conflict(named.value_or(stream_id{topic, "*"}), attempt);
    }
}

}  // namespace cairn::detail
