// SPDX-License-Identifier: Apache-2.0
//
// Executing a command:
//
//     cached state ──> decide ──> apply to it ──> append, expecting the version that it had
//        ^                                             │
//        └──── what came meanwhile is read first <─────┘ refused: another was quicker
//
// The events are applied before they are recorded: an apply() that throws is met while nothing
// has happened yet. When the append does not go through, the state is thrown away.
#include <cairn/framework/repository.hpp>

#include "codec.hpp"
#include "instance.hpp"

#include <list>
#include <mutex>
#include <unordered_map>

namespace cairn {

command_rejected::command_rejected(rejection why)
    : error{errc::command_rejected, "the command was rejected: " + why.reason},
      why_{std::move(why)}
{
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
    std::mutex turn;
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
    impl(commit_log l, std::string t, aggregate_type a, repository_options o)
        : log{std::move(l)}, topic{std::move(t)}, type{std::move(a)}, options{std::move(o)},
          known{type, std::max<std::size_t>(1, options.aggregates_cached)}
    {
        (void)log.describe_topic(topic);  // throws where there is none
        for (const auto& e : type.events) codecs.emplace(e.schema.getProto().getId(), e.schema);
    }

    void catch_up(instance& of, const stream_id& stream) const
    {
        try {
            for (const auto& r : log.read_stream(stream, of.at())) of.apply(r, stream);
        } catch (...) {
            of.forget();
            throw;
        }
    }

    commit_log                                     log;
    const std::string                              topic;
    const aggregate_type                           type;
    const repository_options                       options;
    std::unordered_map<std::uint64_t, event_codec> codecs;
    instances                                      known;
};

repository_core::repository_core(commit_log log, std::string topic, aggregate_type type,
                                 repository_options o)
    : impl_{std::make_unique<impl>(std::move(log), std::move(topic), std::move(type),
                                   std::move(o))}
{
}

repository_core::~repository_core() = default;

execute_result repository_core::execute(const std::string& id, const decide& ask,
                                        const command_context& context)
{
    auto&                 log    = impl_->log;
    const auto            stream = checked_stream(impl_->topic, id);
    const auto            body   = impl_->known.get(id);
    const std::lock_guard turn{body->turn};

    if (context.command_id)
        if (const auto first = log.find_command(*context.command_id))
            return repeated(*first);

    for (int attempt = 1;; ++attempt) {
        if (body->at() < log.stream_version(stream)) impl_->catch_up(*body, stream);
        auto decided = ask(body->state());
        if (decided.rejected || decided.events.empty()) {
            // True of the stream as it is, or of one that has moved on?
            if (log.stream_version(stream) == body->at()) {
                if (decided.rejected) return std::move(*decided.rejected);
                return outcome{body->last(), body->at(), 0, false};
            }
        } else {
            append_request request;
            request.command_id = context.command_id;
            request.expect     = {{stream, expected_version::exactly(body->at())}};
            request.records.reserve(decided.events.size());
            auto next = body->at();
            try {
                for (const auto& e : decided.events) {
                    body->apply(e);
                    request.records.push_back(
                        {stream.topic, impl_->codecs.at(e.type_id())
                                           .record_of(e, stream, next, context, impl_->options.source)});
                    next = next.next();
                }
                const auto result = log.try_append(request);
                if (result) {
                    if (result->repeated) {
                        body->forget();
                        return repeated(*result);
                    }
                    body->recorded(decided.events.size(), result->last());
                    return outcome{result->last(), body->at(), decided.events.size(), false};
                }
            } catch (...) {
                body->forget();
                throw;
            }
            body->forget();  // it has what was not recorded
        }
        if (attempt >= impl_->options.attempts_max)
            throw error{errc::conflict, stream.topic + "/" + stream.key + ": decided " +
                                            std::to_string(attempt) +
                                            " times, and each time another was quicker; try again"};
    }
}

bool repository_core::load(const std::string& id, std::optional<version> at,
                           std::optional<timestamp>                                     until,
                           const std::function<void(void*, version, position)>& take) const
{
    const auto stream = checked_stream(impl_->topic, id);
    instance   found{impl_->type};
    for (const auto& r : impl_->log.read_stream(stream)) {
        if ((at && found.at() >= *at) || (until && r.timestamp > *until)) break;
        found.apply(r, stream);
    }
    take(found.state(), found.at(), found.last());
    return found.at().value > 0;
}

}  // namespace detail
}  // namespace cairn
