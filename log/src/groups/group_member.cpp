// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/group_member.hpp>

#include "groups/member_protocol.hpp"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <utility>

namespace cairn {

namespace detail {

using instant = group_coordinator::instant;

namespace {

// The leader looks so often whether topics have grown; a group's generation is written anew so
// often, so that the log does not forget a group that commits elsewhere.
constexpr std::chrono::seconds check_topics_every{1};
constexpr std::chrono::hours   remember_every{1};

std::function<std::uint64_t()> random_bits()
{
    auto device = std::make_shared<std::random_device>();
    return [device] {
        const auto high = static_cast<std::uint64_t>((*device)());
        return high << 32 | (*device)();
    };
}

}  // namespace

/// One group, its lock, and its members in this process.
struct local_group
{
    local_group(commit_log l, group_options options, std::string group)
        : log{std::move(l)},
          name{std::move(group)},
          coordinator{options, random_bits(), [groups = log.groups()](const std::string& which) {
                          return groups.generation(which).value_or(-1);
                      }}
    {
    }

    commit_log  log;
    std::string name;

    std::mutex                                                      mutex;
    std::condition_variable                                         changed;
    group_coordinator                                               coordinator;
    std::optional<std::int32_t>                                     raised{};  // not yet durable
    instant                                                         remembered_at{};
    std::vector<group_answer>                                       held{};  // until it is
    std::map<std::uint64_t, std::variant<join_answer, sync_answer>> answers{};
    std::uint64_t                                                   tokens = 0;
    std::set<const std::function<void()>*>                          listeners{};
    const std::function<void()>* acting = nullptr;  // whose member it is that does something

    // All that follows with the lock.

    /// Takes what came of a call. Answers wait until their generation is durable.
    void take(group_outcome out)
    {
        for (const auto& r : out.raised) raised = r.generation;
        std::move(out.answers.begin(), out.answers.end(), std::back_inserter(held));
    }
    void release(instant now)
    {
        if (raised) {
            log.groups().set_generation(name, *raised);
            raised.reset();
            remembered_at = now;
        }
        for (auto& a : held) answers[a.token] = std::move(a.what);
        if (!std::exchange(held, {}).empty()) notify();
    }
    void notify()
    {
        changed.notify_all();
        for (const auto* listener : listeners)
            if (listener != acting) (*listener)();
    }
    void tick(instant now)
    {
        group_outcome out;
        coordinator.tick(now, out);
        const bool any = !out.raised.empty() || !out.answers.empty();
        take(std::move(out));
        release(now);
        if (any) notify();
    }
    void remember(std::int32_t generation, instant now)
    {
        if (now - remembered_at < remember_every) return;
        log.groups().set_generation(name, generation);
        remembered_at = now;
    }
};

class local_groups
{
public:
    local_groups(commit_log log, group_options options, std::function<instant()> now)
        : log_{std::move(log)}, options_{options}, now_{std::move(now)}
    {
    }

    std::shared_ptr<local_group> at(const std::string& group)
    {
        const std::lock_guard lock{mutex_};
        auto&                 g = groups_[group];
        if (!g) g = std::make_shared<local_group>(log_, options_, group);
        return g;
    }
    std::vector<std::shared_ptr<local_group>> all() const
    {
        const std::lock_guard                     lock{mutex_};
        std::vector<std::shared_ptr<local_group>> every;
        for (const auto& [name, g] : groups_) every.push_back(g);
        return every;
    }
    instant now() const { return now_(); }

private:
    const commit_log               log_;
    const group_options            options_;
    const std::function<instant()> now_;

