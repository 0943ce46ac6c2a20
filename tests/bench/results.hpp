// SPDX-License-Identifier: Apache-2.0
//
// What was measured, beside what had to be reached: gathered over runs, then printed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cairn::bench {

/// What a metric's number says.
struct metric_kind
{
    const char* name;  ///< "rate"
    const char* unit;  ///< "a second"
};

/// What has to be reached on the reference machine.
struct target
{
    std::string part;
    std::string metric;
    bool        at_least = true;   ///< else at most
    double      value    = 0;
    bool        is_ratio = false;  ///< `value` is a multiple of what the raw disk did
    double      or_ratio = 0;      ///< where only the disk is waited for: what that was of its disk
};

struct part_name
{
    std::string name;
    std::string what;  ///< for people
};

/// The numbers of one part, on one system, over all runs.
struct series
{
    std::string         part, system, metric;
    std::vector<double> values;
    std::vector<double> raw;  ///< what the disk alone did just then, in the same unit; 0: unknown

    double                median() const;
    double                lowest() const;
    double                highest() const;
    std::optional<double> ratio() const;  ///< to the raw disk, the median
};

enum class verdict
{
    none,      ///< nothing was asked
    reached,
    by_ratio,  ///< not the number, but as much of what this disk can do
    missed,
};

/// Gathers what runs measured.
class results
{
public:
    results(std::string table, std::vector<part_name> parts, std::vector<target> targets);

    void add(const std::string& part, const std::string& system, const std::string& metric,
             double value, double raw = 0);

    /// The median of what was measured so far; 0 without.
    double median(const std::string& part, const std::string& system,
                  const std::string& metric) const;

    void print_table() const;
    void print_json() const;

    const std::vector<part_name>& parts() const noexcept { return parts_; }

private:
    const target* target_of(const series& s) const;
    verdict       judge(const series& s) const;

    std::string            table_;
    std::vector<part_name> parts_;
    std::vector<target>    targets_;
    std::vector<series>    all_;
};

}  // namespace cairn::bench
