// SPDX-License-Identifier: Apache-2.0
//
// Looking after projections whose code does not run.
#pragma once

#include <cairn/projections/view.hpp>

#include <cairn/log/commit_log.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cairn {

/// The projections that a store has tables of, without their code: how far they are, and what can
/// be done to tables alone. What handles events (rebuilding, retrying, verifying) their code must
/// do.
///
///     cairn::stored_projections tables{log, cairn::lmdb_tables("data/projections")};
///     for (const auto& s : tables.status()) std::cout << s.name << ' ' << s.lag_events << '\n';
///
/// Invariants
///   - A runner that begins afterwards finds what was done here; one that had the tables open
///     before commits nothing more to those that were changed.
///
/// Threads   One.
/// Lifetime  Keeps the log and the store open.
/// Errors    invalid_argument where there is no such projection or version; the store's.
class stored_projections
{
public:
    stored_projections(commit_log log, std::shared_ptr<table_store> tables);

    std::vector<std::string> names() const;

    /// As a runner's, of one that is idle or paused. The lag is that of the topics of which
    /// something was counted.
    std::vector<projection_status> status() const;
    projection_status              status(const std::string& projection) const;

    /// Of all versions: whoever runs them next finds them so.
    void pause(const std::string& projection);
    void resume(const std::string& projection);

    /// To one that has once caught up.
    void swap_to(const std::string& projection, int number);
    void drop(const std::string& projection, int number);

    /// Of the active version: at most so many, from behind one.
    std::vector<parked_event> parked(const std::string& projection, std::size_t at_most = 100,
                                     const std::optional<parked_event>& after = {}) const;
    /// What waits behind it is handled when it is retried.
    void skip_parked(const std::string& projection, const topic_partition& in, offset at);

private:
    std::vector<stored_version>        versions_of(const std::string& projection) const;
    int                                active_of(const std::string& projection) const;
    std::shared_ptr<projection_tables> open(const std::string& projection, int number) const;
    template <class Ask>
    auto with_parked(const std::string& projection, int number, Ask&& ask) const;
    void set_paused(const std::string& projection, bool paused);

    commit_log                   log_;
    std::shared_ptr<table_store> store_;
};

}  // namespace cairn
