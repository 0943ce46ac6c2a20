// SPDX-License-Identifier: Apache-2.0
//
// Groups by seed, in virtual time. Members join and leave, die without a word, are paused for a
// minute and resumed; instances are restarted; the network loses requests and answers and brings
// them late. What must hold is checked after each thing that happens, and at the end, when the
// network is whole again, the group must come to rest with every partition owned and every number
// counted once.
//
// Each member counts the numbers 0, 1, 2, … of the partitions that it has. What it counts is in
// the ledger, with the place where the next owner goes on, when its commit is taken: as with a
// projection's rows and checkpoint. A commit that does not begin where the ledger stands has
// counted something twice, or left something out.
#include "groups/member_protocol.hpp"
#include "main/seed.hpp"

#include <cairn/log/group_coordinator.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cairn::testing {
namespace {

using namespace std::chrono_literals;
using detail::heartbeat_request;
using detail::member_protocol;
using detail::member_request;
using milliseconds = std::chrono::milliseconds;
using instant      = group_coordinator::instant;

/// What is done wrong on purpose, so that the checks are known to find it.
enum class sabotage {
    none,
    commits_unchecked,             ///< the coordinator is not asked
    generation_unchecked,          ///< late commits of members are taken
    keeps_what_is_lost,            ///< a member goes on where it was, not where the group is
    commits_what_is_revoked_late,  ///< a member goes on with what it gave up
    assigns_twice,                 ///< the leader gives a partition to two members
    forgets_a_partition,           ///< the leader gives it to nobody
    loses_a_waiting_join,          ///< an answer is never given
};

struct violation : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

template <class... Parts>
[[noreturn]] void violated(const Parts&... parts)
{
    std::ostringstream text;
    (text << ... << parts);
    throw violation{text.str()};
}

constexpr const char* group_name = "g";
constexpr const char* topic_name = "t";

class simulation
{
public:
    explicit simulation(std::uint64_t seed, sabotage wrong = sabotage::none)
        : random_{seed},
          wrong_{wrong},
          how_{static_cast<partition_assignor>(up_to(3))},
          partitions_{1 + up_to(6)},
          groups_{options(), [this] { return random_(); }}
    {
        losses_ = std::array{0, 0, 2, 10}[static_cast<std::size_t>(up_to(3))];
        ledger_.resize(static_cast<std::size_t>(partitions_));
    }

