// Who sees to it that an order is paid within half an hour, or cancelled.
#pragma once

#include "order.hpp"

#include <cairn/framework/process_manager.hpp>

namespace shop {

using namespace std::chrono_literals;

//[ payment
struct Payment
    : cairn::process_manager<cairn::listens_to<OrderPlaced, OrderPaid>, cairn::sends_to<Order>>
{
    // There is one for each order, and called like it.
    static std::string process_of(auto, const cairn::stream_id& order) { return order.key; }

    reaction react(OrderPlaced::Reader) const
    {
        return reaction{}.set("unpaid", cairn::after(30min));
    }
    reaction react(OrderPaid::Reader) const { return reaction{}.cancel("unpaid"); }
    reaction react(const cairn::timer_fired& unpaid) const
    {
        return reaction{}.send<Order>(unpaid.process, Cancel{"it was not paid"});
    }
};
//]

}  // namespace shop
