// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/detail/event_dispatch.hpp>

#include "event_reader.hpp"

#include <charconv>
#include <optional>
#include <utility>

namespace cairn {

std::optional<version> origin::version() const noexcept
{
    const auto said = header(header_names::stream_version);
    if (!said) return std::nullopt;
    cairn::version v;
    const auto     end = std::from_chars(said->data(), said->data() + said->size(), v.value);
    if (end.ec != std::errc{} || end.ptr != said->data() + said->size()) return std::nullopt;
    return v;
}

namespace detail {

struct event_dispatch::impl
{
    impl(event_store s, std::vector<entry> e)
        : store{std::move(s)},
          entries{std::move(e)},
          schemas{schemas_of(entries)},
          reader{store.core(), schemas}
    {
    }

    static std::vector<capnp::StructSchema> schemas_of(const std::vector<entry>& entries)
    {
        std::vector<capnp::StructSchema> all;
        for (const auto& e : entries) all.push_back(e.schema);
        return all;
    }

    bool hand_on(const event_type& type, bytes_view event, const origin& from, void* to)
    {
        for (const auto& e : entries)
            if (type.is(e.schema)) {
                e.handle(to, reader.open(event), from);
                return true;
            }
        return false;
    }

    event_store                            store;
    const std::vector<entry>               entries;
    const std::vector<capnp::StructSchema> schemas;
    event_reader                           reader;

    /// Of the event that waits: a record that outlives the range it came from.
    struct kept_record
    {
        explicit kept_record(const record_view& r)
            : key{r.key ? std::optional<std::string>{*r.key} : std::nullopt},
              headers{r.headers.bytes()},
              from{r.from ? *r.from : topic_partition{}},
              view{r}
        {
            if (key) view.key = *key;
            view.value.reset();
            view.headers = {headers, r.headers.size()};
            view.from    = r.from ? &from : nullptr;
        }
        std::optional<std::string> key;
        std::string                headers;
        topic_partition            from;
        record_view                view;
    };
    std::unique_ptr<kept_record> waiting;
};

event_dispatch::event_dispatch(event_store store, std::vector<entry> entries)
    : impl_{std::make_unique<impl>(std::move(store), std::move(entries))}
{
}

event_dispatch::~event_dispatch()                         = default;
event_dispatch::event_dispatch(event_dispatch&&) noexcept = default;

std::size_t event_dispatch::dispatch(const record_view& r, void* to)
{
    std::size_t  handled = waits() && !impl_->reader.waits_for(r) ? finish(to) : 0;
    const origin from{r};
    impl_->reader.read(r, [&](const event_type& type, bytes_view event) {
        handled += impl_->hand_on(type, event, from, to);
    });
    impl_->waiting = impl_->reader.waits() ? std::make_unique<impl::kept_record>(r) : nullptr;
    return handled;
}

bool event_dispatch::knows(const record_view& r) const
{
    return impl_->reader.knows(event_type_of(r));
}

std::size_t event_dispatch::finish(void* to)
{
    const auto kept = std::exchange(impl_->waiting, nullptr);
    if (!kept) return 0;
    std::size_t  handled = 0;
    const origin from{kept->view};
    impl_->reader.finish([&](const event_type& type, bytes_view event) {
        handled += impl_->hand_on(type, event, from, to);
    });
    return handled;
}

bool event_dispatch::waits() const noexcept
{
    return impl_->waiting != nullptr;
}

std::vector<std::string> event_dispatch::query_types() const
{
    return impl_->store.core().query_types(impl_->schemas);
}

}  // namespace detail
}  // namespace cairn
