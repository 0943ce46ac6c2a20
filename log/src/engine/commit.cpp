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

#include <cairn/log/crc32c.hpp>

#include <algorithm>
#include <cstring>
#include <deque>

namespace cairn::detail {

namespace {

/// At most; a command id becomes one more header.
std::size_t encoded_bytes(const append_record& r, const append_request& of)
{
    return record_bytes(r.record) + (of.command_id ? 32 + of.command_id->size() : 0);
}

[[noreturn]] void refuse_many_terms(const topic_state& t)
{
    throw error{errc::invalid_argument,
                "a record for topic " + t.name +
                    " has more than 255 types and tags together: what is beyond could not be "
                    "found again. Give it fewer tags"};
}

[[noreturn]] void refuse_keyless(const topic_state& t)
{
    throw error{errc::invalid_argument,
                "topic " + t.name +
                    " is compacted, which keeps the newest record of each key: give it one"};
}

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

/// Whether an item asks for neither types nor tags, and so for every record.
bool matches_all(const query_terms& q)
{
    return std::any_of(q.items.begin(), q.items.end(), [](const query_terms::item& i) {
        return i.types.empty() && i.tags.empty();
    });
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

}  // namespace

// ---- Before the queue: on the appender's own thread, beside all others. -----------------------

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

void engine::fail(const std::string& why) noexcept
{
    try {
        const std::lock_guard lock{why_mutex_};
        if (failed_) return;
        why_failed_ = "the log closed itself for appending: " + why +
                      "; what was acknowledged is safe. Mend the disk and open the log again";
        say(why_failed_);
    } catch (...) {
        // No memory for the words; the flag says enough.
    }
    failed_ = true;
    wake_waiters();
}

query_terms engine::terms_of(const query& q) const
{
    query_terms terms;
    terms.items.reserve(q.items.size());
    for (const auto& i : q.items) {
        auto& item = terms.items.emplace_back();
        for (const auto& type : i.types) {
            if (type.empty())
                throw error{errc::invalid_argument,
                            "a query has an empty type: name one, or leave types out for any"};
            item.types.push_back(index_->hasher().type(type));
        }
        for (const auto& tag : i.tags) {
            if (tag.empty())
                throw error{errc::empty_tag,
                            "a query has an empty tag: name one, or leave tags out for any"};
            item.tags.push_back(index_->hasher().tag(tag));
        }
    }
    return terms;
}

std::int32_t engine::locate(const topic_state& t, bytes_view key) const
{
    // Partitions may have been added since the stream began; it stays where it is. Of several
    // (a Kafka client put the key elsewhere) the oldest place is the stream's.
    const auto choose = [&](std::int32_t partitions) {
        const auto p = options_.partitioner(t.name, key, partitions);
        if (p < 0 || p >= partitions)
            throw error{errc::partition_out_of_range,
                        "the partitioner chose partition " + std::to_string(p) + " of topic " +
                            t.name + ", which has " + std::to_string(partitions)};
        return p;
    };
    for (std::size_t i = 0; i + 1 < t.counts.size(); ++i) {
        const auto p    = choose(t.counts[i]);
        const auto uid  = t.uids[static_cast<std::size_t>(p)];
        if (index_->head(index_->hasher().stream(uid, key)).count > 0) return p;
    }
    return choose(t.partitions());
}

void engine::prepare(pending_append& p)
{
    p.topics_epoch = topics_epoch_.load(std::memory_order_acquire);
    p.terms.clear();
    p.places.clear();
    if (p.request)
        prepare_records(p);
    else
        prepare_batch(p);
}

void engine::prepare_records(pending_append& p)
{
    const auto& request = *p.request;
    const auto& hasher  = index_->hasher();
    if (request.records.empty())
        throw error{errc::empty_append,
                    "an append needs at least one record: add one, or do not append"};

    p.bytes = 0;
    p.places.reserve(request.records.size());
    p.command = term{};
    if (request.command_id) {
        if (request.command_id->empty())
            throw error{errc::invalid_argument,
                        "the command id is empty: leave it out, or use one of its own"};
        p.command = hasher.command(*request.command_id);
    }

    topic_ptr t;
    for (const auto& r : request.records) {
        if (!t || t->name != r.topic) t = topic(r.topic);
        if (t->uids.front() < first_free_uid && !p.own)
            throw error{errc::internal_topic, "topic " + t->name +
                                                  " is the log's own: it is written through "
                                                  "topics and consumer groups only"};
        auto& place = p.places.emplace_back();
        if (r.partition) {
            if (*r.partition < 0 || *r.partition >= t->partitions())
                throw error{errc::partition_out_of_range,
                            "topic " + t->name + " has partitions 0 to " +
                                std::to_string(t->partitions() - 1) + ", not " +
                                std::to_string(*r.partition) +
                                ": name one of them, or add partitions"};
            place.number = *r.partition;
        } else if (r.record.key) {
            place.number = locate(*t, *r.record.key);
        } else {
            place.number = options_.partitioner(t->name, std::nullopt, t->partitions());
            if (place.number < 0 || place.number >= t->partitions())
                throw error{errc::partition_out_of_range,
                            "the partitioner chose partition " + std::to_string(place.number) +
                                " of topic " + t->name};
        }
        if (t->config.cleanup_compact && !r.record.key) refuse_keyless(*t);
        place.topic = t;
        place.uid   = t->uids[static_cast<std::size_t>(place.number)];

        const auto bytes = encoded_bytes(r, request);
        if (static_cast<std::int64_t>(bytes + batch_header_bytes) > t->config.max_message_bytes)
            throw error{errc::record_too_large,
                        "a record of " + std::to_string(bytes) + " bytes for topic " + t->name +
                            ", whose max.message.bytes is " +
                            std::to_string(t->config.max_message_bytes) +
                            ": raise it, or store the payload elsewhere and record a reference"};
        p.bytes += bytes + batch_header_bytes + 8;

        place.first_term = static_cast<std::uint32_t>(p.terms.size());
        if (place.uid >= first_free_uid) {
            if (r.record.key) {
                // Events of one stream often follow each other: the first looks it up for all.
                if (const auto* same = p.places.size() > 1 ? &*(p.places.end() - 2) : nullptr;
                    same && same->uid == place.uid && same->stream &&
                    request.records[p.places.size() - 2].record.key == r.record.key) {
                    place.stream = same->stream;
                    place.known  = same->known;
                } else {
                    place.stream = hasher.stream(place.uid, *r.record.key);
                    place.known  = &place.head;
                    index_->head(place.stream, place.known);
                }
            }
            place.command = p.command;
            term own_command;
            if (!collect_terms(hasher, r.record.headers, p.terms, own_command))
                refuse_many_terms(*t);
            if (!place.command) place.command = own_command;
        }
        place.terms = static_cast<std::uint32_t>(p.terms.size()) - place.first_term;
    }

    p.streams.clear();
    for (const auto& c : request.expect) {
        const auto found = topic(c.stream.topic);
        const auto uid   = found->uids[static_cast<std::size_t>(locate(*found, c.stream.key))];
        auto&      s     = p.streams.emplace_back();
        s.stream         = hasher.stream(uid, c.stream.key);
        index_->head(s.stream, &s.head);
    }
    p.boundaries.clear();
    for (const auto& b : request.boundaries) {
        auto& prepared = p.boundaries.emplace_back();
        prepared.query = terms_of_newest(b.matching);
        index_->last_match(prepared.query, b.after, end(), &prepared.match);
    }
}

void engine::prepare_batch(pending_append& p)
{
    const auto& t   = p.batch_topic;
    const auto  now = find_topic(t->name);
    if (!now || now->id != t->id)
        throw error{errc::unknown_topic, "topic " + t->name + " was deleted"};
    if (static_cast<std::int64_t>(p.batch->bytes().size()) > now->config.max_message_bytes)
        throw error{errc::record_too_large,
                    "a batch of " + std::to_string(p.batch->bytes().size()) +
                        " bytes for topic " + t->name + ", whose max.message.bytes is " +
                        std::to_string(now->config.max_message_bytes)};
    p.log_append_time =
        now->config.message_timestamp_type == topic_config::timestamp_type::log_append_time;

    batch_fault why;
    const auto  payload = p.batch->unpack(p.scratch, unpack_bytes_max, &why);
    if (!payload) throw error{why.code, "batch for " + t->name + ": " + why.what};

    record_cursor records{*p.batch, *payload, position{0}};
    std::int64_t  next = p.batch->base_offset().value;
    // No more than parse: places are pointed to. A record takes at least seven bytes.
    p.places.reserve(std::min<std::size_t>(
        static_cast<std::size_t>(p.batch->record_count()), payload->size() / 7 + 1));
    while (records.next()) {
        const auto& r = records.current();
        if (r.offset.value != next++)
            throw error{errc::bad_count,
                        "batch for " + t->name + ": its records' offsets are not dense"};
        auto& place  = p.places.emplace_back();
        place.topic  = now;
        place.number = p.batch_number;
        place.uid    = p.batch_uid;
        place.at     = static_cast<std::uint32_t>(records.current_at());
        place.check  = crc32c(records.current_bytes());
        if (now->config.cleanup_compact && !r.key && !p.batch->is_control()) refuse_keyless(*now);
        if (r.key && !p.batch->is_control()) {
            place.stream = index_->hasher().stream(place.uid, *r.key);
            place.known  = &place.head;
            index_->head(place.stream, place.known);
        }
        place.first_term = static_cast<std::uint32_t>(p.terms.size());
        if (!p.batch->is_control() &&
            !collect_terms(index_->hasher(), r.headers, p.terms, place.command))
            refuse_many_terms(*now);
        place.terms = static_cast<std::uint32_t>(p.terms.size()) - place.first_term;
    }
    if (!records.ok()) {
        // All that is there parses, but it is not as many records as the header counts?
        const auto parsed = static_cast<std::int32_t>(p.places.size());
        const bool at_end = p.places.empty()
                                ? payload->empty()
                                : records.current_at() + records.current_bytes().size() ==
                                      payload->size();
        if (at_end || parsed == p.batch->record_count())
            throw error{errc::bad_count, "batch for " + t->name + ": its header counts " +
                                             std::to_string(p.batch->record_count()) +
                                             " records, and there are " +
                                             (at_end ? std::to_string(parsed) : "more") +
                                             ": send it again as its producer made it"};
        throw error{errc::corrupt_batch, "batch for " + t->name +
                                             ": its records do not parse: send it again as its "
                                             "producer made it"};
    }
    if (p.places.empty())
        throw error{errc::empty_append,
                    "a batch needs at least one record: add one, or do not append"};
    if (static_cast<std::int64_t>(p.places.size()) != p.batch->last_offset_delta() + 1)
        throw error{errc::bad_count, "batch for " + t->name + ": it says it has " +
                                         std::to_string(p.batch->last_offset_delta() + 1) +
                                         " records and has " + std::to_string(p.places.size())};
    p.bytes = p.batch->bytes().size() + 8;
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
                        const std::function<void(const folded_state&)>& valid)
{
    throw_if_closed();
    append_request request;
    for (auto& r : records)
        request.records.push_back(
            {uid == topics_uid ? topics_topic : offsets_topic, std::move(r), 0});
    pending_append p;
    p.request = &request;
    p.own     = true;
    p.valid   = valid ? &valid : nullptr;
    prepare(p);
    submit(p);
    if (p.error) std::rethrow_exception(p.error);
}

receipt engine::repeated(position first, std::int64_t count, bool command) const
{
    ++counters_.repeated;
    receipt r;
    r.first    = first;
    r.repeated = true;
    for (std::int64_t i = 0; i < count; ++i) {
        auto place = placement_of(first + i);
        if (!place)
            throw error{errc::command_reused,
                        std::string{command ? "this command" : "this batch"} +
                            " was recorded before, at position " +
                            std::to_string((first + i).value) +
                            ", and retention has removed it since: nothing was recorded now; use "
                            "a new id for what is new"};
        r.records.push_back(std::move(*place));
    }
    return r;
}

/// A match of every record is looked up as a term of its own, which the newest of each commit has:
/// the index remembers it also where retention has taken the record, or its topic was deleted.
query_terms engine::terms_of_newest(const query& q) const
{
    auto terms = terms_of(q);
    if (matches_all(terms)) terms.items = {{{}, {index_->hasher().any_record()}}};
    return terms;
}

std::optional<position> engine::last_match(const query& q) const
{
    return index_->last_match(terms_of_newest(q), std::nullopt, end());
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

/// What the requests before in the same group have done already.
class overlay
{
public:
    void reserve(std::size_t records)
    {
        entries.reserve(records);
        counts_.reserve(records);
    }
    std::int64_t& count(const term& stream, std::int64_t committed)
    {
        return counts_.try_emplace(stream, committed).first->second;
    }
    const std::int64_t* count(const term& stream) const
    {
        const auto found = counts_.find(stream);
        return found == counts_.end() ? nullptr : &found->second;
    }

    std::vector<index_entry>                                entries;
    boost::unordered_flat_map<std::uint32_t, offset>        ends;

    /// Room for what the index says; the versions were told to the appenders already.
    std::span<version> versions()
    {
        versions_.resize(entries.size());
        return versions_;
    }
    std::map<std::pair<std::int64_t, std::uint32_t>, producer_state> producers;

private:
    struct hash
    {
        std::size_t operator()(const term& t) const noexcept { return t.low; }
    };
    boost::unordered_flat_map<term, std::int64_t, hash> counts_;
    std::vector<version>                                versions_;
};

}  // namespace

/// Buffers of groups, used again: a fresh one costs a page fault for every 4 KB of it, which was
/// a tenth of a bulk append. They live in the tail until they are merged.
class buffers
{
public:
    static std::shared_ptr<std::string> get(std::size_t bytes)
    {
        auto                         one  = std::make_unique<std::string>();
        const auto                   pool = instance();
        {
            const std::lock_guard lock{pool->mutex_};
            if (!pool->free_.empty() && bytes >= pooled_bytes_min) {
                *one = std::move(pool->free_.back());
                pool->free_.pop_back();
                pool->bytes_ -= one->capacity();
            }
        }
        one->clear();
        one->reserve(bytes);
        if (bytes < pooled_bytes_min) return std::shared_ptr<std::string>{std::move(one)};
        return std::shared_ptr<std::string>{one.release(),
                                            [pool](std::string* s) { pool->take_back(s); }};
    }

private:
    static constexpr std::size_t pooled_bytes_min = 16 * 1024;
    static constexpr std::size_t bytes_max        = 16 << 20;

