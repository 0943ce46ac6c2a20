// SPDX-License-Identifier: Apache-2.0
//
// Snapshots: records of the compacted topic __snapshots, keyed "<topic>/<id>#<type id>", with the
// state as an event of the type `snapshot`. Headers say what it is a snapshot of: ce_streamversion,
// and
//
//     cairn_snapshotversion    the aggregate's snapshot_version, in decimal
//     cairn_position           position of the last event in it, in decimal
//     cairn_topicid            id of the stream's topic, in hex: one made anew has another
//
// Where an event of the aggregate has a personal field, and the store has a key_ring, the value is
// sealed; see key_store.hpp.
#pragma once

#include "instance.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace cairn::detail {

/// Reads and writes the snapshots of one kind of aggregate.
///
/// Invariants
///   - offer() never waits for the disk and never throws; what it cannot take it leaves.
///   - The destructor writes what was offered.
///
/// Threads   Any.
class snapshots
{
public:
    snapshots(event_store store, const aggregate_type& type, const snapshot_policy& policy);
    ~snapshots();

    /// Brings a new instance to the newest snapshot that fits; false where there is none.
    bool restore(instance& to, const stream_id& stream);

    /// Takes a snapshot if the policy says so. `basis` is from before the state was read.
    void offer(instance& of, const stream_id& stream, std::chrono::microseconds loaded_in,
               const state_basis& basis) noexcept;

    struct counts
    {
        std::atomic<std::uint64_t> used{0}, ignored{0}, taken{0};
    };
    const counts& counted() const noexcept { return counts_; }

private:
    struct taken
    {
        stream_id   stream;
        version     at;
        position    last;
        any_event   state;
        state_basis basis;
    };

    std::string key_of(const stream_id& stream) const;
    std::string bound_to(const stream_id& stream, version at) const;
    void        verify(const record_view& r, instance& restored, const stream_id& stream) const;
    void        write(const taken& t);
    void        run();

    event_store           store_;
    const aggregate_type& type_;
    const snapshot_policy policy_;
    std::string           type_text_;
    bool                  sealed_;
    counts                counts_;

    std::mutex              mutex_;  // guards what follows
    std::condition_variable wakes_;
    std::deque<taken>       waiting_;
    bool                    stop_ = false;
    std::thread             writer_;  // begun with the first
};

}  // namespace cairn::detail
