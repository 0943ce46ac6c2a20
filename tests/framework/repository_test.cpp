// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "account.hpp"

#include <cairn/framework/repository.hpp>

#include <catch2/catch.hpp>

#include <functional>
#include <thread>
#include <utility>
#include <vector>

using namespace bank;
using namespace cairn;
using namespace cairn::testing;

TEST_CASE("a command is decided on what has happened, and what it comes to is recorded")
{
    a_log               on{GENERATE(false, true)};
    repository<Account> accounts{*on.log, "accounts"};

    const auto opened = accounts.execute("ada", Open{"Ada"}).value();
    CHECK(opened.version == version{1});
    CHECK(opened.recorded == 1);
    CHECK_FALSE(opened.repeated);
    accounts.execute("ada", Deposit{100}).value();
    const auto moved = accounts.execute("ada", Move{.out = 30, .in = 5}).value();
    CHECK(moved.version == version{4});
    CHECK(moved.recorded == 2);
    CHECK(moved.position == on.log->end_position() - 1);
    CHECK(types_of(*on.log, "ada") ==
          std::vector<std::string>{"Opened", "Deposited", "Withdrawn", "Deposited"});

    on.reopen();
    repository<Account> again{*on.log, "accounts"};
    const auto          ada = again.load("ada");
    CHECK(ada.state.owner == "Ada");
    CHECK(ada.state.cents == 75);
    CHECK(ada.version == version{4});
    CHECK(ada.position == moved.position);
    CHECK(again.execute("ada", Withdraw{75}).value().version == version{5});
}

TEST_CASE("a rejection is a value, and nothing is recorded")
{
    a_log               on{false};
    repository<Account> accounts{*on.log, "accounts"};
    const position      before  = on.log->end_position();
    const auto          refused = accounts.execute("ada", Withdraw{1});
    REQUIRE(refused.has_error());
    CHECK(refused.error().reason == "there is not so much in it");
    CHECK(on.log->end_position() == before);
    CHECK_THROWS_AS(refused.value(), command_rejected);
    CHECK(code_of([&] { refused.value(); }) == errc::command_rejected);
}

TEST_CASE("that nothing is to happen is an outcome too")
{
    a_log               on{false};
    repository<Account> accounts{*on.log, "accounts"};
    const auto          last    = accounts.execute("ada", Deposit{5}).value();
    const auto          settled = accounts.execute("ada", Settle{}).value();
    const auto          nothing = accounts.execute("ada", Settle{}).value();
    CHECK(settled.recorded == 1);
    CHECK(nothing.recorded == 0);
    CHECK(nothing.version == version{2});
    CHECK(nothing.position == settled.position);
    CHECK(nothing.position > last.position);
}

TEST_CASE("a decision is made on what is true, whoever recorded it")
{
    a_log               on{false};
    repository<Account> here{*on.log, "accounts"}, there{*on.log, "accounts"};
    here.execute("ada", Deposit{10}).value();
    there.execute("ada", Withdraw{10}).value();
    CHECK(here.execute("ada", Withdraw{10}).has_error());  // though it remembers ten cents
    there.execute("ada", Deposit{4}).value();
    CHECK(here.execute("ada", Withdraw{4}).has_value());   // and now nothing
    CHECK(here.execute("ada", Settle{}).value().recorded == 0);
    CHECK(there.load("ada").state.cents == 0);
}

TEST_CASE("commands for one aggregate, from everywhere at once: each is decided after the other")
{
    a_log               on{GENERATE(false, true)};
    repository<Account> here{*on.log, "accounts"}, there{*on.log, "accounts"};
    constexpr int       threads = 6, times = 25;
    std::atomic<int>    failed = 0, refused = 0;
    here.execute("ada", Deposit{100}).value();

    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t)
        all.emplace_back([&, t] {
            auto& mine = t % 2 ? here : there;
            for (int i = 0; i < times;) {
                try {
                    refused += mine.execute("ada", Withdraw{1}).has_error();
                    ++i;
                } catch (const error& e) {
                    failed += e.code() != errc::conflict;  // then it is asked again
                }
            }
        });
    for (auto& t : all) t.join();
    CHECK(failed == 0);
    CHECK(refused == threads * times - 100);
    CHECK(here.load("ada").state.cents == 0);
    CHECK(here.load("ada").version == version{101});
}

