// SPDX-License-Identifier: Apache-2.0
//
// One thread reads requests and writes answers, and never waits for anything else; four do what
// is asked.
#include <cairn/projections/projection_control.hpp>

#include "control_link.hpp"
#include "control_protocol.hpp"
#include "control_socket.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <exception>
#include <map>
#include <set>
#include <thread>
#include <utility>

namespace cairn {

namespace {

using clock = std::chrono::steady_clock;
using detail::control_answer;
using detail::control_link;
using detail::control_request;
using detail::control_verb;
using detail::descriptor;
using detail::projection_core;
using detail::text_of;

constexpr std::size_t connections_max    = 64;
constexpr std::size_t answer_bytes_about = std::size_t{1} << 20;
/// One that reads nothing of its answer for so long is cut off.
constexpr auto unread_max = std::chrono::seconds{10};

/// What is done, or to be done, of what a connection asks.
struct job
{
    std::string       request;
    std::string       answer{};  ///< protected by the control's mutex until it is done
    std::atomic<bool> stopping{false};
    bool              done = false;  // likewise
};

struct connection
{
    explicit connection(descriptor s) : socket{std::move(s)} {}

    descriptor           socket;
    std::string          in{}, out{};
    std::size_t          written = 0;
    std::shared_ptr<job> asked{};
    clock::time_point    moved   = clock::now();  ///< when it last said or took something
    bool                 ends    = false;         ///< when all is written
    bool                 is_over = false;
};

}  // namespace

struct projection_control::impl
{
    explicit impl(const commit_log& log)
        : directory{log.directory()}, listener{open(directory)}, wake{::eventfd(0, EFD_CLOEXEC)}
    {
        if (wake.get() < 0) {
            detail::remove_socket(directory);
            throw storage_error{errc::io_failed, "the system gives no eventfd"};
        }
        try {
            threads.emplace_back([this] { serve(); });
            for (int n = 0; n < 4; ++n) threads.emplace_back([this] { work(); });
        } catch (...) {
            end();
            throw;
        }
    }

    ~impl() { end(); }

    static descriptor open(const std::string& directory)
    {
        if (directory.empty())
            throw error{errc::invalid_argument,
                        "a log in memory has no directory for a control socket: ask its runners"};
        return detail::listen_at(directory);
    }

    void end() noexcept
    {
        {
            const std::lock_guard lock{mutex};
            closing = true;
            for (const auto& j : doing) j->stopping = true;
        }
        changed.notify_all();
        rouse();
        for (auto& t : threads) t.join();
        detail::remove_socket(directory);
    }

    void rouse() const noexcept
    {
        const std::uint64_t         one = 1;
        [[maybe_unused]] const auto n   = ::write(wake.get(), &one, sizeof one);
    }

    void add(std::shared_ptr<control_link> link)
    {
        const std::lock_guard lock{mutex};
        std::erase_if(links, [](const auto& l) { return l.second->is_closed(); });
        const auto [first, last] = links.equal_range(link->name());
        for (auto known = first; known != last; ++known)
            if (!known->second->shares_with(*link))
                throw error{errc::invalid_argument,
                            "the control has a projection " + link->name() +
                                " already, which is not another runner of its group"};
        links.emplace(link->name(), std::move(link));
    }

    // ---- What is asked. ------------------------------------------------------------------------

    /// Those of one name, in the order in which they were added; or all that run.
    std::vector<std::shared_ptr<control_link>> named(const std::string& name)
    {
        const std::lock_guard lock{mutex};
        std::erase_if(links, [](const auto& l) { return l.second->is_closed(); });
        std::vector<std::shared_ptr<control_link>> all;
        std::string                                names;
        for (const auto& [n, link] : links) {
            if (link == links.lower_bound(n)->second) names += (names.empty() ? "" : ", ") + n;
            if (name.empty() || n == name) all.push_back(link);
        }
        if (all.empty() && !name.empty())
            throw error{errc::invalid_argument, "there is no projection '" + name +
                                                    "': the service has " +
                                                    (names.empty() ? "none" : names)};
        return all;
    }

