// SPDX-License-Identifier: Apache-2.0
//
// Every store there is, for tests that hold of all of them.
#pragma once

#include "main/temporary_directory.hpp"
#include "postgres_server.hpp"

#include <cairn/projections/table_store.hpp>

#include <libpq-fe.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace cairn::testing {

/// One for all tests of the program.
inline postgres_server& the_postgres_server()
{
    static postgres_server server;
    return server;
}

/// A store that can be closed and opened again, where it is one that outlives that.
struct a_store
{
    explicit a_store(std::string k) : kind{std::move(k)}
    {
        if (kind == "postgresql") {
            static int made   = 0;
            const auto schema = "s" + std::to_string(++made);
            connection        = the_postgres_server().connection();
            auto* const c     = PQconnectdb(connection.c_str());
            PQclear(PQexec(c, ("CREATE SCHEMA " + schema).c_str()));
            PQfinish(c);
            connection += " options=-csearch_path=" + schema;
        }
        open();
    }

    void open()
    {
        if (kind == "memory")
            store = memory_tables();
        else if (kind == "lmdb")
            store = lmdb_tables(place / "tables");
        else if (kind == "sqlite")
            store = sqlite_tables(place / "tables.sqlite");
        else
            store = postgres_tables(connection);
    }
    void reopen()
    {
        store.reset();
        open();
    }
    bool lasts() const { return kind != "memory"; }
    void reopen_if_it_lasts()
    {
        if (lasts()) reopen();
    }

    std::string                  kind;
    std::string                  connection;
    temporary_directory          place;
    std::shared_ptr<table_store> store;
};

/// Those that can be had here.
inline std::vector<std::string> all_stores()
{
    std::vector<std::string> all{"memory", "lmdb", "sqlite"};
    static const bool        server = [] {
        const bool there = !postgres_server::programs().empty();
        if (!there) std::cout << "skipped: PostgreSQL, whose server is not installed\n";
        return there;
    }();
    if (server) all.emplace_back("postgresql");
    return all;
}

#define CAIRN_EACH_STORE GENERATE(from_range(all_stores()))

}  // namespace cairn::testing