    static std::shared_ptr<buffers> instance()
    {
        static const auto one = std::make_shared<buffers>();
        return one;
    }

    void take_back(std::string* s) noexcept
    {
        const std::unique_ptr<std::string> owner{s};
        try {
            const std::lock_guard lock{mutex_};
            if (bytes_ + s->capacity() > bytes_max) return;
            bytes_ += s->capacity();
            free_.push_back(std::move(*s));
        } catch (const std::bad_alloc&) {
            // Then it is freed.
        }
    }

    std::mutex               mutex_;
    std::vector<std::string> free_;
    std::size_t              bytes_ = 0;
};

/// One group being built.
class group_writer
{
public:
    group_writer(class index& index, std::uint64_t bytes, position first)
        : index_{index}, buffer_{buffers::get(bytes)}, next_{first}, first_{first}
    {
    }

    overlay                   seen;
    std::vector<placed_batch> batches;
    std::uint64_t             records = 0;
    bool                      touches_state = false;

    position   next() const noexcept { return next_; }
    position   first() const noexcept { return first_; }
    bytes_view payload() const noexcept { return *buffer_; }

    version version_of(pending_append::place& place)
    {
        if (!place.stream) return version{-1};
        const auto* known = seen.count(place.stream);
        auto&       count =
            seen.count(place.stream, known ? 0 : index_.head(place.stream, place.known).count);
        return version{count++};
    }

