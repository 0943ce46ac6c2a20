// SPDX-License-Identifier: Apache-2.0
#include "control_protocol.hpp"

#include "json_line.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace cairn::detail {

namespace {

constexpr std::array<std::pair<control_verb, std::string_view>, 14> verbs{{
    {control_verb::status, "status"},
    {control_verb::unfed, "unfed"},
    {control_verb::rebuild, "rebuild"},
    {control_verb::cancel_rebuild, "cancel_rebuild"},
    {control_verb::pause, "pause"},
    {control_verb::resume, "resume"},
    {control_verb::reset, "reset"},
    {control_verb::swap, "swap"},
    {control_verb::drop, "drop"},
    {control_verb::skip, "skip"},
    {control_verb::parked, "parked"},
    {control_verb::retry_parked, "retry_parked"},
    {control_verb::skip_parked, "skip_parked"},
    {control_verb::verify, "verify"},
}};

using members = json_value::members;

template <class T>
T number(const json_value& o, std::string_view name)
{
    return o[name].number<T>();
}
bool truth(const json_value& o, std::string_view name)
{
    return o[name].truth();
}
const std::string& text(const json_value& o, std::string_view name)
{
    return o[name].text();
}

// ---- What is known of a projection. ------------------------------------------------------------

json_value as_json(const stored_version& v)
{
    json_value::list partitions;
    for (const auto& [at, p] : v.checkpoint.partitions)
        partitions.emplace_back(members{{"topic", at.topic},
                                        {"partition", at.partition},
                                        {"next", p.next.value},
                                        {"upto", p.upto.value}});
    return members{{"number", v.number},
                   {"active", v.active},
                   {"code_version", v.checkpoint.code_version},
                   {"complete", v.checkpoint.complete},
                   {"paused", v.checkpoint.paused},
                   {"epoch", v.checkpoint.epoch},
                   {"partitions", std::move(partitions)}};
}

stored_version version_from(const json_value& o)
{
    stored_version v{number<int>(o, "number"), truth(o, "active"), {}};
    v.checkpoint.code_version = number<int>(o, "code_version");
    v.checkpoint.complete     = truth(o, "complete");
    v.checkpoint.paused       = truth(o, "paused");
    v.checkpoint.epoch        = number<std::int64_t>(o, "epoch");
    for (const auto& p : o["partitions"].items())
        v.checkpoint.partitions[{text(p, "topic"), number<std::int32_t>(p, "partition")}] = {
            offset{number<std::int64_t>(p, "next")}, position{number<std::int64_t>(p, "upto")}};
    return v;
}

json_value as_json(const rebuild_progress& p)
{
    json_value o{members{{"version", p.version},
                         {"events", p.events},
                         {"total", p.total},
                         {"events_per_s", p.events_per_s},
                         {"error", p.error}}};
    if (p.remaining) o.set("remaining_ms", p.remaining->count());
    return o;
}

rebuild_progress rebuild_from(const json_value& o)
{
    rebuild_progress p;
    p.version      = number<int>(o, "version");
    p.events       = number<std::uint64_t>(o, "events");
    p.total        = number<std::uint64_t>(o, "total");
    p.events_per_s = number<double>(o, "events_per_s");
    p.error        = text(o, "error");
    if (o.has("remaining_ms"))
        p.remaining = std::chrono::milliseconds{number<std::int64_t>(o, "remaining_ms")};
    return p;
}

json_value as_json(const projection_status& s)
{
    json_value::list versions, partitions;
    for (const auto& v : s.versions) versions.push_back(as_json(v));
    for (const auto& p : s.partitions)
        partitions.emplace_back(members{{"topic", p.topic}, {"partition", p.partition}});
    json_value o{members{{"name", s.name},
                         {"version", s.version},
                         {"state", static_cast<int>(s.state)},
                         {"upto", s.upto.value},
                         {"end", s.end.value},
                         {"lag_events", s.lag_events},
                         {"lag_ms", s.lag_time.count()},
                         {"events", s.events},
                         {"commits", s.commits},
                         {"events_per_s", s.events_per_s},
                         {"error", s.error},
                         {"parked", s.parked},
                         {"partitions", std::move(partitions)},
                         {"versions", std::move(versions)}}};
    if (s.stands_before) o.set("stands_before", s.stands_before->value);
    if (s.rebuild) o.set("rebuild", as_json(*s.rebuild));
    return o;
}

projection_status status_from(const json_value& o)
{
    projection_status s;
    s.name         = text(o, "name");
    s.version      = number<int>(o, "version");
    s.state        = static_cast<projection_state>(number<int>(o, "state"));
    s.upto         = position{number<std::int64_t>(o, "upto")};
    s.end          = position{number<std::int64_t>(o, "end")};
    s.lag_events   = number<std::uint64_t>(o, "lag_events");
    s.lag_time     = std::chrono::milliseconds{number<std::int64_t>(o, "lag_ms")};
    s.events       = number<std::uint64_t>(o, "events");
    s.commits      = number<std::uint64_t>(o, "commits");
    s.events_per_s = number<double>(o, "events_per_s");
    s.error        = text(o, "error");
    s.parked       = number<std::uint64_t>(o, "parked");
    if (o.has("stands_before"))
        s.stands_before = position{number<std::int64_t>(o, "stands_before")};
    if (o.has("rebuild")) s.rebuild = rebuild_from(o["rebuild"]);
    for (const auto& p : o["partitions"].items())
        s.partitions.push_back({text(p, "topic"), number<std::int32_t>(p, "partition")});
    for (const auto& v : o["versions"].items()) s.versions.push_back(version_from(v));
    return s;
}

json_value as_json(const parked_event& e)
{
    return members{{"topic", e.in.topic},   {"partition", e.in.partition},
                   {"offset", e.at.value},  {"position", e.where.value},
                   {"key", e.key},          {"type", e.type},
                   {"why", e.why},          {"attempts", e.attempts},
                   {"since", e.since.value}};
}

parked_event parked_from(const json_value& o)
{
    return {{text(o, "topic"), number<std::int32_t>(o, "partition")},
            offset{number<std::int64_t>(o, "offset")},
            position{number<std::int64_t>(o, "position")},
            text(o, "key"),
            text(o, "type"),
            text(o, "why"),
            number<std::int64_t>(o, "attempts"),
            timestamp{number<std::int64_t>(o, "since")}};
}

json_value as_json(const verification& v)
{
    json_value::list different;
    for (const auto& table : v.different) different.emplace_back(table);
    return members{{"ok", v.ok},
                   {"upto", v.upto.value},
                   {"stored", v.stored},
                   {"rebuilt", v.rebuilt},
                   {"different", std::move(different)}};
}

verification verification_from(const json_value& o)
{
    verification v{truth(o, "ok"),
                   position{number<std::int64_t>(o, "upto")},
                   number<std::uint64_t>(o, "stored"),
                   number<std::uint64_t>(o, "rebuilt"),
                   {}};
    for (const auto& table : o["different"].items()) v.different.push_back(table.text());
    return v;
}

}  // namespace

