// SPDX-License-Identifier: Apache-2.0
//
// The code of the page on PostgreSQL, and that it does what the page says, where there is a server.
#include "main/complaint.hpp"
#include "projections/stores.hpp"
#include "till.capnp.h"

#include <cairn/framework/testing.hpp>
#include <cairn/projections/projection_runner.hpp>
#include <cairn/projections/testing.hpp>

#include <catch2/catch.hpp>

#include <libpq-fe.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace till;
using namespace std::chrono_literals;

namespace {

auto item_sold(const std::string& sku, std::int64_t quantity, const std::string& shop)
{
    return cairn::event<ItemSold>{[&](auto e) {
        e.setSku(sku);
        e.setShop(shop);
        e.setQuantity(quantity);
    }};
}

void happen(const cairn::commit_log& log, const std::vector<cairn::any_event>& all)
{
    cairn::testing::detail::record_in(cairn::event_store{log}, {"tills", "till 1"}, all);
}

//[ postgres_table
struct BestSellers : cairn::projection<ItemSold>
{
    cairn::table<std::string, std::int64_t> sold{this, "sold", {"sku", "quantity"}};
    cairn::table<std::pair<std::string, std::string>, std::int64_t> shops{
        this, "shops", {"shop", "sku", "quantity"}};

    void on(ItemSold::Reader e, const cairn::origin&)
    {
        sold.update(e.getSku(), [&](auto& q) { q += e.getQuantity(); });
        shops.update({e.getShop(), e.getSku()}, [&](auto& q) { q += e.getQuantity(); });
    }
};
//]

/// The rows of an answer, their columns with a comma between; "failed" where it has none.
std::string ask(const std::string& connection, const std::string& sql)
{
    const std::unique_ptr<PGconn, decltype(&PQfinish)>  to{PQconnectdb(connection.c_str()),
                                                          &PQfinish};
    const std::unique_ptr<PGresult, decltype(&PQclear)> r{PQexec(to.get(), sql.c_str()), &PQclear};
    const auto                                          status = PQresultStatus(r.get());
    if (status == PGRES_COMMAND_OK) return "done";
    if (status != PGRES_TUPLES_OK) return "failed";
    std::string text;
    for (int row = 0; row < PQntuples(r.get()); ++row) {
        for (int column = 0; column < PQnfields(r.get()); ++column)
            text += std::string{column == 0 ? "" : ","} + PQgetvalue(r.get(), row, column);
        text += '\n';
    }
    return text;
}

/// A server is there; else it says that it is not.
bool is_here()
{
    const auto all = cairn::testing::all_stores();
    return all.back() == "postgresql";
}

}  // namespace

TEST_CASE("the page on PostgreSQL: kept, and asked by SQL")
{
    if (!is_here()) return;
    const cairn::testing::a_store place{"postgresql"};
    const auto&                   connection = place.connection;
    auto                          log        = cairn::commit_log::in_memory();
    log.create_topic("tills", 2);
    happen(log, {item_sold("lamp", 2, "harbour"), item_sold("bulb", 7, "main street"),
                 item_sold("lamp", 1, "harbour")});
    //[ postgres_run
    const auto store = cairn::postgres_tables(connection);

    cairn::projection_runner<BestSellers> runner{log, "best_sellers", store};
    runner.start();
    //]
    const auto receipt = log.end_position() - 1;
    //[ postgres_wait
    CHECK(runner.view().read(receipt, 1min)->sold.find("lamp") == 3);
    //]
    CHECK(ask(connection,
              "SELECT sku, quantity FROM best_sellers_sold "
              "ORDER BY quantity DESC LIMIT 10") == "bulb,7\nlamp,3\n");
    CHECK(ask(connection,
              "SELECT shop, sum(quantity) FROM best_sellers_shops GROUP BY shop "
              "ORDER BY shop") == "harbour,3\nmain street,7\n");
    CHECK(ask(connection, "SELECT projection, version, active FROM cairn_projections") ==
          "best_sellers,1,1\n");
    CHECK(ask(connection, "SELECT quantity FROM \"best_sellers@1.sold\" WHERE sku = 'lamp'") ==
          "3\n");

    runner.rebuild();
    while (runner.status().version != 2) std::this_thread::yield();
    CHECK(ask(connection, "SELECT version, active FROM cairn_projections ORDER BY version") ==
          "1,0\n2,1\n");
    happen(log, {item_sold("lamp", 1, "harbour")});
    REQUIRE(runner.view().wait_for(log.end_position() - 1, 1min));
    CHECK(ask(connection, "SELECT quantity FROM best_sellers_sold WHERE sku = 'lamp'") == "4\n");
    runner.drop(1);
    CHECK(ask(connection, "SELECT quantity FROM \"best_sellers@1.sold\"") == "failed");

    // A view of somebody's own upon ours keeps ours from being changed.
    CHECK(ask(connection, "CREATE VIEW mine AS SELECT * FROM best_sellers_sold") == "done");
    CHECK(cairn::testing::complaint_of([&] { runner.reset(); }));
    CHECK(ask(connection, "DROP VIEW mine") == "done");
}

