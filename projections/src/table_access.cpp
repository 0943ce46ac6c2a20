// SPDX-License-Identifier: Apache-2.0
#include <cairn/projections/detail/table_access.hpp>

#include "shape_names.hpp"

#include <algorithm>
#include <utility>

namespace cairn {

std::string table_shape::text() const
{
    const auto list = [](const std::vector<column>& columns) {
        std::string text;
        for (const auto& c : columns) {
            if (!text.empty()) text += ", ";
            switch (c.type) {
            case column_type::boolean:
                text += "bool";
                break;
            case column_type::integer:
                text += "i" + std::to_string(8 * c.width);
                break;
            case column_type::unsigned_integer:
                text += "u" + std::to_string(8 * c.width);
                break;
            case column_type::real:
                text += "f" + std::to_string(8 * c.width);
                break;
            case column_type::text:
                text += "text";
                break;
            case column_type::bytes:
                text += "bytes";
                break;
            }
            if (c.nullable) text += "?";
        }
        return text;
    };
    return name + "(" + list(key) + ") -> (" + list(value) + ")" + (is_index ? " index" : "");
}

namespace detail {

std::optional<std::string> after_prefix(std::string prefix)
{
    while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
    if (prefix.empty()) return std::nullopt;
    ++prefix.back();
    return prefix;
}

void name_shape(const std::string& what, table_shape& shape, std::vector<std::string> columns,
                std::span<const table_shape> others)
{
    const auto is_name = [](const std::string& n) {
        return !n.empty() && n.size() <= 63 && std::all_of(n.begin(), n.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
        });
    };
    if (!is_name(shape.name))
        throw error{errc::invalid_argument, "a " + what + " cannot be called '" + shape.name +
                                                "': take 1 to 63 of a to z, 0 to 9 and _"};
    for (const auto& other : others)
        if (other.name == shape.name)
            throw error{errc::invalid_argument, "a projection has two " + what + "s called '" +
                                                    shape.name + "': rename one"};
    if (columns.size() > shape.key.size() + shape.value.size())
        throw error{errc::invalid_argument,
                    what + " " + shape.name + " has " +
                        std::to_string(shape.key.size() + shape.value.size()) +
                        " columns, and more names for them: leave some out"};
    std::size_t named = 0;
    const auto  name  = [&](std::vector<column>& of, const std::string& otherwise) {
        for (std::size_t i = 0; i < of.size(); ++i)
            of[i].name = named < columns.size()
                               ? columns[named++]
                               : otherwise + (of.size() == 1 ? "" : "_" + std::to_string(i + 1));
    };
    name(shape.key, "key");
    name(shape.value, "value");
    for (const auto& name_of : columns)
        if (!is_name(name_of))
            throw error{errc::invalid_argument, what + " " + shape.name +
                                                    " cannot have a column '" + name_of +
                                                    "': take 1 to 63 of a to z, 0 to 9 and _"};
}

std::size_t table_access::add(table_shape shape, std::vector<std::string> columns, row_rule rule,
                              row_merge merge)
{
    name_shape("table", shape, std::move(columns), shapes_);
    shapes_.push_back(std::move(shape));
    rules_.push_back(rule);
    merges_.push_back(std::move(merge));
    rows_.emplace_back();
    return shapes_.size() - 1;
}

table_reader& table_access::reading() const
{
    if (reader_ == nullptr)
        throw error{errc::not_reading,
                    "a table is read outside of a reading: use view::read(), and keep what it "
                    "returns as long as you read"};
    return *reader_;
}

void table_access::check_change(std::size_t table, bytes_view key) const
{
    constexpr std::size_t key_bytes_max = 500;  // LMDB has 511
    if (!writing_)
        throw error{errc::not_writing, "table " + shapes_[table].name +
                                           " is changed outside of on(): only events change it"};
    if (key.size() > key_bytes_max)
        throw error{errc::key_too_long, "a key of " + std::to_string(key.size()) +
                                            " bytes for table " + shapes_[table].name +
                                            ": it has at most " + std::to_string(key_bytes_max)};
}

void table_access::check_not_merged(std::size_t table) const
{
    if (writing_ && rules_[table] == row_rule::merged)
        throw error{errc::invalid_argument,
                    "on() reads or sets a row of table " + shapes_[table].name +
                        ", whose rows are merged: it may only update() or combine() them, or the "
                        "table is declared without"};
}

table_access::entry& table_access::known(std::size_t table, bytes_view key, bool read)
{
    auto& rows = rows_[table];
    if (const auto at = rows.by_key.find(key); at != rows.by_key.end()) return *at->second;
    const bool elsewhere = is_part_ && rules_[table] == row_rule::merged;
    const bool there     = read && !elsewhere && reading().get(table, key, found_);
    auto&      e         = rows.entries.emplace_back(entry{std::string{key}, std::nullopt, false});
    try {
        if (there) e.value.emplace(found_);
        rows.by_key.emplace(std::string_view{e.key}, &e);
    } catch (...) {
        rows.entries.pop_back();
        throw;
    }
    in_memory_ += e.key.size() + (there ? found_.size() : 0) + 128;
    return e;
}

void table_access::post(flow_output o)
{
    bytes_ += o.event.bytes().size() + o.to.key.size() + 64;
    outputs_.push_back(std::move(o));
}

std::optional<bytes_view> table_access::find(std::size_t table, bytes_view key)
{
    if (writing_) {
        const auto& e = known(table, key, true);
        return e.value ? std::optional<bytes_view>{*e.value} : std::nullopt;
    }
    return reading().get(table, key, found_) ? std::optional<bytes_view>{found_} : std::nullopt;
}

table_access::entry& table_access::change(std::size_t table, bytes_view key)
{
    check_change(table, key);
    auto& e = known(table, key, true);
    if (!e.changed) {
        rows_[table].changed.push_back(&e);
        e.changed = true;
        bytes_ += key.size() + (e.value ? e.value->size() : 0) + 64;
    }
    return e;
}

table_access::entry& table_access::replace(std::size_t table, bytes_view key)
{
    check_change(table, key);
    (void)known(table, key, false);
    return change(table, key);
}

namespace {

/// Rows of a store with the changes before them.
class merged_cursor final : public row_cursor
{
public:
    using changed_row = std::pair<bytes_view, const std::optional<std::string>*>;

