// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/group_coordinator.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>

namespace cairn {

namespace {

using instant = group_coordinator::instant;

constexpr std::size_t name_bytes_max = 32'767;  // Kafka's STRING
constexpr instant     never          = instant::max();

struct group_member_state
{
    member_identity             who;
    std::string                 client_id, client_host;
    std::vector<group_protocol> protocols;
    std::chrono::milliseconds   session_timeout{}, rebalance_timeout{};
    std::string                 assignment;

    /// Who waits for its join's, or its sync's answer. It waits for us, so it is not silent.
    std::optional<std::uint64_t> joining, syncing;
    bool                         is_new = true;  // has had no generation yet
    instant                      expires{};

    instant alive_until() const noexcept
    {
        return (joining && !is_new) || syncing ? never : expires;
    }
    const group_protocol* protocol(const std::string& name) const noexcept
    {
        const auto found = std::find_if(protocols.begin(), protocols.end(),
                                        [&](const auto& p) { return p.name == name; });
        return found == protocols.end() ? nullptr : &*found;
    }
};

struct group
{
    std::string  name;
    group_state  state      = group_state::empty;
    std::int32_t generation = -1;
    std::string  protocol_type, protocol, leader;

    std::map<std::string, group_member_state> members;  // by member id
    std::map<std::string, std::string>        statics;  // instance id → member id
    std::map<std::string, instant>            pending;  // ids that were given; until when

    // While it prepares: until when it waits. The first time it may wait again for newcomers.
    instant                   join_until = never;
    bool                      first_time = false;
    bool                      newcomer   = false;
    std::chrono::milliseconds may_wait_again{};

    // Who has not asked for its assignment in this generation; until when it may.
    std::set<std::string> unsynced;
    instant               sync_until = never;

    instant deadline = never;  // as group_coordinator::impl::deadlines has it

    bool is(group_state s) const noexcept { return state == s; }

    std::chrono::milliseconds rebalance_timeout() const noexcept
    {
        std::chrono::milliseconds longest{0};
        for (const auto& [id, m] : members) longest = std::max(longest, m.rebalance_timeout);
        return longest;
    }

    instant next_deadline() const noexcept
    {
        instant next = never;
        for (const auto& [id, until] : pending) next = std::min(next, until);
        for (const auto& [id, m] : members) next = std::min(next, m.alive_until());
        if (is(group_state::preparing_rebalance)) next = std::min(next, join_until);
        if (!unsynced.empty()) next = std::min(next, sync_until);
        return next;
    }

    std::vector<joined_member> joined() const
    {
        std::vector<joined_member> all;
        for (const auto& [id, m] : members) {
            const auto* p = m.protocol(protocol);
            all.push_back({m.who, p ? p->metadata : std::string{}});
        }
        return all;
    }

    bool all_have(const std::string& wanted) const
    {
        return std::all_of(members.begin(), members.end(),
                           [&](const auto& m) { return m.second.protocol(wanted) != nullptr; });
    }

    /// Each votes for the first of its own that all have. Of those with equal votes, the first
    /// by name: members that start anew in another order choose the same.
    std::string chosen_protocol() const
    {
        std::map<std::string, int> votes;
        for (const auto& [id, m] : members) {
            const auto vote = std::find_if(m.protocols.begin(), m.protocols.end(),
                                           [&](const auto& p) { return all_have(p.name); });
            if (vote != m.protocols.end()) ++votes[vote->name];
        }
        const auto most =
            std::max_element(votes.begin(), votes.end(),
                             [](const auto& a, const auto& b) { return a.second < b.second; });
        return most == votes.end() ? std::string{} : most->first;
    }

