// SPDX-License-Identifier: Apache-2.0
//
// Partitions that are handled beside each other, each by one thread. What the threads make of a
// batch is put together and committed at once, so that rows and checkpoint are one as ever.
#include "projection_run.hpp"
#include "team.hpp"

#include <algorithm>
#include <queue>
#include <thread>

namespace cairn::detail {

namespace {

bool allows_it(const table_access& tables)
{
    for (std::size_t i = 0; i < tables.shapes().size(); ++i)
        if (tables.rule(i) == row_rule::in_order) return false;
    return true;
}

[[noreturn]] void not_apart(const std::string& table)
{
    throw error{errc::rows_not_apart,
                "table " + table +
                    " is declared with rows_apart, and events of two partitions changed one of its "
                    "rows: declare it without, or with rows_merged, and rebuild the projection"};
}

}  // namespace

/// A thread's own: the projection's struct, its tables as that thread sees them, its partitions.
struct projection_run::part
{
    part(const event_store& events, const projection_type& type)
        : itself{type.create()},
          parked{*itself},
          access{access_of(*itself)},
          dispatch{events, type.handlers},
          to{type.as_itself(itself.get())}
    {
        access.be_a_part();
    }

    std::shared_ptr<projection_base> itself;
    parked_events                    parked;  // for its tables: the numbers are those of all
    table_access&                    access;
    event_dispatch                   dispatch;
    void* const                      to;
    std::vector<source*>             sources;
    std::uint64_t                    left = 0;  // records of its partitions, when it began

    std::unique_ptr<table_reader> reader;
    std::uint64_t                 read = 0, handled = 0;  // of a batch

    /// Its sources that are not at their end, by the position of what comes next.
    struct later
    {
        bool operator()(const source* a, const source* b) const
        {
            return a->next->position > b->next->position;
        }
    };
    std::priority_queue<source*, std::vector<source*>, later> queue;

    void handle(std::atomic<std::int64_t>& handling, position end, std::size_t events_max,
                std::size_t bytes_max, std::chrono::steady_clock::time_point until,
                const std::atomic<bool>& stopping)
    {
        read = handled = 0;
        access.write(reader.get());
        const auto full = [&] {
            return read >= events_max || access.change_bytes() >= bytes_max || stopping ||
                   (read % 64 == 0 && std::chrono::steady_clock::now() >= until);
        };
        while (!queue.empty() && (dispatch.waits() || !full())) {
            auto&       s = *queue.top();
            const auto& r = *s.next;
            if (r.position >= end) break;
            handling.store(r.position.value, std::memory_order_relaxed);
            queue.pop();
            handled += dispatch.dispatch(r, to);
            s.done = r.offset.next();
            ++read;
            s.move();
            if (s.next != nullptr) queue.push(&s);
        }
        if (dispatch.waits()) handled += dispatch.finish(to);
        handling = -1;
    }

    /// All before it is handled.
    position upto(position end) const
    {
        return queue.empty() ? end : std::min(end, queue.top()->next->position);
    }
};

bool projection_run::handle_side_by_side(position end, const std::atomic<bool>& stopping,
                                         const std::function<void()>& each_commit)
{
    auto threads = options_.threads;
    if (threads == 0) threads = std::max(1u, std::thread::hardware_concurrency());
    threads = std::min(threads, threads_max);
    if (threads < 2 || with_ || access_.posts() || options_.query || !options_.feeds.empty() ||
        !allows_it(access_))
        return false;
    step(projection_step::reading);
    auto          sources = open_sources();
    std::uint64_t left    = 0;
    for (const auto& s : sources) left += s.left;
    if (sources.size() < 2 || left < worth_a_team) return false;
    {
        const auto reader = tables_->read();
        access_.read(reader.get());
        const auto parked = parked_.count();
        access_.read(nullptr);
        if (parked > 0) return false;
    }

    // The longest first, each to who has least.
    std::sort(sources.begin(), sources.end(),
              [](const source& a, const source& b) { return a.left > b.left; });
    std::vector<std::unique_ptr<part>> parts;
    for (std::size_t i = 0; i < std::min(threads, sources.size()); ++i)
        parts.push_back(std::make_unique<part>(events_, type_));
    for (auto& s : sources) {
        const auto& to =
            *std::min_element(parts.begin(), parts.end(),
                              [](const auto& a, const auto& b) { return a->left < b->left; });
        to->sources.push_back(&s);
        to->queue.push(&s);
        to->left += s.left;
    }

    // What it remembers of rows is about to be old.
    access_.forget();
    team       all{parts.size()};
    const auto n           = parts.size();
    const auto handle_part = [&](std::size_t i) {
        parts[i]->handle(handling_[i], end,
                         std::max<std::size_t>(1, options_.commit_events_max / n),
                         options_.commit_bytes_max / n,
                         std::chrono::steady_clock::now() + options_.commit_time_max, stopping);
    };
    try {
        for (bool more = true; more && !stopping;) {
            step(projection_step::handling);
            for (auto& p : parts) p->reader = tables_->read();
            try {
                all.run(handle_part);
            } catch (...) {
                // One after the other they come to the same event, and say which it is.
                for (auto& h : handling_) h = -1;
                access_.forget();
                return false;
            }
            commit_parts(parts, sources, end, each_commit);
            more = std::any_of(parts.begin(), parts.end(),
                               [&](const auto& p) { return p->upto(end) < end; });
        }
    } catch (...) {
        access_.forget();
        access_.read(nullptr);
        throw;
    }
    return true;
}

void projection_run::commit_parts(std::span<const std::unique_ptr<part>> parts,
                                  std::span<source> sources, position end,
                                  const std::function<void()>& each_commit)
{
    for (const auto& p : parts) p->reader.reset();
    auto writer = tables_->write();
    access_.write(writer.get());
    std::vector<row_change> changes;
    for (const auto& p : parts)
        for (const auto& c : p->access.changes())
            if (access_.rule(c.table) == row_rule::merged)
                access_.merge(c.table, c.key, *c.value);
            else
                changes.push_back(c);
    for (const auto& c : access_.changes()) changes.push_back(c);
    const auto place = [](const row_change& c) { return std::pair{c.table, c.key}; };
    std::sort(changes.begin(), changes.end(),
              [&](const auto& a, const auto& b) { return place(a) < place(b); });
    const auto twice =
        std::adjacent_find(changes.begin(), changes.end(),
                           [&](const auto& a, const auto& b) { return place(a) == place(b); });
    if (twice != changes.end()) not_apart(access_.shapes()[twice->table].name);

    position upto = end;
    for (const auto& p : parts) upto = std::min(upto, p->upto(end));
    auto now = after(sources, upto);
    step(projection_step::committing);
    commit_changes(*writer, changes, now, upto);
    access_.committed();
    access_.read(nullptr);
    writer.reset();
    for (const auto& p : parts) {
        p->access.committed();
        p->access.read(nullptr);
        read_ += p->read;
        handled_ += p->handled;
    }
    read_since_commit_ = 0;
    ++commits_;
    advance(sources, std::move(now), upto, upto >= end);
    step(projection_step::committed);
    if (each_commit) each_commit();
}

}  // namespace cairn::detail
