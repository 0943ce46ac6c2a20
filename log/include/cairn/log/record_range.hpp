// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/ids.hpp>
#include <cairn/log/record.hpp>

#include <chrono>
#include <cstdint>
#include <iterator>
#include <memory>

namespace cairn {

namespace detail {
class record_source;
}

/// The records of a partition, of the whole log, of a stream, or of a query: up to what was
/// there when it was made, and on from there with wait().
///
///     record_range r = log.read_stream({"orders", "o-1"});
///     do
///         for (const record_view& record : r) use(record);
///     while (r.wait(std::chrono::seconds{10}));   // woken by the next commit
///
/// Invariants
///   - No record is skipped, none comes twice, and they come in order.
///   - What is served has passed its checksum.
///   - wait() blocks without polling; a record is seen at the first wait() after its commit.
///
/// Threads   One thread at a time; stop() on any thread.
/// Lifetime  A record_view is good until the range moves on. It must not outlive its
///           commit_log. A range holds the segment it stands in, not a transaction: a slow
///           reader keeps one file from being deleted and delays nobody.
/// Errors    next() throws storage_error where a checksum fails (it says topic, partition and
///           offset); offset_out_of_range where retention overtook a reader: records that it had
///           before it when it began are gone; unknown_topic at the end of a partition or stream
///           whose topic was deleted meanwhile. What was gone before a range began it does not
///           have: a stream may begin after version 0. removed() says of streams and queries
///           whether that is so.
class record_range
{
public:
    using clock = std::chrono::steady_clock;

    record_range(record_range&&) noexcept;
    record_range& operator=(record_range&&) noexcept;
    ~record_range();

    /// The next record, or null at the end of what was there.
    const record_view* next();

    /// Waits until there is more, and goes on: true. False at the deadline, after stop(), and
    /// when the log is closed.
    /// A range that goes backwards has no more: false at once.
    bool wait(clock::time_point deadline);
    bool wait(clock::duration d)
    {
        const auto now = clock::now();
        return wait(d < clock::time_point::max() - now ? now + d : clock::time_point::max());
    }

    /// Of a stream or query: how many of its records next() has passed over, as retention or
    /// compaction took them, or they went with their topic. 0 of others, and of query::all().
    std::uint64_t removed() const noexcept;

    /// Makes a wait() return false, now and later.
    void stop() noexcept;

    class iterator
    {
    public:
        using value_type       = record_view;
        using difference_type  = std::ptrdiff_t;
        using iterator_concept = std::input_iterator_tag;

        iterator() = default;
        explicit iterator(record_range& r) : range_{&r}, at_{r.next()} {}

        const record_view& operator*() const noexcept { return *at_; }
        const record_view* operator->() const noexcept { return at_; }
        iterator&          operator++()
        {
            at_ = range_->next();
            return *this;
        }
        void        operator++(int) { ++*this; }
        friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept
        {
            return i.at_ == nullptr;
        }

    private:
        record_range*      range_ = nullptr;
        const record_view* at_    = nullptr;
    };

    iterator                begin() { return iterator{*this}; }
    std::default_sentinel_t end() const noexcept { return {}; }

    explicit record_range(std::unique_ptr<detail::record_source> source);

private:
    struct state;
    std::unique_ptr<state> state_;
};

}  // namespace cairn
