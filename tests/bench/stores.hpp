// SPDX-License-Identifier: Apache-2.0
//
// The shapes of work that a log is for, and who can do them: Cairn, and what one would use
// instead. Each is used as its own documentation says it should be, and each call that writes
// returns when the data is on disk.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::bench {

struct event
{
    std::string              stream;
    std::int64_t             version = 0;
    std::string              type;
    std::string              value;
    std::vector<std::string> tags;
};

/// The value of an event begins with two fields that a replay reads.
struct two_fields
{
    std::int64_t  amount   = 0;
    std::uint32_t customer = 0;
};
std::string value_of(const two_fields& f, std::size_t bytes);

inline two_fields fields_of(std::string_view value)
{
    two_fields f;
    std::memcpy(&f.amount, value.data(), sizeof f.amount);
    std::memcpy(&f.customer, value.data() + sizeof f.amount, sizeof f.customer);
    return f;
}

inline const std::string placed_type = "OrderPlaced", paid_type = "OrderPaid";

/// What a replay does with an event: dispatches on its type, and reads two fields.
struct tally
{
    std::int64_t  placed = 0, paid = 0;
    std::uint64_t customers = 0, events = 0;

    void take(std::string_view type, std::string_view value)
    {
        const auto f = fields_of(value);
        ++events;
        if (type == placed_type) {
            placed += f.amount;
            customers += f.customer;
        } else if (type == paid_type) {
            paid += f.amount;
        }
    }
};

/// Events as a store takes many of them at once: made before the clock runs, since that is its
/// caller's work.
class prepared
{
public:
    virtual ~prepared() = default;
};

/// Threads  append(), append_under_boundary(): any. All else: one at a time.
/// Errors   std::exception: a condition did not hold, or something is wrong. Neither may happen.
class store
{
public:
    virtual ~store() = default;

    virtual const char* name() const = 0;

    /// Durable, all of them or none; each is refused where its stream has that version already.
    virtual void append(std::span<const event> events) = 0;

    /// Durable, unless an event that has both of its tags is there already.
    virtual bool has_boundaries() const { return false; }
    virtual void append_under_boundary(const event& e);

    virtual std::unique_ptr<prepared> prepare(std::vector<event> events) = 0;

    /// Durable. Each time with `version` for all of its events.
    virtual void bulk(prepared& events, std::int64_t version) = 0;

    /// All events, in the order of the log.
    virtual void read_all(
        const std::function<void(std::string_view type, std::string_view value)>& each) = 0;
    /// The same, with nothing between the store and the tally.
    virtual void replay(tally& t) = 0;

    /// Leaves no work behind for later: what is measured next is measured alone.
    virtual void settle() {}
};

/// One that takes events as they are: there is nothing to prepare.
class store_of_events : public store
{
public:
    std::unique_ptr<prepared> prepare(std::vector<event> events) final
    {
        auto all    = std::make_unique<as_they_are>();
        all->events = std::move(events);
        return all;
    }
    void bulk(prepared& events, std::int64_t version) final
    {
        bulk_of(static_cast<as_they_are&>(events).events, version);
    }

protected:
    /// As bulk().
    virtual void bulk_of(std::span<const event> events, std::int64_t version) = 0;

private:
    struct as_they_are final : prepared
    {
        std::vector<event> events;
    };
};

/// Opens a new one in an empty directory.
using store_maker = std::function<std::unique_ptr<store>(const std::string& directory)>;

std::unique_ptr<store> make_cairn(const std::string& directory);

/// Null where it was not built: its package was not there.
store_maker peer(const std::string& name);

std::unique_ptr<store> make_sqlite(const std::string& directory);
std::unique_ptr<store> make_rocksdb(const std::string& directory);
std::unique_ptr<store> make_lmdb(const std::string& directory);

}  // namespace cairn::bench