TEST_CASE("a rejection, and that nothing is to happen, are of the stream as it was at that moment")
{
    static std::function<void()> meanwhile;
    struct Watched : Account
    {
        decision decide(const Withdraw& c) const { return decided(Account::decide(c)); }
        decision decide(const Settle& c) const { return decided(Account::decide(c)); }

        static decision decided(decision then)
        {
            if (meanwhile) std::exchange(meanwhile, nullptr)();
            return then;
        }
    };
    a_log               on{GENERATE(false, true)};
    repository<Watched> accounts{*on.log, "accounts"};
    repository<Account> elsewhere{*on.log, "accounts"};
    const auto          pay_in = [&] { elsewhere.execute("ada", Deposit{5}).value(); };
    SECTION("a rejection")
    {
        meanwhile = pay_in;
        CHECK(accounts.execute("ada", Withdraw{5})->version == version{2});
    }
    SECTION("a rejection that is remembered")
    {
        meanwhile = pay_in;
        CHECK(
            accounts.execute("ada", Withdraw{5}, {.command_id = "c-1", .remember_rejection = true})
                ->version == version{2});
    }
    SECTION("that nothing is to happen")
    {
        meanwhile = pay_in;
        CHECK(accounts.execute("ada", Settle{})->version == version{2});
    }
    CHECK(accounts.statistics().decided_again == 1);
    CHECK(accounts.load("ada").state.cents == 0);
    CHECK_FALSE(accounts.execute("ada", Withdraw{5}));
    CHECK(accounts.statistics().decided_again == 1);
}

TEST_CASE("all events of a decision are recorded, or none")
{
    a_log on{GENERATE(false, true)};
    struct Twice : Account
    {
        using Account::decide;
        struct Note
        {
            std::size_t first, second;
        };
        decision decide(const Note& c) const
        {
            return {deposited(1, std::string(c.first, 'x')),
                    deposited(2, std::string(c.second, 'x'))};
        }
    };
    {
        repository<Twice> accounts{*on.log, "accounts"};
        accounts.execute("ada", Twice::Note{3, 3}).value();
        const auto end = on.log->end_position();
        CHECK(code_of([&] {
                  (void)accounts.execute("ada", Twice::Note{3, 2'000'000});
              }) == errc::record_too_large);
        CHECK(code_of([&] {
                  (void)accounts.execute("ada", Twice::Note{2'000'000, 3});
              }) == errc::record_too_large);
        CHECK_THROWS_AS(accounts.execute("ada", Move{.out = 1, .in = Account::unlucky}),
                        std::logic_error);
        CHECK(on.log->end_position() == end);
    }
    on.reopen();
    repository<Twice> accounts{*on.log, "accounts"};
    CHECK(accounts.load("ada").version == version{2});
    CHECK(accounts.load("ada").state.cents == 3);
    CHECK(accounts.execute("ada", Move{.out = 1, .in = 2})->version == version{4});
    CHECK(accounts.load("ada").state.cents == 4);
}

