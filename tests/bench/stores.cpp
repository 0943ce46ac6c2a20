// SPDX-License-Identifier: Apache-2.0
#include "stores.hpp"

#include <stdexcept>

namespace cairn::bench {

std::string value_of(const two_fields& f, std::size_t bytes)
{
    std::string value(std::max(bytes, sizeof f.amount + sizeof f.customer), 'v');
    std::memcpy(value.data(), &f.amount, sizeof f.amount);
    std::memcpy(value.data() + sizeof f.amount, &f.customer, sizeof f.customer);
    return value;
}

void store::append_under_boundary(const event&)
{
    throw std::logic_error{std::string{name()} + " has no boundaries here"};
}

store_maker peer(const std::string& name)
{
#ifdef CAIRN_BENCH_SQLITE
    if (name == "sqlite") return make_sqlite;
#endif
#ifdef CAIRN_BENCH_ROCKSDB
    if (name == "rocksdb") return make_rocksdb;
#endif
    if (name == "lmdb") return make_lmdb;
    return nullptr;
}

}  // namespace cairn::bench
