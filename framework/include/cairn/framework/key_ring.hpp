// SPDX-License-Identifier: Apache-2.0
//
// Keys of people, to be destroyed: crypto-shredding.
#pragma once

#include <cairn/log/commit_log.hpp>

#include <memory>
#include <string>

namespace cairn {

namespace detail {
class key_store;
}

/// A key for each person, in a compacted topic. What is personal is encrypted with it
/// (AES-256-GCM), so that to forget the person is to destroy the key, in one place, wherever copies
/// of the events are.
///
///     cairn::key_ring keys{cairn::commit_log::open("./keys")};
///
/// The keys may live in the same log as the events. Better is a log of their own: a backup of the
/// events then has no keys in it, and the keys are backed up apart, and for less long.
///
/// Invariants
///   - After forget() nothing that was encrypted for the person before can be read, here, through
///     another ring on the same keys, or by another process that reads them, as soon as it sees
///     what was appended to their log; nor does a later command decide on it, or a new snapshot
///     hold it. What comes later has a new key.
///   - A key is on disk before anything is encrypted with it.
///
/// Threads   Any.
/// Lifetime  A handle: copies mean the same ring, which keeps its log open.
/// Errors    What the log throws; io_failed where OpenSSL gives no random bytes; invalid_argument
///           for a subject that has not 1 to 1,024 bytes, before anything is written.
class key_ring
{
public:
    explicit key_ring(commit_log log, const std::string& topic = "__keys");

    /// Whether the person has a key: something personal was recorded, and not forgotten since.
    bool knows(const std::string& subject) const;

    /// Destroys the key, and that of the snapshots that may hold something personal. Their records
    /// are compacted away at once; bytes of them may remain in the journal's file until later
    /// appends to that log have gone over them.
    void forget(const std::string& subject) const;

    detail::key_store& store() const noexcept { return *store_; }

private:
    std::shared_ptr<detail::key_store> store_;
};

}  // namespace cairn
