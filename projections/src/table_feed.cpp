// SPDX-License-Identifier: Apache-2.0
#include "table_feed.hpp"

#include "stored_tables.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <tuple>
#include <utility>

namespace cairn::detail {

class table_feed::follower final : public table_follower
{
public:
    follower(std::shared_ptr<const void> owner, table_feed& of, std::size_t table,
             const follow_options& o)
        : owner_{std::move(owner)}, of_{of}, table_{table}, options_{o}
    {
        const std::lock_guard one{of_.committing_};
        of_.followers_.push_back(this);
    }
    ~follower() override
    {
        const std::lock_guard one{of_.committing_};
        std::erase(of_.followers_, this);
    }

    void choose(key_range rows) override { rows_ = std::move(rows); }

    std::optional<table_news> next(std::chrono::steady_clock::time_point deadline) override
    {
        for (;;) {
            {
                std::unique_lock lock{mutex_};
                advanced_.wait_until(lock, deadline,
                                     [&] { return over_ || begins_ || !queue_.empty(); });
                if (over_) return std::nullopt;
                if (!begins_) {
                    if (queue_.empty()) return std::nullopt;
                    auto news = std::move(queue_.front());
                    queue_.pop_front();
                    bytes_ -= size_of(news);
                    return news;
                }
            }
            // Where no tables can answer, one waits for those that will.
            if (auto all = begin()) return all;
        }
    }

    void on_news(std::function<void()> then) override
    {
        const std::lock_guard one{of_.committing_};
        then_ = std::move(then);
    }
    void stop() noexcept override
    {
        {
            const std::lock_guard lock{mutex_};
            over_ = true;
        }
        advanced_.notify_all();
    }
    bool is_over() const noexcept override
    {
        const std::lock_guard lock{mutex_};
        return over_;
    }

    // ---- What the feed says, with its lock. --------------------------------------------------

    void hear(int version, std::span<const row_change> changes, position upto)
    {
        const auto place  = [](const row_change& c) { return std::tie(c.table, c.key); };
        const auto before = [&](const row_change& c, const std::tuple<std::size_t, bytes_view>& p) {
            return place(c) < p;
        };
        const auto first = std::lower_bound(changes.begin(), changes.end(),
                                            std::tuple{table_, bytes_view{rows_.from}}, before);
        const auto last  = rows_.to
                               ? std::lower_bound(first, changes.end(),
                                                  std::tuple{table_, bytes_view{*rows_.to}}, before)
                               : std::lower_bound(first, changes.end(),
                                                  std::tuple{table_ + 1, bytes_view{}}, before);
        if (first == last) return;
        {
            const std::lock_guard lock{mutex_};
            if (version != version_ || begins_ || over_) return;
            try {
                table_news news;
                news.upto = upto;
                for (auto c = first; c != last; ++c)
                    news.rows.emplace_back(
                        c->key, c->value ? std::optional<std::string>{*c->value} : std::nullopt);
                bytes_ += size_of(news);
                if (bytes_ <= options_.behind_bytes_max)
                    queue_.push_back(std::move(news));
                else
                    forget();
            } catch (const std::bad_alloc&) {
                forget();
            }
        }
        wake();
    }
    void begin_again() noexcept
    {
        {
            const std::lock_guard lock{mutex_};
            forget();
        }
        wake();
    }
    void end() noexcept
    {
        stop();
        wake();
    }

private:
    static std::size_t size_of(const table_news& news) noexcept
    {
        std::size_t bytes = sizeof news;
        for (const auto& r : news.rows)
            bytes += sizeof r + r.first.size() + (r.second ? r.second->size() : 0);
        return bytes;
    }

    void forget() noexcept
    {
        queue_.clear();
        bytes_  = 0;
        begins_ = true;
    }
    void wake() noexcept
    {
        advanced_.notify_all();
        if (then_) then_();
    }

    std::optional<table_news> begin()
    {
        opened now;
        {
            const std::lock_guard one{of_.committing_};
            now = of_.open_();
            // A database's snapshot begins with the first look at it.
            if (now.reader) (void)now.reader->checkpoint();
            const std::lock_guard lock{mutex_};
            forget();
            begins_  = false;
            version_ = now.reader ? now.version : 0;
        }
        if (!now.reader) return std::nullopt;
        table_news all{true, now.upto, {}};
        try {
            const auto row = now.reader->scan(table_, rows_);
            while (row->next()) {
                if (all.rows.size() == options_.rows_max)
                    throw error{errc::invalid_argument,
                                "there are more than " + std::to_string(options_.rows_max) +
                                    " rows to follow: follow some of them, or raise rows_max"};
                all.rows.emplace_back(row->key(), std::string{row->value()});
            }
        } catch (...) {
            const std::lock_guard lock{mutex_};
            forget();
            throw;
        }
        return all;
    }

    const std::shared_ptr<const void> owner_;
    table_feed&                       of_;
    const std::size_t                 table_;
    const follow_options              options_;
    key_range                         rows_;
    std::function<void()>             then_;  // protected by the feed's lock

    mutable std::mutex      mutex_;  // what follows
    std::condition_variable advanced_;
    std::deque<table_news>  queue_;
    std::size_t             bytes_   = 0;  // of what is queued
    int                     version_ = 0;  // of the tables that were read
    bool                    begins_  = true;
    bool                    over_    = false;
};

void table_feed::commit(int version, std::span<const row_change> changes, position upto,
                        const std::function<void()>& how)
{
    const std::lock_guard one{committing_};
    try {
        how();
    } catch (...) {
        for (auto* f : followers_) f->begin_again();
        throw;
    }
    for (auto* f : followers_) f->hear(version, changes, upto);
}

void table_feed::begin_again() noexcept
{
    const std::lock_guard one{committing_};
    for (auto* f : followers_) f->begin_again();
}

void table_feed::close() noexcept
{
    const std::lock_guard one{committing_};
    for (auto* f : followers_) f->end();
}

std::shared_ptr<table_follower> table_feed::follow(std::shared_ptr<const void> owner,
                                                   std::size_t table, const follow_options& o)
{
    return std::make_shared<follower>(std::move(owner), *this, table, o);
}

std::string json_of(const table_news& news, const table_shape& shape)
{
    std::string rows, erased;
    for (const auto& [key, value] : news.rows) {
        auto& to = value ? rows : erased;
        if (!to.empty()) to += ',';
        to += row_json(shape, key, value ? std::optional<bytes_view>{*value} : std::nullopt);
    }
    return std::string{"{\"reset\":"} + (news.reset ? "true" : "false") +
           ",\"upto\":" + std::to_string(news.upto.value) + ",\"rows\":[" + rows +
           "],\"erased\":[" + erased + "]}";
}

}  // namespace cairn::detail