TEST_CASE("the page on PostgreSQL: who may only read, may read after a rebuild too")
{
    if (!is_here()) return;
    const cairn::testing::a_store place{"postgresql"};
    const auto&                   connection = place.connection;
    const auto                    schema     = connection.substr(connection.rfind('=') + 1);
    const auto                    reader     = schema + "_reports";
    const auto                    as_them    = "SET ROLE " + reader + "; ";
    REQUIRE(ask(connection, "CREATE ROLE " + reader) == "done");
    REQUIRE(ask(connection, "GRANT USAGE ON SCHEMA " + schema + " TO " + reader) == "done");
    REQUIRE(ask(connection, "ALTER DEFAULT PRIVILEGES IN SCHEMA " + schema +
                                " GRANT SELECT ON TABLES TO " + reader) == "done");
    auto log = cairn::commit_log::in_memory();
    log.create_topic("tills", 2);
    happen(log, {item_sold("lamp", 2, "harbour")});
    cairn::projection_runner<BestSellers> runner{log, "best_sellers",
                                                 cairn::postgres_tables(connection)};
    runner.run_until_idle();
    const auto read = as_them + "SELECT quantity FROM best_sellers_sold";
    CHECK(ask(connection, read) == "2\n");
    CHECK(ask(connection, as_them + "DELETE FROM \"best_sellers@1.sold\"") == "failed");
    runner.rebuild();
    runner.run_until_idle();
    CHECK(runner.status().version == 2);
    CHECK(ask(connection, read) == "2\n");
}

TEST_CASE("the page on PostgreSQL: while the server is away")
{
    if (!is_here()) return;
    cairn::testing::postgres_server server;
    auto                            log = cairn::commit_log::in_memory();
    log.create_topic("tills", 2);
    happen(log, {item_sold("lamp", 2, "harbour")});
    const auto connection = server.connection();
    server.kill();
    CHECK(cairn::testing::complaint_of([&] { cairn::postgres_tables(connection); }) ==
          cairn::errc::store_unavailable);
    server.start();
    //[ postgres_batches
    cairn::projection_options options;
    options.commit_events_max = 50'000;
    options.commit_time_max   = 5s;
    cairn::projection_runner<BestSellers> runner{log, "best_sellers",
                                                 cairn::postgres_tables(connection), options};
    //]
    runner.run_until_idle();
    server.kill();
    happen(log, {item_sold("lamp", 1, "harbour")});
    runner.start();
    while (runner.status().state != cairn::projection_state::retrying) std::this_thread::yield();
    server.start();
    REQUIRE(runner.view().wait_for(log.end_position() - 1, 1min));
    CHECK(runner.view().read()->sold.find("lamp") == 3);
}
