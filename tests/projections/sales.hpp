// SPDX-License-Identifier: Apache-2.0
#pragma once

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
