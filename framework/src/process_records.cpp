// SPDX-License-Identifier: Apache-2.0
#include "process_records.hpp"

#include "process.capnp.h"

#include <iterator>

namespace cairn::detail {

namespace {

constexpr const char* checkpoints_topic = "__processes";
constexpr std::size_t unrecorded_max    = 1000;

topic_config compacted()
{
    topic_config c;
    c.cleanup_delete  = false;
    c.cleanup_compact = true;
    return c;
}

template <class T>
void append_to(std::vector<T>& all, std::vector<T>&& more)
{
    all.insert(all.end(), std::make_move_iterator(more.begin()),
               std::make_move_iterator(more.end()));
}

/// Makes an append's events the next of their streams, and the append one that expects that.
class numbering
{
public:
    numbering(event_store_core& store, append_request& request) : store_{store}, request_{request}
    {
    }

    void expect(const stream_id& stream, version at)
    {
        request_.expect.push_back({stream, expected_version::exactly(at)});
        at_[stream] = at;
    }
    void add(const stream_id& stream, const any_event& e, const command_context& carried)
    {
        if (at_.count(stream) == 0) expect(stream, store_.log.stream_version(stream));
        auto& number = at_[stream];
        request_.records.push_back({stream.topic, store_.record_of(e, stream, number, carried)});
        number = number.next();
    }

private:
    event_store_core&            store_;
    append_request&              request_;
    std::map<stream_id, version> at_;
};

}  // namespace

void process_changes::add(process_changes&& later)
{
    append_to(events, std::move(later.events));
    append_to(posted, std::move(later.posted));
    for (auto& [id, change] : later.timers) timers.insert_or_assign(id, std::move(change));
    sent += later.sent;
}

process_records::process_records(event_store_core& store, std::string topic)
    : store_{store},
      log_{store.log},
      topic_{std::move(topic)},
      progress_{store, {checkpoints_topic, topic_}, "runner of the process manager " + topic_}
{
    log_.ensure_topic(timers_topic, 1, compacted());
}

void process_records::claim(position from)
{
    progress_.claim([&](capnp::MessageReader* newest) {
        begun_.reset();
        if (newest) {
            const auto c = newest->getRoot<schema::ProcessCheckpoint>();
            from         = position{c.getNext()};
            generation_  = c.getGeneration();
            if (c.getGoingOff() >= 0)
                begun_ = {position{c.getGoingOff()}, timestamp{c.getShownMs()}};
        }
        ++generation_;
        return checkpoint_at(from, begun_);
    });
    const std::lock_guard lock{mutex_};
    next_ = from;
    timers_.fold(store_, topic_);
}

any_event process_records::checkpoint_at(position                          next,
                                         const std::optional<begun_timer>& begun) const
{
    return event<schema::ProcessCheckpoint>{[&](auto c) {
        c.setNext(next.value);
        c.setGeneration(generation_);
        if (!begun) return;
        c.setGoingOff(begun->set_at.value);
        c.setShownMs(begun->shown.value);
    }};
}

void process_records::begin(const set_timer& timer, timestamp shown)
{
    if (begun_) return;  // it is handled again
    const begun_timer begun{timer.set_at, shown};
    append_request    request;
    progress_.add_to(request, checkpoint_at(next_, begun));
    if (!log_.try_append(request)) progress_.throw_fenced();
    progress_.written();
    unrecorded_ = 0;
    begun_      = begun;
}

std::optional<process_records::going_off> process_records::begun() const
{
    if (!begun_) return std::nullopt;
    const auto timer = timers_.set_at(begun_->set_at);
    if (!timer) return std::nullopt;  // somebody has deleted records of __timers
    return going_off{timer->first, timer->second, begun_->shown};
}

process_records::answer process_records::record(const process_changes&                what,
                                                const std::map<std::string, version>& seen,
                                                position next, const std::string& command_id,
                                                const std::function<void()>& before_append)
{
    for (;;) {
        append_request request;
        request.command_id = command_id;
        numbering numbers{store_, request};
        for (const auto& [id, at] : seen) numbers.expect({topic_, id}, at);
        for (const auto& e : what.events) numbers.add({topic_, e.process}, e.happened, e.carried);
        for (const auto& p : what.posted)
            numbers.add({p.what.topic, p.what.key}, p.what.message, p.carried);
        const auto timers_from = static_cast<std::int64_t>(request.records.size());
        for (const auto& [id, change] : what.timers)
            if (change.at || timers_.has(id)) request.records.push_back(record_of(id, change));
        progress_.add_to(request, checkpoint_at(next));

        before_append();
        const auto result = store_.try_append(request);
        if (result && !result->repeated) {
            keep(what, next, result->first + timers_from);
            return answer::recorded;
        }
        if (result) {
            // By one that has begun after this; else somebody has deleted the checkpoints.
            check();
            begun_.reset();
            const std::lock_guard lock{mutex_};
            timers_.fold(store_, topic_);
            next_ = next;
            return answer::repeated;
        }
        const auto& why = result.error();
        if (why.code != errc::wrong_expected_version || !why.stream) throw append_refused{why};
        if (*why.stream == progress_.stream()) progress_.throw_fenced();
        if (why.stream->topic == topic_) return answer::moved;
        // A message's number in its stream was taken: it gets the next.
    }
}

append_record process_records::record_of(const process_timers::id&            timer,
                                         const process_changes::timer_change& change) const
{
    const auto    stream = stream_of(timer);
    cairn::record r;
    if (change.at) {
        const event<schema::TimerSet> set{[&](auto t) {
            t.setTopic(topic_);
            t.setProcess(timer.first);
            t.setName(timer.second);
            t.setDueMs(change.at->value);
        }};
        r = store_.record_of(set, stream, log_.stream_version(stream), change.carried);
    }
    r.key = stream.key;
    return {timers_topic, std::move(r)};
}

void process_records::keep(const process_changes& what, position next, position timers_from)
{
    const std::lock_guard lock{mutex_};
    for (const auto& [id, change] : what.timers) {
        if (change.at) {
            auto       carried   = change.carried;
            const auto stream    = stream_of(id);
            carried.causation_id = stream.topic + "/" + stream.key + "@" +
                                   std::to_string(log_.stream_version(stream).value - 1);
            timers_.set(id, {*change.at, timers_from, std::move(carried), change.chain});
        } else if (timers_.has(id)) {
            timers_.remove(id);
        } else {
            continue;
        }
        timers_from = timers_from.next();
    }
    progress_.written();
    begun_.reset();
    unrecorded_ = 0;
    next_       = next;
}

void process_records::pass_over(std::size_t causes, position next)
{
    unrecorded_ += causes;
    if (unrecorded_ >= unrecorded_max) {
        append_request request;
        progress_.add_to(request, checkpoint_at(next));
        if (!log_.try_append(request)) progress_.throw_fenced();
        progress_.written();
        unrecorded_ = 0;
    }
    const std::lock_guard lock{mutex_};
    next_ = next;
}

void process_records::skip(const skipped& what, position next)
{
    append_request request;
    {
        numbering numbers{store_, request};
        for (const auto at : what.records)
            numbers.add({topic_, skipped_id}, event<schema::CauseSkipped>{[&](auto s) {
                            s.setPosition(at.value);
                            s.setReason(what.reason);
                            s.setFailure(what.failure);
                        }},
                        what.carried);
    }
    const auto      timers_from = static_cast<std::int64_t>(request.records.size());
    process_changes change;
    if (what.timer) {
        change.timers[*what.timer] = {};
        request.records.push_back(record_of(*what.timer, {}));
    }
    progress_.add_to(request, checkpoint_at(next));
    const auto result = store_.try_append(request);
    if (!result) {
        check();
        throw append_refused{result.error()};
    }
    keep(change, next, result->first + timers_from);
}

position process_records::next() const noexcept
{
    const std::lock_guard lock{mutex_};
    return next_;
}

std::vector<pending_timer> process_records::pending() const
{
    const std::lock_guard lock{mutex_};
    return timers_.pending();
}

}  // namespace cairn::detail
