// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/partition_assignor.hpp>

#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>
#include <utility>

namespace cairn {

namespace {

using counts  = std::map<std::string, std::int32_t>;
using members = std::vector<const member_subscription*>;

/// Instance ids first, by themselves; then member ids. What Kafka's MemberInfo compares by.
bool before(const member_subscription* a, const member_subscription* b)
{
    if (a->instance_id && b->instance_id) return *a->instance_id < *b->instance_id;
    if (a->instance_id || b->instance_id) return a->instance_id.has_value();
    return a->member_id < b->member_id;
}

using indices = std::vector<std::size_t>;

/// Who has subscribed to each topic that has partitions, in their order.
std::map<std::string, indices> subscribers(const members& all, const counts& topics)
{
    std::map<std::string, indices> by_topic;
    for (std::size_t m = 0; m < all.size(); ++m)
        for (const auto& topic :
             std::set<std::string>{all[m]->topics.begin(), all[m]->topics.end()})
            if (const auto t = topics.find(topic); t != topics.end() && t->second > 0)
                by_topic[topic].push_back(m);
    return by_topic;
}

void assign_ranges(const members& all, const counts& topics, partition_assignment& to)
{
    for (const auto& [topic, theirs] : subscribers(all, topics)) {
        const auto   n         = static_cast<std::int32_t>(theirs.size());
        const auto   each      = topics.at(topic) / n;
        auto         one_more  = topics.at(topic) % n;
        std::int32_t partition = 0;
        for (const auto m : theirs)
            for (auto last = partition + each + (one_more-- > 0 ? 1 : 0); partition < last;)
                to[all[m]->member_id].push_back({topic, partition++});
    }
}

void assign_in_turn(const members& all, const counts& topics, partition_assignment& to)
{
    std::size_t turn = 0;
    for (const auto& [topic, theirs] : subscribers(all, topics))
        for (std::int32_t partition = 0; partition < topics.at(topic); ++partition) {
            while (!std::binary_search(theirs.begin(), theirs.end(), turn % all.size())) ++turn;
            to[all[turn++ % all.size()]->member_id].push_back({topic, partition});
        }
}

/// Who claims a partition, of those who do so by the latest generation.
struct claim
{
    std::int32_t             generation = -1;
    std::vector<std::size_t> by{};  // indices of members
};

std::map<topic_partition, claim> claims_of(const members& all)
{
    std::map<topic_partition, claim> claims;
    for (std::size_t m = 0; m < all.size(); ++m)
        for (const auto& p :
             std::set<topic_partition>{all[m]->owned.begin(), all[m]->owned.end()}) {
            auto& c = claims[p];
            if (all[m]->generation > c.generation) c = {all[m]->generation, {}};
            if (all[m]->generation == c.generation) c.by.push_back(m);
        }
    return claims;
}

/// Shares partitions out so that no chain of moves makes loads more even. Loads are even in that
/// sense exactly where no such chain leads from a member to one that has two less (an optimal
/// semi-matching); where all may have all partitions, such a chain is a single move.
class evening_out
{
public:
    evening_out(const members& all, const counts& topics,
                const std::map<topic_partition, claim>& claims)
        : loads_(all.size()), has_(all.size())
    {
        for (std::size_t m = 0; m < all.size(); ++m) by_load_.insert({0, m});
        std::vector<std::pair<topic_partition, std::size_t>> unowned;  // of which kind
        std::map<indices, std::size_t>                       kinds;
        for (const auto& [topic, eligible] : subscribers(all, topics)) {
            const auto kind = kinds.emplace(eligible, kinds.size()).first->second;
            if (kind == eligible_.size()) eligible_.push_back(eligible);
            for (std::int32_t number = 0; number < topics.at(topic); ++number) {
                topic_partition p{topic, number};
                const auto      c = claims.find(p);
                const bool      kept =
                    c != claims.end() && c->second.by.size() == 1 &&
                    std::binary_search(eligible.begin(), eligible.end(), c->second.by.front());
                if (kept)
                    give(c->second.by.front(), kind, {false, std::move(p)});
                else
                    unowned.emplace_back(std::move(p), kind);
            }
        }
        for (auto& [p, kind] : unowned) {
            const auto& who   = eligible_[kind];
            const auto  least = *std::min_element(
                 who.begin(), who.end(), [&](auto a, auto b) { return loads_[a] < loads_[b]; });
            give(least, kind, {true, std::move(p)});
        }
        while (improve()) {
        }
    }

