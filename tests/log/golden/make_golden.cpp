// SPDX-License-Identifier: Apache-2.0
//
// make_golden DIR: writes the golden batches into DIR, as librdkafka produces them.
//
// The client talks to the mock cluster that librdkafka brings, which keeps the bytes to itself.
// So they are taken on the way: the client's connect callback goes to a relay on the loopback,
// which passes everything on, and keeps what the client said. The batches are in its Produce
// requests.
#include "log/golden/golden_records.hpp"

#include <arpa/inet.h>
#include <librdkafka/rdkafka.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

using namespace cairn;
using cairn::testing::golden;

namespace {

[[noreturn]] void fail(const std::string& what)
{
    std::fprintf(stderr, "make_golden: %s\n", what.c_str());
    std::exit(1);
}

// ---- the relay

class relay
{
public:
    relay() : listening_{::socket(AF_INET, SOCK_STREAM, 0)}
    {
        address_.sin_family      = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size           = sizeof address_;
        if (::bind(listening_, reinterpret_cast<sockaddr*>(&address_), size) != 0 ||
            ::listen(listening_, 16) != 0 ||
            ::getsockname(listening_, reinterpret_cast<sockaddr*>(&address_), &size) != 0)
            fail("no relay: " + std::string{std::strerror(errno)});
        acceptor_ = std::thread{[this] { accept_all(); }};
    }

    ~relay()
    {
        stopping_ = true;
        acceptor_.join();
        for (auto& t : pumps_) t.join();
        ::close(listening_);
    }

    /// What librdkafka calls instead of connect().
    static int connect(int socket, const sockaddr* to, int, const char*, void* opaque)
    {
        auto& self = *static_cast<relay*>(opaque);
        {
            const std::lock_guard lock{self.mutex_};
            std::memcpy(&self.upstream_, to, sizeof self.upstream_);
        }
        if (::connect(socket, reinterpret_cast<const sockaddr*>(&self.address_),
                      sizeof self.address_) != 0 &&
            errno != EINPROGRESS)
            return errno;
        pollfd p{socket, POLLOUT, 0};
        ::poll(&p, 1, 5000);
        return 0;
    }

    /// What each connection's client has said.
    std::vector<std::string> said() const
    {
        const std::lock_guard    lock{mutex_};
        std::vector<std::string> all;
        for (const auto& s : said_) all.push_back(s);
        return all;
    }

private:
    void accept_all()
    {
        while (!stopping_) {
            pollfd p{listening_, POLLIN, 0};
            if (::poll(&p, 1, 50) <= 0) continue;
            const int client = ::accept(listening_, nullptr, nullptr);
            if (client < 0) continue;

            const std::lock_guard lock{mutex_};
            const int             server = ::socket(AF_INET, SOCK_STREAM, 0);
            if (::connect(server, reinterpret_cast<sockaddr*>(&upstream_), sizeof upstream_) != 0)
                fail("the mock cluster does not answer");
            said_.emplace_back();
            pumps_.emplace_back(
                [this, client, server, &kept = said_.back()] { pump(client, server, kept); });
        }
    }

    void pump(int client, int server, std::string& kept)
    {
        std::array<char, 65536> buffer;
        std::array<pollfd, 2>   p{{{client, POLLIN, 0}, {server, POLLIN, 0}}};
        for (bool open = true; open && !stopping_;) {
            if (::poll(p.data(), p.size(), 50) <= 0) continue;
            for (std::size_t i = 0; i < 2 && open; ++i) {
                if (p[i].revents == 0) continue;
                const auto n = ::read(p[i].fd, buffer.data(), buffer.size());
                if (n <= 0) {
                    open = false;
                    break;
                }
                const auto size = static_cast<std::size_t>(n);
                if (i == 0) {
                    const std::lock_guard lock{mutex_};
                    kept.append(buffer.data(), size);
                }
                for (std::size_t at = 0; at < size;) {
                    const auto sent = ::write(p[1 - i].fd, buffer.data() + at, size - at);
                    if (sent <= 0) break;
                    at += static_cast<std::size_t>(sent);
                }
            }
        }
        ::close(client);
        ::close(server);
    }

    int                    listening_;
    sockaddr_in            address_{};
    sockaddr_in            upstream_{};
    std::atomic<bool>      stopping_{false};
    mutable std::mutex     mutex_;
    std::list<std::string> said_;
    std::list<std::thread> pumps_;
    std::thread            acceptor_;
};

// ---- Produce requests

struct reader
{
    bytes_view left;

