// SPDX-License-Identifier: Apache-2.0
//
// A member's side of the group protocol, without anything that sends: it says what is to be sent,
// and is told what was answered. group_member drives it within a process; simulations drive it
// over a network that loses things.
#pragma once

#include <cairn/log/group_coordinator.hpp>
#include <cairn/log/group_member.hpp>
#include <cairn/log/partition_assignor.hpp>

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace cairn::detail {

/// What members say of themselves, and their leader of them. Format, big-endian, of both:
///
///     i8 version = 0, i32 n, n × STRING topic                     subscription only
///     i32 generation                                              subscription only
///     i32 n, n × (STRING topic, i32 partition)
///
/// Who reads what another wrote wrongly reads nothing: no topics, no partitions.
std::string                  encode_subscription(const member_subscription& s);
member_subscription          decode_subscription(bytes_view bytes);
std::string                  encode_partitions(const std::vector<topic_partition>& partitions);
std::vector<topic_partition> decode_partitions(bytes_view bytes);

struct heartbeat_request
{
    std::string     group;
    member_identity who;
    std::int32_t    generation = -1;
};

using member_request = std::variant<join_request, sync_request, heartbeat_request>;

/// Invariants
///   - One request is under way at a time.
///   - While a change is not taken there is no next request: what is revoked is not given away
///     before its owner knows.
///   - What it owns is of generation(); it owns nothing after an answer that says it may be
///     another's.
///
/// Threads   One at a time.
/// Lifetime  `counts` is called when an answer makes it the leader, and by topics_changed().
/// Errors    failure() has what the group refused.
class member_protocol
{
public:
    /// How many partitions topics have: these, or all, where none is named.
    using topic_counts =
        std::function<std::map<std::string, std::int32_t>(const std::vector<std::string>& topics)>;

    member_protocol(member_options options, topic_counts counts);

    /// What to send now: nothing while a request is under way, or a change is not taken. Where it
    /// has nothing else to ask it is a heartbeat.
    std::optional<member_request> next();

    void answered(const join_answer& a);
    void answered(const sync_answer& a);
    void answered(group_error heartbeat);
    /// No answer came in time: it asks again.
    void unanswered() noexcept;

    /// Whether it is in the group, by the answers so far.
    bool stable() const noexcept { return step_ == step::stable && !rejoin_; }
    /// Whether there is nothing for it to do but heartbeats.
    bool idle() const noexcept { return stable() && !waiting_; }
    /// Of the leader: all join again where topics came, went or grew since it assigned, or where
    /// it left partitions to owners who may have gone without saying that they gave them up.
    void check_topics();

    bool              has_change() const noexcept { return change_.any(); }
    assignment_change take_change();

    /// Why the group does not take it, once; fenced_instance_id each time.
    group_error take_failure() noexcept;

    /// It has left, or begins anew. What it owned is dropped silently.
    void reset();

    const std::vector<topic_partition>& owned() const noexcept { return owned_; }
    std::int32_t                        generation() const noexcept { return generation_; }
    const member_identity&              who() const noexcept { return who_; }
    const member_options&               options() const noexcept { return options_; }

    bool member_id_required    = false;  ///< as in join_request
    bool knows_skip_assignment = true;

private:
    enum class step { unjoined, joined, stable };

    bool cooperative() const noexcept
    {
        return options_.assignor == partition_assignor::cooperative_sticky;
    }
    join_request join() const;
    sync_request sync() const;
    void         lose();
    void         own(std::vector<topic_partition> now);
    void         lead(const join_answer& a);

    member_options                      options_;
    topic_counts                        counts_;
    member_identity                     who_;
    step                                step_       = step::unjoined;
    bool                                waiting_    = false;
    bool                                rejoin_     = false;
    std::int32_t                        generation_ = -1;
    std::vector<topic_partition>        owned_{};
    std::vector<topic_partition>        claimed_{};  ///< owned before it joined again
    assignment_change                   change_{};
    group_error                         failure_ = group_error::none;
    bool                                leads_   = false;
    std::vector<member_assignment>      assignments_{};       ///< to be sent, of the leader
    std::vector<std::string>            topics_{};            ///< of all members, of the leader
    std::map<std::string, std::int32_t> assigned_from_{};     ///< as topics had them then
    bool                                incomplete_ = false;  ///< somebody owns what is another\'s
};

}  // namespace cairn::detail
