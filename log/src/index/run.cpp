// SPDX-License-Identifier: Apache-2.0
#include "index/run.hpp"

#include "file.hpp"

#include <cairn/log/crc32c.hpp>

#include <charconv>
#include <cstddef>
#include <variant>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace cairn::detail {
namespace {

bytes_view as_bytes(const void* at, std::size_t size) noexcept
{
    return {static_cast<const char*>(at), size};
}

[[noreturn]] void throw_damaged(const std::string& name, std::uint64_t byte, const char* what)
{
    throw storage_error{errc::damaged_index,
                        "index run " + name + " is damaged at byte " + std::to_string(byte) + ": " +
                            what + "; delete the directory index/ and it is made again"};
}

run_header read_header(const std::string& name, bytes_view bytes, std::uint64_t key_check)
{
    run_header h;
    if (bytes.size() < sizeof h) throw_damaged(name, bytes.size(), "shorter than its header");
    const run_header expected;
    std::memcpy(static_cast<void*>(&h), bytes.data(), sizeof h);
    if (h.magic != expected.magic) throw_damaged(name, 0, "not a run");
    if (h.check != check_of_header(h)) throw_damaged(name, 12, "the header does not check");
    if (h.version != run_format_version) throw_damaged(name, 8, "of another version");
    if (h.key_check != key_check) throw_damaged(name, 32, "made with another key");
    if (h.bytes != bytes.size()) throw_damaged(name, bytes.size(), "not as long as it says");

    const auto limit = static_cast<std::uint64_t>(run_positions_max);
    const bool sane  = h.first >= 0 && h.end >= h.first &&
                      static_cast<std::uint64_t>(h.end - h.first) <= limit && h.streams <= limit &&
                      h.stream_postings <= limit && h.terms <= limit && h.term_postings <= limit &&
                      h.commands <= limit;
    if (!sane) throw_damaged(name, 16, "the header has impossible counts");
    return h;
}

run_counts counts_in(const run_header& h) noexcept
{
    return {h.streams, h.stream_postings, h.terms, h.term_postings, h.commands};
}

}  // namespace

// ---- Checks. -----------------------------------------------------------------------------

check_seed::check_seed(std::int64_t first, std::int64_t end) noexcept
{
    const std::array<std::int64_t, 2> place{first, end};
    run_ = crc32c(as_bytes(place.data(), sizeof place));
}

template <class Item>
std::uint32_t check_of(const Item& item, std::uint32_t seed) noexcept
{
    return crc32c(as_bytes(reinterpret_cast<const char*>(&item) + 4, sizeof item - 4), seed);
}
template std::uint32_t check_of(const table_block&, std::uint32_t) noexcept;
template std::uint32_t check_of(const stream_entry&, std::uint32_t) noexcept;
template std::uint32_t check_of(const term_entry&, std::uint32_t) noexcept;
template std::uint32_t check_of(const command_entry&, std::uint32_t) noexcept;

std::uint32_t check_of_postings(const char* block, std::uint32_t seed) noexcept
{
    return crc32c({block, posting_block_check_at}, seed);
}

std::uint32_t check_of_header(run_header h) noexcept
{
    h.check = 0;
    return crc32c(as_bytes(&h, sizeof h));
}

// ---- A table. ----------------------------------------------------------------------------

namespace {

/// A bit for each of the 26 that is equal.
std::uint32_t equal_fingerprints(const char* at, std::uint16_t wanted) noexcept
{
    static_assert(fingerprints_max == 26);
#if defined(__SSE2__)
    const auto all   = _mm_set1_epi16(static_cast<short>(wanted));
    const auto equal = [&](std::size_t first) {
        const auto* from = reinterpret_cast<const __m128i*>(at + 2 * first);
        return _mm_cmpeq_epi16(_mm_loadu_si128(from), all);
    };
    const auto low  = _mm_movemask_epi8(_mm_packs_epi16(equal(0), equal(8)));
    const auto high = _mm_movemask_epi8(_mm_packs_epi16(equal(16), equal(18)));
    const auto bits = static_cast<std::uint32_t>(high);
    return static_cast<std::uint32_t>(low) | (bits & 0xff) << 16 | (bits >> 14) << 24;
#else
    std::uint32_t bits = 0;
    for (std::uint32_t i = 0; i < fingerprints_max; ++i) {
        std::uint16_t f;
        std::memcpy(&f, at + 2 * i, sizeof f);
        bits |= std::uint32_t{f == wanted} << i;
    }
    return bits;
#endif
}

}  // namespace

