// SPDX-License-Identifier: Apache-2.0
#include "results.hpp"

#include "json.hpp"
#include "output.hpp"
#include "table.hpp"
#include "text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <unistd.h>

namespace cairn::bench {

namespace {

constexpr metric_kind kinds[] = {
    {"rate", "/s"},       {"p50", "µs, p50"},   {"p99", "µs, p99"}, {"cpu", "µs CPU each"},
    {"seconds", "s"},     {"ms", "ms"},         {"mib", "MiB"},     {"gib_s", "GiB/s"},
    {"percent", "%"},     {"ratio", "×"},       {"mib_s", "MiB/s"}, {"gib", "GiB"},
};

std::string unit_of(const std::string& metric)
{
    for (const auto& k : kinds)
        if (metric == k.name) return k.unit;
    return metric;
}

double median_of(std::vector<double> v)
{
    if (v.empty()) return 0;
    std::ranges::sort(v);
    const auto half = v.size() / 2;
    return v.size() % 2 == 1 ? v[half] : (v[half - 1] + v[half]) / 2;
}

std::string number(double n)
{
    if (std::abs(n) >= 1000) return cli::with_commas(static_cast<std::uint64_t>(n + 0.5));
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), std::abs(n) >= 100  ? "%.0f"
                                            : std::abs(n) >= 10 ? "%.1f"
                                            : std::abs(n) >= 1  ? "%.2f"
                                                                : "%.3f", n);
    return text.data();
}

std::string words(const target& t)
{
    return (t.at_least ? "≥ " : "≤ ") + number(t.value) + (t.is_ratio ? " × raw" : "");
}

const char* words(verdict v)
{
    switch (v) {
    case verdict::none: return "";
    case verdict::reached: return "yes";
    case verdict::by_ratio: return "as a ratio";
    case verdict::missed: return "NO";
    }
    return "";
}

}  // namespace

double series::median() const { return median_of(values); }
double series::lowest() const { return *std::ranges::min_element(values); }
double series::highest() const { return *std::ranges::max_element(values); }

std::optional<double> series::ratio() const
{
    std::vector<double> ratios;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (raw[i] > 0) ratios.push_back(values[i] / raw[i]);
    if (ratios.empty()) return std::nullopt;
    return median_of(std::move(ratios));
}

results::results(std::string table, std::vector<part_name> parts, std::vector<target> targets)
    : table_{std::move(table)}, parts_{std::move(parts)}, targets_{std::move(targets)}
{
}

void results::add(const std::string& part, const std::string& system, const std::string& metric,
                  double value, double raw)
{
    for (auto& s : all_)
        if (s.part == part && s.system == system && s.metric == metric) {
            s.values.push_back(value);
            s.raw.push_back(raw);
            return;
        }
    all_.push_back({part, system, metric, {value}, {raw}});
}

double results::median(const std::string& part, const std::string& system,
                       const std::string& metric) const
{
    for (const auto& s : all_)
        if (s.part == part && s.system == system && s.metric == metric) return s.median();
    return 0;
}

const target* results::target_of(const series& s) const
{
    if (s.system != "cairn") return nullptr;
    for (const auto& t : targets_)
        if (t.part == s.part && t.metric == s.metric) return &t;
    return nullptr;
}

verdict results::judge(const series& s) const
{
    const auto* t = target_of(s);
    if (!t) return verdict::none;
    const auto fits = [&](double value, double than) {
        return t->at_least ? value >= than : value <= than;
    };
    const auto ratio = s.ratio();
    if (t->is_ratio)
        return ratio && fits(*ratio, t->value) ? verdict::reached : verdict::missed;
    if (fits(s.median(), t->value)) return verdict::reached;
    if (t->or_ratio > 0 && ratio && fits(*ratio, t->or_ratio)) return verdict::by_ratio;
    return verdict::missed;
}

void results::print_table() const
{
    cli::output out{STDOUT_FILENO};
    cli::table  t{{"WHAT", "SYSTEM", "MEDIAN >", "UNIT", "LOWEST >", "HIGHEST >", "× RAW DISK >",
                  "MUST BE >", "REACHED"}};
    for (const auto& part : parts_)
        for (const auto& s : all_) {
            if (s.part != part.name) continue;
            const auto* asked = target_of(s);
            const auto  ratio = s.ratio();
            t.row({part.what, s.system, number(s.median()), unit_of(s.metric), number(s.lowest()),
                   number(s.highest()), ratio ? number(*ratio) : "", asked ? words(*asked) : "",
                   words(judge(s))});
        }
    t.print(out);
    out.flush();
}

void results::print_json() const
{
    cli::output out{STDOUT_FILENO};
    for (const auto& part : parts_)
        for (const auto& s : all_) {
            if (s.part != part.name) continue;
            std::string      line;
            cli::json_writer json{line};
            json.begin_object().field("table", table_).field("part", part.name);
            json.field("what", part.what).field("system", s.system).field("metric", s.metric);
            json.field("unit", unit_of(s.metric)).field("median", s.median());
            json.field("lowest", s.lowest()).field("highest", s.highest());
            json.name("values").begin_array();
            for (const auto v : s.values) json.value(v);
            json.end_array().field("raw_ratio", s.ratio());
            if (const auto* asked = target_of(s)) {
                json.field("must", words(*asked)).field("at_least", asked->at_least);
                json.field("must_value", asked->value);
                json.field("reached", std::string{words(judge(s))});
            }
            json.end_object();
            out.write(line + '\n');
        }
    out.flush();
}

}  // namespace cairn::bench
