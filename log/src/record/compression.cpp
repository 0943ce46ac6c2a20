// SPDX-License-Identifier: Apache-2.0
#include "record/compression.hpp"

#include "record/endian.hpp"

#include <lz4.h>
#include <lz4frame.h>
#include <snappy.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <new>

namespace cairn::detail {
namespace {

// ---- what all have in common

/// The codecs' interfaces count in int; a batch cannot be longer either.
constexpr std::size_t input_bytes_max = 0x7fffffff;

bool refuse(batch_fault* why, errc code, const char* what)
{
    if (why != nullptr) *why = {code, what};
    return false;
}

bool refuse_large(batch_fault* why, std::size_t limit)
{
    if (why != nullptr)
        *why = {errc::unpacks_too_large,
                "the batch unpacks to more than " + std::to_string(limit) + " bytes"};
    return false;
}

/// The output while it grows: bytes.size() is the room, `used` of it is filled.
struct output
{
    std::string& bytes;
    std::size_t  limit;
    std::size_t  used = 0;

    output(std::string& out, std::size_t packed, std::size_t most) : bytes{out}, limit{most}
    {
        // A buffer that has served before is used further than twice the input, which spares
        // the growing; but not all of it, because resize() writes what it adds.
        const auto first = std::clamp(bytes.capacity(), 2 * packed, 8 * packed);
        bytes.resize(std::min(first, limit));
    }

    char*       at() noexcept { return bytes.data() + used; }
    std::size_t room() const noexcept { return bytes.size() - used; }
    bool        full() const noexcept { return bytes.size() >= limit; }

    /// Doubles the room, as far as the limit lets it; all of it is used now.
    void grow() { grow_to(std::max<std::size_t>(2 * bytes.size(), 64)); }
    void grow_to(std::size_t size)
    {
        size = std::min(size, limit);
        // Into a new string: one that has grown before would double on its own, past the limit.
        std::string larger;
        larger.reserve(size);
        larger.append(bytes, 0, used);
        larger.resize(size);
        bytes.swap(larger);
    }
};

// ---- gzip

[[noreturn]] void out_of_memory()
{
    throw std::bad_alloc{};
}

struct inflater
{
    z_stream stream{};

    inflater()
    {
        if (inflateInit2(&stream, 15 + 32) != Z_OK) out_of_memory();
    }
    ~inflater() { inflateEnd(&stream); }
    inflater(const inflater&)            = delete;
    inflater& operator=(const inflater&) = delete;
};

struct deflater
{
    z_stream stream{};

    deflater()
    {
        if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8,
                         Z_DEFAULT_STRATEGY) != Z_OK)
            out_of_memory();
    }
    ~deflater() { deflateEnd(&stream); }
    deflater(const deflater&)            = delete;
    deflater& operator=(const deflater&) = delete;
};

Bytef* zlib_bytes(const char* at) noexcept
{
    return reinterpret_cast<Bytef*>(const_cast<char*>(at));
}

void pack_gzip(bytes_view in, std::string& out)
{
    thread_local deflater d;
    if (deflateReset(&d.stream) != Z_OK) out_of_memory();

    const auto at = out.size();
    out.resize(at + deflateBound(&d.stream, in.size()));
    d.stream.next_in   = zlib_bytes(in.data());
    d.stream.avail_in  = static_cast<uInt>(in.size());
    d.stream.next_out  = zlib_bytes(out.data() + at);
    d.stream.avail_out = static_cast<uInt>(out.size() - at);
    if (deflate(&d.stream, Z_FINISH) != Z_STREAM_END) out_of_memory();
    out.resize(out.size() - d.stream.avail_out);
}

