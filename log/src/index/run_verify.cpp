// SPDX-License-Identifier: Apache-2.0
//
// Checks all of a run: every check, and that tables, entries and postings say the same. What
// passes leads no lookup and no merge astray, whoever made it.
#include "index/run.hpp"

#include <optional>

namespace cairn::detail {
namespace {

using tell = std::function<void(const std::string&)>;

/// Goes through a run from front to back. Each fault is told; where one thing is damaged, what
/// hangs on it is not looked at.
class verifier
{
public:
    verifier(const run& r, const tell& fault)
        : run_{r}, fault_{fault}, span_{static_cast<std::uint64_t>(r.end() - r.first())}
    {
    }

    void all()
    {
        gaps();
        table(run_.streams(), run_section::stream_blocks, run_section::stream_entries);
        posting_blocks(run_section::stream_postings, postings_, sizeof(packed_posting),
                       stream_postings_per_block, run_.counts().stream_postings);
        postings_ = 0;
        table(run_.terms(), run_section::term_blocks, run_section::term_entries);
        posting_blocks(run_section::term_postings, postings_, sizeof(std::uint32_t),
                       term_postings_per_block, run_.counts().term_postings);
        table(run_.commands(), run_section::command_blocks, run_section::command_entries);
    }

private:
    void say(run_section s, std::uint64_t byte, const char* what)
    {
        fault_("index run " + run_.name() + ", byte " +
               std::to_string(run_.layout()[s].at + byte) + ": " + what);
    }

    /// Between the sections are zeros.
    void gaps()
    {
        for (std::size_t i = 0; i < run_sections; ++i) {
            const auto& place = run_.layout().sections[i];
            const auto  next  = i + 1 < run_sections ? run_.layout().sections[i + 1].at
                                                     : run_.layout().bytes;
            const auto  from  = place.at + place.bytes;
            const auto  gap   = run_.whole().substr(from, next - from);
            if (gap.find_first_not_of('\0') != bytes_view::npos)
                say(static_cast<run_section>(i), place.bytes, "what should be zero is not");
        }
    }

    template <class Entry>
    void table(const run_table<Entry>& t, run_section blocks, run_section entries)
    {
        const auto    block_count = run_.layout()[blocks].items;
        const auto*   at          = run_.whole().data() + run_.layout()[blocks].at;
        std::uint64_t number      = 0;
        bool          readable    = true;
        last_.reset();
        for (std::uint64_t b = 0; b < block_count; ++b) {
            table_block block;
            std::memcpy(static_cast<void*>(&block), at + b * sizeof block, sizeof block);
            if (block.crc != check_of(block, run_.seed(blocks, b))) {
                say(blocks, b * sizeof block, "a block does not check");
                readable = false;
                continue;
            }
            if (!readable) continue;
            if (block.start != number || block.count > t.size() - number)
                return say(blocks, b * sizeof block, "a block leads to the wrong entries");
            for (std::uint32_t i = 0; i < fingerprints_max; ++i) {
                const auto expected =
                    i < block.count ? table_block::fingerprint(t.peek(number + i).hash) : 0;
                if (block.fingerprints[i] != expected)
                    say(blocks, b * sizeof block, "a block does not fit its entries");
            }
            number += block.count;
            for (auto i = number - block.count; i < number; ++i)
                if (block_of(t.peek(i).hash, block_count) != b)
                    say(entries, i * sizeof(Entry), "an entry is in the wrong block");
        }
        if (readable && number != t.size()) say(blocks, 0, "the blocks do not cover the entries");
        for (std::uint64_t i = 0; i < t.size(); ++i) {
            try {
                entry(t.at(i), entries, i * sizeof(Entry));
            } catch (const storage_error& e) {
                fault_(e.what());
            }
        }
    }

    template <class Entry>
    void entry(const Entry& e, run_section s, std::uint64_t byte)
    {
        if (last_ && !(*last_ < e.hash)) say(s, byte, "entries are out of order");
        last_ = e.hash;
        content(e, s, byte);
    }

