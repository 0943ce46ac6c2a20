// SPDX-License-Identifier: Apache-2.0
//
// The files of a directory of segments:
//
//     00000000000000731642.seg        a segment; its first position, 20 digits
//     00000000000000731642.seg-lock   LMDB's lock file, while it may still be written
//     prepared-7.tmp, …-lock          not published yet; removed when the store is opened
//
// A published name never shows half a segment: the file is whole and synced before it is renamed.
#include "store/lmdb_segment.hpp"

#include "file.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <utility>

namespace cairn::detail {
namespace {

using lmdb::environment;
using lmdb::reading;

constexpr std::size_t      map_bytes_min = 4u << 20;
constexpr std::string_view suffix        = ".seg";

std::string name_of(position first)
{
    char name[32];
    std::snprintf(name, sizeof name, "%020lld.seg", static_cast<long long>(first.value));
    return name;
}

std::optional<position> position_in(std::string_view name)
{
    if (name.size() != 20 + suffix.size() || !name.ends_with(suffix)) return std::nullopt;
    std::int64_t value      = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + 20, value);
    if (error != std::errc{} || end != name.data() + 20 || value < 0) return std::nullopt;
    return position{value};
}

class lmdb_store final : public segment_store
{
public:
    explicit lmdb_store(lmdb_store_options o) : options_{std::move(o)} {}

    std::vector<std::shared_ptr<segment>> open_all() override;
    std::shared_ptr<segment>              prepare(std::uint64_t map_bytes) override;

    void publish(const std::shared_ptr<segment>& s, position first,
                 std::span<const std::shared_ptr<segment>> replaced) override;
    void remove(const std::shared_ptr<segment>& s) override;

private:
    using segments = std::vector<std::shared_ptr<lmdb_segment>>;

    std::optional<segments>       look();
    std::shared_ptr<lmdb_segment> open_one(const std::string& name, bool newest);
    void                          clean_up();
    std::string path(const std::string& name) const { return options_.directory + "/" + name; }
    void        must_write() const
    {
        if (options_.read_only)
            throw error{errc::read_only, options_.directory + " was opened read-only"};
    }

