// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>

namespace cairn {

/// Bytes, whatever they mean. Keys, values and header values are bytes, not text.
using bytes_view = std::string_view;

/// A whole number that counts one kind of thing. Two kinds do not mix: an offset is not a
/// position, and neither is a version.
template <class Tag>
struct ordinal
{
    std::int64_t value = 0;

    constexpr ordinal() = default;
    constexpr explicit ordinal(std::int64_t v) noexcept : value{v} {}

    friend constexpr auto operator<=>(const ordinal&, const ordinal&) = default;

    /// The one after this.
    constexpr ordinal next() const noexcept { return ordinal{value + 1}; }

    friend constexpr ordinal operator+(ordinal a, std::int64_t n) noexcept
    {
        return ordinal{a.value + n};
    }
    friend constexpr ordinal operator-(ordinal a, std::int64_t n) noexcept
    {
        return ordinal{a.value - n};
    }
    friend constexpr std::int64_t operator-(ordinal a, ordinal b) noexcept
    {
        return a.value - b.value;
    }
    constexpr ordinal& operator++() noexcept
    {
        ++value;
        return *this;
    }
    constexpr ordinal& operator+=(std::int64_t n) noexcept
    {
        value += n;
        return *this;
    }
    friend std::ostream& operator<<(std::ostream& out, ordinal o) { return out << o.value; }
};

/// The place of a record in its partition: dense, from 0, given at commit.
using offset = ordinal<struct offset_tag>;

/// The place of a record in the whole log, over all partitions: dense, from 0, given at commit.
using position = ordinal<struct position_tag>;

/// How many records a stream has, and so the version its next record will get: the first
/// record of a stream has version 0.
using version = ordinal<struct version_tag>;

/// Milliseconds since 1970-01-01T00:00Z, as in Kafka.
using timestamp = ordinal<struct timestamp_tag>;

struct topic_partition
{
    std::string  topic;
    std::int32_t partition = 0;

    friend auto operator<=>(const topic_partition&, const topic_partition&) = default;
    friend std::ostream& operator<<(std::ostream& out, const topic_partition& tp)
    {
        return out << tp.topic << '-' << tp.partition;
    }
};

/// A stream is the records of one key in one partition of a topic. The partition is found by
/// the log's partitioner, so topic and key name the stream. A Kafka client that is to write to
/// the same streams must partition as Java's do, by murmur2 (librdkafka and kcat: set
/// `partitioner=murmur2_random`).
struct stream_id
{
    std::string topic;
    std::string key;

    friend auto operator<=>(const stream_id&, const stream_id&) = default;
    friend std::ostream& operator<<(std::ostream& out, const stream_id& id)
    {
        return out << id.topic << '/' << id.key;
    }
};

}  // namespace cairn

template <class Tag>
struct std::hash<cairn::ordinal<Tag>>
{
    std::size_t operator()(cairn::ordinal<Tag> o) const noexcept
    {
        return std::hash<std::int64_t>{}(o.value);
    }
};
