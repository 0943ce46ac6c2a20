// SPDX-License-Identifier: Apache-2.0
#include "main/complaint.hpp"
#include "main/temporary_directory.hpp"
#include "sales.hpp"
#include "web_server.hpp"

#include <cairn/projections/json_feed.hpp>
#include <cairn/projections/projection_runner.hpp>

#include <signal.h>
#include <sys/resource.h>
#include <catch2/catch.hpp>

#include <atomic>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

std::string text_of(const std::string& file)
{
    std::ifstream      in{file, std::ios::binary};
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
}

void write(const std::string& file, const std::string& text)
{
    std::ofstream{file, std::ios::binary} << text;
}

std::vector<feed_line> lines(int from, int to)
{
    std::vector<feed_line> all;
    for (int n = from; n < to; ++n)
        all.push_back({"p/f/t-0/" + std::to_string(n) + "/0", "{\"n\":" + std::to_string(n) + "}"});
    return all;
}

/// All of them, as a projection does it.
void deliver(feed_sink& to, const std::vector<feed_line>& all)
{
    for (std::span<const feed_line> left{all}; !left.empty();)
        left = left.subspan(to.deliver(left));
}

/// As a disk that has no more room than that.
class full_disk
{
public:
    explicit full_disk(rlim_t bytes)
    {
        REQUIRE(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
        handler_           = ::signal(SIGXFSZ, SIG_IGN);
        const rlimit small = {bytes, before_.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    }
    ~full_disk()
    {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        ::signal(SIGXFSZ, handler_);
    }
    full_disk(const full_disk&)            = delete;
    full_disk& operator=(const full_disk&) = delete;

private:
    rlimit before_{};
    void (*handler_)(int) = nullptr;
};

std::shared_ptr<feed_sink> to_server(const web_server& s, webhook_options o = {})
{
    ::setenv("no_proxy", "127.0.0.1", 1);
    return webhook(s.address(), std::move(o));
}

struct receipts : projection<sales::Sold>
{
    json_feed<std::string, std::int64_t> sold{this, "sold", {"customer", "cents"}};

    void on(sales::Sold::Reader e, const origin&) { sold.emit(e.getCustomer(), e.getCents()); }
};

}  // namespace

// ---- A file. ------------------------------------------------------------------------------------

TEST_CASE("a file has the lines whole, one behind the other, also when it is opened again")
{
    const temporary_directory place;
    const auto                file = place / "lines.jsonl";
    deliver(*json_lines_file(file), lines(0, 2));
    deliver(*json_lines_file(file), lines(2, 3));
    CHECK(text_of(file) == "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n");
}

TEST_CASE("half of a line, from a crash, is cut off when a file is opened")
{
    const temporary_directory place;
    const auto                file = place / "lines.jsonl";
    const std::string         whole{"{\"n\":0}\n{\"n\":1}\n"};
    const std::string         next{"{\"n\":2}\n"};
    for (std::size_t torn = 0; torn < next.size(); ++torn) {
        write(file, whole + next.substr(0, torn));
        deliver(*json_lines_file(file), lines(2, 3));
        REQUIRE(text_of(file) == whole + next);
    }
    write(file, std::string(100'000, 'x'));
    deliver(*json_lines_file(file), lines(2, 3));
    CHECK(text_of(file) == next);
    write(file, whole + std::string(100'000, 'x'));
    deliver(*json_lines_file(file), lines(2, 3));
    CHECK(text_of(file) == whole + next);
}

TEST_CASE("a full disk is disk_full, leaves whole lines, and is written on when there is room")
{
    const temporary_directory place;
    const auto                file = place / "lines.jsonl";
    const auto                sink = json_lines_file(file);
    deliver(*sink, lines(0, 2));
    {
        const full_disk full{20};
        CHECK(code_of([&] { return sink->deliver(lines(2, 4)); }) == errc::disk_full);
        CHECK(text_of(file) == "{\"n\":0}\n{\"n\":1}\n");
    }
    deliver(*sink, lines(2, 4));
    CHECK(text_of(file) == "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
}

TEST_CASE("a file that is held, is none, or cannot be made is refused and says why")
{
    const temporary_directory place;
    const auto                file = place / "lines.jsonl";
    const auto                sink = json_lines_file(file);
    const auto                made = [](const std::string& p) {
        return code_of([&] { return json_lines_file(p); });
    };
    CHECK(made(file) == errc::held_by_another);
    CHECK(made("/dev/null") == errc::invalid_argument);
    CHECK(made(place / "nowhere/lines.jsonl") == errc::io_failed);
}

// ---- A webhook. ---------------------------------------------------------------------------------

TEST_CASE("a webhook posts lines with a key that is the same only for them")
{
    web_server server{[](const web_request&) { return web_answer(204); }};
    const auto sink =
        to_server(server, {.headers = {{"Authorization", "Bearer secret"}}, .lines_max = 2});
    deliver(*sink, lines(0, 3));
    deliver(*sink, lines(0, 2));
    deliver(*sink, lines(0, 1));
    const auto asked = server.requests();
    REQUIRE(asked.size() == 4);
    CHECK(asked[0].head.starts_with("POST /hook HTTP/1.1\r\n"));
    CHECK(asked[0].header("Content-Type") == "application/x-ndjson");
    CHECK(asked[0].header("Authorization") == "Bearer secret");
    CHECK(asked[0].body == "{\"n\":0}\n{\"n\":1}\n");
    CHECK(asked[1].body == "{\"n\":2}\n");
    CHECK(asked[1].header("Idempotency-Key") == "p/f/t-0/2/0");
    CHECK(asked[0].header("Idempotency-Key").starts_with("p/f/t-0/0/0+1/"));
    CHECK(asked[2].header("Idempotency-Key") == asked[0].header("Idempotency-Key"));
    CHECK(asked[3].header("Idempotency-Key") == "p/f/t-0/0/0");
}

TEST_CASE("a request has at most so many bytes, and at least a line")
{
    web_server server{[](const web_request&) { return web_answer(200); }};
    deliver(*to_server(server, {.bytes_max = 16}), lines(0, 5));
    deliver(*to_server(server, {.bytes_max = 1}), lines(0, 2));
    std::vector<std::string> bodies;
    for (const auto& r : server.requests()) bodies.push_back(r.body);
    CHECK(bodies == std::vector<std::string>{"{\"n\":0}\n{\"n\":1}\n", "{\"n\":2}\n{\"n\":3}\n",
                                             "{\"n\":4}\n", "{\"n\":0}\n", "{\"n\":1}\n"});
}

TEST_CASE("what passes is store_unavailable: busy, broken, silent, garbled, cut short, gone")
{
    std::string answer;
    std::string address;
    {
        web_server server{[&](const web_request&) { return answer; }};
        address         = server.address();
        const auto sink = to_server(server, {.timeout = 200ms});
        for (const auto& said :
             {web_answer(429), web_answer(500), web_answer(503), web_answer(408), std::string{},
              std::string{web_server::silence}, std::string{"garbage\r\n\r\n"},
              std::string{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"}}) {
            answer = said;
            CAPTURE(said);
            CHECK(code_of([&] { return sink->deliver(lines(0, 1)); }) == errc::store_unavailable);
        }
        answer = web_answer(200);
        CHECK(sink->deliver(lines(0, 1)) == 1);
    }
    CHECK(code_of([&] { return webhook(address)->deliver(lines(0, 1)); }) ==
          errc::store_unavailable);
}

TEST_CASE("what is refused is delivery_failed, with the status and how the answer begins")
{
    std::string answer;
    web_server  server{[&](const web_request&) { return answer; }};
    const auto  sink = to_server(server);
    answer           = web_answer(422, "no\nsuch field" + std::string(1'000, '!'));
    const auto why   = complaint_of([&] { return sink->deliver(lines(0, 1)); });
    REQUIRE(why);
    CHECK(*why == errc::delivery_failed);
    CHECK(why->says("it answers 422: no such field!"));
    CHECK(why->says(std::string(200 - 13, '!')));
    CHECK_FALSE(why->says(std::string(200 - 12, '!')));
    CHECK_FALSE(why->says("/hook"));  // it may be a secret
    for (const int status : {301, 400, 404}) {
        answer = web_answer(status);
        CHECK(code_of([&] { return sink->deliver(lines(0, 1)); }) == errc::delivery_failed);
    }
}

TEST_CASE("an address that is none, and options that cannot be, are refused")
{
    const auto made = [](const std::string& url, webhook_options o = {}) {
        return code_of([&] { return webhook(url, std::move(o)); });
    };
    for (const char* url : {"", "shop", "ftp://shop/hook", "http://", "file:///etc/hosts"}) {
        CAPTURE(url);
        CHECK(made(url) == errc::invalid_argument);
    }
    CHECK_FALSE(made("https://shop.example/hook?secret=1"));
    CHECK(made("http://shop", {.lines_max = 0}) == errc::invalid_argument);
    CHECK(made("http://shop", {.timeout = 0ms}) == errc::invalid_argument);
    CHECK(made("http://shop", {.headers = {{"A", "b\r\nC: d"}}}) == errc::invalid_argument);
}

TEST_CASE("a webhook that fails is tried again by itself, and nothing is skipped")
{
    std::atomic<int> failures = 3;
    web_server       server{[&](const web_request&) {
        return failures-- > 0 ? web_answer(503, "later") : web_answer(200);
    }};
    auto             log = commit_log::in_memory();
    log.create_topic("sales", 2);
    for (int n = 0; n < 10; ++n) happen(log, sold("customer " + std::to_string(n), n));
    projection_options o;
    o.feeds = {{"sold", to_server(server, {.lines_max = 3})}};
    projection_runner<receipts> runner{log, "receipts", memory_tables(), o};
    runner.start();
    REQUIRE(runner.view().wait_for(log.end_position() - 1, 1min));
    runner.stop();
    CHECK(server.requests().size() == 3 + 4);
    std::set<std::string> got;
    for (const auto& r : server.requests())
        for (std::istringstream in{r.body}; in;) {
            std::string line;
            if (std::getline(in, line)) got.insert(line);
        }
    CHECK(got.size() == 10);
}

TEST_CASE("a webhook that refuses stops the projection, which says what it was told")
{
    std::atomic<bool> refuses = true;
    web_server        server{[&](const web_request&) {
        return refuses ? web_answer(400, "what is a customer?") : web_answer(200);
    }};
    auto              log = commit_log::in_memory();
    log.create_topic("sales", 2);
    happen(log, sold("Ada", 1));
    projection_options o;
    o.feeds = {{"sold", to_server(server)}};
    projection_runner<receipts> runner{log, "receipts", memory_tables(), o};
    runner.start();
    while (runner.status().state != projection_state::failed) std::this_thread::yield();
    CHECK_THAT(runner.status().error, Catch::Contains("400: what is a customer?"));
    CHECK(runner.status().upto == position{0});
    refuses = false;
    runner.start();
    REQUIRE(runner.view().wait_for(log.end_position() - 1, 1min));
    CHECK(server.requests().size() == 2);
}