bool unpack_gzip(bytes_view in, output& out, batch_fault* why)
{
    thread_local inflater i;
    z_stream&             s = i.stream;
    // Forgets the dialect of the last input too, which inflateReset() would keep.
    if (inflateReset2(&s, 15 + 32) != Z_OK) out_of_memory();

    s.next_in  = zlib_bytes(in.data());
    s.avail_in = static_cast<uInt>(in.size());
    for (;;) {
        if (out.room() == 0 && !out.full()) out.grow();
        // At the limit there is one byte more, to tell a stream that ends there from one that
        // goes on.
        char       over;
        const bool at_limit = out.room() == 0;
        const auto room     = std::min(at_limit ? 1 : out.room(), input_bytes_max);
        s.next_out          = zlib_bytes(at_limit ? &over : out.at());
        s.avail_out         = static_cast<uInt>(room);

        const int  result  = inflate(&s, Z_NO_FLUSH);
        const auto written = room - s.avail_out;
        if (at_limit && written != 0) return refuse_large(why, out.limit);
        out.used += written;

        if (result == Z_STREAM_END) {
            if (s.avail_in == 0) return true;
            if (inflateReset(&s) != Z_OK) out_of_memory();
            continue;
        }
        if (result == Z_MEM_ERROR) out_of_memory();
        if (result != Z_OK && result != Z_BUF_ERROR)
            return refuse(why, errc::corrupt_batch, "the records are not gzip, or damaged");
        if (s.avail_out != 0)  // it wants more input, and there is none
            return refuse(why, errc::corrupt_batch, "the gzip stream ends too soon");
    }
}

// ---- snappy

constexpr bytes_view  xerial_magic{"\x82SNAPPY\0", 8};
constexpr std::size_t xerial_header_bytes = 16;

void pack_snappy(bytes_view in, std::string& out)
{
    const auto at = out.size();
    out.resize(at + snappy::MaxCompressedLength(in.size()));
    std::size_t size = 0;
    snappy::RawCompress(in.data(), in.size(), out.data() + at, &size);
    out.resize(at + size);
}

bool unpack_snappy_block(bytes_view in, output& out, batch_fault* why)
{
    constexpr auto damaged = "the records are not snappy, or damaged";

    std::size_t size = 0;
    if (!snappy::GetUncompressedLength(in.data(), in.size(), &size))
        return refuse(why, errc::corrupt_batch, damaged);
    if (size > out.limit - out.used) return refuse_large(why, out.limit);
    if (size > out.room()) {
        // The size is a claim until the tags have been walked, which needs no output.
        if (!snappy::IsValidCompressedBuffer(in.data(), in.size()))
            return refuse(why, errc::corrupt_batch, damaged);
        out.grow_to(std::max(out.used + size, std::min(2 * out.used, out.limit)));
    }
    if (!snappy::RawUncompress(in.data(), in.size(), out.at()))
        return refuse(why, errc::corrupt_batch, damaged);
    out.used += size;
    return true;
}

bool unpack_snappy(bytes_view in, output& out, batch_fault* why)
{
    if (!in.starts_with(xerial_magic)) return unpack_snappy_block(in, out, why);

    constexpr auto cut = "the snappy frame ends too soon";
    if (in.size() < xerial_header_bytes) return refuse(why, errc::corrupt_batch, cut);
    in.remove_prefix(xerial_header_bytes);
    while (!in.empty()) {
        if (in.size() < 4) return refuse(why, errc::corrupt_batch, cut);
        const std::size_t size = load_big<std::uint32_t>(in.data());
        in.remove_prefix(4);
        if (size > in.size()) return refuse(why, errc::corrupt_batch, cut);
        if (!unpack_snappy_block(in.substr(0, size), out, why)) return false;
        in.remove_prefix(size);
    }
    return true;
}

// ---- lz4
//
// The frame is read here and not by LZ4F_decompress(), which allocates what the frame's header
// asks for (up to 8 MB for 15 bytes) before it has seen a block.

constexpr std::uint32_t lz4_magic = 0x184d2204;