    mutable std::mutex                                  mutex_;
    std::map<std::string, std::shared_ptr<local_group>> groups_;  // guarded by mutex_
};

}  // namespace detail

using detail::local_group;
using detail::local_groups;
using detail::member_protocol;

local_group_coordinator::local_group_coordinator(commit_log log, group_options options,
                                                 std::function<instant()> now)
    : groups_{std::make_shared<local_groups>(std::move(log), options, std::move(now))}
{
}

group_description local_group_coordinator::describe(const std::string& group) const
{
    for (const auto& g : groups_->all()) {
        if (g->name != group) continue;
        const std::lock_guard lock{g->mutex};
        return g->coordinator.describe(group);
    }
    group_description none;
    none.group = group;
    return none;
}

std::vector<listed_group> local_group_coordinator::list() const
{
    std::vector<listed_group> all;
    for (const auto& g : groups_->all()) {
        const std::lock_guard lock{g->mutex};
        for (auto& each : g->coordinator.list()) all.push_back(std::move(each));
    }
    return all;
}

void local_group_coordinator::tick()
{
    for (const auto& g : groups_->all()) {
        const std::lock_guard lock{g->mutex};
        g->tick(groups_->now());
        g->notify();  // whoever waits looks at its own time too
    }
}

struct group_member::impl
{
    impl(std::shared_ptr<local_groups> all, member_options options)
        : groups{std::move(all)},
          group{groups->at(options.group)},
          protocol{std::move(options), [log = group->log](const std::vector<std::string>& topics) {
                       std::map<std::string, std::int32_t> counts;
                       for (const auto& t : topics.empty() ? log.topics() : topics)
                           if (const auto d = log.try_describe_topic(t))
                               counts[t] = static_cast<std::int32_t>(d->partitions.size());
                       return counts;
                   }}
    {
        const std::lock_guard lock{group->mutex};
        if (protocol.options().on_change) group->listeners.insert(&protocol.options().on_change);
    }
    ~impl()
    {
        const locked lock{*this};
        group->listeners.erase(&protocol.options().on_change);
        // One with an instance id is expected back.
        try {
            if (!protocol.who().instance_id) leave();
        } catch (...) {  // a generation that could not be made durable is so by the next poll
        }
        if (token != 0) group->answers.erase(token);
    }
    impl(const impl&)            = delete;
    impl& operator=(const impl&) = delete;

    /// The group, locked by this member.
    class locked
    {
    public:
        explicit locked(impl& i) : group_{*i.group}, lock_{group_.mutex}
        {
            group_.acting = &i.protocol.options().on_change;
        }
        ~locked() { group_.acting = nullptr; }
        locked(const locked&)            = delete;
        locked& operator=(const locked&) = delete;

        /// Sleeps until something changes.
        void wait_for(group_coordinator::clock::duration time, impl& i)
        {
            group_.acting = nullptr;
            group_.changed.wait_for(lock_, time);
            group_.acting = &i.protocol.options().on_change;
        }

    private:
        local_group&                 group_;
        std::unique_lock<std::mutex> lock_;
    };

    // All that follows with the group's lock.

    /// Asks, and takes answers, as long as there are any.
    void go_on()
    {
        const auto now = groups->now();
        group->tick(now);
        if (now >= check_topics_at) {
            protocol.check_topics();
            check_topics_at = now + detail::check_topics_every;
        }
        for (;;) {
            if (token != 0) {
                const auto a = group->answers.extract(token);
                if (a.empty()) return;
                token = 0;
                std::visit([&](const auto& each) { protocol.answered(each); }, a.mapped());
            }
            const auto request = protocol.next();
            if (!request) return;
            if (const auto* h = std::get_if<detail::heartbeat_request>(&*request)) {
                if (beat(*h, now)) return;
            } else {
                ask(*request, now);
            }
        }
    }
    void ask(const detail::member_request& request, instant now)
    {
        group_outcome out;
        token = ++group->tokens;
        try {
            if (const auto* j = std::get_if<join_request>(&request))
                group->coordinator.join(*j, token, now, out);
            else
                group->coordinator.sync(std::get<sync_request>(request), token, now, out);
        } catch (...) {  // the log would not say what it remembers
            token = 0;
            protocol.unanswered();
            throw;
        }
        group->take(std::move(out));
        group->notify();
        group->release(now);
    }
    /// Whether there is nothing else to do now.
    bool beat(const detail::heartbeat_request& h, instant now)
    {
        group_outcome out;
        const auto    e = group->coordinator.heartbeat(h.group, h.who, h.generation, now, out);
        group->take(std::move(out));
        protocol.answered(e);
        group->release(now);
        if (e == group_error::none) group->remember(h.generation, now);
        return e == group_error::none;
    }
    /// Whether it is in the next generation, and will hear of it by its next poll.
    bool welcomed() const
    {
        const auto a = group->answers.find(token);
        if (token == 0 || a == group->answers.end()) return false;
        const auto* joined = std::get_if<join_answer>(&a->second);
        return joined != nullptr && joined->error == group_error::none;
    }
    void leave()
    {
        if (protocol.who().member_id.empty()) return protocol.reset();
        const auto    now = groups->now();
        group_outcome out;
        static_cast<void>(
            group->coordinator.leave(protocol.options().group, {protocol.who()}, now, out));
        protocol.reset();
        group->take(std::move(out));
        group->notify();
        group->release(now);
        if (token != 0) group->answers.erase(std::exchange(token, 0));
    }
    void throw_failure()
    {
        const auto e = protocol.take_failure();
        if (e == group_error::none) return;
        const auto& o = protocol.options();
        if (e == group_error::fenced_instance_id)
            throw error{errc::fenced_instance,
                        "another member has joined group " + o.group + " with the instance id " +
                            o.instance_id.value_or("") +
                            ": give each member one of its own, or stop the older"};
        throw error{errc::group_refused, "group " + o.group +
                                             " does not take this member: " + std::string{name(e)} +
                                             "; see docs/reference/errors.md"};
    }

