// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine.hpp"

#include <cairn/log/record_range.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cairn::detail {

/// Where a record_range gets its records from.
///
/// Invariants
///   - next() gives the records below the limit, in order, each once; then null.
///   - extend() moves the limit to what is committed now.
///   - removed() counts what the index knows and next() passed over, because it is gone.
class record_source
{
public:
    explicit record_source(std::shared_ptr<const engine> e) : engine_{std::move(e)}
    {
        engine_->throw_if_shut();
    }
    virtual ~record_source() = default;

    virtual const record_view* next() = 0;
    virtual void               extend(position end) = 0;
    virtual bool               forwards() const     = 0;

    const engine& log() const noexcept { return *engine_; }
    std::uint64_t removed() const noexcept { return removed_; }

    std::atomic<bool> stopped{false};

protected:
    std::uint64_t                 removed_ = 0;
    std::shared_ptr<const engine> engine_;
};

/// Goes through the records of one batch after the other, unpacking where it must.
class batch_reader
{
public:
    /// Takes a batch whose CRC was checked. Control batches have no records to show.
    void start(const engine& log, placed_batch placed);
    void stop() noexcept { active_ = false; }

    /// The next record, its `from` set; null at the end of the batch.
    const record_view* next();

    bool                   active() const noexcept { return active_; }
    const partition_state& owner() const noexcept { return owner_; }
    const placed_batch&    placed() const noexcept { return placed_; }

private:
    placed_batch    placed_;
    partition_state owner_;
    std::uint32_t   owner_uid_   = 0;
    std::string     scratch_;
    record_cursor   records_;
    record_view     current_;
    bool            active_ = false;
};

std::unique_ptr<record_source> partition_source(std::shared_ptr<const engine> e,
                                                partition_state at, std::uint32_t uid,
                                                offset from, direction d);
std::unique_ptr<record_source> log_source(std::shared_ptr<const engine> e, position from,
                                          direction d);
std::unique_ptr<record_source> stream_source(std::shared_ptr<const engine> e,
                                             const stream_id& stream, version from, direction d);
std::unique_ptr<record_source> query_source(std::shared_ptr<const engine> e, const query& q,
                                            position from, direction d);

}  // namespace cairn::detail
