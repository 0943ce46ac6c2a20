// SPDX-License-Identifier: Apache-2.0
//
// Behind key_ring, and what is done with its keys.
//
// A key is a record of the keys' topic: key = the subject, value = 32 random bytes. Its version in
// that stream says which of the subject's keys it is; a null value says that the one before it was
// destroyed. With each key that is destroyed goes a null value with the key "__forgotten": the
// version of that stream tells all rings on the log, in any process, that somebody was forgotten.
//
// What is sealed, as the header cairn_personal of an event's record, one for each subject:
//
//      at  size
//       0     1   1, the format
//       1     8   version of the key, little-endian
//       9     2   bytes of the subject, little-endian
//      11     n   the subject
//    11+n    12   nonce, random
//    23+n     m   the fields, encrypted: AES-256-GCM (NIST SP 800-38D)
//  23+n+m    16   tag, over the above, the event's ce_id and its type
#pragma once

#include <cairn/log/commit_log.hpp>
#include <cairn/log/record.hpp>

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>

namespace cairn::detail {

inline constexpr std::string_view personal_header = "cairn_personal";

// A snapshot may hold what is personal about anybody, and nobody says about whom. So one that may
// is sealed as a whole, with the key of a subject of its own, that each forget() destroys too: a
// snapshot only saves time.

/// Threads  Any.
class key_store
{
public:
    key_store(commit_log log, std::string topic);

    /// Encrypts with the subject's key, which is made where there is none. `bound_to` must be
    /// said again to open it.
    std::string seal(const std::string& subject, bytes_view plain, std::string_view bound_to);

    /// Null: the key was destroyed, or is not in this ring. Throws malformed_event where a sealed
    /// value was changed, or is of another event.
    std::optional<std::string> open(bytes_view sealed, std::string_view bound_to);

    /// While it is held nobody is forgotten here, nor was anywhere since forgotten() was `then`;
    /// nullopt where somebody was: what was read before may hold what they were, and is not to be
    /// sealed again, for that would make a new key. Another ring on this log can still forget
    /// meanwhile: what was sealed may be kept if forgotten() is `then` afterwards too, for then it
    /// was with a key that whoever forgets later destroys.
    std::optional<std::shared_lock<std::shared_mutex>> remembered_since(std::uint64_t then);

    /// As seal(), of a snapshot. REQUIRES: remembered_since() is held.
    std::string seal_snapshot(bytes_view plain, std::string_view bound_to);

    bool knows(const std::string& subject);
    void forget(const std::string& subject);

    /// Changes with each forget() of any ring on this log: what was read before may hold what is
    /// forgotten now. Cheap: a look into the log's index.
    std::uint64_t forgotten() const;

private:
    struct key
    {
        version                       made{-1};
        std::array<unsigned char, 32> bytes{};
    };

    /// The newest key; null where there is none, or it was destroyed.
    std::optional<key> find(const std::string& subject);
    key                find_or_make(const std::string& subject);

    /// False where a key was made or destroyed meanwhile.
    bool try_destroy(const std::string& subject);

    commit_log                           log_;
    std::string                          topic_;
    std::mutex                           mutex_;  // guards known_
    std::unordered_map<std::string, key> known_;
    std::shared_mutex                    forgetting_;  // shared: nobody is forgotten meanwhile
};

}  // namespace cairn::detail
