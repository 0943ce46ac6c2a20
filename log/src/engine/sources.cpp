// SPDX-License-Identifier: Apache-2.0
#include "sources.hpp"

#include <cairn/log/crc32c.hpp>

#include <algorithm>

namespace cairn {
namespace detail {

namespace {

std::string place_name(const partition_state& p, std::uint32_t uid)
{
    return p.topic ? p.topic->name + "-" + std::to_string(p.number)
                   : "partition uid " + std::to_string(uid);
}

[[noreturn]] void corrupt(const partition_state& p, const placed_batch& placed,
                          const std::string& what)
{
    throw storage_error{errc::damaged_segment,
                        place_name(p, placed.partition_uid) + " offset " +
                            std::to_string(placed.base.value) + ": " + what +
                            "; it is not served. Run `cairn verify`, restore a backup"};
}

}  // namespace

void batch_reader::start(const engine& log, placed_batch placed)
{
    if (!owner_.topic || owner_uid_ != placed.partition_uid) {
        owner_     = log.partition_of(placed.partition_uid);
        owner_uid_ = placed.partition_uid;
    }
    placed_          = std::move(placed);
    const auto batch = batch_view::parse(placed_.bytes, nullptr, false);
    if (!batch) corrupt(owner_, placed_, "the batch does not parse");
    active_ = !batch->is_control();
    if (!active_) return;
    batch_fault why;
    const auto  payload = batch->unpack(scratch_, unpack_bytes_max, &why);
    if (!payload) corrupt(owner_, placed_, why.what);
    records_ = record_cursor{*batch, *payload, placed_.position};
}

const record_view* batch_reader::next()
{
    if (!active_) return nullptr;
    if (!records_.next()) {
        active_ = false;
        if (!records_.ok()) corrupt(owner_, placed_, "its records do not parse");
        return nullptr;
    }
    current_ = records_.current();
    current_.from =
        owner_.topic ? &owner_.topic->names[static_cast<std::size_t>(owner_.number)] : nullptr;
    return &current_;
}

namespace {

/// Batches fetched ahead, a chunk at a time.
class chunk
{
public:
    template <class Refill>
    const placed_batch* next(Refill&& refill)
    {
        if (at_ == batches_.size()) {
            batches_.clear();
            at_ = 0;
            if (refill(batches_) == 0) return nullptr;
        }
        return &batches_[at_++];
    }
    void clear() noexcept
    {
        batches_.clear();
        at_ = 0;
    }

private:
    std::vector<placed_batch> batches_;
    std::size_t               at_ = 0;
};

/// The records of one batch in reverse: views, collected once a batch.
class reversed
{
public:
    template <class Keep>
    void start(batch_reader& reader, Keep&& keep)
    {
        records_.clear();
        while (const auto* r = reader.next())
            if (keep(*r)) records_.push_back(*r);
    }
    const record_view* next()
    {
        if (records_.empty()) return nullptr;
        current_ = records_.back();
        records_.pop_back();
        return &current_;
    }

private:
    std::vector<record_view> records_;
    record_view              current_;
};

constexpr read_limits chunk_limits{256 * 1024, 4096};

// ---- One partition. ---------------------------------------------------------------------------

class forward_partition final : public record_source
{
public:
    forward_partition(std::shared_ptr<const engine> e, partition_state at, std::uint32_t uid,
                      offset from)
        : record_source{std::move(e)}, at_{std::move(at)}, uid_{uid}, next_{from}
    {
        forward_partition::extend({});
    }

    const record_view* next() override
    {
        for (;;) {
            while (const auto* r = reader_.next()) {
                if (r->offset < next_) continue;
                if (r->offset >= limit_) {
                    // The batch goes on beyond what was there; it is read again later.
                    reader_.stop();
                    batch_end_ = offset{0};
                    chunk_.clear();
                    return nullptr;
                }
                next_ = r->offset.next();
                return r;
            }
            next_ = std::max(next_, batch_end_);  // compaction may have taken its last records
            if (next_ >= limit_) {
                log().must_be_alive(at_, uid_);
                return nullptr;
            }
            const auto* placed = chunk_.next([&](std::vector<placed_batch>& out) {
                const auto n     = log().read(uid_, next_, chunk_limits, out);
                const auto start = log().start_offset(uid_);  // after: it may move meanwhile
                if (next_ < start)
                    throw offset_out_of_range{
                        place_name(at_, uid_) + ": offset " + std::to_string(next_.value) +
                        " was removed by retention; the oldest kept is " +
                        std::to_string(start.value) + ". Go on from there"};
                return n;
            });
            if (!placed) {  // removed up to the limit
                log().must_be_alive(at_, uid_);
                next_ = limit_;
                return nullptr;
            }
            if (placed->base >= limit_) {
                next_ = limit_;
                chunk_.clear();
                return nullptr;
            }
            if (placed->end_offset() <= next_) continue;
            reader_.start(log(), *placed);
            batch_end_ = placed->end_offset();
        }
    }

