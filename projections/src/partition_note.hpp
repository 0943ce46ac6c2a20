// SPDX-License-Identifier: Apache-2.0
//
// How far a projection is with something, of a partition: the newest record of a key.
//
//     <projection>/<topic>-<partition>   up to which offset, as text
#pragma once

#include <cairn/log/commit_log.hpp>

#include <charconv>
#include <string>

namespace cairn::detail {

inline std::string text_of(const topic_partition& in)
{
    return in.topic + "-" + std::to_string(in.partition);
}

inline stream_id note_of(const std::string& topic, const std::string& projection,
                         const topic_partition& in)
{
    return {topic, projection + "/" + text_of(in)};
}

/// Makes the topic where it is not there.
inline void ensure_notes(commit_log log, const std::string& topic)
{
    topic_config compacted;
    compacted.cleanup_delete  = false;
    compacted.cleanup_compact = true;
    log.ensure_topic(topic, 1, compacted);
}

/// 0 where nothing is noted. Throws malformed_event.
inline offset noted_in(const commit_log& log, const stream_id& note)
{
    auto        newest = log.read_stream_backwards(note);
    const auto* r      = newest.next();
    offset      upto{0};
    if (r == nullptr || !r->value) return upto;
    const auto end = r->value->data() + r->value->size();
    if (const auto read = std::from_chars(r->value->data(), end, upto.value);
        read.ec != std::errc{} || read.ptr != end)
        throw error{errc::malformed_event, "the newest record of " + note.topic + "/" + note.key +
                                               " is no offset: somebody else wrote it; delete it"};
    return upto;
}

}  // namespace cairn::detail
