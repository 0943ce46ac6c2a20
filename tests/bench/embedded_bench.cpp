// SPDX-License-Identifier: Apache-2.0
//
// The log in a process: what it appends and reads, beside the raw disk in the same run and, with
// --against sqlite,rocksdb,lmdb, beside what one would use instead.
#include "cairn_store.hpp"
#include "load.hpp"
#include "machine.hpp"
#include "results.hpp"
#include "retail.hpp"
#include "run_bench.hpp"

#include <cairn/log/record_batch.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <random>

namespace cairn::bench {
namespace {

struct options : settings
{
    std::size_t              event_bytes   = 200;
    int                      writers       = 64;
    std::uint64_t            streams       = 1'000'000;  // that one is looked up among
    std::uint64_t            boundary_base = 1'000'000;  // events before a boundary
    std::uint64_t            replay_events = 1'000'000;
    std::vector<std::string> against;
    std::string              import_file;
};

const std::vector<part_name> part_names = {
    {"raw_overwrite", "raw disk: 4 KiB over a preallocated file, fdatasync"},
    {"raw_append", "raw disk: 64 KiB at the end of a growing file, fdatasync"},
    {"raw_sequential", "raw disk: written in sequence, one flush"},
    {"memory_copy", "memory: one core copies"},
    {"version_1", "durable append with expected version, 1 writer"},
    {"version_n", "durable append with expected version, many writers"},
    {"boundary_1", "append under a boundary of two tags, 1 writer"},
    {"boundary_n", "append under a boundary of two tags, many writers"},
    {"bulk_100", "bulk, 100 events a commit, 1 writer"},
    {"bulk_1000", "bulk, 1,000 events a commit, 1 writer"},
    {"bulk_1000_spread", "the same, over 8 partitions at random"},
    {"replay_100", "replay, typed, batches of 100, one core"},
    {"replay", "replay, typed, batches as append() makes them"},
    {"replay_1", "replay, typed, batches of one"},
    {"by_key", "the ten events of a key, of all streams"},
    {"by_key_hot", "the ten events of a key, of 1,000 hot streams"},
    {"by_tag", "the ten events of a tag, of all streams"},
    {"by_tag_hot", "the ten events of a tag, of 1,000 hot streams"},
    {"retail", "Online Retail, a durable append per invoice"},
    {"retail_fold", "Online Retail, both read models folded in memory"},
};

/// What the disk of the reference machine did by itself: 4 KiB overwritten, fdatasync.
constexpr double reference_flushes = 7'221;

/// The column "Cairn must reach".
const std::vector<target> targets = {
    {"version_1", "rate", true, 0.85, true},
    {"version_n", "rate", true, 100'000},
    {"version_n", "p99", false, 2'500},
    {"boundary_1", "rate", true, 5'500, false, 5'500 / reference_flushes},
    {"boundary_n", "rate", true, 80'000},
    {"bulk_100", "rate", true, 400'000},
    {"bulk_1000", "rate", true, 1'500'000},
    {"replay_100", "rate", true, 10'000'000},
    {"replay_1", "rate", true, 2'400'000},
    {"by_key", "p50", false, 5},
    {"by_tag", "p50", false, 20},
    {"retail", "seconds", false, 4.5, false, 4.5 / (25'900 / reference_flushes)},
    {"retail_fold", "seconds", false, 0.15},
};

/// One system under test, and what it keeps from run to run.
struct contender
{
    std::string name;
    store_maker make;

    std::unique_ptr<scratch_directory> tagged_place, replay_place;
    std::unique_ptr<store>             tagged, replayed;
};

class embedded
{
public:
    explicit embedded(const options& o) : o_{o}, results_{"embedded", part_names, targets}
    {
        contenders_.push_back({"cairn", make_cairn, {}, {}, {}, {}});
        for (const auto& name : o.against) {
            if (auto make = peer(name))
                contenders_.push_back({name, std::move(make), {}, {}, {}, {}});
            else
                std::fprintf(stderr, "%s: not built, so left out (scripts/setup --all)\n",
                             name.c_str());
        }
        if (!o.import_file.empty() && (o.wants("retail") || o.wants("retail_fold")))
            invoices_ = read_invoices(o.import_file);
    }

    void run()
    {
        for (std::uint64_t i = 0; i < o_.runs; ++i) {
            std::fprintf(stderr, "run %llu of %llu\n", static_cast<unsigned long long>(i + 1),
                         static_cast<unsigned long long>(o_.runs));
            raw();
            for (auto& c : contenders_) {
                versions(c);
                boundaries(c);
                bulk(c, "bulk_100", 100);
                bulk(c, "bulk_1000", 1000);
                replay(c);
                retail(c);
            }
            replay_batches("replay_100", 100);
            replay_batches("replay_1", 1);
            lookups();
        }
        if (o_.json()) {
            results_.print_json();
        } else {
            results_.print_table();
        }
    }

private:
    void note(const std::string& what) const { std::fprintf(stderr, "  %s\n", what.c_str()); }

    void raw()
    {
        const scratch_directory place{o_.directory};
        if (o_.wants("raw_overwrite")) {
            const auto f = raw_overwrite(place.path(), o_.each());
            results_.add("raw_overwrite", "disk", "rate", f.rate);
            results_.add("raw_overwrite", "disk", "p50", f.p50_us);
            results_.add("raw_overwrite", "disk", "p99", f.p99_us);
        }
        if (o_.wants("raw_append")) {
            const auto f = raw_blocks(place.path(), 64 << 10, true, o_.each() / 3);
            results_.add("raw_append", "disk", "rate", f.rate);
        }
        if (o_.wants("raw_sequential")) {
            const auto bytes = o_.each_ms * (256 << 10);  // 0.75 GiB in a run of three seconds
            results_.add("raw_sequential", "disk", "mib_s",
                         raw_sequential(place.path(), bytes) / (1 << 20));
        }
        if (o_.wants("memory_copy"))
            results_.add("memory_copy", "memory", "gib_s",
                         memory_copy(o_.each() / 6) / (1 << 30));
    }

    /// A part that waits for the disk, between two looks at what the disk does by itself.
    template <class Work>
    void durable(const std::string& part, const contender& c, int threads, std::uint64_t worth,
                 std::size_t block_bytes, const Work& work)
    {
        note(c.name + ' ' + part);
        const scratch_directory place{o_.directory};
        const auto look = [&] {
            return block_bytes <= 4096 ? raw_overwrite(place.path(), o_.raw())
                                       : raw_blocks(place.path(), block_bytes, false, o_.raw());
        };
        const auto before = look();
        const auto cpu    = cpu_seconds();
        const auto f      = timed(threads, o_.each(), worth, work);
        const auto used   = cpu_seconds() - cpu;
        const auto after  = look();

        const auto raw_rate = (before.rate + after.rate) / 2 * static_cast<double>(worth);
        results_.add(part, c.name, "rate", f.rate, raw_rate);
        results_.add(part, c.name, "p50", f.p50_us,
                     threads == 1 ? (before.p50_us + after.p50_us) / 2 : 0);
        results_.add(part, c.name, "p99", f.p99_us);
        results_.add(part, c.name, "cpu", used * 1e6 / static_cast<double>(f.count));
    }

    void versions(contender& c)
    {
        for (const int writers : {1, o_.writers}) {
            const std::string part = writers == 1 ? "version_1" : "version_n";
            if (!o_.wants(part)) continue;
            const scratch_directory place{o_.directory};
            const auto              on = c.make(place.path());
            // Each writer takes its own streams one after the other, ten events each.
            durable(part, c, writers, 1, 0, [&](int thread, std::uint64_t call) {
                const auto e = order_event(static_cast<std::uint64_t>(thread) * 1'000'000'000 +
                                               call / 10,
                                           static_cast<std::int64_t>(call % 10), o_.event_bytes,
                                           false);
                on->append({&e, 1});
                return true;
            });
        }
    }

    store& tagged_of(contender& c)
    {
        if (!c.tagged) {
            note(c.name + ": events before the boundary");
            c.tagged_place = std::make_unique<scratch_directory>(o_.directory);
            c.tagged       = c.make(c.tagged_place->path());
            fill(*c.tagged, o_.boundary_base, 1, 1'000, true);
        }
        return *c.tagged;
    }

    void boundaries(contender& c)
    {
        for (const int writers : {1, o_.writers}) {
            const std::string part = writers == 1 ? "boundary_1" : "boundary_n";
            if (!o_.wants(part)) continue;
            auto& on = tagged_of(c);
            if (!on.has_boundaries()) continue;
            // A new order of a known customer: nothing has both tags yet, a hundred events and
            // more have one of them.
            const auto base = next_order_;
            next_order_ += 1'000'000'000'000;
            durable(part, c, writers, 1, 0, [&](int thread, std::uint64_t call) {
                on.append_under_boundary(order_event(
                    base + static_cast<std::uint64_t>(thread) * 1'000'000'000 + call, 0,
                    o_.event_bytes, true));
                return true;
            });
            on.settle();
        }
    }

    /// So many events a commit, to one partition; or, of Cairn, to eight as their keys fall.
    void bulk(contender& c, const std::string& part, std::size_t events)
    {
        for (const bool spread : {false, true}) {
            const auto name = part + (spread ? "_spread" : "");
            if (!o_.wants(name)) continue;
            if (spread && (c.name != "cairn" || events != 1'000)) continue;
            const scratch_directory place{o_.directory};
            const auto on = c.name == "cairn" && !spread
                                ? std::make_unique<cairn_store>(place.path(), 1)
                                : c.make(place.path());
            // A ring of commits, each of other streams: a time round, and all are one longer.
            constexpr std::size_t                  streams = 16'000;
            std::vector<std::unique_ptr<prepared>> ring;
            std::size_t                            bytes = 0;
            for (std::size_t at = 0; at < streams; at += events) {
                std::vector<event> some;
                for (std::size_t i = at; i < at + events; ++i)
                    some.push_back(order_event(i, 0, o_.event_bytes, false));
                bytes = 0;
                for (const auto& e : some) bytes += e.value.size() + e.stream.size() + 40;
                ring.push_back(on->prepare(std::move(some)));
            }
            durable(name, c, 1, events, (bytes + 4095) / 4096 * 4096,
                    [&](int, std::uint64_t call) {
                        on->bulk(*ring[call % ring.size()],
                                 static_cast<std::int64_t>(call / ring.size()));
                        return true;
                    });
            if (auto* cairn = dynamic_cast<cairn_store*>(on.get())) {
                const auto is = cairn->log().statistics();
                note("  " + std::to_string(is.groups) + " commits, of which " +
                     std::to_string(is.journal_waits) + " waited for the merger; " +
                     std::to_string(is.merges) + " merges");
            }
        }
    }

    /// Each of `streams` gets `each` events, all streams in turn.
    void fill(store& on, std::uint64_t streams, std::uint64_t each, std::size_t a_commit,
              bool tagged)
    {
        const auto         total = streams * each;
        std::vector<event> some;
        for (std::uint64_t i = 0; i < total; ++i) {
            some.push_back(order_event(i % streams, static_cast<std::int64_t>(i / streams),
                                       o_.event_bytes, tagged));
            if (some.size() < a_commit && i + 1 < total) continue;
            // All of a commit at one version: `streams` is a multiple of a commit.
            on.bulk(*on.prepare(std::move(some)), static_cast<std::int64_t>(i / streams));
            some.clear();
        }
        on.settle();
    }

    /// Runs `all` as often as fits, and reports records a second.
    template <class All>
    void replayed(const std::string& part, const std::string& system, const All& all)
    {
        note(system + ' ' + part);
        tally      t;
        const auto cpu   = cpu_seconds();
        const auto began = clock::now();
        do all(t);
        while (clock::now() - began < o_.each() / 3);
        const auto took = std::chrono::duration<double>(clock::now() - began).count();
        if (t.placed == 0 || t.paid == 0) throw std::runtime_error{part + ": nothing was read"};
        results_.add(part, system, "rate", static_cast<double>(t.events) / took);
        results_.add(part, system, "cpu",
                     (cpu_seconds() - cpu) * 1e6 / static_cast<double>(t.events));
    }

    void replay(contender& c)
    {
        if (!o_.wants("replay")) return;
        if (!c.replayed) {
            note(c.name + ": events to replay");
            c.replay_place = std::make_unique<scratch_directory>(o_.directory);
            c.replayed     = c.name == "cairn"
                                 ? std::make_unique<cairn_store>(c.replay_place->path(), 1)
                                 : c.make(c.replay_place->path());
            fill(*c.replayed, o_.replay_events, 1, 1'000, false);
            tally warm;
            c.replayed->replay(warm);
        }
        replayed("replay", c.name, [&](tally& t) { c.replayed->replay(t); });
    }

    /// Batches of an exact size, as a producer makes them.
    void replay_batches(const std::string& part, std::size_t events)
    {
        if (!o_.wants(part)) return;
        auto& kept = batches_of_[events == 1 ? 1 : 0];
        if (!kept.log) {
            note("cairn: batches to replay");
            kept.place = std::make_unique<scratch_directory>(o_.directory);
            kept.log   = std::make_unique<cairn_store>(kept.place->path(), 2);
            if (events == 1)
                fill_alternating(kept.log->log());
            else
                fill_batches(kept.log->log(), events);
            kept.log->settle();
            tally warm;
            kept.log->replay(warm);
        }
        replayed(part, "cairn", [&](tally& t) { kept.log->replay(t); });
    }

    void fill_batches(commit_log& log, std::size_t events)
    {
        auto          to = log.partition(cairn_store::topic, 0);
        batch_builder batch;
        for (std::uint64_t i = 0; i < o_.replay_events;) {
            batch.start();
            for (std::size_t k = 0; k < events; ++k, ++i) {
                const auto r = record_of(order_event(i, 0, o_.event_bytes, false)).record;
                batch.add(timestamp{1'700'000'000'000}, *r.key, *r.value, r.headers);
            }
            to.append_batch(batch.finish());
        }
    }

    /// Neighbours are of different partitions, so that nothing can be joined to a batch.
    void fill_alternating(commit_log& log)
    {
        append_request request;
        for (std::uint64_t i = 0; i < o_.replay_events;) {
            request.records.clear();
            for (std::size_t k = 0; k < 1'000 && i < o_.replay_events; ++k, ++i) {
                request.records.push_back(record_of(order_event(i, 0, o_.event_bytes, false)));
                request.records.back().partition = static_cast<std::int32_t>(i % 2);
            }
            log.append(request);
        }
    }

    void lookups()
    {
        if (!o_.wants("by_key") && !o_.wants("by_tag") && !o_.wants("by_key_hot") &&
            !o_.wants("by_tag_hot"))
            return;
        constexpr std::uint64_t each = 10;
        if (!library_) {
            note("cairn: ten events in each of many streams");
            library_place_ = std::make_unique<scratch_directory>(o_.directory);
            library_       = std::make_unique<cairn_store>(library_place_->path(), 8);
            fill(*library_, o_.streams, each, std::min<std::size_t>(1'000, o_.streams), true);
        }
        auto&         log  = library_->log();
        std::uint64_t seen = 0;
        const auto    look = [&](const std::string& part, std::uint64_t among, auto&& range_of) {
            if (!o_.wants(part)) return;
            note("cairn " + part);
            std::mt19937_64 random{1};
            const auto      one = [&](int, std::uint64_t) {
                std::uint64_t found = 0;
                auto          range = range_of(random() % among);
                while (const auto* r = range.next()) {
                    seen += fields_of(*r->value).customer;
                    ++found;
                }
                if (found != each) throw std::runtime_error{part + ": not ten events"};
                return true;
            };
            timed(1, o_.each() / 3, 1, one);  // warm
            const auto cpu = cpu_seconds();
            const auto f   = timed(1, o_.each() / 3, 1, one);
            results_.add(part, "cairn", "p50", f.p50_us);
            results_.add(part, "cairn", "p99", f.p99_us);
            results_.add(part, "cairn", "cpu",
                         (cpu_seconds() - cpu) * 1e6 / static_cast<double>(f.count));
        };
        const auto by_key = [&](std::uint64_t n) {
            return log.read_stream({cairn_store::topic, order_stream(n)});
        };
        const auto by_tag = [&](std::uint64_t n) {
            return log.read_query({{{{}, {order_tag(n)}}}});
        };
        const auto hot = std::min<std::uint64_t>(1'000, o_.streams);
        look("by_key", o_.streams, by_key);
        look("by_key_hot", hot, by_key);
        look("by_tag", o_.streams, by_tag);
        look("by_tag_hot", hot, by_tag);
        volatile std::uint64_t sink = seen;  // so that reading is not optimised away
        (void)sink;
    }

    void retail(contender& c)
    {
        if (invoices_.empty()) return;
        note(c.name + " retail");
        const scratch_directory place{o_.directory};
        const auto              on     = c.make(place.path());
        const auto              before = raw_overwrite(place.path(), o_.raw());
        const auto              cpu    = cpu_seconds();
        const auto              began  = clock::now();
        for (const auto& invoice : invoices_) on->append(invoice);
        const auto took  = std::chrono::duration<double>(clock::now() - began).count();
        const auto used  = cpu_seconds() - cpu;
        const auto after = raw_overwrite(place.path(), o_.raw());
        const auto count = static_cast<double>(invoices_.size());
        results_.add("retail", c.name, "seconds", took,
                     count / ((before.rate + after.rate) / 2));
        results_.add("retail", c.name, "cpu", used * 1e6 / count);

        on->settle();
        const auto expected  = fold_read_models(invoices_);
        const auto refolding = clock::now();
        const auto totals    = fold_read_models(*on);
        results_.add("retail_fold", c.name, "seconds",
                     std::chrono::duration<double>(clock::now() - refolding).count());
        if (totals != expected)
            throw std::runtime_error{c.name + ": the read models are not those of the file"};
    }

    struct kept_log
    {
        std::unique_ptr<scratch_directory> place;
        std::unique_ptr<cairn_store>       log;
    };

    const options&                     o_;
    results                            results_;
    std::vector<contender>             contenders_;
    std::vector<std::vector<event>>    invoices_;
    std::uint64_t                      next_order_ = 1'000'000'000'000;
    std::array<kept_log, 2>            batches_of_;
    std::unique_ptr<scratch_directory> library_place_;
    std::unique_ptr<cairn_store>       library_;
};

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv)
{
    using namespace cairn::bench;
    options  o;
    CLI::App app{"Measures the log in a process, beside the raw disk."};
    add_settings(app, o);
    app.add_option("--against", o.against, "sqlite, rocksdb, lmdb: in the same run")
        ->delimiter(',');
    app.add_option("--import", o.import_file, "Online Retail, as CSV or CSV in gzip");
    app.add_option("--writers", o.writers, "How many are many")->capture_default_str();
    app.add_option("--event-bytes", o.event_bytes, "Of a value")->capture_default_str();
    app.add_option("--streams", o.streams, "In the log that is looked up in, ten events each")
        ->capture_default_str();
    app.add_option("--boundary-events", o.boundary_base, "In the log before the boundaries")
        ->capture_default_str();
    app.add_option("--replay-events", o.replay_events, "In the logs that are replayed")
        ->capture_default_str();

    return run_bench(app, argc, argv, [&] {
        print_machine(o);
        embedded{o}.run();
    });
}
