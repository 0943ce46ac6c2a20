// SPDX-License-Identifier: Apache-2.0
//
// Projections: the read models of Online Retail (or of as many lines that are made up), folded in
// memory, and kept in LMDB with a durable checkpoint for every 1,000 events; and the rebuilding of
// a long log while the old version answers.
#include "results.hpp"
#include "retail.hpp"
#include "run_bench.hpp"

#include "sale.capnp.h"

#include <cairn/projections/projection_runner.hpp>

#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace cairn::bench {
namespace {

struct options : settings
{
    std::string   import_file;
    std::uint64_t lines      = 541'909;     // made up, without a file
    std::uint64_t events     = 20'000'000;  // of the long log
    int           partitions = 8;
};

const std::vector<part_name> part_names = {
    {"retail_project_memory", "Online Retail, both read models projected into memory"},
    {"retail_project_lmdb", "the same into LMDB, a durable checkpoint per 1,000 events"},
    {"retail_project_sqlite", "the same into SQLite"},
    {"rebuild", "a projection of a long log rebuilt by one thread, events a second"},
    {"rebuild_side_by_side", "the same by a thread for each core, partitions side by side"},
};

const std::vector<target> targets = {
    {"retail_project_memory", "seconds", false, 0.15},
    {"retail_project_lmdb", "seconds", false, 0.50},
};

/// Units and revenue by product, revenue by country and month.
struct sales : projection<LineSold>
{
    struct product
    {
        std::int64_t quantity = 0, milli = 0;
    };
    table<std::string, product> products{this, "products", rows_added_up};
    table<std::pair<std::string, std::uint16_t>, std::int64_t> months{this, "months",
                                                                      rows_added_up};

    void on(LineSold::Reader e, const origin&)
    {
        products.update(e.getProduct(), [&](product& p) {
            p.quantity += e.getQuantity();
            p.milli += e.getMilli();
        });
        months.update({e.getCountry(), e.getMonth()}, [&](auto& milli) { milli += e.getMilli(); });
    }
};

retail_totals totals_of(const sales& s)
{
    retail_totals t;
    for (const auto& [name, p] : s.products.rows()) {
        ++t.products;
        t.quantity += p.quantity;
        t.revenue_milli += p.milli;
    }
    for (const auto& [key, milli] : s.months.rows()) t.country_months += milli != 0;
    return t;
}

struct line
{
    std::string   invoice, product, country;
    std::uint16_t month;
    std::int64_t  quantity, milli;
};

std::vector<line> read_lines(const std::string& file)
{
    std::vector<line> all;
    for (const auto& invoice : read_invoices(file))
        for (const auto& e : invoice) {
            const auto l = line_in(e.value);
            all.push_back({e.stream, std::string{l.product}, std::string{l.country}, l.month,
                           l.quantity, l.milli});
        }
    return all;
}

/// Where there is no file: as many invoices, products and countries as Online Retail has.
std::vector<line> made_up(std::uint64_t count)
{
    std::vector<line> all;
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto mix = (i + 1) * 0x9E3779B97F4A7C15u;
        all.push_back(
            {std::to_string(536'365 + i / 21), std::to_string(20'000 + (mix >> 40) % 4'000),
             i % 10 == 0 ? "country " + std::to_string((mix >> 20) % 37) : "United Kingdom",
             static_cast<std::uint16_t>(131 + i * 13 / count), static_cast<std::int64_t>(mix >> 60),
             static_cast<std::int64_t>(mix >> 52)});
    }
    return all;
}

retail_totals totals_of(const std::vector<line>& lines)
{
    std::map<std::string, std::int64_t>                           products;
    std::map<std::pair<std::string, std::uint16_t>, std::int64_t> months;
    retail_totals                                                 t;
    for (const auto& l : lines) {
        products[l.product] += l.quantity;
        months[{l.country, l.month}] += l.milli;
        t.quantity += l.quantity;
        t.revenue_milli += l.milli;
    }
    t.products = products.size();
    for (const auto& [key, milli] : months) t.country_months += milli != 0;
    return t;
}

/// Bulk: 1,000 events an append, with the headers that they need.
void fill(commit_log& log, std::uint64_t count, const std::vector<line>& lines)
{
    char data_schema[32];
    std::snprintf(data_schema, sizeof data_schema, "capnp:%016llx",
                  static_cast<unsigned long long>(capnp::typeId<LineSold>()));
    append_request request;
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto&                  l = lines[i % lines.size()];
        const cairn::event<LineSold> e{[&](auto b) {
            b.setProduct(l.product);
            b.setCountry(l.country);
            b.setMonth(l.month);
            b.setQuantity(l.quantity);
            b.setMilli(l.milli);
        }};
        record                       r;
        r.key   = l.invoice;
        r.value = std::string{e.bytes()};
        r.headers.push_back({std::string{header_names::data_schema}, data_schema});
        r.headers.push_back({std::string{header_names::type}, "LineSold"});
        request.records.push_back({"sales", std::move(r)});
        if (request.records.size() == 1'000 || i + 1 == count) {
            log.append(request);
            request.records.clear();
        }
    }
}

class projections
{
public:
    explicit projections(const options& o) : o_{o}, results_{"projections", part_names, targets} {}

