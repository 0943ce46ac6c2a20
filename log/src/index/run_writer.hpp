// SPDX-License-Identifier: Apache-2.0
//
// Writing a run. How much it will hold must be known before, so that every section has its
// place and each is written from its beginning to its end, with bounded memory.
#pragma once

#include "index/run_format.hpp"

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace cairn::detail {

/// Where the bytes of a run go: at any place, each place at most once. What is not written is
/// zero.
class run_sink
{
public:
    virtual ~run_sink()                                      = default;
    virtual void write_at(std::uint64_t at, bytes_view bytes) = 0;
};

/// Into memory.
class memory_sink final : public run_sink
{
public:
    explicit memory_sink(std::uint64_t bytes) : bytes_(bytes, '\0') {}
    void write_at(std::uint64_t at, bytes_view bytes) override
    {
        bytes_.replace(at, bytes.size(), bytes);
    }
    std::string take() { return std::move(bytes_); }

private:
    std::string bytes_;
};

/// Throws: what was to be written contradicts what was promised, which only damage can do.
[[noreturn]] void throw_run_contradicts();

/// A stretch of a sink that is written from front to back.
class section_writer
{
public:
    section_writer(run_sink& sink, const run_layout::place& where);

    void append(const void* bytes, std::size_t size)
    {
        if (size > left_) throw_run_contradicts();
        left_ -= size;
        if (filled_ + size > capacity_) flush();
        std::memcpy(buffer_.get() + filled_, bytes, size);
        filled_ += size;
    }

    /// REQUIRES: all of the section was appended; checked.
    void finish();

private:
    void flush();

    run_sink*               sink_;
    std::uint64_t           at_;
    std::uint64_t           left_;
    std::size_t             capacity_;
    std::size_t             filled_ = 0;
    std::unique_ptr<char[]> buffer_;
};

/// Entries, ascending by hash, and the blocks that lead to them.
template <class Entry>
class table_writer
{
public:
    table_writer(run_sink& sink, const run_layout& layout, const check_seed& seed,
                 run_section blocks, run_section entries)
        : blocks_{sink, layout[blocks]}
        , entries_{sink, layout[entries]}
        , block_count_{layout[blocks].items}
        , seed_{&seed}
        , block_section_{blocks}
        , entry_section_{entries}
    {
    }

    /// Sets the entry's check.
    void add(Entry& e)
    {
        const auto own = block_of(e.hash, block_count_);
        while (block_ < own)
            end_block();
        if (current_.count < fingerprints_max)
            current_.fingerprints[current_.count] = table_block::fingerprint(e.hash);
        ++current_.count;
        e.crc = check_of(e, (*seed_)(entry_section_, number_++));
        entries_.append(&e, sizeof e);
    }

    void finish()
    {
        while (block_ < block_count_)
            end_block();
        blocks_.finish();
        entries_.finish();
    }

private:
    void end_block()
    {
        current_.crc = check_of(current_, (*seed_)(block_section_, block_++));
        blocks_.append(&current_, sizeof current_);
        current_       = {};
        current_.start = static_cast<std::uint32_t>(number_);
    }

    section_writer    blocks_;
    section_writer    entries_;
    std::uint64_t     block_count_;
    std::uint64_t     block_  = 0;
    std::uint64_t     number_ = 0;
    table_block       current_;
    const check_seed* seed_;
    run_section       block_section_;
    run_section       entry_section_;
};

/// Postings, in blocks with a check each.
template <class Posting, std::uint32_t PerBlock>
class posting_writer
{
public:
    posting_writer(run_sink& sink, const run_layout& layout, const check_seed& seed, run_section s)
        : out_{sink, layout[s]}, seed_{&seed}, section_{s}
    {
    }

    /// The number that the next posting will have.
    std::uint32_t number() const noexcept
    {
        return static_cast<std::uint32_t>(block_ * PerBlock + filled_);
    }

    void add(const Posting& p)
    {
        std::memcpy(bytes_.data() + filled_ * sizeof p, &p, sizeof p);
        if (++filled_ == PerBlock) end_block();
    }

    void finish()
    {
        if (filled_ != 0) end_block();
        out_.finish();
    }

private:
    static_assert(sizeof(Posting) * PerBlock <= posting_block_check_at);

    void end_block()
    {
        const auto used = filled_ * sizeof(Posting);
        std::memset(bytes_.data() + used, 0, posting_block_check_at - used);
        const auto check = check_of_postings(bytes_.data(), (*seed_)(section_, block_++));
        std::memcpy(bytes_.data() + posting_block_check_at, &check, sizeof check);
        out_.append(bytes_.data(), bytes_.size());
        filled_ = 0;
    }

    section_writer                        out_;
    const check_seed*                     seed_;
    run_section                           section_;
    std::uint64_t                         block_  = 0;
    std::uint32_t                         filled_ = 0;
    std::array<char, posting_block_bytes> bytes_{};
};

/// What a stream has in a run, said before its events.
struct stream_part
{
    term          hash;
    std::uint32_t partition_uid = 0;
    std::int64_t  first_version = 0;
    std::uint32_t count         = 0;
};

/// Takes streams, terms and commands, each kind ascending by hash, the kinds in any order.
///
/// Threads  One.
class run_writer
{
public:
    run_writer(run_sink& sink, position first, position end, std::uint64_t key_check,
               const run_counts& counts);

    // begin_stream(), then its `count` events in order, then end_stream().
    void begin_stream(const stream_part& s);
    void event(std::uint32_t position, std::int64_t offset, std::uint32_t at, std::uint32_t check)
    {
        if (events_ == 0) {
            stream_.first          = position;
            stream_.first_offset   = offset;
            stream_.at_or_postings = at;
            stream_.check          = check;
            if (stream_.count > 1) {
                stream_.at_or_postings = stream_postings_.number();
                stream_.check          = 0;
            }
        }
        const auto delta = static_cast<std::uint64_t>(offset - stream_.first_offset);
        if (delta > 0xffff'ffff) throw_run_contradicts();
        stream_.last        = position;
        stream_.last_offset = static_cast<std::uint32_t>(delta);
        if (stream_.count > 1) stream_postings_.add({stream_.last_offset, position, at, check});
        ++events_;
    }
    void end_stream();

    // The same for a type or tag.
    void begin_term(const term& hash, std::uint32_t count);
    void posting(std::uint32_t position)
    {
        if (term_.count <= term_inline_max) {
            if (postings_ == term_.count) throw_run_contradicts();
            term_.positions[postings_] = position;
        } else {
            if (postings_ == 0) {
                term_.positions[0] = position;
                term_.positions[2] = term_postings_.number();
            }
            term_.positions[1] = position;
            term_postings_.add(position);
        }
        ++postings_;
    }
    void end_term();

    void command(const term& hash, std::uint32_t first, std::uint32_t count);

    /// Writes what is left. REQUIRES: as much as `counts` promised was added; checked.
    void finish();

private:
    run_sink*                   sink_;
    run_header                  header_;
    run_layout                  layout_;
    check_seed                  seed_;
    table_writer<stream_entry>  streams_;
    table_writer<term_entry>    terms_;
    table_writer<command_entry> commands_;
    posting_writer<packed_posting, stream_postings_per_block> stream_postings_;
    posting_writer<std::uint32_t, term_postings_per_block>    term_postings_;
    stream_entry                stream_;
    term_entry                  term_;
    std::uint32_t               events_   = 0;
    std::uint32_t               postings_ = 0;
};

/// Counts what a run will hold, in the words of run_writer.
class run_counter
{
public:
    void stream(std::uint64_t events) noexcept
    {
        ++counts_.streams;
        if (events > 1) counts_.stream_postings += events;
    }
    void term(std::uint64_t positions) noexcept
    {
        ++counts_.terms;
        if (positions > term_inline_max) counts_.term_postings += positions;
    }
    void command() noexcept { ++counts_.commands; }

    const run_counts& counts() const noexcept { return counts_; }

private:
    run_counts counts_;
};

}  // namespace cairn::detail
