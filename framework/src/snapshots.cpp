// SPDX-License-Identifier: Apache-2.0
#include "snapshots.hpp"

#include <algorithm>
#include <charconv>

namespace cairn::detail {

namespace {

constexpr const char*      topic          = "__snapshots";
constexpr std::string_view version_header = "cairn_snapshotversion";
constexpr std::string_view at_header      = "cairn_position";
constexpr std::string_view topic_header   = "cairn_topicid";
constexpr std::size_t      waiting_max    = 1024;

std::int64_t number_in(const record_view& r, std::string_view name)
{
    const auto   text = r.headers.find(name).value_or(bytes_view{});
    std::int64_t n    = -1;
    std::from_chars(text.data(), text.data() + text.size(), n);
    return n;
}

std::string hex(const topic_id& id)
{
    constexpr std::string_view digits = "0123456789abcdef";
    std::string                text;
    for (const auto byte : id) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

}  // namespace

snapshots::snapshots(event_store store, const aggregate_type& type, const snapshot_policy& policy)
    : store_{std::move(store)}, type_{type}, policy_{policy},
      type_text_{data_schema_of(type.snapshot->schema)}
{
    const auto personal = [](capnp::StructSchema one) { return has_personal(one); };
    sealed_             = store_.core().keys() &&
              (std::ranges::any_of(type.schemas, personal) ||
               std::ranges::any_of(store_.core().options.upcasters.old_types(), personal));
    auto log = store_.log();
    if (log.try_describe_topic(topic)) return;
    topic_config compacted;
    compacted.set("cleanup.policy", "compact");
    log.ensure_topic(topic, 1, compacted);
}

snapshots::~snapshots()
{
    {
        const std::lock_guard lock{mutex_};
        stop_ = true;
    }
    wakes_.notify_one();
    if (writer_.joinable()) writer_.join();
}

std::string snapshots::key_of(const stream_id& stream) const
{
    return stream.topic + "/" + stream.key + "#" + type_text_;
}

std::string snapshots::bound_to(const stream_id& stream, version at) const
{
    return key_of(stream) + "@" + std::to_string(at.value);
}

bool snapshots::restore(instance& to, const stream_id& stream)
{
    auto&       core  = store_.core();
    auto        range = core.log.read_stream_backwards({topic, key_of(stream)});
    const auto* r     = range.next();
    if (!r) return false;
    const version at{number_in(*r, header_names::stream_version)};
    // The topic may have been made anew; a restored backup may not have what it is a snapshot of.
    if (!r->value || number_in(*r, version_header) != type_.snapshot->version || at.value <= 0 ||
        r->headers.find(topic_header) != hex(core.log.id_of_topic(stream.topic)) ||
        at > core.log.stream_version(stream)) {
        ++counts_.ignored;
        return false;
    }
    try {
        auto                       plain = *r;
        std::optional<std::string> opened_value;
        if (sealed_) {
            opened_value = core.keys()->open(*r->value, bound_to(stream, at));
            if (!opened_value) {
                ++counts_.ignored;
                return false;
            }
            plain.value = *opened_value;
        }
        const auto type  = event_type_of(plain);
        const auto state = type.personal
                               ? core.codec_of(type_.snapshot->schema).unsealed(plain, core.keys())
                               : any_event{type_.snapshot->schema, *plain.value};
        message    opened{state.bytes()};
        to.restore(opened.opened(), at, position{number_in(*r, at_header)});
        if (policy_.verified) verify(*r, to, stream);
    } catch (const error& e) {
        to.forget();
        if (e.code() == errc::snapshot_differs) throw;
        ++counts_.ignored;
        return false;
    } catch (...) {  // restore() of a user may throw anything; its events are there
        to.forget();
        ++counts_.ignored;
        return false;
    }
    ++counts_.used;
    return true;
}

void snapshots::verify(const record_view& r, instance& restored, const stream_id& stream) const
{
    const auto at = restored.at();
    instance   folded{type_};
    try {
        folded.catch_up(store_.core(), stream, unknown_events::skip, {at, {}, {}});
    } catch (const error& e) {
        if (e.code() == errc::events_removed) return;  // nothing to compare with
        throw;
    }
    const auto state    = type_.snapshot->save(restored.state());
    const auto expected = type_.snapshot->save(folded.state());
    if (expected == state) return;
    throw error{errc::snapshot_differs,
                stream.topic + "/" + stream.key + ": the snapshot at version " +
                    std::to_string(at.value) + " (" + topic + " offset " +
                    std::to_string(r.offset.value) + ") says " + state.json() +
                    ", and its events come to " + expected.json() +
                    ": raise the aggregate's snapshot_version"};
}

void snapshots::offer(instance& of, const stream_id& stream, std::chrono::microseconds loaded_in,
                      const state_basis& basis) noexcept
try {
    const auto due = [](std::uint64_t limit, std::uint64_t now) {
        return limit > 0 && now >= limit;
    };
    if (!due(policy_.every_events, of.unsaved_events()) &&
        !due(policy_.every_bytes, of.unsaved_bytes()) &&
        !(policy_.load_time.count() > 0 && loaded_in >= policy_.load_time &&
          of.unsaved_events() > 0))
        return;
    taken one{stream, of.at(), of.last(), type_.snapshot->save(of.state()), basis};
    {
        const std::lock_guard lock{mutex_};
        if (stop_ || waiting_.size() == waiting_max) return;
        waiting_.push_back(std::move(one));
        if (!writer_.joinable()) writer_ = std::thread{[this] { run(); }};
    }
    wakes_.notify_one();
    of.saved();
} catch (...) {
    // save() of a user may throw anything; the events are recorded, and it only saves time.
}

void snapshots::write(const taken& t)
{
    auto&                                              core = store_.core();
    std::optional<std::shared_lock<std::shared_mutex>> nobody_forgotten;
    if (core.keys()) {
        nobody_forgotten = core.keys()->remembered_since(t.basis.forgotten);
        if (!nobody_forgotten) return;
    }
    auto r = core.record_of(t.state, t.stream, t.at, {});
    if (sealed_) r.value = core.keys()->seal_snapshot(*r.value, bound_to(t.stream, t.at));
    nobody_forgotten.reset();
    if (core.forgotten() != t.basis.forgotten) return;  // through another ring, while it was sealed
    r.key = key_of(t.stream);
    r.headers.push_back(
        {std::string{version_header}, std::to_string(type_.snapshot->version)});
    r.headers.push_back({std::string{at_header}, std::to_string(t.last.value)});
    r.headers.push_back({std::string{topic_header}, hex(t.basis.topic)});
    append_request request;
    request.records.push_back({topic, std::move(r)});
    core.log.append(request);
    ++counts_.taken;
}

void snapshots::run()
{
    for (;;) {
        std::deque<taken> all;
        bool              stop = false;
        {
            std::unique_lock lock{mutex_};
            wakes_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
            all.swap(waiting_);
            stop = stop_;
        }
        for (const auto& t : all) {
            try {
                write(t);
            } catch (const std::exception&) {
                // It only saves time; the next one is tried again.
            }
        }
        if (stop) return;
    }
}

}  // namespace cairn::detail