    lmdb_store_options                                 options_;
    std::shared_ptr<idle_list>                         idle_ = std::make_shared<idle_list>();
    std::map<std::string, std::weak_ptr<lmdb_segment>> known_;  // by name, where read-only
    std::uint64_t                                      prepared_ = 0;
};

void lmdb_store::clean_up()
{
    const auto names = list_directory(options_.directory);
    for (const auto& name : names) {
        const std::string_view n         = name;
        const bool             temporary = n.starts_with("prepared-");
        const bool             orphan    = n.ends_with(lock_suffix) &&
                            !std::binary_search(names.begin(), names.end(),
                                                name.substr(0, name.size() - lock_suffix.size()));
        if (temporary || orphan) remove_file(path(name));
    }
}

std::shared_ptr<lmdb_segment> lmdb_store::open_one(const std::string& name, bool newest)
{
    const auto file = path(name);
    // A log that follows another process looks often, and there may be thousands of them.
    if (const auto known = known_.find(name); known != known_.end())
        if (auto s = known->second.lock())
            if (const auto which = lmdb::identify(file); which && s->is(file, *which)) return s;
    const auto facts = lmdb::examine(file);

    // Nobody but this process writes, unless it only reads. Then the newest one may be written to
    // at this moment, and reading it without LMDB's locks would be reading what is overwritten.
    const bool shared = options_.read_only && newest;
    const auto open   = [&](environment::mode how) {
        return environment::open({.path = file, .how = how, .databases = database_names});
    };
    using enum environment::mode;
    auto e = open(shared ? follow : never_changes);
    auto c = load_contents(reading{*e});
    if (c.state.sealed) {
        if (!options_.read_only) remove_file(file + std::string{lock_suffix});
        e.reset();
    } else if (!shared) {
        e.reset();
        e = open(options_.read_only ? follow : environment::mode::write);
        c = load_contents(reading{*e});
    }
    if (position{c.state.first} != *position_in(name))
        throw_damaged(file, "it begins at position " + std::to_string(c.state.first) +
                                ", which is not its name");
    auto s = std::make_shared<lmdb_segment>(
        file, idle_, std::move(c), facts, std::move(e),
        options_.read_only ? lmdb_segment::role::follows : lmdb_segment::role::writes);
    if (options_.read_only) known_[name] = s;
    return s;
}

std::optional<lmdb_store::segments> lmdb_store::look()
{
    std::vector<std::string> names;
    for (const auto& name : list_directory(options_.directory))
        if (position_in(name)) names.push_back(name);

    segments all;
    for (std::size_t i = 0; i < names.size(); ++i) {
        try {
            all.push_back(open_one(names[i], i + 1 == names.size()));
        } catch (const storage_error&) {
            if (options_.read_only && !file_exists(path(names[i]))) return std::nullopt;
            throw;
        }
    }

    // A crash between the swap and the last unlink of a rewrite leaves segments whose positions
    // another one has already.
    segments kept;
    for (auto& s : all) {
        if (!kept.empty() && s->first() < kept.back()->end()) {
            if (s->end() > kept.back()->end())
                throw_damaged(s->path(),
                              "its positions overlap with those of " + kept.back()->path());
            if (!options_.read_only) remove_file(s->path());
            continue;
        }
        kept.push_back(s);
    }
    if (!options_.read_only && kept.size() != all.size()) sync_directory(options_.directory);
    return kept;
}

std::vector<std::shared_ptr<segment>> lmdb_store::open_all()
{
    if (!options_.read_only) clean_up();
    std::erase_if(known_, [](const auto& k) { return k.second.expired(); });
    // While this looks, another process may remove what was just listed.
    for (int tries = 0;; ++tries) {
        if (auto found = look()) return {found->begin(), found->end()};
        if (tries == 100)
            throw segment_gone{options_.directory + " changes faster than it can be read"};
    }
}

std::shared_ptr<segment> lmdb_store::prepare(std::uint64_t map_bytes)
{
    must_write();
    const auto file = path("prepared-" + std::to_string(++prepared_) + ".tmp");
    remove_file(file);
    remove_file(file + std::string{lock_suffix});
    map_bytes = (std::max<std::uint64_t>(map_bytes, map_bytes_min) + 65535) / 65536 * 65536;

    try {
        auto e = environment::open({.path      = file,
                                    .how       = environment::mode::create,
                                    .map_bytes = map_bytes,
                                    .databases = database_names});
        e->make_room(64 * e->page_bytes());
        return std::make_shared<lmdb_segment>(file, idle_, segment_contents{}, lmdb::examine(file),
                                              e, lmdb_segment::role::prepares);
    } catch (...) {
        ::remove(file.c_str());
        ::remove((file + std::string{lock_suffix}).c_str());
        throw;
    }
}

void lmdb_store::publish(const std::shared_ptr<segment>& s, position first,
                         std::span<const std::shared_ptr<segment>> replaced)
{
    must_write();
    auto& mine = dynamic_cast<lmdb_segment&>(*s);
    if (mine.is_published())
        throw error{errc::invalid_argument, mine.path() + " is published already"};
    if (!replaced.empty() && (!mine.sealed() || first != replaced.front()->first() ||
                              mine.end() != replaced.back()->end()))
        throw error{errc::invalid_argument,
                    "a rewritten segment must be sealed, and hold the positions of what it "
                    "replaces"};
    for (const auto& r : replaced) dynamic_cast<lmdb_segment&>(*r).pin();

    const auto name = path(name_of(first));
    if (replaced.empty() && file_exists(name))
        throw error{errc::invalid_argument, name + " is there already"};
    mine.publish(name, first);

    bool unlinked = false;
    for (const auto& r : replaced)
        if (r->path() != name) unlinked = remove_file(r->path()) || unlinked;
    if (unlinked) sync_directory(options_.directory);
}

void lmdb_store::remove(const std::shared_ptr<segment>& s)
{
    must_write();
    auto& mine = dynamic_cast<lmdb_segment&>(*s);
    mine.pin();
    remove_file(mine.path());
    remove_file(mine.path() + std::string{lock_suffix});
    sync_directory(options_.directory);
}

}  // namespace

std::unique_ptr<segment_store> make_lmdb_store(lmdb_store_options o)
{
    return std::make_unique<lmdb_store>(std::move(o));
}

}  // namespace cairn::detail
