// SPDX-License-Identifier: Apache-2.0
//
// Who follows a projection's tables, and what is told to them.
#pragma once

#include <cairn/projections/followed_rows.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace cairn::detail {

/// Between a commit and those who follow. A follower begins between two commits: what is committed
/// before is in the rows that it reads, what is committed after is told to it.
///
/// Invariants
///   - What a follower reads at first has all commits before it, and it is told all after it.
///   - A commit of which nobody knows whether it happened makes all begin again.
///   - Where nobody follows, a commit costs a lock that nobody holds.
///
/// Threads   Any.
/// Lifetime  Outlives its followers.
class table_feed
{
public:
    /// The tables that answer at this moment; reader null: none can.
    struct opened
    {
        std::unique_ptr<table_reader> reader;
        int                           version = 0;
        position                      upto{0};
    };

    explicit table_feed(std::function<opened()> open) : open_{std::move(open)} {}

    /// Commits by calling `how`, and tells those who follow that version what has changed.
    /// REQUIRES: `changes` are sorted by table and key.
    void commit(int version, std::span<const row_change> changes, position upto,
                const std::function<void()>& how);

    /// Other tables answer.
    void begin_again() noexcept;
    /// Nothing comes any more.
    void close() noexcept;

    /// `owner` keeps this.
    std::shared_ptr<table_follower> follow(std::shared_ptr<const void> owner, std::size_t table,
                                           const follow_options& o);

private:
    class follower;

    const std::function<opened()> open_;
    std::mutex                    committing_;  // commits, and those who begin between them
    std::vector<follower*>        followers_;   // protected by it
};

}  // namespace cairn::detail
