// SPDX-License-Identifier: Apache-2.0
//
// Lanes: a queue for each key that is busy. Whoever comes to a key that is free goes on at once, on
// its own thread; else it waits in the lane, and is called by the one before it. A waiting thread
// is woken, a submitted command is given to a thread of the pool.
//
// Who has a turn, or is one of the pool, waits in no lane: so nobody can wait for a turn, or for a
// thread, that waits for it, in whatever circle and over whatever dispatchers. Refusing only the
// circles would need one graph of all who wait, and would let the pool run out all the same.
#include <cairn/framework/dispatcher.hpp>

#include <cairn/framework/detail/names.hpp>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

namespace cairn::detail {

namespace {

/// The keys whose turn this thread has, in this process's dispatchers.
thread_local std::vector<std::pair<const void*, std::string_view>> turns;

/// This thread is one of a dispatcher's.
thread_local bool is_of_a_pool = false;

}  // namespace

struct dispatcher_core::impl
{
    struct entry
    {
        std::string name;
        key_of      key;
        handler     handle;
    };

    struct job
    {
        std::shared_ptr<void> held;
        command_call*         call;
        const void*           command;
        done                  then;
    };

    /// One that waits for its turn: a thread, or a job.
    struct waiter
    {
        std::condition_variable* wakes = nullptr;
        bool*                    woken = nullptr;
        std::optional<job>       submitted{};
    };

    explicit impl(dispatcher_options o) : options{o} {}

    const entry& entry_of(std::type_index type) const
    {
        const auto known = entries.find(type);
        if (known == entries.end())
            throw error{errc::unknown_command, "nobody handles the command " +
                                                   short_name(type) +
                                                   ": give the dispatcher a handler for it"};
        return known->second;
    }

    execute_result run(command_call& call, const void* command)
    {
        const auto& e = entry_of(call.type());
        turns.emplace_back(this, call.key());
        struct leave
        {
            ~leave() { turns.pop_back(); }
        } const leave_turn;
        return step(0, e, call, command);
    }

    [[noreturn]] void refuse_to_wait(const command_call& call) const
    {
        for (const auto& [of, key] : turns)
            if (of == this && key == call.key())
                throw error{errc::invalid_argument,
                            "the handler of a command for \"" + call.key() + "\" executes " +
                                std::string{call.name()} +
                                " for the same key, and would wait for itself: decide both in one "
                                "command"};
        throw error{errc::invalid_argument,
                    std::string{call.name()} + " for \"" + call.key() +
                        "\", which is busy, is executed " +
                        (turns.empty() ? "by what is called with an answer"
                                       : "by the handler of a command for \"" +
                                             std::string{turns.back().second} + "\"") +
                        ", and might wait for what waits for that: submit it, or decide both in "
                        "one command"};
    }

    execute_result step(std::size_t i, const entry& e, command_call& call, const void* command)
    {
        if (i == used.size()) return e.handle(command, call.context);
        return used[i](call,
                       [&](command_call& onward) { return step(i + 1, e, onward, command); });
    }

    /// The turn of the next in the lane. REQUIRES: `lock` holds mutex.
    void leave_lane(const std::string& key)
    {
        auto&      lane = lanes.find(key)->second;
        if (lane.empty()) {
            lanes.erase(key);
            return;
        }
        auto next = std::move(lane.front());
        lane.pop_front();
        if (next.wakes) {
            *next.woken = true;
            next.wakes->notify_one();
        } else {
            ready.push_back(std::move(*next.submitted));
            work_for_pool();
        }
    }

    /// After a job became ready. A thread that was woken is idle until it has the mutex, so the
    /// jobs are compared with the threads: else two of them would be left to the same one.
    /// REQUIRES: mutex is held.
    void work_for_pool()
    {
        if (ready.size() <= idle)
            pool_wakes.notify_one();
        else if (pool.size() < options.threads_max)
            pool.emplace_back([this] { work(); });
    }

