// SPDX-License-Identifier: Apache-2.0
// How fast bytes are summed, and records written and read: the ceiling of everything above.
#include <cairn/log/crc32c.hpp>
#include <cairn/log/record_batch.hpp>

#include "clock.hpp"

#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

using namespace cairn;
using cairn::bench::thread_seconds;

namespace {

/// Where results go, so that nothing is optimised away.
volatile std::uint64_t sink = 0;

/// The time of one run of `work`, which returns a number: the best of several, each long enough for
/// the clock.
template <class Work>
double seconds_each(const Work& work)
{
    double best = 1e9;
    for (int round = 0; round < 9; ++round) {
        std::size_t   runs  = 0;
        std::uint64_t sum   = 0;
        const double  begin = thread_seconds();
        double        took  = 0;
        do {
            // Ever more at once: asking for the time costs more than a short run.
            const std::size_t more = runs + 1;
            for (std::size_t i = 0; i < more; ++i) sum += static_cast<std::uint64_t>(work());
            runs += more;
            took = thread_seconds() - begin;
        } while (took < 0.02);
        best = std::min(best, took / static_cast<double>(runs));
        sink = sum;
    }
    return best;
}

/// An event as the framework records it: five headers, 200 bytes with key and value.
struct event
{
    std::string         key   = "order-7f3a91c2";
    std::string         value = std::string(94, 'v');
    std::vector<header> headers{{"ce_dataschema", "capnp:f1d2c3b4a5968778"},
                                {"ce_type", "OrderPlaced"},
                                {"ce_id", "018c2f6e-7b1a-7c3d"},
                                {"ce_source", "orders"},
                                {"ce_specversion", "1.0"}};
};

void crc()
{
    std::mt19937 random{1};
    std::string  bytes(1 << 20, '\0');
    for (auto& b : bytes) b = static_cast<char>(random());

    for (const std::size_t size : {16, 50, 100, 200, 250, 1024, 4096, 24'000, 1 << 20}) {
        const bytes_view part{bytes.data() + 3, std::min(size, bytes.size() - 3)};
        const double     s     = seconds_each([&] { return crc32c(part); });
        const double     table = seconds_each([&] { return crc32c_by_table(part); });
        std::printf("crc32c      %8zu B  %7.1f ns  %6.2f GB/s   by table %5.2f GB/s\n", part.size(),
                    s * 1e9, static_cast<double>(part.size()) / s * 1e-9,
                    static_cast<double>(part.size()) / table * 1e-9);
    }
}

void records(int in_batch)
{
    const event   e;
    batch_builder builder;

    const auto fill = [&] {
        builder.start();
        for (int i = 0; i < in_batch; ++i)
            builder.add(timestamp{1'700'000'000'000 + i}, e.key, e.value, e.headers);
        return builder.finish();
    };
    const auto   bytes  = fill();
    const double encode = seconds_each([&] { return fill().size(); });

    const auto parse = [&](bool check_crc, bool each_header) {
        const auto    batch = batch_view::parse(bytes, nullptr, check_crc);
        record_cursor cursor{*batch, batch->payload(), position{0}};
        std::uint64_t sum = 0;
        while (cursor.next()) {
            const auto& r = cursor.current();
            sum += r.value->size();
            if (each_header)
                for (const auto& h : r.headers) sum += h.value->size();
            else
                sum += static_cast<std::uint64_t>(r.headers.begin()->value->front());
        }
        return sum + (cursor.ok() ? 0 : 1);
    };
    const double checked   = seconds_each([&] { return parse(true, false); });
    const double unchecked = seconds_each([&] { return parse(false, false); });
    const double all       = seconds_each([&] { return parse(true, true); });

    const auto million = [&](double s) { return in_batch / s * 1e-6; };
    std::printf(
        "batch of %-5d %4zu B each  encode %6.2f M/s  parse+crc %6.2f M/s  without crc "
        "%6.2f M/s  every header %6.2f M/s\n",
        in_batch, bytes.size() / static_cast<std::size_t>(in_batch), million(encode),
        million(checked), million(unchecked), million(all));
}

void codecs()
{
    const event   e;
    batch_builder builder;
    for (int c = 1; c <= 4; ++c) {
        batch_builder::options o;
        o.codec         = static_cast<codec>(c);
        const auto fill = [&] {
            builder.start(o);
            for (int i = 0; i < 100; ++i)
                builder.add(timestamp{1'700'000'000'000 + i}, e.key, e.value, e.headers);
            return builder.finish();
        };
        const auto            bytes  = fill();
        const double          encode = seconds_each([&] { return fill().size(); });
        std::string           scratch;
        const double          decode  = seconds_each([&] {
            const auto    batch   = batch_view::parse(bytes);
            const auto    payload = batch->unpack(scratch, 1 << 20);
            record_cursor cursor{*batch, *payload, position{0}};
            std::uint64_t sum = 0;
            while (cursor.next()) sum += cursor.current().value->size();
            return sum;
        });
        constexpr const char* names[] = {"none", "gzip", "snappy", "lz4", "zstd"};
        std::printf("batch of 100, %-6s  %5zu B  encode %6.2f M/s  parse+crc %6.2f M/s\n", names[c],
                    bytes.size(), 100 / encode * 1e-6, 100 / decode * 1e-6);
    }
}

}  // namespace

int main()
{
    crc();
    for (const int in_batch : {1, 100, 1000}) records(in_batch);
    codecs();
}
