// SPDX-License-Identifier: Apache-2.0
#include "projection_run.hpp"

#include "stored_tables.hpp"

#include <algorithm>
#include <limits>
#include <queue>
#include <utility>

namespace cairn::detail {

namespace {

timestamp time_now()
{
    using namespace std::chrono;
    return timestamp{duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count()};
}

constexpr position no_position{std::numeric_limits<std::int64_t>::max()};

/// So many records of no interest are read again at the most after a restart.
constexpr std::uint64_t uncommitted_max = 100'000;

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

/// A partition, read in its order; or what matches a query, of all of them.
struct projection_run::source
{
    topic_partition    at;  ///< where `next` is
    record_range       records;
    const record_view* next;
    offset             done{-1};  ///< all before is handled, and not yet in at_; -1: none

    /// Of a query: the same of the other partitions, and what is to be left out.
    std::map<topic_partition, offset>       passed{};
    std::function<bool(const record_view&)> leave_out{};

    void move()
    {
        do next = records.next();
        while (next != nullptr && leave_out && leave_out(*next));
        if (!leave_out || next == nullptr || *next->from == at) return;
        if (done.value >= 0) passed[at] = std::exchange(done, offset{-1});
        at = *next->from;
    }
};

projection_run::projection_run(event_store events, std::string name, int number,
                               std::shared_ptr<projection_tables> tables,
                               const projection_type& type, const projection_options& options,
                               table_feed* feed)
    : events_{std::move(events)},
      name_{std::move(name)},
      number_{number},
      tables_{std::move(tables)},
      type_{type},
      options_{options},
      feed_{feed},
      itself_{type.create()},
      parked_{*itself_},
      access_{access_of(*itself_)},
      dispatch_{events_, type.handlers},
      at_{tables_->read()->checkpoint()}
{
    if (at_.epoch > 0 && at_.subscription != subscription())
        throw error{errc::shape_differs,
                    "projection " + name_ + " version " + std::to_string(number_) +
                        " has counted the events of other topics or of another query: give the "
                        "code the next version number, and it is rebuilt"};
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
    now.subscription = subscription();
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
            return "projection " + name_ + " version " + std::to_string(number_) + ": " + at.topic +
                   "-" + std::to_string(at.partition);
        };
        if (next > end)
            throw error{errc::checkpoint_ahead,
                        where() + " is counted up to offset " + std::to_string(next.value) +
                            ", and the log ends at " + std::to_string(end.value) +
                            ": the log is an older copy than the tables; rebuild the projection"};
        if (next < start && next.value > 0)
            throw error{errc::events_removed, where() + " is counted up to offset " +
                                                  std::to_string(next.value) +
                                                  ", and retention has removed all before " +
                                                  std::to_string(start.value) +
                                                  ": rebuild the projection from what is left"};
        if (next >= end || options_.query) continue;
        auto   records = p.read(std::max(next, start));
        source s{std::move(at), std::move(records), nullptr, offset{-1}};
        all.push_back(std::move(s));
    }
    if (options_.query) all.push_back(open_query());
    for (auto& s : all) s.move();
    return all;
}

std::uint64_t projection_run::subscription() const
{
    auto topics = options_.topics;
    std::sort(topics.begin(), topics.end());
    std::string text;
    const auto  add = [&](char what, const std::vector<std::string>& names) {
        for (const auto& n : names) text += what + std::to_string(n.size()) + ':' + n;
    };
    add('t', topics);
    if (options_.query) {
        text += 'q';
        for (const auto& item : options_.query->items) {
            text += 'i';
            add('e', item.types);
            add('g', item.tags);
        }
    }
    return hash_of(text);
}

projection_run::source projection_run::open_query() const
{
    auto q = *options_.query;
    for (auto& item : q.items)
        if (item.types.empty()) item.types = dispatch_.query_types();
    std::map<topic_partition, offset> counted;
    for (auto& at : partitions()) counted.emplace(std::move(at), offset{0});
    {
        const std::lock_guard lock{mutex_};
        for (const auto& [at, p] : at_.partitions) counted[at] = p.next;
    }
    source s{{}, events_.log().read_query(q, upto()), nullptr};
    s.leave_out = [counted = std::move(counted)](const record_view& r) {
        const auto known = counted.find(*r.from);
        return known == counted.end() || r.offset < known->second;
    };
    return s;
}

void projection_run::pass_all(source& of_query, position end) const
{
    for (auto& at : partitions()) {
        const auto p    = events_.log().partition(at.topic, at.partition);
        auto       next = p.end_offset();
        for (const auto& r : p.read_backwards(next)) {
            if (r.position < end) break;
            next = r.offset;
        }
        auto& passed = of_query.passed[std::move(at)];
        passed       = std::max(passed, next);
    }
}

projection_checkpoint projection_run::after(std::span<const source> sources, position upto) const
{
    const std::lock_guard lock{mutex_};
    auto                  now = at_;
    for (const auto& s : sources) {
        for (const auto& [at, next] : s.passed) {
            auto& known = now.partitions[at].next;
            known       = std::max(known, next);
        }
        if (s.done.value >= 0) now.partitions[s.at].next = s.done;
    }
    for (auto& [at, p] : now.partitions) p.upto = std::max(p.upto, upto);
    return now;
}

