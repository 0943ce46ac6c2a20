// SPDX-License-Identifier: Apache-2.0
#include "control_protocol.hpp"

#include <boost/json/src.hpp>

#include <array>
#include <limits>
#include <utility>

namespace cairn::detail {

namespace {

namespace json = boost::json;

constexpr std::array<std::pair<control_verb, std::string_view>, 13> verbs{{
    {control_verb::status, "status"},
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

[[noreturn]] void refuse(const std::string& why)
{
    throw error{errc::invalid_argument, "what was asked at the control socket is no request: " +
                                            why + "; ask with `cairn projection`"};
}

// ---- Values. -----------------------------------------------------------------------------------

json::string as_text(std::string_view bytes)
{
    json::string text;
    for (const char c : bytes) {
        const auto byte = static_cast<std::uint8_t>(c);
        if (byte < 0x80) {
            text.push_back(c);
        } else {
            text.push_back(static_cast<char>(0xc0 | (byte >> 6)));
            text.push_back(static_cast<char>(0x80 | (byte & 0x3f)));
        }
    }
    return text;
}

std::string bytes_of(const json::value& v)
{
    if (!v.is_string()) refuse("text is missing");
    const auto& text = v.get_string();
    std::string bytes;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto lead = static_cast<std::uint8_t>(text[i]);
        if (lead < 0x80) {
            bytes.push_back(text[i]);
        } else {
            if (lead > 0xc3 || i + 1 == text.size()) refuse("a character is no byte");
            const auto next = static_cast<std::uint8_t>(text[++i]);
            bytes.push_back(static_cast<char>(((lead & 0x03) << 6) | (next & 0x3f)));
        }
    }
    return bytes;
}

const json::value& member(const json::object& o, std::string_view name)
{
    static const json::value nothing;
    const auto*              found = o.if_contains(json::string_view{name.data(), name.size()});
    return found != nullptr ? *found : nothing;
}

template <class T>
T number(const json::object& o, std::string_view name)
{
    const auto&      v = member(o, name);
    json::error_code failed;
    const auto       n = v.to_number<T>(failed);
    if (failed) refuse("no number is its \"" + std::string{name} + "\"");
    return n;
}

bool truth(const json::object& o, std::string_view name)
{
    const auto& v = member(o, name);
    if (!v.is_bool()) refuse("neither true nor false is its \"" + std::string{name} + "\"");
    return v.get_bool();
}

std::string text(const json::object& o, std::string_view name)
{
    return bytes_of(member(o, name));
}

const json::object& object(const json::value& v)
{
    if (!v.is_object()) refuse("it is no object");
    return v.get_object();
}

const json::array& array(const json::object& o, std::string_view name)
{
    const auto& v = member(o, name);
    if (!v.is_array()) refuse("no list is its \"" + std::string{name} + "\"");
    return v.get_array();
}

json::value parse(std::string_view line)
{
    json::parse_options o;
    o.max_depth = 8;
    json::error_code failed;
    auto             v = json::parse(json::string_view{line.data(), line.size()}, failed, {}, o);
    if (failed) refuse(failed.message());
    return v;
}

// ---- What is known of a projection. ------------------------------------------------------------

json::value as_json(const stored_version& v)
{
    json::array partitions;
    for (const auto& [at, p] : v.checkpoint.partitions)
        partitions.push_back({{"topic", as_text(at.topic)},
                              {"partition", at.partition},
                              {"next", p.next.value},
                              {"upto", p.upto.value}});
    return {{"number", v.number},
            {"active", v.active},
            {"code_version", v.checkpoint.code_version},
            {"complete", v.checkpoint.complete},
            {"paused", v.checkpoint.paused},
            {"epoch", v.checkpoint.epoch},
            {"partitions", std::move(partitions)}};
}

stored_version version_from(const json::object& o)
{
    stored_version v{number<int>(o, "number"), truth(o, "active"), {}};
    v.checkpoint.code_version = number<int>(o, "code_version");
    v.checkpoint.complete     = truth(o, "complete");
    v.checkpoint.paused       = truth(o, "paused");
    v.checkpoint.epoch        = number<std::int64_t>(o, "epoch");
    for (const auto& each : array(o, "partitions")) {
        const auto& p = object(each);
        v.checkpoint.partitions[{text(p, "topic"), number<std::int32_t>(p, "partition")}] = {
            offset{number<std::int64_t>(p, "next")}, position{number<std::int64_t>(p, "upto")}};
    }
    return v;
}

json::value as_json(const rebuild_progress& p)
{
    json::object o{{"version", p.version},
                   {"events", p.events},
                   {"total", p.total},
                   {"events_per_s", p.events_per_s},
                   {"error", as_text(p.error)}};
    if (p.remaining) o["remaining_ms"] = p.remaining->count();
    return o;
}

rebuild_progress rebuild_from(const json::object& o)
{
    rebuild_progress p;
    p.version      = number<int>(o, "version");
    p.events       = number<std::uint64_t>(o, "events");
    p.total        = number<std::uint64_t>(o, "total");
    p.events_per_s = number<double>(o, "events_per_s");
    p.error        = text(o, "error");
    if (o.contains("remaining_ms"))
        p.remaining = std::chrono::milliseconds{number<std::int64_t>(o, "remaining_ms")};
    return p;
}

json::value as_json(const projection_status& s)
{
    json::array versions;
    for (const auto& v : s.versions) versions.push_back(as_json(v));
    json::object o{{"name", as_text(s.name)},
                   {"version", s.version},
                   {"state", static_cast<int>(s.state)},
                   {"upto", s.upto.value},
                   {"end", s.end.value},
                   {"lag_events", s.lag_events},
                   {"lag_ms", s.lag_time.count()},
                   {"events", s.events},
                   {"commits", s.commits},
                   {"events_per_s", s.events_per_s},
                   {"error", as_text(s.error)},
                   {"parked", s.parked},
                   {"versions", std::move(versions)}};
    if (s.stands_before) o["stands_before"] = s.stands_before->value;
    if (s.rebuild) o["rebuild"] = as_json(*s.rebuild);
    return o;
}

projection_status status_from(const json::object& o)
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
    if (o.contains("stands_before"))
        s.stands_before = position{number<std::int64_t>(o, "stands_before")};
    if (o.contains("rebuild")) s.rebuild = rebuild_from(object(member(o, "rebuild")));
    for (const auto& v : array(o, "versions")) s.versions.push_back(version_from(object(v)));
    return s;
}

json::value as_json(const parked_event& e)
{
    return {
        {"topic", as_text(e.in.topic)}, {"partition", e.in.partition}, {"offset", e.at.value},
        {"position", e.where.value},    {"key", as_text(e.key)},       {"type", as_text(e.type)},
        {"why", as_text(e.why)},        {"attempts", e.attempts},      {"since", e.since.value}};
}

parked_event parked_from(const json::object& o)
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

json::value as_json(const verification& v)
{
    json::array different;
    for (const auto& table : v.different) different.push_back(as_text(table));
    return {{"ok", v.ok},
            {"upto", v.upto.value},
            {"stored", v.stored},
            {"rebuilt", v.rebuilt},
            {"different", std::move(different)}};
}

verification verification_from(const json::object& o)
{
    verification v{truth(o, "ok"),
                   position{number<std::int64_t>(o, "upto")},
                   number<std::uint64_t>(o, "stored"),
                   number<std::uint64_t>(o, "rebuilt"),
                   {}};
    for (const auto& table : array(o, "different")) v.different.push_back(bytes_of(table));
    return v;
}

}  // namespace

std::string text_of(const control_request& r)
{
    json::object o;
    for (const auto& [verb, name] : verbs)
        if (verb == r.verb) o["do"] = json::string{name.data(), name.size()};
    if (!r.projection.empty()) o["projection"] = as_text(r.projection);
    if (r.version != 0) o["version"] = r.version;
    if (r.verb == control_verb::skip) o["position"] = r.position.value;
    if (r.in) {
        o["topic"]     = as_text(r.in->topic);
        o["partition"] = r.in->partition;
        o["offset"]    = r.at.value;
    }
    return json::serialize(o);
}

control_request request_from(std::string_view line)
{
    const auto      value = parse(line);
    const auto&     o     = object(value);
    const auto      what  = text(o, "do");
    control_request r;
    bool            known = false;
    for (const auto& [verb, name] : verbs)
        if (name == what) {
            r.verb = verb;
            known  = true;
        }
    if (!known) refuse("nobody can \"" + what + "\"");
    if (o.contains("projection")) r.projection = text(o, "projection");
    if (o.contains("version")) r.version = number<int>(o, "version");
    if (r.verb == control_verb::skip) r.position = position{number<std::int64_t>(o, "position")};
    if (o.contains("topic") || r.verb == control_verb::skip_parked) {
        r.in = topic_partition{text(o, "topic"), number<std::int32_t>(o, "partition")};
        r.at = offset{number<std::int64_t>(o, "offset")};
    }
    return r;
}

std::string text_of(const control_answer& a)
{
    json::object o{{"ok", true}, {"count", a.count}};
    json::array  projections, parked;
    for (const auto& s : a.projections) projections.push_back(as_json(s));
    for (const auto& e : a.parked) parked.push_back(as_json(e));
    if (!projections.empty()) o["projections"] = std::move(projections);
    if (!parked.empty()) o["parked"] = std::move(parked);
    if (a.verified) o["verified"] = as_json(*a.verified);
    return json::serialize(o);
}

std::string text_of(const error& e)
{
    return json::serialize(json::object{
        {"ok", false}, {"code", static_cast<int>(e.code())}, {"message", as_text(e.what())}});
}

control_answer answer_from(std::string_view line)
{
    std::optional<error> answered;
    try {
        const auto     value = parse(line);
        const auto&    o     = object(value);
        control_answer a;
        if (truth(o, "ok")) {
            a.count = number<std::uint64_t>(o, "count");
            if (o.contains("projections"))
                for (const auto& s : array(o, "projections"))
                    a.projections.push_back(status_from(object(s)));
            if (o.contains("parked"))
                for (const auto& e : array(o, "parked")) a.parked.push_back(parked_from(object(e)));
            if (o.contains("verified"))
                a.verified = verification_from(object(member(o, "verified")));
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
