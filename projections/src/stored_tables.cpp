// SPDX-License-Identifier: Apache-2.0
#include "stored_tables.hpp"

namespace cairn::detail {

namespace {

struct progress_row
{
    std::string  topic;
    std::int32_t partition = 0;
    offset       next;
    position     upto;
};
struct checkpoint_row
{
    std::int64_t              epoch        = 0;
    std::int32_t              code_version = 0;
    bool                      complete     = false;
    std::vector<progress_row> partitions;
};

}  // namespace

std::string text_of(std::span<const table_shape> shapes)
{
    std::string text;
    for (const auto& s : shapes) text += s.text() + "\n";
    return text;
}

void check_shapes(const std::string& projection, int version, const std::string& stored,
                  std::span<const table_shape> wanted)
{
    const auto now = text_of(wanted);
    if (stored == now) return;
    throw error{errc::shape_differs,
                "projection " + projection + " version " + std::to_string(version) +
                    " was made with the tables\n" + stored + "and its code has\n" + now +
                    "give the code the next version number, and it is rebuilt"};
}

void check_epoch(const projection_checkpoint& stored, const projection_checkpoint& now)
{
    if (stored.epoch <= now.epoch) return;
    throw error{errc::fenced_generation,
                "another has begun to write these tables after this one, which is over"};
}

std::string encode(const projection_checkpoint& c)
{
    checkpoint_row row{c.epoch, c.code_version, c.complete, {}};
    for (const auto& [at, p] : c.partitions)
        row.partitions.push_back({at.topic, at.partition, p.next, p.upto});
    std::string bytes;
    put_value(bytes, row);
    return bytes;
}

projection_checkpoint decode_checkpoint(bytes_view bytes)
{
    const auto            row = value_from<checkpoint_row>(bytes);
    projection_checkpoint c{{}, row.epoch, row.code_version, row.complete};
    for (const auto& p : row.partitions)
        c.partitions[{p.topic, p.partition}] = {p.next, p.upto};
    return c;
}

}  // namespace cairn::detail
