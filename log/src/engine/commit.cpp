// SPDX-License-Identifier: Apache-2.0
//
// The commit step. Whoever appends prepares its request (all that can be looked up or checked
// beforehand), joins the group that is gathering, and waits. The first to join leads: when the
// group before is done it closes the group, decides each request, writes all that are accepted
// as one journal group, flushes once, publishes, and opens the gate for the others.
//
// The payload of a journal group is the batches, each behind eight bytes: partition uid, length.
// The tail points into that same buffer.
#include "commit.hpp"

#include "engine.hpp"
#include "group_writer.hpp"

#include <algorithm>

namespace cairn::detail {

void engine::throw_if_closed() const
{
    if (options_.read_only)
        throw error{errc::read_only,
                    "the log in " + directory_ +
                        " was opened read-only: append through the process that writes it"};
    if (failed_) {
        const std::lock_guard lock{why_mutex_};
        throw storage_error{errc::closed, why_failed_};
    }
    if (closing_) throw error{errc::closed, "the log was closed: open it again to append"};
}

void engine::throw_if_shut() const
{
    if (closed_) throw error{errc::closed, "the log was closed: open it again to read"};
}

void engine::fail(std::string_view before, std::string_view why) noexcept
{
    try {
        const std::lock_guard lock{why_mutex_};
        if (failed_) return;
        why_failed_ = "the log closed itself for appending: ";
        why_failed_.append(before).append(why).append(
            "; what was acknowledged is safe. Mend the disk and open the log again");
        say(why_failed_);
    } catch (...) {
        // No memory for the words; the flag says enough.
    }
    failed_ = true;
    wake_waiters();
}

append_result engine::append(const append_request& request)
{
    throw_if_closed();
    pending_append p;
    p.request = &request;
    prepare(p);
    if (p.command)  // most repeats need not come to the commit step
        if (const auto found = index_->command(p.command))
            return repeated(found->first, found->count, true);
    submit(p);
    if (p.error) std::rethrow_exception(p.error);
    if (p.refused) {
        ++counters_.refused;
        return std::move(*p.refused);
    }
    if (p.repeat) return repeated(p.repeat->first, p.repeat->second, true);
    return std::move(p.result);
}

receipt engine::append_batch(const topic_ptr& t, std::int32_t number, bytes_view bytes)
{
    throw_if_closed();
    batch_fault why;
    const auto  batch = batch_view::parse(bytes, &why);
    if (!batch) throw error{why.code, "batch for " + t->name + ": " + why.what};
    if (batch->bytes().size() != bytes.size())
        throw error{errc::corrupt_batch,
                    "batch for " + t->name + ": there are bytes after it; append one at a time"};
    if (t->uids.front() < first_free_uid)
        throw error{errc::internal_topic,
                    "topic " + t->name + " is the log's own: it is written through topics and "
                                         "consumer groups only"};

    pending_append p;
    p.batch        = &*batch;
    p.batch_topic  = t;
    p.batch_number = number;
    p.batch_uid    = t->uids[static_cast<std::size_t>(number)];
    prepare(p);
    submit(p);
    if (p.error) std::rethrow_exception(p.error);
    if (p.refused) {
        ++counters_.refused;
        throw append_refused{std::move(*p.refused)};
    }
    if (p.repeat) return repeated(p.repeat->first, p.repeat->second, false);
    return std::move(p.result);
}

void engine::append_own(std::uint32_t uid, std::vector<record> records,
                        const std::function<void(const folded_state&)>& valid,
                        std::string_view                                subject)
{
    append_request request;
    for (auto& r : records) request.records.push_back(own_record(uid, std::move(r)));
    append_own(std::move(request), valid, subject);
}

append_record engine::own_record(std::uint32_t uid, record r)
{
    return {uid == topics_uid ? topics_topic : offsets_topic, std::move(r), 0};
}

void engine::append_own(append_request                                  request,
                        const std::function<void(const folded_state&)>& valid,
                        std::string_view                                subject)
{
    throw_if_closed();
    pending_append p;
    p.request = &request;
    p.own     = true;
    p.valid   = valid ? &valid : nullptr;
    p.subject = subject;
    do {
        p.again = false;
        prepare(p);
        submit(p);
        if (p.error) std::rethrow_exception(p.error);
    } while (p.again);
}

receipt engine::repeated(position first, std::int64_t count, bool command) const
{
    ++counters_.repeated;
    receipt r;
    r.first    = first;
    r.repeated = true;
    r.records  = placements(first, count);
    if (const auto found = static_cast<std::int64_t>(r.records.size()); found < count)
        throw error{errc::command_reused,
                    std::string{command ? "this command" : "this batch"} +
                        " was recorded before, at position " +
                        std::to_string((first + found).value) +
                        ", and retention has removed it since: nothing was recorded now; use "
                        "a new id for what is new"};
    return r;
}

std::optional<receipt> engine::find_command(bytes_view id) const
{
    throw_if_shut();
    const auto found = index_->command(index_->hasher().command(id));
    if (!found) return std::nullopt;
    return repeated(found->first, found->count, true);
}

// ---- The queue. -------------------------------------------------------------------------------

void engine::submit(pending_append& p)
{
    constexpr std::uint64_t group_bytes_max = 4ull << 20;

    std::shared_ptr<commit_group> group;
    bool                          leads = false;
    {
        const std::lock_guard lock{gather_mutex_};
        if (!gathering_ || gathering_->bytes + p.bytes > group_bytes_max)
            gathering_ = std::make_shared<commit_group>();
        group = gathering_;
        leads = group->members.empty();
        group->members.push_back(&p);
        group->bytes += p.bytes;
    }
    if (!leads) {
        group->done.wait();
        return;
    }
    {
        const std::lock_guard turn{commit_mutex_};
        {
            const std::lock_guard lock{gather_mutex_};
            if (gathering_ == group) gathering_ = nullptr;
        }
        commit(*group);
    }
    group->done.open();
}

// ---- The serialized step. ---------------------------------------------------------------------

namespace {

refusal wrong_version(const stream_id& stream, expected_version expected, version found)
{
    refusal r;
    r.code = errc::wrong_expected_version;
    r.what = "stream " + stream.topic + "/" + stream.key + ": expected version " +
             expected.text() + ", found " +
             (found.value == 0 ? "no stream" : std::to_string(found.value)) +
             "; read it again and decide again";
    r.stream        = stream;
    r.found_version = found;
    return r;
}

bool matches(const query_terms& q, const index_entry& e)
{
    const auto has = [&](const term& t) {
        return std::find(e.terms.begin(), e.terms.end(), t) != e.terms.end();
    };
    return std::any_of(q.items.begin(), q.items.end(), [&](const query_terms::item& i) {
        return (i.types.empty() || std::any_of(i.types.begin(), i.types.end(), has)) &&
               std::all_of(i.tags.begin(), i.tags.end(), has);
    });
}

std::optional<refusal> conditions_fail(const append_request& request, pending_append& p,
                                       const class index& index, overlay& seen, position next)
{
    for (std::size_t i = 0; i < request.expect.size(); ++i) {
        const auto& c       = request.expect[i];
        auto&       s       = p.streams[i];
        const auto* pending = seen.count(s.stream);
        // What was found stays true in this group, and is what its records go on from.
        const version found{
            pending ? *pending : seen.count(s.stream, index.head(s.stream, &s.head).count)};
        if (!c.expected.accepts(found)) return wrong_version(c.stream, c.expected, found);
    }
    for (std::size_t i = 0; i < request.boundaries.size(); ++i) {
        const auto& b        = request.boundaries[i];
        auto&       prepared = p.boundaries[i];
        refusal     r;
        r.boundary_index = i;
        if (b.after && *b.after >= next) {
            r.code = errc::condition_beyond_head;
            r.what = "boundary " + std::to_string(i) + " says after position " +
                     std::to_string(b.after->value) + ", but the log ends at " +
                     std::to_string(next.value) +
                     ": use the position that a read or a receipt of this log gave";
            return r;
        }
        std::optional<position> found;
        for (auto e = seen.entries.rbegin(); e != seen.entries.rend() && !found; ++e)
            if ((!b.after || e->position > *b.after) && matches(prepared.query, *e))
                found = e->position;
        if (!found) found = index.last_match(prepared.query, b.after, next, &prepared.match);
        if (found) {
            r.code = errc::boundary_crossed;
            r.what = "boundary " + std::to_string(i) + ": the record at position " +
                     std::to_string(found->value) + " matches and is newer than " +
                     (b.after ? "position " + std::to_string(b.after->value)
                              : std::string{"nothing: none may match"}) +
                     "; read again and decide again";
            r.found_position = found;
            return r;
        }
    }
    return std::nullopt;
}

enum class sequence_verdict
{
    fine,
    repeated,
    fenced,
    out_of_order,
};

/// Kafka's rules for an idempotent producer's next batch (ProducerStateManager).
sequence_verdict check_sequence(const producer_state* known, const batch_view& batch,
                                const producer_batch*& which)
{
    if (!known) return sequence_verdict::fine;
    if (batch.producer_epoch() < known->epoch) return sequence_verdict::fenced;
    const auto first = batch.base_sequence();
    if (batch.producer_epoch() > known->epoch)
        return first == 0 ? sequence_verdict::fine : sequence_verdict::out_of_order;
    const auto last = next_sequence(first, batch.last_offset_delta());
    for (const auto& b : known->batches)
        if (b.first_sequence == first && b.last_sequence == last) {
            which = &b;
            return sequence_verdict::repeated;
        }
    if (known->batches.empty()) return sequence_verdict::fine;
    return first == next_sequence(known->batches.back().last_sequence, 1)
               ? sequence_verdict::fine
               : sequence_verdict::out_of_order;
}

refusal out_of_sequence(const batch_view& batch, const producer_state& known,
                        sequence_verdict verdict)
{
    const bool fenced = verdict == sequence_verdict::fenced;
    refusal    r;
    r.code = fenced ? errc::fenced_producer : errc::out_of_order_sequence;
    r.what = "producer " + std::to_string(batch.producer_id()) + " epoch " +
             std::to_string(batch.producer_epoch()) + " sequence " +
             std::to_string(batch.base_sequence()) +
             (fenced ? ": its epoch is over; a newer producer has taken its id"
                     : ": batches are missing before it; send them first") +
             " (known: epoch " + std::to_string(known.epoch) + ", sequence " +
             (known.batches.empty() ? "none"
                                    : std::to_string(known.batches.back().last_sequence)) +
             ")";
    return r;
}

/// Does what concerns one member of a group only: where it fails, the others go on.
template <class F>
void alone(pending_append& p, F&& step)
{
    try {
        step();
    } catch (...) {
        p.error = std::current_exception();
    }
}

}  // namespace

void engine::decide(group_writer& writer, pending_append& p, timestamp time)
{
    const auto& request = *p.request;
    if (!p.subject.empty() && writer.seen.subjects.contains(p.subject)) {
        p.again = true;
        return;
    }
    if (p.valid) {
        alone(p, [&] {
            const std::shared_lock lock{publish_mutex_};
            (*p.valid)(state_);
        });
        if (p.error) return;
    }
    if (!p.subject.empty()) writer.seen.subjects.insert(p.subject);
    if (p.command) {
        auto found = index_->command(p.command);
        for (const auto& e : writer.seen.entries) {
            if (e.command != p.command) continue;
            if (!found) found = command_found{e.position, 0};
            ++found->count;
        }
        if (found) {
            p.repeat = {found->first, found->count};
            return;
        }
    }
    if (!request.boundaries.empty()) writer.mark_newest();
    if ((p.refused = conditions_fail(request, p, *index_, writer.seen, writer.next()))) return;

    p.result.first = writer.next();
    p.result.records.reserve(request.records.size());
    for (std::size_t i = 0; i < request.records.size(); ++i) {
        const auto& r     = request.records[i].record;
        auto&       place = p.places[i];
        auto&       next  = next_offset(writer, place.uid);
        p.result.records.push_back(
            {place.topic->names[static_cast<std::size_t>(place.number)], next,
             writer.version_of(place)});
        if (request.command_id) {
            auto headers = r.headers;
            std::erase_if(headers,
                          [](const header& h) { return h.name == header_names::command_id; });
            headers.push_back({std::string{header_names::command_id}, *request.command_id});
            writer.add(p, place, r, headers, time, next);
        } else {
            writer.add(p, place, r, r.headers, time, next);
        }
        ++next;
    }
    ++counters_.appends;
}

void engine::decide_batch(group_writer& writer, pending_append& p, timestamp time)
{
    const auto& batch = *p.batch;
    if (batch.producer_id() >= 0 && batch.base_sequence() >= 0) {
        const auto                    key = std::pair{batch.producer_id(), p.batch_uid};
        std::optional<producer_state> known;  // a copy: cleaning expires producers meanwhile
        if (const auto seen = writer.seen.producers.find(key);
            seen != writer.seen.producers.end()) {
            known = seen->second;
        } else {
            const std::shared_lock lock{publish_mutex_};
            if (const auto* found = state_.producers.find(key.first, key.second)) known = *found;
        }
        const producer_batch* which   = nullptr;
        const auto            verdict = check_sequence(known ? &*known : nullptr, batch, which);
        if (verdict == sequence_verdict::repeated) {
            p.repeat = {which->first, batch.last_offset_delta() + 1};
            return;
        }
        if (verdict != sequence_verdict::fine) {
            p.refused = out_of_sequence(batch, *known, verdict);
            return;
        }
        auto& mine = writer.seen.producers[key];
        if (known) mine = std::move(*known);
        mine.take(batch, next_offset(writer, p.batch_uid), writer.next());
    }
    writer.close();
    auto& next     = next_offset(writer, p.batch_uid);
    p.result.first = writer.next();
    for (std::size_t i = 0; i < p.places.size(); ++i)
        p.result.records.push_back(
            {p.places[i].topic->names[static_cast<std::size_t>(p.batch_number)],
             next + static_cast<std::int64_t>(i), writer.version_of(p.places[i])});
    writer.add(p, next, time);
    next += static_cast<std::int64_t>(p.places.size());
    ++counters_.appends;
}

offset& engine::next_offset(group_writer& writer, std::uint32_t uid) const
{
    const auto [at, is_new] = writer.seen.ends.try_emplace(uid);
    if (is_new) at->second = end_offset(uid);
    return at->second;
}

void engine::publish(group_writer& writer, timestamp time)
{
    const std::unique_lock lock{publish_mutex_};
    half_taken_in_ = true;  // until the end of it: the merger must not take half a group
    const auto& entries = writer.seen.entries;
    index_->add(entries, writer.seen.versions());
    if (entries.empty() || entries.back().position.next() < writer.next())
        index_->set_end(writer.next());
    for (const auto& [uid, end] : writer.seen.ends) ends_[uid] = end;
    if (writer.touches_state) {
        for (const auto& batch : writer.batches)
            if (batch.partition_uid < first_free_uid ||
                batch_view::parse(batch.bytes, nullptr, false)->producer_id() >= 0)
                state_.apply(batch, time);
        topics_epoch_.store(state_.topics.epoch(), std::memory_order_release);
    }
    counters_.records += writer.records;
    counters_.batches += writer.batches.size();
    counters_.bytes += writer.payload().size();
    unmerged_bytes_ += writer.payload().size();
    tail_.push(writer.batches);
    end_.store(writer.next().value, std::memory_order_release);
    half_taken_in_ = false;
}

void engine::commit(commit_group& group)
{
    auto& members = group.members;
    // Also those that were refused, or told that they repeat: perhaps because of what another
    // member was about to record.
    const auto fail_all = [&](const std::exception_ptr& e) {
        for (auto* p : members) {
            p->refused.reset();
            p->repeat.reset();
            if (!p->error) p->error = e;
        }
    };
    bool durable = false;
    try {
        throw_if_closed();

        // Requests of one group are concurrent: their order is ours to choose. By partition,
        // so that small appends to one partition share a batch.
        if (members.size() > 1)
            std::stable_sort(members.begin(), members.end(), [](const auto* a, const auto* b) {
                return a->places.front().uid < b->places.front().uid;
            });

        std::uint64_t room    = 0;
        std::size_t   records = 0;
        for (auto* p : members) {
            if (p->topics_epoch != topics_epoch_.load(std::memory_order_acquire))
                alone(*p, [&] { prepare(*p); });  // topics have changed since
            room += p->bytes + batch_header_bytes + 8;
            records += p->places.size();
        }

        const auto time = now();
        if (!writer_) writer_ = std::make_unique<group_writer>(*index_);
        auto& writer = *writer_;
        writer.start(room, records, end());
        for (auto* p : members)
            if (!p->error)
                p->request ? decide(writer, *p, time) : decide_batch(writer, *p, time);
        writer.close();
        writer.mark_newest();
        if (writer.batches.empty()) return;

        if (journal_) {
            const bytes_view payload = writer.payload();
            try {
                journal_->write(writer.first(), {&payload, 1}, writer.next());
            } catch (const std::exception& e) {
                // Else nothing was written, and the next group may be.
                if (journal_->has_failed()) fail("", e.what());
                throw;
            }
        }

        // What follows must not be left half done.
        durable = true;
        publish(writer, time);
        ++counters_.groups;
        if (members.size() > counters_.group_size_max.load())
            counters_.group_size_max = members.size();
        wake_waiters();
        if (unmerged_bytes_ >= options_.merge_bytes) merger_wakes_.notify_one();
    } catch (const std::exception& e) {
        if (durable) fail("it could not take in what it had written: ", e.what());
        try {
            if (durable)
                fail_all(std::make_exception_ptr(
                    storage_error{errc::closed, std::string{"recorded but not taken in: "} +
                                                    e.what() + "; open the log again"}));
            else if (dynamic_cast<const std::bad_alloc*>(&e) && !failed_)
                fail_all(std::make_exception_ptr(error{
                    errc::out_of_memory, "no memory for this append: nothing was recorded"}));
            else
                fail_all(std::current_exception());
        } catch (const std::bad_alloc&) {
            fail_all(std::current_exception());  // not even for the words
        }
    } catch (...) {
        fail_all(std::current_exception());
    }
}

}  // namespace cairn::detail
