// SPDX-License-Identifier: Apache-2.0
//
// A table, and what becomes of it: for whoever shows it while it changes.
#pragma once

#include <cairn/projections/table.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn {

struct follow_options
{
    /// A table, or what is followed of it, has at most so many rows: they are read at once. Where
    /// it has more, next() throws invalid_argument.
    std::size_t rows_max = 100'000;

    /// Changes that wait for next() take at most so many bytes. Where there are more, they are
    /// dropped, and next() gives all rows again.
    std::size_t behind_bytes_max = 1u << 20;
};

/// What next() gives: all rows there are, or what one commit has changed.
template <class Key, class Value>
struct row_news
{
    bool                         reset = false;  ///< all there are: what was told before is over
    position                     upto{0};        ///< all before this position is in them
    std::vector<row<Key, Value>> rows{};         ///< new ones, and new values
    std::vector<Key>             erased{};  ///< no rows any more; some may never have been told

    friend bool operator==(const row_news&, const row_news&) = default;
};

/// The same for who does not know the types: a page, a socket.
struct json_news
{
    bool     reset = false;
    position upto{0};

    /// {"reset":true,"upto":7,"rows":[{"sku":"lamp","quantity":3}],"erased":[{"sku":"bulb"}]}, in
    /// one line, with the columns' names. Integers that a double cannot hold are strings, as are
    /// bytes (in hexadecimal) and text (what is no UTF-8 in it is replaced).
    std::string text{};
};

namespace detail {

/// Rows, encoded.
struct table_news
{
    bool                                                            reset = false;
    position                                                        upto{0};
    std::vector<std::pair<std::string, std::optional<std::string>>> rows;  // none: erased
};

/// Hears of the commits of a table.
class table_follower
{
public:
    virtual ~table_follower() = default;

    /// REQUIRES: before the first next().
    virtual void                      choose(key_range rows)                               = 0;
    virtual std::optional<table_news> next(std::chrono::steady_clock::time_point deadline) = 0;
    virtual void                      on_news(std::function<void()> then)                  = 0;
    virtual void                      stop() noexcept                                      = 0;
    virtual bool                      is_over() const noexcept                             = 0;
};

std::string json_of(const table_news& news, const table_shape& shape);

inline std::chrono::steady_clock::time_point deadline_of(std::chrono::steady_clock::duration d)
{
    using clock    = std::chrono::steady_clock;
    const auto now = clock::now();
    return d < clock::time_point::max() - now ? now + d : clock::time_point::max();
}

}  // namespace detail

/// Rows of a table as they are, and from then on what each commit changes of them.
///
///     auto spent = view.follow(&Revenue::spent);
///     while (const auto news = spent.next(10s)) {
///         if (news->reset) page.clear();
///         for (const auto& [customer, cents] : news->rows) page.show(customer, cents);
///         for (const auto& customer : news->erased) page.remove(customer);
///     }
///
/// Which rows, is said before the first next(): `view.follow(&Shop::orders).rows_with("Ada")`.
///
/// Invariants
///   - The first news is a reset: the rows at one moment. Each that follows is what one commit has
///     changed since the news before it; of these none is lost, and none comes twice.
///   - What waits does not grow: who is too slow is given a reset.
///   - When another version of the tables answers, its rows come as a reset.
///   - next() does not poll: the commit wakes it.
///
/// Threads   next() one at a time; stop() any.
/// Lifetime  Keeps the tables open. Nothing comes while the runner is stopped, nor when it is gone.
///           It hears what this runner, and those in its group, commit.
/// Errors    invalid_argument where there are more than rows_max; the store's. What threw is tried
///           again by the next call.
template <class Key, class Value>
class followed_rows
{
public:
    using row_type = row<Key, Value>;

    explicit followed_rows(std::shared_ptr<detail::table_follower> f) : follower_{std::move(f)} {}

    /// Only those from a key on; from a key to before another; whose key begins with these fields.
    followed_rows&& rows_from(const Key& from) &&
    {
        return std::move(*this).choose({encoded(from)});
    }
    followed_rows&& rows(const Key& from, const Key& to) &&
    {
        return std::move(*this).choose({encoded(from), encoded(to)});
    }
    template <class... Fields>
    followed_rows&& rows_with(const Fields&... first) &&
    {
        std::string prefix;
        (detail::put_key(prefix, detail::as_key_field(first)), ...);
        auto end = detail::after_prefix(prefix);
        return std::move(*this).choose({std::move(prefix), std::move(end)});
    }

    /// Only those that `keep` says yes to. A row that it says no to is told as erased, since it may
    /// have been another before.
    followed_rows&& filtered(std::function<bool(const row_type&)> keep) &&
    {
        keep_ = std::move(keep);
        return std::move(*this);
    }

    /// What there is next; waits for it. nullopt at the deadline, and when it is over.
    std::optional<row_news<Key, Value>> next(std::chrono::steady_clock::duration timeout)
    {
        const auto deadline = detail::deadline_of(timeout);
        while (auto news = follower_->next(deadline)) {
            row_news<Key, Value> told{news->reset, news->upto};
            for (const auto& [key, value] : news->rows) {
                auto k = detail::key_from<Key>(key);
                if (value) {
                    row_type r{std::move(k), detail::row_from<Value>(*value)};
                    if (!keep_ || keep_(r)) {
                        told.rows.push_back(std::move(r));
                        continue;
                    }
                    k = std::move(r.key);
                }
                if (!told.reset) told.erased.push_back(std::move(k));
            }
            return told;
        }
        return std::nullopt;
    }

    /// Calls it when next() would not wait: for who waits for other things too. In the thread that
    /// commits: it only wakes somebody, and does not call next().
    void on_news(std::function<void()> then) { follower_->on_news(std::move(then)); }

    /// Ends next(), now and later.
    void stop() noexcept { follower_->stop(); }
    /// Nothing comes any more: it was stopped, or the runner is gone.
    bool is_over() const noexcept { return follower_->is_over(); }

private:
    followed_rows&& choose(key_range rows) &&
    {
        follower_->choose(std::move(rows));
        return std::move(*this);
    }
    static std::string encoded(const Key& key)
    {
        std::string bytes;
        detail::put_key(bytes, key);
        return bytes;
    }

    std::shared_ptr<detail::table_follower> follower_;
    std::function<bool(const row_type&)>    keep_;
};

namespace detail {

template <class Row>
auto followed(std::shared_ptr<table_follower> f)
{
    return followed_rows<decltype(Row::key), decltype(Row::value)>{std::move(f)};
}

}  // namespace detail

/// The same as JSON: all rows of a table, one line for each news.
///
/// Invariants, Threads, Lifetime, Errors   As followed_rows.
class followed_json
{
public:
    followed_json(std::shared_ptr<detail::table_follower> f, table_shape shape)
        : follower_{std::move(f)}, shape_{std::move(shape)}
    {
    }

    std::optional<json_news> next(std::chrono::steady_clock::duration timeout)
    {
        const auto news = follower_->next(detail::deadline_of(timeout));
        if (!news) return std::nullopt;
        return json_news{news->reset, news->upto, detail::json_of(*news, shape_)};
    }
    void on_news(std::function<void()> then) { follower_->on_news(std::move(then)); }
    void stop() noexcept { follower_->stop(); }
    bool is_over() const noexcept { return follower_->is_over(); }

private:
    std::shared_ptr<detail::table_follower> follower_;
    table_shape                             shape_;
};

}  // namespace cairn