    std::shared_ptr<local_groups> groups;
    std::shared_ptr<local_group>  group;
    member_protocol               protocol;
    std::uint64_t                 token = 0;  // of the request under way
    instant                       check_topics_at{};
    bool                          interrupted = false;
};

group_member::group_member(local_group_coordinator coordinator, member_options options)
    : impl_{std::make_unique<impl>(std::move(coordinator.groups_), std::move(options))}
{
}

group_member::~group_member()                                  = default;
group_member::group_member(group_member&&) noexcept            = default;
group_member& group_member::operator=(group_member&&) noexcept = default;

assignment_change group_member::poll()
{
    const impl::locked lock{*impl_};
    if (!impl_->protocol.has_change()) impl_->go_on();
    auto change = impl_->protocol.take_change();
    if (!change.any()) impl_->throw_failure();
    return change;
}

bool group_member::wait(instant deadline)
{
    auto&        i = *impl_;
    impl::locked lock{i};
    for (;;) {
        if (i.interrupted) return false;
        i.go_on();
        if (i.protocol.has_change()) return true;
        i.throw_failure();
        const auto now = i.groups->now();
        if (now >= deadline) return false;
        auto until = std::min(deadline, now + i.protocol.options().session_timeout / 3);
        if (const auto next = i.group->coordinator.next_deadline()) until = std::min(until, *next);
        lock.wait_for(until - now, i);
    }
}

bool group_member::wait(group_coordinator::clock::duration time)
{
    const auto now = impl_->groups->now();
    return wait(time < instant::max() - now ? now + time : instant::max());
}

void group_member::interrupt() noexcept
{
    const std::lock_guard lock{impl_->group->mutex};
    impl_->interrupted = true;
    impl_->group->changed.notify_all();
}

const std::vector<topic_partition>& group_member::assignment() const noexcept
{
    return impl_->protocol.owned();
}

std::int32_t group_member::generation() const noexcept
{
    return impl_->protocol.generation();
}

const std::string& group_member::member_id() const noexcept
{
    return impl_->protocol.who().member_id;
}

bool group_member::commit(const std::function<void()>& write)
{
    auto&              i = *impl_;
    const impl::locked lock{i};
    const auto         now = i.groups->now();
    group_outcome      out;
    // One that is in no generation is no simple consumer.
    const auto e = i.protocol.generation() < 0 ? group_error::unknown_member_id
                                               : i.group->coordinator.check_commit(
                                                     i.protocol.options().group, i.protocol.who(),
                                                     i.protocol.generation(), now, out);
    i.group->take(std::move(out));
    i.group->release(now);
    if (e == group_error::rebalance_in_progress ||
        (e == group_error::illegal_generation && i.welcomed()))
        return false;
    if (e != group_error::none)
        throw error{errc::fenced_generation,
                    "group " + i.protocol.options().group + " has gone on without this member (" +
                        std::string{name(e)} + "): forget what was to be committed, and poll()"};
    write();
    return true;
}

bool group_member::commit(const std::vector<committed_offset>& offsets)
{
    return commit([&] {
        impl_->group->log.groups().commit(impl_->protocol.options().group, offsets,
                                          impl_->protocol.generation());
    });
}

void group_member::leave()
{
    const impl::locked lock{*impl_};
    impl_->leave();
}

}  // namespace cairn