    void run()
    {
        const auto lines = o_.import_file.empty() ? made_up(o_.lines) : read_lines(o_.import_file);
        const auto want  = totals_of(lines);
        if (o_.wants("retail_project_memory") || o_.wants("retail_project_lmdb") ||
            o_.wants("retail_project_sqlite")) {
            const scratch_directory place{o_.directory};
            auto                    log = commit_log::open(place.path() + "/data");
            log.create_topic("sales", o_.partitions);
            fill(log, lines.size(), lines);
            log.merge();
            for (std::uint64_t i = 0; i < o_.runs; ++i) {
                std::fprintf(stderr, "run %llu of %llu\n", static_cast<unsigned long long>(i + 1),
                             static_cast<unsigned long long>(o_.runs));
                const auto at = place.path() + "/tables" + std::to_string(i);
                if (o_.wants("retail_project_memory"))
                    project("retail_project_memory", log, memory_tables(), 1'000'000, want);
                if (o_.wants("retail_project_lmdb"))
                    project("retail_project_lmdb", log, lmdb_tables(at), 1'000, want);
                if (o_.wants("retail_project_sqlite"))
                    project("retail_project_sqlite", log, sqlite_tables(at + ".sqlite"), 1'000,
                            want);
            }
        }
        if (o_.wants("rebuild") || o_.wants("rebuild_side_by_side")) rebuild(lines);
        if (o_.json())
            results_.print_json();
        else
            results_.print_table();
    }

private:
    void project(const std::string& part, const commit_log& log, std::shared_ptr<table_store> to,
                 std::size_t each, const retail_totals& want)
    {
        projection_runner<sales> runner{
            log,
            "sales",
            std::move(to),
            {.commit_events_max = each, .commit_time_max = std::chrono::hours{1}, .threads = 1}};
        const auto cpu  = cpu_seconds();
        const auto from = std::chrono::steady_clock::now();
        runner.run_until_idle();
        const auto took =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
        const auto used = cpu_seconds() - cpu;
        if (totals_of(*runner.view().read()) != want)
            throw std::runtime_error{part + ": the read models are wrong"};
        results_.add(part, "cairn", "seconds", took);
        results_.add(part, "cairn", "cpu",
                     used * 1e6 / static_cast<double>(runner.status().events));
    }

    void rebuild(const std::vector<line>& lines)
    {
        const scratch_directory place{o_.directory};
        auto                    log = commit_log::open(place.path() + "/data");
        log.create_topic("sales", o_.partitions);
        std::fprintf(stderr, "%llu events are recorded\n",
                     static_cast<unsigned long long>(o_.events));
        fill(log, o_.events, lines);
        log.merge();
        const auto store = lmdb_tables(place.path() + "/tables");
        // The version that answers while the next ones are built.
        const auto want = rebuilt(log, store, 1, {});
        for (std::uint64_t i = 0; i < o_.runs; ++i) {
            if (o_.wants("rebuild") && rebuilt(log, store, 1, "rebuild") != want)
                throw std::runtime_error{"rebuild: the read models are wrong"};
            if (o_.wants("rebuild_side_by_side") &&
                rebuilt(log, store, 0, "rebuild_side_by_side") != want)
                throw std::runtime_error{"rebuild_side_by_side: the read models are wrong"};
        }
        std::fputc('\n', stderr);
    }

    retail_totals rebuilt(const commit_log& log, const std::shared_ptr<table_store>& store,
                          std::size_t threads, const std::string& part)
    {
        projection_runner<sales> runner{
            log,
            "sales",
            store,
            {.commit_events_max = 100'000,
             .threads           = threads,
             .keep_old_versions = false,
             .on_progress       = [](const rebuild_progress& p) {
                 const double left = p.remaining ? static_cast<double>(p.remaining->count()) : 0;
                 std::fprintf(stderr, "\rversion %d: %llu of %llu events, %.0f/s, %.1f s left ",
                                    p.version, static_cast<unsigned long long>(p.events),
                                    static_cast<unsigned long long>(p.total), p.events_per_s,
                                    left / 1000);
             }}};
        if (!part.empty()) runner.rebuild();
        const auto cpu  = cpu_seconds();
        const auto from = std::chrono::steady_clock::now();
        runner.run_until_idle();
        const auto took =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
        if (!part.empty()) {
            results_.add(part, "cairn", "rate", static_cast<double>(o_.events) / took);
            results_.add(part, "cairn", "cpu",
                         (cpu_seconds() - cpu) * 1e6 / static_cast<double>(o_.events));
        }
        return totals_of(*runner.view().read());
    }

    const options& o_;
    results        results_;
};

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv)
{
    using namespace cairn::bench;
    options  o;
    CLI::App app{"Measures projections: into memory, into stores, and rebuilding."};
    add_settings(app, o);
    app.add_option("--import", o.import_file, "Online Retail, as CSV or CSV in gzip");
    app.add_option("--lines", o.lines, "Lines that are made up without it")->capture_default_str();
    app.add_option("--events", o.events, "How long the log is that is rebuilt from")
        ->capture_default_str();
    app.add_option("--partitions", o.partitions, "Of the topic")->capture_default_str();
    return run_bench(app, argc, argv, [&] {
        print_machine(o);
        projections{o}.run();
    });
}
