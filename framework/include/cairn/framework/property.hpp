// SPDX-License-Identifier: Apache-2.0
//
// Commands at random, thrown at an aggregate, and what must stay true whatever they are.
#pragma once

#include <cairn/framework/detail/names.hpp>
#include <cairn/framework/testing.hpp>

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <random>
#include <sstream>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace cairn::testing {

/// What a command's fields are made of. The same seed gives the same, on every machine.
class random_source
{
public:
    explicit random_source(std::uint64_t seed) : engine_{seed} {}

    /// Of both and all between.
    std::int64_t between(std::int64_t least, std::int64_t most);
    bool         one_in(int n) { return between(1, n) == 1; }

    template <class T>
    T any_of(std::initializer_list<T> these)
    {
        return *(these.begin() + between(0, static_cast<std::int64_t>(these.size()) - 1));
    }

    /// Letters a to z.
    std::string word(std::size_t length_max = 8);

private:
    std::mt19937_64 engine_;
};

namespace detail {

/// A command of a sequence: made once, decided on whatever comes before it.
struct random_step
{
    std::string                                   name;
    std::function<any_decision(const void* state)> decide;
};

struct random_commands
{
    std::string                                      name;
    std::function<random_step(random_source& random)> make;
};

struct checked_invariant
{
    std::string                             name;
    std::function<bool(const void* state)> holds;
};

struct property_options
{
    int           runs   = 1'000;
    int           length = 50;
    std::uint64_t seed   = 0;  ///< 0: of CAIRN_SEED, or another each time
};

verdict check_property(const cairn::detail::aggregate_type&  type,
                       const std::vector<random_commands>&   commands,
                       const std::vector<checked_invariant>& invariants, property_options o);

/// "AddItem", and its value where it can be printed.
template <class C>
std::string text_of(const C& command)
{
    std::ostringstream out;
    if constexpr (requires { out << command; }) {
        out << command;
    } else {
        out << cairn::detail::short_name(typeid(C));
    }
    return out.str();
}

}  // namespace detail

/// Sequences of random commands; what they come to must keep the invariants. Where one does not,
/// the sequence is shortened until no command can be left out, and told with its seed.
///
///     CHECK(property<Account>()
///               .command([](random_source& r) { return Deposit{r.between(0, 100)}; })
///               .command([](random_source& r) { return Withdraw{r.between(0, 100)}; })
///               .invariant("it is never overdrawn", [](const Account& a) { return a.cents >= 0; })
///               .holds());
///
/// Invariants
///   - The same seed makes the same sequences, on every machine.
///   - What is told is the shortest: without any one of its commands it does not fail.
///   - Also checked, without being asked: decide(), apply() and the invariants do not throw; a
///     snapshot that is restored and saved again is the same.
///
/// Threads   One.
/// Lifetime  A value.
/// Errors    None: holds() says what broke. What a function that makes commands throws, it throws.
template <is_aggregate A>
class property
{
public:
    /// Makes one of the commands; all that are given are equally likely.
    template <class Make>
    property& command(Make make)
    {
        using C = std::invoke_result_t<Make&, random_source&>;
        static_assert(decides<A, C>, "the aggregate does not decide what this makes: it has no "
                                     "`decision decide(const Command&) const` for it");
        commands_.push_back({"", [make](random_source& r) {
                                 const C made = make(r);
                                 return detail::random_step{
                                     detail::text_of(made), [made](const void* state) {
                                         return static_cast<const A*>(state)
                                             ->decide(made)
                                             .release();
                                     }};
                             }});
        return *this;
    }

    template <std::predicate<const A&> Holds>
    property& invariant(std::string name, Holds holds)
    {
        invariants_.push_back({std::move(name), [holds](const void* state) -> bool {
                                   return holds(*static_cast<const A*>(state));
                               }});
        return *this;
    }

    property& runs(int n)
    {
        options_.runs = n;
        return *this;
    }
    property& length(int commands_max)
    {
        options_.length = commands_max;
        return *this;
    }
    property& seed(std::uint64_t s)
    {
        options_.seed = s;
        return *this;
    }

    verdict holds() const
    {
        return detail::check_property(cairn::detail::describe<A>(typename A::events{}), commands_,
                                      invariants_, options_);
    }

private:
    std::vector<detail::random_commands>   commands_;
    std::vector<detail::checked_invariant> invariants_;
    detail::property_options               options_;
};

}  // namespace cairn::testing