    merged_cursor(std::unique_ptr<row_cursor> stored, std::vector<changed_row> changed,
                  bool backwards)
        : stored_{std::move(stored)}, changed_{std::move(changed)}, backwards_{backwards}
    {
        std::sort(changed_.begin(), changed_.end(),
                  [this](const auto& a, const auto& b) { return comes_before(a.first, b.first); });
        more_ = stored_->next();
    }

    bool next() override
    {
        if (started_ && from_store_) more_ = stored_->next();
        started_ = true;
        for (;;) {
            const bool changed = at_ < changed_.size();
            if (!more_ && !changed) return false;
            from_store_ = !changed || (more_ && comes_before(stored_->key(), changed_[at_].first));
            if (from_store_) return true;
            if (more_ && stored_->key() == changed_[at_].first) more_ = stored_->next();
            current_ = changed_[at_++];
            if (*current_.second) return true;
        }
    }
    bytes_view key() const override { return from_store_ ? stored_->key() : current_.first; }
    bytes_view value() const override
    {
        return from_store_ ? stored_->value() : bytes_view{**current_.second};
    }

private:
    bool comes_before(bytes_view a, bytes_view b) const { return backwards_ ? b < a : a < b; }

    std::unique_ptr<row_cursor> stored_;
    std::vector<changed_row>    changed_;
    std::size_t                 at_ = 0;
    changed_row                 current_{};
    const bool                  backwards_;
    bool                        more_ = false, started_ = false, from_store_ = false;
};

}  // namespace

std::unique_ptr<row_cursor> table_access::scan(std::size_t table, key_range rows)
{
    auto& from = reading();
    if (!writing_ || rows_[table].changed.empty()) return from.scan(table, rows);
    std::vector<merged_cursor::changed_row> changed;
    for (const auto* e : rows_[table].changed)
        if (e->key >= rows.from && (!rows.to || e->key < *rows.to))
            changed.emplace_back(e->key, &e->value);
    const bool backwards = rows.backwards;
    return std::make_unique<merged_cursor>(from.scan(table, rows), std::move(changed), backwards);
}

std::uint64_t table_access::count(std::size_t table)
{
    auto& from  = reading();
    auto  total = from.count(table);
    if (!writing_) return total;
    std::string ignored;
    for (const auto* e : rows_[table].changed) {
        const bool stored = from.get(table, e->key, ignored);
        if (e->value && !stored) ++total;
        if (!e->value && stored) --total;
    }
    return total;
}

std::vector<row_change> table_access::changes() const
{
    std::vector<row_change> all;
    for (std::size_t table = 0; table < rows_.size(); ++table) {
        const auto first = static_cast<std::ptrdiff_t>(all.size());
        for (const auto* e : rows_[table].changed)
            all.push_back(
                {table, e->key, e->value ? std::optional<bytes_view>{*e->value} : std::nullopt});
        std::sort(all.begin() + first, all.end(),
                  [](const auto& a, const auto& b) { return a.key < b.key; });
    }
    return all;
}

void table_access::committed() noexcept
{
    constexpr std::size_t memory_max = 64u << 20;
    bytes_                           = 0;
    outputs_.clear();
    feeds_.clear();
    if (in_memory_ > memory_max) return forget();
    for (std::size_t table = 0; table < rows_.size(); ++table) {
        auto& rows = rows_[table];
        for (auto* e : rows.changed) e->changed = false;
        rows.changed.clear();
        if (!is_part_ || rules_[table] != row_rule::merged) continue;
        rows.by_key.clear();
        rows.entries.clear();
    }
}

void table_access::forget() noexcept
{
    for (auto& rows : rows_) {
        rows.changed.clear();
        rows.by_key.clear();
        rows.entries.clear();
    }
    outputs_.clear();
    feeds_.clear();
    bytes_     = 0;
    in_memory_ = 0;
}

}  // namespace detail
}  // namespace cairn
