// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sql_connection.hpp"

#include <cairn/projections/table_store.hpp>

namespace cairn::detail {

/// Tables in a database that speaks SQL.
///
///     cairn_projections    a row for each version: its shapes, its checkpoint, whether it is
///     active "sales@2.spent"      the rows of a table: row_key and row_value are what Cairn reads,
///     the
///                          other columns say the same to people
///     sales_spent          a view of the active version's: what others are to ask
std::shared_ptr<table_store> make_sql_store(sql_database database);

}  // namespace cairn::detail