    /// ask(runner) of each, without those that go meanwhile.
    template <class Ask>
    static void of_each(const std::vector<std::shared_ptr<control_link>>& all,
                        std::atomic<bool>& stopping, Ask&& ask)
    {
        for (const auto& link : all) {
            try {
                link->use(stopping, [&](projection_core& runner) { ask(*link, runner); });
            } catch (const error& e) {
                if (e.code() != errc::closed || !link->is_closed()) throw;
            }
        }
    }

    std::vector<projection_status> statuses(const std::string& name, std::atomic<bool>& stopping)
    {
        std::vector<projection_status> all;
        of_each(named(name), stopping, [&](const auto& /*link*/, auto& runner) {
            all.push_back(runner.source()->status());
        });
        if (all.empty() && !name.empty())
            throw error{errc::closed, "projection " + name + " runs no more"};
        return all;
    }

    /// Only versions() is asked of a store: who begins to feed such a projection must find nothing
    /// of it open.
    std::vector<projection_status> unfed(std::atomic<bool>& stopping)
    {
        const auto                     all = named("");
        std::set<std::string>          fed;
        std::set<const table_store*>   seen;
        std::vector<projection_status> found;
        for (const auto& link : all) fed.insert(link->name());
        of_each(all, stopping, [&](const control_link& link, projection_core& runner) {
            const auto store = link.store();
            if (!store || !seen.insert(store.get()).second) return;
            try {
                for (const auto& name : store->projections())
                    if (!fed.contains(name))
                        found.push_back(
                            status_of(name, store->versions(name), runner.source()->status().end));
            } catch (const error& e) {
                if (e.code() != errc::store_unavailable) throw;
            }
        });
        std::ranges::stable_sort(found, {}, &projection_status::name);
        return found;
    }

    static projection_status status_of(const std::string&          name,
                                       std::vector<stored_version> versions, position end)
    {
        projection_status s;
        s.name     = name;
        s.end      = end;
        s.versions = std::move(versions);
        for (const auto& v : s.versions) {
            if (!v.active) continue;
            s.version = v.number;
            s.upto    = v.checkpoint.upto();
            if (v.checkpoint.paused) s.state = projection_state::paused;
        }
        return s;
    }

    /// Of a group, who stands there does it. One that has lost the partition to another may say so
    /// still, and then refuses.
    void skip(const control_request& r, std::atomic<bool>& stopping)
    {
        std::exception_ptr why;
        for (const auto& link : named(r.projection)) {
            try {
                return link->use(stopping, [&](projection_core& runner) {
                    // Else it would first handle all before it.
                    if (runner.source()->status().stands_before != r.position)
                        throw error{errc::invalid_argument, "projection " + r.projection +
                                                                " does not stand before position " +
                                                                std::to_string(r.position.value)};
                    runner.skip(r.position);
                });
            } catch (const error& e) {
                if (e.code() != errc::invalid_argument && e.code() != errc::closed) throw;
                why = std::current_exception();
            }
        }
        std::rethrow_exception(why);
    }

    /// Who is asked for all of a group: the one that was added first; to end a rebuild, one that
    /// has begun it.
    std::shared_ptr<control_link> one_for_all(const control_request& r, std::atomic<bool>& stopping)
    {
        const auto all = named(r.projection);
        if (r.verb == control_verb::cancel_rebuild && all.size() > 1)
            for (const auto& link : all)
                if (link->use(stopping, [](projection_core& runner) {
                        return runner.source()->status().rebuild.has_value();
                    }))
                    return link;
        return all.front();
    }