    /// Adds one record at the next position; builds on the open batch where it can.
    void add(const pending_append& p, pending_append::place& place, const record& r,
             const std::vector<header>& headers, std::size_t bytes, timestamp now,
             offset next_offset)
    {
        const auto most = std::min<std::uint64_t>(
            built_batch_bytes,
            static_cast<std::uint64_t>(place.topic->config.max_message_bytes));
        if (open_ && (open_uid_ != place.uid || builder().size() + bytes > most)) close();
        if (!open_) {
            batch_builder::options o;
            o.log_append_time = place.topic->config.message_timestamp_type ==
                                topic_config::timestamp_type::log_append_time;
            o.log_time = now;
            builder().start(o);
            open_       = true;
            open_uid_   = place.uid;
            open_base_  = next_offset;
            open_first_ = next_;
        }
        const auto as_view = [](const std::optional<std::string>& s) {
            return s ? std::optional<bytes_view>{*s} : std::nullopt;
        };
        const auto at = builder().add(r.timestamp.value_or(now), as_view(r.key), as_view(r.value),
                                      headers);
        entry(p, place, static_cast<std::uint32_t>(at), crc32c(builder().last_record()),
              next_offset);
        ++next_;
    }

    /// Adds a batch as it came, base offset patched.
    void add(const pending_append& p, offset base, timestamp now)
    {
        close();
        auto placed = place(p.batch_uid, p.batch->bytes(), base,
                            static_cast<std::uint32_t>(p.places.size()));
        if (p.log_append_time) stamp(const_cast<char*>(placed.bytes.data()), placed, now);
        for (const auto& each : p.places)
            entry(p, each, each.at, each.check,
                  base + (&each - p.places.data()));
        next_ += static_cast<std::int64_t>(p.places.size());
        touches_state |= p.batch->producer_id() >= 0;
        batches.push_back(std::move(placed));
    }

