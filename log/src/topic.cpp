// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/error.hpp>
#include <cairn/log/topic.hpp>

#include <algorithm>
#include <charconv>
#include <limits>

namespace cairn {

namespace {

/// A config whose value is a whole number.
struct number_config
{
    std::string_view name;
    std::int64_t topic_config::*field;
    std::int64_t                least;
    std::int64_t                most;
};

constexpr auto int32_most = std::int64_t{std::numeric_limits<std::int32_t>::max()};
constexpr auto int64_most = std::numeric_limits<std::int64_t>::max();

// The ranges are Kafka's (LogConfig).
constexpr number_config number_configs[] = {
    {"delete.retention.ms", &topic_config::delete_retention_ms, 0, int64_most},
    {"max.message.bytes", &topic_config::max_message_bytes, 0, int32_most},
    {"min.compaction.lag.ms", &topic_config::min_compaction_lag_ms, 0, int64_most},
    {"retention.bytes", &topic_config::retention_bytes, -1, int64_most},
    {"retention.ms", &topic_config::retention_ms, -1, int64_most},
    {"segment.bytes", &topic_config::segment_bytes, 14, int32_most},
};

constexpr std::string_view cleanup_policy = "cleanup.policy";
constexpr std::string_view timestamp_kind = "message.timestamp.type";

[[noreturn]] void illegal(std::string_view name, std::string_view value, std::string_view legal)
{
    throw error{errc::illegal_config, std::string{name} + " cannot be \"" + std::string{value} +
                                          "\": legal is " + std::string{legal}};
}

[[noreturn]] void unknown(std::string_view name)
{
    std::string known;
    for (const auto& [known_name, value] : topic_config{}.entries()) {
        if (!known.empty()) known += ", ";
        known += known_name;
    }
    throw error{errc::illegal_config,
                "there is no topic config \"" + std::string{name} + "\": there are " + known};
}

std::string_view trimmed(std::string_view text)
{
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    return text;
}

}  // namespace

void topic_config::set(std::string_view name, std::string_view value)
{
    if (name == cleanup_policy) {
        bool deletes = false, compacts = false;
        auto rest = value;
        for (;;) {
            const auto comma = rest.find(',');
            const auto word  = trimmed(rest.substr(0, comma));
            if (word == "delete")
                deletes = true;
            else if (word == "compact")
                compacts = true;
            else
                illegal(name, value, "delete, compact, or compact,delete");
            if (comma == std::string_view::npos) break;
            rest.remove_prefix(comma + 1);
        }
        cleanup_delete  = deletes;
        cleanup_compact = compacts;
        return;
    }
    if (name == timestamp_kind) {
        if (value == "CreateTime")
            message_timestamp_type = timestamp_type::create_time;
        else if (value == "LogAppendTime")
            message_timestamp_type = timestamp_type::log_append_time;
        else
            illegal(name, value, "CreateTime or LogAppendTime");
        return;
    }
    for (const auto& c : number_configs) {
        if (c.name != name) continue;
        std::int64_t number      = 0;
        const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(),
                                                   number);
        if (failed != std::errc{} || end != value.data() + value.size() || number < c.least ||
            number > c.most)
            illegal(name, value,
                    "a whole number from " + std::to_string(c.least) + " to " +
                        std::to_string(c.most));
        this->*c.field = number;
        return;
    }
    unknown(name);
}

void topic_config::reset(std::string_view name)
{
    for (const auto& [known, value] : topic_config{}.entries())
        if (known == name) return set(name, value);
    unknown(name);
}

std::vector<std::pair<std::string, std::string>> topic_config::entries() const
{
    std::vector<std::pair<std::string, std::string>> all;
    all.emplace_back(cleanup_policy, cleanup_compact
                                         ? (cleanup_delete ? "compact,delete" : "compact")
                                         : "delete");
    for (const auto& c : number_configs)
        all.emplace_back(c.name, std::to_string(this->*c.field));
    all.emplace_back(timestamp_kind, message_timestamp_type == timestamp_type::create_time
                                         ? "CreateTime"
                                         : "LogAppendTime");
    std::sort(all.begin(), all.end());
    return all;
}

bool is_legal_topic_name(std::string_view name) noexcept
{
    if (name.empty() || name.size() > 249 || name == "." || name == "..") return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    });
}

}  // namespace cairn