    control_answer answer(const control_request& r, std::atomic<bool>& stopping)
    {
        control_answer a;
        if (r.verb == control_verb::status) {
            a.projections = statuses(r.projection, stopping);
            return a;
        }
        if (r.verb == control_verb::unfed) {
            a.projections = unfed(stopping);
            return a;
        }
        if (r.projection.empty())
            throw error{errc::invalid_argument, "which projection? the request names none"};
        if (r.verb == control_verb::skip) {
            skip(r, stopping);
            return a;
        }
        one_for_all(r, stopping)->use(stopping, [&](projection_core& runner) {
            switch (r.verb) {
            case control_verb::status:
            case control_verb::unfed:
            case control_verb::skip:
                break;
            case control_verb::rebuild: {
                runner.rebuild();
                const auto now = runner.source()->status();
                a.count =
                    static_cast<std::uint64_t>(now.rebuild ? now.rebuild->version : now.version);
                break;
            }
            case control_verb::cancel_rebuild:
                runner.cancel_rebuild();
                break;
            case control_verb::pause:
                runner.pause();
                break;
            case control_verb::resume:
                runner.resume();
                break;
            case control_verb::reset:
                runner.reset();
                break;
            case control_verb::swap:
                runner.swap_to(r.version);
                break;
            case control_verb::drop:
                runner.drop(r.version);
                break;
            case control_verb::parked:
                a.parked = some_parked(runner, r);
                break;
            case control_verb::retry_parked:
                a.count = runner.retry_parked(stopping);
                break;
            case control_verb::skip_parked:
                runner.skip_parked(*r.in, r.at);
                break;
            case control_verb::verify:
                a.verified = runner.verify(stopping);
                break;
            }
        });
        return a;
    }

    /// So many that an answer is not large; at least one, if there is one.
    static std::vector<parked_event> some_parked(projection_core& runner, const control_request& r)
    {
        constexpr std::size_t at_once = 16;
        parked_event          after;
        if (r.in) {
            after.in = *r.in;
            after.at = r.at;
        }
        std::vector<parked_event> all;
        std::size_t               bytes = 0;
        for (bool more = true; more && bytes < answer_bytes_about;) {
            const bool first = all.empty() && !r.in;
            const auto next =
                runner.parked(at_once, first ? std::nullopt : std::optional<parked_event>{after});
            for (const auto& e : next) {
                bytes += e.key.size() + e.why.size() + 200;
                all.push_back(e);
            }
            more = next.size() == at_once;
            if (!all.empty()) after = all.back();
        }
        return all;
    }

    std::string answer_line(const std::string& request, std::atomic<bool>& stopping)
    {
        try {
            return text_of(answer(detail::request_from(request), stopping)) + '\n';
        } catch (const error& e) {
            return text_of(e) + '\n';
        } catch (const std::exception& e) {
            return text_of(error{errc::io_failed, e.what()}) + '\n';
        }
    }

    void work()
    {
        for (;;) {
            std::shared_ptr<job> mine;
            {
                std::unique_lock lock{mutex};
                changed.wait(lock, [&] { return closing || !to_do.empty(); });
                if (closing) return;
                mine = std::move(to_do.front());
                to_do.pop_front();
                doing.push_back(mine);
            }
            auto line = answer_line(mine->request, mine->stopping);
            {
                const std::lock_guard lock{mutex};
                mine->answer = std::move(line);
                mine->done   = true;
                std::erase(doing, mine);
            }
            rouse();
        }
    }

    // ---- Who asks. -----------------------------------------------------------------------------

    void serve()
    {
        std::deque<connection> all;
        std::vector<::pollfd>  look;
        bool                   out_of_descriptors = false;
        for (;;) {
            const bool full = std::exchange(out_of_descriptors, false) ||
                              (all.size() == connections_max && !close_one_that_is_idle(all));
            look.assign({{wake.get(), POLLIN, 0}, {full ? -1 : listener.get(), POLLIN, 0}});
            bool unread = full;
            for (const auto& c : all) {
                const bool writes = c.written < c.out.size();
                unread            = unread || writes;
                look.push_back({c.socket.get(),
                                static_cast<short>(writes    ? POLLOUT
                                                   : c.asked ? 0
                                                             : POLLIN),
                                0});
            }
            ::poll(look.data(), look.size(), unread ? 1000 : -1);
            if (look[0].revents != 0) {
                std::uint64_t               n    = 0;
                [[maybe_unused]] const auto read = ::read(wake.get(), &n, sizeof n);
                const std::lock_guard       lock{mutex};
                if (closing) return;
            }
            for (std::size_t i = 0; i < all.size(); ++i) move(all[i], look[i + 2].revents);
            std::erase_if(all, [](const connection& c) { return c.is_over; });
            if (look[1].revents != 0) out_of_descriptors = !accept(all);
        }
    }

