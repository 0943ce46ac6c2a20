// SPDX-License-Identifier: Apache-2.0
#include "projection_run.hpp"

#include <algorithm>
#include <limits>
#include <queue>

namespace cairn::detail {

namespace {

constexpr position no_position{std::numeric_limits<std::int64_t>::max()};

/// So many records of no interest are read again at the most after a restart.
constexpr std::uint64_t uncommitted_max = 100'000;

/// A handler threw; the batch is gone.
struct handler_threw
{
    topic_partition    in;
    offset             at;
    position           where;
    std::string        type;
    std::exception_ptr cause;
};

std::string what_of(const std::exception_ptr& e)
{
    try {
        std::rethrow_exception(e);
    } catch (const std::exception& known) {
        return known.what();
    } catch (...) {
        return "something that is no std::exception";
    }
}

}  // namespace

/// A partition, read in its order.
struct projection_run::source
{
    topic_partition    at;
    record_range       records;
    const record_view* next;
    offset             done{-1};  ///< all before is handled, and not yet in at_; -1: none
};

projection_run::projection_run(event_store events, std::string name, int number,
                               std::shared_ptr<projection_tables> tables,
                               const projection_type& type, const projection_options& options)
    : events_{std::move(events)}, name_{std::move(name)}, number_{number},
      tables_{std::move(tables)}, type_{type}, options_{options}, itself_{type.create()},
      access_{access_of(*itself_)}, dispatch_{events_, type.handlers},
      at_{tables_->read()->checkpoint()}
{
    if (at_.partitions.empty()) return;
    upto_ = no_position;
    for (const auto& [at, p] : at_.partitions) upto_ = std::min(upto_, p.upto);
}

std::vector<topic_partition> projection_run::partitions() const
{
    const auto&                  log = events_.log();
    std::vector<topic_partition> all;
    for (const auto& topic : options_.topics.empty() ? log.topics() : options_.topics)
        if (const auto d = log.try_describe_topic(topic))
            for (std::int32_t p = 0; p < static_cast<std::int32_t>(d->partitions.size()); ++p)
                all.push_back({topic, p});
    return all;
}

void projection_run::claim()
{
    if (claimed_) return;
    access_.forget();
    auto writer = tables_->write();
    auto now    = writer->checkpoint();
    ++now.epoch;
    writer->commit({}, now);
    const std::lock_guard lock{mutex_};
    at_      = now;
    claimed_ = true;
}

std::vector<projection_run::source> projection_run::open_sources()
{
    std::vector<source> all;
    for (auto& at : partitions()) {
        const auto p     = events_.log().partition(at.topic, at.partition);
        const auto start = p.start_offset();
        const auto end   = p.end_offset();
        offset     next{0};
        {
            const std::lock_guard lock{mutex_};
            if (const auto known = at_.partitions.find(at); known != at_.partitions.end())
                next = known->second.next;
        }
        const auto where = [&] {
            return "projection " + name_ + " version " + std::to_string(number_) + ": " +
                   at.topic + "-" + std::to_string(at.partition);
        };
        if (next > end)
            throw error{errc::checkpoint_ahead,
                        where() + " is counted up to offset " + std::to_string(next.value) +
                            ", and the log ends at " + std::to_string(end.value) +
                            ": the log is an older copy than the tables; rebuild the projection"};
        if (next < start && next.value > 0)
            throw error{errc::events_removed,
                        where() + " is counted up to offset " + std::to_string(next.value) +
                            ", and retention has removed all before " +
                            std::to_string(start.value) +
                            ": rebuild the projection from what is left"};
        if (next >= end) continue;
        auto        records = p.read(std::max(next, start));
        source      s{std::move(at), std::move(records), nullptr, offset{-1}};
        all.push_back(std::move(s));
    }
    for (auto& s : all) s.next = s.records.next();
    std::erase_if(all, [](const source& s) { return s.next == nullptr; });
    return all;
}

projection_checkpoint projection_run::after(std::span<const source> sources, position upto) const
{
    const std::lock_guard lock{mutex_};
    auto                  now = at_;
    for (const auto& s : sources)
        if (s.done.value >= 0) now.partitions[s.at].next = s.done;
    for (auto& [at, p] : now.partitions) p.upto = std::max(p.upto, upto);
    return now;
}

void projection_run::advance(std::span<source> sources, projection_checkpoint to, position upto)
{
    for (auto& s : sources) s.done = offset{-1};
    {
        const std::lock_guard lock{mutex_};
        at_   = std::move(to);
        upto_ = std::max(upto_, upto);
    }
    advanced_.notify_all();
}

void projection_run::handle(position end, position not_beyond, const std::atomic<bool>& stopping,
                            const std::function<void()>& each_commit)
{
    step(projection_step::reading);
    auto       sources = open_sources();
    const auto later   = [&](std::size_t a, std::size_t b) {
        return sources[a].next->position > sources[b].next->position;
    };
    std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(later)> by_position{later};
    for (std::size_t i = 0; i < sources.size(); ++i) by_position.push(i);

    void* const                           to = type_.as_itself(itself_.get());
    std::unique_ptr<table_writer>         writer;
    std::chrono::steady_clock::time_point begun;
    std::size_t                           in_batch = 0;
    const auto                            commit   = [&](position upto) {
        auto now = after(sources, upto);
        if (writer) {
            step(projection_step::committing);
            writer->commit(access_.changes(), now);
            access_.committed();
            access_.read(nullptr);
            writer.reset();
            read_since_commit_ = 0;
            ++commits_;
        }
        advance(sources, std::move(now), upto);
        in_batch = 0;
        step(projection_step::committed);
        if (each_commit) each_commit();
    };
    const auto full = [&] {
        return in_batch >= options_.commit_events_max ||
               access_.change_bytes() >= options_.commit_bytes_max ||
               (in_batch % 64 == 0 &&
                std::chrono::steady_clock::now() - begun >= options_.commit_time_max);
    };
    const auto guarded = [&](const topic_partition& in, const record_view& r, auto&& handler) {
        step(projection_step::handling);
        try {
            handled_.fetch_add(handler(), std::memory_order_relaxed);
        } catch (...) {
            throw handler_threw{in, r.offset, r.position,
                                std::string{r.headers.find(header_names::type).value_or("")},
                                std::current_exception()};
        }
    };

    position upto{0};
    try {
        while (!by_position.empty() && (!stopping || dispatch_.waits())) {
            const auto  i = by_position.top();
            auto&       s = sources[i];
            const auto& r = *s.next;
            if (r.position >= end || r.position >= not_beyond) break;
            by_position.pop();
            if (!writer) {
                writer = tables_->write();
                begun  = std::chrono::steady_clock::now();
                access_.write(writer.get());
            }
            guarded(s.at, r, [&] { return dispatch_.dispatch(r, to); });
            s.done = r.offset.next();
            upto   = r.position.next();
            ++in_batch;
            ++read_since_commit_;
            read_.fetch_add(1, std::memory_order_relaxed);
            s.next = s.records.next();
            if (s.next != nullptr) by_position.push(i);
            // Not between two that an upcaster may make one of.
            if (!dispatch_.waits() && full()) commit(upto);
        }
        if (dispatch_.waits()) handled_ += dispatch_.finish(to);
        const bool all = by_position.empty() || sources[by_position.top()].next->position >= end;
        if (writer && access_.change_bytes() == 0 && read_since_commit_ < uncommitted_max) {
            access_.read(nullptr);
            writer.reset();  // nothing of interest
        }
        commit(all ? end : upto);
    } catch (...) {
        access_.forget();
        access_.read(nullptr);
        throw;
    }
}

void projection_run::catch_up(const std::atomic<bool>&     stopping,
                              const std::function<void()>& each_commit)
{
    const std::lock_guard lock{feeding_};
    catch_up_held(stopping, each_commit);
}

void projection_run::catch_up_held(const std::atomic<bool>&     stopping,
                                   const std::function<void()>& each_commit)
{
    claim();
    const auto end = events_.log().end_position();
    const auto run = [&](position not_beyond) {
        try {
            handle(end, not_beyond, stopping, each_commit);
        } catch (const handler_threw&) {
            throw;
        } catch (const error& e) {
            // A commit may have happened, or not: the store knows.
            if (e.code() != errc::fenced_generation) claimed_ = false;
            throw;
        } catch (...) {
            claimed_ = false;
            throw;
        }
    };
    try {
        run(no_position);
        return;
    } catch (const handler_threw& threw) {
        // What came before it counts.
        std::optional<handler_threw> again;
        try {
            run(threw.where);
        } catch (const handler_threw& earlier) {
            again = earlier;  // a handler that does not do the same each time
        }
        const auto& at = again ? *again : threw;
        throw projection_failed{
            "projection " + name_ + " version " + std::to_string(number_) + " stands before " +
                at.in.topic + "-" + std::to_string(at.in.partition) + " offset " +
                std::to_string(at.at.value) + " (position " + std::to_string(at.where.value) +
                ", " + (at.type.empty() ? "no type" : at.type) + "): " + what_of(at.cause) +
                "; mend on() and start it again",
            at.in, at.at, at.where, at.cause};
    }
}

void projection_run::complete()
{
    auto writer = tables_->write();
    auto now    = writer->checkpoint();
    if (now.complete) return;
    {
        const std::lock_guard lock{mutex_};
        at_.complete = true;
        now          = at_;
    }
    writer->commit({}, now);
}

position projection_run::upto() const
{
    const std::lock_guard lock{mutex_};
    return upto_;
}

bool projection_run::wait_for(position p, std::chrono::steady_clock::time_point deadline) const
{
    std::unique_lock lock{mutex_};
    advanced_.wait_until(lock, deadline, [&] { return upto_ > p || ended_; });
    return upto_ > p;
}

void projection_run::interrupt(bool ended)
{
    {
        const std::lock_guard lock{mutex_};
        ended_ = ended;
    }
    advanced_.notify_all();
}

projection_run::counts projection_run::counted() const noexcept
{
    return {read_.load(), handled_.load(), commits_.load()};
}

projection_run::lag projection_run::lag_now() const
{
    projection_checkpoint at;
    {
        const std::lock_guard lock{mutex_};
        at = at_;
    }
    lag                      l;
    std::optional<timestamp> oldest;
    for (const auto& in : partitions()) {
        const auto p     = events_.log().partition(in.topic, in.partition);
        const auto start = p.start_offset();
        const auto end   = p.end_offset();
        const auto known = at.partitions.find(in);
        const auto next  = known == at.partitions.end() ? start : std::max(known->second.next, start);
        l.done += static_cast<std::uint64_t>(next - start);
        if (next >= end) continue;
        l.left += static_cast<std::uint64_t>(end - next);
        auto records = p.read(next);
        if (const auto* r = records.next(); r && (!oldest || r->timestamp < *oldest))
            oldest = r->timestamp;
    }
    if (oldest) {
        using namespace std::chrono;
        const auto now = duration_cast<milliseconds>(system_clock::now().time_since_epoch());
        l.time         = std::max(milliseconds{0}, now - milliseconds{oldest->value});
    }
    return l;
}

}  // namespace cairn::detail
