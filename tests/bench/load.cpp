// SPDX-License-Identifier: Apache-2.0
#include "load.hpp"

#include "clock.hpp"

#include <algorithm>

namespace cairn::bench {

std::string order_stream(std::uint64_t stream) { return "order-" + std::to_string(stream); }
std::string order_tag(std::uint64_t stream) { return "order:" + std::to_string(stream); }

event order_event(std::uint64_t stream, std::int64_t version, std::size_t bytes, bool tagged)
{
    constexpr std::uint64_t customers = 10'000;

    event e;
    e.stream  = order_stream(stream);
    e.version = version;
    e.type    = (stream + static_cast<std::uint64_t>(version)) % 2 == 0 ? placed_type : paid_type;
    e.value   = value_of({static_cast<std::int64_t>(stream % 1'000),
                          static_cast<std::uint32_t>(stream % customers)}, bytes);
    if (tagged)
        e.tags = {order_tag(stream), "customer:" + std::to_string(stream % customers)};
    return e;
}

figure raw_blocks(const std::string& directory, std::size_t block_bytes, bool grows,
                  duration how_long)
{
    const scratch_file  file{directory + "/raw_blocks"};
    const std::string   block(block_bytes, 'x');
    const std::uint64_t blocks = std::max<std::uint64_t>(8, (16u << 20) / block_bytes);
    if (!grows) {
        for (std::uint64_t i = 0; i < blocks; ++i) file.write_at(block, i * block_bytes);
        file.sync();
    }
    return timed(1, how_long, 1, [&](int, std::uint64_t call) {
        file.write_at(block, (grows ? call : call % blocks) * block_bytes);
        file.sync();
        return true;
    });
}

double raw_sequential(const std::string& directory, std::uint64_t bytes)
{
    const scratch_file file{directory + "/raw_sequential"};
    const std::string  block(1 << 20, 'x');
    const auto         began = clock::now();
    std::uint64_t      at    = 0;
    for (; at < bytes; at += block.size()) file.write_at(block, at);
    file.sync();
    return static_cast<double>(at) / seconds_since(began);
}

double memory_copy(duration how_long)
{
    std::string       from(64 << 20, 'x'), to(64 << 20, 'y');
    const auto        began  = clock::now();
    std::uint64_t     copied = 0;
    volatile char     sink   = 0;
    do {
        std::copy(from.begin(), from.end(), to.begin());
        from[copied % from.size()] = static_cast<char>(copied >> 20);
        sink = to[(copied >> 3) % to.size()];
        copied += from.size();
    } while (clock::now() - began < how_long);
    (void)sink;
    return static_cast<double>(copied) / seconds_since(began);
}

}  // namespace cairn::bench
