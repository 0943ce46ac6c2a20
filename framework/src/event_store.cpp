// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/detail/event_record.hpp>

#include "event_store_core.hpp"

#include "forgotten.capnp.h"

#include <cairn/framework/detail/names.hpp>

#include <mutex>

namespace cairn {

namespace detail {

const event_codec& event_store_core::codec_of(capnp::StructSchema schema)
{
    const auto id = schema.getProto().getId();
    {
        const std::shared_lock lock{mutex_};
        if (const auto known = codecs_.find(id); known != codecs_.end()) return *known->second;
    }
    add_types({&schema, 1});
    const std::shared_lock lock{mutex_};
    return *codecs_.at(id);
}

void event_store_core::add_types(std::span<const capnp::StructSchema> types)
{
    const std::unique_lock           lock{mutex_};
    std::vector<capnp::StructSchema> fresh;
    decltype(codecs_)                made;
    for (const auto schema : types) {
        const auto id = schema.getProto().getId();
        if (codecs_.contains(id) || made.contains(id)) continue;
        made.emplace(id, std::make_unique<event_codec>(schema));
        fresh.push_back(schema);
    }
    schemas_.add(fresh);
    codecs_.merge(made);
}

std::shared_ptr<void> event_store_core::listen(std::function<void(position)> then)
{
    auto* const one = new listener{std::move(then)};
    auto        end = std::shared_ptr<void>{one, [this](void* it) {
                                         auto* const over = static_cast<listener*>(it);
                                         {
                                             const std::unique_lock lock{listeners_mutex_};
                                             std::erase(listeners_, over);
                                             listeners_count_ = static_cast<int>(listeners_.size());
                                         }
                                         delete over;
                                     }};
    const std::unique_lock lock{listeners_mutex_};
    listeners_.push_back(one);
    listeners_count_ = static_cast<int>(listeners_.size());
    return end;
}

void event_store_core::tell(position last)
{
    const std::shared_lock lock{listeners_mutex_};
    for (const auto* one : listeners_) one->then(last);
}

std::vector<std::string>
event_store_core::query_types(std::span<const capnp::StructSchema> of) const
{
    const auto&              up = options.upcasters;
    std::vector<std::string> types;
    const auto               add = [&](capnp::StructSchema schema) {
        types.push_back(data_schema_of(schema));
        types.emplace_back(short_name(schema));
    };
    for (const auto schema : of) add(schema);
    for (const auto schema : up.old_types()) add(schema);
    for (const auto id : up.old_ids()) types.push_back(data_schema_of(id));
    for (auto& name : up.old_names()) types.push_back(std::move(name));
    return types;
}

record record_of(const event_store& store, const any_event& e, const stream_id& stream, version at,
                 const command_context& context)
{
    return store.core().record_of(e, stream, at, context);
}

}  // namespace detail

event_store::event_store(commit_log log, event_store_options o)
    : core_{std::make_shared<detail::event_store_core>(std::move(log), std::move(o))}
{
}

const commit_log& event_store::log() const noexcept { return core_->log; }

std::shared_ptr<void> event_store::on_recorded(std::function<void(position)> then) const
{
    struct kept
    {
        std::shared_ptr<detail::event_store_core> core;
        std::shared_ptr<void>                     listener;  // goes first
    };
    return std::make_shared<kept>(kept{core_, core_->listen(std::move(then))});
}

void event_store::forget(const std::string& subject) const
{
    auto* const keys = core_->keys();
    if (!keys)
        throw error{errc::missing_keys, "to forget " + subject +
                                            " the event_store needs the key_ring: give it one in "
                                            "its options"};
    keys->forget(subject);

    const auto& topic = core_->options.forgotten_topic;
    core_->log.ensure_topic(topic);
    const stream_id                stream{topic, subject};
    const event<SubjectForgotten> happened{[&](auto e) { e.setSubject(subject); }};
    for (;;) {
        const auto     at = core_->log.stream_version(stream);
        append_request request;
        request.records.push_back({topic, core_->record_of(happened, stream, at, {})});
        request.expect.push_back({stream, expected_version::exactly(at)});
        const auto result = core_->try_append(request);
        if (result) return;
        if (result.error().code != errc::wrong_expected_version)
            throw append_refused{result.error()};
        // Another has forgotten the person meanwhile. Each time one of us got on, so this ends.
    }
}

}  // namespace cairn
