// SPDX-License-Identifier: Apache-2.0
//
// Behind event_store: one codec for each type, made (and the type registered) when it is first
// needed, or beforehand with others in one append.
#pragma once

#include "codec.hpp"

#include <cairn/framework/event_store.hpp>
#include <cairn/framework/schema.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace cairn::detail {

class event_store_core
{
public:
    event_store_core(commit_log l, event_store_options o)
        : log{std::move(l)}, options{std::move(o)}, schemas_{log}
    {
    }

    commit_log                log;
    const event_store_options options;

    key_store* keys() const noexcept { return options.keys ? &options.keys->store() : nullptr; }

    /// Changes when what is in memory may hold what was forgotten.
    std::uint64_t forgotten() const { return keys() ? keys()->forgotten() : 0; }

    /// Makes the codecs of those that have none yet, and registers them all or none.
    void add_types(std::span<const capnp::StructSchema> types);

    const event_codec& codec_of(capnp::StructSchema schema);

    record record_of(const any_event& e, const stream_id& stream, version at,
                     const command_context& context, std::size_t of_decision = 1)
    {
        return codec_of(e.schema())
            .record_of(e, stream, at, context, options.source, keys(), of_decision);
    }

    /// As the log's, and tells who listens.
    append_result try_append(const append_request& request)
    {
        auto result = log.try_append(request);
        if (result && listeners_count_.load() > 0) tell(result->last());
        return result;
    }
    std::shared_ptr<void> listen(std::function<void(position)> then);

    /// Whether events of this type are read as others.
    bool is_old(std::uint64_t type_id) const noexcept
    {
        const auto& up = options.upcasters;
        return up.change_of(type_id) || up.merged(type_id);
    }

    /// What a query must name to find events of these types: also as they were recorded of old,
    /// and those that others have recorded, who name a type and not a schema. Events of another
    /// type of the same short name are found with them; an event_reader tells them apart.
    std::vector<std::string> query_types(std::span<const capnp::StructSchema> of) const;

private:
    void tell(position last);

    struct listener
    {
        std::function<void(position)> then;
    };

    schema_registry schemas_;

    std::shared_mutex      listeners_mutex_;
    std::vector<listener*> listeners_;
    std::atomic<int>       listeners_count_{0};

    std::shared_mutex                                               mutex_;
    std::unordered_map<std::uint64_t, std::unique_ptr<event_codec>> codecs_;
};

}  // namespace cairn::detail
