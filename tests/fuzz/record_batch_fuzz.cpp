// SPDX-License-Identifier: Apache-2.0
// The reader of batches, on any bytes: it never reads outside, never throws, and what it accepts
// is written again and read again the same.
#include <cairn/log/crc32c.hpp>
#include <cairn/log/record_batch.hpp>

#include "record/endian.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

using namespace cairn;

namespace {

constexpr std::size_t unpacked_bytes_max = 1 << 20;

void must(bool so)
{
    if (!so) std::abort();
}

/// Touches every byte that a record shows.
std::uint64_t touch(const record_view& r)
{
    std::uint64_t sum = 0;
    const auto    add = [&](bytes_view bytes) {
        for (const char c : bytes) sum += static_cast<std::uint8_t>(c);
    };
    if (r.key) add(*r.key);
    if (r.value) add(*r.value);
    std::size_t headers = 0;
    for (const auto& h : r.headers) {
        add(h.name);
        if (h.value) add(*h.value);
        ++headers;
    }
    must(headers == r.headers.size());
    return sum;
}

std::vector<header> owned(const header_range& headers)
{
    std::vector<header> all;
    for (const auto& h : headers) {
        all.push_back({std::string{h.name}, std::nullopt});
        if (h.value) all.back().value = std::string{*h.value};
    }
    return all;
}

/// Whether the delta from the batch's first time fits in 64 bits, as a builder asks.
bool near(timestamp a, timestamp b)
{
    std::int64_t delta;
    return !__builtin_sub_overflow(a.value, b.value, &delta);
}

void write_again(const batch_view& batch, bytes_view payload)
{
    batch_builder verbatim;
    batch_builder anew;
    verbatim.start();
    anew.start();
    std::optional<timestamp> first;
    std::int32_t             count = 0;
    record_cursor            read{batch, payload, position{0}};
    while (read.next()) {
        const auto& r = read.current();
        if (!first) first = r.timestamp;
        if (!near(r.timestamp, *first)) return;
        verbatim.add(r, static_cast<std::int32_t>(r.offset - batch.base_offset()));
        anew.add(r.timestamp, r.key, r.value, owned(r.headers));
        ++count;
    }
    if (count == 0) return;

    const auto copy  = batch_view::parse(verbatim.finish());
    const auto dense = batch_view::parse(anew.finish());
    must(copy && dense);
    record_cursor original{batch, payload, position{0}};
    record_cursor a{*copy, copy->payload(), position{0}};
    record_cursor b{*dense, dense->payload(), position{0}};
    for (std::int32_t i = 0; i < count; ++i) {
        must(original.next() && a.next() && b.next());
        const auto& r = original.current();
        must(a.current().offset - copy->base_offset() == r.offset - batch.base_offset());
        must(b.current().offset == offset{i});
        for (const auto* other : {&a.current(), &b.current()}) {
            must(other->timestamp == r.timestamp);
            must(other->key == r.key && other->value == r.value);
            must(owned(other->headers) == owned(r.headers));
        }
    }
    must(!a.next() && a.ok() && !b.next() && b.ok());
}

void read_all(const batch_view& batch)
{
    std::string scratch;
    const auto  payload = batch.unpack(scratch, unpacked_bytes_max);
    if (!payload) return;
    must(payload->size() <= unpacked_bytes_max);

    std::uint64_t sum = 0;
    std::size_t   end = 0;
    std::int32_t  n   = 0;
    record_cursor cursor{batch, *payload, position{0}};
    while (cursor.next()) {
        must(cursor.current_at() == end);
        end += cursor.current_bytes().size();
        must(cursor.current().offset >= batch.base_offset());
        must(cursor.current().offset <= batch.base_offset() + batch.last_offset_delta());
        sum += touch(cursor.current());
        ++n;
    }
    const bool ok = cursor.ok();
    if (ok) must(end == payload->size() && n == batch.record_count());

    // From any place, also from the middle of a record.
    for (std::size_t at = 0; at < payload->size(); at += 1 + payload->size() / 64)
        if (cursor.seek(at)) {
            do {
                sum += touch(cursor.current());
            } while (cursor.next());
        }
    if (ok) write_again(batch, *payload);

    static volatile std::uint64_t sink = 0;
    sink                               = sink + sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const bytes_view bytes{reinterpret_cast<const char*>(data), size};
    batch_fault      why{};
    if (const auto batch = batch_view::parse(bytes, &why))
        read_all(*batch);
    else
        must(!why.what.empty());

    // A fuzzer does not find CRCs, so that everything behind them would stay in the dark.
    if (const auto batch = batch_view::parse(bytes, nullptr, false)) {
        read_all(*batch);
        std::string mended{batch->bytes()};
        detail::store_big<std::uint32_t>(mended.data() + 17, crc32c(bytes_view{mended}.substr(21)));
        must(batch_view::parse(mended).has_value());
    }
    return 0;
}
