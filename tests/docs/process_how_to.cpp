// SPDX-License-Identifier: Apache-2.0
//
// The code of the pages on processes and on what leaves for the world outside, and that it does
// what they say.
#include "shop.capnp.h"

#include <cairn/framework/outbox.hpp>
#include <cairn/framework/process_runner.hpp>
#include <cairn/framework/testing_process.hpp>

#include <catch2/catch.hpp>

#include <cstdio>
#include <iostream>
#include <map>
#include <string>
#include <vector>

using namespace shop;

namespace {

using namespace std::chrono_literals;

auto mail(const std::string& to, const std::string& text)
{
    return cairn::event<Mail>{[&](auto m) {
        m.setTo(to);
        m.setText(text);
    }};
}

auto customer_of(const std::string& customer)
{
    return cairn::event<PaymentDue>{[&](auto e) { e.setCustomer(customer); }};
}

//[ reminder
/// Reminds of an order that is not paid, each morning at nine.
struct Reminder
    : cairn::process_manager<cairn::listens_to<OrderPlaced, OrderPaid>, cairn::records<PaymentDue>>
{
    std::string customer;

    static std::string process_of(auto, const cairn::stream_id& order) { return order.key; }

    reaction react(OrderPlaced::Reader e) const
    {
        return reaction{customer_of(e.getCustomer())}.set("morning", cairn::at_local(9h));
    }
    reaction react(OrderPaid::Reader) const { return reaction{}.cancel("morning"); }
    reaction react(const cairn::timer_fired& morning) const
    {
        return reaction{}
            .post("mails", customer, mail(customer, "Please pay " + morning.process))
            .set("morning", cairn::at_local(9h));
    }

    void apply(PaymentDue::Reader e) { customer = e.getCustomer().cStr(); }
};
//]

/// Takes mails, each once by its id, and may be out of order.
struct mail_server
{
    std::map<std::string, std::string> taken;
    bool                               down = false;

    void send(const std::string& to, const std::string& text, const std::string& id)
    {
        if (down) throw std::runtime_error{"the mail server is down"};
        taken.emplace(id, to + ": " + text);
    }
};

}  // namespace

TEST_CASE("a process reminds each morning until it is paid")
{
    using cairn::testing::given;
    const auto placed = cairn::event<OrderPlaced>{[](auto e) { e.setCustomer("Ada"); }};
    CHECK(given<Reminder>()
              .when(placed)
              .then(customer_of("Ada"))
              .then_sets_timer("morning", cairn::at_local(9h)));
    CHECK(given<Reminder>(customer_of("Ada"))
              .when_timer("morning", "o-1")
              .then_posts("mails", "Ada", mail("Ada", "Please pay o-1"))
              .then_sets_timer("morning", cairn::at_local(9h)));
    CHECK(given<Reminder>(customer_of("Ada"))
              .when(cairn::event<OrderPaid>{})
              .then_cancels("morning"));
    const auto log = cairn::commit_log::in_memory();
    //[ process_on
    CHECK(given<Reminder>(customer_of("Ada"))
              .on(log)
              .when_timer("morning", "o-1")
              .then_posts("mails", "Ada", mail("Ada", "Please pay o-1"))
              .then_sets_timer("morning", cairn::at_local(9h)));
    //]
}

TEST_CASE("what can never be handled is skipped")
{
    auto log = cairn::commit_log::in_memory();
    for (const auto* topic : {"orders", "payments"}) log.create_topic(topic);
    cairn::process_runner<Reminder> reminders{log, "payments"};
    char                            schema[32];
    std::snprintf(schema, sizeof schema, "capnp:%016llx",
                  static_cast<unsigned long long>(capnp::typeId<OrderPaid>()));
    log.append({.records = {{"orders",
                             {.key     = "o-1",
                              .value   = "no message",
                              .headers = {{"ce_dataschema", schema}, {"ce_type", "OrderPaid"}}}}}});
    //[ skip
    try {
        reminders.run_until_idle();
    } catch (const cairn::process_failed& e) {
        std::cerr << e.what() << '\n';
        reminders.skip(e.at(), "imported by mistake, see ticket 4711");
    }
    //]
    CHECK(reminders.statistics().skipped == 1);
    CHECK(log.stream_version({"payments", "cairn-skipped"}) == cairn::version{1});
    reminders.run_until_idle();
    CHECK(reminders.statistics().events == 0);
}

TEST_CASE("an outbox delivers what is posted")
{
    auto             log = cairn::commit_log::in_memory();
    cairn::timestamp now{1'700'000'000'000};
    log.create_topic("mails");
    log.append({.records = {{"mails",
                             {.key     = "Ada",
                              .value   = std::string{mail("Ada", "Please pay o-1").bytes()},
                              .headers = {{"ce_type", "Mail"}}}}}});
    mail_server smtp;
    smtp.down = true;
    //[ outbox
    cairn::outbox<Mail> mails{log,
                              "mails",
                              [&](Mail::Reader m, const cairn::delivery& d) {
                                  smtp.send(m.getTo(), m.getText(),
                                            d.id);  // throws: it is tried again
                              },
                              {.clock         = [&] { return now; },
                               .backoff_first = 1s,
                               .attempts_max  = 3,
                               .then          = cairn::undeliverable::park}};
    //]
    for (int i = 0; i < 3; ++i) {
        mails.run_until_idle();
        now += 10'000;
    }
    CHECK(smtp.taken.empty());
    //[ parked
    for (const cairn::parked_message& m : mails.parked())
        std::cerr << m.id << ": " << m.why << '\n';
    smtp.down = false;  // somebody has mended it
    mails.retry_parked();
    //]
    CHECK(smtp.taken == std::map<std::string, std::string>{{"mails-0@0", "Ada: Please pay o-1"}});
    CHECK(mails.parked().empty());
}
