// SPDX-License-Identifier: Apache-2.0
//
// Files, for all rooms of the log: the system calls that the log needs, with interrupted and
// short calls finished and errno turned into a storage_error that says what was being done, to
// which file, and what to do next.
//
// How a file comes into being, here and everywhere: written under a temporary name, synced,
// renamed, its directory synced. publish() does the last three.
#pragma once

#include <cairn/log/error.hpp>
#include <cairn/log/ids.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::detail {

/// The code that stands for an errno: ENOSPC, EDQUOT and EFBIG are disk_full; EACCES, EPERM and
/// EROFS not_writable; ENOMEM out_of_memory; all else io_failed.
errc errc_of(int error_number) noexcept;

/// Throws storage_error{errc_of(error_number)}: "cannot <doing> <path>: …; <what to do next>".
[[noreturn]] void throw_io_error(int error_number, std::string_view doing, const std::string& path);

/// An open file. Move-only; closing it flushes nothing.
///
/// Threads   As the kernel: reads and writes at offsets from any thread, the rest by one.
/// Errors    storage_error, see errc_of(). EINTR never comes out; a short write is finished.
class file
{
public:
    enum class access {
        read,        ///< exists
        write,       ///< exists; read and write
        create,      ///< read and write; made where there is none
        create_new,  ///< read and write; must not be there
        truncate,    ///< read and write; made, or emptied
    };

    file() noexcept = default;
    file(std::string path, access how);
    ~file();
    file(file&& other) noexcept;
    file& operator=(file&& other) noexcept;

    /// nullopt where there is no such file.
    static std::optional<file> try_open(std::string path, access how);

    explicit           operator bool() const noexcept { return fd_ >= 0; }
    int                fd() const noexcept { return fd_; }
    const std::string& path() const noexcept { return path_; }
    std::uint64_t      size() const;

    /// Writes all of it. Neither the file's own position nor O_APPEND plays a part.
    void write_at(std::uint64_t at, bytes_view bytes);

    /// Writes the pieces one after the other, in one system call for each 64 of them.
    void write_at(std::uint64_t at, std::span<const bytes_view> pieces);

    /// As write_at(), but after a short write it goes on at a whole block, as O_DIRECT asks for.
    /// REQUIRES: offset and size are whole blocks.
    void write_blocks(std::uint64_t at, bytes_view bytes, std::size_t block_bytes);

    /// Reads up to `bytes`; fewer only at the end of the file. Returns how many.
    std::size_t read_at(std::uint64_t at, char* to, std::size_t bytes) const;

    /// fdatasync: the data, and of the metadata what is needed to read it (the size).
    void sync_data();

    /// fsync: all metadata too.
    void sync();

    void truncate(std::uint64_t bytes);

    /// Overwrites [from, to) with zeros. Afterwards, and after a sync, writing there needs no
    /// metadata, which fallocate's unwritten extents would.
    void fill_with_zeros(std::uint64_t from, std::uint64_t to);

    /// Turns O_DIRECT on or off; false where the file system does not know it.
    bool set_direct(bool on) noexcept;

    /// Renames it, replacing what is there; path() is the new name then.
    void rename(const std::string& to);

    void close() noexcept;

private:
    int         fd_ = -1;
    std::string path_;
};

/// A read-only memory map of a whole file, at the size it had when it was mapped.
///
/// Lifetime  bytes() lives as long as the map; the file may be closed or unlinked meanwhile.
///           Truncating it makes reading the map fatal: nobody truncates published files.
class file_map
{
public:
    /// What is about to be read, as advice to the kernel's read-ahead.
    enum class pattern {
        normal,
        random,
        sequential,
    };

    file_map() noexcept = default;
    explicit file_map(const std::string& path, pattern use = pattern::normal);
    explicit file_map(const file& f, pattern use = pattern::normal);
    ~file_map();
    file_map(file_map&& other) noexcept;
    file_map& operator=(file_map&& other) noexcept;

    bytes_view bytes() const noexcept { return {data_, size_}; }
    void       advise(pattern use) const noexcept;

private:
    char*       data_ = nullptr;
    std::size_t size_ = 0;
};

/// The whole file. Throws io_failed where there is none.
std::string read_file(const std::string& path);

/// The same; nullopt where there is none.
std::optional<std::string> try_read_file(const std::string& path);

/// Makes the file durable under its final name: fsync, rename to `path` (replacing what is
/// there), sync of the directory. Both names must lie in one directory.
void publish(file& temporary, const std::string& path);

/// A small file, all of it, as by publish(): after a crash there is the old one or the new one.
/// The temporary name is `path` + ".tmp".
void write_file_atomically(const std::string& path, bytes_view bytes);

/// Makes creations, renames and removals in it durable.
void sync_directory(const std::string& directory);

void rename_file(const std::string& from, const std::string& to);

/// False where there was none.
bool remove_file(const std::string& path);

/// False where it was there already. Its parent must exist, and is not synced.
bool make_directory(const std::string& path);

bool file_exists(const std::string& path);

/// The names in a directory, sorted, without "." and "..".
std::vector<std::string> list_directory(const std::string& directory);

/// "a/b" of "a/b/c"; "." where there is no slash.
std::string parent_directory(const std::string& path);

}  // namespace cairn::detail
