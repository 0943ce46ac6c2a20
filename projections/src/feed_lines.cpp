// SPDX-License-Identifier: Apache-2.0
#include <cairn/projections/detail/feed_lines.hpp>

#include "shape_names.hpp"

#include <utility>

namespace cairn::detail {

std::size_t feed_lines::add(table_shape shape, std::vector<std::string> columns)
{
    name_shape("feed", shape, std::move(columns), shapes_);
    shapes_.push_back(std::move(shape));
    newest_.emplace_back();
    return shapes_.size() - 1;
}

bool feed_lines::wants(std::size_t feed) const
{
    if (from_ == nullptr)
        throw error{errc::not_writing, "feed " + shapes_[feed].name +
                                           " is given a line outside of on(): only events make "
                                           "lines"};
    return collects_;
}

void feed_lines::emit(std::size_t feed, std::string text)
{
    emitted_line line{feed,
                      {std::string{from_->topic()}, from_->partition()},
                      from_->offset(),
                      from_->position(),
                      0,
                      std::move(text)};
    if (const auto& n = newest_[feed]; n && all_[*n].in == line.in && all_[*n].at == line.at)
        line.number = all_[*n].number + 1;
    bytes_ += line.text.size() + 128;
    newest_[feed] = all_.size();
    all_.push_back(std::move(line));
}

void feed_lines::park(const topic_partition& in, offset at)
{
    if (!collects_) return;
    parked_.emplace_back(in, at);
    bytes_ += 128;
}

void feed_lines::clear() noexcept
{
    all_.clear();
    parked_.clear();
    for (auto& n : newest_) n.reset();
    bytes_ = 0;
}

}  // namespace cairn::detail
