// SPDX-License-Identifier: Apache-2.0
#include "event_reader.hpp"

#include <cairn/log/error.hpp>

#include <algorithm>

namespace cairn::detail {

namespace {

std::string topic_of(const record_view& r) { return r.from ? r.from->topic : std::string{}; }

}  // namespace

std::optional<capnp::StructSchema> event_reader::schema_of(const event_type& type) const
{
    const auto& up = store_.options.upcasters;
    if (type.id) {
        if (const auto moved = up.schema_of(*type.id)) return moved;
        if (const auto* c = up.change_of(*type.id)) return c->old;
    } else if (const auto renamed = up.schema_of(type.name)) {
        return renamed;
    }
    for (const auto schema : known_)
        if (type.is(schema)) return schema;
    if (type.id) return up.merged(*type.id);
    for (const auto schema : up.old_types())
        if (type.is(schema)) return schema;
    return std::nullopt;
}

std::vector<any_event> event_reader::change(any_event                           e,
                                            const std::optional<std::uint64_t>* second) const
{
    constexpr int steps_max = 64;

    const auto& up        = store_.options.upcasters;
    const auto  may_merge = [&](const any_event& one) {
        return second && (up.merge_of(one.type_id()) || one.type_id() == *second);
    };
    std::vector<any_event> done;
    std::deque<any_event>  todo{std::move(e)};
    for (int steps = 0; !todo.empty();) {
        auto next = std::move(todo.front());
        todo.pop_front();
        const auto* c = up.change_of(next.type_id());
        if (!c || may_merge(next)) {
            done.push_back(std::move(next));
            continue;
        }
        if (++steps > steps_max)
            throw error{errc::invalid_argument,
                        "the upcasters of " + std::string{next.type_name()} +
                            " go round in a circle: one of them must return another type"};
        message                opened{next.bytes()};
        std::vector<any_event> as;
        c->as(opened.opened(), as);
        if (as.size() != 1) second = nullptr;
        todo.insert(todo.begin(), as.begin(), as.end());
    }
    return done;
}

std::optional<std::uint64_t> event_reader::second_at(const record_view& r) const
{
    if (!waiting_ || r.position != waiting_->at.next() || topic_of(r) != waiting_->stream.topic ||
        r.key.value_or(bytes_view{}) != waiting_->stream.key)
        return std::nullopt;
    const auto* two = store_.options.upcasters.merge_of(waiting_->event.type_id());
    return two->second.getProto().getId();
}

bool event_reader::waits_for(const record_view& r) const
{
    const auto second = second_at(r);
    const auto type   = event_type_of(r);
    const auto schema = second ? schema_of(type) : std::nullopt;
    if (!schema) return false;
    if (schema->getProto().getId() == *second) return true;
    if (!store_.options.upcasters.change_of(schema->getProto().getId())) return false;
    try {
        const auto events = change_to_merge(opened(r, type, *schema), second);
        return events.size() == 1 && events.front().type_id() == *second;
    } catch (...) {
        return false;  // what cannot be read is none: reading it says why
    }
}

any_event event_reader::opened(const record_view& r, const event_type& type,
                               capnp::StructSchema schema) const
{
    if (type.personal) return store_.codec_of(schema).unsealed(r, store_.keys());
    return any_event{schema, r.value.value_or(bytes_view{})};
}

std::vector<any_event> event_reader::unfold(const record_view& r, const event_type& type)
{
    const auto  schema = schema_of(type);
    const auto& up     = store_.options.upcasters;
    unknown_           = !schema;

    std::vector<any_event> events;
    const auto             and_then = [&](any_event e) {
        for (auto& one : change(std::move(e))) events.push_back(std::move(one));
    };

    const auto             second = second_at(r);
    std::vector<any_event> current;
    if (schema) current = change_to_merge(opened(r, type, *schema), second);
    if (waiting_) {
        auto first = std::exchange(waiting_, std::nullopt)->event;
        if (second && current.size() == 1 && current.front().type_id() == *second) {
            const auto*            two = up.merge_of(first.type_id());
            message                one{first.bytes()}, other{current.front().bytes()};
            std::vector<any_event> as;
            two->as(one.opened(), other.opened(), as);
            for (auto& e : as) and_then(std::move(e));
            return events;
        }
        and_then(std::move(first));
    }
    if (current.size() == 1 && up.merge_of(current.front().type_id()))
        waiting_ = {{topic_of(r), std::string{r.key.value_or(bytes_view{})}},
                    r.position,
                    std::move(current.front())};
    else
        for (auto& e : current) and_then(std::move(e));
    return events;
}

}  // namespace cairn::detail
