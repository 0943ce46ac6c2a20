// An order: what may be asked of it, and what may happen to it.
#pragma once

#include "order.capnp.h"

#include <cairn/framework/aggregate.hpp>

#include <string>

namespace shop {

// clang-format off
struct Place  {};
struct Pay    {};
struct Cancel { std::string why; bool operator==(const Cancel&) const = default; };
// clang-format on

using order_placed = cairn::event<OrderPlaced>;
using order_paid   = cairn::event<OrderPaid>;

inline auto order_cancelled(const std::string& why)
{
    return cairn::event<OrderCancelled>{[&](auto e) { e.setWhy(why); }};
}

//[ order
struct Order : cairn::aggregate<OrderPlaced, OrderPaid, OrderCancelled>
{
    bool placed = false;
    bool open   = false;

    decision decide(const Place&) const
    {
        if (placed) return cairn::reject("the order is placed already");
        return order_placed{};
    }
    decision decide(const Pay&) const
    {
        if (!open) return cairn::reject("the order is not open");
        return order_paid{};
    }
    decision decide(const Cancel& c) const
    {
        if (!open) return cairn::reject("the order is not open");
        return order_cancelled(c.why);
    }

    void apply(OrderPlaced::Reader) { placed = open = true; }
    void apply(OrderPaid::Reader) { open = false; }
    void apply(OrderCancelled::Reader) { open = false; }
};
//]

}  // namespace shop