template <class Entry>
run_table<Entry>::run_table(const run& owner, run_section blocks, run_section entries) noexcept
    : run_{&owner}
    , blocks_at_{owner.section(blocks)}
    , entries_at_{owner.section(entries)}
    , blocks_{owner.layout()[blocks].items}
    , entries_{owner.layout()[entries].items}
    , block_section_{blocks}
    , entry_section_{entries}
{
}

template <class Entry>
Entry run_table<Entry>::at(std::uint64_t number) const
{
    if (number >= entries_) run_->damaged(block_section_, 0, "leads to an entry that is not there");
    const Entry e = peek(number);
    if (e.crc != check_of(e, run_->seed(entry_section_, number)) || e.count == 0)
        run_->damaged(entry_section_, number * sizeof(Entry), "an entry does not check");
    return e;
}

template <class Entry>
auto run_table<Entry>::look(const term& t) const -> candidates
{
    if (blocks_ == 0) return {};
    const auto  number = block_of(t, blocks_);
    const char* block  = blocks_at_ + number * sizeof(table_block);
    const auto  field  = [&](std::size_t at) {
        std::uint32_t v;
        std::memcpy(&v, block + at, sizeof v);
        return v;
    };
    const auto check = crc32c({block + 4, sizeof(table_block) - 4},
                              run_->seed(block_section_, number));
    if (field(offsetof(table_block, crc)) != check)
        run_->damaged(block_section_, number * sizeof(table_block), "a block does not check");

    candidates c;
    c.from       = field(offsetof(table_block, start));
    c.count      = field(offsetof(table_block, count));
    c.overflowed = c.count > fingerprints_max;
    if (!c.overflowed)
        c.bits = equal_fingerprints(block + offsetof(table_block, fingerprints),
                                    table_block::fingerprint(t)) &
                 ((1u << c.count) - 1);
    return c;
}