    bool takes(const join_request& r) const
    {
        if (r.protocol_type.empty() || r.protocols.empty()) return false;
        if (members.empty()) return true;
        return r.protocol_type == protocol_type &&
               std::any_of(r.protocols.begin(), r.protocols.end(),
                           [&](const auto& p) { return all_have(p.name); });
    }
};

/// What each of the calls works with: a group, when it is, and where answers go.
struct work
{
    group&         g;
    instant        now;
    group_outcome& out;
};

void answer(const work& w, std::optional<std::uint64_t>& token, join_answer a)
{
    if (token) w.out.answers.push_back({*token, std::move(a)});
    token.reset();
}

void answer(const work& w, std::optional<std::uint64_t>& token, sync_answer a)
{
    if (token) w.out.answers.push_back({*token, std::move(a)});
    token.reset();
}

join_answer refused(group_error error, std::string member_id = {})
{
    join_answer a;
    a.error     = error;
    a.member_id = std::move(member_id);
    return a;
}

sync_answer refused_sync(group_error error)
{
    sync_answer a;
    a.error = error;
    return a;
}

void heard_of(group_member_state& m, instant now)
{
    m.expires = now + m.session_timeout;
}

/// What a member of this generation is told. `members` for its leader.
join_answer welcome(const group& g, const group_member_state& m)
{
    join_answer a;
    a.generation    = g.generation;
    a.protocol_type = g.protocol_type;
    a.protocol      = g.protocol;
    a.leader        = g.leader;
    a.member_id     = m.who.member_id;
    if (g.leader == a.member_id) a.members = g.joined();
    return a;
}

sync_answer assigned(const group& g, const group_member_state& m)
{
    return {group_error::none, g.protocol_type, g.protocol, m.assignment};
}

group_error check_member(const group& g, const member_identity& who)
{
    if (who.instance_id) {
        const auto known = g.statics.find(*who.instance_id);
        if (known == g.statics.end()) return group_error::unknown_member_id;
        if (known->second != who.member_id) return group_error::fenced_instance_id;
    }
    return g.members.count(who.member_id) ? group_error::none : group_error::unknown_member_id;
}

/// A generation begins, of those that are members now.
void begin_generation(const work& w)
{
    auto& g = w.g;
    ++g.generation;
    w.out.raised.push_back({g.name, g.generation});
    g.join_until = never;
    g.first_time = false;
    g.unsynced.clear();
    if (g.members.empty()) {
        g.state = group_state::empty;
        g.protocol.clear();
        g.leader.clear();
        return;
    }
    g.state      = group_state::completing_rebalance;
    g.protocol   = g.chosen_protocol();
    g.sync_until = w.now + g.rebalance_timeout();
    for (auto& [id, m] : g.members) {
        g.unsynced.insert(id);
        m.assignment.clear();
        if (!m.joining) continue;  // a static member that is away: as long as its session lasts
        m.is_new = false;
        heard_of(m, w.now);
        answer(w, m.joining, welcome(g, m));
    }
}

void forget_member(const work& w, const std::string& member_id)
{
    auto& g = w.g;
    auto  m = g.members.extract(member_id);
    answer(w, m.mapped().joining, refused(group_error::unknown_member_id, member_id));
    answer(w, m.mapped().syncing, refused_sync(group_error::unknown_member_id));
    if (m.mapped().who.instance_id) g.statics.erase(*m.mapped().who.instance_id);
    g.unsynced.erase(member_id);
}

void end_preparing(const work& w)
{
    auto&                    g = w.g;
    std::vector<std::string> away;
    for (const auto& [id, m] : g.members)
        if (!m.joining && !m.who.instance_id) away.push_back(id);
    for (const auto& id : away) forget_member(w, id);

    // The leader is one who will hear of it.
    const auto leader = g.members.find(g.leader);
    if (leader == g.members.end() || !leader->second.joining) {
        const auto other = std::find_if(g.members.begin(), g.members.end(),
                                        [](const auto& m) { return m.second.joining; });
        if (other == g.members.end() && !g.members.empty()) {
            // All are static members that are away: until one is back, or its session ends.
            g.join_until = w.now + g.rebalance_timeout();
            return;
        }
        if (other != g.members.end()) g.leader = other->first;
    }
    begin_generation(w);
}

void end_preparing_if_all_joined(const work& w)
{
    auto& g = w.g;
    if (!g.is(group_state::preparing_rebalance) || g.first_time || !g.pending.empty()) return;
    if (std::all_of(g.members.begin(), g.members.end(),
                    [](const auto& m) { return m.second.joining.has_value(); }))
        end_preparing(w);
}

/// Everybody is to join again.
void prepare(const work& w, const group_options& options)
{
    auto& g = w.g;
    if (g.is(group_state::preparing_rebalance)) return end_preparing_if_all_joined(w);
    if (g.is(group_state::empty) && g.members.empty()) return;

    for (auto& [id, m] : g.members) {
        if (!m.syncing) continue;
        heard_of(m, w.now);
        answer(w, m.syncing, refused_sync(group_error::rebalance_in_progress));
    }
    g.unsynced.clear();
    const auto timeout = g.rebalance_timeout();
    if (g.is(group_state::empty)) {
        const auto delay = std::min(options.initial_delay, timeout);
        g.first_time     = true;
        g.newcomer       = false;
        g.may_wait_again = timeout - delay;
        g.join_until     = w.now + delay;
    } else {
        g.first_time = false;
        g.join_until = w.now + timeout;
    }
    g.state = group_state::preparing_rebalance;
    end_preparing_if_all_joined(w);
}

void remove_member(const work& w, const group_options& options, const std::string& member_id)
{
    forget_member(w, member_id);
    prepare(w, options);
}

/// Lets happen what is due by now, in the order of its time as far as it matters.
void settle(const work& w, const group_options& options)
{
    auto& g = w.g;
    for (;;) {
        for (auto p = g.pending.begin(); p != g.pending.end();)
            p = p->second <= w.now ? g.pending.erase(p) : std::next(p);

        std::vector<std::string> silent;
        for (const auto& [id, m] : g.members)
            if (m.alive_until() <= w.now) silent.push_back(id);
        if (!g.unsynced.empty() && g.sync_until <= w.now)
            silent.insert(silent.end(), g.unsynced.begin(), g.unsynced.end());
        for (const auto& id : silent)
            if (g.members.count(id)) remove_member(w, options, id);

        end_preparing_if_all_joined(w);
        if (!g.is(group_state::preparing_rebalance) || g.join_until > w.now) return;

        if (g.first_time && g.newcomer && g.may_wait_again.count() > 0) {
            const auto delay = std::min(options.initial_delay, g.may_wait_again);
            g.may_wait_again -= delay;
            g.newcomer   = false;
            g.join_until = w.now + delay;
        } else {
            end_preparing(w);
        }
    }
}

void update(group_member_state& m, const join_request& r, std::uint64_t token)
{
    m.client_id         = r.client_id;
    m.client_host       = r.client_host;
    m.protocols         = r.protocols;
    m.session_timeout   = r.session_timeout;
    m.rebalance_timeout = std::max(r.rebalance_timeout, std::chrono::milliseconds{1});
    m.joining           = token;
}

void add_member(const work& w, const group_options& options, const join_request& r,
                const std::string& member_id, std::uint64_t token)
{
    auto& g = w.g;
    if (g.members.empty()) {
        g.protocol_type = r.protocol_type;
        g.leader        = member_id;
    }
    auto& m = g.members[member_id];
    m.who   = {member_id, r.who.instance_id};
    update(m, r, token);
    m.expires = w.now + options.first_join_max;
    if (r.who.instance_id) g.statics[*r.who.instance_id] = member_id;
    if (g.is(group_state::preparing_rebalance)) g.newcomer = true;
    prepare(w, options);
}

/// A known static member is back, under a new member id. The old one is fenced from here on.
void replace_static(const work& w, const group_options& options, const join_request& r,
                    const std::string& member_id, std::uint64_t token)
{
    auto&      g          = w.g;
    const auto old_id     = g.statics[*r.who.instance_id];
    const auto old_leader = g.leader;

    auto node = g.members.extract(old_id);
    answer(w, node.mapped().joining, refused(group_error::fenced_instance_id, old_id));
    answer(w, node.mapped().syncing, refused_sync(group_error::fenced_instance_id));
    node.key()                    = member_id;
    auto& m                       = g.members.insert(std::move(node)).position->second;
    m.who                         = {member_id, r.who.instance_id};
    g.statics[*r.who.instance_id] = member_id;
    if (g.leader == old_id) g.leader = member_id;
    if (g.unsynced.erase(old_id)) g.unsynced.insert(member_id);
    update(m, r, token);
    heard_of(m, w.now);

    if (!g.is(group_state::stable) || g.chosen_protocol() != g.protocol) return prepare(w, options);

    // Its assignment is what it was: nobody else needs to know.
    auto a = welcome(g, m);
    if (r.knows_skip_assignment) {
        a.skip_assignment = g.leader == member_id;
    } else {
        a.members.clear();
        a.leader = old_leader;  // so that it does not assign anew
    }
    answer(w, m.joining, std::move(a));
}

void join_again(const work& w, const group_options& options, const join_request& r,
                std::uint64_t token)
{
    auto&      g    = w.g;
    auto&      m    = g.members.at(r.who.member_id);
    const bool same = m.protocols == r.protocols;
    // One who asks again has given up the first time.
    answer(w, m.joining, refused(group_error::rebalance_in_progress, m.who.member_id));
    answer(w, m.syncing, refused_sync(group_error::rebalance_in_progress));
    update(m, r, token);
    if (!m.is_new) heard_of(m, w.now);

    const bool missed = g.is(group_state::completing_rebalance) ||
                        (g.is(group_state::stable) && g.leader != m.who.member_id);
    if (missed && same)
        answer(w, m.joining, welcome(g, m));  // it has lost its answer
    else
        prepare(w, options);
}

std::size_t bytes_of(const join_request& r)
{
    std::size_t bytes = r.client_id.size() + r.client_host.size() + r.protocol_type.size() +
                        (r.who.instance_id ? r.who.instance_id->size() : 0);
    for (const auto& p : r.protocols) bytes += p.name.size() + p.metadata.size();
    return bytes;
}

}  // namespace

struct group_coordinator::impl
{
    group_options                                   options;
    std::function<std::uint64_t()>                  random;
    std::function<std::int32_t(const std::string&)> remembered;
    std::map<std::string, group>                    groups{};
    std::set<std::pair<instant, std::string>>       deadlines{};