    bytes_view take(std::size_t n)
    {
        if (n > left.size()) fail("a request is shorter than it says");
        const auto front = left.substr(0, n);
        left.remove_prefix(n);
        return front;
    }
    std::int32_t number(std::size_t bytes)
    {
        std::uint32_t v    = 0;
        const auto    from = take(bytes);
        for (const char c : from) v = (v << 8) | static_cast<std::uint8_t>(c);
        return bytes == 2 ? static_cast<std::int16_t>(v) : static_cast<std::int32_t>(v);
    }
    void string()
    {
        if (const auto n = number(2); n > 0) take(static_cast<std::size_t>(n));
    }
};

std::vector<std::string> batches_in(bytes_view said)
{
    std::vector<std::string> batches;
    reader                   connection{said};
    while (connection.left.size() >= 4) {
        reader     request{connection.take(static_cast<std::size_t>(connection.number(4)))};
        const auto api     = request.number(2);
        const auto version = request.number(2);
        if (api != 0) continue;
        if (version < 3 || version > 8) fail("Produce has version " + std::to_string(version));
        request.take(4);   // correlation id
        request.string();  // client id
        request.string();  // transactional id
        request.take(6);   // acks, timeout
        for (auto topics = request.number(4); topics > 0; --topics) {
            request.string();
            for (auto partitions = request.number(4); partitions > 0; --partitions) {
                request.take(4);
                const auto size = request.number(4);
                batches.emplace_back(request.take(static_cast<std::size_t>(size)));
            }
        }
    }
    return batches;
}

// ---- the client

void set(rd_kafka_conf_t* conf, const char* name, const std::string& value)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value.c_str(), why, sizeof why) != RD_KAFKA_CONF_OK)
        fail(why);
}

void check(rd_kafka_error_t* e)
{
    if (e != nullptr) fail(rd_kafka_error_string(e));
}

void produce(rd_kafka_t* client, const std::vector<record>& records)
{
    for (const auto& r : records) {
        auto* const headers = rd_kafka_headers_new(r.headers.size());
        for (const auto& h : r.headers)
            rd_kafka_header_add(headers, h.name.data(), static_cast<ssize_t>(h.name.size()),
                                h.value ? h.value->data() : nullptr,
                                h.value ? static_cast<ssize_t>(h.value->size()) : 0);
        // An empty key or value is a pointer to nothing, a null one is none.
        void* const key        = r.key ? const_cast<char*>(r.key->data()) : nullptr;
        void* const value      = r.value ? const_cast<char*>(r.value->data()) : nullptr;
        const auto  key_size   = r.key ? r.key->size() : 0;
        const auto  value_size = r.value ? r.value->size() : 0;
        const auto  time       = r.timestamp->value;
        const auto  e =
            rd_kafka_producev(client, RD_KAFKA_V_TOPIC("golden"), RD_KAFKA_V_PARTITION(0),
                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_TIMESTAMP(time),
                              RD_KAFKA_V_KEY(key, key_size), RD_KAFKA_V_VALUE(value, value_size),
                              RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        if (e != RD_KAFKA_RESP_ERR_NO_ERROR) fail(rd_kafka_err2str(e));
    }
    if (rd_kafka_flush(client, 20'000) != RD_KAFKA_RESP_ERR_NO_ERROR) fail("not delivered");
}

std::vector<std::string> capture(const golden& g)
{
    relay relayed;

    auto* const conf = rd_kafka_conf_new();
    set(conf, "test.mock.num.brokers", "1");
    set(conf, "client.id", "golden");
    set(conf, "log_level", "4");  // not that the cluster is a mock, for each
    set(conf, "compression.codec", cairn::testing::golden_codec_name(g.codec));
    set(conf, "linger.ms", "500");  // all records are there before the first is sent
    set(conf, "message.max.bytes", "10000000");
    set(conf, "batch.size", "9000000");
    if (g.idempotent) set(conf, "enable.idempotence", "true");
    if (g.transactional) set(conf, "transactional.id", "golden");
    rd_kafka_conf_set_opaque(conf, &relayed);
    rd_kafka_conf_set_connect_cb(conf, relay::connect);

    char        why[256];
    auto* const client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (client == nullptr) fail(why);
    if (g.transactional) {
        check(rd_kafka_init_transactions(client, 20'000));
        check(rd_kafka_begin_transaction(client));
    }
    produce(client, g.records);
    if (g.sent_twice) produce(client, g.records);
    if (g.transactional) check(rd_kafka_commit_transaction(client, 20'000));
    rd_kafka_destroy(client);

    std::vector<std::string> batches;
    for (const auto& said : relayed.said())
        for (auto& b : batches_in(said)) batches.push_back(std::move(b));
    return batches;
}

}  // namespace

int main(int argc, char** argv)
{
    if (argc != 2) fail("usage: make_golden DIR");
    std::printf("librdkafka %s\n", rd_kafka_version_str());
    for (const auto& g : cairn::testing::goldens()) {
        const auto batches = capture(g);
        if (batches.size() != (g.sent_twice ? 2u : 1u))
            fail(g.name + " came in " + std::to_string(batches.size()) + " requests; try again");
        for (std::size_t i = 0; i < batches.size(); ++i) {
            const auto    name = g.name + (i == 0 ? "" : "_next") + ".batch";
            std::ofstream file{std::string{argv[1]} + "/" + name, std::ios::binary};
            file << batches[i];
            if (!file.flush()) fail("cannot write " + name);
            std::printf("%-24s %6zu bytes\n", name.c_str(), batches[i].size());
        }
    }
}
