// SPDX-License-Identifier: Apache-2.0
//
// RocksDB as an event store: events by position, an entry of stream and version for each, and
// sync=true, so that writers that come at once share a flush. A stream is checked and written
// under one of some mutexes, since RocksDB itself knows no condition.
#include "stores.hpp"

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <atomic>
#include <mutex>
#include <stdexcept>

namespace cairn::bench {

namespace {

void put_big_endian(std::string& to, std::uint64_t n)
{
    for (int shift = 56; shift >= 0; shift -= 8) to.push_back(static_cast<char>(n >> shift));
}

std::string position_key(std::uint64_t position)
{
    std::string key = "p";
    put_big_endian(key, position);
    return key;
}

std::string stream_key(const std::string& stream, std::int64_t version)
{
    std::string key = "s" + stream + '\0';
    put_big_endian(key, static_cast<std::uint64_t>(version));
    return key;
}

void check(const rocksdb::Status& s)
{
    if (!s.ok()) throw std::runtime_error{s.ToString()};
}

class rocksdb_store final : public store_of_events
{
public:
    explicit rocksdb_store(const std::string& directory)
    {
        rocksdb::Options options;
        options.create_if_missing = true;
        options.OptimizeLevelStyleCompaction();
        options.IncreaseParallelism(2);
        options.compression = rocksdb::kNoCompression;  // as nothing else here packs
        rocksdb::DB* db     = nullptr;
        check(rocksdb::DB::Open(options, directory + "/events.rocksdb", &db));
        db_.reset(db);
        durable_.sync = true;
    }
    const char* name() const override { return "rocksdb"; }

    void append(std::span<const event> events) override
    {
        const auto& first = events.front();
        const std::lock_guard lock{
            mutexes_[std::hash<std::string>{}(first.stream) % mutexes_.size()]};
        std::string found;
        const auto  there =
            db_->Get(rocksdb::ReadOptions{}, stream_key(first.stream, first.version), &found);
        if (!there.IsNotFound()) throw std::runtime_error{"the version is taken"};
        rocksdb::WriteBatch batch;
        for (const auto& e : events) put(batch, e, e.version);
        check(db_->Write(durable_, &batch));
    }

    void bulk_of(std::span<const event> events, std::int64_t version) override
    {
        rocksdb::WriteBatch batch;
        for (const auto& e : events) put(batch, e, version);
        check(db_->Write(durable_, &batch));
    }

    void read_all(const std::function<void(std::string_view, std::string_view)>& each) override
    {
        scan(each);
    }
    void replay(tally& t) override
    {
        scan([&](std::string_view type, std::string_view value) { t.take(type, value); });
    }
    void settle() override
    {
        check(db_->Flush(rocksdb::FlushOptions{}));
        check(db_->CompactRange(rocksdb::CompactRangeOptions{}, nullptr, nullptr));
    }

private:
    void put(rocksdb::WriteBatch& batch, const event& e, std::int64_t version)
    {
        const auto position = next_.fetch_add(1, std::memory_order_relaxed);
        std::string value;
        value.reserve(1 + e.type.size() + e.value.size());
        value.push_back(static_cast<char>(e.type.size()));
        value += e.type;
        value += e.value;
        const auto at = position_key(position);
        check(batch.Put(at, value));
        check(batch.Put(stream_key(e.stream, version), at));
    }

    template <class Each>
    void scan(const Each& each)
    {
        rocksdb::ReadOptions options;
        options.readahead_size = 2 << 20;
        const std::unique_ptr<rocksdb::Iterator> it{db_->NewIterator(options)};
        for (it->Seek("p"); it->Valid() && it->key()[0] == 'p'; it->Next()) {
            const auto value       = it->value();
            const auto type_length = static_cast<std::size_t>(value[0]);
            each(std::string_view{value.data() + 1, type_length},
                 std::string_view{value.data() + 1 + type_length, value.size() - 1 - type_length});
        }
        check(it->status());
    }

    std::unique_ptr<rocksdb::DB> db_;
    rocksdb::WriteOptions        durable_;
    std::atomic<std::uint64_t>   next_{0};
    std::array<std::mutex, 1024> mutexes_;
};

}  // namespace

std::unique_ptr<store> make_rocksdb(const std::string& directory)
{
    return std::make_unique<rocksdb_store>(directory);
}

}  // namespace cairn::bench