    void extend(position) override
    {
        limit_ = log().end_offset(uid_);
        chunk_.clear();
    }
    bool forwards() const override { return true; }

private:
    partition_state at_;
    std::uint32_t   uid_;
    offset          next_, limit_, batch_end_;
    chunk           chunk_;
    batch_reader    reader_;
};

class backward_partition final : public record_source
{
public:
    backward_partition(std::shared_ptr<const engine> e, partition_state at, std::uint32_t uid,
                       offset from)
        : record_source{std::move(e)}, at_{std::move(at)}, uid_{uid},
          next_{std::min(from, log().end_offset(uid) - 1)}, least_{log().start_offset(uid)}
    {
    }

    const record_view* next() override
    {
        for (;;) {
            if (const auto* r = records_.next()) return r;
            if (next_ < least_) return nullptr;
            const auto* placed = chunk_.next([&](std::vector<placed_batch>& out) {
                return log().read_backwards(uid_, next_, chunk_limits, out);
            });
            if (!placed) return nullptr;
            reader_.start(log(), *placed);
            records_.start(reader_, [&](const record_view& r) {
                return r.offset <= next_ && r.offset >= least_;
            });
            next_ = std::min(next_, placed->base - 1);
        }
    }

    void extend(position) override {}
    bool forwards() const override { return false; }

private:
    partition_state at_;
    std::uint32_t   uid_;
    offset          next_, least_;
    chunk           chunk_;
    batch_reader    reader_;
    reversed        records_;
};

// ---- The whole log. ---------------------------------------------------------------------------

/// Whether retention has overtaken a reader of several partitions: what it has removed since the
/// reader began lies before it, and is missing. (Of a query it may be that nothing that was
/// removed matches, and compaction took what is missing: to be told in vain is better than not to
/// be told.)
class removal_watch
{
public:
    explicit removal_watch(const engine& log) : seen_{log.removals()} {}

    /// There is a hole at `at`.
    void hole(const engine& log, position at) const
    {
        const auto newest = log.newest_removed_since(seen_);
        if (newest < at) return;
        throw offset_out_of_range{"retention has removed records from position " +
                                  std::to_string(at.value) + " to " +
                                  std::to_string(newest.value) +
                                  " since the reader began: begin again with what is kept"};
    }

private:
    std::uint64_t seen_;
};

class forward_log final : public record_source
{
public:
    forward_log(std::shared_ptr<const engine> e, position from)
        : record_source{std::move(e)}, next_{from}, limit_{log().end()}, watch_{log()}
    {
    }

    const record_view* next() override
    {
        for (;;) {
            while (const auto* r = reader_.next()) {
                if (r->position < next_ || r->offset < start_) continue;
                next_ = r->position.next();
                return r;
            }
            next_ = std::max(next_, batch_end_);  // compaction may have taken its last records
            if (next_ >= limit_) return nullptr;
            const auto* placed = chunk_.next([&](std::vector<placed_batch>& out) {
                return log().read_all(next_, chunk_limits, out);
            });
            if (!placed || placed->position >= limit_) {
                next_ = limit_;
                chunk_.clear();
                return nullptr;
            }
            if (placed->end_position() <= next_) continue;
            if (placed->position > next_) watch_.hole(log(), next_);
            reader_.start(log(), *placed);
            batch_end_ = placed->end_position();
            if (reader_.owner().shown()) {
                start_ = log().start_offset(placed->partition_uid);
                if (placed->base < start_) watch_.hole(log(), next_);
            } else {
                reader_.stop();
            }
        }
    }