/// XXH32 with seed 0: the checksum of LZ4 frames.
std::uint32_t xxh32(bytes_view bytes) noexcept
{
    constexpr std::uint32_t p1 = 0x9e3779b1, p2 = 0x85ebca77, p3 = 0xc2b2ae3d, p4 = 0x27d4eb2f,
                            p5 = 0x165667b1;

    const char*   at   = bytes.data();
    std::size_t   left = bytes.size();
    std::uint32_t h    = p5;
    if (left >= 16) {
        std::uint32_t lane[4] = {p1 + p2, p2, 0, 0 - p1};
        for (; left >= 16; at += 16, left -= 16)
            for (int i = 0; i < 4; ++i)
                lane[i] = std::rotl(lane[i] + load_little<std::uint32_t>(at + 4 * i) * p2, 13) * p1;
        h = std::rotl(lane[0], 1) + std::rotl(lane[1], 7) + std::rotl(lane[2], 12) +
            std::rotl(lane[3], 18);
    }
    h += static_cast<std::uint32_t>(bytes.size());
    for (; left >= 4; at += 4, left -= 4)
        h = std::rotl(h + load_little<std::uint32_t>(at) * p3, 17) * p4;
    for (; left != 0; ++at, --left) h = std::rotl(h + static_cast<std::uint8_t>(*at) * p5, 11) * p1;
    h = (h ^ (h >> 15)) * p2;
    h = (h ^ (h >> 13)) * p3;
    return h ^ (h >> 16);
}

struct lz4_frame
{
    bool          linked_blocks    = false;
    bool          block_checksums  = false;
    bool          content_checksum = false;
    std::size_t   block_bytes_max  = 0;
    std::uint64_t content_bytes    = 0;
    bool          has_content_size = false;

    /// Takes the header off the front of `in`.
    bool read(bytes_view& in) noexcept;
};

bool lz4_frame::read(bytes_view& in) noexcept
{
    if (in.size() < 7 || load_little<std::uint32_t>(in.data()) != lz4_magic) return false;
    const auto flags = static_cast<std::uint8_t>(in[4]);
    const auto block = static_cast<std::uint8_t>(in[5]);

    // Version 1, no dictionary (there is no way to agree on one), reserved bits zero.
    if ((flags >> 6) != 1 || (flags & 0x03) != 0 || (block & 0x8f) != 0 || block < 0x40)
        return false;
    linked_blocks    = (flags & 0x20) == 0;
    block_checksums  = (flags & 0x10) != 0;
    has_content_size = (flags & 0x08) != 0;
    content_checksum = (flags & 0x04) != 0;
    block_bytes_max  = std::size_t{1} << (8 + 2 * (block >> 4));

    const std::size_t size = has_content_size ? 15 : 7;
    if (in.size() < size) return false;
    if (has_content_size) content_bytes = load_little<std::uint64_t>(in.data() + 6);

    // The check byte covers the descriptor, without the magic; old Kafka clients took that in.
    const auto check = static_cast<std::uint8_t>(in[size - 1]);
    if (check != static_cast<std::uint8_t>(xxh32(in.substr(4, size - 5)) >> 8) &&
        check != static_cast<std::uint8_t>(xxh32(in.substr(0, size - 1)) >> 8))
        return false;
    in.remove_prefix(size);
    return true;
}

/// One packed block; `begin` is where its frame begins in the output.
bool unpack_lz4_block(bytes_view in, const lz4_frame& frame, std::size_t begin, output& out,
                      batch_fault* why)
{
    const auto packed = static_cast<int>(in.size());
    for (;;) {
        const auto room = static_cast<int>(std::min(out.room(), frame.block_bytes_max));
        const auto history =
            frame.linked_blocks ? std::min<std::size_t>(out.used - begin, 65536) : 0;
        const char* before       = out.at() - history;
        const auto  before_bytes = static_cast<int>(history);

        int got =
            LZ4_decompress_safe_usingDict(in.data(), out.at(), packed, room, before, before_bytes);
        if (got >= 0) {
            out.used += static_cast<std::size_t>(got);
            return true;
        }
        // Damaged, or too much for the room? If what fits is sound, it is the room.
        got = LZ4_decompress_safe_partial_usingDict(in.data(), out.at(), packed, room, room, before,
                                                    before_bytes);
        if (got < room || static_cast<std::size_t>(room) == frame.block_bytes_max)
            return refuse(why, errc::corrupt_batch, "a block of the lz4 frame is damaged");
        if (out.full()) return refuse_large(why, out.limit);
        out.grow();
    }
}

