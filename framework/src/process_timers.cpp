// SPDX-License-Identifier: Apache-2.0
#include "process_timers.hpp"

#include <cairn/framework/detail/message.hpp>

#include "process.capnp.h"

namespace cairn::detail {

void process_timers::fold(event_store_core& store, const std::string& topic)
{
    by_id_.clear();
    by_time_.clear();
    std::map<std::string, id> ids;  // a tombstone says its key only
    const auto                prefix    = topic + "/";
    const auto                partition = store.log.partition(timers_topic, 0);
    for (const auto& r : partition.read(partition.start_offset())) {
        const std::string key{r.key.value_or(bytes_view{})};
        if (!key.starts_with(prefix)) continue;
        if (!r.value) {
            if (const auto known = ids.find(key); known != ids.end()) remove(known->second);
            continue;
        }
        message    opened{*r.value};
        const auto timer = opened.opened().getRoot<schema::TimerSet>();
        const id   which{timer.getProcess().cStr(), timer.getName().cStr()};
        const auto text = [&](std::string_view name) -> std::optional<std::string> {
            const auto value = r.headers.find(name);
            return value ? std::optional{std::string{*value}} : std::nullopt;
        };
        command_context carried;
        carried.correlation_id = text(header_names::correlation_id);
        carried.causation_id   = text(header_names::id);
        carried.trace_parent   = text(header_names::trace_parent);
        ids.insert_or_assign(key, which);
        set(which, {timestamp{timer.getDueMs()}, r.position, std::move(carried)});
    }
}

void process_timers::set(const id& timer, set_timer as)
{
    remove(timer);
    by_time_.insert({as.at, as.set_at, timer});
    by_id_.emplace(timer, std::move(as));
}

void process_timers::remove(const id& timer)
{
    const auto known = by_id_.find(timer);
    if (known == by_id_.end()) return;
    by_time_.erase({known->second.at, known->second.set_at, timer});
    by_id_.erase(known);
}

std::optional<std::pair<process_timers::id, set_timer>> process_timers::first() const
{
    if (by_time_.empty()) return std::nullopt;
    const auto& which = std::get<id>(*by_time_.begin());
    return std::pair{which, by_id_.at(which)};
}

std::optional<std::pair<process_timers::id, set_timer>> process_timers::set_at(
    position record) const
{
    for (const auto& timer : by_id_)
        if (timer.second.set_at == record) return timer;
    return std::nullopt;
}

std::vector<pending_timer> process_timers::pending() const
{
    std::vector<pending_timer> all;
    for (const auto& [at, set_at, timer] : by_time_) all.push_back({timer.first, timer.second, at});
    return all;
}

}  // namespace cairn::detail
