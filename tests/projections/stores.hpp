// SPDX-License-Identifier: Apache-2.0
//
// Every store there is, for tests that hold of all of them.
#pragma once

#include "main/temporary_directory.hpp"

#include <cairn/projections/table_store.hpp>

#include <memory>
#include <optional>
#include <string>

namespace cairn::testing {

/// A store that can be closed and opened again, where it is one that outlives that.
struct a_store
{
    explicit a_store(std::string k) : kind{std::move(k)} { open(); }

    void open()
    {
        if (kind == "memory")
            store = memory_tables();
        else
            store = lmdb_tables(place / "tables");
    }
    void reopen()
    {
        store.reset();
        open();
    }
    bool lasts() const { return kind != "memory"; }

    std::string                  kind;
    temporary_directory          place;
    std::shared_ptr<table_store> store;
};

#define CAIRN_EACH_STORE GENERATE(as<std::string>{}, "memory", "lmdb")

}  // namespace cairn::testing
