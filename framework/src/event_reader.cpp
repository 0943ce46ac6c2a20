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

std::vector<any_event> event_reader::change(any_event e) const
{
    constexpr int steps_max = 64;

    std::vector<any_event> done;
    std::deque<any_event>  todo{std::move(e)};
    for (int steps = 0; !todo.empty();) {
        auto next = std::move(todo.front());
        todo.pop_front();
        const auto* c = store_.options.upcasters.change_of(next.type_id());
        if (!c) {
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
        todo.insert(todo.begin(), as.begin(), as.end());
    }
    return done;
}

bool event_reader::merges_with(const record_view&                 r,
                               std::optional<capnp::StructSchema> second) const
{
    const auto* two = store_.options.upcasters.merge_of(waiting_->event.type_id());
    return second && two->second.getProto().getId() == second->getProto().getId() &&
           r.position == waiting_->at.next() && topic_of(r) == waiting_->stream.topic &&
           r.key.value_or(bytes_view{}) == waiting_->stream.key;
}

std::vector<any_event> event_reader::unfold(const record_view& r, const event_type& type)
{
    const auto  schema = schema_of(type);
    const auto& up     = store_.options.upcasters;
    unknown_           = !schema;

    std::vector<any_event> events;
    const auto             and_then = [&](std::vector<any_event> more) {
        events.insert(events.end(), std::make_move_iterator(more.begin()),
                      std::make_move_iterator(more.end()));
    };

    std::optional<any_event> current;
    if (schema) {
        if (type.personal)
            current = store_.codec_of(*schema).unsealed(r, store_.keys());
        else
            current.emplace(*schema, r.value.value_or(bytes_view{}));
    }
    if (waiting_) {
        const bool together = merges_with(r, schema);
        const auto first    = std::exchange(waiting_, std::nullopt);
        if (together) {
            const auto*            two = up.merge_of(first->event.type_id());
            message                one{first->event.bytes()}, other{current->bytes()};
            std::vector<any_event> as;
            two->as(one.opened(), other.opened(), as);
            for (auto& e : as) and_then(change(std::move(e)));
            return events;
        }
        and_then(change(first->event));
    }
    if (!current) return events;
    if (up.merge_of(current->type_id()))
        waiting_ = {{topic_of(r), std::string{r.key.value_or(bytes_view{})}},
                    r.position,
                    std::move(*current)};
    else
        and_then(change(std::move(*current)));
    return events;
}

}  // namespace cairn::detail