    void content(const stream_entry& e, run_section s, std::uint64_t byte)
    {
        constexpr std::int64_t large = std::int64_t{1} << 62;
        if (e.first > e.last || e.last >= span_ || e.first_version < 0 ||
            e.first_version > large || e.first_offset < 0 || e.first_offset > large)
            return say(s, byte, "an entry has impossible numbers");
        if (e.count == 1) {
            if (e.first != e.last || e.last_offset != 0)
                say(s, byte, "an entry contradicts itself");
            return;
        }
        if (!takes(e.at_or_postings, e.count, run_.counts().stream_postings) || e.check != 0)
            return say(s, byte, "an entry leads to the wrong postings");
        stream_cursor  cursor{run_};
        packed_posting before{};
        for (std::uint32_t i = 0; i < e.count; ++i) {
            const auto p = cursor.at(e, i);
            if (i == 0 ? p.position != e.first || p.offset != 0
                       : p.position <= before.position || p.offset <= before.offset)
                return say(s, byte, "the postings of an entry are out of order");
            before = p;
        }
        if (before.position != e.last || before.offset != e.last_offset)
            say(s, byte, "an entry does not fit its postings");
    }

    void content(const term_entry& e, run_section s, std::uint64_t byte)
    {
        if (!e.is_inline() &&
            (!takes(e.postings(), e.count, run_.counts().term_postings) || e.positions[3] != 0))
            return say(s, byte, "an entry leads to the wrong postings");
        term_cursor   cursor{run_, e};
        std::uint32_t before = 0;
        for (std::uint32_t i = 0; i < e.count; ++i) {
            const auto p = cursor.at(i);
            if ((i != 0 && p <= before) || p >= span_)
                return say(s, byte, "the postings of an entry are out of order");
            before = p;
        }
        if (cursor.at(0) != e.first() || before != e.last())
            say(s, byte, "an entry does not fit its postings");
        for (auto i = e.count; i < term_inline_max; ++i)
            if (e.positions[i] != 0) say(s, byte, "an entry has more than it says");
    }

    void content(const command_entry& e, run_section s, std::uint64_t byte)
    {
        if (std::uint64_t{e.first} + e.count > span_ || e.zero != 0)
            say(s, byte, "an entry has impossible numbers");
    }

    /// Entries take the postings in turn, each all of its own and none left out.
    bool takes(std::uint32_t from, std::uint32_t count, std::uint64_t all)
    {
        if (from != postings_ || count > all - postings_) return false;
        postings_ += count;
        return true;
    }

    void posting_blocks(run_section s, std::uint64_t taken, std::size_t posting_bytes,
                        std::uint32_t per_block, std::uint64_t all)
    {
        if (taken != all) say(s, 0, "some postings belong to nobody");
        for (std::uint64_t b = 0; b < run_.layout()[s].items; ++b) {
            try {
                const bytes_view block{run_.posting_block(s, b), posting_block_check_at};
                const auto       used = std::min<std::uint64_t>(all - b * per_block, per_block);
                if (block.substr(used * posting_bytes).find_first_not_of('\0') != bytes_view::npos)
                    say(s, b * posting_block_bytes, "what should be zero is not");
            } catch (const storage_error& e) {
                fault_(e.what());
            }
        }
    }

    const run&          run_;
    const tell&         fault_;
    std::uint64_t       span_;
    std::uint64_t       postings_ = 0;
    std::optional<term> last_;
};

}  // namespace

void run::verify(const std::function<void(const std::string&)>& fault) const
{
    if (check_of_header(header_) != header_.check ||
        std::memcmp(bytes_.data(), &header_, sizeof header_) != 0)
        fault("index run " + name_ + ", byte 0: the header has changed");
    verifier{*this, fault}.all();
}

}  // namespace cairn::detail
