// SPDX-License-Identifier: Apache-2.0
//
// Events that were recorded long ago, read as those that the code knows today.
#pragma once

#include <cairn/framework/event.hpp>

#include <concepts>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cairn {

/// What an upcaster may return: one event, or any number of them.
template <class T>
concept upcast_result =
    std::convertible_to<T, any_event> || std::convertible_to<T, std::vector<any_event>>;

/// How old events are read. What is on the log is never changed.
///
///     cairn::upcasters old;
///     old.change<OrderPlacedV1>([](OrderPlacedV1::Reader e) {
///            return order_placed(e.getCustomer(), "EUR");
///        })
///         .change<AddressChanged>([](AddressChanged::Reader e) {
///             return std::vector<cairn::any_event>{street_changed(e.getStreet()),
///                                                  city_changed(e.getCity())};
///         })
///         .merge<AmountSet, CurrencySet>([](AmountSet::Reader a, CurrencySet::Reader c) {
///             return price_set(a.getCents(), c.getCurrency());
///         })
///         .renamed<OrderPlaced>("PlaceOrder");
///
/// Invariants
///   - What a change makes is looked up again: changes of one step each make a chain, and where it
///     comes to one event, that may be the first or second of two that are merged.
///   - A record counts once in its stream's version, whatever it is read as.
///   - Two events are merged exactly where they were recorded next to each other, as those of one
///     decision are: in one stream and at adjacent positions, whoever reads. A first one that
///     stands alone is read as itself; at the end of what is read it stands alone until more is
///     recorded. What they are merged to may be changed, and is merged with no third.
///   - A record that has its type's name and no id (ce_dataschema) is of the type of that name that
///     the reader knows; else of the old one, here, that is called so.
///
/// Threads   const from any thread. The functions are called from many.
/// Lifetime  A value.
/// Errors    invalid_argument from here where a type is given twice, and from reading where a
///           chain is longer than 64, which is a circle. What a function throws, reading throws.
class upcasters
{
public:
    /// Reads each Old as what `as` returns; nothing at all is an answer too.
    template <event_struct Old, class As>
        requires std::invocable<const As&, typename Old::Reader>
    upcasters& change(As as)
    {
        static_assert(upcast_result<std::invoke_result_t<const As&, typename Old::Reader>>,
                      "an upcaster returns an event, or std::vector<cairn::any_event>");
        add({capnp::Schema::from<Old>(),
             [as](capnp::MessageReader& old, std::vector<any_event>& out) {
                 put(out, as(old.getRoot<Old>()));
             }});
        return *this;
    }

    /// Reads each First with the Second that was recorded next to it as what `as` returns. Who
    /// asks for tags that only one of them has finds that one, and an outbox delivers each record
    /// by itself; a process that has handled a First at the end of the log hears its Second alone.
    template <event_struct First, event_struct Second, class As>
        requires std::invocable<const As&, typename First::Reader, typename Second::Reader>
    upcasters& merge(As as)
    {
        add_merge({capnp::Schema::from<First>(), capnp::Schema::from<Second>(),
                   [as](capnp::MessageReader& first, capnp::MessageReader& second,
                        std::vector<any_event>& out) {
                       put(out, as(first.getRoot<First>(), second.getRoot<Second>()));
                   }});
        return *this;
    }

    /// New was called otherwise when records had its name only (no ce_dataschema).
    template <event_struct New>
    upcasters& renamed(std::string old_name)
    {
        add_name(std::move(old_name), capnp::Schema::from<New>());
        return *this;
    }

    /// New had another type id: it was moved to another file or scope without keeping it. Its
    /// fields must be compatible.
    template <event_struct New>
    upcasters& moved(std::uint64_t old_id)
    {
        add_id(old_id, capnp::Schema::from<New>());
        return *this;
    }

    bool empty() const noexcept
    {
        return changes_.empty() && merges_.empty() && names_.empty() && ids_.empty();
    }

    struct changing
    {
        capnp::StructSchema old;
        std::function<void(capnp::MessageReader& old, std::vector<any_event>& out)> as;
    };
    struct merging
    {
        capnp::StructSchema first, second;
        std::function<void(capnp::MessageReader& first, capnp::MessageReader& second,
                           std::vector<any_event>& out)>
            as;
    };

    // What reading asks for.
    const changing*                    change_of(std::uint64_t type_id) const noexcept;
    const merging*                     merge_of(std::uint64_t first_id) const noexcept;
    /// Of a type that is the first or second of a merge.
    std::optional<capnp::StructSchema> merged(std::uint64_t type_id) const noexcept;
    std::optional<capnp::StructSchema> schema_of(std::uint64_t old_id) const noexcept;
    std::optional<capnp::StructSchema> schema_of(std::string_view old_name) const noexcept;

    // What a query must ask for to find old events too. (What a change makes of an old event is
    // not known beforehand, so all that are changed are named.)

    /// The types that are read as others, as far as the code has them.
    std::vector<capnp::StructSchema> old_types() const;
    /// And those that it only has the ids and the names of.
    std::vector<std::uint64_t> old_ids() const;
    std::vector<std::string>   old_names() const;

private:
    void add(changing c);
    void add_merge(merging m);
    void add_name(std::string old_name, capnp::StructSchema now);
    void add_id(std::uint64_t old_id, capnp::StructSchema now);

    static void put(std::vector<any_event>& out, any_event e) { out.push_back(std::move(e)); }
    static void put(std::vector<any_event>& out, std::vector<any_event> all)
    {
        for (auto& e : all) out.push_back(std::move(e));
    }

    std::unordered_map<std::uint64_t, changing>          changes_;  // by the old type's id
    std::unordered_map<std::uint64_t, merging>           merges_;   // by the first one's id
    std::unordered_map<std::string, capnp::StructSchema> names_;
    std::unordered_map<std::uint64_t, capnp::StructSchema> ids_;
};

}  // namespace cairn
