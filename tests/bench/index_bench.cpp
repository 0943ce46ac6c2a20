// SPDX-License-Identifier: Apache-2.0
//
// What the index costs as it grows: events added, flushed and merged at once, as the log does
// it, then what lookups take; beside the same events put into an LMDB B-tree.
//
//     index_bench [--events N] [--streams N] [--btree-seconds N] [--flush N] [--dir DIR]
//
// An event has a key, out of --streams at random, one of ten types, and one in 64 has a tag
// that it shares with nine others.
#include "clock.hpp"
#include "index/index.hpp"
#include "scatter.hpp"

#include <lmdb.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace cairn::detail {
namespace {

using bench::scatter;
using bench::seconds_since;
using bench::thread_seconds;
using bench_clock = std::chrono::steady_clock;

struct settings
{
    std::uint64_t events        = 10'000'000;
    std::uint64_t streams       = 1'000'000;
    std::uint64_t flush         = 65'536;
    double        btree_seconds = 20;
    std::string   directory     = "index_bench.data";
};

constexpr std::uint64_t batch_events = 1'000;

/// The events, made as they are asked for.
class workload
{
public:
    workload(const settings& s, const term_hasher& hasher) : streams_{s.streams}, hasher_{hasher}
    {
        for (int i = 0; i < 10; ++i)
            types_.push_back(hasher.type("Type" + std::to_string(i)));
    }

    std::uint64_t stream_number(std::uint64_t event) const { return scatter(event) % streams_; }
    term          stream(std::uint64_t number) const
    {
        char       text[32];
        const auto size = std::snprintf(text, sizeof text, "order-%08llu",
                                        static_cast<unsigned long long>(number));
        return hasher_.stream(1, {text, static_cast<std::size_t>(size)});
    }
    term type(std::uint64_t i) const { return types_[i % 10]; }
    term tag(std::uint64_t i) const { return hasher_.tag("tag-" + std::to_string(i)); }
    std::uint64_t tags(std::uint64_t events) const { return events / 640 + 1; }

    /// The events [first, first + n), n <= batch_events.
    std::span<const index_entry> make(std::uint64_t first, std::uint64_t n)
    {
        for (std::uint64_t i = 0; i < n; ++i) {
            const auto event = first + i;
            auto*      terms = &terms_[2 * i];
            terms[0]         = type(event * 7);
            std::size_t count = 1;
            if (event % 64 == 0) terms[count++] = tag(scatter(event) % tags(100'000'000));
            auto& e    = entries_[i];
            e.position = position{static_cast<std::int64_t>(event)};
            e.offset   = offset{static_cast<std::int64_t>(event)};
            e.at       = static_cast<std::uint32_t>(i * 200);
            e.check    = static_cast<std::uint32_t>(event);
            e.partition_uid = 1;
            e.stream        = stream(stream_number(event));
            e.terms         = {terms, count};
        }
        return {entries_.data(), n};
    }

private:
    std::uint64_t            streams_;
    const term_hasher&       hasher_;
    std::vector<term>        types_;
    std::vector<term>        terms_   = std::vector<term>(2 * batch_events);
    std::vector<index_entry> entries_ = std::vector<index_entry>(batch_events);
};

/// Private memory of this process, in MB.
double private_mb()
{
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("RssAnon:")) return std::strtod(line.c_str() + 8, nullptr) / 1024;
    return 0;
}

void raw_disk(const settings& s)
{
    const auto        path = s.directory + "/raw";
    const int         fd   = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
    const std::string block(1 << 20, 'x');
    auto              begin = bench_clock::now();
    bool              ok    = fd >= 0;
    for (int i = 0; i < 256; ++i)
        ok = ok && ::pwrite(fd, block.data(), block.size(), i * (off_t{1} << 20)) == 1 << 20;
    ok                    = ok && ::fdatasync(fd) == 0;
    const auto sequential = 256 / seconds_since(begin);
    begin                 = bench_clock::now();
    int syncs             = 0;
    for (; seconds_since(begin) < 1; ++syncs)
        ok = ok && ::pwrite(fd, block.data(), 4096, syncs % 1000 * 4096) == 4096 &&
             ::fdatasync(fd) == 0;
    ::close(fd);
    std::filesystem::remove(path);
    if (!ok) std::printf("raw disk: failed\n");
    std::printf("raw disk: 4 KiB overwrite + fdatasync %d/s, 256 MiB sequential + fdatasync "
                "%.0f MB/s\n",
                syncs, sequential);
}

