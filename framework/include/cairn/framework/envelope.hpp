// SPDX-License-Identifier: Apache-2.0
//
// What stands around an event on the log: CloudEvents 1.0 attributes, as record headers.
#pragma once

#include <cairn/log/ids.hpp>
#include <cairn/log/record.hpp>

#include <optional>
#include <string>

namespace cairn {

/// Headers of an event's record, beside those in header_names: CloudEvents' attributes and
/// extensions in Kafka's binary binding, and W3C Trace Context.
namespace header_names {
inline constexpr std::string_view id             = "ce_id";
inline constexpr std::string_view source         = "ce_source";
inline constexpr std::string_view spec_version   = "ce_specversion";
inline constexpr std::string_view stream_version = "ce_streamversion";
inline constexpr std::string_view correlation_id = "ce_correlationid";
inline constexpr std::string_view causation_id   = "ce_causationid";
inline constexpr std::string_view trace_parent   = "traceparent";
inline constexpr std::string_view content_type   = "content-type";
}  // namespace header_names

/// Where a command comes from; carried on into the events that it causes.
struct command_context
{
    /// With it, a repeat of the command is answered with what it came to the first time, if that
    /// was events. One that came to nothing is decided again.
    std::optional<std::string> command_id{};

    /// Also when it was rejected: the rejection is recorded (in the topic __rejections) and answers
    /// the repeat, as long as that is kept; then it is command_reused. Else a rejected command is
    /// decided again.
    bool remember_rejection = false;

    /// Of the whole conversation; of the event or command that caused this one.
    std::optional<std::string> correlation_id{};
    std::optional<std::string> causation_id{};

    /// W3C traceparent, as "00-<trace>-<span>-01".
    std::optional<std::string> trace_parent{};
};

}  // namespace cairn
