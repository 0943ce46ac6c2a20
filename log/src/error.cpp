// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/error.hpp>

namespace cairn {

std::string_view name(errc code) noexcept
{
    // No default: the compiler says which code was forgotten here.
    switch (code) {
    case errc::invalid_argument:
        return "invalid_argument";
    case errc::unknown_topic:
        return "unknown_topic";
    case errc::topic_exists:
        return "topic_exists";
    case errc::illegal_topic_name:
        return "illegal_topic_name";
    case errc::illegal_config:
        return "illegal_config";
    case errc::partition_out_of_range:
        return "partition_out_of_range";
    case errc::offset_out_of_range:
        return "offset_out_of_range";
    case errc::record_too_large:
        return "record_too_large";
    case errc::empty_append:
        return "empty_append";
    case errc::empty_tag:
        return "empty_tag";
    case errc::illegal_partition_count:
        return "illegal_partition_count";
    case errc::illegal_group:
        return "illegal_group";
    case errc::unknown_group:
        return "unknown_group";
    case errc::read_only:
        return "read_only";
    case errc::internal_topic:
        return "internal_topic";
    case errc::illegal_stream_id:
        return "illegal_stream_id";
    case errc::illegal_schema:
        return "illegal_schema";
    case errc::unknown_command:
        return "unknown_command";
    case errc::missing_keys:
        return "missing_keys";
    case errc::incompatible_schema:
        return "incompatible_schema";
    case errc::wrong_expected_version:
        return "wrong_expected_version";
    case errc::boundary_crossed:
        return "boundary_crossed";
    case errc::condition_beyond_head:
        return "condition_beyond_head";
    case errc::out_of_order_sequence:
        return "out_of_order_sequence";
    case errc::fenced_producer:
        return "fenced_producer";
    case errc::fenced_generation:
        return "fenced_generation";
    case errc::command_reused:
        return "command_reused";
    case errc::command_rejected:
        return "command_rejected";
    case errc::conflict:
        return "conflict";
    case errc::process_failed:
        return "process_failed";
    case errc::delivery_failed:
        return "delivery_failed";
    case errc::corrupt_batch:
        return "corrupt_batch";
    case errc::bad_magic:
        return "bad_magic";
    case errc::bad_count:
        return "bad_count";
    case errc::unknown_codec:
        return "unknown_codec";
    case errc::unpacks_too_large:
        return "unpacks_too_large";
    case errc::malformed_event:
        return "malformed_event";
    case errc::unknown_event:
        return "unknown_event";
    case errc::snapshot_differs:
        return "snapshot_differs";
    case errc::damaged_journal:
        return "damaged_journal";
    case errc::damaged_segment:
        return "damaged_segment";
    case errc::damaged_index:
        return "damaged_index";
    case errc::not_a_data_directory:
        return "not_a_data_directory";
    case errc::newer_format:
        return "newer_format";
    case errc::not_writable:
        return "not_writable";
    case errc::held_by_another:
        return "held_by_another";
    case errc::disk_full:
        return "disk_full";
    case errc::io_failed:
        return "io_failed";
    case errc::closed:
        return "closed";
    case errc::out_of_memory:
        return "out_of_memory";
    }
    return "unknown";
}

}  // namespace cairn
