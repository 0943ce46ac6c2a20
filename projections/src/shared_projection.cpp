// SPDX-License-Identifier: Apache-2.0
#include "shared_projection.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace cairn {

projection_group::projection_group(local_group_coordinator coordinator, projection_group_options o)
    : shared_{std::make_shared<detail::shared_projections>(std::move(coordinator), o)}
{
}

const local_group_coordinator& projection_group::coordinator() const noexcept
{
    return shared_->coordinator;
}

namespace detail {

std::shared_ptr<void> shared_projection::listen(listener l)
{
    const auto            mine = std::make_shared<listener>(std::move(l));
    const std::lock_guard one{committing_};
    const std::lock_guard lock{mutex_};
    const auto            id = next_listener_++;
    listeners_.emplace(id, mine);
    feeds_.emplace(id, mine->feed);
    for (const auto& [version, done] : done_) mine->heard(version, done);
    return {mine.get(), [this, id](void*) {
                const std::lock_guard one_again{committing_};
                const std::lock_guard lock_again{mutex_};
                listeners_.erase(id);
                feeds_.erase(id);
            }};
}

void shared_projection::commit(int version, std::span<const row_change> changes, position upto,
                               const std::function<void()>& how)
{
    const std::lock_guard one{committing_};
    // One in the other: each has its followers wait until it is known what happened.
    std::function<void(std::map<std::uint64_t, table_feed*>::const_iterator)> from;
    from = [&](auto feed) {
        if (feed == feeds_.cend()) return how();
        feed->second->commit(version, changes, upto, [&] { from(std::next(feed)); });
    };
    from(feeds_.cbegin());
}

void shared_projection::say(int version, const progress& done)
{
    const std::lock_guard lock{mutex_};
    auto&                 all = done_[version];
    for (const auto& [at, p] : done) {
        auto& known = all.try_emplace(at, p).first->second;
        known.next  = std::max(known.next, p.next);
        known.upto  = std::max(known.upto, p.upto);
    }
    for (const auto& [id, l] : listeners_) l->heard(version, all);
}

std::optional<int> shared_projection::builds() const
{
    const std::lock_guard lock{mutex_};
    return builder_ ? std::optional{building_} : std::nullopt;
}

bool shared_projection::is_built_by_another(const void* who) const
{
    const std::lock_guard lock{mutex_};
    return builder_ != nullptr && builder_ != who;
}

bool shared_projection::begin_building(const void* who, int version)
{
    const std::lock_guard lock{mutex_};
    if (builder_ != nullptr && builder_ != who) return false;
    if (active_ == version) return false;
    // What was said of a version of that number is of one that was dropped.
    if (builder_ == nullptr) done_.erase(version);
    builder_  = who;
    building_ = version;
    return true;
}

void shared_projection::end_building(const void* who) noexcept
{
    const std::lock_guard lock{mutex_};
    if (builder_ != who) return;
    builder_ = nullptr;
    wake();
}

void shared_projection::freeze(int version)
{
    const std::lock_guard lock{mutex_};
    frozen_ = version;
}

void shared_projection::thaw() noexcept
{
    const std::lock_guard lock{mutex_};
    frozen_ = 0;
    wake();
}

bool shared_projection::is_frozen(int version) const
{
    const std::lock_guard lock{mutex_};
    return frozen_ == version || (active_ != 0 && active_ != version);
}

void shared_projection::activated(int version)
{
    const std::lock_guard lock{mutex_};
    active_ = version;
    wake();
}

int shared_projection::active() const
{
    const std::lock_guard lock{mutex_};
    return active_;
}

void shared_projection::wake() const
{
    for (const auto& [id, l] : listeners_) l->woken();
}

}  // namespace detail
}  // namespace cairn
