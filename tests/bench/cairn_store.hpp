// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "stores.hpp"

#include <cairn/log/commit_log.hpp>

namespace cairn::bench {

/// An event as a record: its stream the key, type and tags headers.
append_record record_of(const event& e);

void replay(const commit_log& log, tally& t);

class cairn_store final : public store
{
public:
    static constexpr const char* topic = "events";

    cairn_store(const std::string& directory, std::int32_t partitions);

    const char*               name() const override { return "cairn"; }
    void                      append(std::span<const event> events) override;
    bool                      has_boundaries() const override { return true; }
    void                      append_under_boundary(const event& e) override;
    std::unique_ptr<prepared> prepare(std::vector<event> events) override;
    void                      bulk(prepared& events, std::int64_t version) override;
    void read_all(const std::function<void(std::string_view type, std::string_view value)>& each)
        override;
    void replay(tally& t) override;
    void settle() override;

    commit_log& log() noexcept { return log_; }

private:
    commit_log log_;
};

}  // namespace cairn::bench
