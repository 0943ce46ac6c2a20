// SPDX-License-Identifier: Apache-2.0
// How fast segments are written and read: by batches of one event (300 B) and of many, with few
// partitions and with a thousand. CAIRN_BENCH_DIR says where; a directory in memory shows the
// processor's part of it, one on a disk the flushes too.
#include "store/segment.hpp"

#include "../log/segment_fixture.hpp"
#include "clock.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

using namespace segment_test;

namespace {

using cairn::bench::seconds_since;
using cairn::bench::thread_seconds;
using clock_type = std::chrono::steady_clock;

std::vector<placed_batch> make_load(std::size_t batch_bytes, std::uint32_t partitions,
                                    std::size_t total_bytes)
{
    std::minstd_rand           random{1};
    std::vector<placed_batch>  load;
    std::vector<std::int64_t>  next(partitions);
    const std::string          payload(batch_bytes - batch_header_bytes, 'x');
    std::int64_t               at = 0;
    for (std::size_t bytes = 0; bytes < total_bytes; bytes += batch_bytes, ++at) {
        const auto   uid = static_cast<std::uint32_t>(random() % partitions);
        const offset base{next[uid]++};
        auto         owner =
            std::make_shared<std::string>(make_batch(base, 1, timestamp{at / 100}, payload));
        load.push_back({position{at}, uid, base, 1, *owner, owner, timestamp{at / 100}});
    }
    return load;
}

double best_of(int rounds, const auto& work)
{
    double best = 1e9;
    for (int i = 0; i < rounds; ++i) {
        const auto begin = thread_seconds();
        work();
        best = std::min(best, thread_seconds() - begin);
    }
    return best;
}

volatile std::int64_t sink = 0;

void measure(const std::string& where, std::size_t batch_bytes, std::uint32_t partitions,
             std::size_t append_bytes, std::size_t total_bytes)
{
    std::filesystem::remove_all(where);
    std::filesystem::create_directories(where);
    const auto load  = make_load(batch_bytes, partitions, total_bytes);
    auto       store = make_lmdb_store({.directory = where});
    auto       s     = store->prepare(total_bytes * 3 + (64 << 20));
    store->publish(s, position{0}, {});

    const auto  begin   = clock_type::now();
    std::size_t appends = 0;
    for (std::size_t i = 0; i < load.size(); ++appends) {
        const auto n =
            std::min(load.size() - i, std::max<std::size_t>(1, append_bytes / batch_bytes));
        s->append(std::span{load}.subspan(i, n), load[i + n - 1].end_position());
        i += n;
    }
    const double wrote = seconds_since(begin);
    const auto   count = static_cast<double>(load.size());
    const auto   bytes = count * static_cast<double>(batch_bytes);

    std::printf("%7zu B  %5u partitions, %6zu KB an append: append %6.2f M batches/s %7.1f MB/s, "
                "file %4.2f of the data\n",
                batch_bytes, partitions, append_bytes / 1024, count / wrote * 1e-6,
                bytes / wrote * 1e-6, static_cast<double>(s->bytes()) / bytes);

    const auto read = [&](const char* state) {
        std::vector<placed_batch> out;
        const double by_partition = best_of(3, [&] {
            for (std::uint32_t uid = 0; uid < partitions; ++uid)
                for (offset at{0};;) {
                    out.clear();
                    if (s->read(uid, at, {}, out) == 0) break;
                    at   = out.back().end_offset();
                    sink = sink + out.front().base.value;
                }
        });
        const double by_position = best_of(3, [&] {
            for (position at{0};;) {
                out.clear();
                if (s->read_all(at, {}, out) == 0) break;
                at = out.back().end_position();
            }
        });
        std::minstd_rand random{2};
        constexpr int    finds = 200'000;
        const double     find_position = best_of(3, [&] {
            for (int i = 0; i < finds; ++i)
                sink = sink + s->find(load[random() % load.size()].position)->base.value;
        });
        const double find_offset = best_of(3, [&] {
            for (int i = 0; i < finds; ++i) {
                const auto& b = load[random() % load.size()];
                sink          = sink + s->find(b.partition_uid, b.base)->base.value;
            }
        });
        const double hot = best_of(3, [&] {
            for (int i = 0; i < finds; ++i)
                sink = sink + s->find(load[random() % std::min<std::size_t>(load.size(), 500)]
                                          .position)
                                  ->base.value;
        });
        std::printf("    %-7s read %6.2f M batches/s %6.2f GB/s; read_all %6.2f M %6.2f GB/s; find "
                    "by offset %4.0f ns, by position %4.0f ns, of 500 %4.0f ns\n",
                    state, count / by_partition * 1e-6, bytes / by_partition * 1e-9,
                    count / by_position * 1e-6, bytes / by_position * 1e-9,
                    find_offset / finds * 1e9, find_position / finds * 1e9,
                    hot / finds * 1e9);
    };
    read("active:");
    s->seal();
    read("sealed:");
    s.reset();
    store.reset();
    std::filesystem::remove_all(where);
}

void open_many(const std::string& where)
{
    std::filesystem::remove_all(where);
    std::filesystem::create_directories(where);
    constexpr int count = 200;
    {
        auto   store = make_lmdb_store({.directory = where});
        writer w;
        for (int i = 0; i < count; ++i) {
            auto s = store->prepare(8 << 20);
            store->publish(s, w.end(), {});
            const std::vector one{w.make(1, 100)};
            s->append(one, w.end());
            s->seal();
        }
    }
    const auto begin = clock_type::now();
    auto       store = make_lmdb_store({.directory = where});
    const auto all   = store->open_all();
    std::printf("open_all of %d sealed segments: %.1f us each\n", count,
                seconds_since(begin) / count * 1e6);
    store.reset();
    std::filesystem::remove_all(where);
}

}  // namespace

int main(int argc, char** argv)
{
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const char* const given = std::getenv("CAIRN_BENCH_DIR");
    const std::string where = std::string{given != nullptr ? given : "/tmp"} + "/segment-bench";

    constexpr std::size_t KB = 1024, MB = 1024 * KB;
    if (argc == 5) {  // batch bytes, partitions, KB an append, MB in all
        const auto number = [&](int i) { return static_cast<std::size_t>(std::atoll(argv[i])); };
        measure(where, number(1), static_cast<std::uint32_t>(number(2)), number(3) * KB,
                number(4) * MB);
        return 0;
    }
    for (const std::uint32_t partitions : {1u, 8u, 1000u}) {
        measure(where, 300, partitions, 8 * MB, 128 * MB);
        measure(where, 24'000, partitions, 8 * MB, 256 * MB);
    }
    measure(where, 300, 8, 64 * KB, 64 * MB);
    measure(where, 300, 1000, 256 * KB, 64 * MB);
    measure(where, 1'000'000, 8, 8 * MB, 512 * MB);
    open_many(where);
}
