// SPDX-License-Identifier: Apache-2.0
// What Cairn writes, a real consumer reads: batches go as they are into librdkafka's mock
// cluster, by a Produce request made here by hand, and come back through its consumer, which
// checks their CRCs.
#include <cairn/log/record_batch.hpp>

#include "log/golden/golden_records.hpp"
#include "record/endian.hpp"

#include <arpa/inet.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <memory>
#include <string>
#include <vector>

using namespace cairn;

namespace {

template <class Integer>
std::string big(Integer v)
{
    std::string s(sizeof v, '\0');
    detail::store_big<Integer>(s.data(), v);
    return s;
}

std::string text(std::string_view s)
{
    return big(static_cast<std::int16_t>(s.size())) + std::string{s};
}

using client = std::unique_ptr<rd_kafka_t, decltype(&rd_kafka_destroy)>;

client make_client(rd_kafka_type_t                                         type,
                   const std::vector<std::pair<const char*, std::string>>& settings)
{
    auto* const conf = rd_kafka_conf_new();
    char        why[256];
    for (const auto& [name, value] : settings)
        if (rd_kafka_conf_set(conf, name, value.c_str(), why, sizeof why) != RD_KAFKA_CONF_OK)
            FAIL(why);
    client c{rd_kafka_new(type, conf, why, sizeof why), rd_kafka_destroy};
    if (!c) FAIL(why);
    return c;
}

/// A mock cluster of one broker with a topic `t` of one partition.
class mock_cluster
{
public:
    mock_cluster()
        : owner_{
              make_client(RD_KAFKA_PRODUCER, {{"test.mock.num.brokers", "1"}, {"log_level", "4"}})}
    {
        auto* const cluster = rd_kafka_handle_mock_cluster(owner_.get());
        address_            = rd_kafka_mock_cluster_bootstraps(cluster);
        REQUIRE(rd_kafka_mock_topic_create(cluster, "t", 1, 1) == RD_KAFKA_RESP_ERR_NO_ERROR);
    }

    const std::string& address() const { return address_; }

    /// Sends the batch and returns the error code of the answer.
    int produce(bytes_view batch)
    {
        const int   s = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in to{};
        to.sin_family      = AF_INET;
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        to.sin_port =
            htons(static_cast<std::uint16_t>(std::stoi(address_.substr(address_.rfind(':') + 1))));
        REQUIRE(::connect(s, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);

        // Produce, version 3; correlation 1; acks -1; one topic with one partition.
        auto request = big<std::int16_t>(0) + big<std::int16_t>(3) + big<std::int32_t>(1) +
                       text("test") + big<std::int16_t>(-1) + big<std::int16_t>(-1) +
                       big<std::int32_t>(5000) + big<std::int32_t>(1) + text("t") +
                       big<std::int32_t>(1) + big<std::int32_t>(0) +
                       big(static_cast<std::int32_t>(batch.size())) + std::string{batch};
        request = big(static_cast<std::int32_t>(request.size())) + request;
        for (bytes_view left = request; !left.empty();) {
            const auto n = ::write(s, left.data(), left.size());
            REQUIRE(n > 0);
            left.remove_prefix(static_cast<std::size_t>(n));
        }
        // Size, correlation, one topic "t", one partition, its number, and its error code.
        char        answer[4 + 4 + 4 + 3 + 4 + 4 + 2];
        std::size_t got = 0;
        while (got < sizeof answer) {
            const auto n = ::read(s, answer + got, sizeof answer - got);
            REQUIRE(n > 0);
            got += static_cast<std::size_t>(n);
        }
        ::close(s);
        return detail::load_big<std::int16_t>(answer + sizeof answer - 2);
    }

private:
    client      owner_;
    std::string address_;
};

std::string batch_of(const std::vector<record>& records, codec c)
{
    batch_builder::options o;
    o.codec = c;
    batch_builder b;
    b.start(o);
    for (const auto& r : records) {
        std::optional<bytes_view> key, value;
        if (r.key) key = *r.key;
        if (r.value) value = *r.value;
        b.add(*r.timestamp, key, value, r.headers);
    }
    return std::string{b.finish()};
}

std::optional<std::string> bytes_or_null(const void* at, std::size_t size)
{
    if (at == nullptr) return std::nullopt;
    return std::string{static_cast<const char*>(at), size};
}

record as_record(const rd_kafka_message_t& m)
{
    record r;
    r.key   = bytes_or_null(m.key, m.key_len);
    r.value = bytes_or_null(m.payload, m.len);
    r.timestamp.emplace(rd_kafka_message_timestamp(&m, nullptr));
    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(&m, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char* name  = nullptr;
        const void* value = nullptr;
        std::size_t size  = 0;
        for (std::size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) ==
                                RD_KAFKA_RESP_ERR_NO_ERROR;
             ++i)
            r.headers.push_back({name, bytes_or_null(value, size)});
    }
    return r;
}

}  // namespace

TEST_CASE("librdkafka's consumer reads what the builder writes, with every codec")
{
    mock_cluster        cluster;
    std::vector<record> sent;
    for (const auto c : {codec::none, codec::gzip, codec::snappy, codec::lz4, codec::zstd})
        for (const auto& g : cairn::testing::goldens()) {
            if (g.codec != codec::none || g.idempotent) continue;
            REQUIRE(cluster.produce(batch_of(g.records, c)) == 0);
            sent.insert(sent.end(), g.records.begin(), g.records.end());
        }
    for (const auto c : {codec::none, codec::gzip, codec::snappy, codec::lz4, codec::zstd}) {
        const auto large = cairn::testing::golden_large();
        REQUIRE(cluster.produce(batch_of(large, c)) == 0);
        sent.insert(sent.end(), large.begin(), large.end());
    }

    const auto  consumer = make_client(RD_KAFKA_CONSUMER, {{"bootstrap.servers", cluster.address()},
                                                           {"group.id", "g"},
                                                           {"check.crcs", "true"},
                                                           {"log_level", "4"},
                                                           {"auto.offset.reset", "earliest"}});
    auto* const partitions = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(partitions, "t", 0)->offset = 0;
    REQUIRE(rd_kafka_assign(consumer.get(), partitions) == RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(partitions);

    for (std::size_t i = 0; i < sent.size(); ++i) {
        CAPTURE(i);
        auto* const m = rd_kafka_consumer_poll(consumer.get(), 20'000);
        REQUIRE(m != nullptr);
        if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) FAIL(rd_kafka_message_errstr(m));
        CHECK(m->offset == static_cast<std::int64_t>(i));
        const auto r = as_record(*m);
        rd_kafka_message_destroy(m);
        CHECK(r.key == sent[i].key);
        CHECK((r.value == sent[i].value));
        CHECK(r.headers == sent[i].headers);
        CHECK(r.timestamp == sent[i].timestamp);
    }
    rd_kafka_consumer_close(consumer.get());
}
