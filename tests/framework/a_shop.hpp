// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "a_log.hpp"
#include "shop.hpp"

#include <cairn/framework/process_runner.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace shop {

/// A shop: orders, and who looks after their payment, with a clock that is set by hand.
struct a_shop
{
    explicit a_shop(bool on_disk = false) : on{on_disk}
    {
        on.options.clock = [this] { return cairn::timestamp{now}; };
        options.clock    = on.options.clock;
        on.log->close();
        on.open();
        for (const auto* topic : {"orders", "payments", "mails"}) on.log->create_topic(topic);
        open();
    }
    void open()
    {
        payments.reset();
        orders.emplace(*on.log, "orders");
        payments.emplace(*on.log, "payments", options, *orders);
    }
    /// What is left to the next process when one ends.
    void restart()
    {
        payments.reset();
        orders.reset();
        on.reopen();
        open();
    }

    void place(const std::string& order, const std::string& customer = "Ada")
    {
        orders->execute(order, Place{order, customer}).value();
    }
    void pay(const std::string& order) { orders->execute(order, Pay{}).value(); }
    void pass(std::chrono::milliseconds time) { now += time.count(); }
    void run() { payments->run_until_idle(); }

    Order::Status status(const std::string& order) { return orders->load(order).state.status; }

    std::vector<std::string> events(const std::string& topic, const std::string& id)
    {
        std::vector<std::string> all;
        for (const auto& r : on.log->read_stream({topic, id}))
            all.emplace_back(*r.headers.find(cairn::header_names::type));
        return all;
    }
    std::vector<std::string> timers()
    {
        std::vector<std::string> all;
        for (const auto& t : payments->timers()) all.push_back(t.process + "/" + t.name);
        return all;
    }

    /// Recorded by somebody who knows nothing of the framework.
    void append(const std::string& topic, const std::string& key, const cairn::any_event& e)
    {
        on.log->append({.records = {raw(topic, key, e)}});
    }
    static cairn::append_record raw(const std::string& topic, const std::string& key,
                                    const cairn::any_event& e)
    {
        char schema[32];
        std::snprintf(schema, sizeof schema, "capnp:%016llx",
                      static_cast<unsigned long long>(e.type_id()));
        return {topic,
                {.key     = key,
                 .value   = std::string{e.bytes()},
                 .headers = {{"ce_dataschema", schema}, {"ce_type", std::string{e.type_name()}}}}};
    }

    /// As other languages record it, who have no type id.
    static cairn::append_record named(const std::string& topic, const std::string& key,
                                      const cairn::any_event& e)
    {
        auto one = raw(topic, key, e);
        one.record.headers.erase(one.record.headers.begin());
        return one;
    }

    std::atomic<std::int64_t>                     now = 1'700'000'000'000;
    cairn::testing::a_log                         on;
    cairn::process_options                        options;
    std::optional<cairn::repository<Order>>       orders;
    std::optional<cairn::process_runner<Payment>> payments;
};

using names = std::vector<std::string>;

/// Thrown by on_step.
struct crash
{};

/// What run_until_idle() throws.
template <class Runner>
cairn::process_failed failure_of(Runner& runner)
{
    try {
        runner.run_until_idle();
    } catch (const cairn::process_failed& e) {
        UNSCOPED_INFO(e.what());
        return e;
    }
    FAIL("it should have failed");
    throw 0;
}

}  // namespace shop
