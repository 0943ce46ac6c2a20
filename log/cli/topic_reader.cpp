// SPDX-License-Identifier: Apache-2.0
#include "topic_reader.hpp"

#include <utility>

namespace cairn::cli {

topic_reader::topic_reader(const commit_log& log, const std::vector<start>& starts)
    : log_{log}, end_{log.end_position()}
{
    sources_.reserve(starts.size());
    for (const auto& [part, from] : starts) sources_.push_back({part.read(from), nullptr, false});
    refill();
}

void topic_reader::advance(source& s)
{
    s.at = s.range.next();
    if (s.at || !std::exchange(s.is_behind, false)) return;
    s.range.wait(std::chrono::steady_clock::duration::zero());
    s.at = s.range.next();
}

void topic_reader::refill()
{
    heap_.clear();
    moving_ = false;
    for (std::size_t i = 0; i < sources_.size(); ++i) {
        auto& s = sources_[i];
        if (!s.at) advance(s);  // one that waits for its turn keeps it
        if (s.at) heap_.push_back(i);
    }
    for (std::size_t i = heap_.size() / 2; i-- > 0;) sink(i);
}

/// Moves an entry of the heap down until none below it is earlier.
void topic_reader::sink(std::size_t i)
{
    const auto at = [this](std::size_t entry) { return sources_[heap_[entry]].at->position; };
    for (;;) {
        const std::size_t left     = 2 * i + 1;
        const std::size_t right    = left + 1;
        std::size_t       earliest = i;
        if (left < heap_.size() && at(left) < at(earliest)) earliest = left;
        if (right < heap_.size() && at(right) < at(earliest)) earliest = right;
        if (earliest == i) return;
        std::swap(heap_[i], heap_[earliest]);
        i = earliest;
    }
}

const record_view* topic_reader::next()
{
    if (std::exchange(moving_, false)) {
        advance(sources_[heap_.front()]);
        if (!sources_[heap_.front()].at) {
            heap_.front() = heap_.back();
            heap_.pop_back();
        }
        if (heap_.size() > 1) sink(0);
    }
    if (heap_.empty()) return nullptr;
    const auto* record = sources_[heap_.front()].at;
    if (record->position >= end_) return nullptr;
    moving_ = true;
    return record;
}

bool topic_reader::wait(std::chrono::steady_clock::time_point deadline)
{
    if (!log_.wait_for(end_, deadline)) return false;

    // The end first: whatever is before it, every source shows from here on.
    end_ = log_.end_position();
    for (auto& s : sources_) s.is_behind = true;
    refill();
    return true;
}

}  // namespace cairn::cli
