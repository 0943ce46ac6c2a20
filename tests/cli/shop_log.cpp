// SPDX-License-Identifier: Apache-2.0
//
// shop_log DIR: makes a log with events, for cli_test.py. Paid is an event whose schema is not
// registered; the last record is none.
#include "shop.capnp.h"

#include <cairn/framework/envelope.hpp>
#include <cairn/framework/event.hpp>
#include <cairn/framework/schema.hpp>

#include <cstdio>

using namespace cairn;

namespace {

struct writer
{
    commit_log log;

    template <class E>
    void write(const std::string& topic, const std::string& key, const event<E>& e,
               const std::string& cause = {})
    {
        char id[32];
        std::snprintf(id, sizeof id, "capnp:%016llx", static_cast<unsigned long long>(e.type_id()));
        const auto version = log.stream_version({topic, key}).value;
        record     r{.key = key, .value = std::string{e.bytes()}};
        r.headers = {
            {std::string{header_names::data_schema}, id},
            {std::string{header_names::type}, std::string{e.type_name()}},
            {std::string{header_names::id}, topic + '/' + key + '@' + std::to_string(version)}};
        if (!cause.empty()) r.headers.push_back({std::string{header_names::causation_id}, cause});
        log.append({.records = {{topic, r}}});
    }
};

}  // namespace

int main(int count, char** arguments)
{
    if (count != 2) return 2;
    writer shop{commit_log::open(arguments[1])};
    shop.log.create_topic("orders");
    shop.log.create_topic("payments", 2);
    schema_registry schemas{shop.log};
    schemas.add(capnp::Schema::from<shop::OrderPlaced>());
    schemas.add(capnp::Schema::from<shop::PriceChanged>());
    schemas.add(capnp::Schema::from<shop::PaymentRequested>());

    shop.write("orders", "o-1", event<shop::OrderPlaced>{[](auto e) {
                   e.setCustomer("Ada \"Countess\"");
                   e.setCents(1999);
                   e.getAddress().setStreet("Main");
               }},
               "cmd-7");
    shop.write("payments", "p-1", event<shop::PaymentRequested>{[](auto e) {
                   e.setOrder("o-1");
                   e.setCents(1999);
               }},
               "orders/o-1@0");
    shop.write("orders", "o-1", event<shop::PriceChanged>{[](auto e) {
                   e.setCents(2499);
                   e.setNote("a lamp more");
               }});
    shop.write("payments", "p-1", event<shop::Paid>{[](auto e) { e.setMethod("card"); }},
               "payments/p-1@0");
    shop.log.append({.records = {{"orders", {.key = "o-1", .value = "by hand"}}}});
    shop.log.close();
    return 0;
}
