// SPDX-License-Identifier: Apache-2.0
//
// What leaves for the world outside: mails, calls of other services.
#pragma once

#include <cairn/framework/event_store.hpp>
#include <cairn/framework/process_runner.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cairn {

/// A message that is to be delivered.
struct delivery
{
    /// The same each time that this message is delivered, and of no other message: hand it to
    /// whoever takes the message, to know a repeat by. Its ce_id, as "mails/ada@3"; of a record
    /// that has none topic-partition@offset.
    std::string id;

    std::string                key;      ///< of its record
    int                        attempt;  ///< from 1 on; a restart begins again
    timestamp                  recorded_at;
    std::optional<std::string> correlation_id;
};

/// What becomes of a message that could not be delivered so often.
enum class undeliverable {
    stop,  ///< the outbox stands before it, and says so
    park,  ///< it goes into <topic>.parked, and so does what comes later with its key
};

struct outbox_options
{
    /// The time of day, by which is tried again. None: the system's.
    std::function<timestamp()> clock{};

    /// After a failure it waits so long, then twice as long each time, up to backoff_max.
    std::chrono::milliseconds backoff_first = std::chrono::seconds{1};
    std::chrono::milliseconds backoff_max   = std::chrono::minutes{5};
    int                       attempts_max  = 10;
    undeliverable             then          = undeliverable::stop;
};

struct outbox_statistics
{
    std::uint64_t delivered = 0;
    std::uint64_t failures  = 0;  ///< attempts that threw
    std::uint64_t parked    = 0;
};

struct parked_message
{
    std::string id, key;
    std::string why;  ///< what the last attempt threw; or which message it waits behind

    friend auto operator<=>(const parked_message&, const parked_message&) = default;
};

/// A message could not be delivered; it stands where it was.
class delivery_failed : public error
{
public:
    delivery_failed(const std::string& what, std::string id, std::exception_ptr cause)
        : error{errc::delivery_failed, what}, id_{std::move(id)}, cause_{std::move(cause)}
    {
    }

    const std::string& id() const noexcept { return id_; }
    std::exception_ptr cause() const noexcept { return cause_; }

private:
    std::string        id_;
    std::exception_ptr cause_;
};

namespace detail {

template <class Deliver, class E>
struct must_deliver
{
    static_assert(std::invocable<Deliver&, typename E::Reader, const delivery&>,
                  "the outbox lists this message, and its function does not take "
                  "(Message::Reader, const cairn::delivery&)");
};

class outbox_core
{
public:
    struct entry
    {
        capnp::StructSchema                                         schema;
        std::function<void(capnp::MessageReader&, const delivery&)> deliver;
    };

    outbox_core(event_store store, std::string topic, std::vector<entry> entries, outbox_options o);
    ~outbox_core();

    void        run_until_idle();
    void        start();
    void        stop() noexcept;
    std::size_t retry_parked();

    runner_state                state() const noexcept;
    std::exception_ptr          failure() const noexcept;
    std::optional<timestamp>    next_attempt() const;
    std::vector<parked_message> parked() const;
    outbox_statistics           statistics() const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace detail

/// Delivers the messages of a topic with a function of the user's, AT LEAST ONCE: where the
/// process, or the machine, stops after the function has returned and before that is on disk, the
/// message is delivered again. Nobody who changes the world outside can promise more. What makes
/// it once is the receiver, who knows a repeat by delivery::id.
///
///     cairn::outbox<Mail> mails{log, "mails", [&](Mail::Reader m, const cairn::delivery& d) {
///         smtp.send(m.getTo().cStr(), m.getText().cStr(), d.id);  // throws: not delivered
///     }};
///     mails.start();
///
/// What comes from process managers (reaction::post) is recorded together with what caused it, so
/// it is delivered if, and only if, that has happened.
///
/// Invariants
///   - A message is delivered until the function returns, or it is parked; none is skipped.
///   - Messages of one key are delivered in their order; none before its predecessor is.
///   - One that fails is tried again after a time that doubles, and not endlessly.
///   - Of several outboxes of one topic the one that began last delivers. The others stop with
///     errc::fenced_generation.
///
/// Threads   Any. The function is called by one thread at a time.
/// Lifetime  Keeps the log open. The destructor stops it.
/// Errors    delivery_failed where a message was tried attempts_max times (undeliverable::stop);
///           kept for error(), and it is tried again when run_until_idle() or start() is called
///           again. offset_out_of_range where retention has removed what was not delivered.
template <event_struct... Messages>
class outbox
{
public:
    /// `deliver` is called as (Message::Reader, const delivery&) for each of the messages.
    template <class Deliver>
    outbox(const event_store& store, std::string topic, Deliver deliver, outbox_options o = {})
        : core_{store, std::move(topic), entries(std::make_shared<Deliver>(std::move(deliver))),
                std::move(o)}
    {
    }

    /// Delivers all that is there and due, and returns; also where a message is to be tried again
    /// later: next_attempt().
    void run_until_idle() { core_.run_until_idle(); }

    /// Delivers what is there and what comes, in a thread of its own, which ends where
    /// run_until_idle() would throw.
    void start() { core_.start(); }
    /// Ends that, after the message that is being delivered. It may be started again. Called by the
    /// function that delivers it, it returns at once.
    void stop() noexcept { core_.stop(); }

    /// Delivers what was parked, in order; what is delivered is parked no longer. Returns how
    /// many; throws delivery_failed at the first that fails again.
    std::size_t retry_parked() { return core_.retry_parked(); }

    runner_state       state() const noexcept { return core_.state(); }
    std::exception_ptr error() const noexcept { return core_.failure(); }

    /// When the first of those that have failed is tried again; nullopt where none has.
    std::optional<timestamp> next_attempt() const { return core_.next_attempt(); }

    /// In order, and as it is on the log: an outbox that only looks ends no other.
    std::vector<parked_message> parked() const { return core_.parked(); }

    outbox_statistics statistics() const { return core_.statistics(); }

private:
    template <class Deliver>
    static std::vector<detail::outbox_core::entry> entries(std::shared_ptr<Deliver> deliver)
    {
        static_assert((sizeof(detail::must_deliver<Deliver, Messages>) && ...));
        return {{capnp::Schema::from<Messages>(),
                 [deliver](capnp::MessageReader& message, const delivery& d) {
                     (*deliver)(message.getRoot<Messages>(), d);
                 }}...};
    }

    detail::outbox_core core_;
};

}  // namespace cairn
