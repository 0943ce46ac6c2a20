// SPDX-License-Identifier: Apache-2.0
//
// Executing a command:
//
//     cached state ──> decide ──> apply to it ──> append, expecting the version that it had
//        ^                                             │
//        └──── what came meanwhile is read first <─────┘ refused: another was quicker
//
// The events are applied before they are recorded: an apply() that throws is met while nothing
// has happened yet. When the append does not go through, the state is thrown away; and so is one
// whose newest event an upcaster may merge with the next.
#include <cairn/framework/repository.hpp>

#include "instance.hpp"
#include "snapshots.hpp"

#include <atomic>
#include <list>
#include <mutex>
#include <ostream>
#include <unordered_map>

namespace cairn {

command_rejected::command_rejected(rejection why)
    : error{errc::command_rejected, "the command was rejected: " + why.reason},
      why_{std::move(why)}
{
}

std::ostream& operator<<(std::ostream& out, const rejection& r)
{
    return out << "rejected: " << r.reason;
}

std::ostream& operator<<(std::ostream& out, const outcome& o)
{
    return out << o.recorded << (o.recorded == 1 ? " event" : " events") << " at position "
               << o.position.value << ", version " << o.version.value
               << (o.repeated ? ", of a repeat" : "");
}

void throw_exception_from_error(const rejection& r, const boost::source_location&)
{
    throw command_rejected{r};
}

namespace detail {

namespace {

/// An aggregate that threads take turns with.
struct shared_instance : instance
{
    using instance::instance;
    std::mutex  turn;
    state_basis basis;  ///< when it was loaded
};

/// The instances that were used last.
class instances
{
public:
    instances(const aggregate_type& type, std::size_t most) : type_{type}, most_{most} {}

    std::shared_ptr<shared_instance> get(const std::string& id)
    {
        const std::lock_guard lock{mutex_};
        if (const auto known = by_id_.find(id); known != by_id_.end()) {
            by_use_.splice(by_use_.begin(), by_use_, known->second);
            return by_use_.front().body;
        }
        by_use_.push_front({id, std::make_shared<shared_instance>(type_)});
        by_id_.emplace(by_use_.front().id, by_use_.begin());
        auto body = by_use_.front().body;
        // One that is in use goes out of sight only; two instances of one stream are as good as
        // two processes: the log decides between them.
        if (by_use_.size() > most_) {
            by_id_.erase(by_use_.back().id);
            by_use_.pop_back();
        }
        return body;
    }

private:
    struct entry
    {
        std::string               id;
        std::shared_ptr<shared_instance> body;
    };

    const aggregate_type&                                           type_;
    const std::size_t                                               most_;
    std::mutex                                                      mutex_;
    std::list<entry>                                                by_use_;
    std::unordered_map<std::string_view, std::list<entry>::iterator> by_id_;
};

}  // namespace

struct repository_core::impl
{
    impl(event_store s, std::string t, aggregate_type a, repository_options o)
        : store{std::move(s)}, core{store.core()}, topic{std::move(t)}, type{std::move(a)},
          options{std::move(o)}, known{type, std::max<std::size_t>(1, options.aggregates_cached)}
    {
        (void)core.log.describe_topic(topic);  // throws where there is none
        auto types = type.schemas;
        if (type.snapshot) types.push_back(type.snapshot->schema);
        core.add_types(types);
        if (type.snapshot) snaps.emplace(store, type, options.snapshots);
    }

    state_basis basis() const { return {core.forgotten(), core.log.id_of_topic(topic)}; }

    void catch_up(shared_instance& of, const stream_id& stream)
    {
        using clock      = std::chrono::steady_clock;
        const auto began = clock::now();
        const auto now   = basis();
        if (!of.settled() || of.basis != now) of.forget();
        const bool fresh = of.at().value == 0;
        try {
            if (fresh) {
                ++counts.loaded;
                of.basis = now;
                if (snaps) snaps->restore(of, stream);
            }
            const auto from = of.at();
            of.catch_up(core, stream, options.unknown);
            counts.events_applied += static_cast<std::uint64_t>(of.at() - from);
        } catch (...) {
            of.forget();
            throw;
        }
        if (snaps && fresh && of.settled())
            snaps->offer(
                of, stream,
                std::chrono::duration_cast<std::chrono::microseconds>(clock::now() - began),
                of.basis);
    }

