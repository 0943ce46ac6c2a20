// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace cairn {

/// What went wrong, as a number and a name that never change. docs/reference/errors.md has a
/// line for each: what it means, where it comes from, what to do next.
enum class errc : int
{
    // The caller asked for something that cannot be.
    invalid_argument      = 100,
    unknown_topic         = 101,
    topic_exists          = 102,
    illegal_topic_name    = 103,
    illegal_config        = 104,
    partition_out_of_range = 105,
    offset_out_of_range   = 106,
    record_too_large      = 107,
    empty_append          = 108,
    empty_tag             = 109,
    illegal_partition_count = 110,
    illegal_group         = 111,
    unknown_group         = 112,
    read_only             = 114,
    internal_topic        = 116,
    illegal_stream_id     = 117,
    illegal_schema        = 118,
    incompatible_schema   = 119,
    missing_keys          = 120,
    unknown_command       = 121,
    not_reading           = 122,
    not_writing           = 123,
    key_too_long          = 124,
    shape_differs         = 125,
    rows_not_apart        = 126,

    // An append was refused because of what the log holds.
    wrong_expected_version = 200,
    boundary_crossed       = 201,
    condition_beyond_head  = 202,
    out_of_order_sequence  = 203,
    fenced_producer        = 204,
    fenced_generation      = 205,
    command_reused         = 206,
    command_rejected       = 207,
    conflict               = 208,
    process_failed         = 210,
    delivery_failed        = 211,
    projection_failed      = 220,
    checkpoint_ahead       = 221,
    events_removed         = 222,
    not_ready              = 223,
    read_timeout           = 224,
    fenced_instance        = 230,
    group_refused          = 231,

    // Bytes are not what they should be.
    corrupt_batch     = 300,
    bad_magic         = 301,
    bad_count         = 302,
    unknown_codec     = 303,
    unpacks_too_large = 304,
    malformed_event   = 305,
    unknown_event     = 306,
    snapshot_differs  = 307,
    damaged_journal   = 310,
    damaged_segment   = 311,
    damaged_index     = 312,
    damaged_table     = 313,

    // The world.
    not_a_data_directory = 400,
    newer_format         = 401,
    not_writable         = 402,
    held_by_another      = 403,
    disk_full            = 404,
    io_failed            = 405,
    closed               = 406,
    out_of_memory        = 407,
    store_unavailable    = 408,
};

/// The stable name of a code, e.g. "disk_full".
std::string_view name(errc code) noexcept;

/// What Cairn throws. what() says what happened, where, and what to do next.
class error : public std::runtime_error
{
public:
    error(errc code, const std::string& what) : std::runtime_error{what}, code_{code} {}

    errc code() const noexcept { return code_; }

private:
    errc code_;
};

/// The disk, or what is on it, failed.
class storage_error : public error
{
public:
    using error::error;
};

/// An offset that is not, or not any more, or not yet, in the partition.
class offset_out_of_range : public error
{
public:
    explicit offset_out_of_range(const std::string& what)
        : error{errc::offset_out_of_range, what}
    {
    }
};

}  // namespace cairn
