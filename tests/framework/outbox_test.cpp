// SPDX-License-Identifier: Apache-2.0
#include "a_shop.hpp"

#include <cairn/framework/outbox.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

using namespace shop;
using namespace cairn;
using namespace cairn::testing;

namespace {

/// A post office that remembers what it was given, and refuses what it is told to.
struct a_post_office
{
    explicit a_post_office(bool on_disk = false) : s{on_disk}
    {
        options.clock = [this] { return timestamp{s.now}; };
        open();
    }
    void open()
    {
        mails.reset();
        mails.emplace(
            *s.on.log, "mails",
            [this](Mail::Reader m, const delivery& d) {
                const std::lock_guard lock{mutex};
                const std::string     text{m.getText().cStr()};
                tried.push_back(d);
                if (refused.count(text)) throw std::runtime_error{"no such box"};
                given.push_back(text);
                if (crashes) throw std::runtime_error{"given, and then it crashed"};
            },
            options);
    }
    void restart()
    {
        mails.reset();
        s.payments.reset();
        s.orders.reset();
        s.on.reopen();
        open();
    }
    void send(const std::string& to, const std::string& text)
    {
        s.append("mails", to, mail(to, text));
    }
    void run() { mails->run_until_idle(); }

    a_shop                      s;
    outbox_options              options;
    std::mutex                  mutex;
    std::set<std::string>       refused;
    bool                        crashes = false;
    names                       given;
    std::vector<delivery>       tried;
    std::optional<outbox<Mail>> mails;
};

template <class F>
std::string failure_of(F&& f)
{
    try {
        f();
    } catch (const delivery_failed& e) {
        CHECK(e.code() == errc::delivery_failed);
        return e.what();
    }
    return "it did not fail";
}

}  // namespace

TEST_CASE("what a process posts is delivered, with an id of its own")
{
    a_post_office p{GENERATE(false, true)};
    p.s.orders->execute("o-1", Place{"o-1"}, {.correlation_id = "talk-1"}).value();
    p.s.run();
    p.run();
    CHECK(p.given.empty());
    p.s.pass(20min);
    p.s.run();
    p.run();
    CHECK(p.given == names{"please pay o-1"});
    REQUIRE(p.tried.size() == 1);
    CHECK(p.tried[0].id == "mails/Ada@0");
    CHECK(p.tried[0].key == "Ada");
    CHECK(p.tried[0].attempt == 1);
    CHECK(p.tried[0].correlation_id == "talk-1");
    p.run();
    p.restart();
    p.run();
    CHECK(p.given.size() == 1);
}

TEST_CASE("a message is delivered at least once: again where it was not recorded, with the same id")
{
    a_post_office p{GENERATE(false, true)};
    p.send("Ada", "one");
    p.crashes = true;
    p.run();
    p.crashes = false;
    p.restart();
    p.run();
    CHECK(p.given == names{"one", "one"});
    REQUIRE(p.tried.size() == 2);
    CHECK(p.tried[0].id == p.tried[1].id);
    CHECK(p.tried[0].id == "mails-0@0");  // nobody has given it another
}

TEST_CASE("messages of one key are delivered in their order, none before its predecessor is")
{
    a_post_office p;
    for (int i = 0; i < 30; ++i) p.send(i % 2 ? "Ada" : "Bob", std::to_string(i));
    p.refused = {"11"};
    p.run();
    for (const auto& text : p.given) CHECK(std::stoi(text) < 11);
    p.refused.clear();
    p.s.pass(1s);
    p.run();
    REQUIRE(p.given.size() == 30);
    for (int i = 0; i < 30; ++i) CHECK(p.given[static_cast<std::size_t>(i)] == std::to_string(i));
}

TEST_CASE("one that fails holds up its partition, not the others")
{
    a_post_office p;
    p.s.on.log->add_partitions("mails", 8);
    for (int i = 0; i < 16; ++i) p.send("customer-" + std::to_string(i), std::to_string(i));
    p.refused = {"0"};
    p.run();
    CHECK(p.given.size() > 4);
    CHECK(p.given.size() < 16);
    p.refused.clear();
    p.s.pass(1s);
    p.run();
    CHECK(p.given.size() == 16);
}

