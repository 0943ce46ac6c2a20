// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/partitioner.hpp>

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace cairn {

// Austin Appleby's MurmurHash2 (public domain), 32 bits, with Kafka's seed.
std::uint32_t murmur2(bytes_view bytes) noexcept
{
    constexpr std::uint32_t m    = 0x5bd1e995;
    constexpr int           r    = 24;
    constexpr std::uint32_t seed = 0x9747b28c;

    const auto    at = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
    std::uint32_t h  = seed ^ static_cast<std::uint32_t>(bytes.size());
    std::size_t   i  = 0;
    for (; i + 4 <= bytes.size(); i += 4) {
        std::uint32_t k = at(i) | std::uint32_t{at(i + 1)} << 8 | std::uint32_t{at(i + 2)} << 16 |
                          std::uint32_t{at(i + 3)} << 24;
        k *= m;
        k ^= k >> r;
        k *= m;
        h *= m;
        h ^= k;
    }
    switch (bytes.size() - i) {
    case 3: h ^= std::uint32_t{at(i + 2)} << 16; [[fallthrough]];
    case 2: h ^= std::uint32_t{at(i + 1)} << 8; [[fallthrough]];
    case 1:
        h ^= at(i);
        h *= m;
        break;
    default: break;
    }
    h ^= h >> 13;
    h *= m;
    h ^= h >> 15;
    return h;
}

std::int32_t partition_for_key(bytes_view key, std::int32_t partitions) noexcept
{
    return static_cast<std::int32_t>(murmur2(key) & 0x7fffffff) % partitions;
}

namespace {

/// Keyless records: how many have gone, by topic.
class turns
{
public:
    explicit turns(std::size_t records_per_turn) : records_per_turn_{records_per_turn} {}

    std::int32_t next(std::string_view topic, std::int32_t partitions)
    {
        const std::lock_guard lock{mutex_};
        auto                  found = sent_.find(topic);
        if (found == sent_.end()) found = sent_.emplace(std::string{topic}, 0).first;
        const auto turn = found->second++ / records_per_turn_;
        return static_cast<std::int32_t>(turn % static_cast<std::size_t>(partitions));
    }

private:
    std::size_t                                     records_per_turn_;
    std::mutex                                      mutex_;
    std::map<std::string, std::size_t, std::less<>> sent_;
};

partitioner by_turns(std::size_t records_per_turn)
{
    auto keyless = std::make_shared<turns>(records_per_turn == 0 ? 1 : records_per_turn);
    return [keyless](std::string_view topic, std::optional<bytes_view> key,
                     std::int32_t partitions) {
        return key ? partition_for_key(*key, partitions) : keyless->next(topic, partitions);
    };
}

}  // namespace

partitioner sticky_partitioner(std::size_t records_per_turn) { return by_turns(records_per_turn); }

partitioner round_robin_partitioner() { return by_turns(1); }

}  // namespace cairn