    /// False: not now, and not at once.
    bool accept(std::deque<connection>& all) const
    {
        descriptor one{::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
        if (one.get() < 0) return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
        all.emplace_back(std::move(one));
        return true;
    }

    /// Who has asked nothing for the longest time goes where others want to ask.
    static bool close_one_that_is_idle(std::deque<connection>& all)
    {
        auto longest = all.end();
        for (auto c = all.begin(); c != all.end(); ++c)
            if (!c->asked && c->out.empty() && (longest == all.end() || c->moved < longest->moved))
                longest = c;
        if (longest == all.end()) return false;
        all.erase(longest);
        return true;
    }

    void move(connection& c, short ready)
    {
        if (c.asked) {
            {
                const std::lock_guard lock{mutex};
                if (c.asked->done) c.out = std::move(c.asked->answer);
            }
            if (!c.out.empty()) {
                c.asked.reset();
                c.written = 0;
                c.moved   = clock::now();
            } else if ((ready & (POLLHUP | POLLERR)) != 0) {
                c.asked->stopping = true;  // nobody waits for it any more
                c.is_over         = true;
            }
            if (c.asked) return;
        }
        if (c.written < c.out.size()) return write(c);
        if ((ready & (POLLIN | POLLHUP | POLLERR)) != 0) read(c);
    }

    void read(connection& c)
    {
        std::array<char, 4096> some;
        const auto             n = ::recv(c.socket.get(), some.data(), some.size(), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) {
            c.is_over = true;
            return;
        }
        c.in.append(some.data(), static_cast<std::size_t>(n));
        c.moved = clock::now();
        take_request(c);
    }

    void take_request(connection& c)
    {
        if (c.ends) return;
        const auto end = c.in.find('\n');
        if (end == std::string::npos) {
            if (c.in.size() <= detail::request_bytes_max) return;
            c.in.clear();
            c.ends = true;
            c.out  = text_of(error{errc::invalid_argument,
                                  "a request has at most " +
                                      std::to_string(detail::request_bytes_max) + " bytes"}) +
                    '\n';
            c.written = 0;
            return write(c);
        }
        c.asked          = std::make_shared<job>();
        c.asked->request = c.in.substr(0, end);
        c.in.erase(0, end + 1);
        {
            const std::lock_guard lock{mutex};
            to_do.push_back(c.asked);
        }
        changed.notify_one();
    }

    void write(connection& c)
    {
        const auto n = ::send(c.socket.get(), c.out.data() + c.written, c.out.size() - c.written,
                              MSG_NOSIGNAL);
        if (n > 0) {
            c.written += static_cast<std::size_t>(n);
            c.moved = clock::now();
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            c.is_over = true;
        }
        if (c.written == c.out.size()) {
            c.out.clear();
            c.out.shrink_to_fit();
            c.written = 0;
            if (c.ends) c.is_over = true;
            take_request(c);
        } else if (clock::now() - c.moved > unread_max) {
            c.is_over = true;
        }
    }

    const std::string directory;
    const descriptor  listener;
    const descriptor  wake;

    std::mutex                                                mutex;  // what follows
    std::condition_variable                                   changed;
    bool                                                      closing = false;
    std::multimap<std::string, std::shared_ptr<control_link>> links;
    std::deque<std::shared_ptr<job>>                          to_do;
    std::vector<std::shared_ptr<job>>                         doing;

    std::vector<std::thread> threads;
};

projection_control::projection_control(const commit_log& log) : impl_{std::make_unique<impl>(log)}
{
}

projection_control::~projection_control() = default;

void projection_control::add(std::shared_ptr<detail::control_link> link)
{
    impl_->add(std::move(link));
}

}  // namespace cairn
