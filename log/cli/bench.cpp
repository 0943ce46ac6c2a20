// SPDX-License-Identifier: Apache-2.0
#include "bench/suite.hpp"
#include "json.hpp"
#include "moment.hpp"
#include "session.hpp"
#include "table.hpp"
#include "text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

namespace cairn::cli {

namespace {

struct bench_options : common_options
{
    std::string              where       = ".";
    std::int64_t             event_bytes = 200;
    std::int64_t             streams     = 100'000;
    std::int64_t             writers     = 64;
    std::int64_t             runs        = 1;
    std::string              each        = "2s";
    std::vector<std::string> only;
};

std::string rounded(double number)
{
    if (number >= 100) return with_commas(static_cast<std::uint64_t>(number + 0.5));
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f", number);
    return text.data();
}

std::string ratio_text(const bench::figure& f)
{
    if (!f.ratio()) return "";
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.2f", *f.ratio());
    return text.data();
}

/// Three digits behind the point; null for what was not measured.
std::optional<double> thousandths(double number)
{
    return number > 0 ? std::optional{std::round(number * 1000) / 1000} : std::nullopt;
}

std::string or_nothing(double number)
{
    return number > 0 ? rounded(number) : "";
}

void print_json(const bench::summary& sum, session& s)
{
    const auto& f = sum.median;
    std::string line;
    json_writer json{line};
    json.begin_object().field("name", f.name).field("what", f.what).field("unit", f.unit);
    json.field("per_second", thousandths(f.rate)).field("lowest", thousandths(sum.lowest));
    json.field("highest", thousandths(sum.highest));
    json.field("runs", sum.runs).field("count", f.count);
    json.field("seconds", thousandths(f.seconds));
    json.field("p50_us", thousandths(f.p50_us)).field("p99_us", thousandths(f.p99_us));
    json.field("raw_per_second", thousandths(f.raw_rate));
    json.field("ratio", thousandths(f.ratio().value_or(0))).end_object();
    s.out().write(line + '\n');
}

int run_bench(const bench_options& o, session& s)
{
    for (const auto& [name, number] : {std::pair{"--event-bytes", o.event_bytes},
                                       {"--streams", o.streams},
                                       {"--writers", o.writers},
                                       {"--runs", o.runs}})
        if (number < 1 || number > 100'000'000)
            throw usage_error{std::string{name} + " must be at least 1, and sensible"};

    bench::plan plan;
    plan.event_bytes = static_cast<std::size_t>(o.event_bytes);
    plan.each        = parse_duration(o.each, "--each");
    plan.streams     = static_cast<std::uint64_t>(o.streams);
    plan.writers     = static_cast<int>(o.writers);
    plan.only        = o.only;
    plan.stop        = [] { return session::interrupted(); };

    std::uint64_t       at    = 0;
    const std::uint64_t total = (plan.only.empty() ? bench::parts().size() : plan.only.size()) *
                                static_cast<std::uint64_t>(o.runs);
    plan.on_part = [&](const std::string& name) {
        if (s.progress().is_watched())
            s.note('(' + std::to_string(std::min(++at, total)) + '/' + std::to_string(total) +
                   ") " + name);
    };

    std::vector<bench::figure> figures;
    for (std::int64_t i = 0; i < o.runs && !session::interrupted(); ++i) {
        const bench::scratch_directory scratch{o.where};
        plan.directory = scratch.path();
        for (auto& f : bench::run(plan)) figures.push_back(std::move(f));
    }

    table t{{"WHAT", "UNIT", "A SECOND >", "P50 µs >", "P99 µs >", "RAW DISK >", "RATIO >"}};
    if (o.runs > 1)
        t = table{{"WHAT", "UNIT", "A SECOND >", "LOWEST >", "HIGHEST >", "P50 µs >", "P99 µs >",
                   "RAW DISK >", "RATIO >"}};
    for (const auto& sum : bench::summarise(figures)) {
        if (o.json()) {
            print_json(sum, s);
            continue;
        }
        const auto&              f = sum.median;
        std::vector<std::string> row{f.what, f.unit, rounded(f.rate)};
        if (o.runs > 1) {
            row.push_back(rounded(sum.lowest));
            row.push_back(rounded(sum.highest));
        }
        for (auto& cell :
             {or_nothing(f.p50_us), or_nothing(f.p99_us), or_nothing(f.raw_rate), ratio_text(f)})
            row.push_back(cell);
        t.row(std::move(row));
    }
    if (!o.json()) t.print(s.out());
    return 0;
}

}  // namespace

void add_bench(command& root)
{
    auto                     o = std::make_shared<bench_options>();
    auto&                    c = root.add("bench", "Measure what a log can do on this disk");
    std::vector<std::string> names;
    for (const auto& part : bench::parts()) names.push_back(part.name);

    c.text(
        "Appends and reads on logs of its own, in a folder that it makes and takes away again. "
        "What waits for the disk is set beside what the disk itself did just before: RATIO is "
        "the one against the other. A ratio above 1 means that one flush carried several "
        "appends.");
    c.text(
        "The log that is read has 10 events in each of --streams streams, each event with a key, "
        "a type and two tags.");
    c.optional_argument("FOLDER", o->where,
                        "On the disk that is to be measured; without it, where you are.")
        .completes = completion::folder;
    c.value("--each", "DURATION", o->each, "How long each part takes; without it, 2s.");
    c.value("--runs", "N", o->runs, "Do it all N times; the median is shown, and the range.");
    c.value("--event-bytes", "N", o->event_bytes, "The size of a value; without it, 200.");
    c.value("--streams", "N", o->streams, "Without it, 100000: a million events.");
    c.value("--writers", "N", o->writers, "How many are many writers; without it, 64.");
    c.values("--only", "PART", o->only, "Only this part; may be repeated.").choices = names;
    add_format_option(c, *o);
    c.json("one object per part",
           {{"name", "Short, and the same in every version."},
            {"what", "What was measured."},
            {"unit", "What is counted."},
            {"per_second", "How many a second; the median of the runs."},
            {"lowest", "The lowest of the runs."},
            {"highest", "The highest."},
            {"runs", "How many runs."},
            {"count", "How many were done, in the run with the median."},
            {"seconds", "In how long."},
            {"p50_us", "What half of the calls did not exceed, in microseconds, or null."},
            {"p99_us", "What 99 % of them did not exceed, or null."},
            {"raw_per_second", "What the disk did just before; null where it is not waited for."},
            {"ratio", "per_second against raw_per_second, or null."}});
    c.shows("cairn bench /var/lib", "The disk that /var/lib is on; about half a minute.");
    c.shows("cairn bench --only raw_disk --only version_1 --runs 5",
            "Two figures, with their range.");
    c.does([o](session& s) { return run_bench(*o, s); });
}

}  // namespace cairn::cli