/// Adds all events while two other threads flush and merge.
class grow
{
public:
    grow(const settings& s, index& i) : settings_{s}, index_{i} {}

    void run()
    {
        std::thread flusher{[this] { flush(); }};
        std::thread merger{[this] { merge(); }};
        workload    load{settings_, index_.hasher()};
        std::vector<version> versions(batch_events);
        const auto  begin      = bench_clock::now();
        double      made       = 0;  // time that making the events took
        double      worst      = 0;
        auto        part_begin = begin;
        std::uint64_t part = 0;
        for (std::uint64_t at = 0; at < settings_.events;) {
            const auto n      = std::min(batch_events, settings_.events - at);
            const auto before = thread_seconds();
            const auto batch  = load.make(at, n);
            const auto ready  = thread_seconds();
            const auto from   = bench_clock::now();
            index_.add(batch, versions);
            worst = std::max(worst, seconds_since(from));
            made += ready - before;
            adding_ += thread_seconds() - ready;
            at += n;
            wait_for_room();
            if (at - part >= settings_.events / 10 || at == settings_.events) {
                const auto st = index_.statistics();
                std::printf("  at %5.1f M: %6.0f k events/s, %2llu runs, %6.0f MB of runs, "
                            "%4.0f MB private\n",
                            static_cast<double>(at) * 1e-6,
                            static_cast<double>(at - part) * 1e-3 / seconds_since(part_begin),
                            static_cast<unsigned long long>(st.runs),
                            static_cast<double>(st.run_bytes) * 1e-6, private_mb());
                std::fflush(stdout);
                part       = at;
                part_begin = bench_clock::now();
            }
        }
        const auto took = seconds_since(begin);
        {
            std::lock_guard lock{mutex_};
            done_ = true;
        }
        wake_.notify_all();
        flusher.join();
        merger.join();
        const auto n = static_cast<double>(settings_.events);
        std::printf("  added at %.0f k events/s; CPU per event: %.0f ns hashing, %.0f adding, "
                    "%.0f flushing, %.0f merging; worst batch of %llu: %.1f ms\n",
                    n * 1e-3 / took, made / n * 1e9, adding_ / n * 1e9, flushing_ / n * 1e9,
                    merging_ / n * 1e9, static_cast<unsigned long long>(batch_events),
                    worst * 1e3);
        const auto st = index_.statistics();
        std::printf("  all flushed and merged after %.1f s: %llu flushes, %llu merges, %llu runs, "
                    "%.1f bytes an event\n",
                    seconds_since(begin), static_cast<unsigned long long>(st.flushes),
                    static_cast<unsigned long long>(st.merges),
                    static_cast<unsigned long long>(st.runs),
                    static_cast<double>(st.run_bytes) / n);
    }

private:
    bool due() const { return index_.statistics().entries_in_memory >= settings_.flush; }

    void wait_for_room()
    {
        const auto entries = index_.statistics().entries_in_memory;
        if (entries >= settings_.flush) wake_.notify_all();
        if (entries < 4 * settings_.flush) return;
        std::unique_lock lock{mutex_};
        wake_.wait(lock, [&] {
            return index_.statistics().entries_in_memory < 4 * settings_.flush;
        });
    }

    void flush()
    {
        for (bool last = false; !last;) {
            {
                std::unique_lock lock{mutex_};
                wake_.wait(lock, [&] { return done_ || due(); });
                last = done_;
            }
            index_.flush();
            {
                std::lock_guard lock{mutex_};
                ++flushed_;
                flushed_last_ = last;
            }
            wake_.notify_all();
        }
        flushing_ = thread_seconds();
    }

    void merge()
    {
        for (std::uint64_t seen = 0;;) {
            bool last = false;
            {
                std::unique_lock lock{mutex_};
                wake_.wait(lock, [&] { return flushed_last_ || flushed_ > seen; });
                seen = flushed_;
                last = flushed_last_;
            }
            while (index_.merge()) {
            }
            if (last) break;
        }
        merging_ = thread_seconds();
    }

    const settings&         settings_;
    index&                  index_;
    double                  adding_   = 0;
    double                  flushing_ = 0;
    double                  merging_  = 0;
    std::mutex              mutex_;
    std::condition_variable wake_;
    bool                    done_         = false;
    bool                    flushed_last_ = false;
    std::uint64_t           flushed_      = 0;
};