TEST_CASE("one that fails is tried again after a time that doubles, up to a bound")
{
    a_post_office p;
    p.options.backoff_max  = 5s;
    p.options.attempts_max = 6;
    p.open();
    p.send("Ada", "bad");
    p.refused = {"bad"};
    p.run();
    for (const auto wait : {1000ms, 2000ms, 4000ms, 5000ms}) {
        CHECK(p.mails->next_attempt() == timestamp{p.s.now + wait.count()});
        const auto before = p.tried.size();
        p.s.pass(wait - 1ms);
        p.run();
        CHECK(p.tried.size() == before);
        p.s.pass(1ms);
        p.run();
        CHECK(p.tried.size() == before + 1);
        CHECK(p.tried.back().attempt == static_cast<int>(p.tried.size()));
    }
    // A clock that is set back does not make it wait.
    p.s.pass(-24h);
    p.options.then = undeliverable::stop;
    CHECK_THAT(failure_of([&] { p.run(); }), Catch::Contains("mails-0@0") &&
                                                 Catch::Contains("6 attempts") &&
                                                 Catch::Contains("no such box"));
    CHECK(p.mails->state() == runner_state::failed);
    CHECK(p.mails->error() != nullptr);
    CHECK(p.mails->statistics().failures == 6);

    // It stands before it, and tries again when it is run again.
    p.send("Ada", "later");
    p.run();
    CHECK(p.given.empty());
    p.refused.clear();
    p.s.pass(1s);
    p.run();
    CHECK(p.given == names{"bad", "later"});
    CHECK(p.mails->next_attempt() == std::nullopt);
}

TEST_CASE(
    "what is parked is kept with its reason, what comes after it waits behind it, and it can "
    "be tried again")
{
    a_post_office p{GENERATE(false, true)};
    p.options.then         = undeliverable::park;
    p.options.attempts_max = 1;
    p.open();
    p.refused = {"bad"};
    p.send("Ada", "first");
    p.send("Ada", "bad");
    p.send("Ada", "after it");
    p.send("Bob", "his");
    p.run();
    CHECK(p.given == names{"first", "his"});
    p.restart();
    p.send("Ada", "later still");
    p.run();
    CHECK(p.given == names{"first", "his"});
    CHECK(p.mails->parked() ==
          std::vector<parked_message>{{"mails-0@1", "Ada", "no such box"},
                                      {"mails-0@2", "Ada", "it waits behind mails-0@1"},
                                      {"mails-0@4", "Ada", "it waits behind mails-0@1"}});

    CHECK_THAT(failure_of([&] { p.mails->retry_parked(); }), Catch::Contains("mails-0@1"));
    CHECK(p.mails->parked().size() == 3);
    p.refused.clear();
    CHECK(p.mails->retry_parked() == 3);
    CHECK(p.given == names{"first", "his", "bad", "after it", "later still"});
    CHECK(p.tried.back().id == "mails-0@4");
    CHECK(p.mails->parked().empty());
    CHECK(p.mails->retry_parked() == 0);
    p.send("Ada", "as before");
    p.run();
    CHECK(p.given.back() == "as before");
    p.restart();
    CHECK(p.mails->parked().empty());
}

TEST_CASE("of several outboxes the one that began last delivers, and the others stop")
{
    a_post_office p;
    p.send("Ada", "one");
    p.run();
    names        elsewhere;
    outbox<Mail> other{*p.s.on.log, "mails", [&](Mail::Reader m, const delivery&) {
                           elsewhere.emplace_back(m.getText().cStr());
                       }};
    p.send("Ada", "two");
    other.run_until_idle();
    p.send("Ada", "three");
    CHECK(code_of([&] { p.run(); }) == errc::fenced_generation);
    other.run_until_idle();
    CHECK(p.given == names{"one"});
    CHECK(elsewhere == names{"two", "three"});
}