    void go()
    {
        const int members = 1 + up_to(3);
        for (int i = 0; i < members; ++i)
            at(up_to(3'000), [this, i] {
                start(once_in(3) ? std::optional{"s" + std::to_string(i)} : std::nullopt);
            });
        for (int i = 2 + up_to(6); i > 0; --i) at(up_to(120'000), [this] { disturb(); });
        run_until(now_ + 120s);

        // The network is whole, and nobody is paused any more.
        losses_ = 0;
        calm_   = true;
        for (auto& c : clients_) c->paused_until = now_;
        start();  // what the dead have said comes late, and may fence whoever lives
        run_until(now_ + 135s);
        const auto before = ledger_;
        run_until(now_ + 45s);
        check_rest();
        for (std::size_t p = 0; p < ledger_.size(); ++p)
            if (ledger_[p] <= before[p])
                violated(topic_name, '-', p, " stands still at ", ledger_[p]);
    }

    std::uint64_t steps() const noexcept { return steps_; }

private:
    struct client
    {
        client(member_options o, member_protocol::topic_counts counts)
            : protocol{std::move(o), std::move(counts)}
        {
        }
        member_protocol protocol;
        bool            alive    = true;
        bool            replaced = false;  // another has its instance id
        instant         paused_until{};

        std::uint64_t request     = 0;      // under way; others' answers are too late
        std::uint64_t commit      = 0;      // likewise
        bool          must_commit = false;  // before it goes on: what is revoked

        struct place
        {
            std::optional<std::int64_t> next{};     // none: to be asked for
            std::int64_t                from  = 0;  // not committed from here on
            std::uint64_t               asked = 0;
        };
        std::map<topic_partition, place> places{};
    };
    using client_ptr = std::shared_ptr<client>;

    group_options options()
    {
        group_options o;
        o.initial_delay = milliseconds{up_to(1) * 3'000};
        return o;
    }
    int  up_to(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n + 1)); }
    bool once_in(int n) { return up_to(n - 1) == 0; }

    // ---- Time. ---------------------------------------------------------------------------

    void at(int ms, std::function<void()> what)
    {
        events_.emplace(now_ + milliseconds{ms}, std::move(what));
    }
    void run_until(instant end)
    {
        for (;;) {
            const auto due   = groups_.next_deadline();
            const auto event = events_.begin();
            const auto next =
                std::min(due.value_or(end), event == events_.end() ? end : event->first);
            if (next >= end) break;
            now_ = std::max(now_, next);
            if (due && *due <= now_) {
                group_outcome out;
                groups_.tick(now_, out);
                take(std::move(out));
                if (const auto later = groups_.next_deadline(); later && *later <= now_)
                    violated("tick() leaves something that was due");
            } else {
                const auto what = std::move(event->second);
                events_.erase(event);
                what();
            }
            ++steps_;
            if (std::exchange(group_changed_, false)) check_state();
            if (std::exchange(owners_changed_, false)) check_owners();
        }
        now_ = end;
    }

    // ---- The network. --------------------------------------------------------------------

    /// Brings something to the other side, if it does.
    void send(std::function<void()> what)
    {
        if (losses_ > 0 && up_to(99) < losses_) return;
        at(losses_ > 0 && once_in(20) ? up_to(30'000) : up_to(20), std::move(what));
    }

    // ---- The coordinator's side. ---------------------------------------------------------

    void take(group_outcome out)
    {
        group_changed_ = true;
        for (const auto& r : out.raised) {
            if (r.generation <= generation_)
                violated("generation ", r.generation, " comes after ", generation_);
            generation_ = r.generation;
        }
        for (auto& a : out.answers) {
            const auto waiting = tokens_.find(a.token);
            if (waiting == tokens_.end()) violated("token ", a.token, " is answered twice");
            auto reply = std::move(waiting->second);
            if (wrong_ == sabotage::loses_a_waiting_join && once_in(10)) continue;
            tokens_.erase(waiting);
            reply(std::move(a.what));
        }
    }

    using reply_to = std::function<void(std::variant<join_answer, sync_answer>)>;

    void receive(const join_request& r, reply_to reply)
    {
        group_outcome out;
        tokens_[++token_] = std::move(reply);
        groups_.join(r, token_, now_, out);
        take(std::move(out));
    }
    void receive(sync_request r, reply_to reply)
    {
        if (wrong_ == sabotage::assigns_twice && r.assignments.size() > 1)
            r.assignments[0].assignment = r.assignments[1].assignment;
        if (wrong_ == sabotage::forgets_a_partition && !r.assignments.empty())
            r.assignments[0].assignment.clear();
        group_outcome out;
        tokens_[++token_] = std::move(reply);
        groups_.sync(r, token_, now_, out);
        take(std::move(out));
    }

    struct counted
    {
        topic_partition in;
        std::int64_t    from, to;
    };
    bool receive_commit(const member_identity& who, std::int32_t generation,
                        const std::vector<counted>& all)
    {
        group_outcome out;
        auto          e = groups_.check_commit(group_name, who, generation, now_, out);
        take(std::move(out));
        if (wrong_ == sabotage::commits_unchecked ||
            (wrong_ == sabotage::generation_unchecked && e == group_error::illegal_generation))
            e = group_error::none;
        if (e != group_error::none) return false;
        if (generation != generation_)
            violated("a commit of generation ", generation, " is taken in ", generation_);
        for (const auto& c : all) {
            auto& stands = ledger_[static_cast<std::size_t>(c.in.partition)];
            if (c.from < stands) violated(c.in, ": ", c.from, " is counted twice");
            if (c.from > stands) violated(c.in, ": ", stands, " is left out");
            stands = c.to;
        }
        return true;
    }

    // ---- A member's side. ----------------------------------------------------------------

    client_ptr start(std::optional<std::string> instance_id = {})
    {
        member_options o;
        o.group             = group_name;
        o.topics            = {topic_name};
        o.assignor          = how_;
        o.instance_id       = std::move(instance_id);
        o.session_timeout   = 10s;
        o.rebalance_timeout = 20s;
        const auto c =
            std::make_shared<client>(std::move(o), [this](const std::vector<std::string>&) {
                return std::map<std::string, std::int32_t>{{topic_name, partitions_}};
            });
        c->protocol.member_id_required = once_in(2);
        const auto& mine               = c->protocol.who().instance_id;
        for (const auto& other : clients_)
            if (mine && other->protocol.who().instance_id == mine) other->replaced = true;
        clients_.push_back(c);
        act(c);
        return c;
    }

    void act_later(const client_ptr& c, int ms)
    {
        at(ms, [this, c] { act(c); });
    }

    /// What a member does now and then.
    void act(const client_ptr& c)
    {
        if (!c->alive) return;
        if (c->paused_until > now_)
            return act_later(c, static_cast<int>((c->paused_until - now_) / 1ms));
        act_later(c, 1'500 + up_to(2'000));
        count(*c);
        if (calm_ || once_in(3)) commit(c);
        if (calm_ || once_in(3)) c->protocol.check_topics();
        go_on(c);
    }

    void go_on(const client_ptr& c)
    {
        notice(c);
        if (c->must_commit || c->request != 0) return;
        const auto failure = c->protocol.take_failure();
        if (failure == group_error::fenced_instance_id) {
            c->alive = false;
            return;
        }
        if (failure != group_error::none) return;
        auto request = c->protocol.next();
        if (!request) return notice(c);
        const auto id = c->request = ++requests_;
        send([this, c, id, r = std::move(*request)] { arrive(c, id, r); });
        // Longer than a rebalance, and than both ways can take.
        const bool beats = c->protocol.stable();
        at(beats ? 3'000 : 90'000, [this, c, id] {
            if (c->request != id) return;
            c->request = 0;
            c->protocol.unanswered();
        });
    }

    void arrive(const client_ptr& c, std::uint64_t id, const member_request& r)
    {
        const auto back = [this, c, id](const auto& answer) {
            send([this, c, id, answer] { hear(c, id, answer); });
        };
        const auto reply = [back](const std::variant<join_answer, sync_answer>& a) {
            std::visit(back, a);
        };
        if (const auto* h = std::get_if<heartbeat_request>(&r)) {
            group_outcome out;
            const auto    e = groups_.heartbeat(h->group, h->who, h->generation, now_, out);
            if (e != group_error::none || !out.raised.empty() || !out.answers.empty())
                take(std::move(out));
            back(e);
        } else if (const auto* j = std::get_if<join_request>(&r)) {
            receive(*j, reply);
        } else {
            receive(std::get<sync_request>(r), reply);
        }
    }

    template <class Answer>
    void hear(const client_ptr& c, std::uint64_t id, const Answer& answer)
    {
        if (!c->alive || c->request != id) return;
        if (c->paused_until > now_)  // it lies in the socket meanwhile
            return at(static_cast<int>((c->paused_until - now_) / 1ms) + 1,
                      [this, c, id, answer] { hear(c, id, answer); });
        c->request = 0;
        c->protocol.answered(answer);
        owners_changed_ = true;
        if constexpr (std::is_same_v<Answer, group_error>)
            notice(c);
        else
            go_on(c);
    }

    void notice(const client_ptr& c)
    {
        if (!c->protocol.has_change()) return;
        const auto change = c->protocol.take_change();
        for (const auto& p : change.lost)
            if (wrong_ != sabotage::keeps_what_is_lost) c->places.erase(p);
        for (const auto& p : change.added) {
            if (c->places.emplace(p, typename client::place{}).second) ask(c, p);
        }
        if (change.revoked.empty() || wrong_ == sabotage::commits_what_is_revoked_late) return;
        // Either it commits what is done and waits for that, or it drops it.
        c->must_commit = once_in(2) && commit(c);
        if (!c->must_commit)
            for (const auto& p : change.revoked) c->places.erase(p);
        else
            leaving_[c.get()] = change.revoked;
    }

    void ask(const client_ptr& c, const topic_partition& p)
    {
        const auto id      = ++requests_;
        c->places[p].asked = id;
        send([this, c, p, id] {
            const auto stands = ledger_[static_cast<std::size_t>(p.partition)];
            send([c, p, id, stands] {
                const auto place = c->places.find(p);
                if (place == c->places.end() || place->second.asked != id) return;
                place->second = {stands, stands, 0};
            });
        });
        at(65'000, [this, c, p, id] {
            const auto place = c->places.find(p);
            if (c->alive && place != c->places.end() && place->second.asked == id) ask(c, p);
        });
    }

    void count(client& c)
    {
        for (auto& [p, place] : c.places)
            if (place.next) *place.next += up_to(3);
    }

    /// Whether there is anything to commit, and it is on its way.
    bool commit(const client_ptr& c)
    {
        if (c->commit != 0) return false;
        std::vector<counted> all;
        for (const auto& [p, place] : c->places)
            if (place.next && *place.next > place.from) all.push_back({p, place.from, *place.next});
        if (all.empty()) return false;
        const auto id = c->commit = ++requests_;
        send([this, c, id, all, who = c->protocol.who(), generation = c->protocol.generation()] {
            const bool done = receive_commit(who, generation, all);
            send([this, c, id, done, all] { hear_commit(c, id, done, all); });
        });
        at(65'000, [this, c, id, all] {
            if (c->commit != id || !c->alive) return;
            // Taken or not: the ledger knows.
            c->commit = 0;
            for (const auto& each : all)
                if (c->places.count(each.in) > 0) {
                    c->places[each.in] = {};
                    ask(c, each.in);
                }
            finish_revoked(c);
        });
        return true;
    }
    void hear_commit(const client_ptr& c, std::uint64_t id, bool done,
                     const std::vector<counted>& all)
    {
        if (!c->alive || c->commit != id) return;
        c->commit = 0;
        // What it has lost meanwhile, and perhaps got again, is not what was committed.
        for (const auto& each : all) {
            const auto place = c->places.find(each.in);
            if (done && place != c->places.end() && place->second.next &&
                place->second.from == each.from)
                place->second.from = each.to;
        }
        finish_revoked(c);
    }
    void finish_revoked(const client_ptr& c)
    {
        if (!c->must_commit) return;
        c->must_commit = false;
        for (const auto& p : leaving_[c.get()]) c->places.erase(p);
        leaving_.erase(c.get());
    }

