// SPDX-License-Identifier: Apache-2.0
#include "groups/member_protocol.hpp"

#include "engine/bytes.hpp"

#include <algorithm>
#include <iterator>
#include <set>

namespace cairn::detail {

namespace {

constexpr std::string_view protocol_type = "cairn";  // members of a Kafka client are "consumer"
constexpr std::int8_t      format        = 0;

void put_partitions(std::string& out, const std::vector<topic_partition>& partitions)
{
    put(out, static_cast<std::int32_t>(partitions.size()));
    for (const auto& p : partitions) {
        put_string(out, p.topic);
        put(out, p.partition);
    }
}

std::vector<topic_partition> get_partitions(byte_reader& in)
{
    std::vector<topic_partition> all;
    const auto                   n = in.get<std::int32_t>();
    for (std::int32_t i = 0; i < n && in.ok(); ++i) {
        std::string topic{in.get_string()};
        all.push_back({std::move(topic), in.get<std::int32_t>()});
    }
    return all;
}

std::vector<topic_partition> without(const std::vector<topic_partition>& all,
                                     const std::vector<topic_partition>& those)
{
    std::vector<topic_partition> rest;
    std::copy_if(all.begin(), all.end(), std::back_inserter(rest), [&](const auto& p) {
        return std::find(those.begin(), those.end(), p) == those.end();
    });
    return rest;
}

}  // namespace

std::string encode_subscription(const member_subscription& s)
{
    std::string out;
    put(out, format);
    put(out, static_cast<std::int32_t>(s.topics.size()));
    for (const auto& topic : s.topics) put_string(out, topic);
    put(out, s.generation);
    put_partitions(out, s.owned);
    return out;
}

member_subscription decode_subscription(bytes_view bytes)
{
    byte_reader         in{bytes};
    member_subscription s;
    const auto          version = in.get<std::int8_t>();
    const auto          n       = in.get<std::int32_t>();
    for (std::int32_t i = 0; i < n && in.ok(); ++i) s.topics.emplace_back(in.get_string());
    s.generation = in.get<std::int32_t>();
    s.owned      = get_partitions(in);
    if (!in.ok() || version != format) return {};
    return s;
}

std::string encode_partitions(const std::vector<topic_partition>& partitions)
{
    std::string out;
    put(out, format);
    put_partitions(out, partitions);
    return out;
}

std::vector<topic_partition> decode_partitions(bytes_view bytes)
{
    byte_reader in{bytes};
    const auto  version    = in.get<std::int8_t>();
    auto        partitions = get_partitions(in);
    if (!in.ok() || version != format) partitions.clear();
    return partitions;
}

member_protocol::member_protocol(member_options options, topic_counts counts)
    : options_{std::move(options)}, counts_{std::move(counts)}
{
    who_.instance_id = options_.instance_id;
}

std::optional<member_request> member_protocol::next()
{
    if (waiting_ || change_.any() || failure_ != group_error::none) return std::nullopt;
    if (rejoin_) {
        rejoin_ = false;
        step_   = step::unjoined;
        if (!cooperative() && !owned_.empty()) {
            // Nobody owns anything while partitions are shared out anew.
            change_.revoked = std::exchange(owned_, {});
            return std::nullopt;
        }
    }
    waiting_ = true;
    switch (step_) {
    case step::unjoined:
        return join();
    case step::joined:
        return sync();
    case step::stable:
        break;
    }
    return heartbeat_request{options_.group, who_, generation_};
}

join_request member_protocol::join() const
{
    join_request r;
    r.group                 = options_.group;
    r.who                   = who_;
    r.client_id             = "cairn";
    r.protocol_type         = protocol_type;
    r.session_timeout       = options_.session_timeout;
    r.rebalance_timeout     = options_.rebalance_timeout;
    r.member_id_required    = member_id_required;
    r.knows_skip_assignment = knows_skip_assignment;
    member_subscription s;
    s.topics     = options_.topics;
    s.owned      = claimed_;
    s.generation = generation_;
    r.protocols  = {{std::string{name(options_.assignor)}, encode_subscription(s)}};
    return r;
}

sync_request member_protocol::sync() const
{
    sync_request r;
    r.group       = options_.group;
    r.who         = who_;
    r.generation  = generation_;
    r.assignments = assignments_;
    return r;
}

void member_protocol::answered(const join_answer& a)
{
    waiting_ = false;
    switch (a.error) {
    case group_error::none:
        // A static member stays in the group while it is away. What it had may have been another's
        // in a generation that it knows nothing of.
        if (generation_ >= 0 && a.generation > generation_ + 1) lose();
        who_.member_id = a.member_id;
        generation_    = a.generation;
        step_          = step::joined;
        leads_         = a.leader == a.member_id;
        assignments_.clear();
        if (leads_) lead(a);
        return;
    case group_error::rebalance_in_progress:
        return;
    case group_error::member_id_required:
        who_.member_id = a.member_id;
        return;
    case group_error::unknown_member_id:
        who_.member_id.clear();
        return lose();
    default:
        who_.member_id.clear();
        failure_ = a.error;
        return lose();
    }
}

void member_protocol::answered(const sync_answer& a)
{
    waiting_ = false;
    switch (a.error) {
    case group_error::none:
        step_ = step::stable;
        assignments_.clear();
        return own(decode_partitions(a.assignment));
    case group_error::rebalance_in_progress:
        step_ = step::unjoined;
        return;
    case group_error::illegal_generation:
        return lose();
    case group_error::unknown_member_id:
        who_.member_id.clear();
        return lose();
    default:
        who_.member_id.clear();
        failure_ = a.error;
        return lose();
    }
}

void member_protocol::answered(group_error heartbeat)
{
    waiting_ = false;
    switch (heartbeat) {
    case group_error::none:
        return;
    case group_error::rebalance_in_progress:
        rejoin_ = true;
        return;
    case group_error::fenced_instance_id:
        failure_ = heartbeat;
        return lose();
    case group_error::illegal_generation:
        return lose();
    default:
        who_.member_id.clear();
        return lose();
    }
}

void member_protocol::unanswered() noexcept
{
    waiting_ = false;
}

void member_protocol::lose()
{
    change_.lost = std::exchange(owned_, {});
    claimed_.clear();
    step_       = step::unjoined;
    rejoin_     = false;
    leads_      = false;
    generation_ = -1;
}

void member_protocol::own(std::vector<topic_partition> now)
{
    change_.added   = without(now, owned_);
    change_.revoked = without(owned_, now);
    owned_          = std::move(now);
    claimed_        = owned_;
    // What it gives up goes to another in the next generation.
    rejoin_ = !change_.revoked.empty();
}

void member_protocol::lead(const join_answer& a)
{
    std::vector<member_subscription> members;
    std::set<std::string>            topics;
    bool                             all = false;
    for (const auto& m : a.members) {
        auto s        = decode_subscription(m.metadata);
        s.member_id   = m.who.member_id;
        s.instance_id = m.who.instance_id;
        all           = all || s.topics.empty();
        topics.insert(s.topics.begin(), s.topics.end());
        members.push_back(std::move(s));
    }
    if (all) topics.clear();
    topics_.assign(topics.begin(), topics.end());
    assigned_from_ = counts_(topics_);
    incomplete_    = a.skip_assignment && cooperative();  // as far as it knows
    if (a.skip_assignment) return;

    for (auto& m : members)
        if (m.topics.empty())
            for (const auto& [topic, partitions] : assigned_from_) m.topics.push_back(topic);
    std::size_t wanted = 0, assigned = 0;
    for (const auto& [topic, partitions] : assigned_from_)
        wanted += static_cast<std::size_t>(partitions);
    for (const auto& [id, partitions] : assign(options_.assignor, members, assigned_from_)) {
        assigned += partitions.size();
        assignments_.push_back({id, encode_partitions(partitions)});
    }
    incomplete_ = assigned < wanted;
}

void member_protocol::check_topics()
{
    if (stable() && leads_ && (incomplete_ || counts_(topics_) != assigned_from_)) rejoin_ = true;
}

assignment_change member_protocol::take_change()
{
    return std::exchange(change_, {});
}

group_error member_protocol::take_failure() noexcept
{
    const auto failure = failure_;
    if (failure != group_error::fenced_instance_id) failure_ = group_error::none;
    return failure;
}

void member_protocol::reset()
{
    lose();
    change_ = {};
    who_.member_id.clear();
    waiting_ = false;
}

}  // namespace cairn::detail