TEST_CASE("a message that the outbox does not list is not skipped")
{
    a_post_office p;
    p.options.attempts_max = 1;
    p.open();
    p.s.append("mails", "Ada", payment_received());
    p.send("Ada", "one");
    CHECK_THAT(failure_of([&] { p.run(); }),
               Catch::Contains("PaymentReceived") && Catch::Contains("outbox<...>"));
    CHECK(p.given.empty());
    CHECK(code_of([&] {
              outbox<Mail>{*p.s.on.log, "nowhere", [](Mail::Reader, const delivery&) {}};
          }) == errc::unknown_topic);
}

TEST_CASE("what retention has removed before it was delivered is not skipped in silence")
{
    a_post_office p;
    p.refused = {"one"};
    p.send("Ada", "one");
    p.send("Ada", "two");
    p.run();
    p.s.on.log->partition("mails", 0).truncate_before(offset{1});
    p.s.pass(1s);
    CHECK(code_of([&] { p.run(); }) == errc::offset_out_of_range);
    CHECK(p.mails->state() == runner_state::failed);
    CHECK(p.given.empty());
}

TEST_CASE("who looks at what is parked does not begin: the one that delivers goes on")
{
    a_post_office p;
    p.options.then         = undeliverable::park;
    p.options.attempts_max = 1;
    p.open();
    p.refused = {"bad", "worse"};
    p.send("Ada", "bad");
    p.send("Bob", "worse");
    p.run();
    outbox<Mail> other{*p.s.on.log, "mails", [](Mail::Reader, const delivery&) {}};
    CHECK(other.parked() == p.mails->parked());
    CHECK(other.parked().size() == 2);
    p.send("Ada", "waits");
    p.send("Eve", "hers");
    p.run();
    CHECK(p.given == names{"hers"});
    CHECK(other.parked().size() == 3);
    p.refused = {"worse"};
    CHECK_THAT(failure_of([&] { p.mails->retry_parked(); }), Catch::Contains("mails-0@1"));
    CHECK(other.parked().size() == 2);
    CHECK(other.parked() == p.mails->parked());
}

TEST_CASE("a start right behind a failure to deliver is not lost")
{
    a_shop s;
    s.append("mails", "Ada", mail("Ada", "bad"));
    for (int round = 0; round < 100; ++round) {
        std::atomic<int> tried = 0;
        outbox<Mail>     mails{*s.on.log,
                           "mails",
                           [&](Mail::Reader, const delivery&) {
                               ++tried;
                               throw std::runtime_error{"no such box"};
                           },
                           {.attempts_max = 1}};
        mails.start();
        while (!mails.error()) {
        }
        mails.start();
        const auto deadline = std::chrono::steady_clock::now() + 20s;
        while (tried < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
        INFO("round " << round);
        REQUIRE(tried >= 2);
    }
}

TEST_CASE("the function that delivers may stop the outbox, and it can be started again")
{
    a_shop           s;
    std::atomic<int> given = 0;
    outbox<Mail>*    all   = nullptr;
    outbox<Mail>     mails{*s.on.log, "mails", [&](Mail::Reader, const delivery&) {
                           ++given;
                           all->stop();
                       }};
    all = &mails;
    s.append("mails", "Ada", mail("Ada", "one"));
    s.append("mails", "Ada", mail("Ada", "two"));
    for (int started = 1; started <= 2; ++started) {
        mails.start();
        while (mails.state() == runner_state::running) std::this_thread::yield();
        CHECK(mails.state() == runner_state::idle);
        CHECK(given == started);
    }
    CHECK(mails.statistics().delivered == 2);
}

TEST_CASE("in the background it delivers what comes, and stops when it is told")
{
    a_post_office p;
    p.mails->start();
    auto done = p.s.on.log->read_stream({"__outboxes", "mails"}, version{1});
    p.send("Ada", "one");
    CHECK(done.wait(60s));
    p.mails->stop();
    CHECK(p.given == names{"one"});
    CHECK(p.mails->state() == runner_state::idle);
    CHECK(p.mails->statistics().delivered == 1);
}