TEST_CASE("an event over the size limit is refused; the next command goes on from what is true")
{
    a_log               on{GENERATE(false, true)};
    repository<Account> accounts{*on.log, "accounts"};
    accounts.execute("ada", Deposit{5}).value();
    const auto end  = on.log->end_position();
    const auto huge = [&] {
        (void)accounts.execute("ada", Deposit{7, std::string(2'000'000, 'x')},
                               {.command_id = "c-1"});
    };
    CHECK(code_of(huge) == errc::record_too_large);
    CHECK(code_of(huge) == errc::record_too_large);
    CHECK(on.log->end_position() == end);
    CHECK(accounts.load("ada").state.cents == 5);
    CHECK_FALSE(accounts.execute("ada", Withdraw{12}));
    CHECK(accounts.execute("ada", Withdraw{5})->version == version{2});
    // Smaller, it is the same command, and had not happened.
    CHECK_FALSE(accounts.execute("ada", Deposit{7}, {.command_id = "c-1"})->repeated);
}

TEST_CASE("state in memory is of the topic that there is, not of one that was deleted")
{
    a_log               on{GENERATE(false, true)};
    repository<Account> accounts{*on.log, "accounts"}, elsewhere{*on.log, "accounts"};
    accounts.execute("ada", Deposit{100}).value();
    accounts.execute("ada", Deposit{100}).value();
    on.log->delete_topic("accounts");
    on.log->create_topic("accounts", 3);
    SECTION("where it has less than there was")
    {
        CHECK_FALSE(accounts.execute("ada", Withdraw{200}));
        CHECK_FALSE(accounts.execute("ada", Withdraw{200},
                                     {.command_id = "c-1", .remember_rejection = true}));
        CHECK(accounts.execute("ada", Deposit{1})->version == version{1});
    }
    SECTION("where it has as much, and more")
    {
        for (int i = 0; i < GENERATE(2, 3); ++i) elsewhere.execute("ada", Deposit{1}).value();
        CHECK_FALSE(accounts.execute("ada", Withdraw{200}));
        CHECK(accounts.execute("ada", Deposit{1}));
    }
    CHECK(accounts.load("ada").state.cents < 10);
    CHECK(accounts.statistics().decided_again == 0);
}

TEST_CASE("a conflict that never settles ends with an error that says how often it was tried")
{
    static commit_log* elsewhere = nullptr;
    struct Busy : aggregate<Deposited>
    {
        decision decide(const Deposit& c) const
        {
            // Another process, always quicker.
            elsewhere->append({.records = {{"accounts",
                                            {.key     = "ada",
                                             .value   = std::string{deposited(1).bytes()},
                                             .headers = {{"ce_type", "Deposited"}}}}}});
            return deposited(c.cents);
        }
        void apply(Deposited::Reader) {}
    };
    a_log on{false};
    elsewhere = &*on.log;
    repository<Busy> accounts{*on.log, "accounts", {.attempts_max = 4}};
    try {
        (void)accounts.execute("ada", Deposit{1});
        FAIL("it should have thrown");
    } catch (const error& e) {
        CHECK(e.code() == errc::conflict);
        CHECK_THAT(e.what(), Catch::Contains("4 times") && Catch::Contains("accounts/ada"));
    }
    CHECK(on.log->stream_version({"accounts", "ada"}) == version{4});
}

TEST_CASE("a command id answers a repeat with the first outcome, also after a restart")
{
    a_log on{GENERATE(false, true)};
    {
        repository<Account> accounts{*on.log, "accounts"};
        accounts.execute("ada", Deposit{100}).value();
        const auto first =
            accounts.execute("ada", Withdraw{60}, {.command_id = "w-1"}).value();
        const auto again =
            accounts.execute("ada", Withdraw{60}, {.command_id = "w-1"}).value();
        CHECK(again.repeated);
        CHECK(again.position == first.position);
        CHECK(again.version == first.version);
        CHECK(accounts.load("ada").state.cents == 40);
    }
    on.reopen();
    repository<Account> accounts{*on.log, "accounts"};
    CHECK(accounts.execute("ada", Withdraw{60}, {.command_id = "w-1"}).value().repeated);
    CHECK(accounts.execute("ada", Withdraw{60}, {.command_id = "w-2"}).has_error());
}