    void extend(position end) override
    {
        limit_ = end;
        chunk_.clear();
    }
    bool forwards() const override { return true; }

private:
    position      next_, limit_, batch_end_;
    offset        start_;
    removal_watch watch_;
    chunk         chunk_;
    batch_reader  reader_;
};

class backward_log final : public record_source
{
public:
    backward_log(std::shared_ptr<const engine> e, position from)
        : record_source{std::move(e)}, next_{std::min(from, log().end() - 1)}
    {
    }

    const record_view* next() override
    {
        for (;;) {
            if (const auto* r = records_.next()) return r;
            if (next_.value < 0) return nullptr;
            const auto* placed = chunk_.next([&](std::vector<placed_batch>& out) {
                return log().read_all_backwards(next_, chunk_limits, out);
            });
            if (!placed) return nullptr;
            reader_.start(log(), *placed);
            if (reader_.active() && reader_.owner().shown()) {
                const auto start = log().start_offset(placed->partition_uid);
                records_.start(reader_, [&](const record_view& r) {
                    return r.position <= next_ && r.offset >= start;
                });
            }
            next_ = std::min(next_, placed->position - 1);
        }
    }

    void extend(position) override {}
    bool forwards() const override { return false; }

private:
    position     next_;
    chunk        chunk_;
    batch_reader reader_;
    reversed     records_;
};

// ---- Single records, found through the index. -------------------------------------------------

/// Reads one record out of a batch, having checked it.
class record_finder
{
public:
    /// The record at an offset. Where the index knows where it begins and its CRC, only its own
    /// bytes are checked; else, or where that does not fit (the batch was rewritten), the batch.
    /// Null: the record was removed.
    const record_view* find(const engine& log, placed_batch placed, offset at,
                            const stream_posting* posting)
    {
        const bool same = placed.bytes.data() == placed_.bytes.data() && placed_.owner &&
                          placed.position == placed_.position;
        if (!same) {
            placed_  = std::move(placed);
            checked_ = false;
            packed_  = false;
        }
        if (!owner_.topic || owner_uid_ != placed_.partition_uid) {
            owner_     = log.partition_of(placed_.partition_uid);
            owner_uid_ = placed_.partition_uid;
        }
        const auto batch = batch_view::parse(placed_.bytes, nullptr, false);
        if (!batch) corrupt(owner_, placed_, "the batch does not parse");
        const bool packed = batch->codec() != codec::none;
        const auto known  = [&](bytes_view payload) -> const record_view* {
            if (!posting) return nullptr;
            record_cursor one{*batch, payload, placed_.position};
            const bool    fits = one.seek(posting->at) && one.current().offset == at &&
                              crc32c(one.current_bytes()) == posting->check;
            return fits ? show(one.current()) : nullptr;
        };
        if (!packed)
            if (const auto* found = known(batch->payload())) return found;
        if (!checked_) {
            batch_fault why;
            if (!batch_view::parse(placed_.bytes, &why, true)) corrupt(owner_, placed_, why.what);
            checked_ = true;
        }
        if (batch->is_control()) return nullptr;
        if (!packed_) {
            batch_fault why;
            const auto  payload = batch->unpack(scratch_, unpack_bytes_max, &why);
            if (!payload) corrupt(owner_, placed_, why.what);
            payload_ = *payload;
            packed_  = packed;
        }
        if (packed)
            if (const auto* found = known(payload_)) return found;
        record_cursor all{*batch, payload_, placed_.position};
        while (all.next()) {
            if (all.current().offset < at) continue;
            return all.current().offset == at ? show(all.current()) : nullptr;
        }
        if (!all.ok()) corrupt(owner_, placed_, "its records do not parse");
        return nullptr;
    }

    const partition_state& owner() const noexcept { return owner_; }
    record_view&           current() noexcept { return current_; }

    /// Forgets which topic is whose: it may have been deleted since.
    void look_again() { owner_ = {}; }

private:
    const record_view* show(const record_view& r)
    {
        current_ = r;
        current_.from =
            owner_.topic ? &owner_.topic->names[static_cast<std::size_t>(owner_.number)] : nullptr;
        return &current_;
    }

