// SPDX-License-Identifier: Apache-2.0
#include "index/run_writer.hpp"

#include <algorithm>

namespace cairn::detail {

void throw_run_contradicts()
{
    throw storage_error{errc::damaged_index,
                        "the index contradicts itself: what a run holds is not what it says; "
                        "delete the directory index/ and it is made again"};
}

// ---- A section. --------------------------------------------------------------------------

namespace {
constexpr std::size_t buffer_bytes_max = 256 * 1024;
}

section_writer::section_writer(run_sink& sink, const run_layout::place& where)
    : sink_{&sink}
    , at_{where.at}
    , left_{where.bytes}
    , capacity_{std::min<std::size_t>(where.bytes, buffer_bytes_max)}
    , buffer_{std::make_unique_for_overwrite<char[]>(capacity_)}
{
}

void section_writer::flush()
{
    if (filled_ == 0) return;
    sink_->write_at(at_, {buffer_.get(), filled_});
    at_ += filled_;
    filled_ = 0;
}

void section_writer::finish()
{
    flush();
    if (left_ != 0) throw_run_contradicts();
}

// ---- The run. ----------------------------------------------------------------------------

run_writer::run_writer(run_sink& sink, position first, position end, std::uint64_t key_check,
                       const run_counts& c)
    : sink_{&sink}
    , layout_{c}
    , seed_{first.value, end.value}
    , streams_{sink, layout_, seed_, run_section::stream_blocks, run_section::stream_entries}
    , terms_{sink, layout_, seed_, run_section::term_blocks, run_section::term_entries}
    , commands_{sink, layout_, seed_, run_section::command_blocks, run_section::command_entries}
    , stream_postings_{sink, layout_, seed_, run_section::stream_postings}
    , term_postings_{sink, layout_, seed_, run_section::term_postings}
{
    header_.first           = first.value;
    header_.end             = end.value;
    header_.key_check       = key_check;
    header_.bytes           = layout_.bytes;
    header_.streams         = c.streams;
    header_.stream_postings = c.stream_postings;
    header_.terms           = c.terms;
    header_.term_postings   = c.term_postings;
    header_.commands        = c.commands;
    header_.check           = check_of_header(header_);
}

void run_writer::begin_stream(const stream_part& s)
{
    stream_               = {};
    stream_.hash          = s.hash;
    stream_.partition_uid = s.partition_uid;
    stream_.first_version = s.first_version;
    stream_.count         = s.count;
    events_               = 0;
}

void run_writer::end_stream()
{
    if (events_ != stream_.count || events_ == 0) throw_run_contradicts();
    streams_.add(stream_);
}

void run_writer::begin_term(const term& hash, std::uint32_t count)
{
    term_       = {};
    term_.hash  = hash;
    term_.count = count;
    postings_   = 0;
}

void run_writer::end_term()
{
    if (postings_ != term_.count || postings_ == 0) throw_run_contradicts();
    terms_.add(term_);
}

void run_writer::command(const term& hash, std::uint32_t first, std::uint32_t count)
{
    command_entry e;
    e.hash  = hash;
    e.first = first;
    e.count = count;
    commands_.add(e);
}

void run_writer::finish()
{
    streams_.finish();
    terms_.finish();
    commands_.finish();
    stream_postings_.finish();
    term_postings_.finish();
    sink_->write_at(0, {reinterpret_cast<const char*>(&header_), sizeof header_});
}

}  // namespace cairn::detail