    group* find(const std::string& name)
    {
        const auto found = groups.find(name);
        return found == groups.end() ? nullptr : &found->second;
    }

    /// Does something to a group as it is by now, lets happen what comes of it, and notes when
    /// there is more.
    template <class F>
    auto on(group& g, instant now, group_outcome& out, F&& f)
    {
        const work w{g, now, out};
        settle(w, options);
        auto result = f(w);
        settle(w, options);
        note_deadline(g);
        // Nothing came of it: not worth remembering.
        if (g.is(group_state::empty) && g.generation < 0 && g.pending.empty())
            erase(groups.find(g.name));
        return result;
    }

    void note_deadline(group& g)
    {
        const auto next = g.next_deadline();
        if (next == g.deadline) return;
        if (g.deadline != never) deadlines.erase({g.deadline, g.name});
        if (next != never) deadlines.insert({next, g.name});
        g.deadline = next;
    }

    void erase(std::map<std::string, group>::iterator which)
    {
        if (which->second.deadline != never)
            deadlines.erase({which->second.deadline, which->first});
        groups.erase(which);
    }

    group* find_or_make(const std::string& name)
    {
        if (auto* const g = find(name)) return g;
        if (groups.size() >= options.groups_max) {
            const auto idle = std::find_if(groups.begin(), groups.end(), [](const auto& g) {
                return g.second.is(group_state::empty) && g.second.pending.empty();
            });
            if (idle == groups.end()) return nullptr;
            erase(idle);
        }
        group g;
        g.name       = name;
        g.generation = remembered ? std::max(remembered(name), -1) : -1;
        return &groups.emplace(name, std::move(g)).first->second;
    }

