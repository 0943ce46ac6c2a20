// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/framework/envelope.hpp>

#include <cairn/log/ids.hpp>
#include <cairn/log/record.hpp>

#include <optional>

namespace cairn {

/// Where an event comes from: its place on the log, and what is said around it.
///
/// Threads   const from any.
/// Lifetime  A view of the event's record: good until the call that was given it returns.
/// Errors    None. What was not recorded by Cairn may have no version, id or causes.
class origin
{
public:
    explicit origin(const record_view& of) noexcept : record_{&of} {}

    /// "" where the event is from a test, and no log.
    bytes_view topic() const noexcept
    {
        return record_->from != nullptr ? bytes_view{record_->from->topic} : bytes_view{};
    }
    std::int32_t partition() const noexcept
    {
        return record_->from != nullptr ? record_->from->partition : 0;
    }
    cairn::offset    offset() const noexcept { return record_->offset; }
    cairn::position  position() const noexcept { return record_->position; }
    cairn::timestamp time() const noexcept { return record_->timestamp; }

    /// The id of its stream: the record's key.
    bytes_view stream() const noexcept { return record_->key.value_or(bytes_view{}); }

    /// Its version in its stream; nullopt where it does not say.
    std::optional<cairn::version> version() const noexcept;

    std::optional<bytes_view> id() const noexcept { return header(header_names::id); }
    std::optional<bytes_view> correlation_id() const noexcept
    {
        return header(header_names::correlation_id);
    }
    std::optional<bytes_view> causation_id() const noexcept
    {
        return header(header_names::causation_id);
    }
    std::optional<bytes_view> trace_parent() const noexcept
    {
        return header(header_names::trace_parent);
    }
    std::optional<bytes_view> header(bytes_view name) const noexcept
    {
        return record_->headers.find(name);
    }

private:
    const record_view* record_;
};

}  // namespace cairn