    placed_batch    placed_;
    partition_state owner_;
    std::uint32_t   owner_uid_ = 0;
    bool            checked_ = false;  // its whole CRC
    bool            packed_  = false;  // payload_ lies in scratch_
    std::string     scratch_;
    bytes_view      payload_;
    record_view     current_;
};

class of_stream final : public record_source
{
public:
    of_stream(std::shared_ptr<const engine> e, const stream_id& id, version from, direction d)
        : record_source{std::move(e)}, direction_{d}
    {
        const auto t = log().topic(id.topic);
        uid_         = t->uids[static_cast<std::size_t>(log().locate(*t, id.key))];
        stream_      = log().index().hasher().stream(uid_, id.key);
        at_topic_    = log().partition_of(uid_);
        began_at_    = log().start_offset(uid_);
        limit_       = log().end();
        next_        = from;
        if (direction_ == direction::backward)
            next_ = std::min(from, version{log().index().head(stream_).count - 1});
    }

    const record_view* next() override
    {
        for (;;) {
            if (at_ == postings_.size()) {
                log().must_be_alive(at_topic_, uid_);
                if (direction_ == direction::backward && next_.value < 0) return nullptr;
                postings_ = log().index().stream(stream_, next_, direction_, postings_ahead);
                at_       = 0;
                found_    = 0;
                batches_.clear();
                finder_.look_again();
                start_ = log().start_offset(uid_);
                if (postings_.empty()) return nullptr;
            }
            const auto& p = postings_[at_];
            if (p.position >= limit_ && direction_ == direction::forward) {
                postings_.clear();
                at_ = 0;
                return nullptr;
            }
            if (at_ == found_ + batches_.size()) {
                found_ = at_;
                log().find(uid_,
                           std::span{postings_}.subspan(
                               at_, std::min(batches_ahead, postings_.size() - at_)),
                           batches_);
            }
            auto& placed = batches_[at_ - found_];
            ++at_;
            next_ = direction_ == direction::forward ? p.version.next() : p.version - 1;
            if (p.position >= limit_) continue;
            if (p.offset < start_ || !placed) {
                gone(p);
                continue;
            }
            const auto* r = finder_.find(log(), std::move(*placed), p.offset, &p);
            if (!finder_.owner().topic) log().must_be_alive(at_topic_, uid_);
            if (!r || !finder_.owner().topic) {
                gone(p);
                continue;
            }
            finder_.current().version = p.version;
            return r;
        }
    }

    void extend(position end) override { limit_ = end; }
    bool forwards() const override { return direction_ == direction::forward; }

private:
    static constexpr std::size_t postings_ahead = 64;
    static constexpr std::size_t batches_ahead  = 16;

    // It is not there. Compaction may take any; retention what is before the start; but not what
    // this reader could still have read when it began. (Backwards, what was removed is the end.)
    void gone(const stream_posting& p)
    {
        ++removed_;
        if (direction_ == direction::backward || p.offset < began_at_) return;
        const auto start = log().start_offset(uid_);
        if (p.offset < start)
            throw offset_out_of_range{
                place_name(at_topic_, uid_) + ": version " + std::to_string(p.version.value) +
                " of a stream was removed by retention while it was read; the oldest offset kept "
                "is " + std::to_string(start.value) + ". Begin again with what is kept"};
    }

    direction                   direction_;
    partition_state             at_topic_;  // for messages
    offset                      began_at_;  // the start of the partition then
    std::uint32_t               uid_ = 0;
    term                        stream_;
    version                     next_;
    position                    limit_;
    offset                      start_;
    std::vector<stream_posting> postings_;
    std::size_t                 at_ = 0;

    std::vector<std::optional<placed_batch>> batches_;    // of postings_ from found_ on
    std::size_t                              found_ = 0;
    record_finder                            finder_;
};

class of_query final : public record_source
{
public:
    of_query(std::shared_ptr<const engine> e, const query& q, position from, direction d)
        : record_source{std::move(e)}, terms_{log().terms_of(q)}, direction_{d}, watch_{log()},
          next_{from}, limit_{log().end()}
    {
        if (d == direction::backward) next_ = std::min(from, log().end() - 1);
    }

