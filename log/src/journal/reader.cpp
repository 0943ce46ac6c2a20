// SPDX-License-Identifier: Apache-2.0
#include "journal/reader.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace cairn::detail {

namespace {

// How far behind a tail a later group is looked for. It follows the one that is missing, so
// this is the longest run of lost sectors that is noticed.
constexpr std::uint64_t seek_sectors = (1 << 20) / journal_sector_bytes;

constexpr std::uint64_t window_sectors = (1 << 20) / journal_sector_bytes;

bool is_good(const journal_group_header& h, std::uint64_t salt) noexcept
{
    return h.magic == journal_group_magic && h.salt == salt && h.check == journal_check(h) &&
           h.first >= 0 && h.first <= std::numeric_limits<std::int64_t>::max() - h.positions;
}

}  // namespace

journal_file_opening read_journal_opening(const file& f, std::uint64_t generation)
{
    journal_file_opening                                  result;
    alignas(8) std::array<char, 2 * journal_sector_bytes> sectors{};
    const auto there = f.read_at(0, sectors.data(), sectors.size());
    std::memcpy(&result.header, sectors.data(), sizeof result.header);

    std::uint32_t check;
    std::memcpy(&check, sectors.data() + journal_sector_bytes - sizeof check, sizeof check);
    if (there < journal_sector_bytes) {
        result.complaint = "the file is too short for its header";
    } else if (check != crc32c({sectors.data(), journal_sector_bytes - sizeof check})) {
        result.complaint = "the header does not pass its check";
    } else if (result.header.magic != journal_file_magic) {
        result.complaint = "the header has the wrong magic";
    } else if (result.header.version > journal_version) {
        throw storage_error{errc::newer_format,
                            "the journal " + f.path() + " has format " +
                                std::to_string(result.header.version) +
                                ", newer than this program knows; open it with the program that "
                                "wrote it, or a later one"};
    } else if (result.header.version != journal_version ||
               result.header.sector_bytes != journal_sector_bytes) {
        result.complaint = "the header has an unknown version or sector size";
    } else if (result.header.generation != generation) {
        result.complaint = "the header says generation " +
                           std::to_string(result.header.generation) + ", the name another";
    }
    if (!result.complaint.empty() || there < sectors.size()) return result;

    const auto* first = sectors.data() + journal_sector_bytes;
    if (journal_sector_state(first, 1, generation) == sector_state::begins) {
        journal_group_header h;
        std::memcpy(&h, first, sizeof h);
        if (is_good(h, result.header.salt)) result.first = position{h.first};
    }
    return result;
}

journal_reader::journal_reader(const file& f, const journal_file_header& header)
    : file_{f}, header_{header}, sectors_{std::min(f.size(), header.bytes) / journal_sector_bytes}
{
}

journal_reader::step journal_reader::next()
{
    if (at_ >= sectors_) return step::end;
    switch (state(at_)) {
    case sector_state::absent:
        return end_unless_more_follows("a group is missing");
    case sector_state::goes_on:
        return fail(at_, "the beginning of a group is missing");
    case sector_state::broken:
        return fail(at_, "a sector does not pass its check");
    case sector_state::begins:
        break;
    }
    journal_group_header h;
    if (!read_header(at_, h)) return fail(at_, "the header of a group does not pass its check");
    return read_group(h);
}

journal_reader::step journal_reader::read_group(const journal_group_header& h)
{
    const auto first_sector = at_;
    const auto count        = journal_group_sectors(h.payload_bytes);
    if (count > sectors_ - at_) return fail(at_, "a group is longer than what is left of the file");

    char* const begin = window(at_, count);
    bool        torn  = false;
    for (std::uint64_t i = 1; i < count; ++i) {
        const auto s =
            journal_sector_state(begin + i * journal_sector_bytes, at_ + i, header_.generation);
        if (s == sector_state::absent) torn = true;
        if (s == sector_state::broken) return fail(at_ + i, "a sector does not pass its check");
        if (s == sector_state::begins) return fail(at_ + i, "a group begins inside another");
    }
    if (torn) return end_unless_more_follows("a group is incomplete");

    // Without the tags the payload is in one piece.
    for (std::uint64_t i = 1; i < count; ++i)
        std::memmove(begin + i * journal_sector_data, begin + i * journal_sector_bytes,
                     journal_sector_data);
    const auto body = bytes_view{begin, count * journal_sector_data}.substr(sizeof h);
    at_ += count;
    if (crc32c(body) != h.payload_check)
        return fail(first_sector, "a group does not pass its check");

    group_ = {.first   = position{h.first},
              .end     = position{h.first} + h.positions,
              .payload = body.substr(0, h.payload_bytes),
              .at      = first_sector * journal_sector_bytes,
              .bytes   = count * journal_sector_bytes};
    return step::group;
}

// One group is written at a time, so what is torn is the last: a later one says it was damaged.
journal_reader::step journal_reader::end_unless_more_follows(std::string what)
{
    const auto tail = at_;
    if (!seek_group(at_ + 1)) {
        at_ = sectors_;
        return step::end;
    }
    fault_ = {tail * journal_sector_bytes, std::move(what) + ", and another follows at byte " +
                                               std::to_string(at_ * journal_sector_bytes)};
    return step::damage;
}

journal_reader::step journal_reader::fail(std::uint64_t sector, std::string what)
{
    fault_ = {sector * journal_sector_bytes, std::move(what)};
    if (!seek_group(std::max(at_, sector + 1))) at_ = sectors_;
    return step::damage;
}

bool journal_reader::seek_group(std::uint64_t sector)
{
    journal_group_header h;
    for (std::uint64_t unwritten = 0; sector < sectors_ && unwritten < seek_sectors; ++sector) {
        const auto s = state(sector);
        if (s == sector_state::begins && read_header(sector, h)) {
            at_ = sector;
            return true;
        }
        unwritten = s == sector_state::absent ? unwritten + 1 : 0;
    }
    return false;
}

sector_state journal_reader::state(std::uint64_t sector)
{
    return journal_sector_state(window(sector, 1), sector, header_.generation);
}

bool journal_reader::read_header(std::uint64_t sector, journal_group_header& h)
{
    std::memcpy(&h, window(sector, 1), sizeof h);
    return is_good(h, header_.salt);
}

// The sectors [sector, sector + count), in memory in one piece. What was before is given up.
char* journal_reader::window(std::uint64_t sector, std::uint64_t count)
{
    if (sector < window_begin_ || sector + count > window_end_) {
        const auto wanted = std::min(std::max(count, window_sectors), sectors_ - sector);
        if (wanted > buffer_sectors_) {
            buffer_.reset();  // not two at a time
            buffer_sectors_ = 0;
            buffer_         = std::make_unique_for_overwrite<char[]>(wanted * journal_sector_bytes);
            buffer_sectors_ = wanted;
        }
        window_begin_    = sector;
        window_end_      = sector;
        const auto bytes = static_cast<std::size_t>(wanted * journal_sector_bytes);
        const auto there = file_.read_at(sector * journal_sector_bytes, buffer_.get(), bytes);
        // The file shrank while it was read: what is gone reads as never written.
        std::fill_n(buffer_.get() + there, bytes - there, '\0');
        window_end_ = sector + wanted;
    }
    return buffer_.get() + (sector - window_begin_) * journal_sector_bytes;
}

}  // namespace cairn::detail
