// SPDX-License-Identifier: Apache-2.0
#include "process_causes.hpp"

namespace cairn::detail {

namespace {

stream_id stream_of(const record_view& r)
{
    return {r.from ? r.from->topic : std::string{}, std::string{r.key.value_or(bytes_view{})}};
}

std::optional<std::string> text_of(const record_view& r, std::string_view header)
{
    const auto value = r.headers.find(header);
    return value ? std::optional{std::string{*value}} : std::nullopt;
}

/// What is carried on from a record to what comes of it.
command_context carried_from(const record_view& r)
{
    auto id = text_of(r, header_names::id);
    if (!id && r.from)
        id = r.from->topic + "-" + std::to_string(r.from->partition) + "@" +
             std::to_string(r.offset.value);
    command_context carried;
    carried.causation_id   = id;
    carried.correlation_id = text_of(r, header_names::correlation_id);
    if (!carried.correlation_id) carried.correlation_id = id;
    carried.trace_parent = text_of(r, header_names::trace_parent);
    return carried;
}

}  // namespace

std::string process_cause::text() const
{
    if (timer)
        return "the timer \"" + timer->first.second + "\" of " + timer->first.first +
               ", set at position " + std::to_string(at.value);
    return "the event at position " + std::to_string(at.value) +
           (parts.empty() ? "" : " (" + std::string{parts.front().event.type_name()} + ")");
}

process_causes::process_causes(event_store_core& store, const process_type& type)
    : store_{store}, type_{type}
{
    store_.add_types(type_.schemas);
    heard_.items.push_back({store_.query_types(type_.schemas), {}});
}

std::optional<process_cause> process_causes::next(position                       from,
                                                  const std::optional<position>& before)
{
    for (;;) {
        if (!ahead_) ahead_ = next_record(from);
        if (held_ && (!ahead_ || !reader_->waits_for(*ahead_))) return finished();
        if (!ahead_ || (before && ahead_->position >= *before)) return std::nullopt;
        auto cause = cause_of(*ahead_);
        read_to_   = ahead_->position.next();
        ahead_     = nullptr;
        held_.reset();
        if (cause.unreadable || !reader_->waits()) return cause;
        held_ = std::move(cause);  // it may be the first of two that are merged
    }
}

void process_causes::reset()
{
    reading_.reset();
    ahead_ = nullptr;
    held_.reset();
}

void process_causes::rest()
{
    if (!ahead_) reset();
}

record_range process_causes::news() const
{
    return store_.log.read_query(heard_, read_to_);
}

const record_view* process_causes::next_record(position from)
{
    if (!reading_) {
        reader_.emplace(store_, type_.schemas);
        read_to_ = from;
        reading_.emplace(store_.log.read_query(heard_, from));
    }
    if (const auto* r = reading_->next()) return r;
    return reading_->wait(record_range::clock::now()) ? reading_->next() : nullptr;
}

process_cause process_causes::cause_of(const record_view& r)
{
    process_cause cause;
    cause.at   = r.position;
    cause.next = r.position.next();
    cause.time = r.timestamp;
    cause.from = stream_of(r);
    if (held_) cause.first = held_->at;
    cause.carried = carried_from(r);
    try {
        reader_->read(r, [&](const event_type& t, bytes_view e) { take(cause, t, e); });
    } catch (...) {
        cause.unreadable = std::current_exception();
    }
    return cause;
}

process_cause process_causes::finished()
{
    auto cause = std::move(*held_);
    held_.reset();
    try {
        reader_->finish([&](const event_type& t, bytes_view e) { take(cause, t, e); });
    } catch (...) {
        cause.unreadable = std::current_exception();
    }
    return cause;
}

void process_causes::take(process_cause& into, const event_type& t, bytes_view e) const
{
    for (const auto& h : type_.heard)
        if (t.is(h.schema)) into.parts.push_back({&h, any_event{h.schema, e}});
}

}  // namespace cairn::detail
