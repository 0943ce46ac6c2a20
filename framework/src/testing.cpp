// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/testing.hpp>

#include "difference.hpp"
#include "event_reader.hpp"
#include "instance.hpp"

#include <algorithm>
#include <ostream>

namespace cairn::testing {

std::ostream& operator<<(std::ostream& out, const verdict& v)
{
    return out << (v.ok ? "as it should be" : v.what);
}

namespace detail {

using cairn::detail::difference;

verdict expect_events(const any_decision& got, const std::vector<any_event>& wanted)
{
    if (got.rejected)
        return {false, "it was rejected: " + got.rejected->reason +
                           "\nand should have happened:\n" + difference(wanted, {})};
    if (got.events == wanted) return {};
    return {false, "what happened (+) is not what should have (-):\n" +
                       difference(wanted, got.events)};
}

verdict expect_rejection(const any_decision& got, std::string_view reason)
{
    if (!got.rejected)
        return {false, "it was not rejected; what happened:\n" + difference({}, got.events)};
    if (reason.empty() || got.rejected->reason == reason) return {};
    return {false, "it was rejected because \"" + got.rejected->reason + "\", not because \"" +
                       std::string{reason} + "\""};
}

std::optional<std::string> key_of(const event_store&                             store,
                                  const cairn::detail::aggregate_type&           type,
                                  const std::vector<any_event>&                  happened,
                                  const cairn::detail::repository_core::decide& ask)
{
    const auto named_by = [&](const std::vector<any_event>& events) {
        std::optional<std::string> key;
        for (const auto& e : events)
            if (!key) key = store.core().codec_of(e.schema()).key_of(e);
        return key;
    };
    if (auto key = named_by(happened)) return key;
    cairn::detail::instance state{type};
    for (const auto& e : happened) state.apply(e);
    return named_by(ask(state.state()).events);
}

stream_id record_given(const event_store& store, const std::vector<any_event>& happened,
                       const std::optional<std::string>& key)
{
    auto log = store.log();
    // No two have one stream: a log only grows. Who has to be in one that is named gets a topic.
    const auto      own = "spec-" + std::to_string(log.end_position().value);
    const stream_id stream{key ? own : "spec", key.value_or(own)};
    log.ensure_topic(stream.topic);
    if (happened.empty()) log.append({.records = {{stream.topic, {}}}});
    record_in(store, stream, happened);
    return stream;
}

void record_in(const event_store& store, const stream_id& stream,
               const std::vector<any_event>& happened)
{
    auto log = store.log();
    log.ensure_topic(stream.topic);
    if (happened.empty()) return;
    append_request request;
    auto           at = log.stream_version(stream);
    for (const auto& e : happened) {
        request.records.push_back({stream.topic, store.core().record_of(e, stream, at, {})});
        at = at.next();
    }
    log.append(request);
}

event_store store_of(const std::vector<any_event>& happened)
{
    const event_store store{commit_log::in_memory()};
    for (const auto& e : happened) {
        const auto key = store.core().codec_of(e.schema()).key_of(e);
        record_in(store, {"spec", key.value_or("given")}, {e});
    }
    return store;
}

std::vector<any_event> read_events(const event_store& store, const stream_id& stream,
                                   version from, const std::vector<capnp::StructSchema>& types)
{
    std::vector<any_event>      events;
    cairn::detail::event_reader reader{store.core(), types};
    const auto take = [&](const cairn::detail::event_type& type, bytes_view event) {
        for (const auto schema : types)
            if (type.is(schema)) events.emplace_back(schema, event);
    };
    for (const auto& r : store.log().read_stream(stream, from)) reader.read(r, take);
    reader.finish(take);
    return events;
}

}  // namespace detail

namespace {

event_store in_memory()
{
    return event_store{commit_log::in_memory()};
}

}  // namespace

world::world() : world{in_memory()} {}

world::world(event_store store) : store_{std::move(store)}
{
    auto log = store_.log();
    log.ensure_topic("spec");
}

}  // namespace cairn::testing
