// SPDX-License-Identifier: Apache-2.0
#include "retail.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <stdexcept>
#include <zlib.h>

namespace cairn::bench {

namespace {

const std::string line_type = "LineInvoiced";

/// How a line lies in an event: these, then product and country.
struct line_head
{
    std::int64_t  price_milli    = 0;
    std::int32_t  quantity       = 0;
    std::uint16_t month          = 0;  // year * 12 + month
    std::uint8_t  product_length = 0;
    std::uint8_t  country_length = 0;
};
static_assert(sizeof(line_head) == 16);

class gz_lines
{
public:
    explicit gz_lines(const std::string& path) : file_{gzopen(path.c_str(), "rb")}
    {
        if (!file_) throw std::runtime_error{path + " cannot be opened"};
        gzbuffer(file_, 1 << 18);
    }
    ~gz_lines() { gzclose(file_); }
    gz_lines(const gz_lines&)            = delete;
    gz_lines& operator=(const gz_lines&) = delete;

    bool next(std::string& line)
    {
        std::array<char, 4096> buffer;
        if (!gzgets(file_, buffer.data(), static_cast<int>(buffer.size()))) return false;
        line = buffer.data();
        while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
        return true;
    }

private:
    gzFile file_;
};

/// Splits a line of CSV; a field in quotes may hold commas, and a quote twice.
void split_csv(const std::string& line, std::vector<std::string>& fields)
{
    fields.assign(1, "");
    bool quoted = false;
    for (std::size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
            fields.back() += '"';
            ++i;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == ',' && !quoted) {
            fields.emplace_back();
        } else {
            fields.back() += c;
        }
    }
}

template <class T>
T number_in(const std::string& text, std::size_t line)
{
    T value{};
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc{} || end != text.data() + text.size())
        throw std::runtime_error{"line " + std::to_string(line) + ": \"" + text +
                                 "\" is not a number"};
    return value;
}

class read_models
{
public:
    void take(std::string_view value)
    {
        const auto line = line_in(value);
        auto&      p    = at(products_, line.product);
        p.quantity += line.quantity;
        p.revenue += line.milli;

        auto& months = at(countries_, line.country);
        if (months.size() <= line.month) months.resize(line.month + 1u);
        months[line.month] += line.milli;
        ++lines_;
    }

    retail_totals totals() const
    {
        retail_totals t;
        t.lines    = lines_;
        t.products = products_.size();
        for (const auto& [name, p] : products_) {
            t.revenue_milli += p.revenue;
            t.quantity += p.quantity;
        }
        for (const auto& [name, months] : countries_)
            t.country_months += static_cast<std::uint64_t>(
                std::ranges::count_if(months, [](std::int64_t m) { return m != 0; }));
        return t;
    }

private:
    struct hash
    {
        using is_transparent = void;
        std::size_t operator()(std::string_view s) const noexcept
        {
            return std::hash<std::string_view>{}(s);
        }
    };
    struct sales
    {
        std::int64_t quantity = 0, revenue = 0;
    };
    template <class T>
    using by_name = boost::unordered_flat_map<std::string, T, hash, std::equal_to<>>;

    template <class T>
    static T& at(by_name<T>& map, std::string_view name)
    {
        const auto found = map.find(name);
        return found != map.end() ? found->second : map[std::string{name}];
    }

    by_name<sales>                     products_;
    by_name<std::vector<std::int64_t>> countries_;
    std::uint64_t                      lines_ = 0;
};

}  // namespace

std::vector<std::vector<event>> read_invoices(const std::string& file)
{
    enum field { invoice, product, description, quantity, date, price, customer, country, fields };

    gz_lines                                           lines{file};
    std::string                                        line;
    std::vector<std::string>                           f;
    std::vector<std::vector<event>>                    invoices;
    boost::unordered_flat_map<std::string, std::size_t> at;
    lines.next(line);  // the heading
    if (!line.starts_with("InvoiceNo,"))
        throw std::runtime_error{file + " does not begin with the heading of Online Retail"};

    for (std::size_t n = 2; lines.next(line); ++n) {
        split_csv(line, f);
        if (f.size() != fields || f[date].size() < 7)
            throw std::runtime_error{file + ": line " + std::to_string(n) + " has " +
                                     std::to_string(f.size()) + " fields, not 8"};
        line_head head;
        head.price_milli = std::llround(number_in<double>(f[price], n) * 1000);
        head.quantity    = number_in<std::int32_t>(f[quantity], n);
        head.month       = static_cast<std::uint16_t>(
            (number_in<int>(f[date].substr(0, 4), n) - 2000) * 12 +
            number_in<int>(f[date].substr(5, 2), n) - 1);
        head.product_length = static_cast<std::uint8_t>(f[product].size());
        head.country_length = static_cast<std::uint8_t>(f[country].size());

        const auto [where, is_new] = at.try_emplace(f[invoice], invoices.size());
        if (is_new) invoices.emplace_back();
        auto& all = invoices[where->second];
        event e;
        e.stream  = f[invoice];
        e.version = static_cast<std::int64_t>(all.size());
        e.type    = line_type;
        e.value.assign(reinterpret_cast<const char*>(&head), sizeof head);
        e.value += f[product] + f[country] + f[date] + '\0' + f[customer] + '\0' + f[description];
        all.push_back(std::move(e));
    }
    return invoices;
}

retail_line line_in(std::string_view value)
{
    line_head head;
    std::memcpy(&head, value.data(), sizeof head);
    return {value.substr(sizeof head, head.product_length),
            value.substr(sizeof head + head.product_length, head.country_length), head.month,
            head.quantity, head.quantity * head.price_milli};
}

retail_totals fold_read_models(store& from)
{
    read_models models;
    from.read_all([&](std::string_view type, std::string_view value) {
        if (type == line_type) models.take(value);
    });
    return models.totals();
}

retail_totals fold_read_models(const std::vector<std::vector<event>>& invoices)
{
    read_models models;
    for (const auto& invoice : invoices)
        for (const auto& e : invoice) models.take(e.value);
    return models.totals();
}

}  // namespace cairn::bench
