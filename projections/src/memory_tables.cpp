// SPDX-License-Identifier: Apache-2.0
//
// Tables in memory: what a commit makes is a new state that shares nothing it changes; a reader
// keeps the one that it began with.
#include <cairn/projections/table_store.hpp>

#include "stored_tables.hpp"

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

namespace cairn {

namespace {

/// A row and the commits in which it is so: from `since` on, to before `until`.
struct dated_value
{
    std::uint64_t              since;
    std::optional<std::string> value;
};
using dated_rows = std::map<std::string, std::vector<dated_value>, std::less<>>;

class memory_version final : public projection_tables,
                             public std::enable_shared_from_this<memory_version>
{
public:
    explicit memory_version(std::vector<table_shape> s)
        : shapes{std::move(s)}, tables(shapes.size())
    {
    }

    std::unique_ptr<table_reader> read() override;
    std::unique_ptr<table_writer> write() override;

    projection_checkpoint checkpoint() const
    {
        const std::lock_guard lock{mutex};
        return newest;
    }

    const std::vector<table_shape> shapes;

    mutable std::mutex           mutex;  // all below
    std::condition_variable      changed;
    bool                         writing = false;
    std::vector<dated_rows>      tables;
    projection_checkpoint        newest;
    std::uint64_t                commits = 0;
    std::multiset<std::uint64_t> readers;  // the commit that each reads

    /// Rows that were erased, oldest first, and still stand for readers of before.
    struct erased_row
    {
        std::uint64_t since;
        std::size_t   table;
        std::string   key;
    };
    std::deque<erased_row> erased;
};

/// The newest value that a reader of commit `at` sees; null: there is none.
const std::string* value_at(const std::vector<dated_value>& values, std::uint64_t at)
{
    for (auto v = values.rbegin(); v != values.rend(); ++v)
        if (v->since <= at) return v->value ? &*v->value : nullptr;
    return nullptr;
}

class memory_cursor final : public row_cursor
{
public:
    memory_cursor(std::shared_ptr<memory_version> of, std::size_t table, key_range rows,
                  std::uint64_t at)
        : of_{std::move(of)}, table_{table}, rows_{std::move(rows)}, at_{at}
    {
    }

    // By key each time: between the calls rows come and go.
    bool next() override
    {
        const std::lock_guard lock{of_->mutex};
        const auto&           rows = of_->tables[table_];
        if (rows_.backwards) {
            auto row = started_   ? rows.lower_bound(key_)
                       : rows_.to ? rows.lower_bound(*rows_.to)
                                  : rows.end();
            started_ = true;
            while (row != rows.begin()) {
                --row;
                if (row->first < rows_.from) return false;
                if (take(*row)) return true;
            }
            return false;
        }
        auto row = started_ ? rows.upper_bound(key_) : rows.lower_bound(rows_.from);
        started_ = true;
        for (; row != rows.end(); ++row) {
            if (rows_.to && row->first >= *rows_.to) return false;
            if (take(*row)) return true;
        }
        return false;
    }
    bytes_view key() const override { return key_; }
    bytes_view value() const override { return value_; }

private:
    bool take(const dated_rows::value_type& row)
    {
        const auto* value = value_at(row.second, at_);
        if (value == nullptr) return false;
        key_   = row.first;
        value_ = *value;
        return true;
    }

    std::shared_ptr<memory_version> of_;
    std::size_t                     table_;
    key_range                       rows_;
    std::uint64_t                   at_;
    bool                            started_ = false;
    std::string                     key_, value_;
};

class memory_writer final : public table_writer
{
public:
    memory_writer(std::shared_ptr<memory_version> of, bool writes)
        : of_{std::move(of)}, writes_{writes}
    {
        std::unique_lock lock{of_->mutex};
        of_->changed.wait(lock, [&] { return !writes_ || !of_->writing; });
        if (writes_) of_->writing = true;
        at_         = of_->commits;
        checkpoint_ = of_->newest;
        of_->readers.insert(at_);
    }
    ~memory_writer() override
    {
        {
            const std::lock_guard lock{of_->mutex};
            of_->readers.erase(of_->readers.find(at_));
            if (writes_) of_->writing = false;
        }
        of_->changed.notify_all();
    }