bool unpack_lz4_frame(bytes_view& in, output& out, batch_fault* why)
{
    constexpr auto cut = "the lz4 frame ends too soon";

    lz4_frame frame;
    if (!frame.read(in))
        return refuse(why, errc::corrupt_batch, "the records are not an lz4 frame");
    const auto begin = out.used;
    for (;;) {
        if (in.size() < 4) return refuse(why, errc::corrupt_batch, cut);
        const auto word = load_little<std::uint32_t>(in.data());
        in.remove_prefix(4);
        if (word == 0) break;

        const bool        stored = (word >> 31) != 0;
        const std::size_t size   = word & 0x7fffffff;
        if (size > frame.block_bytes_max)
            return refuse(why, errc::corrupt_batch, "a block of the lz4 frame is too long");
        if (size + (frame.block_checksums ? 4 : 0) > in.size())
            return refuse(why, errc::corrupt_batch, cut);
        const auto block = in.substr(0, size);
        in.remove_prefix(size);
        if (frame.block_checksums) {
            if (load_little<std::uint32_t>(in.data()) != xxh32(block))
                return refuse(why, errc::corrupt_batch, "a block's checksum is wrong (lz4)");
            in.remove_prefix(4);
        }

        if (!stored) {
            if (!unpack_lz4_block(block, frame, begin, out, why)) return false;
        } else {
            if (size > out.limit - out.used) return refuse_large(why, out.limit);
            while (size > out.room()) out.grow();
            std::memcpy(out.at(), block.data(), size);
            out.used += size;
        }
    }
    const bytes_view content{out.bytes.data() + begin, out.used - begin};
    if (frame.has_content_size && content.size() != frame.content_bytes)
        return refuse(why, errc::corrupt_batch, "the lz4 frame is not as long as it says");
    if (frame.content_checksum) {
        if (in.size() < 4) return refuse(why, errc::corrupt_batch, cut);
        if (load_little<std::uint32_t>(in.data()) != xxh32(content))
            return refuse(why, errc::corrupt_batch, "the content's checksum is wrong (lz4)");
        in.remove_prefix(4);
    }
    return true;
}

bool unpack_lz4(bytes_view in, output& out, batch_fault* why)
{
    do {
        if (!unpack_lz4_frame(in, out, why)) return false;
    } while (!in.empty());
    return true;
}

void pack_lz4(bytes_view in, std::string& out)
{
    LZ4F_preferences_t preferences{};
    preferences.frameInfo.blockMode   = LZ4F_blockIndependent;
    preferences.frameInfo.blockSizeID = LZ4F_max64KB;

    const auto at = out.size();
    out.resize(at + LZ4F_compressFrameBound(in.size(), &preferences));
    const auto size =
        LZ4F_compressFrame(out.data() + at, out.size() - at, in.data(), in.size(), &preferences);
    if (LZ4F_isError(size)) out_of_memory();
    out.resize(at + size);
}

// ---- zstd
//
// A batch is unpacked in one go and not as a stream: a stream's decoder allocates the window
// that the frame's header asks for, 2 MB for a batch of 200 bytes as clients make it and up to
// 128 MB from one that means harm. Where the room was too small the frame is begun anew with
// more, which doubles the work at worst, and costs nothing where `out` is reused.
//
// What did not fit was at most one block more than what had really come out. So the room grows
// to one block first and doubles from there, and a block that lies has bought 256 KB.

constexpr std::size_t zstd_block_bytes_max = 128 << 10;

