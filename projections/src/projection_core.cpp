// SPDX-License-Identifier: Apache-2.0
#include "projection_core.hpp"

#include "control_link.hpp"

#include <cairn/projections/live.hpp>

#include <algorithm>
#include <limits>

namespace cairn {

namespace detail {

namespace {

const std::atomic<bool> never{false};

}  // namespace

bool passes(const std::exception_ptr& e)
{
    try {
        std::rethrow_exception(e);
    } catch (const error& known) {
        return known.code() == errc::store_unavailable || known.code() == errc::disk_full;
    } catch (...) {
        return false;
    }
}
std::vector<table_shape> shapes_of(const projection_type& type)
{
    const auto          one = type.create();
    const parked_events parked{*one};
    return access_of(*one).shapes();
}
projection_core::impl::impl(event_store e, std::string n, std::shared_ptr<table_store> t,
                            projection_type ty, projection_options o)
    : events{std::move(e)},
      name{std::move(n)},
      store{std::move(t)},
      type{std::move(ty)},
      options{std::move(o)},
      shapes{shapes_of(type)},
      with{options.group ? options.group->shared()->named(name) : nullptr}
{
    check_name();
    const auto one = type.create();
    check_sinks(name, access_of(*one).feeds(), options.feeds);
    if (options.on_failure == on_failure::park && access_of(*one).posts())
        throw error{errc::invalid_argument,
                    "projection " + name +
                        " has a flow that ends in to_topic(), and cannot park: what an event made "
                        "out of its order could not be told from what is there; leave "
                        "on_failure::stop, and mend it or skip() the event"};
    if (with)
        listening = with->listen({[this](int version, const auto& done) { hear(version, done); },
                                  [this] { wake(); }, &feed_of_tables});
    choose_versions();
    // In a group it is for all: each sees it at its next batch.
    for (const auto& v : fed()) paused = paused || (!with && v->run->paused());
}

void projection_core::impl::choose_versions()
{
    const auto  all    = store->versions(name);
    const auto* mine   = static_cast<const stored_version*>(nullptr);
    const auto* active = static_cast<const stored_version*>(nullptr);
    for (const auto& v : all) {
        newest = std::max(newest.load(), v.number);
        if (v.active) active = &v;
        if (v.checkpoint.code_version == type.code_version) mine = &v;
    }
    if (active == nullptr) {
        const int number = mine ? mine->number : newest + 1;
        answer_from(make(number));
        store->activate(name, number);
        return;
    }
    active_number = active->number;
    if (active->checkpoint.code_version == type.code_version) {
        answer_from(make(active->number));
        // A newer one that is whole was swapped back from; one that is not goes on.
        if (mine->number > active->number && !mine->checkpoint.complete)
            building = make(mine->number, false);
        return;
    }
    // Other code made what answers. Its tables are read where they have the same shape, and
    // left as they are.
    try {
        others = store->open(name, active->number, 0, shapes);
    } catch (const error& why) {
        if (why.code() != errc::shape_differs) throw;
    }
    building = make(mine ? mine->number : next_number(), false);
}

projection_core::impl::~impl()
{
    stop();
    listening.reset();  // before what it is told of
}

void projection_core::impl::check_name() const
{
    const bool good = !name.empty() && name.size() <= 100 &&
                      std::all_of(name.begin(), name.end(),
                                  [](char c) {
                                      return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                                             c == '-' || c == '_' || c == '.';
                                  }) &&
                      name.front() != '.';
    if (!good)
        throw error{errc::invalid_argument, "a projection cannot be called '" + name +
                                                "': take 1 to 100 letters, digits, '.', '_' "
                                                "and '-'"};
}

std::shared_ptr<fed_version> projection_core::impl::make(int number, bool answers)
{
    newest   = std::max(newest.load(), number);
    auto run = std::make_shared<projection_run>(
        events, name, number, store->open(name, number, type.code_version, shapes), type, options,
        &feed_of_tables);
    if (answers) run->open_feeds();
    return std::make_shared<fed_version>(std::move(run), options.stall_after);
}

position projection_core::impl::built_before() const
{
    if (options.feeds.empty()) return projection_run::everything;
    {
        const std::lock_guard lock{mutex};
        if (answering) return answering->run->upto();
    }
    // Other code's, which another process may be running.
    for (const auto& v : store->versions(name))
        if (v.active) return v.checkpoint.upto();
    return projection_run::everything;
}

int projection_core::impl::next_number() const
{
    const auto begun = with ? with->builds() : std::nullopt;
    return begun ? *begun : newest + 1;
}

std::shared_ptr<fed_version> projection_core::impl::answer_from(
    const std::shared_ptr<fed_version>& now)
{
    if (with) now->run->share(with);
    std::shared_ptr<fed_version> old;
    {
        const std::lock_guard lock{mutex};
        old           = std::exchange(answering, now);
        active_number = now->run->number();
        others.reset();
        if (building == now) building.reset();
    }
    changed.notify_all();
    feed_of_tables.begin_again();
    return old;
}

void projection_core::impl::retire(const std::shared_ptr<fed_version>& old)
{
    if (!old) return;
    {
        const std::lock_guard lock{mutex};
        old->stopping = true;
        if (old->asleep) old->asleep->stop();
        retired.push_back(old);
    }
    changed.notify_all();
    old->run->interrupt(true);
}

void projection_core::impl::rebuild()
{
    const std::lock_guard one{life};
    join_retired();
    {
        const std::lock_guard lock{mutex};
        if (building) return;
    }
    // Not with the lock: the store and the group are asked. Nobody else begins one meanwhile.
    const auto begun = make(next_number(), false);
    {
        const std::lock_guard lock{mutex};
        building = begun;
    }
    if (running) begin_thread(begun);
}

void projection_core::impl::cancel_rebuild()
{
    const std::lock_guard one{life};
    cancel_rebuild_held();
}

void projection_core::impl::cancel_rebuild_held()
{
    std::shared_ptr<fed_version> ended;
    {
        const std::lock_guard lock{mutex};
        if (!building || !answering) return;
        ended = building;
    }
    const bool anothers = with && with->is_built_by_another(this);
    end_thread(ended);
    bool was_quicker = false;
    {
        const std::lock_guard lock{mutex};
        was_quicker = building != ended;
        if (!was_quicker) building.reset();
    }
    if (was_quicker) {
        if (running) begin_thread(ended);  // it answers now
        return;
    }
    const int number = ended->run->number();
    // Who asks how it is, or tells it something, has it for a moment yet.
    const std::weak_ptr<fed_version> gone = ended;
    ended.reset();
    while (!gone.expired()) std::this_thread::yield();
    if (!anothers) store->drop(name, number);
}

void projection_core::impl::swap_to(int number)
{
    const std::lock_guard one{life};
    join_retired();
    {
        const std::lock_guard lock{mutex};
        if (number == active_number) return;
    }
    const auto all    = store->versions(name);
    const auto found  = std::find_if(all.begin(), all.end(),
                                     [&](const stored_version& v) { return v.number == number; });
    const auto refuse = [&](const std::string& why) {
        throw error{errc::invalid_argument, "projection " + name + " cannot go to version " +
                                                std::to_string(number) + ": " + why};
    };
    if (found == all.end()) refuse("there is none; status() lists them");
    if (!found->checkpoint.complete && number > active_number)
        refuse("it is not built yet; wait for its rebuild");
    if (found->checkpoint.code_version != type.code_version)
        refuse("code of version " + std::to_string(found->checkpoint.code_version) +
               " made it; run that code");
    auto now = make(number);
    if (const bool is = is_paused(); now->run->paused() != is) now->run->pause(is);
    store->activate(name, number);
    const auto old = answer_from(now);
    if (with) with->activated(number);
    if (old) end_thread(old);
    if (running) begin_thread(now);
}

void projection_core::impl::drop(int number)
{
    const std::lock_guard one{life};
    join_retired();
    {
        const std::lock_guard lock{mutex};
        if (number == active_number || (building && building->run->number() == number))
            throw error{errc::invalid_argument,
                        "projection " + name + " version " + std::to_string(number) +
                            " is in use: swap to another, or cancel its rebuild"};
    }
    store->drop(name, number);
}

bool projection_core::impl::is_paused()
{
    return paused || (with && is_paused_in_group());
}

void projection_core::impl::pause()
{
    const std::lock_guard one{life};
    if (!with) {
        paused = true;
        for (const auto& v : fed()) end_thread(v);
    }
    for (const auto& v : fed())
        if (!with || !is_building(*v)) v->run->pause(true);
}

void projection_core::impl::resume()
{
    const std::lock_guard one{life};
    for (const auto& v : fed())
        if (v->run->paused()) v->run->pause(false);
    paused = false;
    if (!running) return;
    try {
        begin_all(!is_inline);
    } catch (...) {
        // Inline, what comes first may fail: as when it is recorded.
        for (const auto& v : fed())
            if (is_building(*v))
                begin_thread(v);
            else
                v->run->fail(std::current_exception());
        begin_watch();
    }
}

void projection_core::impl::reset()
{
    const std::lock_guard one{life};
    join_retired();
    cancel_rebuild_held();
    {
        const std::lock_guard lock{mutex};
        if (building)
            throw error{errc::invalid_argument,
                        "projection " + name + " is being built from the beginning already"};
    }
    const auto now    = make(newest + 1);
    const int  number = now->run->number();
    if (is_paused()) now->run->pause(true);
    store->activate(name, number);
    auto old = answer_from(now);
    if (with) with->activated(number);
    end_thread(old);
    const int thrown_away = old->run->number();
    old.reset();
    try {
        store->drop(name, thrown_away);
    } catch (const std::exception&) {
        // A reading holds it still. It is listed, and can be dropped by hand.
    }
    if (running) begin_thread(now);
}

projection_core::projection_core(event_store events, std::string name,
                                 std::shared_ptr<table_store> tables, projection_type type,
                                 projection_options o)
    : impl_{std::make_shared<impl>(std::move(events), std::move(name), std::move(tables),
                                   std::move(type), std::move(o))},
      link_{std::make_shared<control_link>(impl_->name, *this, impl_->with, impl_->store)}
{
}

projection_core::~projection_core()
{
    impl_->is_over = true;
    link_->close();
    impl_->stop();
    impl_->feed_of_tables.close();
}

void projection_core::run_until_idle()
{
    impl_->run_until_idle();
}
void projection_core::start()
{
    impl_->start();
}
void projection_core::start_inline()
{
    impl_->start_inline();
}
void projection_core::stop() noexcept
{
    impl_->stop();
}
stop_result projection_core::stop(std::chrono::steady_clock::duration timeout)
{
    return impl_->stop(timeout);
}
void projection_core::rebuild()
{
    impl_->rebuild();
}
void projection_core::cancel_rebuild()
{
    impl_->cancel_rebuild();
}
void projection_core::swap_to(int version)
{
    impl_->swap_to(version);
}
void projection_core::drop(int version)
{
    impl_->drop(version);
}

void projection_core::pause()
{
    impl_->pause();
}
void projection_core::resume()
{
    impl_->resume();
}
void projection_core::reset()
{
    impl_->reset();
}

bound_projection fold(const event_store& events, const projection_type& type, const fold_options& o)
{
    const auto       shapes = shapes_of(type);
    const auto       tables = memory_tables()->open("live", 1, type.code_version, shapes);
    const auto       end    = o.upto ? o.upto->next() : events.log().end_position();
    bound_projection b{tables, nullptr, type.create(), end};
    if (o.stream) {
        // A stream is short: it is folded as it is read.
        const auto     one    = type.create();
        auto&          access = access_of(*one);
        event_dispatch dispatch{events, type.handlers};
        auto           writer = tables->write();
        access.write(writer.get());
        for (const auto& r : events.log().read_stream(*o.stream)) {
            if (r.position >= end) break;
            dispatch.dispatch(r, type.as_itself(one.get()));
        }
        dispatch.finish(type.as_itself(one.get()));
        writer->commit(access.changes(), writer->checkpoint());
    } else {
        projection_options options;
        options.topics            = o.topics;
        options.query             = o.query;
        options.commit_events_max = std::numeric_limits<std::size_t>::max();
        options.commit_bytes_max  = options.commit_events_max;
        options.commit_time_max   = std::chrono::hours{24 * 365};
        projection_run{events, "live", 1, tables, type, options}.catch_up_to(end);
    }
    b.reader = tables->read();
    access_of(*b.itself).read(b.reader.get());
    return b;
}

std::vector<parked_event> projection_core::parked(std::size_t                        at_most,
                                                  const std::optional<parked_event>& after)
{
    return impl_->parked(at_most, after);
}
std::size_t projection_core::retry_parked()
{
    return retry_parked(never);
}
std::size_t projection_core::retry_parked(const std::atomic<bool>& stopping)
{
    return impl_->answering_one()->run->retry_parked(stopping);
}
void projection_core::skip_parked(const topic_partition& in, offset at)
{
    impl_->answering_one()->run->skip_parked(in, at);
}
void projection_core::skip(position which)
{
    impl_->skip(which);
}
verification projection_core::verify()
{
    return verify(never);
}
verification projection_core::verify(const std::atomic<bool>& stopping)
{
    return impl_->verify(stopping);
}

std::shared_ptr<projection_source> projection_core::source() const noexcept
{
    return impl_;
}

std::shared_ptr<control_link> projection_core::link() const noexcept
{
    return link_;
}

}  // namespace detail
}  // namespace cairn
