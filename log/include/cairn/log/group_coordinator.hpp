// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace cairn {

/// What a group answers when it says no. The numbers are Kafka's.
enum class group_error : std::int16_t {
    none                        = 0,
    illegal_generation          = 22,  ///< not the group's: join again
    inconsistent_group_protocol = 23,  ///< no protocol that all members have
    invalid_group_id            = 24,
    unknown_member_id           = 25,  ///< not, or no longer, a member: join as a new one
    invalid_session_timeout     = 26,
    rebalance_in_progress       = 27,  ///< join again
    policy_violation            = 44,  ///< a limit of group_options
    non_empty_group             = 68,
    group_id_not_found          = 69,
    member_id_required          = 79,  ///< join again with the id that came with this
    group_max_size_reached      = 81,
    fenced_instance_id          = 82,  ///< another has joined with this instance id: stop
};

/// Its name in Kafka's documentation, in lower case.
std::string_view name(group_error error) noexcept;

enum class group_state {
    empty,                 ///< nobody; its generation is remembered
    preparing_rebalance,   ///< waits until all members have joined again
    completing_rebalance,  ///< waits for its leader's assignment
    stable,                ///< every member has its assignment, or can ask for it
    dead,                  ///< there is no such group
};

/// "Empty", "PreparingRebalance", …: what Kafka's tools show.
std::string_view name(group_state state) noexcept;

struct group_options
{
    using milliseconds = std::chrono::milliseconds;

    /// How long a group that was empty waits for more members before its first generation.
    milliseconds initial_delay{0};