    projection_checkpoint checkpoint() override { return checkpoint_; }
    bool                  get(std::size_t table, bytes_view key, std::string& value) override
    {
        const std::lock_guard lock{of_->mutex};
        const auto            row = of_->tables[table].find(key);
        if (row == of_->tables[table].end()) return false;
        const auto* found = value_at(row->second, at_);
        if (found != nullptr) value = *found;
        return found != nullptr;
    }
    std::unique_ptr<row_cursor> scan(std::size_t table, const key_range& rows) override
    {
        return std::make_unique<memory_cursor>(of_, table, rows, at_);
    }
    std::uint64_t count(std::size_t table) override
    {
        const std::lock_guard lock{of_->mutex};
        std::uint64_t         n = 0;
        for (const auto& [key, values] : of_->tables[table]) n += value_at(values, at_) != nullptr;
        return n;
    }

    void commit(std::span<const row_change> changes, const projection_checkpoint& c) override
    {
        const std::lock_guard lock{of_->mutex};
        detail::check_epoch(of_->newest, c);
        const auto now    = of_->commits + 1;
        const auto oldest = *of_->readers.begin();
        for (const auto& change : changes) {
            auto& rows = of_->tables[change.table];
            auto  row  = rows.find(change.key);
            if (row == rows.end()) {
                if (!change.value) continue;
                row = rows.emplace(std::string{change.key}, std::vector<dated_value>{}).first;
            }
            auto& values = row->second;
            values.push_back(
                {now, change.value ? std::optional<std::string>{*change.value} : std::nullopt});
            // What no reader can see any more.
            while (values.size() > 1 && values[1].since <= oldest) values.erase(values.begin());
            if (!change.value) of_->erased.push_back({now, change.table, row->first});
        }
        for (; !of_->erased.empty() && of_->erased.front().since <= oldest;
             of_->erased.pop_front()) {
            auto&      rows = of_->tables[of_->erased.front().table];
            const auto row  = rows.find(of_->erased.front().key);
            if (row != rows.end() && row->second.size() == 1 && !row->second.front().value)
                rows.erase(row);
        }
        of_->newest  = c;
        of_->commits = now;
    }

private:
    std::shared_ptr<memory_version> of_;
    const bool                      writes_;
    std::uint64_t                   at_ = 0;
    projection_checkpoint           checkpoint_;
};

std::unique_ptr<table_reader> memory_version::read()
{
    return std::make_unique<memory_writer>(shared_from_this(), false);
}
std::unique_ptr<table_writer> memory_version::write()
{
    return std::make_unique<memory_writer>(shared_from_this(), true);
}

class memory_store final : public table_store
{
public:
    std::vector<std::string> projections() override
    {
        const std::lock_guard    lock{mutex_};
        std::vector<std::string> all;
        for (const auto& [name, p] : projections_)
            if (!p.versions.empty()) all.push_back(name);
        return all;
    }
    std::vector<table_shape> shapes(const std::string& projection, int version) override
    {
        const std::lock_guard lock{mutex_};
        const auto&           all   = projections_[projection].versions;
        const auto            found = all.find(version);
        return found == all.end() ? std::vector<table_shape>{} : found->second->shapes;
    }
    std::vector<stored_version> versions(const std::string& projection) override
    {
        const std::lock_guard       lock{mutex_};
        std::vector<stored_version> all;
        const auto&                 p = projections_[projection];
        for (const auto& [number, tables] : p.versions)
            all.push_back({number, number == p.active, tables->checkpoint()});
        return all;
    }
    std::shared_ptr<projection_tables> open(const std::string& projection, int version,
                                            int                          code_version,
                                            std::span<const table_shape> shapes) override
    {
        const std::lock_guard lock{mutex_};
        auto&                 tables = projections_[projection].versions[version];
        if (!tables) {
            tables = std::make_shared<memory_version>(
                std::vector<table_shape>{shapes.begin(), shapes.end()});
            tables->newest.code_version = code_version;
        }
        detail::check_shapes(projection, version, detail::text_of(tables->shapes), shapes);
        return tables;
    }
    void activate(const std::string& projection, int version) override
    {
        const std::lock_guard lock{mutex_};
        projections_[projection].active = version;
    }
    void drop(const std::string& projection, int version) override
    {
        const std::lock_guard lock{mutex_};
        projections_[projection].versions.erase(version);
    }

private:
    struct stored_projection
    {
        std::map<int, std::shared_ptr<memory_version>> versions;
        int                                            active = 0;
    };

    std::mutex                               mutex_;
    std::map<std::string, stored_projection> projections_;
};

}  // namespace

std::shared_ptr<table_store> memory_tables()
{
    return std::make_shared<memory_store>();
}

}  // namespace cairn
