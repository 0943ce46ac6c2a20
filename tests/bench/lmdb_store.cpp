// SPDX-License-Identifier: Apache-2.0
//
// LMDB as an event store: events by position, an entry of stream and version for each, and LMDB's
// default, fully durable commit.
#include "stores.hpp"

#include <lmdb.h>

#include <stdexcept>

namespace cairn::bench {

namespace {

void check(int code)
{
    if (code != MDB_SUCCESS) throw std::runtime_error{mdb_strerror(code)};
}

class transaction
{
public:
    transaction(MDB_env* env, unsigned flags) { check(mdb_txn_begin(env, nullptr, flags, &t_)); }
    ~transaction()
    {
        if (t_) mdb_txn_abort(t_);
    }
    transaction(const transaction&)            = delete;
    transaction& operator=(const transaction&) = delete;

    operator MDB_txn*() const noexcept { return t_; }
    void commit()
    {
        auto* t = t_;
        t_      = nullptr;
        check(mdb_txn_commit(t));
    }

private:
    MDB_txn* t_ = nullptr;
};

class lmdb_store final : public store_of_events
{
public:
    explicit lmdb_store(const std::string& directory)
    {
        check(mdb_env_create(&env_));
        check(mdb_env_set_mapsize(env_, 64ull << 30));
        check(mdb_env_set_maxdbs(env_, 2));
        check(mdb_env_open(env_, (directory + "/events.mdb").c_str(),
                           MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD, 0600));
        transaction t{env_, 0};
        check(mdb_dbi_open(t, "events", MDB_CREATE | MDB_INTEGERKEY, &events_));
        check(mdb_dbi_open(t, "streams", MDB_CREATE, &streams_));
        t.commit();
    }
    ~lmdb_store() override { mdb_env_close(env_); }

    const char* name() const override { return "lmdb"; }

    void append(std::span<const event> events) override
    {
        transaction t{env_, 0};
        auto        position = next_;
        for (const auto& e : events) put(t, e, e.version, position++);
        next_ = position;  // before the lock goes; a commit that fails ends the run
        t.commit();
    }

    void bulk_of(std::span<const event> events, std::int64_t version) override
    {
        transaction t{env_, 0};
        auto        position = next_;
        for (const auto& e : events)
            put(t, e, version, position++);
        next_ = position;  // before the lock goes; a commit that fails ends the run
        t.commit();
    }

    void read_all(const std::function<void(std::string_view, std::string_view)>& each) override
    {
        scan(each);
    }
    void replay(tally& t) override
    {
        scan([&](std::string_view type, std::string_view value) { t.take(type, value); });
    }

private:
    void put(MDB_txn* t, const event& e, std::int64_t version, std::uint64_t position)
    {
        MDB_val key{sizeof position, &position};
        MDB_val value{1 + e.type.size() + e.value.size(), nullptr};
        check(mdb_put(t, events_, &key, &value, MDB_APPEND | MDB_RESERVE));
        auto* to = static_cast<char*>(value.mv_data);
        *to++    = static_cast<char>(e.type.size());
        std::memcpy(to, e.type.data(), e.type.size());
        std::memcpy(to + e.type.size(), e.value.data(), e.value.size());

        auto stream = e.stream + '\0';
        for (int shift = 56; shift >= 0; shift -= 8)
            stream.push_back(static_cast<char>(version >> shift));
        MDB_val name{stream.size(), stream.data()};
        MDB_val at{sizeof position, &position};
        check(mdb_put(t, streams_, &name, &at, MDB_NOOVERWRITE));  // the expected version
    }

    template <class Each>
    void scan(const Each& each)
    {
        const transaction t{env_, MDB_RDONLY};
        MDB_cursor*       cursor = nullptr;
        check(mdb_cursor_open(t, events_, &cursor));
        MDB_val key, value;
        for (int code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); code == MDB_SUCCESS;
             code     = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
            const auto* at          = static_cast<const char*>(value.mv_data);
            const auto  type_length = static_cast<std::size_t>(*at);
            each(std::string_view{at + 1, type_length},
                 std::string_view{at + 1 + type_length, value.mv_size - 1 - type_length});
        }
        mdb_cursor_close(cursor);
    }

    MDB_env*      env_     = nullptr;
    MDB_dbi       events_  = 0;
    MDB_dbi       streams_ = 0;
    std::uint64_t next_    = 0;  // guarded by LMDB's writer lock
};

}  // namespace

std::unique_ptr<store> make_lmdb(const std::string& directory)
{
    return std::make_unique<lmdb_store>(directory);
}

}  // namespace cairn::bench