struct zstd_free
{
    void operator()(ZSTD_CCtx* c) const noexcept { ZSTD_freeCCtx(c); }
    void operator()(ZSTD_DCtx* c) const noexcept { ZSTD_freeDCtx(c); }
};

void pack_zstd(bytes_view in, std::string& out)
{
    thread_local const std::unique_ptr<ZSTD_CCtx, zstd_free> context{ZSTD_createCCtx()};
    if (context == nullptr) out_of_memory();

    const auto at = out.size();
    out.resize(at + ZSTD_compressBound(in.size()));
    const auto size = ZSTD_compressCCtx(context.get(), out.data() + at, out.size() - at, in.data(),
                                        in.size(), ZSTD_CLEVEL_DEFAULT);
    if (ZSTD_isError(size) != 0) out_of_memory();
    out.resize(at + size);
}

bool unpack_zstd(bytes_view in, output& out, batch_fault* why)
{
    thread_local const std::unique_ptr<ZSTD_DCtx, zstd_free> context{ZSTD_createDCtx()};
    if (context == nullptr) out_of_memory();

    // What a frame claims may only refuse early.
    const auto claim = ZSTD_getFrameContentSize(in.data(), in.size());
    if (claim == ZSTD_CONTENTSIZE_ERROR)
        return refuse(why, errc::corrupt_batch, "the records are not a zstd frame");
    const bool claims = claim != ZSTD_CONTENTSIZE_UNKNOWN;
    if (claims && claim > out.limit) return refuse_large(why, out.limit);

    for (;;) {
        const auto size = ZSTD_decompressDCtx(context.get(), out.bytes.data(), out.bytes.size(),
                                              in.data(), in.size());
        if (ZSTD_isError(size) == 0) {
            out.used = size;
            return true;
        }
        const auto code = ZSTD_getErrorCode(size);
        if (code == ZSTD_error_memory_allocation) out_of_memory();
        if (code != ZSTD_error_dstSize_tooSmall)
            return refuse(why, errc::corrupt_batch, "the zstd frame is damaged");
        if (out.full()) return refuse_large(why, out.limit);

        const auto room = out.bytes.size();
        auto       next = room < zstd_block_bytes_max
                              ? std::clamp<std::size_t>(4 * room, 64, zstd_block_bytes_max)
                              : 2 * room;
        if (claims && claim > room && claim < next) next = claim;
        std::string{}.swap(out.bytes);  // nothing of it is worth copying
        out.grow_to(next);
    }
}

}  // namespace

void pack(codec c, bytes_view in, std::string& out)
{
    switch (c) {
    case codec::none:
        out.append(in);
        return;
    case codec::gzip:
        pack_gzip(in, out);
        return;
    case codec::snappy:
        pack_snappy(in, out);
        return;
    case codec::lz4:
        pack_lz4(in, out);
        return;
    case codec::zstd:
        pack_zstd(in, out);
        return;
    }
}

bool unpack(codec c, bytes_view in, std::string& out, std::size_t limit, batch_fault* why)
{
    if (in.size() > input_bytes_max) {
        out.clear();
        return refuse(why, errc::corrupt_batch, "more packed bytes than a batch can have");
    }
    out.clear();
    if (c == codec::none) {
        if (in.size() > limit) return refuse_large(why, limit);
        out.assign(in);
        return true;
    }

    output o{out, in.size(), limit};
    bool   ok = false;
    switch (c) {
    case codec::none:
        break;
    case codec::gzip:
        ok = unpack_gzip(in, o, why);
        break;
    case codec::snappy:
        ok = unpack_snappy(in, o, why);
        break;
    case codec::lz4:
        ok = unpack_lz4(in, o, why);
        break;
    case codec::zstd:
        ok = unpack_zstd(in, o, why);
        break;
    default:
        refuse(why, errc::unknown_codec, "no such codec");
        break;
    }
    out.resize(ok ? o.used : 0);
    return ok;
}

}  // namespace cairn::detail