    std::string new_member_id(const join_request& r)
    {
        // The form that Kafka's are in: <client or instance>-<uuid>.
        constexpr std::string_view digits = "0123456789abcdef";
        std::string                id     = r.who.instance_id.value_or(r.client_id);
        const std::array           bits{random(), random()};
        for (int i = 0; i < 32; ++i) {
            if (i == 0 || i == 8 || i == 12 || i == 16 || i == 20) id += '-';
            id += digits[bits[static_cast<std::size_t>(i / 16)] >> (60 - i % 16 * 4) & 15];
        }
        return id;
    }

    group_error check_limits(const join_request& r) const
    {
        if (r.group.empty() || r.group.size() > name_bytes_max)
            return group_error::invalid_group_id;
        if (r.session_timeout < options.session_timeout_min ||
            r.session_timeout > options.session_timeout_max)
            return group_error::invalid_session_timeout;
        if (bytes_of(r) > options.member_bytes_max) return group_error::policy_violation;
        return group_error::none;
    }

    group_error join(const work& w, const join_request& r, std::uint64_t token,
                     std::string& member_id)
    {
        auto&      g       = w.g;
        const bool pending = g.pending.count(r.who.member_id) > 0;
        const bool is_new  = r.who.member_id.empty() || pending;
        if (!is_new)
            if (const auto e = check_member(g, r.who); e != group_error::none) return e;

        const auto known = r.who.instance_id ? g.statics.find(*r.who.instance_id) : g.statics.end();
        const bool back  = is_new && known != g.statics.end();
        if (!g.takes(r)) return group_error::inconsistent_group_protocol;
        if (is_new && !back && g.members.size() + g.pending.size() - pending >= options.members_max)
            return group_error::group_max_size_reached;

        if (!is_new) {
            join_again(w, options, r, token);
            return group_error::none;
        }
        member_id = pending ? r.who.member_id : new_member_id(r);
        g.pending.erase(member_id);
        if (!pending && r.member_id_required && !r.who.instance_id) {
            g.pending[member_id] = w.now + r.session_timeout;
            return group_error::member_id_required;
        }
        if (back)
            replace_static(w, options, r, member_id, token);
        else
            add_member(w, options, r, member_id, token);
        return group_error::none;
    }