    // ---- What happens to members. --------------------------------------------------------

    client_ptr any()
    {
        std::vector<client_ptr> living;
        for (const auto& c : clients_)
            if (c->alive) living.push_back(c);
        return living.empty() ? nullptr : living[random_() % living.size()];
    }
    void disturb()
    {
        if (calm_) return;
        const auto c = any();
        switch (up_to(6)) {
        case 0:
        case 1:
            if (std::count_if(clients_.begin(), clients_.end(),
                              [](const auto& o) { return o->alive; }) < 6)
                start(once_in(2) ? std::optional{"i" + std::to_string(clients_.size())}
                                 : std::nullopt);
            return;
        case 2:
            if (c) c->alive = false;  // without a word
            return;
        case 3:
            if (c) c->paused_until = now_ + 60s;
            return;
        case 4:
            if (c) c->paused_until = now_ + milliseconds{up_to(15'000)};
            return;
        case 5:
            if (c) leave(c);
            return;
        default:
            if (c && c->protocol.who().instance_id) restart(c);
        }
    }
    void leave(const client_ptr& c)
    {
        c->alive = false;
        send([this, who = c->protocol.who()] {
            group_outcome out;
            static_cast<void>(groups_.leave(group_name, {who}, now_, out));
            take(std::move(out));
        });
    }
    /// Another with its instance id; it may still run, as after a pause.
    void restart(const client_ptr& c)
    {
        if (once_in(2)) c->alive = false;
        at(up_to(8'000), [this, id = c->protocol.who().instance_id] { start(id); });
    }

    // ---- What must hold. -----------------------------------------------------------------

    void check_owners()
    {
        std::map<std::pair<std::int32_t, topic_partition>, const client*> owners;
        for (const auto& c : clients_) {
            if (c->replaced) continue;
            for (const auto& p : c->protocol.owned())
                if (!owners.emplace(std::pair{c->protocol.generation(), p}, c.get()).second)
                    violated(p, " is owned twice in generation ", c->protocol.generation());
        }
    }

    void check_state()
    {
        const auto g = groups_.describe(group_name);
        if (g.generation != generation_ && generation_ >= 0)
            violated("generation ", g.generation, " where ", generation_, " has begun");
        if ((g.state == group_state::empty || g.state == group_state::dead) && !g.members.empty())
            violated("an empty group has members");
        const bool led = std::any_of(g.members.begin(), g.members.end(),
                                     [&](const auto& m) { return m.who.member_id == g.leader; });
        const bool needs_leader =
            g.state == group_state::stable || g.state == group_state::completing_rebalance;
        if (needs_leader && (!led || g.protocol != name(how_)))
            violated("a ", name(g.state), " group has no leader or protocol");
        if (g.state == state_) return;
        using s         = group_state;
        const auto from = state_ == s::dead ? s::empty : state_;
        const auto to   = g.state == s::dead ? s::empty : g.state;
        // Several may come of one call; one from an empty group to a stable one cannot.
        if ((from == s::empty && to == s::stable) ||
            (from == s::preparing_rebalance && to == s::stable))
            violated("from ", name(from), " to ", name(to));
        state_ = g.state;
    }

    /// At the end, after three calm minutes.
    void check_rest()
    {
        const auto g = groups_.describe(group_name);
        if (g.state != group_state::stable) violated("the group is ", name(g.state), " at rest");
        if (!tokens_.empty()) violated(tokens_.size(), " requests wait for ever");
        std::size_t                    living = 0;
        std::map<topic_partition, int> owners;
        for (const auto& c : clients_) {
            if (!c->alive) continue;
            ++living;
            if (!c->protocol.stable() || c->protocol.generation() != generation_)
                violated("a member has not come to rest in generation ", generation_, " but in ",
                         c->protocol.generation());
            for (const auto& p : c->protocol.owned()) {
                ++owners[p];
                const auto place = c->places.find(p);
                if (place == c->places.end() || !place->second.next)
                    violated(p, " is owned, and nobody counts");
            }
        }
        if (living != g.members.size())
            violated("the group has ", g.members.size(), " members, of whom ", living, " live");
        if (owners.size() != static_cast<std::size_t>(partitions_))
            violated(owners.size(), " of ", partitions_, " partitions are owned at rest");
        for (const auto& [p, n] : owners)
            if (n != 1) violated(p, " is owned ", n, " times at rest");
    }

    std::mt19937_64          random_;
    const sabotage           wrong_;
    const partition_assignor how_;
    const std::int32_t       partitions_;
    group_coordinator        groups_;
    int                      losses_        = 0;  // in a hundred
    bool                     calm_          = false;
    bool                     group_changed_ = false, owners_changed_ = false;  // to be checked

    instant                                               now_{1'000s};
    std::multimap<instant, std::function<void()>>         events_{};
    std::uint64_t                                         steps_ = 0, token_ = 0, requests_ = 0;
    std::map<std::uint64_t, reply_to>                     tokens_{};
    std::int32_t                                          generation_ = -1;
    group_state                                           state_      = group_state::empty;
    std::vector<client_ptr>                               clients_{};
    std::vector<std::int64_t>                             ledger_{};  // counted below, by partition
    std::map<const client*, std::vector<topic_partition>> leaving_{};
};

std::string violation_of(std::uint64_t from, sabotage wrong, std::uint64_t* steps = nullptr)
{
    simulation one{from, wrong};
    try {
        one.go();
    } catch (const violation& v) {
        return v.what();
    }
    if (steps) *steps += one.steps();
    return {};
}

}  // namespace

TEST_CASE(
    "whatever happens to its members, a group shares every partition once and counts every "
    "number once")
{
    const auto runs = given_seed() ? 1 : std::getenv("CAIRN_LONG") ? 1'000'000 : 10'000;

    std::atomic<int>           next  = 0;
    std::atomic<std::uint64_t> steps = 0;
    std::mutex                 mutex;
    std::string                failure;  // guarded by mutex
    const auto                 work = [&] {
        for (int i = next++; i < runs; i = next++) {
            const auto    mine = seed() + static_cast<std::uint64_t>(i);
            std::uint64_t some = 0;
            const auto    what = violation_of(mine, sabotage::none, &some);
            steps += some;
            if (what.empty()) continue;
            const std::lock_guard lock{mutex};
            failure = "CAIRN_SEED=" + std::to_string(mine) + ": " + what;
            next    = runs;
        }
    };
    std::vector<std::thread> threads;
    for (unsigned i = std::max(1u, std::thread::hardware_concurrency()); i > 0; --i)
        threads.emplace_back(work);
    for (auto& t : threads) t.join();
    std::cout << runs << " runs, " << steps << " steps" << std::endl;
    INFO(failure);
    CHECK(failure.empty());
}

TEST_CASE("what is done wrong on purpose is found")
{
    const auto  wrong = GENERATE(sabotage::commits_unchecked, sabotage::generation_unchecked,
                                 sabotage::keeps_what_is_lost,
                                 sabotage::commits_what_is_revoked_late, sabotage::assigns_twice,
                                 sabotage::forgets_a_partition, sabotage::loses_a_waiting_join);
    std::string found;
    for (std::uint64_t i = 0; i < 300 && found.empty(); ++i)
        found = violation_of(seed() + i, wrong);
    INFO("sabotage " << static_cast<int>(wrong));
    std::cout << static_cast<int>(wrong) << ": " << found << std::endl;
    CHECK_FALSE(found.empty());
}

}  // namespace cairn::testing