    void work()
    {
        is_of_a_pool = true;
        std::unique_lock lock{mutex};
        for (;;) {
            ++idle;
            pool_wakes.wait(lock, [&] { return !ready.empty() || stop; });
            --idle;
            if (ready.empty()) return;
            auto one = std::move(ready.front());
            ready.pop_front();
            lock.unlock();

            std::exception_ptr thrown;
            execute_result     result;
            const auto         key = one.call->key();
            try {
                result = run(*one.call, one.command);
            } catch (...) {
                thrown = std::current_exception();
            }
            lock.lock();
            leave_lane(key);
            lock.unlock();
            one.then(thrown, std::move(result));
            one = {};
            lock.lock();
            --unanswered;
            room.notify_all();
        }
    }

    const dispatcher_options                   options;
    std::unordered_map<std::type_index, entry> entries;
    std::vector<middleware>                    used;

    std::mutex                                          mutex;  // guards what follows
    std::unordered_map<std::string, std::deque<waiter>> lanes;  // of the keys that are busy
    std::deque<job>                                     ready;
    std::vector<std::thread>                            pool;
    std::condition_variable                             pool_wakes;
    std::condition_variable                             room;
    std::size_t                                         unanswered = 0;  // of those submitted
    std::size_t                                         executing  = 0;  // the others
    unsigned                                            idle       = 0;
    bool                                                stop       = false;
};

dispatcher_core::dispatcher_core(dispatcher_options o) : impl_{std::make_unique<impl>(o)} {}

dispatcher_core::~dispatcher_core()
{
    {
        std::unique_lock lock{impl_->mutex};
        impl_->room.wait(lock, [&] { return impl_->unanswered == 0 && impl_->executing == 0; });
        impl_->stop = true;
    }
    impl_->pool_wakes.notify_all();
    for (auto& t : impl_->pool) t.join();
}

void dispatcher_core::add(std::type_index type, key_of key, handler h)
{
    const auto name = short_name(type);
    if (!impl_->entries.try_emplace(type, impl::entry{name, std::move(key), std::move(h)}).second)
        throw error{errc::invalid_argument,
                    "there is a handler for the command " + name + " already"};
}

void dispatcher_core::use(middleware m) { impl_->used.push_back(std::move(m)); }

std::string_view dispatcher_core::name_of(std::type_index type) const
{
    return impl_->entry_of(type).name;
}

std::string dispatcher_core::key(std::type_index type, const void* command) const
{
    return impl_->entry_of(type).key(command);
}

execute_result dispatcher_core::execute(command_call& call, const void* command)
{
    const auto key = call.key();
    {
        std::unique_lock lock{impl_->mutex};
        const auto [lane, is_free] = impl_->lanes.try_emplace(key);
        if (!is_free && (!turns.empty() || is_of_a_pool)) impl_->refuse_to_wait(call);
        ++impl_->executing;
        if (!is_free) {
            std::condition_variable wakes;
            bool                    woken = false;
            lane->second.push_back({&wakes, &woken});
            wakes.wait(lock, [&] { return woken; });
        }
    }
    struct leave
    {
        impl&              of;
        const std::string& key;
        ~leave()
        {
            const std::lock_guard lock{of.mutex};
            of.leave_lane(key);
            --of.executing;
            of.room.notify_all();
        }
    } const leave_lane{*impl_, key};
    return impl_->run(call, command);
}

void dispatcher_core::submit(std::shared_ptr<void> held, command_call& call, const void* command,
                             done then)
{
    impl::job        one{std::move(held), &call, command, std::move(then)};
    std::unique_lock lock{impl_->mutex};
    // Who handles or answers a command must not wait: it may be the one that would make room, also
    // where it is another dispatcher's, whose commands come back here.
    if (turns.empty() && !is_of_a_pool)
        impl_->room.wait(lock, [&] { return impl_->unanswered < impl_->options.waiting_max; });
    ++impl_->unanswered;
    const auto [lane, is_free] = impl_->lanes.try_emplace(call.key());
    if (!is_free) {
        impl::waiter w;
        w.submitted = std::move(one);
        lane->second.push_back(std::move(w));
        return;
    }
    impl_->ready.push_back(std::move(one));
    impl_->work_for_pool();
}

}  // namespace cairn::detail