    group_error sync(const work& w, const sync_request& r, std::uint64_t token)
    {
        auto& g = w.g;
        if (const auto e = check_member(g, r.who); e != group_error::none) return e;
        if (r.generation != g.generation) return group_error::illegal_generation;
        if ((r.protocol_type && *r.protocol_type != g.protocol_type) ||
            (r.protocol && *r.protocol != g.protocol))
            return group_error::inconsistent_group_protocol;
        if (g.is(group_state::preparing_rebalance)) return group_error::rebalance_in_progress;

        auto& m = g.members.at(r.who.member_id);
        if (g.is(group_state::completing_rebalance) && g.leader == r.who.member_id) {
            std::size_t bytes = 0;
            for (const auto& a : r.assignments) bytes += a.assignment.size();
            if (bytes > options.assignment_bytes_max) return group_error::policy_violation;
            for (const auto& a : r.assignments)
                if (const auto to = g.members.find(a.member_id); to != g.members.end())
                    to->second.assignment = a.assignment;
            g.state = group_state::stable;
        }
        answer(w, m.syncing, refused_sync(group_error::rebalance_in_progress));
        m.syncing = token;
        heard_of(m, w.now);
        g.unsynced.erase(r.who.member_id);
        if (g.is(group_state::stable))
            for (auto& [id, each] : g.members) {
                if (each.syncing) heard_of(each, w.now);
                answer(w, each.syncing, assigned(g, each));
            }
        return group_error::none;
    }