TEST_CASE("a command that came to nothing leaves no trace: its repeat is decided again")
{
    a_log               on{false};
    repository<Account> accounts{*on.log, "accounts"};
    CHECK(accounts.execute("ada", Settle{}, {.command_id = "s-1"})->recorded == 0);
    accounts.execute("ada", Deposit{10}).value();
    const auto again = accounts.execute("ada", Settle{}, {.command_id = "s-1"}).value();
    CHECK(again.recorded == 1);
    CHECK_FALSE(again.repeated);
    CHECK(accounts.execute("ada", Settle{}, {.command_id = "s-1"})->repeated);
}

TEST_CASE("decide() or apply() that throws: the command fails, and nothing is recorded")
{
    a_log               on{false};
    repository<Account> accounts{*on.log, "accounts"};
    accounts.execute("ada", Deposit{100}).value();
    const position before = on.log->end_position();
    CHECK_THROWS_AS(accounts.execute("ada", Blunder{}), std::logic_error);
    CHECK_THROWS_AS(accounts.execute("ada", Deposit{Account::unlucky}), std::logic_error);
    CHECK_THROWS_AS(accounts.execute("ada", Move{.out = 1, .in = Account::unlucky}),
                    std::logic_error);
    CHECK(on.log->end_position() == before);
    CHECK(accounts.execute("ada", Withdraw{100}).has_value());  // it goes on from what is true
}

TEST_CASE("an aggregate is loaded as it was after a version, or at a time")
{
    a_log               on{false};
    repository<Account> accounts{*on.log, "accounts"};
    const auto          noon = on.now;
    for (int i = 0; i < 5; ++i) {
        accounts.execute("ada", Deposit{10}).value();
        on.now += 1000;
    }
    CHECK(accounts.load_at("ada", version{2}).state.cents == 20);
    CHECK(accounts.load_at("ada", version{2}).version == version{2});
    CHECK(accounts.load_at("ada", version{99}).state.cents == 50);
    CHECK(accounts.load_at("ada", timestamp{noon + 2500}).state.cents == 30);
    CHECK(accounts.load_at("ada", timestamp{noon - 1}).version == version{0});
    CHECK(accounts.load("bob").version == version{0});
}

TEST_CASE("an event that the aggregate does not know is an error that names it")
{
    a_log               on{false};
    repository<Account> accounts{*on.log, "accounts"};
    accounts.execute("ada", Deposit{1}).value();
    on.log->append({.records = {{"accounts",
                                 {.key     = "ada",
                                  .value   = "x",
                                  .headers = {{"ce_type", "Audited"}}}}}});
    try {
        (void)accounts.execute("ada", Deposit{1});
        FAIL("it should have thrown");
    } catch (const error& e) {
        CHECK(e.code() == errc::unknown_event);
        CHECK_THAT(e.what(), Catch::Contains("Audited") && Catch::Contains("accounts/ada"));
    }
}

TEST_CASE("an event that is no message is an error that says so")
{
    a_log               on{false};
    repository<Account> accounts{*on.log, "accounts"};
    const std::string   bad = GENERATE(as<std::string>{}, "", "x", "12345678",
                                       std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8));
    on.log->append(
        {.records = {{"accounts",
                      {.key = "ada", .value = bad, .headers = {{"ce_type", "Deposited"}}}}}});
    CHECK(code_of([&] { (void)accounts.load("ada"); }) == errc::malformed_event);
}

TEST_CASE("a stream id is not empty and has at most 1,024 bytes")
{
    a_log               on{false};
    repository<Account> accounts{*on.log, "accounts"};
    CHECK(code_of([&] { (void)accounts.execute("", Deposit{1}); }) == errc::illegal_stream_id);
    CHECK(code_of([&] { (void)accounts.load(std::string(1025, 'x')); }) ==
          errc::illegal_stream_id);
    CHECK(accounts.execute(std::string(1024, 'x'), Deposit{1}).has_value());
    CHECK(code_of([&] { repository<Account>{*on.log, "nowhere"}; }) == errc::unknown_topic);
}

