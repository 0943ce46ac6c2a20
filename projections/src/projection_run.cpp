// SPDX-License-Identifier: Apache-2.0
#include "projection_run.hpp"

#include "stored_tables.hpp"

#include <algorithm>
#include <queue>
#include <utility>

namespace cairn::detail {

namespace {

timestamp time_now()
{
    using namespace std::chrono;
    return timestamp{duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count()};
}

/// So many records of no interest are read again at the most after a restart.
constexpr std::uint64_t uncommitted_max = 100'000;

}  // namespace

std::string words_of(const std::exception_ptr& e)
{
    if (!e) return {};
    try {
        std::rethrow_exception(e);
    } catch (const std::exception& known) {
        return known.what();
    } catch (...) {
        return "something that is no std::exception";
    }
}

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
      feeds_{events_, name_, access_.feeds(), options_.feeds},
      dispatch_{events_, type.handlers},
      at_{tables_->read()->checkpoint()},
      upto_{at_.upto()}
{
    for (auto& h : handling_) h = -1;
    if (at_.epoch > 0 && at_.subscription != subscription())
        throw error{errc::shape_differs,
                    "projection " + name_ + " version " + std::to_string(number_) +
                        " has counted the events of other topics or of another query: give the "
                        "code the next version number, and it is rebuilt"};
}

std::vector<topic_partition> projection_run::partitions() const
{
    const auto&                  log = events_.log();
    std::vector<topic_partition> all;
    for (const auto& topic : options_.topics.empty() ? log.topics() : options_.topics) {
        // What it has parked itself is no event of it.
        if (options_.topics.empty() && topic == name_ + ".parked") continue;
        if (const auto d = log.try_describe_topic(topic))
            for (std::int32_t p = 0; p < static_cast<std::int32_t>(d->partitions.size()); ++p)
                all.push_back({topic, p});
    }
    return all;
}

void projection_run::open_feeds()
{
    const auto          reader = tables_->read();
    const auto          one    = type_.create();
    const parked_events parked{*one};
    access_of(*one).read(reader.get());
    feeds_.open([&](std::size_t at_most, const std::optional<parked_event>& after) {
        return parked.list(at_most, after);
    });
    tells_ = true;
}

std::vector<topic_partition> projection_run::handled_partitions() const
{
    return with_ ? owned() : partitions();
}

void projection_run::claim()
{
    if (claimed_ || with_) return;
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
    for (auto& at : handled_partitions()) {
        const auto p     = events_.log().partition(at.topic, at.partition);
        const auto start = p.start_offset();
        auto       end   = p.end_offset();
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
        if (no_further_) end = std::min(end, counted_in(at));
        if (next >= end || options_.query) continue;
        const auto from    = std::max(next, start);
        auto       records = p.read(from);
        source     s{std::move(at), std::move(records), static_cast<std::uint64_t>(end - from)};
        if (no_further_) s.end = end;
        all.push_back(std::move(s));
    }
    if (options_.query) all.push_back(open_query());
    for (auto& s : all) s.move();
    return all;
}

offset projection_run::counted_in(const topic_partition& in) const
{
    const auto known = no_further_->find(in);
    return known == no_further_->end() ? offset{0} : known->second.next;
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
    for (auto& at : handled_partitions()) counted.emplace(std::move(at), offset{0});
    {
        const std::lock_guard lock{mutex_};
        for (auto& [at, next] : counted)
            if (const auto known = at_.partitions.find(at); known != at_.partitions.end())
                next = known->second.next;
    }
    source s{{}, events_.log().read_query(q, upto()), 0};
    s.leave_out = [this, counted = std::move(counted)](const record_view& r) {
        const auto known = counted.find(*r.from);
        return known == counted.end() || r.offset < known->second ||
               (no_further_ && r.offset >= counted_in(*r.from));
    };
    return s;
}

void projection_run::pass_all(source& of_query, position end) const
{
    for (auto& at : handled_partitions()) {
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
    for (auto& [at, p] : now.partitions)
        if (!with_ || owns(at)) p.upto = std::max(p.upto, upto);
    return now;
}

void projection_run::advance(std::span<source> sources, projection_checkpoint to, position upto,
                             bool all)
{
    for (auto& s : sources) {
        s.done = offset{-1};
        s.passed.clear();
    }
    shared_projection::progress done;
    {
        const std::lock_guard lock{mutex_};
        at_ = std::move(to);
        if (!with_) upto_ = std::max(upto_, upto);
        caught_up_ |= all;
        failure_ = nullptr;
        if (with_)
            for (const auto& at : own_) {
                const auto known = at_.partitions.find(at);
                done[at] = {known == at_.partitions.end() ? offset{0} : known->second.next, upto};
            }
    }
    if (with_) with_->say(number_, done);
    advanced_.notify_all();
}

void projection_run::handle(position end, position not_beyond,
                            const std::optional<put_aside>& aside,
                            const std::atomic<bool>&        stopping,
                            const std::function<void()>&    each_commit)
{
    step(projection_step::reading);
    std::unique_ptr<table_writer>         writer;
    std::chrono::steady_clock::time_point begun;
    const auto                            begin_batch = [&] {
        writer = tables_->write();
        begun  = std::chrono::steady_clock::now();
        access_.write(writer.get());
    };
    if (with_) {
        // What others have written is seen, and nobody writes before this batch is committed.
        begin_batch();
        refresh(*writer);
        if (with_->is_frozen(number_) || paused()) return access_.read(nullptr);
    }
    feeds_.look();
    auto       sources = open_sources();
    const auto later   = [&](std::size_t a, std::size_t b) {
        return sources[a].next->position > sources[b].next->position;
    };
    std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(later)> by_position{later};
    for (std::size_t i = 0; i < sources.size(); ++i)
        if (sources[i].next != nullptr) by_position.push(i);

    void* const    to       = type_.as_itself(itself_.get());
    const bool     parks    = options_.on_failure == on_failure::park;
    std::size_t    in_batch = 0;
    append_request told;  // of what is parked
    const auto     commit = [&](position upto, bool all) {
        auto now = after(sources, upto);
        if (writer) {
            if (!access_.outputs().empty() || !access_.feeds().empty()) {
                step(projection_step::posting);
                if (!no_further_ && !access_.outputs().empty())
                    append_outputs(events_, name_, access_.outputs());
                feeds_.pass();
            }
            step(projection_step::committing);
            if (!told.records.empty()) {
                auto log = events_.log();
                log.ensure_topic(told.records.front().topic);
                log.append(told);
                told.records.clear();
            }
            commit_changes(*writer, access_.changes(), now, upto);
            access_.committed();
            access_.read(nullptr);
            writer.reset();
            read_since_commit_ = 0;
            ++commits_;
        }
        advance(sources, std::move(now), upto, all);
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
        handling_[0].store(r.position.value, std::memory_order_relaxed);
        try {
            handled_.fetch_add(handler(), std::memory_order_relaxed);
            handling_[0].store(-1, std::memory_order_relaxed);
        } catch (...) {
            handling_[0].store(-1, std::memory_order_relaxed);
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
            if (!writer) begin_batch();
            const bool left_out = aside && aside->where == r.position;
            const auto park     = [&](const std::string& why, std::int64_t attempts) {
                parked_.park(s.at, r, why, attempts, time_now());
                access_.feeds().park(s.at, r.offset);
                if (tells_) told.records.push_back(parked_record(s.at, r, why));
            };
            if (left_out && aside->parked)
                park(aside->why, 1);
            else if (!left_out && parks && parked_.must_wait(s.at, r) && dispatch_.knows(r))
                park("waits behind an earlier event of its key", 0);
            else if (!left_out && feeds_.withholds(s.at, r.offset))
                park("is parked in the version that answers, which has not delivered it", 0);
            else if (!left_out)
                guarded(s.at, r, [&] { return dispatch_.dispatch(r, to); });
            s.done = r.offset.next();
            upto   = r.position.next();
            ++in_batch;
            ++read_since_commit_;
            read_.fetch_add(1, std::memory_order_relaxed);
            s.move();
            if (s.next != nullptr) by_position.push(i);
            // Not between two that an upcaster may make one of.
            if (!dispatch_.waits() && full()) {
                commit(upto, false);
                if (with_) return;
            }
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
        commit(all ? end : upto, all);
    } catch (...) {
        access_.forget();
        access_.read(nullptr);
        throw;
    }
}

void projection_run::catch_up(const std::atomic<bool>&     stopping,
                              const std::function<void()>& each_commit, position before)
{
    const std::lock_guard lock{feeding_};
    catch_up_held(stopping, each_commit, before);
}

void projection_run::catch_up_held(const std::atomic<bool>&     stopping,
                                   const std::function<void()>& each_commit, position before)
{
    feed(std::min(events_.log().end_position(), before), stopping, each_commit);
}

void projection_run::go_no_further_than(const projection_checkpoint& at)
{
    no_further_ = at.partitions;
}

void projection_run::catch_up_to(position end)
{
    const std::atomic<bool> go{false};
    catch_up_to(end, go);
}

void projection_run::catch_up_to(position end, const std::atomic<bool>& stopping)
{
    const std::lock_guard lock{feeding_};
    feed(end, stopping, {});
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
    try {
        handle_side_by_side(end, stopping, each_commit);
    } catch (const error& e) {
        if (e.code() != errc::fenced_generation) claimed_ = false;
        throw;
    } catch (...) {
        claimed_ = false;
        throw;
    }
    while (auto threw = run(everything)) {
        // What comes before it counts. (A handler that does not do the same each time may throw
        // earlier now.)
        for (auto before = read_.load() + 1; before != read_.load();) {
            before = read_.load();
            while (auto earlier = run(threw->where)) threw = std::move(earlier);
            if (!with_) break;  // else that was one batch of it
        }
        if (options_.on_failure == on_failure::stop) throw failed_at(*threw);
        aside = put_aside{threw->where, true, words_of(threw->cause)};
    }
}

projection_failed projection_run::failed_at(const handler_threw& threw) const
{
    return {"projection " + name_ + " version " + std::to_string(number_) + " stands before " +
                threw.in.topic + "-" + std::to_string(threw.in.partition) + " offset " +
                std::to_string(threw.at.value) + " (position " + std::to_string(threw.where.value) +
                ", " + (threw.type.empty() ? "no type" : threw.type) +
                "): " + words_of(threw.cause) + "; mend on() and start it again, or skip() it",
            threw.in, threw.at, threw.where, threw.cause};
}

void projection_run::skip(position which)
{
    const std::lock_guard   lock{feeding_};
    const std::atomic<bool> go{false};
    claim();
    bool stands = false;
    try {
        handle(which.next(), everything, std::nullopt, go, {});
    } catch (const handler_threw& threw) {
        stands = threw.where == which;
    }
    if (!stands)
        throw error{errc::invalid_argument,
                    "projection " + name_ + " does not stand before position " +
                        std::to_string(which.value) + ": skip what projection_failed names"};
    handle(which.next(), everything, put_aside{which, false, {}}, go, {});
}

void projection_run::commit_changes(table_writer& to, std::span<const row_change> changes,
                                    const projection_checkpoint& c, position upto)
{
    auto as = c;
    if (with_) {
        ++as.epoch;  // a runner that takes the tables for its own alone is fenced
        as.subscription = subscription();
    }
    const auto commit = [&] { to.commit(changes, as); };
    if (with_)
        with_->commit(number_, changes, upto, commit);
    else if (feed_ != nullptr)
        feed_->commit(number_, changes, upto, commit);
    else
        commit();
}

void projection_run::change(const std::function<void()>& how)
{
    try {
        auto writer = tables_->write();
        access_.write(writer.get());
        if (with_) refresh(*writer);
        how();
        commit_changes(*writer, access_.changes(), after({}, position{0}), this->upto());
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
            if (!access_.outputs().empty())
                throw error{errc::invalid_argument,
                            "what it makes for a topic would come out of its order: skip it"};
            feeds_.pass_parked(in, at);
            parked_.remove(in, at);
        });
        return true;
    } catch (const error& e) {
        if (e.code() == errc::fenced_generation || e.code() == errc::store_unavailable ||
            e.code() == errc::disk_full || e.code() == errc::io_failed)
            throw;
        why = e.what();
    } catch (...) {
        why = words_of(std::current_exception());
    }
    change([&] { parked_.failed_again(in, at, why); });
    return false;
}

std::size_t projection_run::retry_parked(const std::atomic<bool>& stopping)
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
    while (!stopping && (at = ask([&] { return parked_.first_after(at); })))
        for (std::optional<offset> next = at->at; !stopping && next && retry_one(at->in, *next);) {
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
        feeds_.give_up(in, at);
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

void projection_run::pause(bool paused)
{
    const std::lock_guard held{feeding_};
    claim();
    const auto writer = tables_->write();
    if (with_) refresh(*writer);
    {
        const std::lock_guard lock{mutex_};
        at_.paused = paused;
    }
    commit_changes(*writer, {}, after({}, position{0}), this->upto());
}

bool projection_run::paused() const
{
    const std::lock_guard lock{mutex_};
    return at_.paused;
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

void projection_run::share(std::shared_ptr<shared_projection> with)
{
    const auto            all = partitions();
    const std::lock_guard lock{mutex_};
    if (with_) return;
    with_ = std::move(with);
    // What the store says of each; it is more when they say so.
    upto_ = all.empty() ? position{0} : everything;
    for (const auto& at : all) {
        const auto known = at_.partitions.find(at);
        upto_ = std::min(upto_, known == at_.partitions.end() ? position{0} : known->second.upto);
    }
}

void projection_run::own(const std::vector<topic_partition>& partitions)
{
    const std::lock_guard held{feeding_};  // not while a batch is handled
    const std::lock_guard lock{mutex_};
    own_ = partitions;
}

std::vector<topic_partition> projection_run::owned() const
{
    const std::lock_guard lock{mutex_};
    return own_;
}

bool projection_run::owns(const topic_partition& p) const
{
    return std::find(own_.begin(), own_.end(), p) != own_.end();
}

bool projection_run::has_work() const
{
    const std::lock_guard lock{mutex_};
    return std::any_of(own_.begin(), own_.end(), [&](const topic_partition& in) {
        const auto known = at_.partitions.find(in);
        const auto next  = known == at_.partitions.end() ? offset{0} : known->second.next;
        return events_.log().partition(in.topic, in.partition).end_offset() > next;
    });
}

bool projection_run::catch_up_a_batch(const std::atomic<bool>& stopping)
{
    const std::lock_guard lock{feeding_};
    if (paused()) look();
    if (paused()) return false;
    const auto end = events_.log().end_position();
    if (has_work()) {
        feed(end, stopping, {});
        return has_work() && !paused() && !with_->is_frozen(number_);
    }
    advance({}, after({}, end), end, true);
    return false;
}

void projection_run::refresh(table_writer& from)
{
    access_.forget();
    auto                  now = from.checkpoint();
    const std::lock_guard lock{mutex_};
    if (now.epoch >= at_.epoch)
        for (const auto& [at, p] : at_.partitions) {
            auto& known = now.partitions.try_emplace(at, p).first->second;
            known.next  = std::max(known.next, p.next);
            known.upto  = std::max(known.upto, p.upto);
        }
    at_ = std::move(now);
}

void projection_run::hear(const shared_projection::progress& done)
{
    const auto all  = partitions();
    auto       upto = everything;
    for (const auto& at : all) {
        const auto known = done.find(at);
        upto             = std::min(upto, known == done.end() ? position{0} : known->second.upto);
    }
    {
        const std::lock_guard lock{mutex_};
        heard_ = done;
        if (upto != everything) upto_ = std::max(upto_, upto);
    }
    advanced_.notify_all();
}

void projection_run::look()
{
    auto                  now = tables_->read()->checkpoint();
    const std::lock_guard lock{mutex_};
    at_ = std::move(now);
}

void projection_run::begin_again()
{
    const std::lock_guard lock{feeding_};
    claimed_ = false;
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
        ended_     = ended;
        caught_up_ = false;
    }
    advanced_.notify_all();
}

std::exception_ptr projection_run::failure() const
{
    const std::lock_guard lock{mutex_};
    return failure_;
}

void projection_run::fail(std::exception_ptr why)
{
    const std::lock_guard lock{mutex_};
    failure_ = std::move(why);
}

bool projection_run::caught_up() const
{
    const std::lock_guard lock{mutex_};
    return caught_up_;
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

projection_run::lag projection_run::lag_now(bool own) const
{
    projection_checkpoint       at;
    shared_projection::progress heard;
    {
        const std::lock_guard lock{mutex_};
        at    = at_;
        heard = heard_;
    }
    lag                      l;
    std::optional<timestamp> oldest;
    for (const auto& in : own ? handled_partitions() : partitions()) {
        const auto p     = events_.log().partition(in.topic, in.partition);
        const auto start = p.start_offset();
        const auto end   = p.end_offset();
        auto       next  = start;
        for (const auto* all : {&at.partitions, &heard})
            if (const auto known = all->find(in); known != all->end())
                next = std::max(next, known->second.next);
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