    group_error leave(const work& w, const member_identity& who)
    {
        auto&       g         = w.g;
        std::string member_id = who.member_id;
        if (g.pending.erase(member_id) > 0) {
            end_preparing_if_all_joined(w);
            return group_error::none;
        }
        if (who.instance_id && member_id.empty()) {
            const auto known = g.statics.find(*who.instance_id);
            if (known == g.statics.end()) return group_error::unknown_member_id;
            member_id = known->second;
        }
        const auto e = check_member(g, {member_id, who.instance_id});
        if (e == group_error::none) remove_member(w, options, member_id);
        return e;
    }
};

group_coordinator::group_coordinator(
    group_options o, std::function<std::uint64_t()> random,
    std::function<std::int32_t(const std::string& group)> remembered)
    : impl_{std::make_unique<impl>(impl{o, std::move(random), std::move(remembered)})}
{
}

group_coordinator::~group_coordinator()                                       = default;
group_coordinator::group_coordinator(group_coordinator&&) noexcept            = default;
group_coordinator& group_coordinator::operator=(group_coordinator&&) noexcept = default;

void group_coordinator::join(const join_request& request, std::uint64_t token, instant now,
                             group_outcome& out)
{
    std::string member_id = request.who.member_id;
    const auto  no        = [&](group_error error) {
        out.answers.push_back({token, refused(error, member_id)});
    };
    if (const auto e = impl_->check_limits(request); e != group_error::none) return no(e);
    auto* const g =
        member_id.empty() ? impl_->find_or_make(request.group) : impl_->find(request.group);
    if (!g)
        return no(member_id.empty() ? group_error::policy_violation
                                    : group_error::unknown_member_id);
    const auto e = impl_->on(
        *g, now, out, [&](const work& w) { return impl_->join(w, request, token, member_id); });
    if (e != group_error::none) no(e);
}

void group_coordinator::sync(const sync_request& request, std::uint64_t token, instant now,
                             group_outcome& out)
{
    const auto no = [&](group_error error) { out.answers.push_back({token, refused_sync(error)}); };
    auto* const g = impl_->find(request.group);
    if (!g) return no(group_error::unknown_member_id);
    const auto e =
        impl_->on(*g, now, out, [&](const work& w) { return impl_->sync(w, request, token); });
    if (e != group_error::none) no(e);
}

group_error group_coordinator::heartbeat(const std::string& group, const member_identity& who,
                                         std::int32_t generation, instant now, group_outcome& out)
{
    auto* const g = impl_->find(group);
    if (!g) return group_error::unknown_member_id;
    return impl_->on(*g, now, out, [&](const work&) {
        if (const auto e = check_member(*g, who); e != group_error::none) return e;
        if (generation != g->generation) return group_error::illegal_generation;
        auto& m = g->members.at(who.member_id);
        if (!m.is_new) heard_of(m, now);
        return g->is(group_state::preparing_rebalance) ? group_error::rebalance_in_progress
                                                       : group_error::none;
    });
}

std::vector<group_error> group_coordinator::leave(const std::string&                  group,
                                                  const std::vector<member_identity>& who,
                                                  instant now, group_outcome& out)
{
    auto* const              g = impl_->find(group);
    std::vector<group_error> errors(who.size(), group_error::unknown_member_id);
    if (!g) return errors;
    return impl_->on(*g, now, out, [&](const work& w) {
        std::transform(who.begin(), who.end(), errors.begin(),
                       [&](const auto& each) { return impl_->leave(w, each); });
        return errors;
    });
}

group_error group_coordinator::check_commit(const std::string& group, const member_identity& who,
                                            std::int32_t generation, instant now,
                                            group_outcome& out)
{
    auto* const g      = impl_->find(group);
    const bool  simple = generation < 0 && who.member_id.empty() && !who.instance_id;
    if (!g) return simple ? group_error::none : group_error::illegal_generation;
    return impl_->on(*g, now, out, [&](const work&) {
        if (simple)
            return g->is(group_state::empty) ? group_error::none : group_error::unknown_member_id;
        if (const auto e = check_member(*g, who); e != group_error::none) return e;
        if (generation != g->generation) return group_error::illegal_generation;
        if (g->is(group_state::completing_rebalance)) return group_error::rebalance_in_progress;
        heard_of(g->members.at(who.member_id), now);
        return group_error::none;
    });
}

group_error group_coordinator::remove(const std::string& group)
{
    const auto found = impl_->groups.find(group);
    if (found == impl_->groups.end()) return group_error::group_id_not_found;
    if (!found->second.is(group_state::empty)) return group_error::non_empty_group;
    impl_->erase(found);
    return group_error::none;
}

void group_coordinator::tick(instant now, group_outcome& out)
{
    const auto nothing = [](const work&) { return true; };
    while (!impl_->deadlines.empty() && impl_->deadlines.begin()->first <= now)
        impl_->on(*impl_->find(impl_->deadlines.begin()->second), now, out, nothing);
}

std::optional<group_coordinator::instant> group_coordinator::next_deadline() const
{
    if (impl_->deadlines.empty()) return std::nullopt;
    return impl_->deadlines.begin()->first;
}

group_description group_coordinator::describe(const std::string& group) const
{
    group_description d;
    d.group             = group;
    const auto* const g = impl_->find(group);
    if (!g) return d;
    d.state           = g->state;
    d.generation      = g->generation;
    d.protocol_type   = g->protocol_type;
    d.protocol        = g->protocol;
    d.leader          = g->leader;
    const bool stable = g->is(group_state::stable);
    for (const auto& [id, m] : g->members) {
        const auto* p = m.protocol(g->protocol);
        d.members.push_back({m.who, m.client_id, m.client_host,
                             stable && p ? p->metadata : std::string{},
                             stable ? m.assignment : std::string{}});
    }
    return d;
}

std::vector<listed_group> group_coordinator::list() const
{
    std::vector<listed_group> all;
    for (const auto& [name, g] : impl_->groups) all.push_back({name, g.state, g.protocol_type});
    return all;
}

std::string_view name(group_error error) noexcept
{
    switch (error) {
    case group_error::none:
        return "none";
    case group_error::illegal_generation:
        return "illegal_generation";
    case group_error::inconsistent_group_protocol:
        return "inconsistent_group_protocol";
    case group_error::invalid_group_id:
        return "invalid_group_id";
    case group_error::unknown_member_id:
        return "unknown_member_id";
    case group_error::invalid_session_timeout:
        return "invalid_session_timeout";
    case group_error::rebalance_in_progress:
        return "rebalance_in_progress";
    case group_error::policy_violation:
        return "policy_violation";
    case group_error::non_empty_group:
        return "non_empty_group";
    case group_error::group_id_not_found:
        return "group_id_not_found";
    case group_error::member_id_required:
        return "member_id_required";
    case group_error::group_max_size_reached:
        return "group_max_size_reached";
    case group_error::fenced_instance_id:
        return "fenced_instance_id";
    }
    return "unknown";
}

std::string_view name(group_state state) noexcept
{
    switch (state) {
    case group_state::empty:
        return "Empty";
    case group_state::preparing_rebalance:
        return "PreparingRebalance";
    case group_state::completing_rebalance:
        return "CompletingRebalance";
    case group_state::stable:
        return "Stable";
    case group_state::dead:
        return "Dead";
    }
    return "unknown";
}

}  // namespace cairn