std::string text_of(const control_request& r)
{
    json_value o{members{}};
    for (const auto& [verb, name] : verbs)
        if (verb == r.verb) o.set("do", name);
    if (!r.projection.empty()) o.set("projection", r.projection);
    if (r.version != 0) o.set("version", r.version);
    if (r.verb == control_verb::skip) o.set("position", r.position.value);
    if (r.in) {
        o.set("topic", r.in->topic);
        o.set("partition", r.in->partition);
        o.set("offset", r.at.value);
    }
    return o.line();
}

control_request request_from(std::string_view line)
try {
    const auto o    = json_value::parse(line);
    const auto what = text(o, "do");
    const auto found =
        std::find_if(verbs.begin(), verbs.end(), [&](const auto& v) { return v.second == what; });
    control_request r;
    if (found == verbs.end()) throw error{errc::invalid_argument, "nobody can '" + what + "'"};
    r.verb = found->first;
    if (o.has("projection")) r.projection = text(o, "projection");
    if (o.has("version")) r.version = number<int>(o, "version");
    if (r.verb == control_verb::skip) r.position = position{number<std::int64_t>(o, "position")};
    if (o.has("topic") || r.verb == control_verb::skip_parked) {
        r.in = topic_partition{text(o, "topic"), number<std::int32_t>(o, "partition")};
        r.at = offset{number<std::int64_t>(o, "offset")};
    }
    return r;
} catch (const error& e) {
    throw error{errc::invalid_argument, std::string{"what was asked at the control socket is no "
                                                    "request: "} +
                                            e.what() + "; ask with `cairn projection`"};
}

std::string text_of(const control_answer& a)
{
    json_value       o{members{{"ok", true}, {"count", a.count}}};
    json_value::list projections, parked;
    for (const auto& s : a.projections) projections.push_back(as_json(s));
    for (const auto& e : a.parked) parked.push_back(as_json(e));
    if (!projections.empty()) o.set("projections", std::move(projections));
    if (!parked.empty()) o.set("parked", std::move(parked));
    if (a.verified) o.set("verified", as_json(*a.verified));
    return o.line();
}

std::string text_of(const error& e)
{
    return json_value{members{{"ok", false},
                              {"code", static_cast<int>(e.code())},
                              {"message", std::string{e.what()}}}}
        .line();
}

control_answer answer_from(std::string_view line)
{
    std::optional<error> answered;
    try {
        const auto     o = json_value::parse(line);
        control_answer a;
        if (truth(o, "ok")) {
            a.count = number<std::uint64_t>(o, "count");
            if (o.has("projections"))
                for (const auto& s : o["projections"].items())
                    a.projections.push_back(status_from(s));
            if (o.has("parked"))
                for (const auto& e : o["parked"].items()) a.parked.push_back(parked_from(e));
            if (o.has("verified")) a.verified = verification_from(o["verified"]);
            return a;
        }
        answered.emplace(static_cast<errc>(number<int>(o, "code")), text(o, "message"));
    } catch (const error&) {
        throw error{errc::io_failed,
                    "what answers at the control socket is not this version of Cairn: use the "
                    "program of the version that the service is built with"};
    }
    throw *answered;
}

}  // namespace cairn::detail
