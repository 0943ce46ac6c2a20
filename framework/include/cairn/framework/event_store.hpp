// SPDX-License-Identifier: Apache-2.0
//
// A log, seen as events.
#pragma once

#include <cairn/framework/key_ring.hpp>
#include <cairn/framework/upcasters.hpp>

#include <cairn/log/commit_log.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace cairn {

namespace detail {
class event_store_core;
}

struct event_store_options
{
    /// Said in each event as where it comes from: a URI reference.
    std::string source = "/";

    /// How old events are read.
    cairn::upcasters upcasters{};

    /// The keys of the people whose data fields marked $Cairn.personal are. Without it events that
    /// have such fields are refused with missing_keys.
    std::optional<key_ring> keys{};

    /// Where forget() records that somebody was forgotten; made when it is needed.
    std::string forgotten_topic = "forgotten";
};

/// A commit log with what is needed to write and read events in it: what repositories, deciders
/// and process managers are made of. A log will do wherever one is asked for: it is made a store
/// of its own, which reads all of __schemas once. Where there are many, make one store for all.
///
/// Invariants
///   - A type of event is registered before its first event is recorded: its schema is in the
///     topic __schemas, so that any event can be shown as JSON without its code.
///   - An event that names its stream, in a field $Cairn.key, is recorded in no other.
///   - What is marked as personal is on the log encrypted, and nowhere else.
///
/// Threads   Any.
/// Lifetime  A handle: copies mean the same store, which keeps the log open.
/// Errors    incompatible_schema where a type has changed so that recorded events would be read
///           wrongly, or changed and says the same $Cairn.version; illegal_schema where an
///           annotation cannot be followed.
class event_store
{
public:
    event_store(commit_log log, event_store_options o = {});

    const commit_log& log() const noexcept;

    /// Calls `then` after each append that goes through this store, its repositories, deciders and
    /// process managers, before that call returns: in its thread, with the position of its last
    /// record. It ends when what is returned is destroyed, which waits for calls that go on.
    /// REQUIRES: `then` does not throw, nor record anything through this store.
    [[nodiscard]] std::shared_ptr<void> on_recorded(std::function<void(position)> then) const;

    /// Destroys the person's keys: what was recorded of them stays readable, with the personal
    /// fields absent. Then records cairn::SubjectForgotten, so that whoever keeps a copy can
    /// forget too. Throws missing_keys where the store has no key_ring, and invalid_argument for a
    /// subject that has not 1 to 1,024 bytes; then nothing is written. Where it throws anything
    /// else, or the program ends meanwhile, the keys may be gone and nobody told: call it again,
    /// which is right at any time.
    void forget(const std::string& subject) const;

    detail::event_store_core& core() const noexcept { return *core_; }

private:
    std::shared_ptr<detail::event_store_core> core_;
};

}  // namespace cairn