TEST_CASE("a rejection is remembered where that is asked, and answers the repeat, also after a "
          "restart")
{
    for (const bool on_disk : {false, true}) {
        a_log on{on_disk};
        {
            repository<Account> accounts{*on.log, "accounts"};
            const auto          first = accounts.execute(
                "ada", Withdraw{5}, {.command_id = "c-1", .remember_rejection = true});
            REQUIRE_FALSE(first);
            // What was impossible is possible now; the command was refused all the same.
            accounts.execute("ada", Deposit{10}).value();
            const auto again = accounts.execute("ada", Withdraw{5}, {.command_id = "c-1"});
            REQUIRE_FALSE(again);
            CHECK(again.error() == first.error());
        }
        on.reopen();
        repository<Account> accounts{*on.log, "accounts"};
        const auto again = accounts.execute("ada", Withdraw{5}, {.command_id = "c-1"});
        REQUIRE_FALSE(again);
        CHECK(again.error().reason == "there is not so much in it");
        CHECK(accounts.load("ada").state.cents == 10);
        // Not asked for: decided again.
        CHECK_FALSE(accounts.execute("ada", Withdraw{50}, {.command_id = "c-2"}));
        accounts.execute("ada", Deposit{100}).value();
        CHECK(accounts.execute("ada", Withdraw{50}, {.command_id = "c-2"}));
    }
}

TEST_CASE("a rejection that retention has taken is not told again, and is not decided again either")
{
    a_log               on{GENERATE(false, true)};
    repository<Account> accounts{*on.log, "accounts"};
    const auto          withdraw = [&] {
        return accounts.execute(
            "ada", Withdraw{5}, {.command_id = "c-1", .remember_rejection = true});
    };
    CHECK_FALSE(withdraw());
    accounts.execute("ada", Deposit{10}).value();
    on.log->merge();
    on.log->roll_segment();
    on.now += 3'600'000;
    topic_config config;
    config.retention_ms = 1'800'000;
    on.log->alter_topic("__rejections", config);
    on.log->clean();
    CHECK(code_of(withdraw) == errc::command_reused);
    CHECK(accounts.load("ada").state.cents == 10);
}

TEST_CASE("an event's record says what CloudEvents says, and its tags")
{
    a_log               on{false};
    repository<Account> accounts{cairn::event_store{*on.log, {.source = "/bank"}}, "accounts"};
    accounts
        .execute("ada", Open{"Ada, Countess", Opened::Kind::SAVINGS},
                 {.command_id     = "c-1",
                  .correlation_id = "talk-1",
                  .causation_id   = "accounts/bob@0",
                  .trace_parent   = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
        .value();
    auto        range  = on.log->read_stream({"accounts", "ada"});
    const auto* record = range.next();
    REQUIRE(record);
    std::vector<std::pair<std::string, std::string>> headers;
    for (const auto& h : record->headers) headers.emplace_back(h.name, h.value.value_or(""));
    char schema[32];
    std::snprintf(schema, sizeof schema, "capnp:%016llx",
                  static_cast<unsigned long long>(capnp::typeId<Opened>()));
    const std::vector<std::pair<std::string, std::string>> wanted{
        {"ce_dataschema", schema},
        {"ce_type", "Opened"},
        {"ce_tags", "owner:Ada%2C Countess,savings"},
        {"ce_id", "accounts/ada@0"},
        {"ce_source", "/bank"},
        {"ce_specversion", "1.0"},
        {"content-type", "application/capnp"},
        {"ce_streamversion", "0"},
        {"ce_correlationid", "talk-1"},
        {"ce_causationid", "accounts/bob@0"},
        {"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
        {"ce_commandid", "c-1"}};
    CHECK(headers == wanted);

    query::item of_ada;
    of_ada.tags = {"owner:Ada, Countess"};
    CHECK(on.log->last_match({{of_ada}}) == record->position);
}
