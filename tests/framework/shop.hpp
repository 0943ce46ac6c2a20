// SPDX-License-Identifier: Apache-2.0
//
// The process manager that the framework's tests use: an order that is not paid is cancelled.
#pragma once

#include "shop.capnp.h"

#include <cairn/framework/process_manager.hpp>

#include <chrono>
#include <ostream>
#include <stdexcept>
#include <string>

namespace shop {

using namespace std::chrono_literals;

struct Place
{
    std::string order, customer = "Ada";
};
struct Pay
{};
struct Cancel
{
    std::string reason;

    friend bool          operator==(const Cancel&, const Cancel&) = default;
    friend std::ostream& operator<<(std::ostream& out, const Cancel& c)
    {
        return out << "(" << c.reason << ")";
    }
};

inline auto order_placed(const std::string& order, const std::string& customer = "Ada")
{
    return cairn::event<OrderPlaced>{[&](auto e) {
        e.setOrder(order);
        e.setCustomer(customer);
    }};
}
inline auto order_paid(const std::string& order)
{
    return cairn::event<OrderPaid>{[&](auto e) { e.setOrder(order); }};
}
inline auto order_cancelled(const std::string& order, const std::string& reason)
{
    return cairn::event<OrderCancelled>{[&](auto e) {
        e.setOrder(order);
        e.setReason(reason);
    }};
}
inline auto payment_due(const std::string& order, const std::string& customer = "Ada")
{
    return cairn::event<PaymentDue>{[&](auto e) {
        e.setOrder(order);
        e.setCustomer(customer);
    }};
}
inline auto payment_received()
{
    return cairn::event<PaymentReceived>{};
}
inline auto payment_given_up(const std::string& why)
{
    return cairn::event<PaymentGivenUp>{[&](auto e) { e.setWhy(why); }};
}
inline auto mail(const std::string& to, const std::string& text)
{
    return cairn::event<Mail>{[&](auto e) {
        e.setTo(to);
        e.setText(text);
    }};
}

struct Order : cairn::aggregate<OrderPlaced, OrderPaid, OrderCancelled>
{
    enum class Status { none, open, paid, cancelled };

    Status      status = Status::none;
    std::string id;

    decision decide(const Place& c) const
    {
        if (status != Status::none) return {};
        return order_placed(c.order, c.customer);
    }
    decision decide(const Pay&) const
    {
        if (status != Status::open) return cairn::reject("it is not open");
        return order_paid(id);
    }
    decision decide(const Cancel& c) const
    {
        if (status != Status::open) return cairn::reject("it is not open");
        return order_cancelled(id, c.reason);
    }

    void apply(OrderPlaced::Reader e)
    {
        status = Status::open;
        id     = e.getOrder().cStr();
    }
    void apply(OrderPaid::Reader) { status = Status::paid; }
    void apply(OrderCancelled::Reader) { status = Status::cancelled; }
};

struct Payment : cairn::process_manager<cairn::listens_to<OrderPlaced, OrderPaid>,
                                        cairn::records<PaymentDue, PaymentReceived, PaymentGivenUp>,
                                        cairn::sends_to<Order>>
{
    std::string order, customer;

    /// Orders that are called "x…" are nobody's to look after.
    static std::optional<std::string> process_of(OrderPlaced::Reader e)
    {
        if (e.getOrder().startsWith("x")) return std::nullopt;
        return e.getOrder();
    }
    static std::optional<std::string> process_of(OrderPaid::Reader e) { return e.getOrder(); }

    reaction react(OrderPlaced::Reader e) const
    {
        if (e.getCustomer() == "Mallory") throw std::logic_error{"a bug in react()"};
        return reaction{}
            .record(payment_due(e.getOrder(), e.getCustomer()))
            .set("reminder", cairn::after(20min))
            .set("unpaid", cairn::after(30min));
    }
    reaction react(OrderPaid::Reader) const
    {
        if (order.empty()) return {};
        return reaction{}.record(payment_received()).cancel("reminder").cancel("unpaid");
    }
    reaction react(const cairn::timer_fired& t) const
    {
        if (t.name == "reminder")
            return reaction{}.post("mails", customer, mail(customer, "please pay " + order));
        return reaction{}.send<Order>(order, Cancel{"not paid"});
    }
    reaction react(const cairn::command_refused& r) const { return payment_given_up(r.why.reason); }

    void apply(PaymentDue::Reader e)
    {
        order    = e.getOrder().cStr();
        customer = e.getCustomer().cStr();
    }
    void apply(PaymentReceived::Reader) {}
    void apply(PaymentGivenUp::Reader) {}
};

}  // namespace shop
