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
#include <cairn/framework/detail/message.hpp>

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

constexpr std::size_t stream_id_bytes_max = 1024;

/// An aggregate in memory.
class instance
{
public:
    explicit instance(const aggregate_type& type) : type_{type} {}
    ~instance() { forget(); }
    instance(const instance&)            = delete;
    instance& operator=(const instance&) = delete;

    void*    state() { return state_ ? state_ : state_ = type_.create(); }
    version  at() const noexcept { return at_; }
    position last() const noexcept { return last_; }

    void forget() noexcept
    {
        if (state_) type_.destroy(state_);
        state_ = nullptr;
        at_    = version{0};
        last_  = position{-1};
    }

    /// Applies an event of the stream; its type is looked for in the aggregate's list.
    void apply(const record_view& r, const stream_id& stream)
    {
        const auto type = event_type_of(r);
        for (const auto& e : type_.events)
            if (type.is(e.schema)) {
                apply(e, r.value.value_or(bytes_view{}));
                at_   = at_.next();
                last_ = r.position;
                return;
            }
        throw error{errc::unknown_event,
                    stream.topic + "/" + stream.key + " version " +
                        std::to_string(at_.value) + ": the event " + type.text() +
                        " is not one of the aggregate's: add it to aggregate<...>"};
    }

    /// Applies an event that is about to be recorded.
    void apply(const any_event& event)
    {
        for (const auto& e : type_.events)
            if (e.schema.getProto().getId() == event.type_id()) return apply(e, event.bytes());
    }

    void recorded(std::size_t events, position last) noexcept
    {
        at_   = at_ + static_cast<std::int64_t>(events);
        last_ = last;
    }

    std::mutex turn;  ///< of commands for it

private:
    void apply(const aggregate_type::event_entry& e, bytes_view bytes)
    {
        thread_local message opened;
        e.apply(state(), opened.open(bytes));
    }

    const aggregate_type& type_;
    void*                 state_ = nullptr;
    version               at_{0};
    position              last_{-1};
};

/// The instances that were used last.
class instances
{
public:
    instances(const aggregate_type& type, std::size_t most) : type_{type}, most_{most} {}

    std::shared_ptr<instance> get(const std::string& id)
    {
        const std::lock_guard lock{mutex_};
        if (const auto known = by_id_.find(id); known != by_id_.end()) {
            by_use_.splice(by_use_.begin(), by_use_, known->second);
            return by_use_.front().body;
        }
        by_use_.push_front({id, std::make_shared<instance>(type_)});
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
        std::shared_ptr<instance> body;
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

    stream_id stream_of(const std::string& id) const
    {
        if (id.empty() || id.size() > stream_id_bytes_max)
            throw error{errc::illegal_stream_id,
                        "a stream id of " + std::to_string(id.size()) + " bytes, for topic " +
                            topic + ": it has 1 to " + std::to_string(stream_id_bytes_max)};
        return {topic, id};
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

    outcome repeated(const receipt& first) const
    {
        return {first.last(), first.records.back().version.next(), first.records.size(), true};
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
    const auto            stream = impl_->stream_of(id);
    const auto            body   = impl_->known.get(id);
    const std::lock_guard turn{body->turn};

    if (context.command_id)
        if (const auto first = log.find_command(*context.command_id))
            return impl_->repeated(*first);

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
                        return impl_->repeated(*result);
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
    const auto stream = impl_->stream_of(id);
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
