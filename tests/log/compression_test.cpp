// SPDX-License-Identifier: Apache-2.0
#include "record/compression.hpp"
#include "log/allocation_meter.hpp"

#include <catch2/catch.hpp>

#include <lz4frame.h>
#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <random>
#include <string>
#include <vector>

using namespace cairn;
using cairn::detail::pack;
using cairn::detail::unpack;
using cairn::testing::allocation_meter;

namespace {

constexpr std::array packers{codec::gzip, codec::snappy, codec::lz4, codec::zstd};
constexpr std::array all_codecs{codec::none, codec::gzip, codec::snappy, codec::lz4, codec::zstd};

std::string text(codec c)
{
    constexpr const char* names[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    return names[static_cast<int>(c)];
}

/// Bytes as records are: some of it repeats, some does not.
std::string record_like(std::size_t size, std::uint64_t seed = 1)
{
    std::mt19937_64 random{seed};
    std::string     s;
    while (s.size() < size) {
        s += "ce_type OrderPlaced ce_source orders ";
        s += std::to_string(random());
    }
    s.resize(size);
    return s;
}

std::string noise(std::size_t size, std::uint64_t seed)
{
    std::mt19937_64 random{seed};
    std::string     s(size, '\0');
    for (auto& b : s) b = static_cast<char>(random());
    return s;
}

std::string packed(codec c, bytes_view bytes)
{
    std::string out;
    pack(c, bytes, out);
    return out;
}

/// What came of unpacking: the bytes, or the fault.
struct outcome
{
    bool        ok = false;
    std::string bytes;
    batch_fault fault{};
};

outcome unpacked(codec c, bytes_view bytes, std::size_t limit = 64 << 20)
{
    outcome o;
    // Copied to where a sanitizer sees a read behind the end.
    const std::vector<char> exact(bytes.begin(), bytes.end());
    o.ok = unpack(c, {exact.data(), exact.size()}, o.bytes, limit, &o.fault);
    if (!o.ok) {
        CHECK(o.bytes.empty());
        CHECK_FALSE(o.fault.what.empty());
    }
    return o;
}

std::string big_endian(std::size_t v)
{
    std::string s;
    for (int shift = 24; shift >= 0; shift -= 8) s += static_cast<char>(v >> shift);
    return s;
}

std::string little_endian(std::uint64_t v, int bytes)
{
    std::string s;
    for (int i = 0; i < bytes; ++i) s += static_cast<char>(v >> (8 * i));
    return s;
}

const std::string xerial_header{"\x82SNAPPY\0\0\0\0\1\0\0\0\1", 16};

/// As snappy-java's stream writes it, with small blocks.
std::string xerial(bytes_view bytes, std::size_t block)
{
    std::string out = xerial_header;
    for (; !bytes.empty(); bytes.remove_prefix(std::min(block, bytes.size()))) {
        std::string one;
        snappy::Compress(bytes.data(), std::min(block, bytes.size()), &one);
        out += big_endian(one.size()) + one;
    }
    return out;
}

std::string lz4_frame(bytes_view bytes, const LZ4F_frameInfo_t& info)
{
    LZ4F_preferences_t preferences{};
    preferences.frameInfo = info;
    std::string out(LZ4F_compressFrameBound(bytes.size(), &preferences), '\0');
    out.resize(
        LZ4F_compressFrame(out.data(), out.size(), bytes.data(), bytes.size(), &preferences));
    return out;
}

/// As a client that streams: the frame does not say how long its content is.
std::string zstd_stream(bytes_view bytes, int level, int window_log = 0)
{
    ZSTD_CCtx* const c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
    if (window_log != 0) ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
    std::string    out(ZSTD_compressBound(bytes.size()) + 64, '\0');
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    // In two steps, or the encoder would learn the size after all.
    ZSTD_inBuffer front{bytes.data(), bytes.size() / 2, 0};
    ZSTD_compressStream2(c, &to, &front, ZSTD_e_continue);
    ZSTD_inBuffer back{bytes.data() + bytes.size() / 2, bytes.size() - bytes.size() / 2, 0};
    ZSTD_compressStream2(c, &to, &back, ZSTD_e_end);
    ZSTD_freeCCtx(c);
    out.resize(to.pos);
    return out;
}

std::string zlib_stream(bytes_view bytes)
{
    uLongf      size = compressBound(bytes.size());
    std::string out(size, '\0');
    compress(reinterpret_cast<Bytef*>(out.data()), &size,
             reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
    out.resize(size);
    return out;
}

/// The words of a fault, and what malloc rounds up.
constexpr std::size_t slack_bytes = 1024;
/// What a block of zstd that lies may cost.
constexpr std::size_t zstd_slack_bytes = (256 << 10) + slack_bytes;

/// The decoders keep their state for each thread; let it be there before anything is measured.
void warm_up()
{
    for (const auto c : packers) REQUIRE(unpacked(c, packed(c, "warm")).ok);
}

}  // namespace

TEST_CASE("what was packed unpacks to the same bytes, at every size")
{
    for (const auto c : all_codecs)
        for (const std::size_t size :
             {0, 1, 2, 10, 61, 100, 1000, 4096, 65535, 65536, 65537, 300'000, 5'000'000}) {
            CAPTURE(text(c), size);
            const auto bytes = record_like(size);
            const auto o     = unpacked(c, packed(c, bytes));
            REQUIRE(o.ok);
            REQUIRE((o.bytes == bytes));
        }
}

TEST_CASE("bytes that cannot be packed smaller make it through too")
{
    for (const auto c : all_codecs)
        for (const std::size_t size : {1, 50, 5000, 200'000}) {
            const auto bytes = noise(size, size);
            const auto o     = unpacked(c, packed(c, bytes));
            REQUIRE(o.ok);
            REQUIRE((o.bytes == bytes));
        }
}

TEST_CASE("packing appends, unpacking replaces")
{
    for (const auto c : all_codecs) {
        std::string out = "front";
        pack(c, "bytes", out);
        CHECK(out.substr(0, 5) == "front");

        std::string scratch(100'000, 'x');
        REQUIRE(unpack(c, bytes_view{out}.substr(5), scratch, 1000));
        CHECK(scratch == "bytes");
    }
}

TEST_CASE("the limit is the last size that is let through")
{
    const auto bytes = record_like(10'000);
    for (const auto c : all_codecs) {
        CAPTURE(text(c));
        const auto p = packed(c, bytes);
        CHECK((unpacked(c, p, bytes.size()).bytes == bytes));

        for (const std::size_t limit : {bytes.size() - 1, bytes.size() / 2, p.size(),
                                        std::size_t{100}, std::size_t{1}, std::size_t{0}}) {
            if (limit >= bytes.size()) continue;
            const auto o = unpacked(c, p, limit);
            CHECK_FALSE(o.ok);
            CHECK(o.fault.code == errc::unpacks_too_large);
        }
    }
}

TEST_CASE("gzip is read in several members, and in zlib's framing")
{
    const auto bytes = record_like(5000);
    CHECK(unpacked(codec::gzip, packed(codec::gzip, "one ") + packed(codec::gzip, "two")).bytes ==
          "one two");
    CHECK((unpacked(codec::gzip, zlib_stream(bytes)).bytes == bytes));
    // The framing of one input is not expected of the next.
    CHECK((unpacked(codec::gzip, packed(codec::gzip, bytes)).bytes == bytes));
    CHECK((unpacked(codec::gzip, zlib_stream(bytes)).bytes == bytes));

    CHECK(unpacked(codec::gzip, packed(codec::gzip, bytes) + "rubbish").fault.code ==
          errc::corrupt_batch);
}

TEST_CASE("snappy is read raw and in snappy-java's frame")
{
    const auto bytes = record_like(100'000);
    CHECK((unpacked(codec::snappy, packed(codec::snappy, bytes)).bytes == bytes));
    for (const std::size_t block : {1000, 32'768, 200'000})
        CHECK((unpacked(codec::snappy, xerial(bytes, block)).bytes == bytes));
    CHECK(unpacked(codec::snappy, xerial("", 10)).ok);

    SECTION("a frame that is cut is refused, wherever it is cut within a block")
    {
        const auto whole = xerial(record_like(600), 100);
        int        sound = 0;
        for (std::size_t size = 0; size < whole.size(); ++size)
            sound += unpacked(codec::snappy, whole.substr(0, size)).ok ? 1 : 0;
        CHECK(sound == 6);  // after the header and after each block but the last
    }
    SECTION("a block that says it is longer than the frame is refused")
    {
        for (const std::size_t claim : {std::size_t{100}, std::size_t{0xffffffff}})
            CHECK(unpacked(codec::snappy, xerial_header + big_endian(claim) + "abc").fault.code ==
                  errc::corrupt_batch);
    }
}

TEST_CASE("lz4 frames are read as clients set them up")
{
    const auto bytes = record_like(1'000'000);
    for (const auto mode : {LZ4F_blockLinked, LZ4F_blockIndependent})
        for (const auto size : {LZ4F_max64KB, LZ4F_max256KB, LZ4F_max1MB, LZ4F_max4MB})
            for (const bool checksums : {false, true})
                for (const bool says_size : {false, true}) {
                    LZ4F_frameInfo_t info{};
                    info.blockMode   = mode;
                    info.blockSizeID = size;
                    info.contentSize = says_size ? bytes.size() : 0;
                    info.blockChecksumFlag =
                        checksums ? LZ4F_blockChecksumEnabled : LZ4F_noBlockChecksum;
                    info.contentChecksumFlag =
                        checksums ? LZ4F_contentChecksumEnabled : LZ4F_noContentChecksum;

                    const auto frame = lz4_frame(bytes, info);
                    REQUIRE((unpacked(codec::lz4, frame).bytes == bytes));
                    REQUIRE((unpacked(codec::lz4, frame + frame).bytes == bytes + bytes));
                    const auto o = unpacked(codec::lz4, frame, bytes.size() - 1);
                    REQUIRE(o.fault.code == errc::unpacks_too_large);
                }
}

TEST_CASE("lz4 tells damage by every checksum that the frame has")
{
    LZ4F_frameInfo_t info{};
    info.blockMode           = LZ4F_blockIndependent;
    info.contentSize         = 3000;
    info.blockChecksumFlag   = LZ4F_blockChecksumEnabled;
    info.contentChecksumFlag = LZ4F_contentChecksumEnabled;
    const auto frame         = lz4_frame(record_like(3000), info);
    for (std::size_t i = 0; i < frame.size(); ++i)
        for (const int flip : {0x01, 0x80, 0xff}) {
            auto damaged = frame;
            damaged[i]   = static_cast<char>(damaged[i] ^ flip);
            if (unpacked(codec::lz4, damaged).ok) FAIL("byte " << i);
        }
}

TEST_CASE("the check byte that old Kafka clients computed over the magic too is accepted")
{
    // 64 KB blocks, independent, no checksums: what those clients wrote.
    auto frame = packed(codec::lz4, "hello, hello, hello");
    REQUIRE(frame.substr(4, 2) == "\x60\x40");
    CHECK(frame[6] == '\x82');
    int accepted = 0;
    for (int check = 0; check < 256; ++check) {
        frame[6] = static_cast<char>(check);
        accepted += unpacked(codec::lz4, frame).ok ? 1 : 0;
    }
    CHECK(accepted == 2);
}

TEST_CASE("zstd is read whether or not the frame says how long it is")
{
    for (const std::size_t size : {100, 1000, 130'000, 1'000'000}) {
        const auto bytes = record_like(size);
        for (const int level : {1, 3, 19}) {
            const auto stream = zstd_stream(bytes, level);
            REQUIRE(ZSTD_getFrameContentSize(stream.data(), stream.size()) ==
                    ZSTD_CONTENTSIZE_UNKNOWN);
            CHECK((unpacked(codec::zstd, stream).bytes == bytes));
            CHECK((unpacked(codec::zstd, stream + packed(codec::zstd, bytes)).bytes ==
                   bytes + bytes));
            CHECK(unpacked(codec::zstd, stream, size - 1).fault.code == errc::unpacks_too_large);
        }
    }
}

TEST_CASE("an unknown codec is refused")
{
    for (const int c : {5, 6, 7, 255})
        CHECK(unpacked(static_cast<codec>(c), "bytes").fault.code == errc::unknown_codec);
}

TEST_CASE("every packed input, cut at any length, is refused or is a shorter whole")
{
    const auto bytes = record_like(2000);
    for (const auto c : packers) {
        CAPTURE(text(c));
        const auto whole = packed(c, bytes);
        for (std::size_t size = 0; size < whole.size(); ++size)
            if (unpacked(c, whole.substr(0, size)).ok) FAIL(size << " of " << whole.size());
    }
}

TEST_CASE("a bomb of each codec is refused at the bound, with bounded memory")
{
    warm_up();
    const std::string zeros(64 << 20, '\0');
    LZ4F_frameInfo_t  large_blocks{};
    large_blocks.blockSizeID = LZ4F_max4MB;

    const std::pair<codec, std::string> bombs[] = {
        {codec::gzip, packed(codec::gzip, zeros)},     {codec::gzip, zlib_stream(zeros)},
        {codec::snappy, packed(codec::snappy, zeros)}, {codec::snappy, xerial(zeros, 32 << 10)},
        {codec::snappy, xerial(zeros, 16 << 20)},      {codec::lz4, packed(codec::lz4, zeros)},
        {codec::lz4, lz4_frame(zeros, large_blocks)},  {codec::zstd, packed(codec::zstd, zeros)},
        {codec::zstd, zstd_stream(zeros, 3)},          {codec::zstd, zstd_stream(zeros, 3, 27)},
    };
    for (const auto& [c, bomb] : bombs)
        for (const std::size_t limit : {10'000, 1 << 20, 10 << 20}) {
            CAPTURE(text(c), bomb.size(), limit);
            std::string scratch;
            batch_fault why;

            const allocation_meter meter;
            CHECK_FALSE(unpack(c, bomb, scratch, limit, &why));
            // At worst the last room and the one before are there at once, while it grows.
            CHECK(meter.peak_bytes() <= 2 * limit + slack_bytes);
            CHECK(why.code == errc::unpacks_too_large);
        }
}

TEST_CASE("no claim of a frame is believed: a lie allocates at most twice its input")
{
    warm_up();
    const auto rubbish = noise(600, 99);

    struct lie
    {
        std::string what;
        codec       c;
        std::string bytes;
    };
    std::vector<lie> lies;

    // Snappy: the length at the front, up to 4 GB.
    for (const auto* claim : {"\xff\xff\xff\xff\x0f", "\x80\x80\x80\x08", "\x80\x80\x80\x01",
                              "\x80\x80\x01", "\xe0\x5d"}) {
        lies.push_back({"snappy claims", codec::snappy, claim + rubbish});
        lies.push_back({"xerial claims", codec::snappy,
                        xerial_header + big_endian(rubbish.size() + std::string{claim}.size()) +
                            claim + rubbish});
        // A literal of 600 bytes that is really there, and less than the claim.
        lies.push_back(
            {"snappy ends early", codec::snappy, claim + std::string{"\xf4\x57\x02"} + rubbish});
    }

    // LZ4: blocks of 4 MB, a content size, a block that is rubbish, or stops within a copy.
    for (const auto flags : {'\x60', '\x40', '\x68'}) {
        std::string header = little_endian(0x184d2204, 4);
        header += flags;
        header += '\x70';
        if (flags == '\x68') header += little_endian(1u << 30, 8);
        for (int check = 0; check < 256; ++check)
            lies.push_back({"lz4 has large blocks", codec::lz4,
                            header + static_cast<char>(check) + little_endian(rubbish.size(), 4) +
                                rubbish + std::string(4, '\0')});
    }

    // Zstd: a content size of 1 GB; a window of 128 MB and of 2 TB; a block that says more
    // literals than it has.
    const auto zstd_magic = little_endian(0xfd2fb528, 4);
    const auto block      = little_endian((rubbish.size() << 3) | (2 << 1) | 1, 3) + rubbish;
    lies.push_back({"zstd claims 1 GB", codec::zstd,
                    zstd_magic + "\xa0" + little_endian(1u << 30, 4) + block});
    lies.push_back({"zstd claims 2^63", codec::zstd,
                    zstd_magic + "\xe0" + little_endian(1ull << 63, 8) + block});
    for (const int window : {0x50, 0x88, 0xff}) {
        lies.push_back({"zstd has a large window", codec::zstd,
                        zstd_magic + std::string(1, '\0') + static_cast<char>(window) + block});
        // Literals: 128 KB of one byte, in 4 bytes; then sequences that are rubbish.
        const auto literals = std::string{"\xfd\xff\x1f", 3} + "a" + rubbish;
        lies.push_back({"zstd has long literals", codec::zstd,
                        zstd_magic + std::string(1, '\0') + static_cast<char>(window) +
                            little_endian((literals.size() << 3) | (2 << 1) | 1, 3) + literals});
    }

    // Gzip: the length at the end is not even read before; rubbish behind a sound header.
    const auto gzip = packed(codec::gzip, rubbish);
    lies.push_back({"gzip is rubbish", codec::gzip, gzip.substr(0, 10) + rubbish});
    lies.push_back({"gzip claims", codec::gzip,
                    gzip.substr(0, gzip.size() - 4) + little_endian(0xffffffff, 4)});

    for (const auto& l : lies) {
        CAPTURE(l.what);
        std::string scratch;
        batch_fault why;

        const allocation_meter meter;
        REQUIRE_FALSE(unpack(l.c, l.bytes, scratch, 256 << 20, &why));
        REQUIRE(meter.peak_bytes() <=
                2 * l.bytes.size() + (l.c == codec::zstd ? zstd_slack_bytes : slack_bytes));
    }
}

TEST_CASE("noise is refused without reading outside, and allocates at most twice its size")
{
    warm_up();
    std::mt19937_64 random{11};
    for (const auto c : packers)
        for (int i = 0; i < 2000; ++i) {
            auto bytes = noise(random() % 400, random());
            // Let half of it get past the magic.
            const auto front = packed(c, "x").substr(0, c == codec::gzip ? 10 : 7);
            if (i % 2 == 0) bytes = front + bytes;
            std::string scratch;

            const allocation_meter meter;
            (void)unpack(c, bytes, scratch, 64 << 20);
            // Noise may well be sound snappy or deflate for a while: what really comes out counts.
            const auto real = scratch.size();
            if (meter.peak_bytes() > std::max(2 * bytes.size(), 3 * real) +
                                         (c == codec::zstd ? zstd_slack_bytes : slack_bytes))
                FAIL(text(c) << " allocates " << meter.peak_bytes() << " for " << bytes.size());
        }
}

TEST_CASE("a packed input with a byte changed never harms")
{
    const auto bytes = record_like(1500);
    for (const auto c : packers) {
        const auto whole = packed(c, bytes);
        for (std::size_t i = 0; i < whole.size(); ++i)
            for (const int flip : {0x01, 0x02, 0x10, 0x40, 0x80, 0xff}) {
                auto damaged = whole;
                damaged[i]   = static_cast<char>(damaged[i] ^ flip);
                const auto o = unpacked(c, damaged, 1 << 20);
                if (o.ok) CHECK(o.bytes.size() <= 1 << 20);
            }
    }
}

TEST_CASE("a scratch that is reused is not grown again")
{
    warm_up();
    const auto bytes = record_like(100'000);
    for (const auto c : packers) {
        CAPTURE(text(c));
        const auto  p = packed(c, bytes);
        std::string scratch;
        REQUIRE(unpack(c, p, scratch, 1 << 20));

        const allocation_meter meter;
        REQUIRE(unpack(c, p, scratch, 1 << 20));
        CHECK(meter.allocations() == 0);
    }
}
