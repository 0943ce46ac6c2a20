// SPDX-License-Identifier: Apache-2.0
#include "cairn_store.hpp"

#include <utility>

namespace cairn::bench {

namespace {

struct request final : prepared
{
    append_request what;
};

}  // namespace

append_record record_of(const event& e)
{
    append_record r;
    r.topic        = cairn_store::topic;
    r.record.key   = e.stream;
    r.record.value = e.value;
    r.record.headers.reserve(2);
    r.record.headers.push_back({std::string{header_names::type}, e.type});
    if (!e.tags.empty())
        r.record.headers.push_back({std::string{header_names::tags}, join_tags(e.tags)});
    return r;
}

cairn_store::cairn_store(const std::string& directory, std::int32_t partitions)
    : log_{commit_log::open(directory, [] {
          log_options o;
          o.cleanup_interval = std::chrono::hours{1};  // not what is measured here
          return o;
      }())}
{
    log_.create_topic(topic, partitions);
}

void cairn_store::append(std::span<const event> events)
{
    append_request request;
    request.records.reserve(events.size());
    for (const auto& e : events) request.records.push_back(record_of(e));
    // One condition for each stream: what the first of its events expects.
    for (std::size_t i = 0; i < events.size(); ++i)
        if (i == 0 || events[i].stream != events[i - 1].stream)
            request.expect.push_back({{topic, events[i].stream},
                                      expected_version::exactly(version{events[i].version})});
    log_.append(request);
}

void cairn_store::append_under_boundary(const event& e)
{
    append_request request;
    request.records.push_back(record_of(e));
    request.boundaries.push_back({query{{{{}, e.tags}}}, std::nullopt});
    log_.append(request);
}

std::unique_ptr<prepared> cairn_store::prepare(std::vector<event> events)
{
    auto r = std::make_unique<request>();
    for (const auto& e : events) r->what.records.push_back(record_of(e));
    return r;
}

void cairn_store::bulk(prepared& events, std::int64_t)
{
    log_.append(static_cast<request&>(events).what);
}

void cairn_store::read_all(
    const std::function<void(std::string_view type, std::string_view value)>& each)
{
    auto all = log_.read_all();
    while (const auto* r = all.next()) each(*r->headers.begin()->value, *r->value);
}

void cairn_store::replay(tally& t) { bench::replay(log_, t); }

void replay(const commit_log& log, tally& t)
{
    // The type is the first header, as the framework writes it, so that dispatch reads one.
    auto all = log.read_all();
    while (const auto* r = all.next()) t.take(*r->headers.begin()->value, *r->value);
}

void cairn_store::settle() { log_.merge(); }

std::unique_ptr<store> make_cairn(const std::string& directory)
{
    return std::make_unique<cairn_store>(directory, 8);
}

}  // namespace cairn::bench