    /// Gives the newest record that users see the term that says so (see term_hasher).
    void mark_newest()
    {
        if (!newest_ || newest_->marked) return;
        auto& entries = seen.entries;
        if (entries.empty() || entries.back().position != newest_->position) {
            index_entry e;  // it left no trace of its own
            e.position      = newest_->position;
            e.partition_uid = newest_->uid;
            e.offset        = newest_->at;
            entries.push_back(e);
        }
        const auto of_record = entries.back().terms;
        auto&      terms     = marks_.emplace_back(of_record.begin(), of_record.end());
        terms.push_back(index_.hasher().any_record());
        entries.back().terms = terms;
        newest_->marked      = true;
    }

    void close()
    {
        if (!open_) return;
        open_            = false;
        const auto count = static_cast<std::uint32_t>(builder().count());
        const auto saved = next_;
        next_            = open_first_;
        batches.push_back(place(open_uid_, builder().finish(), open_base_, count));
        next_ = saved;
        touches_state |= open_uid_ < first_free_uid;
    }

private:
    static batch_builder& builder()
    {
        static thread_local batch_builder one;
        return one;
    }

    placed_batch place(std::uint32_t uid, bytes_view bytes, offset base, std::uint32_t count)
    {
        const auto length = static_cast<std::uint32_t>(bytes.size());
        if (buffer_->size() + bytes.size() + 8 > buffer_->capacity())
            throw std::length_error{"a group is larger than was reserved for it"};
        buffer_->append(reinterpret_cast<const char*>(&uid), 4);
        buffer_->append(reinterpret_cast<const char*>(&length), 4);
        const auto at = buffer_->size();
        buffer_->append(bytes);
        patch_base_offset(buffer_->data() + at, base);

        placed_batch placed;
        placed.position      = next_;
        placed.partition_uid = uid;
        placed.base          = base;
        placed.offsets       = count;
        placed.bytes         = bytes_view{*buffer_}.substr(at, length);
        placed.owner         = buffer_;
        const auto view      = batch_view::parse(placed.bytes, nullptr, false);
        placed.max_timestamp = view ? view->max_timestamp() : timestamp{-1};
        return placed;
    }