    std::vector<topic_partition> of(std::size_t member) const
    {
        std::vector<topic_partition> all;
        for (const auto& [kind, partitions] : has_[member])
            for (const auto& [is_new, p] : partitions) all.push_back(p);
        return all;
    }

private:
    // What is new to its member is the last of its set: it moves on first.
    using partition = std::pair<bool, topic_partition>;

    void give(std::size_t member, std::size_t kind, partition p)
    {
        has_[member][kind].insert(std::move(p));
        set_load(member, loads_[member] + 1);
    }
    void set_load(std::size_t member, std::size_t load)
    {
        by_load_.erase({loads_[member], member});
        loads_[member] = load;
        by_load_.insert({load, member});
    }

    bool improve()
    {
        for (auto most = by_load_.rbegin(); most != by_load_.rend(); ++most) {
            if (most->first < by_load_.begin()->first + 2) return false;
            if (move_from(most->second)) return true;
        }
        return false;
    }

    /// Moves partitions along the shortest chain from a member to one that has two less.
    bool move_from(std::size_t from)
    {
        struct step
        {
            std::size_t member, kind;  // from whom, of which kind
        };
        constexpr auto    nobody = static_cast<std::size_t>(-1);
        std::vector<step> reached(loads_.size(), step{nobody, 0});
        std::vector<bool> kinds_seen(eligible_.size());
        reached[from] = {from, 0};
        for (indices now{from}, next; !now.empty(); now = std::exchange(next, {})) {
            for (const auto member : now)
                for (const auto& [kind, partitions] : has_[member]) {
                    if (partitions.empty() || kinds_seen[kind]) continue;
                    kinds_seen[kind] = true;
                    for (const auto other : eligible_[kind]) {
                        if (reached[other].member != nobody) continue;
                        reached[other] = {member, kind};
                        next.push_back(other);
                    }
                }
            const auto least = std::min_element(next.begin(), next.end(), [&](auto a, auto b) {
                return std::tie(loads_[a], a) < std::tie(loads_[b], b);
            });
            if (least == next.end() || loads_[*least] + 2 > loads_[from]) continue;
            const auto to = *least;
            for (auto member = to; member != from; member = reached[member].member) {
                const auto& by    = reached[member];
                auto&       there = has_[by.member][by.kind];
                auto        p     = there.extract(std::prev(there.end()));
                has_[member][by.kind].insert({true, std::move(p.value().second)});
            }
            set_load(from, loads_[from] - 1);
            set_load(to, loads_[to] + 1);
            return true;
        }
        return false;
    }

    std::vector<indices>                                    eligible_;  // by kind
    std::vector<std::size_t>                                loads_;
    std::vector<std::map<std::size_t, std::set<partition>>> has_;      // by member and kind
    std::set<std::pair<std::size_t, std::size_t>>           by_load_;  // load, member
};

void assign_stickily(const members& all, const counts& topics, bool cooperative,
                     partition_assignment& to)
{
    const auto        claims = claims_of(all);
    const evening_out even{all, topics, claims};
    for (std::size_t m = 0; m < all.size(); ++m)
        for (auto& p : even.of(m)) {
            const auto c = claims.find(p);
            const bool anothers =
                c != claims.end() && std::any_of(c->second.by.begin(), c->second.by.end(),
                                                 [&](auto who) { return who != m; });
            if (!cooperative || !anothers) to[all[m]->member_id].push_back(std::move(p));
        }
}

}  // namespace

std::string_view name(partition_assignor how) noexcept
{
    switch (how) {
    case partition_assignor::range:
        return "range";
    case partition_assignor::round_robin:
        return "roundrobin";
    case partition_assignor::sticky:
        return "sticky";
    case partition_assignor::cooperative_sticky:
        return "cooperative-sticky";
    }
    return "unknown";
}

partition_assignment assign(partition_assignor                         how,
                            const std::vector<member_subscription>&    subscriptions,
                            const std::map<std::string, std::int32_t>& topics)
{
    partition_assignment to;
    members              all;
    for (const auto& m : subscriptions) {
        to[m.member_id];
        all.push_back(&m);
    }
    std::sort(all.begin(), all.end(), before);
    switch (how) {
    case partition_assignor::range:
        assign_ranges(all, topics, to);
        break;
    case partition_assignor::round_robin:
        assign_in_turn(all, topics, to);
        break;
    case partition_assignor::sticky:
        assign_stickily(all, topics, false, to);
        break;
    case partition_assignor::cooperative_sticky:
        assign_stickily(all, topics, true, to);
        break;
    }
    for (auto& [id, partitions] : to) std::sort(partitions.begin(), partitions.end());
    return to;
}

}  // namespace cairn