    const record_view* next() override
    {
        for (;;) {
            if (at_ == positions_.size()) {
                at_ = 0;
                positions_ =
                    direction_ == direction::forward
                        ? log().index().matches(terms_, next_, limit_, direction_, ahead_)
                        : log().index().matches(terms_, position{0}, next_.next(), direction_,
                                                ahead_);
                if (positions_.empty()) return nullptr;
                finder_.look_again();
                ahead_ = std::min<std::size_t>(ahead_ * 2, 4096);
            }
            const auto p = positions_[at_++];
            next_        = direction_ == direction::forward ? p.next() : p - 1;
            auto placed  = log().find(p);
            if (!placed) {
                gone(p);
                continue;
            }
            const auto at = placed->base + (p - placed->position);
            const auto uid = placed->partition_uid;
            const auto* r  = finder_.find(log(), std::move(*placed), at, nullptr);
            if (r && !finder_.owner().shown()) {  // its topic was deleted
                count_removed();
                continue;
            }
            if (!r || r->offset < log().start_offset(uid)) {
                gone(p);
                continue;
            }
            return r;
        }
    }

    void extend(position end) override { limit_ = end; }
    bool forwards() const override { return direction_ == direction::forward; }

private:
    // An item without types and tags matches all positions, also those of the log's own records,
    // and of what is gone nobody knows whose it was.
    void count_removed() noexcept
    {
        const auto matches_all = [](const query_terms::item& i) {
            return i.types.empty() && i.tags.empty();
        };
        if (std::none_of(terms_.items.begin(), terms_.items.end(), matches_all)) ++removed_;
    }

    void gone(position p)
    {
        count_removed();
        if (direction_ == direction::forward) watch_.hole(log(), p);
    }

    query_terms           terms_;
    direction             direction_;
    removal_watch         watch_;
    position              next_, limit_;
    std::vector<position> positions_;
    std::size_t           at_    = 0;
    std::size_t           ahead_ = 16;
    record_finder         finder_;
};

}  // namespace

std::unique_ptr<record_source> partition_source(std::shared_ptr<const engine> e,
                                                partition_state at, std::uint32_t uid,
                                                offset from, direction d)
{
    if (d == direction::forward)
        return std::make_unique<forward_partition>(std::move(e), std::move(at), uid, from);
    return std::make_unique<backward_partition>(std::move(e), std::move(at), uid, from);
}

std::unique_ptr<record_source> log_source(std::shared_ptr<const engine> e, position from,
                                          direction d)
{
    if (d == direction::forward) return std::make_unique<forward_log>(std::move(e), from);
    return std::make_unique<backward_log>(std::move(e), from);
}

std::unique_ptr<record_source> stream_source(std::shared_ptr<const engine> e,
                                             const stream_id& stream, version from, direction d)
{
    return std::make_unique<of_stream>(std::move(e), stream, from, d);
}

std::unique_ptr<record_source> query_source(std::shared_ptr<const engine> e, const query& q,
                                            position from, direction d)
{
    return std::make_unique<of_query>(std::move(e), q, from, d);
}

}  // namespace detail

// ---- record_range. ----------------------------------------------------------------------------

struct record_range::state
{
    std::unique_ptr<detail::record_source> source;
    const record_view*                     ahead = nullptr;  // found by wait()
    position                               seen;             // the log's end at the last look
};

record_range::record_range(std::unique_ptr<detail::record_source> source)
    : state_{std::make_unique<state>()}
{
    state_->source = std::move(source);
    // Earlier than the source's own limit at worst, and then wait() only looks once more.
    state_->seen = position{0};
}

record_range::record_range(record_range&&) noexcept            = default;
record_range& record_range::operator=(record_range&&) noexcept = default;
record_range::~record_range()                                  = default;

const record_view* record_range::next()
{
    if (state_->ahead) return std::exchange(state_->ahead, nullptr);
    return state_->source->next();
}

bool record_range::wait(clock::time_point deadline)
{
    auto& source = *state_->source;
    if (!source.forwards()) return false;
    for (;;) {
        if (source.stopped) return false;
        if (state_->ahead) return true;
        // What is committed before this look is found by next(); what comes after it wakes us.
        const auto end = source.log().end();
        if (end > state_->seen) {
            state_->seen = end;
            try {
                source.extend(end);
                if ((state_->ahead = source.next())) return true;
            } catch (const error& e) {
                if (e.code() == errc::closed) return false;  // while we looked
                throw;
            }
        }
        if (!source.log().wait_beyond(state_->seen, deadline, &source.stopped)) return false;
    }
}

std::uint64_t record_range::removed() const noexcept
{
    return state_->source->removed();
}

void record_range::stop() noexcept
{
    state_->source->stopped = true;
    state_->source->log().wake_waiters();
}

}  // namespace cairn