    milliseconds session_timeout_min{6'000};
    milliseconds session_timeout_max{1'800'000};
    /// A member that waits for its first generation for so long has gone away.
    milliseconds first_join_max{300'000};

    std::size_t groups_max           = 10'000;    ///< empty ones make way for new ones
    std::size_t members_max          = 1'000;     ///< of a group
    std::size_t member_bytes_max     = 1u << 20;  ///< of the names and protocols of a member
    std::size_t assignment_bytes_max = 8u << 20;  ///< of all members of a group
};

/// Something that a member can do, and what it says for it. Opaque here.
struct group_protocol
{
    std::string name;
    std::string metadata{};

    friend bool operator==(const group_protocol&, const group_protocol&) = default;
};

/// Who asks. Of a static member the instance id is what stays when it is restarted.
struct member_identity
{
    std::string                member_id{};
    std::optional<std::string> instance_id{};

    friend bool operator==(const member_identity&, const member_identity&) = default;
};

struct join_request
{
    std::string                 group;
    member_identity             who{};  ///< no member id: a new member
    std::string                 client_id{};
    std::string                 client_host{};
    std::string                 protocol_type{};
    std::vector<group_protocol> protocols{};  ///< the preferred one first
    std::chrono::milliseconds   session_timeout{45'000};
    std::chrono::milliseconds   rebalance_timeout{300'000};

    /// A new member is told its id first and joins with it: what is lost on the way then leaves
    /// no member behind. Clients that speak JoinGroup 4 know it.
    bool member_id_required = false;
    /// A static leader that is back is told to leave the assignment as it is (JoinGroup 9).
    bool knows_skip_assignment = false;
};

struct joined_member
{
    member_identity who;
    std::string     metadata;  ///< of the chosen protocol
};

struct join_answer
{
    group_error                error      = group_error::none;
    std::int32_t               generation = -1;
    std::string                protocol_type{};
    std::string                protocol{};
    std::string                leader{};
    std::string                member_id{};
    bool                       skip_assignment = false;
    std::vector<joined_member> members{};  ///< the leader's only
};

struct member_assignment
{
    std::string member_id;
    std::string assignment;
};

struct sync_request
{
    std::string                    group;
    member_identity                who{};
    std::int32_t                   generation = -1;
    std::optional<std::string>     protocol_type{};
    std::optional<std::string>     protocol{};
    std::vector<member_assignment> assignments{};  ///< the leader's only
};

struct sync_answer
{
    group_error error = group_error::none;
    std::string protocol_type{};
    std::string protocol{};
    std::string assignment{};
};

/// The answer to a join or sync, for whoever gave that token.
struct group_answer
{
    std::uint64_t                          token = 0;
    std::variant<join_answer, sync_answer> what{};
};

/// A group's next generation has begun.
struct raised_generation
{
    std::string  group;
    std::int32_t generation = -1;
};

/// What came of a call, to be done in this order.
struct group_outcome
{
    /// To be made durable (consumer_groups::set_generation) before an answer goes out: late
    /// commits are fenced from then on, whatever crashes.
    std::vector<raised_generation> raised{};
    std::vector<group_answer>      answers{};
};

struct described_member
{
    member_identity who;
    std::string     client_id;
    std::string     client_host;
    std::string     metadata;    ///< of the chosen protocol; in a stable group
    std::string     assignment;  ///< in a stable group
};

struct group_description
{
    std::string                   group;
    group_state                   state      = group_state::dead;
    std::int32_t                  generation = -1;
    std::string                   protocol_type{};
    std::string                   protocol{};
    std::string                   leader{};
    std::vector<described_member> members{};
};

struct listed_group
{
    std::string group;
    group_state state = group_state::empty;
    std::string protocol_type;
};

/// Kafka's classic group protocol as a state machine. It has no thread, no clock and no socket:
/// every call says what time it is, and gets what is due as values.
///
///                    join                 all have joined, or time is up
///       Empty ──────────────> PreparingRebalance ─────────────> CompletingRebalance
///         ▲                        ▲   │  ▲                        │        │
///         └────────────────────────┼───┘  └────────────────────────┘        │ the leader's
///             nobody has joined    │        join, leave, time-out           │ sync
///                                  └─────────────────────── Stable <────────┘
///                                    join, leave, time-out
///
/// A join, or a sync, may have to wait for others: it is given a token, and its answer comes out
/// of this call or of a later one, of whoever's. Partitions and assignments are bytes to it; who
/// owns what is the leader's business.
///
/// Nothing of this is kept over a restart but the generation, which goes on from where
/// `remembered` says: members find themselves unknown, and join again. Late commits of before are
/// refused, as their generation is.
///
/// Invariants
///   - A generation's number is greater than that of every generation before it.
///   - All members of a generation have the same protocol, leader and assignment by it.
///   - Each token is answered once: at the latest when the rebalance time-out is over, where
///     tick() is called when next_deadline() says.
///   - A commit of an older generation, of one who is not a member, or of one whose instance id
///     another has taken, is refused by check_commit().
///   - Who is silent for its session time-out is no member.
///   - What it holds is bounded by group_options.
///
/// Threads   One at a time: whoever drives it holds a lock, or is a strand.
/// Lifetime  A resource. It holds no reference to what it was given, but for the functions.
/// Errors    None are thrown: group_error. `now` may not go backwards.
class group_coordinator
{
public:
    using clock   = std::chrono::steady_clock;
    using instant = clock::time_point;

    /// `random` gives 64 random bits, for the ids of members. `remembered` says which generation
    /// a group was in that is met for the first time; -1, none.
    group_coordinator(group_options o, std::function<std::uint64_t()> random,
                      std::function<std::int32_t(const std::string& group)> remembered = {});
    ~group_coordinator();
    group_coordinator(group_coordinator&&) noexcept;
    group_coordinator& operator=(group_coordinator&&) noexcept;

    void join(const join_request& request, std::uint64_t token, instant now, group_outcome& out);
    void sync(const sync_request& request, std::uint64_t token, instant now, group_outcome& out);

    [[nodiscard]] group_error heartbeat(const std::string& group, const member_identity& who,
                                        std::int32_t generation, instant now, group_outcome& out);

    /// Each of them by its member id; or by its instance id, where the member id is empty.
    [[nodiscard]] std::vector<group_error> leave(const std::string&                  group,
                                                 const std::vector<member_identity>& who,
                                                 instant now, group_outcome& out);

    /// Whether `who` may commit offsets of that generation. It must be written before the next
    /// call. Also a heartbeat. A generation below 0 and no member id: a simple consumer, which
    /// may while the group is empty.
    [[nodiscard]] group_error check_commit(const std::string& group, const member_identity& who,
                                           std::int32_t generation, instant now,
                                           group_outcome& out);

    /// Forgets a group without members.
    [[nodiscard]] group_error remove(const std::string& group);

    /// Lets happen what is due by now. The calls above do so for their own group.
    void tick(instant now, group_outcome& out);
    /// When tick() is to be called next.
    std::optional<instant> next_deadline() const;

    group_description         describe(const std::string& group) const;
    std::vector<listed_group> list() const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace cairn
