// SPDX-License-Identifier: Apache-2.0
#include "log/allocation_meter.hpp"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

// Signed: what one thread allocated another may free.
thread_local std::ptrdiff_t bytes_now   = 0;
thread_local std::ptrdiff_t bytes_peak  = 0;
thread_local std::size_t    allocations = 0;

void* try_allocate(std::size_t size) noexcept
{
    void* const p = std::malloc(size);
    if (p == nullptr) return nullptr;
    bytes_now += static_cast<std::ptrdiff_t>(malloc_usable_size(p));
    bytes_peak = std::max(bytes_peak, bytes_now);
    ++allocations;
    return p;
}

void* allocate(std::size_t size)
{
    void* const p = try_allocate(size);
    if (p == nullptr) throw std::bad_alloc{};
    return p;
}

void release(void* p) noexcept
{
    if (p == nullptr) return;
    bytes_now -= static_cast<std::ptrdiff_t>(malloc_usable_size(p));
    std::free(p);
}

}  // namespace

void* operator new(std::size_t size)
{
    return allocate(size);
}
void* operator new[](std::size_t size)
{
    return allocate(size);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept
{
    return try_allocate(size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept
{
    return try_allocate(size);
}
void operator delete(void* p) noexcept
{
    release(p);
}
void operator delete[](void* p) noexcept
{
    release(p);
}
void operator delete(void* p, std::size_t) noexcept
{
    release(p);
}
void operator delete[](void* p, std::size_t) noexcept
{
    release(p);
}
void operator delete(void* p, const std::nothrow_t&) noexcept
{
    release(p);
}
void operator delete[](void* p, const std::nothrow_t&) noexcept
{
    release(p);
}

namespace cairn::testing {

allocation_meter::allocation_meter() noexcept
    : bytes_before_{bytes_now}, allocations_before_{::allocations}
{
    bytes_peak = bytes_now;
}

std::size_t allocation_meter::peak_bytes() const noexcept
{
    return static_cast<std::size_t>(std::max(bytes_peak - bytes_before_, std::ptrdiff_t{0}));
}

std::size_t allocation_meter::allocations() const noexcept
{
    return ::allocations - allocations_before_;
}

}  // namespace cairn::testing