    /// Gives a client's batch the log's time, as LogAppendTime asks for, and its CRC anew.
    static void stamp(char* batch, placed_batch& placed, timestamp now)
    {
        batch[22] = static_cast<char>(batch[22] | 8);
        for (int i = 0; i < 8; ++i)
            batch[35 + i] = static_cast<char>(
                static_cast<std::uint64_t>(now.value) >> (56 - 8 * i));
        const auto crc = crc32c(placed.bytes.substr(21));
        for (int i = 0; i < 4; ++i) batch[17 + i] = static_cast<char>(crc >> (24 - 8 * i));
        placed.max_timestamp = now;
    }

    void entry(const pending_append& p, const pending_append::place& place, std::uint32_t at,
               std::uint32_t check, offset o)
    {
        ++records;
        const auto at_position = next_ + (p.request ? 0 : &place - p.places.data());
        if (place.uid < first_free_uid) return;
        // Records that queries do not show do not cross boundaries either.
        const auto terms = place.topic->internal ? 0 : place.terms;
        if (!place.topic->internal) newest_ = newest{at_position, place.uid, o};
        if (!place.stream && terms == 0 && !place.command) return;
        index_entry e;
        e.position      = at_position;
        e.partition_uid = place.uid;
        e.offset        = o;
        e.at            = at;
        e.check         = check;
        e.stream        = place.stream;
        e.hint          = place.known;
        e.command       = place.command;
        e.terms         = std::span{p.terms}.subspan(place.first_term, terms);
        seen.entries.push_back(e);
    }