template <class Entry>
bool run_table<Entry>::find_among(const candidates& c, const term& t, Entry& found) const
{
    for (auto bits = c.bits; bits != 0; bits &= bits - 1) {
        found = at(c.from + static_cast<std::uint32_t>(std::countr_zero(bits)));
        if (found.hash == t) return true;
    }
    if (!c.overflowed) return false;
    std::uint64_t low  = c.from;
    std::uint64_t high = low + c.count;
    while (low < high) {
        const auto middle = low + (high - low) / 2;
        found             = at(middle);
        if (found.hash == t) return true;
        if (found.hash < t)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

template <class Entry>
bool run_table<Entry>::find(const term& t, Entry& found) const
{
    const auto c = look(t);
    return !c.none() && find_among(c, t, found);
}

template class run_table<stream_entry>;
template class run_table<term_entry>;
template class run_table<command_entry>;

// ---- The run. ----------------------------------------------------------------------------

struct run::backing
{
    std::variant<file_map, std::string> bytes;

    bytes_view view() const noexcept
    {
        if (auto* map = std::get_if<file_map>(&bytes)) return map->bytes();
        return std::get<std::string>(bytes);
    }
};

run::run(std::unique_ptr<backing> b, std::string name, std::uint64_t key_check)
    : backing_{std::move(b)}
    , bytes_{backing_->view()}
    , name_{std::move(name)}
    , header_{read_header(name_, bytes_, key_check)}
    , layout_{counts_in(header_)}
    , seed_{header_.first, header_.end}
    , streams_{*this, run_section::stream_blocks, run_section::stream_entries}
    , terms_{*this, run_section::term_blocks, run_section::term_entries}
    , commands_{*this, run_section::command_blocks, run_section::command_entries}
{
    if (layout_.bytes != bytes_.size()) throw_damaged(name_, 40, "its length is not its counts'");
}

run::~run() = default;

std::shared_ptr<const run> run::open(const std::string& path, std::uint64_t key_check)
{
    auto b   = std::make_unique<backing>();
    b->bytes = file_map{path, file_map::pattern::random};
    return std::shared_ptr<const run>{new run{std::move(b), path, key_check}};
}

std::shared_ptr<const run> run::in_memory(std::string bytes, std::string name,
                                          std::uint64_t key_check)
{
    auto b   = std::make_unique<backing>();
    b->bytes = std::move(bytes);
    return std::shared_ptr<const run>{new run{std::move(b), std::move(name), key_check}};
}

bool run::is_file() const noexcept
{
    return std::holds_alternative<file_map>(backing_->bytes);
}

run_counts run::counts() const noexcept
{
    return counts_in(header_);
}

void run::advise_sequential(bool yes) const noexcept
{
    if (auto* map = std::get_if<file_map>(&backing_->bytes))
        map->advise(yes ? file_map::pattern::sequential : file_map::pattern::random);
}

const char* run::posting_block(run_section s, std::uint64_t number) const
{
    if (number >= layout_[s].items) damaged(s, 0, "an entry leads past the postings");
    const char*   block = section(s) + number * posting_block_bytes;
    std::uint32_t check;
    std::memcpy(&check, block + posting_block_check_at, sizeof check);
    if (check != check_of_postings(block, seed_(s, number)))
        damaged(s, number * posting_block_bytes, "a block of postings does not check");
    return block;
}

void run::damaged(run_section s, std::uint64_t byte_in_section, const char* what) const
{
    throw_damaged(name_, layout_[s].at + byte_in_section, what);
}

// ---- Cursors. ----------------------------------------------------------------------------

std::uint32_t stream_cursor::count_before(const stream_entry& e, std::uint64_t position)
{
    if (position <= e.first) return 0;
    if (position > e.last) return e.count;
    std::uint32_t low  = 0;
    std::uint32_t high = e.count - 1;  // the last is not before
    while (low < high) {
        const auto middle = low + (high - low) / 2;
        if (at(e, middle).position < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

std::uint32_t term_cursor::count_before(std::uint64_t position)
{
    if (entry_.is_inline()) {
        std::uint32_t n = 0;
        while (n < entry_.count && entry_.positions[n] < position)
            ++n;
        return n;
    }
    if (position <= entry_.first()) return 0;
    if (position > entry_.last()) return entry_.count;

    // The answer lies in (low, high]: at(low) is before the position, at(high) is not.
    std::uint64_t low       = 0;
    std::uint64_t high      = entry_.count - 1;
    std::uint64_t low_is    = entry_.first();
    std::uint64_t high_is   = entry_.last();
    const auto    postings  = std::uint64_t{entry_.postings()};
    for (int tries = 0; low + 1 < high; ++tries) {
        std::uint64_t guess = low + (high - low) / 2;
        if (tries % 4 != 3 && high_is > low_is)  // a bad spread must not make it linear
            guess = low + (position - low_is) * (high - low) / (high_is - low_is);
        guess = std::clamp(guess, low + 1, high - 1);

        const auto block = (postings + guess) / term_postings_per_block;
        load(block);
        const auto block_start = block * term_postings_per_block;
        const auto from = std::max(block_start, postings + low + 1);
        const auto to   = std::min(block_start + term_postings_per_block, postings + high);
        const auto slot = [&](std::uint64_t number) {
            return static_cast<std::uint32_t>(number - block_start);
        };
        if (in_block(slot(from)) >= position) {
            high    = from - postings;
            high_is = in_block(slot(from));
        } else if (in_block(slot(to - 1)) < position) {
            low    = to - 1 - postings;
            low_is = in_block(slot(to - 1));
        } else {
            auto a = slot(from);    // before
            auto z = slot(to - 1);  // not before
            while (a + 1 < z) {
                const auto middle = a + (z - a) / 2;
                (in_block(middle) < position ? a : z) = middle;
            }
            return static_cast<std::uint32_t>(block_start + z - postings);
        }
    }
    return static_cast<std::uint32_t>(high);
}

// ---- Names. ------------------------------------------------------------------------------

std::string run_file_name(position first, position end)
{
    const auto padded = [](std::int64_t v) {
        const auto digits = std::to_string(v);
        return std::string(20 - std::min<std::size_t>(digits.size(), 20), '0') + digits;
    };
    return padded(first.value) + '-' + padded(end.value) + ".run";
}

bool parse_run_file_name(const std::string& name, position& first, position& end)
{
    if (name.size() != 45) return false;
    const char* text = name.data();
    std::from_chars(text, text + 20, first.value);
    std::from_chars(text + 21, text + 41, end.value);
    return first.value >= 0 && end > first && name == run_file_name(first, end);
}

}  // namespace cairn::detail
