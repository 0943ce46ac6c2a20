// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commit.hpp"
#include "engine.hpp"

#include <cairn/log/crc32c.hpp>

#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::detail {

/// What the requests before in the same group have done already.
class overlay
{
public:
    void clear()
    {
        entries.clear();
        subjects.clear();
        producers.clear();
        forget(ends);
        forget(counts_);
    }
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
    std::set<std::string_view>                              subjects;

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

    /// Keeps the room of a small group: to clear a table takes as long as it is large.
    template <class Table>
    static void forget(Table& table)
    {
        if (table.bucket_count() > 256)
            table = Table{};
        else
            table.clear();
    }

    boost::unordered_flat_map<term, std::int64_t, hash> counts_;
    std::vector<version>                                versions_;
};

/// Buffers of groups, used again: a fresh one costs a page fault for every 4 KB of it, which was
/// a tenth of a bulk append. They live in the tail until they are merged. Small groups share one:
/// one for each, freed by the merger on its own thread, was a quarter of a command in memory.
class buffers
{
public:
    static std::shared_ptr<std::string> get(std::size_t bytes)
    {
        auto       one  = std::make_unique<std::string>();
        const auto pool = instance();
        {
            const std::lock_guard lock{pool->mutex_};
            if (!pool->free_.empty()) {
                *one = std::move(pool->free_.back());
                pool->free_.pop_back();
                pool->bytes_ -= one->capacity();
            }
        }
        one->clear();
        one->reserve(std::max(bytes, shared_bytes));
        return std::shared_ptr<std::string>{one.release(),
                                            [pool](std::string* s) { pool->take_back(s); }};
    }

private:
    static constexpr std::size_t shared_bytes = 64 * 1024;
    static constexpr std::size_t bytes_max    = 16 << 20;

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

/// One group being built; then the next one, in the same memory.
class group_writer
{
public:
    explicit group_writer(class index& index) : index_{index} {}

    /// Begins a group of at most so many bytes and records. What was left of the one before is
    /// gone, but for the bytes that its batches point to.
    void start(std::uint64_t bytes, std::size_t count, position first)
    {
        seen.clear();
        seen.reserve(count);
        batches.clear();
        marks_.clear();
        newest_.reset();
        records       = 0;
        touches_state = false;
        open_         = false;
        next_ = first_ = first;
        if (!buffer_ || buffer_->capacity() - buffer_->size() < bytes)
            buffer_ = buffers::get(bytes);
        begin_ = buffer_->size();
    }

    overlay                   seen;
    std::vector<placed_batch> batches;
    std::uint64_t             records = 0;
    bool                      touches_state = false;

    position   next() const noexcept { return next_; }
    position   first() const noexcept { return first_; }
    bytes_view payload() const noexcept { return bytes_view{*buffer_}.substr(begin_); }

    version version_of(pending_append::place& place)
    {
        if (!place.stream) return version{-1};
        const auto* known = seen.count(place.stream);
        auto&       count =
            seen.count(place.stream, known ? 0 : index_.head(place.stream, place.known).count);
        return place.version = version{count++};
    }

    /// Adds one record at the next position; builds on the open batch where it can.
    void add(const pending_append& p, pending_append::place& place, const record& r,
             const std::vector<header>& headers, timestamp now, offset next_offset)
    {
        const auto most = std::min<std::uint64_t>(
            built_batch_bytes,
            static_cast<std::uint64_t>(place.topic->config.max_message_bytes));
        if (open_ && (open_uid_ != place.uid || builder().size() + place.bytes > most)) close();
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
        newest_->marked = true;
        auto&      entries = seen.entries;
        const auto place   = entries.begin() + static_cast<std::ptrdiff_t>(newest_->entry);
        if (place == entries.end() || place->position != newest_->position) {
            // It left no trace of its own; records of internal topics may have, behind it.
            index_entry e;
            e.position      = newest_->position;
            e.partition_uid = newest_->uid;
            e.offset        = newest_->at;
            entries.insert(place, e);
        }
        auto&      entry     = entries[newest_->entry];
        const auto of_record = entry.terms;
        auto&      terms     = marks_.emplace_back(of_record.begin(), of_record.end());
        terms.push_back(index_.hasher().any_record());
        entry.terms = {terms.data(), terms.size()};
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
        if (!place.topic->internal)
            newest_ = newest{at_position, place.uid, o, seen.entries.size()};
        if (!place.stream && place.terms == 0 && !place.command) return;
        index_entry e;
        e.position      = at_position;
        e.partition_uid = place.uid;
        e.offset        = o;
        e.at            = at;
        e.check         = check;
        e.stream        = place.stream;
        if (place.stream) e.version = place.version;
        e.command       = place.command;
        e.terms         = std::span{p.terms}.subspan(place.first_term, place.terms);
        seen.entries.push_back(e);
    }

    class index&                 index_;
    std::shared_ptr<std::string> buffer_;
    std::size_t                  begin_ = 0;  // of this group in it
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
        std::size_t     entry;  // where its entry is, or would be
        bool            marked = false;
    };
    std::optional<newest> newest_;

    /// A deque, as entries point into them.
    std::deque<boost::container::small_vector<term, 8>> marks_;
};

}  // namespace cairn::detail