    class index&                 index_;
    std::shared_ptr<std::string> buffer_;
    position                     next_;
    position                     first_;
    bool                         open_     = false;
    std::uint32_t                open_uid_ = 0;
    offset                       open_base_;
    position                     open_first_;

    /// The newest record that users see.
    struct newest
    {
        cairn::position position;
        std::uint32_t   uid;
        offset          at;
        bool            marked = false;
    };
    std::optional<newest>         newest_;
    std::deque<std::vector<term>> marks_;  // deque: entries point into them
};

namespace {

std::optional<refusal> conditions_fail(const append_request& request, pending_append& p,
                                       const class index& index, const overlay& seen,
                                       position next)
{
    for (std::size_t i = 0; i < request.expect.size(); ++i) {
        const auto& c       = request.expect[i];
        auto&       s       = p.streams[i];
        const auto* pending = seen.count(s.stream);
        const version found{pending ? *pending : index.head(s.stream, &s.head).count};
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

}  // namespace

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
            if (p->topics_epoch != topics_epoch_.load(std::memory_order_acquire)) {
                try {
                    prepare(*p);  // topics have changed since
                } catch (...) {
                    p->error = std::current_exception();
                    continue;
                }
            }
            room += p->bytes + batch_header_bytes + 8;
            records += p->places.size();
        }

        const auto   time = now();
        group_writer writer{*index_, room, end()};
        writer.seen.reserve(records);

        const auto next_offset = [&](std::uint32_t uid) -> offset& {
            const auto [at, is_new] = writer.seen.ends.try_emplace(uid);
            if (is_new) at->second = end_offset(uid);
            return at->second;
        };

