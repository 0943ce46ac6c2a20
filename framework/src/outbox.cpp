// SPDX-License-Identifier: Apache-2.0
//
// One lane for each partition: the message at its head is delivered, the checkpoint is written,
// and the next one is at the head. One that fails holds up its lane, not the others.
//
// The checkpoint is a record of __outboxes and no consumer group's: groups are forgotten when
// nothing is committed for long, and then all of history would be delivered again.
//
// Parking is one append: the message, in <topic>.parked, and the checkpoint. What has a key of
// which something is parked is parked behind it.
#include <cairn/framework/outbox.hpp>

#include "background.hpp"
#include "checkpoint.hpp"
#include "event_reader.hpp"
#include "reason.hpp"

#include "process.capnp.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <unordered_map>

namespace cairn::detail {

namespace {

constexpr const char* checkpoints_topic = "__outboxes";
constexpr const char* parked_id         = "cairn-parked-id";
constexpr const char* parked_why        = "cairn-parked-why";

struct lane
{
    offset    next{};
    int       failures = 0;
    timestamp failed_at{};
    timestamp again_at{};
};

std::string text_of(const record_view& r, std::string_view header)
{
    return std::string{r.headers.find(header).value_or(bytes_view{})};
}

std::string id_of(const record_view& r)
{
    if (auto parked = text_of(r, parked_id); !parked.empty()) return parked;
    if (auto id = text_of(r, header_names::id); !id.empty()) return id;
    return r.from->topic + "-" + std::to_string(r.from->partition) + "@" +
           std::to_string(r.offset.value);
}

}  // namespace

struct outbox_core::impl
{
    impl(event_store s, std::string t, std::vector<entry> e, outbox_options o)
        : store{std::move(s)},
          core{store.core()},
          log{core.log},
          topic{std::move(t)},
          parking{topic + ".parked"},
          entries{std::move(e)},
          options{std::move(o)},
          progress{core, {checkpoints_topic, topic}, "outbox of the topic " + topic}
    {
        (void)log.describe_topic(topic);  // throws where there is none
        for (const auto& known : entries) schemas.push_back(known.schema);
        core.add_types(schemas);
        news.items.push_back({core.query_types(schemas), {}});
    }
    ~impl() { thread.stop(); }

    // ---- Beginning. ----------------------------------------------------------------------

    void claim()
    {
        progress.claim([&](capnp::MessageReader* newest) {
            lanes.clear();
            add_lanes();
            if (newest) {
                const auto c    = newest->getRoot<schema::OutboxCheckpoint>();
                const auto next = c.getNext();
                for (unsigned p = 0; p < std::min<std::size_t>(next.size(), lanes.size()); ++p)
                    lanes[p].next = offset{next[p]};
                parked_next = offset{c.getParkedNext()};
                generation  = c.getGeneration();
            }
            ++generation;
            return checkpoint_now();
        });
        behind.clear();
        if (log.try_describe_topic(parking))
            for (const auto& r : log.partition(parking, 0).read(parked_next))
                if (r.key) behind.emplace(*r.key, id_of(r));
        claimed = true;
    }

    /// For partitions that were added.
    void add_lanes()
    {
        const auto partitions = log.partitions(topic);
        while (lanes.size() < partitions.size())
            lanes.push_back({partitions[lanes.size()].start_offset()});
    }

    event<schema::OutboxCheckpoint> checkpoint_now() const
    {
        return event<schema::OutboxCheckpoint>{[&](auto c) {
            auto next = c.initNext(static_cast<unsigned>(lanes.size()));
            for (unsigned p = 0; p < lanes.size(); ++p) next.set(p, lanes[p].next.value);
            c.setParkedNext(parked_next.value);
            c.setGeneration(generation);
        }};
    }

    void save(append_request request = {})
    {
        progress.add_to(request, checkpoint_now());
        const auto result = log.try_append(request);
        if (result) return progress.written();
        if (result.error().code == errc::wrong_expected_version) progress.throw_fenced();
        throw append_refused{result.error()};
    }

    // ---- Delivering. ---------------------------------------------------------------------

    void work(bool until_stopped)
    {
        guarded([&] {
            for (auto& l : lanes)
                if (l.failures >= options.attempts_max) l.failures = 0;  // it failed; once more
            add_lanes();
            for (std::size_t p = 0; p < lanes.size(); ++p) empty_lane(p, until_stopped);
        });
    }

