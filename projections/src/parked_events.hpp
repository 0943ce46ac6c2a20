// SPDX-License-Identifier: Apache-2.0
//
// Events that a projection could not handle, and those that wait behind them: tables beside its
// own, committed with them.
//
//     cairn_parked         (topic, partition, offset) -> what it was and why
//     cairn_parked_keys    (topic, partition, hash of the key, offset) -> nothing
//     cairn_parked_counts  (topic, partition, hash of the key) -> how many; "" , -1, 0: of all
//
// Two keys of one hash wait for each other, which delays and loses nothing.
#pragma once

#include <cairn/projections/projection_runner.hpp>

#include <cairn/framework/origin.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace cairn::detail {

/// Invariants
///   - While an event of a key is parked, later ones of that key are too.
///   - What is in memory does not grow with how many are parked.
///
/// Threads   Those of the projection.
class parked_events
{
public:
    explicit parked_events(projection_base& of);

    std::uint64_t count() const;

    /// An event of its key is parked.
    bool must_wait(const topic_partition& in, const record_view& r) const;

    void park(const topic_partition& in, const record_view& r, const std::string& why,
              std::int64_t attempts, timestamp now);
    void failed_again(const topic_partition& in, offset at, const std::string& why);
    /// False: it is not there.
    bool remove(const topic_partition& in, offset at);

    std::vector<parked_event> list(std::size_t                        at_most,
                                   const std::optional<parked_event>& after) const;

    /// The oldest of a key, or one without.
    struct first
    {
        topic_partition              in;
        offset                       at;
        std::optional<std::uint64_t> key;
    };
    /// Of all keys, one after the other: behind that one.
    std::optional<first> first_after(const std::optional<first>& f) const;
    /// The oldest of that key; nullopt: there is none any more.
    std::optional<offset> first_of(const topic_partition& in, std::uint64_t key) const;

private:
    using place     = std::tuple<std::string, std::int32_t, std::int64_t>;
    using key_place = std::tuple<std::string, std::int32_t, std::uint64_t, std::int64_t>;
    using key_name  = std::tuple<std::string, std::int32_t, std::uint64_t>;

    struct reason
    {
        std::string  key, type, why;
        position     at;
        std::int64_t attempts = 0;
        timestamp    since;
        bool         keyed = false;
    };
    struct nothing
    {
        bool there = true;
    };

    void add(const key_name& key, std::int64_t n);

    table<place, reason>          events_;
    table<key_place, nothing>     by_key_;
    table<key_name, std::int64_t> counts_;
};

}  // namespace cairn::detail
