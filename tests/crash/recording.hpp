// SPDX-License-Identifier: Apache-2.0
//
// What a program did to the files below one directory, in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::testing {

/// A file or a directory, whatever its names. 0 is the watched directory.
using node_id = std::uint32_t;

struct operation
{
    enum class kind : std::uint8_t {
        write,           ///< node, at, bytes, data
        resize,          ///< node, bytes: the new size
        sync,            ///< node: what came before `covers` is durable
        make_file,       ///< node, directory, name
        make_directory,  ///< node, directory, name
        link,            ///< node, directory, name: one more
        rename,          ///< node, directory, name, to_directory, to_name
        remove,          ///< node, directory, name: a file's or a directory's
        mark,            ///< value, said by the test
    };

    kind          what         = kind::mark;
    bool          durable      = false;  ///< write: O_DSYNC or O_SYNC, durable on return
    bool          zeros        = false;  ///< write: of zeros, which have no place in `data`
    node_id       node         = 0;
    std::uint64_t at           = 0;
    std::uint64_t bytes        = 0;
    std::size_t   data         = 0;  ///< where in recording::data
    std::size_t   covers       = 0;  ///< how many operations were over when the sync began
    node_id       directory    = 0;
    node_id       to_directory = 0;
    std::string   name;
    std::string   to_name;
    std::int64_t  value = 0;
};

struct recording
{
    struct start_node
    {
        node_id     node      = 0;
        node_id     parent    = 0;
        bool        directory = false;
        std::string name;
        std::string content;
    };

    std::vector<start_node> start;  ///< what was there before, all of it durable; parents first
    std::vector<operation>  operations;
    std::string             data;
    node_id                 nodes = 1;

    std::string_view bytes_of(const operation& o) const
    {
        return {data.data() + o.data, static_cast<std::size_t>(o.bytes)};
    }
};

/// One line: "write 512 bytes at 1024 of #3".
std::string describe(const operation& o);

}  // namespace cairn::testing