    /// Records that a command was rejected; false where the stream has moved on meanwhile, or
    /// another has executed it.
    bool remember(const rejection& why, const stream_id& stream, version at,
                  const command_context& context)
    {
        core.log.ensure_topic("__rejections");
        append_request request;
        request.expect = {{stream, expected_version::exactly(at)}};
        add_rejection(request, *context.command_id, why);
        const auto result = core.log.try_append(request);
        return result && !result->repeated;
    }

    event_store              store;
    event_store_core&        core;
    const std::string        topic;
    const aggregate_type     type;
    const repository_options options;
    instances                known;
    std::optional<snapshots> snaps;

    struct
    {
        std::atomic<std::uint64_t> executed{0}, decided_again{0}, loaded{0}, events_applied{0};
    } counts;
};

repository_core::repository_core(event_store store, std::string topic, aggregate_type type,
                                 repository_options o)
    : impl_{std::make_unique<impl>(std::move(store), std::move(topic), std::move(type),
                                   std::move(o))}
{
}

repository_core::~repository_core() = default;

repository_statistics repository_core::statistics() const
{
    const auto&           c = impl_->counts;
    repository_statistics s{c.executed, c.decided_again, c.loaded, c.events_applied};
    if (impl_->snaps) {
        const auto& taken   = impl_->snaps->counted();
        s.snapshots_used    = taken.used;
        s.snapshots_ignored = taken.ignored;
        s.snapshots_taken   = taken.taken;
    }
    return s;
}

execute_result repository_core::execute(const std::string& id, const decide& ask,
                                        const command_context& context)
{
    auto&                 core   = impl_->core;
    auto&                 log    = core.log;
    const auto            stream = checked_stream(impl_->topic, id);
    const auto            body   = impl_->known.get(id);
    const std::lock_guard turn{body->turn};

    ++impl_->counts.executed;
    if (auto first = first_result(core, context)) return std::move(*first);
    if (const auto now = impl_->basis(); body->basis != now || !body->settled()) {
        body->forget();
        body->basis = now;
    }

    for (int attempt = 1;; ++attempt) {
        if (body->at() != log.stream_version(stream)) impl_->catch_up(*body, stream);
        auto decided = ask(body->state());
        if (decided.rejected || decided.events.empty()) {
            // True of the stream as it is, or of one that has moved on?
            if (decided.rejected && context.command_id && context.remember_rejection) {
                if (impl_->remember(*decided.rejected, stream, body->at(), context))
                    return std::move(*decided.rejected);
                if (auto first = first_result(core, context)) return std::move(*first);
            } else if (log.stream_version(stream) == body->at()) {
                if (decided.rejected) return std::move(*decided.rejected);
                return outcome{body->last(), body->at(), 0, false};
            }
        } else {
            append_request request;
            request.command_id = context.command_id;
            request.expect     = {{stream, expected_version::exactly(body->at())}};
            request.records.reserve(decided.events.size());
            auto          next  = body->at();
            std::uint64_t bytes = 0;
            try {
                auto together = decided.events.size();
                for (const auto& e : decided.events) {
                    body->apply(e);
                    if (core.is_old(e.type_id())) body->unsettle();
                    request.records.push_back(
                        {stream.topic, core.record_of(e, stream, next, context, together)});
                    together = 1;
                    bytes += e.bytes().size();
                    next = next.next();
                }
                const auto result = core.try_append(request);
                if (result) {
                    if (result->repeated) {
                        body->forget();
                        return result_of(core, *result);
                    }
                    body->recorded(decided.events.size(), bytes, result->last());
                    if (impl_->snaps && body->settled())
                        impl_->snaps->offer(*body, stream, {}, body->basis);
                    return outcome{result->last(), body->at(), decided.events.size(), false};
                }
            } catch (...) {
                body->forget();
                throw;
            }
            body->forget();  // it has what was not recorded
        }
        if (attempt >= impl_->options.attempts_max) throw_conflict(stream, attempt);
        ++impl_->counts.decided_again;
    }
}

bool repository_core::load(const std::string& id, std::optional<version> at,
                           std::optional<timestamp>                                     until,
                           const std::function<void(void*, version, position)>& take) const
{
    const auto stream = checked_stream(impl_->topic, id);
    instance   found{impl_->type};
    // As it was: a snapshot may be of later.
    if (!at && !until && impl_->snaps) impl_->snaps->restore(found, stream);
    found.catch_up(impl_->core, stream, impl_->options.unknown, {at, until, {}});
    take(found.state(), found.at(), found.last());
    return found.at().value > 0;
}

}  // namespace detail
}  // namespace cairn
