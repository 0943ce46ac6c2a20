// SPDX-License-Identifier: Apache-2.0
#include "failing_allocations.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>

namespace cairn::testing {

std::atomic<long> allocations_left{-1};

}  // namespace cairn::testing

namespace {

bool allocation_fails() noexcept
{
    using cairn::testing::allocations_left;
    if (allocations_left.load(std::memory_order_relaxed) < 0) return false;
    return allocations_left.fetch_sub(1) == 1;
}

}  // namespace

void* operator new(std::size_t bytes)
{
    if (allocation_fails()) throw std::bad_alloc{};
    if (void* p = std::malloc(bytes ? bytes : 1)) return p;
    throw std::bad_alloc{};
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept
{
    return allocation_fails() ? nullptr : std::malloc(bytes ? bytes : 1);
}
void* operator new[](std::size_t bytes)
{
    return operator new(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t& n) noexcept
{
    return operator new(bytes, n);
}
void operator delete(void* p) noexcept
{
    std::free(p);
}
void operator delete(void* p, std::size_t) noexcept
{
    std::free(p);
}
void operator delete(void* p, const std::nothrow_t&) noexcept
{
    std::free(p);
}
void operator delete[](void* p) noexcept
{
    std::free(p);
}
void operator delete[](void* p, std::size_t) noexcept
{
    std::free(p);
}
