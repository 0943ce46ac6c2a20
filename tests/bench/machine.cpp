// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include "json.hpp"
#include "output.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <thread>
#include <unistd.h>

namespace cairn::bench {

namespace {

#ifdef __clang__
constexpr const char* compiler = "clang " __clang_version__;
#else
constexpr const char* compiler = "GCC " __VERSION__;
#endif

/// What stands behind `name :` in a file of /proc.
std::string line_of(const char* file, const std::string& name)
{
    std::ifstream in{file};
    for (std::string line; std::getline(in, line);)
        if (line.starts_with(name)) {
            const auto at = line.find_first_not_of(" \t:", name.size());
            return at == std::string::npos ? "" : line.substr(at);
        }
    return "";
}

/// The type of the file system that a path is on, and the disk under it, as the kernel calls them.
std::string file_system(const std::string& path)
{
    struct stat s{};
    if (::stat(path.c_str(), &s) != 0) return "unknown";
    const auto device =
        std::to_string(major(s.st_dev)) + ':' + std::to_string(minor(s.st_dev));
    std::ifstream in{"/proc/self/mountinfo"};
    for (std::string line; std::getline(in, line);) {
        // id parent major:minor root mount options … - type source super-options
        std::istringstream words{line};
        std::string        id, parent, at, word, type, source;
        words >> id >> parent >> at;
        if (at != device) continue;
        while (words >> word && word != "-") {}
        words >> type >> source;
        return type + " on " + source;
    }
    return "unknown";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> machine(const std::string& directory)
{
    utsname kernel{};
    ::uname(&kernel);
    const auto memory = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    std::array<char, 32> date{};
    const auto           now = std::time(nullptr);
    std::tm              parts{};
    ::gmtime_r(&now, &parts);
    std::strftime(date.data(), date.size(), "%Y-%m-%d", &parts);
    return {{"processor", line_of("/proc/cpuinfo", "model name")},
            {"cores", std::to_string(std::thread::hardware_concurrency())},
            {"memory", std::to_string((memory + (1u << 29)) >> 30) + " GiB"},
            {"file system", file_system(directory)},
            {"kernel", std::string{kernel.sysname} + ' ' + kernel.release},
            {"compiler", compiler},
            {"date", date.data()}};
}

void print_machine_json(const std::string& directory)
{
    std::string      line;
    cli::json_writer json{line};
    json.begin_object().field("table", "machine");
    for (const auto& [name, value] : machine(directory)) json.field(name, value);
    json.end_object();
    cli::output out{STDOUT_FILENO};
    out.write(line + '\n');
    out.flush();
}

void print_machine(const std::string& directory)
{
    for (const auto& [name, value] : machine(directory))
        std::printf("%-12s %s\n", name.c_str(), value.c_str());
    std::printf("\n");
    std::fflush(stdout);
}

double cpu_seconds()
{
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

std::uint64_t private_bytes()
{
    return std::strtoull(line_of("/proc/self/status", "RssAnon").c_str(), nullptr, 10) * 1024;
}

}  // namespace cairn::bench