    template <class F>
    void guarded(const F& f)
    {
        const std::lock_guard turn{turns};
        try {
            if (!claimed) claim();
            progress.check();
            set_failure(nullptr);
            f();
        } catch (...) {
            look_ahead();
            throw;
        }
        look_ahead();
    }

    /// As run_until_idle() and retry_parked() do, which say that they failed.
    template <class F>
    auto asked_for(const F& f)
    {
        try {
            return f();
        } catch (...) {
            set_failure(std::current_exception());
            throw;
        }
    }

    /// Says when is tried again.
    void look_ahead()
    {
        std::optional<timestamp> first;
        for (const auto& l : lanes)
            if (l.failures > 0 && (!first || l.again_at < *first)) first = l.again_at;
        const std::lock_guard lock{mutex};
        again_at = first;
    }

    void set_failure(std::exception_ptr e)
    {
        const std::lock_guard lock{mutex};
        failure = std::move(e);
    }

    void empty_lane(std::size_t p, bool until_stopped)
    {
        auto&      at  = lanes[p];
        const auto due = [&] {
            const auto now = time_from(options.clock);
            // A clock that was set back does not make it wait for longer.
            return at.failures == 0 || now >= at.again_at || now < at.failed_at;
        };
        if (!due()) return;
        auto range = log.partition(topic, static_cast<std::int32_t>(p)).read(at.next);
        while (const auto* r = range.next()) {
            if (until_stopped && thread.stopping()) return;
            const auto before = at;
            const auto key    = r->key ? std::optional{std::string{*r->key}} : std::nullopt;
            if (const auto first = key ? behind.find(*key) : behind.end(); first != behind.end()) {
                park(*r, at, "it waits behind " + first->second);
                continue;
            }
            if (const auto failed = try_deliver(*r, at.failures + 1)) {
                if (!give_up(*r, at, failed)) return;
                continue;
            }
            at = {r->offset.next()};
            try {
                save();
            } catch (...) {
                at = before;
                throw;
            }
            const std::lock_guard lock{mutex};
            ++counts.delivered;
        }
    }

    /// What it threw; null where it is delivered.
    std::exception_ptr try_deliver(const record_view& r, int attempt)
    {
        try {
            delivery d{id_of(r), std::string{r.key.value_or(bytes_view{})}, attempt, r.timestamp,
                       std::nullopt};
            if (const auto c = r.headers.find(header_names::correlation_id))
                d.correlation_id = std::string{*c};
            event_reader reader{core, schemas};
            const auto   each = [&](const event_type& type, bytes_view message) {
                for (const auto& known : entries)
                    if (type.is(known.schema)) return known.deliver(reader.open(message), d);
                throw error{errc::unknown_event, "the message " + type.text() +
                                                     " is not one of the outbox's: add it to "
                                                       "outbox<...>"};
            };
            reader.read(r, each);
            reader.finish(each);
            return nullptr;
        } catch (...) {
            const std::lock_guard lock{mutex};
            ++counts.failures;
            return std::current_exception();
        }
    }

    /// True where the lane goes on behind it.
    bool give_up(const record_view& r, lane& at, const std::exception_ptr& why)
    {
        ++at.failures;
        if (at.failures < options.attempts_max) {
            auto wait = options.backoff_first;
            for (int i = 1; i < at.failures && wait < options.backoff_max; ++i) wait *= 2;
            wait         = std::min(wait, options.backoff_max);
            at.failed_at = time_from(options.clock);
            at.again_at  = at.failed_at + wait.count();
            return false;
        }
        const auto id = id_of(r);
        if (options.then == undeliverable::stop)
            throw delivery_failed{"the outbox of " + topic + " stops: " + id +
                                      " could not be delivered in " + std::to_string(at.failures) +
                                      " attempts: " + reason_of(why),
                                  id, why};
        park(r, at, reason_of(why));
        return true;
    }

    void park(const record_view& r, lane& at, const std::string& why)
    {
        log.ensure_topic(parking);
        const auto    id = id_of(r);
        append_record to{parking};
        if (r.key) to.record.key = std::string{*r.key};
        if (r.value) to.record.value = std::string{*r.value};
        to.record.timestamp = r.timestamp;
        for (const auto& h : r.headers)
            if (h.name != header_names::command_id)  // that was another append's
                to.record.headers.push_back(
                    {std::string{h.name},
                     h.value ? std::optional{std::string{*h.value}} : std::nullopt});
        to.record.headers.push_back({parked_id, id});
        to.record.headers.push_back({parked_why, why});
        append_request request;
        request.records.push_back(std::move(to));
        const auto before = at;
        at                = {r.offset.next()};
        try {
            save(std::move(request));
        } catch (...) {
            at = before;
            throw;
        }
        if (r.key) behind.emplace(*r.key, id);
        const std::lock_guard lock{mutex};
        ++counts.parked;
    }

