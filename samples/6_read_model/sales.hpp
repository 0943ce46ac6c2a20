#pragma once

#include "till.capnp.h"

#include <cairn/framework/aggregate.hpp>
#include <cairn/projections/flows.hpp>

#include <chrono>
#include <cstdint>
#include <string>

namespace shop {

using namespace std::chrono_literals;

auto item_sold(const std::string& sku, std::int64_t quantity, std::chrono::minutes at)
{
    return cairn::event<ItemSold>{[&](auto e) {
        e.setSku(sku);
        e.setQuantity(quantity);
        e.setAtMs(std::chrono::milliseconds{at}.count());
    }};
}

struct Sell
{
    std::string          sku;
    std::int64_t         quantity;
    std::chrono::minutes at;
};

struct Till : cairn::aggregate<ItemSold>
{
    decision decide(const Sell& c) const { return item_sold(c.sku, c.quantity, c.at); }
    void     apply(ItemSold::Reader) {}
};

//[ sales
/// What was sold, of each article and in each hour. `Version` is 1 in yesterday's program.
template <int Version>
struct Sales : cairn::flows<ItemSold>
{
    static constexpr int version = Version;

    cairn::table<std::string, std::int64_t>          sold{this, "sold"};
    cairn::windowed_table<std::string, std::int64_t> by_hour{this, "by_hour",
                                                             cairn::tumbling(1h).grace(10min)};

    Sales()
    {
        // Yesterday's had a mistake: a sale of three lamps was counted as one.
        const auto pieces = [](ItemSold::Reader e) { return Version == 1 ? 1 : e.getQuantity(); };

        from<ItemSold>() | group_by(&ItemSold::Reader::getSku) | sum(pieces) | into(sold);

        from<ItemSold>() | timed_by(&ItemSold::Reader::getAtMs) |
            group_by(&ItemSold::Reader::getSku) | sum(pieces) | into(by_hour);
    }
};
//]

}  // namespace shop
