// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/commit_log.hpp>

#include "engine/engine.hpp"
#include "engine/sources.hpp"

#include <limits>

namespace cairn {

using detail::direction;

namespace {

constexpr position newest{std::numeric_limits<std::int64_t>::max() - 1};
constexpr version  last{std::numeric_limits<std::int64_t>::max() - 1};

}  // namespace

// ---- partition. -------------------------------------------------------------------------------

struct partition::handle
{
    std::shared_ptr<detail::engine> engine;
    detail::partition_state         at;
    std::uint32_t                   uid = 0;

    void check_alive() const
    {
        if (!engine->alive(uid))
            throw error{errc::unknown_topic, "topic " + at.topic->name + " was deleted"};
    }
};

const topic_partition& partition::id() const noexcept
{
    return handle_->at.topic->names[static_cast<std::size_t>(handle_->at.number)];
}

offset partition::start_offset() const
{
    handle_->check_alive();
    return handle_->engine->start_offset(handle_->uid);
}

offset partition::end_offset() const
{
    handle_->check_alive();
    return handle_->engine->end_offset(handle_->uid);
}

receipt partition::append_batch(bytes_view batch)
{
    return handle_->engine->append_batch(handle_->at.topic, handle_->at.number, batch);
}

std::optional<record_range> partition::try_read(offset from) const
{
    if (from < start_offset() || from > end_offset()) return std::nullopt;
    return record_range{detail::partition_source(handle_->engine, handle_->at, handle_->uid, from,
                                                 direction::forward)};
}

namespace {

[[noreturn]] void refuse_offset(const partition& p, offset at)
{
    const auto start = p.start_offset(), end = p.end_offset();
    const char* const why = at.value < 0 ? "offsets begin at 0; for the oldest kept, read from "
                                           "start_offset()"
                            : at < start ? "retention has removed it; go on from the oldest kept"
                                         : "it is not there yet; go on from the end";
    throw offset_out_of_range{p.id().topic + "-" + std::to_string(p.id().partition) +
                              ": offset " + std::to_string(at.value) + " is not in " +
                              std::to_string(start.value) + " to " + std::to_string(end.value) +
                              ": " + why};
}

}  // namespace

record_range partition::read(offset from) const
{
    if (auto range = try_read(from)) return std::move(*range);
    refuse_offset(*this, from);
}

record_range partition::read_backwards(offset from) const
{
    handle_->check_alive();
    return record_range{detail::partition_source(handle_->engine, handle_->at, handle_->uid, from,
                                                 direction::backward)};
}

std::vector<stored_batch> partition::read_batches(offset from, std::size_t max_bytes) const
{
    if (from < start_offset() || from > end_offset()) refuse_offset(*this, from);
    std::vector<detail::placed_batch> placed;
    handle_->engine->read(handle_->uid, from, {max_bytes, 100'000}, placed);
    std::vector<stored_batch> batches;
    batches.reserve(placed.size());
    for (auto& b : placed)
        batches.push_back({b.position, b.base, b.end_offset(), b.bytes, std::move(b.owner)});
    return batches;
}

std::optional<std::pair<offset, timestamp>> partition::offset_for_time(timestamp t) const
{
    handle_->check_alive();
    return handle_->engine->offset_for_time(handle_->uid, t);
}

void partition::truncate_before(offset to) { handle_->engine->truncate(handle_->uid, id(), to); }

// ---- commit_log. ------------------------------------------------------------------------------

commit_log commit_log::open(const std::string& directory, log_options options)
{
    if (directory.empty())
        throw error{errc::invalid_argument,
                    "the data directory has no name: give one, or use commit_log::in_memory()"};
    auto path = directory;
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    return commit_log{std::make_shared<detail::engine>(path, std::move(options))};
}

commit_log commit_log::in_memory(log_options options)
{
    options.read_only = false;
    return commit_log{std::make_shared<detail::engine>(std::string{}, std::move(options))};
}

void commit_log::create_topic(const std::string& name, std::int32_t partitions,
                              const topic_config& config)
{
    engine_->create_topic(name, partitions, config);
}

bool commit_log::ensure_topic(const std::string& name, std::int32_t partitions,
                              const topic_config& config)
{
    return engine_->ensure_topic(name, partitions, config);
}

std::vector<std::string> commit_log::topics(bool with_internal) const
{
    std::vector<std::string> names;
    for (const auto& t : engine_->topics())
        if (with_internal || !t->internal) names.push_back(t->name);
    return names;
}

topic_description commit_log::describe_topic(const std::string& name) const
{
    return engine_->describe(*engine_->topic(name));
}

topic_id commit_log::id_of_topic(const std::string& name) const
{
    return engine_->topic(name)->id;
}

std::optional<topic_description> commit_log::try_describe_topic(const std::string& name) const
{
    const auto t = engine_->find_topic(name);
    if (!t) return std::nullopt;
    return engine_->describe(*t);
}

void commit_log::alter_topic(const std::string& name, const topic_config& config)
{
    engine_->alter_topic(name, config);
}

void commit_log::add_partitions(const std::string& name, std::int32_t total)
{
    engine_->add_partitions(name, total);
}

void commit_log::delete_topic(const std::string& name) { engine_->delete_topic(name); }

receipt commit_log::append(const append_request& request) { return try_append(request).value(); }

append_result commit_log::try_append(const append_request& request)
{
    return engine_->append(request);
}

std::optional<receipt> commit_log::find_command(const std::string& command_id) const
{
    return engine_->find_command(command_id);
}

partition commit_log::partition(const std::string& topic, std::int32_t number) const
{
    const auto t = engine_->topic(topic);
    if (number < 0 || number >= t->partitions())
        throw error{errc::partition_out_of_range,
                    "topic " + topic + " has partitions 0 to " +
                        std::to_string(t->partitions() - 1) + ", not " + std::to_string(number) +
                        ": name one of them, or add partitions"};
    return cairn::partition{std::make_shared<const partition::handle>(partition::handle{
        engine_, {t, number}, t->uids[static_cast<std::size_t>(number)]})};
}

std::vector<partition> commit_log::partitions(const std::string& topic) const
{
    std::vector<cairn::partition> all;
    const auto                    count = engine_->topic(topic)->partitions();
    for (std::int32_t p = 0; p < count; ++p) all.push_back(partition(topic, p));
    return all;
}

position commit_log::end_position() const noexcept { return engine_->end(); }

record_range commit_log::read_all(position from) const
{
    return record_range{detail::log_source(engine_, from, direction::forward)};
}

record_range commit_log::read_all_backwards() const { return read_all_backwards(newest); }

record_range commit_log::read_all_backwards(position from) const
{
    return record_range{detail::log_source(engine_, from, direction::backward)};
}

record_range commit_log::read_stream(const stream_id& stream, version from) const
{
    return record_range{detail::stream_source(engine_, stream, from, direction::forward)};
}

record_range commit_log::read_stream_backwards(const stream_id& stream) const
{
    return read_stream_backwards(stream, last);
}

record_range commit_log::read_stream_backwards(const stream_id& stream, version from) const
{
    return record_range{detail::stream_source(engine_, stream, from, direction::backward)};
}

version commit_log::stream_version(const stream_id& stream) const
{
    const auto t      = engine_->topic(stream.topic);
    const auto number = engine_->locate(*t, stream.key);
    const auto uid    = t->uids[static_cast<std::size_t>(number)];
    const auto& index = engine_->index();
    return version{index.head(index.hasher().stream(uid, stream.key)).count};
}

std::int32_t commit_log::partition_of(const stream_id& stream) const
{
    return engine_->locate(*engine_->topic(stream.topic), stream.key);
}

record_range commit_log::read_query(const query& q, position from) const
{
    return record_range{detail::query_source(engine_, q, from, direction::forward)};
}

record_range commit_log::read_query_backwards(const query& q) const
{
    return read_query_backwards(q, newest);
}

record_range commit_log::read_query_backwards(const query& q, position from) const
{
    return record_range{detail::query_source(engine_, q, from, direction::backward)};
}

std::optional<position> commit_log::last_match(const query& q) const
{
    return engine_->last_match(q);
}

bool commit_log::wait_for(position p, std::chrono::steady_clock::time_point deadline) const
{
    return engine_->wait_beyond(p, deadline);
}

consumer_groups commit_log::groups() const { return consumer_groups{engine_}; }

void commit_log::merge() { engine_->merge(); }

void commit_log::roll_segment() { engine_->roll_segment(); }

std::uint64_t commit_log::clean() { return engine_->clean(); }

void commit_log::backup(const std::string& directory) const { engine_->backup(directory); }

log_statistics commit_log::statistics() const { return engine_->statistics(); }

const std::string& commit_log::directory() const noexcept { return engine_->directory(); }

void commit_log::close() { engine_->close(); }

}  // namespace cairn
