// SPDX-License-Identifier: Apache-2.0
//
// How far something has come that goes through the log: the newest record of a stream, which only
// one at a time can write.
#pragma once

#include "event_store_core.hpp"

#include <cairn/framework/detail/message.hpp>

#include <functional>
#include <string>
#include <utility>

namespace cairn::detail {

/// Invariants
///   - Of several that have begun, the one that began last writes: an append of another that has
///     add_to() in it is refused, and so nothing of it is recorded.
///
/// Threads   One.
/// Lifetime  The store outlives it.
/// Errors    fenced_generation where another has begun; what the log throws.
class checkpoint
{
public:
    /// `whose` is said where another has begun: "process manager payments".
    checkpoint(event_store_core& store, stream_id stream, std::string whose)
        : store_{store}, stream_{std::move(stream)}, whose_{std::move(whose)}
    {
        topic_config c;
        c.cleanup_delete  = false;
        c.cleanup_compact = true;
        store_.log.ensure_topic(stream_.topic, 1, c);
    }

    const stream_id& stream() const noexcept { return stream_; }

    /// Begins: reads the newest with `read` (null where there is none), which returns the first
    /// of its own; from then on others that have begun are over.
    void claim(const std::function<any_event(capnp::MessageReader*)>& read)
    {
        for (;;) {
            at_                   = store_.log.stream_version(stream_);
            auto           newest = store_.log.read_stream_backwards(stream_);
            const auto*    r      = newest.next();
            message        opened;
            append_request request;
            add_to(request, read(r && r->value ? &opened.open(*r->value) : nullptr));
            const auto result = store_.log.try_append(request);
            if (result) return written();
            if (result.error().code != errc::wrong_expected_version)
                throw append_refused{result.error()};
            // Another has written meanwhile. Each time one of us got on, so this ends.
        }
    }

    /// Reads the newest, where there is one, and does not begin. From any thread.
    void look(const std::function<void(capnp::MessageReader&)>& read) const
    {
        auto        newest = store_.log.read_stream_backwards(stream_);
        const auto* r      = newest.next();
        if (!r || !r->value) return;
        message opened{*r->value};
        read(opened.opened());
    }

    /// Makes the append one that records it, if nobody else has begun.
    void add_to(append_request& request, const any_event& e) const
    {
        request.records.push_back({stream_.topic, store_.record_of(e, stream_, at_, {})});
        request.expect.push_back({stream_, expected_version::exactly(at_)});
    }
    void written() noexcept { at_ = at_.next(); }

    void check() const
    {
        if (store_.log.stream_version(stream_) != at_) throw_fenced();
    }

    [[noreturn]] void throw_fenced() const
    {
        throw error{errc::fenced_generation,
                    "another " + whose_ + " has begun after this one, which is over: run one only"};
    }

private:
    event_store_core& store_;
    const stream_id   stream_;
    const std::string whose_;
    version           at_{0};
};

}  // namespace cairn::detail
