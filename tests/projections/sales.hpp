// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "event_store_core.hpp"
#include "sales.capnp.h"

#include <cairn/framework/testing.hpp>
#include <cairn/log/commit_log.hpp>
#include <cairn/projections/projection.hpp>

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>

namespace cairn::testing {

inline event<sales::Sold> sold(const std::string& customer, std::int64_t cents,
                               const std::string& country = "UK")
{
    return event<sales::Sold>{[&](auto e) {
        e.setCustomer(customer);
        e.setCountry(country);
        e.setCents(cents);
    }};
}
inline event<sales::Returned> returned(const std::string& customer, std::int64_t cents,
                                       const std::string& country = "UK")
{
    return event<sales::Returned>{[&](auto e) {
        e.setCustomer(customer);
        e.setCountry(country);
        e.setCents(cents);
    }};
}

/// Records them, each in the stream of its customer.
template <class... Es>
void happen(const commit_log& log, const event<Es>&... events)
{
    const event_store store{log};
    (detail::record_in(store, {"sales", std::string{events.read()->getCustomer()}}, {events}), ...);
}

/// As repositories record it: whoever listens to this event_store hears of it.
inline void happen_through(event_store events, const event<sales::Sold>& e)
{
    const stream_id stream{"sales", std::string{e.read()->getCustomer()}};
    auto&           core = events.core();
    append_request  request;
    request.records.push_back(
        {stream.topic, core.record_of(e, stream, core.log.stream_version(stream), {})});
    core.try_append(request).value();
}

/// What each customer and each country has spent.
struct revenue : projection<sales::Sold, sales::Returned>
{
    table<std::string, std::int64_t>  by_customer{this, "by_customer"};
    table<std::string, std::int64_t>  by_country{this, "by_country"};
    table<std::string, std::uint64_t> counted{this, "counted"};

    void on(sales::Sold::Reader e, const origin&)
    {
        add(e.getCustomer(), e.getCountry(), e.getCents());
    }
    void on(sales::Returned::Reader e, const origin&)
    {
        add(e.getCustomer(), e.getCountry(), -e.getCents());
    }

    std::int64_t spent_by(const std::string& customer) const
    {
        return by_customer.find(customer).value_or(0);
    }
    std::uint64_t events() const { return counted.find("events").value_or(0); }

private:
    void add(const std::string& customer, const std::string& country, std::int64_t cents)
    {
        if (customer == "poison") throw std::runtime_error{"this customer is poison"};
        by_customer.update(customer, [&](auto& c) { c += cents; });
        by_country.update(country, [&](auto& c) { c += cents; });
        counted.update("events", [](auto& n) { ++n; });
    }
};

}  // namespace cairn::testing
