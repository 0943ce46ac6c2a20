// SPDX-License-Identifier: Apache-2.0
#include "parked_events.hpp"

#include "stored_tables.hpp"

namespace cairn::detail {

namespace {

const std::tuple<std::string, std::int32_t, std::uint64_t> of_all{"", -1, 0};

}  // namespace

parked_events::parked_events(projection_base& of)
    // Several threads only handle events while none is parked.
    : events_{&of, "cairn_parked", rows_apart},
      by_key_{&of, "cairn_parked_keys", rows_apart},
      counts_{&of, "cairn_parked_counts", rows_apart}
{
}

std::uint64_t parked_events::count() const
{
    return static_cast<std::uint64_t>(counts_.find(of_all).value_or(0));
}

bool parked_events::must_wait(const topic_partition& in, const record_view& r) const
{
    if (!r.key || counts_.find(of_all).value_or(0) == 0) return false;
    return counts_.contains({in.topic, in.partition, hash_of(*r.key)});
}

void parked_events::add(const key_name& key, std::int64_t n)
{
    const auto now = counts_.find(key).value_or(0) + n;
    if (now == 0)
        counts_.erase(key);
    else
        counts_.put(key, now);
}

void parked_events::park(const topic_partition& in, const record_view& r, const std::string& why,
                         std::int64_t attempts, timestamp now)
{
    constexpr std::size_t why_bytes_max = 4096;
    events_.put({in.topic, in.partition, r.offset.value},
                {std::string{r.key.value_or(bytes_view{})},
                 std::string{r.headers.find(header_names::type).value_or(bytes_view{})},
                 why.substr(0, why_bytes_max), r.position, attempts, now, r.key.has_value()});
    add(of_all, 1);
    if (!r.key) return;
    const auto key = hash_of(*r.key);
    by_key_.put({in.topic, in.partition, key, r.offset.value}, {});
    add({in.topic, in.partition, key}, 1);
}

void parked_events::failed_again(const topic_partition& in, offset at, const std::string& why)
{
    events_.update({in.topic, in.partition, at.value}, [&](reason& r) {
        ++r.attempts;
        r.why = why;
    });
}

bool parked_events::remove(const topic_partition& in, offset at)
{
    const place which{in.topic, in.partition, at.value};
    const auto  was = events_.find(which);
    if (!was) return false;
    events_.erase(which);
    add(of_all, -1);
    if (!was->keyed) return true;
    const auto key = hash_of(was->key);
    by_key_.erase({in.topic, in.partition, key, at.value});
    add({in.topic, in.partition, key}, -1);
    return true;
}

std::vector<parked_event> parked_events::list(std::size_t                        at_most,
                                              const std::optional<parked_event>& after) const
{
    std::vector<parked_event> all;
    auto                      rows =
        after ? events_.rows_from({after->in.topic, after->in.partition, after->at.next().value})
                                   : events_.rows();
    for (const auto& [where, r] : rows) {
        if (all.size() == at_most) break;
        all.push_back({{std::get<0>(where), std::get<1>(where)},
                       offset{std::get<2>(where)},
                       r.at,
                       r.key,
                       r.type,
                       r.why,
                       r.attempts,
                       r.since});
    }
    return all;
}

std::optional<parked_events::first> parked_events::first_after(const std::optional<first>& f) const
{
    // Those without a key first: they wait for nobody.
    if (!f || !f->key) {
        auto rows = f ? events_.rows_from({f->in.topic, f->in.partition, f->at.next().value})
                      : events_.rows();
        for (const auto& [where, r] : rows)
            if (!r.keyed)
                return first{{std::get<0>(where), std::get<1>(where)},
                             offset{std::get<2>(where)},
                             std::nullopt};
    }
    auto rows = f && f->key ? by_key_.rows_from({f->in.topic, f->in.partition, *f->key,
                                                 std::numeric_limits<std::int64_t>::max()})
                            : by_key_.rows();
    for (const auto& [where, there] : rows)
        return first{{std::get<0>(where), std::get<1>(where)},
                     offset{std::get<3>(where)},
                     std::get<2>(where)};
    return std::nullopt;
}

std::optional<offset> parked_events::first_of(const topic_partition& in, std::uint64_t key) const
{
    for (const auto& [where, there] : by_key_.rows_with(in.topic, in.partition, key))
        return offset{std::get<3>(where)};
    return std::nullopt;
}

}  // namespace cairn::detail