void projection_run::advance(std::span<source> sources, projection_checkpoint to, position upto)
{
    for (auto& s : sources) {
        s.done = offset{-1};
        s.passed.clear();
    }
    {
        const std::lock_guard lock{mutex_};
        at_   = std::move(to);
        upto_ = std::max(upto_, upto);
    }
    advanced_.notify_all();
}

void projection_run::handle(position end, position not_beyond,
                            const std::optional<put_aside>& aside,
                            const std::atomic<bool>&        stopping,
                            const std::function<void()>&    each_commit)
{
    step(projection_step::reading);
    auto       sources = open_sources();
    const auto later   = [&](std::size_t a, std::size_t b) {
        return sources[a].next->position > sources[b].next->position;
    };
    std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(later)> by_position{later};
    for (std::size_t i = 0; i < sources.size(); ++i)
        if (sources[i].next != nullptr) by_position.push(i);

    void* const                           to    = type_.as_itself(itself_.get());
    const bool                            parks = options_.on_failure == on_failure::park;
    std::unique_ptr<table_writer>         writer;
    std::chrono::steady_clock::time_point begun;
    std::size_t                           in_batch = 0;
    append_request                        told;  // of what is parked
    const auto                            commit = [&](position upto) {
        auto now = after(sources, upto);
        if (writer) {
            if (!access_.outputs().empty()) {
                step(projection_step::posting);
                append_outputs(events_, name_, access_.outputs());
            }
            step(projection_step::committing);
            if (!told.records.empty()) {
                auto log = events_.log();
                log.ensure_topic(told.records.front().topic);
                log.append(told);
                told.records.clear();
            }
            commit_changes(*writer, now, upto);
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
        handling_.store(r.position.value, std::memory_order_relaxed);
        try {
            handled_.fetch_add(handler(), std::memory_order_relaxed);
            handling_.store(-1, std::memory_order_relaxed);
        } catch (...) {
            handling_.store(-1, std::memory_order_relaxed);
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
            const bool left_out = aside && aside->where == r.position;
            if (left_out && aside->parked) {
                parked_.park(s.at, r, aside->why, 1, time_now());
                told.records.push_back(parked_record(s.at, r, aside->why));
            } else if (!left_out && parks && parked_.must_wait(s.at, r) && dispatch_.knows(r)) {
                const std::string why = "waits behind an earlier event of its key";
                parked_.park(s.at, r, why, 0, time_now());
                told.records.push_back(parked_record(s.at, r, why));
            } else if (!left_out)
                guarded(s.at, r, [&] { return dispatch_.dispatch(r, to); });
            s.done = r.offset.next();
            upto   = r.position.next();
            ++in_batch;
            ++read_since_commit_;
            read_.fetch_add(1, std::memory_order_relaxed);
            s.move();
            if (s.next != nullptr) by_position.push(i);
            // Not between two that an upcaster may make one of.
            if (!dispatch_.waits() && full()) commit(upto);
        }
        if (dispatch_.waits()) handled_ += dispatch_.finish(to);
        const bool all = by_position.empty() || sources[by_position.top()].next->position >= end;
        if (all && options_.query) {
            auto& of_query = sources.front();
            if (of_query.done.value >= 0)
                of_query.passed[of_query.at] = std::exchange(of_query.done, offset{-1});
            pass_all(of_query, end);
            read_since_commit_ +=
                static_cast<std::uint64_t>(std::max(end, this->upto()) - this->upto());
            if (!writer && read_since_commit_ >= uncommitted_max) {
                writer = tables_->write();
                access_.write(writer.get());
            }
        }
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
    feed(events_.log().end_position(), stopping, each_commit);
}

void projection_run::catch_up_to(position end)
{
    const std::lock_guard   lock{feeding_};
    const std::atomic<bool> go{false};
    feed(end, go, {});
}

void projection_run::feed(position end, const std::atomic<bool>& stopping,
                          const std::function<void()>& each_commit)
{
    claim();
    std::optional<put_aside> aside;
    const auto               run = [&](position not_beyond) -> std::optional<handler_threw> {
        try {
            handle(end, not_beyond, aside, stopping, each_commit);
            return std::nullopt;
        } catch (handler_threw& threw) {
            return std::move(threw);
        } catch (const error& e) {
            // A commit may have happened, or not: the store knows.
            if (e.code() != errc::fenced_generation) claimed_ = false;
            throw;
        } catch (...) {
            claimed_ = false;
            throw;
        }
    };
    while (auto threw = run(no_position)) {
        // What comes before it counts. (A handler that does not do the same each time may throw
        // earlier now.)
        while (auto earlier = run(threw->where)) threw = std::move(earlier);
        if (options_.on_failure == on_failure::stop) throw failed_at(*threw);
        aside = put_aside{threw->where, true, what_of(threw->cause)};
    }
}

projection_failed projection_run::failed_at(const handler_threw& threw) const
{
    return {"projection " + name_ + " version " + std::to_string(number_) + " stands before " +
                threw.in.topic + "-" + std::to_string(threw.in.partition) + " offset " +
                std::to_string(threw.at.value) + " (position " + std::to_string(threw.where.value) +
                ", " + (threw.type.empty() ? "no type" : threw.type) +
                "): " + what_of(threw.cause) + "; mend on() and start it again, or skip() it",
            threw.in, threw.at, threw.where, threw.cause};
}

void projection_run::skip(position which)
{
    const std::lock_guard   lock{feeding_};
    const std::atomic<bool> go{false};
    claim();
    bool stands = false;
    try {
        handle(which.next(), no_position, std::nullopt, go, {});
    } catch (const handler_threw& threw) {
        stands = threw.where == which;
    }
    if (!stands)
        throw error{errc::invalid_argument,
                    "projection " + name_ + " does not stand before position " +
                        std::to_string(which.value) + ": skip what projection_failed names"};
    handle(which.next(), no_position, put_aside{which, false, {}}, go, {});
}

void projection_run::commit_changes(table_writer& to, const projection_checkpoint& c, position upto)
{
    const auto changes = access_.changes();
    if (feed_ == nullptr) return to.commit(changes, c);
    feed_->commit(number_, changes, upto, [&] { to.commit(changes, c); });
}

void projection_run::change(const std::function<void()>& how)
{
    try {
        auto writer = tables_->write();
        access_.write(writer.get());
        how();
        commit_changes(*writer, after({}, position{0}), this->upto());
        access_.committed();
        access_.read(nullptr);
    } catch (...) {
        access_.forget();
        access_.read(nullptr);
        throw;
    }
}

bool projection_run::retry_one(const topic_partition& in, offset at)
{
    std::string why;
    try {
        change([&] {
            auto        records = events_.log().partition(in.topic, in.partition).read(at);
            const auto* r       = records.next();
            if (r == nullptr || r->offset != at)
                throw error{errc::events_removed, "retention has removed it: skip it"};
            void* const to = type_.as_itself(itself_.get());
            dispatch_.dispatch(*r, to);
            dispatch_.finish(to);
            parked_.remove(in, at);
        });
        return true;
    } catch (const error& e) {
        if (e.code() == errc::fenced_generation || e.code() == errc::store_unavailable ||
            e.code() == errc::disk_full || e.code() == errc::io_failed)
            throw;
        why = e.what();
    } catch (...) {
        why = what_of(std::current_exception());
    }
    change([&] { parked_.failed_again(in, at, why); });
    return false;
}

std::size_t projection_run::retry_parked()
{
    const std::lock_guard lock{feeding_};
    claim();
    const auto ask = [&](auto&& question) {
        const auto reader = tables_->read();
        access_.read(reader.get());
        auto answer = question();
        access_.read(nullptr);
        return answer;
    };
    std::size_t                         handled = 0;
    std::optional<parked_events::first> at;
    while ((at = ask([&] { return parked_.first_after(at); })))
        for (std::optional<offset> next = at->at; next && retry_one(at->in, *next);) {
            ++handled;
            next = at->key ? ask([&] { return parked_.first_of(at->in, *at->key); }) : std::nullopt;
        }
    return handled;
}

void projection_run::skip_parked(const topic_partition& in, offset at)
{
    const std::lock_guard lock{feeding_};
    claim();
    change([&] {
        if (!parked_.remove(in, at))
            throw error{errc::invalid_argument, "projection " + name_ + " has nothing parked of " +
                                                    in.topic + "-" + std::to_string(in.partition) +
                                                    " offset " + std::to_string(at.value) +
                                                    ": parked() lists what it has"};
    });
}

append_record projection_run::parked_record(const topic_partition& in, const record_view& r,
                                            const std::string& why) const
{
    record copy;
    if (r.key) copy.key = std::string{*r.key};
    if (r.value) copy.value = std::string{*r.value};
    const auto add = [&](const char* name, std::string value) {
        copy.headers.push_back({name, std::move(value)});
    };
    add("cairn_parked_topic", in.topic);
    add("cairn_parked_partition", std::to_string(in.partition));
    add("cairn_parked_offset", std::to_string(r.offset.value));
    add("cairn_parked_why", why);
    // By another name, so that nobody takes it for the event.
    for (const auto& h : r.headers)
        copy.headers.push_back({"parked_" + std::string{h.name},
                                h.value ? std::optional<std::string>{*h.value} : std::nullopt});
    return {name_ + ".parked", std::move(copy)};
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

std::string projection_run::event_at(position p) const
{
    const auto  where   = "position " + std::to_string(p.value);
    auto        records = events_.log().read_all(p);
    const auto* r       = records.next();
    if (r == nullptr || r->position != p || r->from == nullptr) return where;
    return r->from->topic + "-" + std::to_string(r->from->partition) + " offset " +
           std::to_string(r->offset.value) + " (" + where + ", " +
           std::string{r->headers.find(header_names::type).value_or("no type")} + ")";
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
        const auto next =
            known == at.partitions.end() ? start : std::max(known->second.next, start);
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
