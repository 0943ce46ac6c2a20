// SPDX-License-Identifier: Apache-2.0
//
// From a recording, the states in which a power cut may leave the disk; and a check of each.
//
// The model, for a cut after any operation:
//   - A write that was synced is there. Any other is there, or not, or torn: each of its sectors
//     of 512 bytes is new or as it was, independently, and so are writes of each other.
//   - A file has the size of its last sync, or a later one: each step of growing (and cutting
//     off) is there if those before it are. Data beyond the size is lost.
//   - A name (made, linked, renamed, removed) is as its directory's last sync left it; later
//     changes are there or not, but a change waits for those before it of the same file and
//     of the same name. Syncing a file does not make its name durable.
// What no disk does, and is not tried: half a sector, or a sector with something never written.
#pragma once

#include "recording.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <limits>
#include <string>
#include <vector>

namespace cairn::testing {

/// What a check finds in a directory.
struct verdict
{
    /// The highest mark that holds: all that was promised up to it is there.
    std::int64_t reached = std::numeric_limits<std::int64_t>::min();
    /// Not empty: what is wrong in itself, as something that was never written.
    std::string problem = {};
};

using image_check = std::function<verdict(const std::string& directory)>;

struct enumeration_options
{
    std::uint64_t            seed         = 1;
    std::size_t              states       = 20'000;  ///< different images to check
    std::size_t              exhaustive   = 64;  ///< up to so many at one point: all, not a sample
    std::size_t              from         = 0;   ///< no cuts before so many operations
    double                   seconds_max  = 0;   ///< 0: no limit
    double                   hang_seconds = 20;  ///< a check that takes longer is killed
    std::vector<std::string> ignored      = {};  ///< files whose names end so are left out
    std::string              keep         = {};  ///< where the first failed image is copied to
    std::string              scratch      = {};  ///< "": /dev/shm, else the temporary directory
};

struct enumeration
{
    std::size_t states     = 0;  ///< different images checked
    std::size_t points     = 0;  ///< places in the recording where the power was cut
    std::size_t operations = 0;
    std::size_t writes     = 0;
    std::size_t syncs      = 0;
    std::size_t lost       = 0;  ///< images without something that had been promised
    std::size_t corrupt    = 0;  ///< images with a problem
    std::size_t signals    = 0;  ///< images on which the check died
    std::size_t hangs      = 0;
    double      seconds    = 0;

    std::vector<std::string> failures;  ///< the first few, told in full

    std::size_t failed() const { return lost + corrupt + signals + hangs; }
};

std::ostream& operator<<(std::ostream& out, const enumeration& e);

/// Checks images in a process of its own, so that a check may crash or hang. `check` may write
/// to the directory: recovery does.
enumeration enumerate(const recording& r, const enumeration_options& o, const image_check& check);

/// Makes one image, of a cut after so many operations, in an empty directory.
void make_image(const recording& r, std::size_t operations, std::uint64_t seed,
                const std::string& directory);

/// What the environment asks for (CAIRN_CRASH_STATES, CAIRN_CRASH_SEED, CAIRN_CRASH_KEEP), else
/// what is given. A test under a sanitizer tries a tenth of it.
enumeration_options from_environment(enumeration_options o);

}  // namespace cairn::testing
