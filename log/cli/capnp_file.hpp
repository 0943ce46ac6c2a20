// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <capnp/schema.h>

#include <memory>
#include <string>
#include <vector>

namespace cairn::cli {

/// The structs that a .capnp file declares, read without the schema compiler.
///
/// Invariants
///   - /cairn/event.capnp and /capnp/c++.capnp can be imported wherever the program runs; other
///     absolute imports are looked for in the folders given, and in /usr/local/include and
///     /usr/include, as the schema compiler does.
///
/// Threads   One.
/// Lifetime  The schemas are good as long as it lives.
/// Errors    failure{"input_failed"}, which says file and line.
class capnp_file
{
public:
    capnp_file(const std::string& path, const std::vector<std::string>& imports);
    ~capnp_file();

    /// All, those inside of others too, in the order of the file.
    const std::vector<capnp::StructSchema>& structs() const noexcept { return structs_; }

private:
    struct impl;
    std::unique_ptr<impl>            impl_;
    std::vector<capnp::StructSchema> structs_;
};

}  // namespace cairn::cli