        for (auto* p : members) {
            if (p->error) continue;
            if (p->request) {
                const auto& request = *p->request;
                if (p->valid) {
                    try {
                        const std::shared_lock lock{publish_mutex_};
                        (*p->valid)(state_);
                    } catch (...) {
                        p->error = std::current_exception();
                        continue;
                    }
                }
                if (p->command) {
                    auto found = index_->command(p->command);
                    for (const auto& e : writer.seen.entries) {
                        if (e.command != p->command) continue;
                        if (!found) found = command_found{e.position, 0};
                        ++found->count;
                    }
                    if (found) {
                        p->repeat = {found->first, found->count};
                        continue;
                    }
                }
                if (!request.boundaries.empty()) writer.mark_newest();
                if (auto refused = conditions_fail(request, *p, *index_, writer.seen,
                                                   writer.next())) {
                    p->refused = std::move(refused);
                    continue;
                }
                p->result.first = writer.next();
                p->result.records.reserve(request.records.size());
                for (std::size_t i = 0; i < request.records.size(); ++i) {
                    const auto& r     = request.records[i].record;
                    auto&       place = p->places[i];
                    auto&       next  = next_offset(place.uid);
                    const auto  bytes = encoded_bytes(request.records[i], request);
                    p->result.records.push_back(
                        {place.topic->names[static_cast<std::size_t>(place.number)], next,
                         writer.version_of(place)});
                    if (request.command_id) {
                        auto headers = r.headers;
                        std::erase_if(headers, [](const header& h) {
                            return h.name == header_names::command_id;
                        });
                        headers.push_back(
                            {std::string{header_names::command_id}, *request.command_id});
                        writer.add(*p, place, r, headers, bytes, time, next);
                    } else {
                        writer.add(*p, place, r, r.headers, bytes, time, next);
                    }
                    ++next;
                }
            } else {
                const auto& batch = *p->batch;
                if (batch.producer_id() >= 0 && batch.base_sequence() >= 0) {
                    const auto key = std::pair{batch.producer_id(), p->batch_uid};
                    const producer_state* known = nullptr;
                    if (const auto seen = writer.seen.producers.find(key);
                        seen != writer.seen.producers.end()) {
                        known = &seen->second;
                    } else {
                        const std::shared_lock lock{publish_mutex_};
                        known = state_.producers.find(key.first, key.second);
                    }
                    const producer_batch* which = nullptr;
                    const auto verdict          = check_sequence(known, batch, which);
                    if (verdict == sequence_verdict::repeated) {
                        p->repeat = {which->first, batch.last_offset_delta() + 1};
                        continue;
                    }
                    if (verdict != sequence_verdict::fine) {
                        refusal    r;
                        const bool fenced = verdict == sequence_verdict::fenced;
                        r.code = fenced ? errc::fenced_producer : errc::out_of_order_sequence;
                        r.what = "producer " + std::to_string(batch.producer_id()) + " epoch " +
                                 std::to_string(batch.producer_epoch()) + " sequence " +
                                 std::to_string(batch.base_sequence()) +
                                 (fenced ? ": its epoch is over; a newer producer has taken its id"
                                         : ": batches are missing before it; send them first") +
                                 " (known: epoch " + std::to_string(known->epoch) + ", sequence " +
                                 (known->batches.empty()
                                      ? "none"
                                      : std::to_string(known->batches.back().last_sequence)) +
                                 ")";
                        p->refused = std::move(r);
                        continue;
                    }
                    auto& mine = writer.seen.producers[key];
                    if (known && known != &mine) mine = *known;
                    if (mine.epoch != batch.producer_epoch()) mine.batches.clear();
                    mine.epoch = batch.producer_epoch();
                    if (mine.batches.size() == producers_state::batches_kept)
                        mine.batches.erase(mine.batches.begin());
                    mine.batches.push_back(
                        {batch.base_sequence(),
                         next_sequence(batch.base_sequence(), batch.last_offset_delta()),
                         next_offset(p->batch_uid), writer.next()});
                }
                writer.close();
                auto& next      = next_offset(p->batch_uid);
                p->result.first = writer.next();
                for (std::size_t i = 0; i < p->places.size(); ++i)
                    p->result.records.push_back(
                        {p->places[i].topic->names[static_cast<std::size_t>(p->batch_number)],
                         next + static_cast<std::int64_t>(i), writer.version_of(p->places[i])});
                writer.add(*p, next, time);
                next += static_cast<std::int64_t>(p->places.size());
            }
            ++counters_.appends;
        }
        writer.close();
        writer.mark_newest();
        if (writer.batches.empty()) return;

        if (journal_) {
            const bytes_view payload = writer.payload();
            try {
                journal_->write(writer.first(), {&payload, 1}, writer.next());
            } catch (const storage_error& e) {
                if (e.code() != errc::disk_full && e.code() != errc::closed) fail(e.what());
                throw;
            }
        }

        // From here on it is durable. What follows must not be left half done.
        try {
            const std::unique_lock lock{publish_mutex_};
            index_->add(writer.seen.entries, writer.seen.versions());
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
            tail_.push(std::move(writer.batches));
            end_.store(writer.next().value, std::memory_order_release);
        } catch (const std::exception& e) {
            fail(std::string{"it could not take in what it had written: "} + e.what());
            throw storage_error{errc::closed, std::string{"recorded but not taken in: "} +
                                                  e.what() + "; open the log again"};
        }
        ++counters_.groups;
        if (members.size() > counters_.group_size_max.load())
            counters_.group_size_max = members.size();
        wake_waiters();
        if (unmerged_bytes_ >= options_.merge_bytes) merger_wakes_.notify_one();
    } catch (const std::bad_alloc&) {
        fail_all(std::make_exception_ptr(
            error{errc::out_of_memory, "no memory for this append: nothing was recorded"}));
    } catch (...) {
        fail_all(std::current_exception());
    }
}

}  // namespace cairn::detail
