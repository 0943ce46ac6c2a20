// SPDX-License-Identifier: Apache-2.0
//
// The UCI "Online Retail" data set (doi 10.24432/C5BW33) as events: an invoice is a stream, each
// of its lines an event, and an invoice is appended as one. Two read models are folded from it.
#pragma once

#include "stores.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::bench {

/// The lines of each invoice, in the order of the file; invoices as they first appear. Reads CSV
/// or CSV in gzip. Throws std::runtime_error, with the line, for what is no such file.
std::vector<std::vector<event>> read_invoices(const std::string& file);

/// A line as the value of an event says it. Views into that.
struct retail_line
{
    std::string_view product, country;
    std::uint16_t    month = 0;  ///< since January 2000
    std::int64_t     quantity = 0, milli = 0;  ///< units; revenue, in thousandths of a pound
};
retail_line line_in(std::string_view value);

/// What the read models come to: the same for every store.
struct retail_totals
{
    std::uint64_t lines = 0, products = 0, country_months = 0;
    std::int64_t  revenue_milli = 0;
    std::int64_t  quantity      = 0;

    friend bool operator==(const retail_totals&, const retail_totals&) = default;
};

/// Folds units and revenue by product, and revenue by country and month, in memory.
retail_totals fold_read_models(store& from);
retail_totals fold_read_models(const std::vector<std::vector<event>>& invoices);

}  // namespace cairn::bench
