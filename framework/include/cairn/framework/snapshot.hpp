// SPDX-License-Identifier: Apache-2.0
//
// Snapshots of aggregates: what their events have come to, so that not all are applied again.
#pragma once

#include <cairn/framework/event.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>

namespace cairn {

// clang-format off

/// An aggregate that has snapshots names a Cap'n Proto struct for them, writes itself into it and
/// reads itself from it:
///
///     struct Account : cairn::aggregate<Deposited, Withdrawn>
///     {
///         using snapshot = AccountSnapshot;
///         static constexpr int snapshot_version = 2;  // raised when apply() means something else
///         void save(snapshot::Builder to) const { to.setCents(cents); }
///         void restore(snapshot::Reader from)   { cents = from.getCents(); }
///
/// It is restored into a new aggregate. Where save() throws, there is no snapshot; where restore()
/// throws, all events are applied. Where an event has a field marked $Cairn.personal, the
/// snapshot is encrypted as a whole, and ignored once anybody was forgotten.
template <class A>
concept snapshottable = event_struct<typename A::snapshot> &&
    requires(const A& saved, A& restored, typename A::snapshot::Builder to,
             typename A::snapshot::Reader from) {
        { saved.save(to) } -> std::same_as<void>;
        { restored.restore(from) } -> std::same_as<void>;
    };

// clang-format on

/// When a snapshot is taken: whatever comes first. It is written after the events, by another
/// thread, into the compacted topic __snapshots: never in the way of an append.
struct snapshot_policy
{
    std::uint64_t every_events = 100;  ///< since the last one; 0: not for that
    std::uint64_t every_bytes  = 0;    ///< of events, likewise

    /// When loading took so long. 0: not for that.
    std::chrono::microseconds load_time{0};

    /// Whether each snapshot that is read is compared with all its events applied; where they
    /// differ, snapshot_differs. In a debug build, unless said otherwise.
#ifdef NDEBUG
    bool verified = false;
#else
    bool verified = true;
#endif
};

namespace detail {

template <class A>
constexpr int snapshot_version_of()
{
    if constexpr (requires { A::snapshot_version; })
        return A::snapshot_version;
    else
        return 1;
}

}  // namespace detail

}  // namespace cairn