/// Prints the median, and the 99th of 100, of the times of `ask(i)`.
template <class Ask>
void measure(const char* what, std::uint64_t times, const Ask& ask)
{
    std::vector<double> took;
    took.reserve(times);
    for (std::uint64_t round = 0; round < 2; ++round) {  // the first warms
        took.clear();
        for (std::uint64_t i = 0; i < times; ++i) {
            const auto begin = bench_clock::now();
            ask(i);
            took.push_back(seconds_since(begin));
        }
    }
    std::sort(took.begin(), took.end());
    std::printf("  %-52s p50 %8.2f us   p99 %8.2f us\n", what, took[times / 2] * 1e6,
                took[times * 99 / 100] * 1e6);
}

volatile std::int64_t kept = 0;

void look_up(const settings& s, const index& i)
{
    const workload          load{s, i.hasher()};
    constexpr std::uint64_t times = 20'000;
    const auto              end   = i.end();
    const auto              keep  = [](std::int64_t v) { kept = kept + v; };

    std::vector<term> there;
    std::vector<term> missing;
    for (std::uint64_t k = 0; k < times; ++k) {
        there.push_back(load.stream(load.stream_number(scatter(k) % s.events)));
        missing.push_back(load.stream(s.streams + k));
    }
    std::vector<lookup_hint<stream_head>> hints(times);
    measure("head of a stream", times, [&](auto k) { keep(i.head(there[k]).count); });
    measure("head of a stream that is not there", times,
            [&](auto k) { keep(i.head(missing[k]).count); });
    measure("head of a stream, asked again with its hint", times,
            [&](auto k) { keep(i.head(there[k], &hints[k]).count); });
    measure("ten newest events of a stream", times, [&](auto k) {
        keep(static_cast<std::int64_t>(
            i.stream(there[k], version{1 << 30}, direction::backward, 10).size()));
    });

    std::vector<query_terms> rare;
    std::vector<query_terms> absent;
    std::vector<query_terms> near;
    for (std::uint64_t k = 0; k < 1'000; ++k) {
        const auto tag = load.tag(scatter(k) % load.tags(100'000'000));
        rare.push_back({{{{load.type(k)}, {tag}}}});
        near.push_back({{{{load.type(k)}, {tag}}, {{}, {tag, load.tag(k)}}}});
        const auto gone = std::to_string(k);
        absent.push_back({{{{}, {load.tag(~k), load.tag(~k - 1)}}}});
    }
    const auto last = [&](const query_terms& q, std::optional<position> after) {
        keep(i.last_match(q, after, end).value_or(position{-1}).value);
    };
    measure("boundary of two items, 100 events before the end", 1'000,
            [&](auto k) { last(near[k], end - 100); });
    measure("boundary over all history, a type and a rare tag", 1'000,
            [&](auto k) { last(rare[k], std::nullopt); });
    measure("boundary over all history, two tags never seen", 1'000,
            [&](auto k) { last(absent[k], std::nullopt); });
    measure("ten events by a tag", 1'000, [&](auto k) {
        const query_terms q{{{{}, {rare[k].items[0].tags[0]}}}};
        keep(static_cast<std::int64_t>(
            i.matches(q, position{0}, end, direction::forward, 10).size()));
    });
    const query_terms heavy{{{{load.type(1)}, {}}}};
    measure("1,000 events by a type, from anywhere", 1'000, [&](auto k) {
        const position from{static_cast<std::int64_t>(scatter(k) % s.events)};
        keep(static_cast<std::int64_t>(
            i.matches(heavy, from, end, direction::forward, 1'000).size()));
    });
}

void check(int rc)
{
    if (rc == 0) return;
    std::fprintf(stderr, "lmdb: %s\n", mdb_strerror(rc));
    std::exit(1);
}

/// The alternative: one posting an event in a B-tree, put sorted, `flush` events a commit.
void btree(const settings& s)
{
    const term_hasher hasher{{1, 2}};
    workload          load{s, hasher};
    const auto        path = s.directory + "/btree.mdb";
    MDB_env*          env  = nullptr;
    check(mdb_env_create(&env));
    check(mdb_env_set_mapsize(env, std::size_t{256} << 30));
    check(mdb_env_open(env, path.c_str(), MDB_NOSUBDIR | MDB_NORDAHEAD, 0644));
    struct posting
    {
        term          hash;
        std::uint64_t position;  // big-endian
        bool operator<(const posting& b) const
        {
            return std::memcmp(this, &b, sizeof b) < 0;
        }
    };
    std::vector<posting> pending;
    const auto           begin      = bench_clock::now();
    auto                 part_begin = begin;
    double               worst      = 0;
    std::uint64_t        part       = 0;
    std::uint64_t        at         = 0;
    double               first_rate = 0;
    double               rate       = 0;
    while (at < s.events && seconds_since(begin) < s.btree_seconds) {
        for (const auto& e : load.make(at, batch_events)) {
            const auto p = __builtin_bswap64(static_cast<std::uint64_t>(e.position.value));
            pending.push_back({e.stream, p});
            for (const auto& t : e.terms)
                pending.push_back({t, p});
        }
        at += batch_events;
        if (at % s.flush >= batch_events) continue;
        const auto commit = bench_clock::now();
        std::sort(pending.begin(), pending.end());
        MDB_txn* txn = nullptr;
        MDB_dbi  dbi = 0;
        check(mdb_txn_begin(env, nullptr, 0, &txn));
        check(mdb_dbi_open(txn, nullptr, 0, &dbi));
        char value[20] = {};
        for (auto& p : pending) {
            MDB_val key{sizeof p, &p};
            MDB_val data{sizeof value, value};
            check(mdb_put(txn, dbi, &key, &data, 0));
        }
        check(mdb_txn_commit(txn));
        pending.clear();
        worst = std::max(worst, seconds_since(commit));
        if (seconds_since(part_begin) > s.btree_seconds / 10) {
            rate       = static_cast<double>(at - part) / seconds_since(part_begin);
            first_rate = first_rate == 0 ? rate : first_rate;
            part       = at;
            part_begin = bench_clock::now();
        }
    }
    const auto average = static_cast<double>(at) / seconds_since(begin);
    mdb_env_close(env);
    std::printf("B-tree (LMDB, durable commits of %llu events): %.0f k events/s over %.1f M "
                "events, first %.0f k, last %.0f k; worst commit %.0f ms; %.0f bytes an event\n",
                static_cast<unsigned long long>(s.flush), average * 1e-3,
                static_cast<double>(at) * 1e-6, first_rate * 1e-3, rate * 1e-3, worst * 1e3,
                static_cast<double>(std::filesystem::file_size(path)) / static_cast<double>(at));
    std::filesystem::remove(path);
    std::filesystem::remove(path + "-lock");
}

void run(const settings& s)
{
    std::printf("\n%.0f M events over %.1f M streams\n", static_cast<double>(s.events) * 1e-6,
                static_cast<double>(s.streams) * 1e-6);
    index::options o;
    o.directory = s.directory + "/index";
    o.key       = {1, 2};
    std::filesystem::remove_all(o.directory);
    {
        index i{o};
        std::printf("sorted runs, flushed each %llu events\n",
                    static_cast<unsigned long long>(s.flush));
        grow{s, i}.run();
    }
    const auto begin = bench_clock::now();
    const index i{o};
    std::printf("  opened in %.2f ms, %.0f MB private\n", seconds_since(begin) * 1e3, private_mb());
    look_up(s, i);
    if (s.btree_seconds > 0) btree(s);
}

}  // namespace
}  // namespace cairn::detail

int main(int argc, char** argv)
{
    cairn::detail::settings s;
    bool                    chosen = false;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i];
        if (name == "--events") s.events = std::strtoull(argv[i + 1], nullptr, 10);
        if (name == "--streams") s.streams = std::strtoull(argv[i + 1], nullptr, 10), chosen = true;
        if (name == "--flush") s.flush = std::strtoull(argv[i + 1], nullptr, 10);
        if (name == "--btree-seconds") s.btree_seconds = std::strtod(argv[i + 1], nullptr);
        if (name == "--dir") s.directory = argv[i + 1];
    }
    std::filesystem::create_directories(s.directory);
    cairn::detail::raw_disk(s);
    if (chosen) {
        cairn::detail::run(s);
    } else {
        for (const std::uint64_t streams : {1'000'000, 10'000'000}) {
            s.streams = streams;
            cairn::detail::run(s);
        }
    }
    std::filesystem::remove_all(s.directory);
}
