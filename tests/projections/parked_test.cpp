// SPDX-License-Identifier: Apache-2.0
//
// Very many parked events.
//
//     CAIRN_LONG=1       a million of them
#include "log/allocation_meter.hpp"
#include "main/temporary_directory.hpp"
#include "sales.hpp"

#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>

using namespace cairn;
using namespace cairn::testing;

namespace {

/// Counts each customer's sales, which are numbered; those of so many customers, as it is mended.
struct numbered : projection<sales::Sold>
{
    table<std::string, std::int64_t> last{this, "last"};

    void on(sales::Sold::Reader e, const origin&)
    {
        const std::string customer = e.getCustomer();
        if (std::stoi(customer) >= mended) throw std::runtime_error{"not yet"};
        if (e.getCents() != last.find(customer).value_or(0) + 1)
            throw std::runtime_error{"out of order"};
        last.put(customer, e.getCents());
    }

    static inline int mended = 0;
};

/// Of the process, without files that are mapped.
std::size_t resident_bytes()
{
    std::ifstream in{"/proc/self/status"};
    std::string   word;
    std::size_t   kib = 0;
    while (in >> word)
        if (word == "RssAnon:") in >> kib;
    REQUIRE(kib > 0);
    return kib * 1024;
}

constexpr std::size_t mib = 1u << 20;

}  // namespace

TEST_CASE("what is in memory does not grow with how many are parked")
{
    const bool                long_one = std::getenv("CAIRN_LONG") != nullptr;
    const int                 each = 100, customers = long_one ? 10'000 : 1'000;
    const std::uint64_t       all = static_cast<std::uint64_t>(each) * customers;
    const temporary_directory place;
    auto                      log = commit_log::open(place / "log");
    log.create_topic("sales", 3);
    numbered::mended                      = 0;
    const auto                  number_of = [](int customer) { return std::to_string(customer); };
    const event_store           store{log};
    projection_runner<numbered> runner{store,
                                       "numbered",
                                       lmdb_tables(place / "tables"),
                                       {.topics = {"sales"}, .on_failure = on_failure::park}};

    // Half of them first: what is kept from batch to batch is there then.
    std::size_t half = 0;
    for (int part = 0; part < 2; ++part) {
        for (int c = part * customers / 2; c < (part + 1) * customers / 2; ++c) {
            std::vector<any_event> events;
            for (int i = 1; i <= each; ++i) events.emplace_back(sold(number_of(c), i));
            cairn::testing::detail::record_in(store, {"sales", number_of(c)}, events);
        }
        runner.run_until_idle();
        if (part == 0) half = resident_bytes();
    }
    const auto whole = resident_bytes();
    const auto grown = whole - std::min(half, whole);
    INFO("grown by " << grown / mib << " MiB");
    CHECK(grown < 200 * mib);
    REQUIRE(runner.status().parked == all);
    CHECK(runner.status().lag_events == 0);

    {
        const allocation_meter      meter;
        std::uint64_t               listed = 0;
        std::optional<parked_event> last;
        std::size_t                 tried = 0;
        for (;;) {
            const auto page = runner.parked(1'000, last);
            if (page.empty()) break;
            for (const auto& e : page) tried += e.attempts > 0;
            listed += page.size();
            last = page.back();
        }
        CHECK(listed == all);
        CHECK(tried == static_cast<std::size_t>(customers));
        CHECK(meter.peak_bytes() < 8 * mib);
    }

    // The newest of one customer is given up; the others are handled in their order. Each that is
    // tried is a commit, so it is not all of them but in the long form.
    const int mended = long_one ? customers : 10;
    numbered::mended = mended;
    const allocation_meter meter;
    {
        const auto in = topic_partition{"sales", log.partition_of({"sales", number_of(0)})};
        offset     newest{0};
        for (const auto& r : log.read_stream_backwards({"sales", number_of(0)})) {
            newest = r.offset;
            break;
        }
        runner.skip_parked(in, newest);
    }
    CHECK(runner.status().parked == all - 1);
    const auto handled = static_cast<std::uint64_t>(each) * mended - 1;
    CHECK(runner.retry_parked() == handled);
    CHECK(meter.peak_bytes() < 100 * mib);
    CHECK(runner.status().parked == all - 1 - handled);
    const auto now = runner.view().read();
    CHECK(now->last.find(number_of(0)) == each - 1);
    CHECK(now->last.size() == static_cast<std::uint64_t>(mended));
    for (int c = 1; c < mended; ++c) REQUIRE(now->last.find(number_of(c)) == each);
}
