// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/crc32c.hpp>
#include <cairn/log/record_batch.hpp>

#include "record/compression.hpp"
#include "record/endian.hpp"
#include "record/varint.hpp"

#include <algorithm>
#include <limits>

namespace cairn {
namespace {

using detail::load_big;
using detail::read_varint;
using detail::read_varlong;
using detail::store_big;
using detail::varint_bytes;
using detail::varlong_bytes;
using detail::write_varint;
using detail::write_varlong;

// Where the fields lie; the table at the top of record_batch.hpp.
constexpr std::size_t base_offset_at       = 0;
constexpr std::size_t batch_length_at      = base_offset_at + 8;
constexpr std::size_t leader_epoch_at      = batch_length_at + 4;
constexpr std::size_t magic_at             = leader_epoch_at + 4;
constexpr std::size_t crc_at               = magic_at + 1;
constexpr std::size_t attributes_at        = crc_at + 4;
constexpr std::size_t last_offset_delta_at = attributes_at + 2;
constexpr std::size_t base_timestamp_at    = last_offset_delta_at + 4;
constexpr std::size_t max_timestamp_at     = base_timestamp_at + 8;
constexpr std::size_t producer_id_at       = max_timestamp_at + 8;
constexpr std::size_t producer_epoch_at    = producer_id_at + 8;
constexpr std::size_t base_sequence_at     = producer_epoch_at + 2;
constexpr std::size_t record_count_at      = base_sequence_at + 4;
static_assert(record_count_at + 4 == batch_header_bytes);

/// What batchLength does not count: itself and the base offset.
constexpr std::size_t before_length = leader_epoch_at;

constexpr std::int16_t codec_mask         = 0x07;
constexpr std::int16_t log_append_time    = 1 << 3;
constexpr std::int16_t transactional      = 1 << 4;
constexpr std::int16_t control            = 1 << 5;
constexpr std::int16_t has_delete_horizon = 1 << 6;

/// A record of nothing: length, attributes, two deltas, two lengths, header count.
constexpr std::size_t record_bytes_min = 7;
/// A header of nothing: two lengths.
constexpr std::size_t header_bytes_min = 2;

constexpr std::size_t batch_bytes_max =
    before_length + std::size_t{std::numeric_limits<std::int32_t>::max()};

template <class... Parts>
[[gnu::cold]] std::nullopt_t refuse(batch_fault* why, errc code, const Parts&... parts)
{
    if (why != nullptr) {
        why->code = code;
        why->what.clear();
        const auto append = [&](const auto& part) {
            if constexpr (std::is_arithmetic_v<std::remove_cvref_t<decltype(part)>>)
                why->what += std::to_string(part);
            else
                why->what += part;
        };
        (append(parts), ...);
    }
    return std::nullopt;
}

/// Adds as the processor does: a sum that is too large comes round, and is not undefined.
std::int64_t wrapping_add(std::int64_t a, std::int64_t b) noexcept
{
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

}  // namespace

// ---- batch_view

std::optional<batch_view> batch_view::parse(bytes_view bytes, batch_fault* why, bool check_crc)
{
    // Magic before size: the older formats have it at the same place, and deserve their name.
    if (bytes.size() > magic_at && bytes[magic_at] != 2)
        return refuse(why, errc::bad_magic, "a batch has magic ", static_cast<int>(bytes[magic_at]),
                      ", where only 2 is understood");
    if (bytes.size() < batch_header_bytes)
        return refuse(why, errc::corrupt_batch, "a batch is cut: ", bytes.size(),
                      " bytes, and its header alone takes ", batch_header_bytes);

    const auto length = load_big<std::int32_t>(bytes.data() + batch_length_at);
    if (length < static_cast<std::int32_t>(batch_header_bytes - before_length))
        return refuse(why, errc::corrupt_batch, "a batch has length ", length,
                      ", less than its header takes");
    const auto size = before_length + static_cast<std::size_t>(length);
    if (size > bytes.size())
        return refuse(why, errc::corrupt_batch, "a batch is cut: ", bytes.size(), " bytes of ",
                      size);

    const batch_view batch{bytes.substr(0, size)};
    if (check_crc) {
        const auto found = crc32c(batch.bytes_.substr(attributes_at));
        if (found != batch.crc())
            return refuse(why, errc::corrupt_batch, "a batch's CRC is ", found,
                          ", and its header says ", batch.crc());
    }

    const int packing = batch.attributes() & codec_mask;
    if (packing > static_cast<int>(codec::zstd))
        return refuse(why, errc::unknown_codec, "a batch is packed with codec ", packing,
                      ", which is none of 0 to 4");

    const auto count = batch.record_count();
    const auto last  = batch.last_offset_delta();
    if (count < 0) return refuse(why, errc::bad_count, "a batch says it has ", count, " records");
    if (last < 0) return refuse(why, errc::bad_count, "a batch has last offset delta ", last);
    if (count - 1 > last)
        return refuse(why, errc::bad_count, "a batch says it has ", count, " records in ",
                      std::int64_t{last} + 1, " offsets");
    if (packing == 0 && static_cast<std::size_t>(count) > batch.payload().size() / record_bytes_min)
        return refuse(why, errc::bad_count, "a batch says it has ", count, " records in ",
                      batch.payload().size(), " bytes");

    const auto base = batch.base_offset().value;
    if (base < 0 || base > std::numeric_limits<std::int64_t>::max() - last)
        return refuse(why, errc::corrupt_batch, "a batch has base offset ", base,
                      " and last offset delta ", last);
    return batch;
}

offset batch_view::base_offset() const noexcept
{
    return offset{load_big<std::int64_t>(bytes_.data() + base_offset_at)};
}
std::int32_t batch_view::leader_epoch() const noexcept
{
    return load_big<std::int32_t>(bytes_.data() + leader_epoch_at);
}
std::uint32_t batch_view::crc() const noexcept
{
    return load_big<std::uint32_t>(bytes_.data() + crc_at);
}
std::int16_t batch_view::attributes() const noexcept
{
    return load_big<std::int16_t>(bytes_.data() + attributes_at);
}
cairn::codec batch_view::codec() const noexcept
{
    return static_cast<cairn::codec>(attributes() & codec_mask);
}
bool batch_view::is_log_append_time() const noexcept
{
    return (attributes() & log_append_time) != 0;
}
bool batch_view::is_transactional() const noexcept
{
    return (attributes() & transactional) != 0;
}
bool batch_view::is_control() const noexcept
{
    return (attributes() & control) != 0;
}
std::optional<timestamp> batch_view::delete_horizon() const noexcept
{
    if ((attributes() & has_delete_horizon) == 0) return std::nullopt;
    return base_timestamp();
}
std::int32_t batch_view::last_offset_delta() const noexcept
{
    return load_big<std::int32_t>(bytes_.data() + last_offset_delta_at);
}
timestamp batch_view::base_timestamp() const noexcept
{
    return timestamp{load_big<std::int64_t>(bytes_.data() + base_timestamp_at)};
}
timestamp batch_view::max_timestamp() const noexcept
{
    return timestamp{load_big<std::int64_t>(bytes_.data() + max_timestamp_at)};
}
std::int64_t batch_view::producer_id() const noexcept
{
    return load_big<std::int64_t>(bytes_.data() + producer_id_at);
}
std::int16_t batch_view::producer_epoch() const noexcept
{
    return load_big<std::int16_t>(bytes_.data() + producer_epoch_at);
}
std::int32_t batch_view::base_sequence() const noexcept
{
    return load_big<std::int32_t>(bytes_.data() + base_sequence_at);
}
std::int32_t batch_view::record_count() const noexcept
{
    return load_big<std::int32_t>(bytes_.data() + record_count_at);
}

std::optional<bytes_view> batch_view::unpack(std::string& scratch, std::size_t limit,
                                             batch_fault* why) const
{
    const auto packed = payload();
    if (codec() == codec::none) {
        if (packed.size() > limit)
            return refuse(why, errc::unpacks_too_large, "a batch has ", packed.size(),
                          " bytes of records, more than ", limit);
        return packed;
    }
    if (packed.empty() && record_count() == 0) return packed;  // what compaction left of a batch
    if (!detail::unpack(codec(), packed, scratch, limit, why)) return std::nullopt;
    return scratch;
}

// ---- record_cursor

record_cursor::record_cursor(const batch_view& batch, bytes_view payload, position base) noexcept
    : begin_{payload.data()},
      at_{begin_},
      end_{begin_ + payload.size()},
      start_{begin_},
      left_{batch.record_count()},
      log_append_time_{batch.is_log_append_time()},
      last_offset_delta_{batch.last_offset_delta()},
      base_offset_{batch.base_offset().value},
      base_timestamp_{batch.base_timestamp().value},
      max_timestamp_{batch.max_timestamp().value},
      base_position_{base.value}
{
}

bool record_cursor::next() noexcept
{
    if (left_ > 0) [[likely]] {
        if (!read(at_)) [[unlikely]]
            return fail();
        --left_;
        return true;
    }
    if (at_ == end_) return false;
    if (left_ == 0) return fail();  // bytes behind the last record
    return read(at_) || fail();
}

bool record_cursor::seek(std::size_t at) noexcept
{
    ok_         = true;
    left_       = -1;
    last_delta_ = -1;
    if (at >= static_cast<std::size_t>(end_ - begin_)) return fail();
    return read(begin_ + at) || fail();
}

bool record_cursor::fail() noexcept
{
    ok_   = false;
    left_ = 0;
    at_   = end_;
    return false;
}

bool record_cursor::read(const char* from) noexcept
{
    const char*  at     = from;
    std::int32_t length = 0;
    if (!read_varint(at, end_, length) || length < 1 || length > end_ - at) return false;
    const char* const end = at + length;
    ++at;  // attributes: none are defined

    std::int64_t time_delta   = 0;
    std::int32_t offset_delta = 0;
    if (!read_varlong(at, end, time_delta) || !read_varint(at, end, offset_delta)) return false;
    if (offset_delta <= last_delta_ || offset_delta > last_offset_delta_) return false;

    std::int32_t key_size = 0;
    if (!read_varint(at, end, key_size) || key_size < -1 || key_size > end - at) return false;
    const char* const key = at;
    if (key_size > 0) at += key_size;

    std::int32_t value_size = 0;
    if (!read_varint(at, end, value_size) || value_size < -1 || value_size > end - at) return false;
    const char* const value = at;
    if (value_size > 0) at += value_size;

    std::int32_t header_count = 0;
    if (!read_varint(at, end, header_count) || header_count < 0 ||
        header_count > (end - at) / static_cast<std::ptrdiff_t>(header_bytes_min))
        return false;
    const char* const headers = at;
    for (std::int32_t i = 0; i < header_count; ++i) {
        std::int32_t size = 0;
        if (!read_varint(at, end, size) || size < 0 || size > end - at) return false;
        at += size;
        if (!read_varint(at, end, size) || size < -1 || size > end - at) return false;
        if (size > 0) at += size;
    }
    if (at != end) return false;

    std::int64_t time = max_timestamp_;
    if (!log_append_time_ && __builtin_add_overflow(base_timestamp_, time_delta, &time))
        return false;

    start_      = from;
    at_         = end;
    last_delta_ = offset_delta;

    // The batch's parse() made sure that this sum fits; the base position is the caller's.
    current_.offset.value    = wrapping_add(base_offset_, offset_delta);
    current_.position.value  = wrapping_add(base_position_, offset_delta);
    current_.timestamp.value = time;
    if (key_size < 0)
        current_.key.reset();
    else
        current_.key.emplace(key, static_cast<std::size_t>(key_size));
    if (value_size < 0)
        current_.value.reset();
    else
        current_.value.emplace(value, static_cast<std::size_t>(value_size));
    current_.headers = {{headers, static_cast<std::size_t>(end - headers)},
                        static_cast<std::size_t>(header_count)};
    return true;
}

// ---- batch_builder

void batch_builder::start(const options& o)
{
    options_    = o;
    used_       = batch_header_bytes;
    count_      = 0;
    last_delta_ = -1;
    // -1 is Kafka's "no timestamp", for a batch that stays empty.
    base_time_ = o.delete_horizon ? o.delete_horizon->value : -1;
    max_time_  = -1;
    last_at_   = used_;
    if (out_.size() < used_) out_.resize(512);
}

template <class WriteHeaders>
std::size_t batch_builder::write(timestamp time, std::int32_t delta, std::optional<bytes_view> key,
                                 std::optional<bytes_view> value, std::size_t header_count,
                                 std::size_t header_bytes, const WriteHeaders& write_headers)
{
    constexpr std::size_t fixed_max = 1 + detail::max_varlong_bytes + 5 * detail::max_varint_bytes;

    const auto key_bytes   = key ? key->size() : 0;
    const auto value_bytes = value ? value->size() : 0;
    // Each is looked at alone first, so that the sum cannot come round.
    if (key_bytes > batch_bytes_max || value_bytes > batch_bytes_max ||
        header_bytes > batch_bytes_max ||
        used_ + fixed_max + key_bytes + value_bytes + header_bytes > batch_bytes_max) [[unlikely]]
        throw error{errc::record_too_large, "a batch of 2 GiB or more: use several smaller ones"};
    if (delta <= last_delta_) [[unlikely]]
        throw error{errc::invalid_argument, "offset delta " + std::to_string(delta) +
                                                " does not come after " +
                                                std::to_string(last_delta_)};
    const auto   base_time  = count_ == 0 && !options_.delete_horizon ? time.value : base_time_;
    std::int64_t time_delta = 0;
    if (__builtin_sub_overflow(time.value, base_time, &time_delta)) [[unlikely]]
        throw error{errc::invalid_argument, "timestamps more than 64 bits apart in one batch: " +
                                                std::to_string(time.value) + " and " +
                                                std::to_string(base_time)};

    const auto key_size   = key ? static_cast<std::int32_t>(key_bytes) : -1;
    const auto value_size = value ? static_cast<std::int32_t>(value_bytes) : -1;
    const auto headers    = static_cast<std::int32_t>(header_count);
    const auto length     = 1 + varlong_bytes(time_delta) + varint_bytes(delta) +
                        varint_bytes(key_size) + key_bytes + varint_bytes(value_size) +
                        value_bytes + varint_bytes(headers) + header_bytes;

    const auto room = used_ + detail::max_varint_bytes + length;
    if (out_.size() < room) out_.resize(std::max(room, 2 * out_.size()));

    char* at = write_varint(out_.data() + used_, static_cast<std::int32_t>(length));
    *at++    = 0;
    at       = write_varlong(at, time_delta);
    at       = write_varint(at, delta);
    at       = write_varint(at, key_size);
    if (key_bytes != 0) std::memcpy(at, key->data(), key_bytes);
    at = write_varint(at + key_bytes, value_size);
    if (value_bytes != 0) std::memcpy(at, value->data(), value_bytes);
    at = write_varint(at + value_bytes, headers);
    at = write_headers(at);

    last_at_    = used_;
    used_       = static_cast<std::size_t>(at - out_.data());
    max_time_   = count_ == 0 ? time.value : std::max(max_time_, time.value);
    base_time_  = base_time;
    last_delta_ = delta;
    ++count_;
    return last_at_ - batch_header_bytes;
}

std::size_t batch_builder::add(timestamp time, std::optional<bytes_view> key,
                               std::optional<bytes_view> value, const std::vector<header>& headers)
{
    std::size_t bytes = 0;
    for (const auto& h : headers) {
        const auto name_bytes  = h.name.size();
        const auto value_bytes = h.value ? h.value->size() : 0;
        if (name_bytes > batch_bytes_max || value_bytes > batch_bytes_max) [[unlikely]]
            throw error{errc::record_too_large, "a header of 2 GiB or more"};
        bytes += varint_bytes(static_cast<std::int32_t>(name_bytes)) + name_bytes +
                 varint_bytes(h.value ? static_cast<std::int32_t>(value_bytes) : -1) + value_bytes;
    }
    // After the largest delta there is comes the smallest, which write() refuses.
    const auto next_delta = static_cast<std::int32_t>(static_cast<std::uint32_t>(last_delta_) + 1);
    return write(time, next_delta, key, value, headers.size(), bytes, [&](char* at) {
        for (const auto& h : headers) {
            at = write_varint(at, static_cast<std::int32_t>(h.name.size()));
            std::memcpy(at, h.name.data(), h.name.size());
            at += h.name.size();
            at = write_varint(at, h.value ? static_cast<std::int32_t>(h.value->size()) : -1);
            if (h.value) {
                std::memcpy(at, h.value->data(), h.value->size());
                at += h.value->size();
            }
        }
        return at;
    });
}

std::size_t batch_builder::add(const record_view& r, std::int32_t offset_delta)
{
    const auto headers = r.headers.bytes();
    return write(r.timestamp, offset_delta, r.key, r.value, r.headers.size(), headers.size(),
                 [&](char* at) {
                     if (!headers.empty()) std::memcpy(at, headers.data(), headers.size());
                     return at + headers.size();
                 });
}

bytes_view batch_builder::finish()
{
    char*       batch = out_.data();
    std::size_t size  = used_;
    if (options_.codec != codec::none && count_ != 0) {
        packed_.assign(batch_header_bytes, '\0');
        detail::pack(options_.codec, {out_.data() + batch_header_bytes, used_ - batch_header_bytes},
                     packed_);
        if (packed_.size() > batch_bytes_max)
            throw error{errc::record_too_large, "a batch of 2 GiB or more, even packed"};
        batch = packed_.data();
        size  = packed_.size();
    }

    auto attributes = static_cast<std::int16_t>(count_ != 0 ? options_.codec : codec::none);
    if (options_.log_append_time) attributes |= log_append_time;
    if (options_.transactional) attributes |= transactional;
    if (options_.control) attributes |= control;
    if (options_.delete_horizon) attributes |= has_delete_horizon;

    store_big<std::int64_t>(batch + base_offset_at, 0);
    store_big<std::int32_t>(batch + batch_length_at,
                            static_cast<std::int32_t>(size - before_length));
    store_big<std::int32_t>(batch + leader_epoch_at, 0);
    batch[magic_at] = 2;
    store_big<std::int16_t>(batch + attributes_at, attributes);
    store_big<std::int32_t>(batch + last_offset_delta_at, std::max(last_delta_, 0));
    store_big<std::int64_t>(batch + base_timestamp_at, base_time_);
    store_big<std::int64_t>(batch + max_timestamp_at,
                            options_.log_append_time ? options_.log_time.value : max_time_);
    store_big<std::int64_t>(batch + producer_id_at, options_.producer_id);
    store_big<std::int16_t>(batch + producer_epoch_at, options_.producer_epoch);
    store_big<std::int32_t>(batch + base_sequence_at, options_.base_sequence);
    store_big<std::int32_t>(batch + record_count_at, count_);
    store_big<std::uint32_t>(batch + crc_at, crc32c({batch + attributes_at, size - attributes_at}));
    return {batch, size};
}

// ---- in place

void patch_base_offset(char* batch, offset base) noexcept
{
    store_big<std::int64_t>(batch + base_offset_at, base.value);
}

void patch_leader_epoch(char* batch, std::int32_t epoch) noexcept
{
    store_big<std::int32_t>(batch + leader_epoch_at, epoch);
}

}  // namespace cairn