    std::size_t retry()
    {
        std::size_t done = 0;
        guarded([&] {
            if (!log.try_describe_topic(parking)) return;
            for (const auto& r : log.partition(parking, 0).read(parked_next)) {
                if (const auto failed = try_deliver(r, 1))
                    throw delivery_failed{
                        "the outbox of " + topic + ": " + id_of(r) +
                            ", which is parked, could not be delivered: " + reason_of(failed),
                        id_of(r), failed};
                const auto before = parked_next;
                parked_next       = r.offset.next();
                try {
                    save();
                } catch (...) {
                    parked_next = before;
                    throw;
                }
                ++done;
                const std::lock_guard lock{mutex};
                ++counts.delivered;
            }
            behind.clear();
        });
        return done;
    }

    /// By what is on the log, which may be another's: looking does not begin.
    std::vector<parked_message> parked() const
    {
        std::vector<parked_message> all;
        if (!log.try_describe_topic(parking)) return all;
        offset first;
        progress.look([&](capnp::MessageReader& newest) {
            first = offset{newest.getRoot<schema::OutboxCheckpoint>().getParkedNext()};
        });
        for (const auto& r : log.partition(parking, 0).read(first))
            all.push_back(
                {id_of(r), std::string{r.key.value_or(bytes_view{})}, text_of(r, parked_why)});
        return all;
    }

    std::optional<timestamp> next_attempt() const
    {
        const std::lock_guard lock{mutex};
        return again_at;
    }

    // ---- In the background. --------------------------------------------------------------

    void follow() noexcept
    {
        while (!thread.stopping()) {
            try {
                const auto seen = log.end_position();
                work(true);
                std::chrono::milliseconds nap{1000};
                if (const auto again = next_attempt())
                    nap = std::clamp(std::chrono::milliseconds{*again - time_from(options.clock)},
                                     std::chrono::milliseconds{0}, nap);
                thread.sleep(log.read_query(news, seen), nap);
            } catch (...) {
                const std::lock_guard lock{mutex};
                failure = std::current_exception();
                thread.ended();
                return;
            }
        }
    }

    event_store                      store;
    event_store_core&                core;
    commit_log&                      log;
    const std::string                topic;
    const std::string                parking;
    const std::vector<entry>         entries;
    const outbox_options             options;
    std::vector<capnp::StructSchema> schemas;
    query                            news;

    // One thread at a time delivers.
    std::mutex                                   turns;
    bool                                         claimed = false;
    checkpoint                                   progress;
    std::int64_t                                 generation = 0;
    offset                                       parked_next;
    std::unordered_map<std::string, std::string> behind;  // key, and the first of it

    std::vector<lane> lanes;  // by partition

    mutable std::mutex       mutex;
    std::optional<timestamp> again_at;
    outbox_statistics        counts;
    std::exception_ptr       failure;

    background thread;
};

outbox_core::outbox_core(event_store store, std::string topic, std::vector<entry> entries,
                         outbox_options o)
    : impl_{std::make_unique<impl>(std::move(store), std::move(topic), std::move(entries),
                                   std::move(o))}
{
}

outbox_core::~outbox_core() = default;

void outbox_core::run_until_idle()
{
    impl_->asked_for([&] { impl_->work(false); });
}
void outbox_core::start()
{
    impl_->thread.start([this] { impl_->follow(); });
}
void outbox_core::stop() noexcept
{
    impl_->thread.stop();
}
std::size_t outbox_core::retry_parked()
{
    return impl_->asked_for([&] { return impl_->retry(); });
}

runner_state outbox_core::state() const noexcept
{
    const std::lock_guard lock{impl_->mutex};
    if (impl_->failure) return runner_state::failed;
    return impl_->thread.running() ? runner_state::running : runner_state::idle;
}

std::exception_ptr outbox_core::failure() const noexcept
{
    const std::lock_guard lock{impl_->mutex};
    return impl_->failure;
}

std::optional<timestamp> outbox_core::next_attempt() const
{
    return impl_->next_attempt();
}
std::vector<parked_message> outbox_core::parked() const
{
    return impl_->parked();
}

outbox_statistics outbox_core::statistics() const
{
    const std::lock_guard lock{impl_->mutex};
    return impl_->counts;
}

}  // namespace cairn::detail
