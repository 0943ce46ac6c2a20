// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/crc32c.hpp>
#include <cairn/log/record_batch.hpp>

#include "main/temporary_directory.hpp"
#include "record/endian.hpp"
#include "store/segment.hpp"

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace segment_test {

using namespace cairn;
using namespace cairn::detail;
using cairn::testing::place;
using cairn::testing::temporary_directory;

/// A batch as a segment sees one: a good header and CRC; what lies behind is anything.
inline std::string make_batch(offset base, std::uint32_t offsets, timestamp at,
                              const std::string& payload)
{
    std::string b(batch_header_bytes, '\0');
    b += payload;
    char* const p = b.data();
    store_big<std::int64_t>(p, base.value);
    store_big<std::int32_t>(p + 8, static_cast<std::int32_t>(b.size() - 12));
    p[16] = 2;
    store_big<std::int32_t>(p + 23, static_cast<std::int32_t>(offsets - 1));
    store_big<std::int64_t>(p + 27, at.value);
    store_big<std::int64_t>(p + 35, at.value);
    store_big<std::int64_t>(p + 43, -1);
    store_big<std::int32_t>(p + 57, static_cast<std::int32_t>(offsets));
    store_big<std::uint32_t>(p + 17, crc32c(bytes_view{b}.substr(21)));
    return b;
}

/// What has been written, as it must be read again.
struct model
{
    std::vector<placed_batch>                         all;  // by position
    std::map<std::uint32_t, std::vector<std::size_t>> by_partition;
    position                                          end;

    void add(const placed_batch& b)
    {
        by_partition[b.partition_uid].push_back(all.size());
        all.push_back(b);
        end = b.end_position();
    }
};

/// Makes batches that follow one another, and remembers them.
class writer
{
public:
    explicit writer(std::uint64_t seed = 1, position from = {}) : random_{seed}
    {
        model_.end = from;
    }

    /// The next batch of a partition.
    placed_batch make(std::uint32_t uid, std::size_t payload_bytes, std::uint32_t offsets = 1,
                      std::int64_t gap = 0)
    {
        auto& next = next_offset_[uid];
        next += gap;
        std::string payload(payload_bytes, '\0');
        for (auto& c : payload) c = static_cast<char>(random_());
        clock_ += static_cast<std::int64_t>(random_() % 5) - 1;
        auto owner =
            std::make_shared<std::string>(make_batch(next, offsets, timestamp{clock_}, payload));
        placed_batch b{model_.end + gap, uid, next, offsets, *owner, owner, timestamp{clock_}};
        next += offsets;
        model_.add(b);
        return b;
    }

    std::uint32_t random(std::uint32_t below)
    {
        return static_cast<std::uint32_t>(random_()) % below;
    }

    const segment_test::model& written() const { return model_; }
    position                   end() const { return model_.end; }

private:
    std::minstd_rand                random_;
    std::int64_t                    clock_ = 1'700'000'000'000;
    std::map<std::uint32_t, offset> next_offset_;
    segment_test::model             model_;
};

inline bool same(const placed_batch& a, const placed_batch& b)
{
    return a.position == b.position && a.partition_uid == b.partition_uid && a.base == b.base &&
           a.offsets == b.offsets && a.bytes == b.bytes && a.max_timestamp == b.max_timestamp;
}

}  // namespace segment_test
