// SPDX-License-Identifier: Apache-2.0
//
// projection: asks the service that runs, at its control socket; or else the tables that it has
// left.
#include "json.hpp"
#include "moment.hpp"
#include "session.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cairn/projections/projection_control.hpp>
#include <cairn/projections/stored_projections.hpp>

#include <poll.h>
#include <algorithm>
#include <filesystem>
#include <limits>
#include <set>
#include <utility>

namespace cairn::cli {

namespace {

struct looking_options : common_options
{
    std::string                 tables;
    std::string                 projection;
    std::vector<std::string>    projections;
    std::string                 partition;
    std::string                 every   = "1s";
    std::int64_t                version = 0;
    std::int64_t                offset  = 0;
    std::int64_t                max     = 100;
    std::optional<std::int64_t> position;
    bool                        watch    = false;
    bool                        versions = false;
    bool                        wait     = false;
    bool                        cancel   = false;
    bool                        execute  = false;
    bool                        dry_run  = false;
};

// ---- Whom to ask. ---------------------------------------------------------------------------

void end_if_interrupted()
{
    if (session::interrupted())
        throw failure{"interrupted", "interrupted before the service had answered"};
}

projection_client service_of(const looking_options& o)
{
    return projection_client{o.directory(), end_if_interrupted};
}

/// The service, for what only its code can do.
projection_client service_for(const looking_options& o, const std::string& what)
{
    auto service = service_of(o);
    if (!service.is_served())
        throw failure{"not_served", what + " needs the code of " + printable(o.projection) +
                                        ", and no service serves " + o.directory() +
                                        ": start it, with a projection_control, and ask again"};
    return service;
}

std::shared_ptr<table_store> tables_of(const looking_options& o)
{
    constexpr std::string_view postgres = "postgres:";
    if (o.tables.starts_with(postgres)) return postgres_tables(o.tables.substr(postgres.size()));
    const std::filesystem::path at = o.tables.empty()
                                         ? std::filesystem::path{o.directory()} / "projections"
                                         : std::filesystem::path{o.tables};
    if (std::filesystem::is_directory(at)) return lmdb_tables(at.string());
    if (std::filesystem::is_regular_file(at)) return sqlite_tables(at.string());
    throw failure{"no_tables", "no service serves " + o.directory() + ", and there are no tables " +
                                   "of projections in " + at.string() +
                                   ": start the service, or say where they are with --tables"};
}

enum class to_do {
    look,
    change,
};

/// The tables that a service has left. Who changes them holds the log, so that none begins.
stored_projections left_of(const looking_options& o, session& s, to_do what)
{
    auto log    = what == to_do::look ? s.open_to_read(o) : s.open_to_write(o);
    auto tables = tables_of(o);
    return {std::move(log), std::move(tables)};
}

/// ask(client) or ask(stored_projections), as it is.
template <class Ask>
auto ask_either(const looking_options& o, session& s, to_do what, Ask&& ask)
{
    if (auto service = service_of(o); service.is_served()) return ask(service);
    auto left = left_of(o, s, what);
    return ask(left);
}

struct seen_projections
{
    std::vector<projection_status> all;        ///< those of a name are together
    std::set<std::string>          not_fed{};  ///< that a service runs without
};

seen_projections statuses(const looking_options& o, const stored_projections& of)
{
    if (o.projections.empty()) return {of.status()};
    seen_projections seen;
    for (const auto& name : o.projections) seen.all.push_back(of.status(name));
    return seen;
}

seen_projections statuses(const looking_options& o, projection_client& service)
{
    seen_projections seen;
    const auto       unfed = service.unfed();
    if (o.projections.empty()) seen.all = service.status();
    for (const auto& p : unfed) {
        if (!o.projections.empty() && std::ranges::count(o.projections, p.name) == 0) continue;
        if (seen.not_fed.insert(p.name).second) seen.all.push_back(p);
    }
    for (const auto& name : o.projections) {
        if (seen.not_fed.contains(name)) continue;
        for (auto& p : service.instances(name)) seen.all.push_back(std::move(p));
    }
    return seen;
}

/// A service's, or those that one has left.
seen_projections statuses(const looking_options& o, session& s)
{
    return ask_either(o, s, to_do::look, [&](auto& of) { return statuses(o, of); });
}

/// Each once, however many runners have it.
std::vector<std::string> names_of(const std::vector<projection_status>& all)
{
    std::vector<std::string> names;
    for (const auto& p : all)
        if (names.empty() || names.back() != p.name) names.push_back(p.name);
    return names;
}

int version_number(const looking_options& o)
{
    if (!std::in_range<int>(o.version) || o.version < 1)
        throw usage_error{"VERSION: there is none of number " + std::to_string(o.version)};
    return static_cast<int>(o.version);
}

void check_execute(const looking_options& o)
{
    if (o.execute && o.dry_run) throw usage_error{"--execute and --dry-run exclude each other"};
}

void say_dry_run(const looking_options& o, session& s)
{
    if (!o.execute) s.note("nothing was changed; do it with --execute");
}

/// What a command did, as one line.
void say_done(const looking_options& o, session& s, const std::string& text,
              const std::function<void(json_writer&)>& more = {})
{
    if (!o.json()) return s.out().write(text + '\n');
    std::string line;
    json_writer json{line};
    json.begin_object().field("projection", printable(o.projection));
    if (more) more(json);
    json.end_object();
    s.out().write(line + '\n');
}

// ---- status ---------------------------------------------------------------------------------

std::string percent_of(const rebuild_progress& p)
{
    const auto  share = p.total == 0 ? 100 : std::min<std::uint64_t>(99, p.events * 100 / p.total);
    std::string text  = "building " + std::to_string(share) + " %";
    if (p.remaining)
        text += ", " + as_duration(static_cast<double>(p.remaining->count()) / 1000) + " left";
    return text;
}

std::string rate_text(double per_second)
{
    return per_second < 1 ? "-" : with_commas(static_cast<std::uint64_t>(per_second)) + "/s";
}

/// "orders:0-2,5 tills:1"; "-": none.
std::string partitions_text(std::vector<topic_partition> all)
{
    std::ranges::sort(all);
    std::string text;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const bool same = i > 0 && all[i - 1].topic == all[i].topic;
        text += same ? "," : (text.empty() ? "" : " ") + all[i].topic + ":";
        const auto first = i;
        while (i + 1 < all.size() && all[i + 1].topic == all[i].topic &&
               all[i + 1].partition == all[i].partition + 1)
            ++i;
        text += std::to_string(all[first].partition);
        if (i > first) text += "-" + std::to_string(all[i].partition);
    }
    return text.empty() ? "-" : text;
}

void print_table(const seen_projections& seen, session& s)
{
    // Where there is a group: who of its runners has what.
    const bool shared = std::ranges::any_of(
        seen.all, [](const projection_status& p) { return !p.partitions.empty(); });
    std::vector<std::string> heading{"PROJECTION", "VERSION >",  "STATE",  "POSITION >",
                                     "LAG >",      "LAG-TIME >", "RATE >", "PARKED >"};
    if (shared) heading.emplace_back("PARTITIONS");
    heading.emplace_back("ERROR");
    table      t{std::move(heading)};
    const auto row = [&](std::vector<std::string> cells, std::string partitions,
                         const std::string& error) {
        if (shared) cells.push_back(std::move(partitions));
        cells.push_back(error.empty() ? "-" : error);
        t.row(std::move(cells));
    };
    for (const auto& p : seen.all) {
        const auto version = p.version == 0 ? "-" : std::to_string(p.version);
        if (seen.not_fed.contains(p.name)) {
            row({p.name, version, "not fed", std::to_string(p.upto.value), "-", "-", "-", "-"}, "-",
                "");
            continue;
        }
        const auto behind = static_cast<double>(p.lag_time.count()) / 1000;
        row({p.name, version, std::string{name(p.state)}, std::to_string(p.upto.value),
             with_commas(p.lag_events), p.lag_events == 0 ? "-" : as_duration(behind),
             rate_text(p.events_per_s), with_commas(p.parked)},
            partitions_text(p.partitions), p.error);
        if (const auto& r = p.rebuild)
            row({p.name, std::to_string(r->version), percent_of(*r), "-",
                 with_commas(r->total - std::min(r->total, r->events)), "-",
                 rate_text(r->events_per_s), "-"},
                "-", r->error);
    }
    t.print(s.out());
}

void print_versions(const std::vector<projection_status>& all, session& s)
{
    table t{{"PROJECTION", "VERSION >", "ANSWERS", "CODE >", "CAUGHT-UP", "TOPIC", "PARTITION >",
             "OFFSET >"}};
    std::string last;  // the versions are those of all who run it
    for (const auto& p : all) {
        if (std::exchange(last, p.name) == p.name) continue;
        for (const auto& v : p.versions) {
            const auto row = [&](std::string topic, std::string partition, std::string next) {
                t.row({p.name, std::to_string(v.number), v.active ? "yes" : "no",
                       std::to_string(v.checkpoint.code_version),
                       v.checkpoint.complete || v.number <= p.version ? "yes" : "no",
                       std::move(topic), std::move(partition), std::move(next)});
            };
            if (v.checkpoint.partitions.empty()) row("-", "-", "-");
            for (const auto& [at, progress] : v.checkpoint.partitions)
                row(at.topic, std::to_string(at.partition), std::to_string(progress.next.value));
        }
    }
    t.print(s.out());
}

void print_json(const projection_status& p, bool fed, session& s)
{
    const auto known = [&](auto n) {
        return fed ? std::optional{static_cast<std::int64_t>(n)} : std::nullopt;
    };
    std::string line;
    json_writer json{line};
    json.begin_object().field("projection", printable(p.name));
    if (p.version == 0)
        json.name("version").null();
    else
        json.field("version", p.version);
    json.field("state", fed ? name(p.state) : "not fed").field("position", p.upto.value);
    json.field("end_position", p.end.value).field("lag", known(p.lag_events));
    json.field("lag_ms", known(p.lag_time.count())).field("events_per_s", p.events_per_s);
    json.field("parked", known(p.parked)).field("error", printable(p.error));
    json.field("stands_before", p.stands_before ? std::optional{p.stands_before->value}
                                                : std::optional<std::int64_t>{});
    json.name("rebuild");
    if (const auto& r = p.rebuild) {
        json.begin_object().field("version", r->version).field("events", r->events);
        json.field("total", r->total).field("events_per_s", r->events_per_s);
        json.field("remaining_ms", r->remaining ? std::optional{r->remaining->count()}
                                                : std::optional<std::int64_t>{});
        json.field("error", printable(r->error)).end_object();
    } else {
        json.null();
    }
    json.name("partitions").begin_array();
    for (const auto& at : p.partitions)
        json.begin_object().field("topic", at.topic).field("partition", at.partition).end_object();
    json.end_array().name("versions").begin_array();
    for (const auto& v : p.versions) {
        json.begin_object().field("version", v.number).field("active", v.active);
        json.field("code_version", v.checkpoint.code_version);
        json.field("complete", v.checkpoint.complete).field("paused", v.checkpoint.paused);
        json.name("partitions").begin_array();
        for (const auto& [at, progress] : v.checkpoint.partitions)
            json.begin_object()
                .field("topic", at.topic)
                .field("partition", at.partition)
                .field("offset", progress.next.value)
                .end_object();
        json.end_array().end_object();
    }
    json.end_array().end_object();
    s.out().write(line + '\n');
}

int status(const looking_options& o, session& s)
{
    const auto every = parse_duration(o.every, "--every");
    if (every.count() < 1 || !std::in_range<int>(every.count()))
        throw usage_error{"--every: from 1ms to 24d"};
    for (;;) {
        const auto seen = statuses(o, s);
        if (o.watch && !o.json() && s.out().is_terminal()) s.out().write("\x1b[H\x1b[J");
        if (o.json())
            for (const auto& p : seen.all) print_json(p, !seen.not_fed.contains(p.name), s);
        else if (seen.all.empty())
            s.note("there are no projections");
        else if (o.versions)
            print_versions(seen.all, s);
        else
            print_table(seen, s);
        if (!o.watch) return 0;
        s.out().flush();
        // A signal ends it.
        ::poll(nullptr, 0, static_cast<int>(every.count()));
        if (session::interrupted()) return 0;
    }
}

// ---- rebuild, reset, pause, resume, swap, drop ----------------------------------------------

/// Until the version is what answers.
void wait_for_rebuild(const looking_options& o, session& s, projection_client& service, int number)
{
    for (;;) {
        const auto now = service.status(o.projection);
        if (now.version == number) break;
        const auto ended = [&](const std::string& why) {
            s.progress().clear();
            throw failure{"rebuild_ended", "version " + std::to_string(number) + " of " +
                                               printable(o.projection) + " is not built: " + why};
        };
        if (now.state == projection_state::paused)
            ended("the projection is paused; it goes on when that is resumed");
        if (!now.rebuild || now.rebuild->version != number) ended("it was cancelled");
        if (!now.rebuild->error.empty()) ended(printable(now.rebuild->error));
        s.progress().show("rebuilding " + printable(o.projection), now.rebuild->events,
                          now.rebuild->total);
        ::poll(nullptr, 0, 100);
        end_if_interrupted();
    }
    s.progress().clear();
}

int rebuild(const looking_options& o, session& s)
{
    if (o.cancel && o.wait) throw usage_error{"--cancel and --wait exclude each other"};
    auto service = service_for(o, "rebuilding");
    if (o.cancel) {
        service.cancel_rebuild(o.projection);
        say_done(o, s, "no rebuild of " + printable(o.projection) + " goes on",
                 [](json_writer& json) { json.name("version").null().field("done", true); });
        return 0;
    }
    const int number = service.rebuild(o.projection);
    if (o.wait) wait_for_rebuild(o, s, service, number);
    const auto which = "version " + std::to_string(number) + " of " + printable(o.projection);
    say_done(o, s,
             o.wait ? which + " is built, and answers"
                    : which + " is being built; see how far with: cairn projection status",
             [&](json_writer& json) { json.field("version", number).field("done", o.wait); });
    return 0;
}

int reset(const looking_options& o, session& s)
{
    check_execute(o);
    auto       service = service_for(o, "resetting");
    const auto now     = service.status(o.projection);
    if (o.execute) service.reset(o.projection);
    say_done(o, s,
             (o.execute ? "threw away version " : "would throw away version ") +
                 std::to_string(now.version) + " of " + printable(o.projection) +
                 ", counted up to " + std::to_string(now.upto.value) +
                 (o.execute ? "; it is" : ", to be") +
                 " built from the beginning, and answers with what there is so far",
             [&](json_writer& json) {
                 json.field("version", now.version).field("position", now.upto.value);
                 json.field("executed", o.execute);
             });
    say_dry_run(o, s);
    return 0;
}

int pause(const looking_options& o, session& s)
{
    ask_either(o, s, to_do::change, [&](auto& of) { of.pause(o.projection); });
    say_done(o, s, printable(o.projection) + " is paused, until it is resumed",
             [](json_writer& json) { json.field("paused", true); });
    return 0;
}

int resume(const looking_options& o, session& s)
{
    ask_either(o, s, to_do::change, [&](auto& of) { of.resume(o.projection); });
    say_done(o, s, printable(o.projection) + " goes on",
             [](json_writer& json) { json.field("paused", false); });
    return 0;
}

int swap(const looking_options& o, session& s)
{
    const int number = version_number(o);
    ask_either(o, s, to_do::change, [&](auto& of) { of.swap_to(o.projection, number); });
    say_done(
        o, s,
        "version " + std::to_string(number) + " of " + printable(o.projection) + " answers now",
        [&](json_writer& json) { json.field("version", number); });
    return 0;
}

int drop(const looking_options& o, session& s)
{
    check_execute(o);
    const int number = version_number(o);
    ask_either(o, s, o.execute ? to_do::change : to_do::look, [&](auto& of) {
        const auto all   = of.status(o.projection).versions;
        const auto found = std::ranges::find(all, number, &stored_version::number);
        if (found == all.end())
            throw error{errc::invalid_argument,
                        "there is no version " + std::to_string(number) + " of " +
                            printable(o.projection) +
                            "; 'cairn projection status --versions' shows those there are"};
        if (found->active)
            throw error{errc::invalid_argument,
                        "version " + std::to_string(number) + " of " + printable(o.projection) +
                            " is what answers: 'cairn projection swap' to another first"};
        if (o.execute) of.drop(o.projection, number);
    });
    say_done(
        o, s,
        (o.execute ? "dropped version " : "would drop version ") + std::to_string(number) + " of " +
            printable(o.projection),
        [&](json_writer& json) { json.field("version", number).field("executed", o.execute); });
    say_dry_run(o, s);
    return 0;
}

// ---- skip, parked ---------------------------------------------------------------------------

int skip(const looking_options& o, session& s)
{
    check_execute(o);
    auto service = service_for(o, "skipping an event");
    // Of a group each may stand before another.
    auto standing = service.instances(o.projection);
    std::erase_if(standing, [](const auto& p) { return !p.stands_before; });
    if (standing.empty())
        throw error{errc::invalid_argument,
                    printable(o.projection) + " stands before no event: there is none to skip"};
    std::ranges::sort(standing, {}, &projection_status::stands_before);
    const auto which = std::ranges::find_if(standing, [&](const auto& p) {
        return !o.position || *o.position == p.stands_before->value;
    });
    if (which == standing.end()) {
        std::string places;
        for (const auto& p : standing)
            places += (places.empty() ? "" : ", ") + std::to_string(p.stands_before->value);
        throw error{errc::invalid_argument, printable(o.projection) + " stands before position " +
                                                places + ", and not before " +
                                                std::to_string(*o.position)};
    }
    const auto& now = *which;
    const auto  at  = now.stands_before->value;
    if (o.execute) service.skip(o.projection, *now.stands_before);
    say_done(o, s,
             (o.execute ? "skipped" : "would skip") + std::string{" position "} +
                 std::to_string(at) + ": " + printable(now.error),
             [&](json_writer& json) {
                 json.field("position", at).field("error", printable(now.error));
                 json.field("executed", o.execute);
             });
    say_dry_run(o, s);
    return 0;
}

std::vector<parked_event> next_parked(projection_client& of, const std::string&       projection,
                                      std::size_t, const std::optional<parked_event>& after)
{
    return of.parked(projection, after);
}

std::vector<parked_event> next_parked(stored_projections& of, const std::string& projection,
                                      std::size_t at_most, const std::optional<parked_event>& after)
{
    return of.parked(projection, at_most, after);
}

int list_parked(const looking_options& o, session& s)
{
    if (o.max < 1) throw usage_error{"--max: at least 1"};
    table       t{{"TOPIC", "PARTITION >", "OFFSET >", "KEY", "TYPE", "TRIED >", "SINCE", "WHY"}};
    std::size_t left = static_cast<std::size_t>(o.max);
    bool        more = false;
    ask_either(o, s, to_do::look, [&](auto& of) {
        std::optional<parked_event> after;
        for (;;) {
            const auto some = next_parked(of, o.projection, left + 1, after);
            for (const auto& e : some) {
                more = left == 0;
                if (more) return;
                --left;
                if (!o.json()) {
                    t.row({e.in.topic, std::to_string(e.in.partition), std::to_string(e.at.value),
                           e.key, e.type, std::to_string(e.attempts), as_iso_time(e.since), e.why});
                    continue;
                }
                std::string line;
                json_writer json{line};
                json.begin_object().field("projection", printable(o.projection));
                json.field("topic", e.in.topic).field("partition", e.in.partition);
                json.field("offset", e.at.value).field("position", e.where.value);
                json.bytes("key", e.key).field("type", printable(e.type));
                json.field("attempts", e.attempts).field("since", as_iso_time(e.since));
                json.field("why", printable(e.why)).end_object();
                s.out().write(line + '\n');
            }
            if (some.empty()) return;
            after = some.back();
        }
    });
    if (more) s.note("there are more; see them with --max");
    if (o.json()) return 0;
    if (t.empty())
        s.note("nothing of " + printable(o.projection) + " is parked");
    else
        t.print(s.out());
    return 0;
}

int retry_parked(const looking_options& o, session& s)
{
    auto       service = service_for(o, "retrying what is parked");
    const auto handled = service.retry_parked(o.projection);
    const auto left    = service.status(o.projection).parked;
    say_done(o, s,
             "handled " + counted(handled, "event") + "; " + with_commas(left) +
                 (left == 1 ? " is" : " are") + " parked still",
             [&](json_writer& json) { json.field("handled", handled).field("parked", left); });
    return 0;
}

topic_partition partition_named(const std::string& text)
{
    const auto colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0)
        throw usage_error{"PARTITION: '" + text + "' is none, as orders:0 is"};
    const auto number = parse_whole_number(std::string_view{text}.substr(colon + 1), "PARTITION");
    if (!std::in_range<std::int32_t>(number))
        throw usage_error{"PARTITION: there is none of number " + std::to_string(number)};
    return {text.substr(0, colon), static_cast<std::int32_t>(number)};
}

int skip_parked(const looking_options& o, session& s)
{
    check_execute(o);
    const auto          in = partition_named(o.partition);
    const cairn::offset at{o.offset};
    // The one before it, so that it is the first that is listed.
    parked_event before;
    before.in = in;
    before.at = cairn::offset{at.value - 1};
    const auto why =
        ask_either(o, s, o.execute ? to_do::change : to_do::look, [&](auto& of) -> std::string {
            const auto found = next_parked(of, o.projection, 1, before);
            if (found.empty() || found.front().in != in || found.front().at != at)
                throw error{errc::invalid_argument,
                            "nothing is parked of " + printable(in.topic) + ':' +
                                std::to_string(in.partition) + " offset " +
                                std::to_string(at.value) +
                                "; 'cairn projection parked list' shows what is"};
            if (o.execute) of.skip_parked(o.projection, in, at);
            return found.front().why;
        });
    say_done(o, s,
             (o.execute ? "gave up " : "would give up ") + printable(in.topic) + ':' +
                 std::to_string(in.partition) + " offset " + std::to_string(at.value) + ": " +
                 printable(why),
             [&](json_writer& json) {
                 json.field("topic", in.topic).field("partition", in.partition);
                 json.field("offset", at.value).field("why", printable(why));
                 json.field("executed", o.execute);
             });
    say_dry_run(o, s);
    return 0;
}

// ---- verify ---------------------------------------------------------------------------------

int verify_tables(looking_options& o, session& s)
{
    o.projection = o.projections.empty() ? "the projections" : o.projections.front();
    auto service = service_for(o, "verifying");
    if (o.projections.empty()) o.projections = names_of(service.status());
    table       t{{"PROJECTION", "POSITION >", "DIGEST", "REBUILT", "RESULT"}};
    std::size_t different = 0;
    for (const auto& which : o.projections) {
        const auto  v = service.verify(which);
        std::string tables;
        for (const auto& d : v.different) tables += (tables.empty() ? "" : ", ") + d;
        different += !v.ok;
        if (!o.json()) {
            const auto hex = [](std::uint64_t n) {
                std::string text(16, '0');
                for (auto c = text.rbegin(); n != 0; n >>= 4, ++c) *c = "0123456789abcdef"[n & 15];
                return text;
            };
            t.row({which, std::to_string(v.upto.value), hex(v.stored), hex(v.rebuilt),
                   v.ok ? "the same" : "different: " + tables});
            continue;
        }
        std::string line;
        json_writer json{line};
        json.begin_object().field("projection", printable(which)).field("ok", v.ok);
        json.field("position", v.upto.value).name("different").begin_array();
        for (const auto& d : v.different) json.value(d);
        json.end_array().end_object();
        s.out().write(line + '\n');
    }
    if (!o.json() && !t.empty()) t.print(s.out());
    if (different == 0) return 0;
    throw failure{"tables_differ",
                  counted(different, "projection") + (different == 1 ? " has" : " have") +
                      " tables that the log does not come to: rebuild, and find what wrote to "
                      "them, or what its code does not do the same each time"};
}

// ---- The tree. ------------------------------------------------------------------------------

void add_common(command& c, looking_options& o, bool also_stopped)
{
    if (also_stopped)
        c.value("--tables", "WHERE", o.tables,
                "The tables, where no service runs: a directory (without this, DATA/projections), "
                "a file of SQLite, or postgres:CONNECTION.")
            .completes = completion::file;
    add_data_option(c, o);
    add_format_option(c, o);
}

void add_execute_options(command& c, looking_options& o)
{
    c.flag("--execute", o.execute, "Do it. Without this it is only shown.");
    c.flag("--dry-run", o.dry_run, "Only show what would be done; it is so anyway.");
}

void add_projection_argument(command& c, looking_options& o)
{
    c.argument("PROJECTION", o.projection, "Which.").completes = completion::projection;
}

void add_parked(command& projection)
{
    auto& parked = projection.add("parked", "List, retry and skip events that were put aside");
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = parked.add("list", "List the events that are parked, and why");
        c.text(
            "An event that was tried 0 times waits behind an earlier one of its key. Works "
            "beside a running service and without one.");
        add_projection_argument(c, *o);
        c.value("--max", "N", o->max, "At most N of them; without it, 100.");
        add_common(c, *o, true);
        c.json("one object per event", {{"projection", "Of what it is parked."},
                                        {"topic", "Where it is in the log."},
                                        {"partition", "Likewise."},
                                        {"offset", "Likewise."},
                                        {"position", "Its place in the whole log."},
                                        {"key", "Its key."},
                                        {"type", "What event it is."},
                                        {"attempts", "How often it was tried."},
                                        {"since", "When it was parked."},
                                        {"why", "What was thrown, or what it waits for."}});
        c.shows("cairn projection parked list revenue", "What waits, and for what.");
        c.does([o](session& s) { return list_parked(*o, s); });
    }
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = parked.add("retry", "Handle them again, those of a key in their order");
        c.text("Stops at the first of each key that fails again. It needs the service's code.");
        add_projection_argument(c, *o);
        add_common(c, *o, false);
        c.json("one object", {{"projection", "Its name."},
                              {"handled", "How many count now."},
                              {"parked", "How many are parked still."}});
        c.shows("cairn projection parked retry revenue", "After the code was mended.");
        c.does([o](session& s) { return retry_parked(*o, s); });
    }
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = parked.add("skip", "Give one up: it will never count");
        c.text(
            "Those that wait behind it are handled when they are retried. Shows what would be "
            "given up; with --execute it is.");
        add_projection_argument(c, *o);
        c.argument("PARTITION", o->partition, "Where it is: TOPIC:N, such as orders:0.");
        c.value("OFFSET", "OFFSET", o->offset, "And where in that.").required = true;
        add_execute_options(c, *o);
        add_common(c, *o, true);
        c.json("one object", {{"projection", "Its name."},
                              {"topic", "Where the event is."},
                              {"partition", "Likewise."},
                              {"offset", "Likewise."},
                              {"why", "Why it was parked."},
                              {"executed", "Whether it was done, and not only shown."}});
        c.shows("cairn projection parked skip revenue orders:0 12", "Shows it.");
        c.shows("cairn projection parked skip revenue orders:0 12 --execute", "Gives it up.");
        c.does([o](session& s) { return skip_parked(*o, s); });
    }
}

void add_versions(command& projection)
{
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = projection.add("swap", "Let another version that is kept answer");
        c.text(
            "To one that has once caught up; it goes on where it was. Back from a rebuild, for "
            "instance. Works beside a running service and without one.");
        add_projection_argument(c, *o);
        c.value("VERSION", "VERSION", o->version, "To which.").required = true;
        add_common(c, *o, true);
        c.json("one object", {{"projection", "Its name."}, {"version", "What answers now."}});
        c.shows("cairn projection swap revenue 1", "Back to version 1.");
        c.does([o](session& s) { return swap(*o, s); });
    }
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = projection.add("drop", "Delete a version that does not answer");
        c.text(
            "Shows what would be deleted; with --execute it is. Works beside a running service "
            "and without one.");
        add_projection_argument(c, *o);
        c.value("VERSION", "VERSION", o->version, "Which.").required = true;
        add_execute_options(c, *o);
        add_common(c, *o, true);
        c.json("one object", {{"projection", "Its name."},
                              {"version", "Which of its versions."},
                              {"executed", "Whether it was done, and not only shown."}});
        c.shows("cairn projection drop revenue 1 --execute", "Deletes the tables of version 1.");
        c.does([o](session& s) { return drop(*o, s); });
    }
}

void add_rebuilding(command& projection)
{
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = projection.add("rebuild", "Build the tables anew while the old ones answer");
        c.text(
            "Makes the next version from the beginning of the log, beside the one that answers; "
            "when it has caught up it takes its place, in one step. It needs the service's code. "
            "'cairn projection reset' throws the tables away first, and takes no more room than "
            "they did.");
        add_projection_argument(c, *o);
        c.flag("--wait", o->wait, "Until it is done; on a terminal with its progress.");
        c.flag("--cancel", o->cancel, "End the rebuild that goes on, and drop what it has made.");
        add_common(c, *o, false);
        c.json("one object", {{"projection", "Its name."},
                              {"version", "What is built; null where it is cancelled."},
                              {"done", "Whether it is over."}});
        c.shows("cairn projection rebuild revenue --wait", "Ends when the new version answers.");
        c.shows("cairn projection rebuild revenue --cancel", "The old one stays.");
        c.does([o](session& s) { return rebuild(*o, s); });
    }
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = projection.add("reset", "Throw the tables away and build them anew");
        c.text(
            "From then on it answers with what there is so far: at first, with nothing. Where "
            "readers are to see the old tables meanwhile, rebuild. Shows what it would do; with "
            "--execute it does it. It needs the service's code.");
        add_projection_argument(c, *o);
        add_execute_options(c, *o);
        add_common(c, *o, false);
        c.json("one object", {{"projection", "Its name."},
                              {"version", "What is thrown away."},
                              {"position", "Up to where that was counted."},
                              {"executed", "Whether it was done, and not only shown."}});
        c.shows("cairn projection reset revenue --execute", "Begins again with empty tables.");
        c.does([o](session& s) { return reset(*o, s); });
    }
}

void add_running(command& projection)
{
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = projection.add("pause", "Handle no more events until it is resumed");
        c.text(
            "What is there answers. It stays paused when the service is started again. Works "
            "beside a running service and without one.");
        add_projection_argument(c, *o);
        add_common(c, *o, true);
        c.json("one object", {{"projection", "Its name."}, {"paused", "true."}});
        c.shows("cairn projection pause revenue", "Before work on its database, for instance.");
        c.does([o](session& s) { return pause(*o, s); });
    }
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = projection.add("resume", "Go on where it was");
        c.text("One that has failed tries again. Works beside a running service and without one.");
        add_projection_argument(c, *o);
        add_common(c, *o, true);
        c.json("one object", {{"projection", "Its name."}, {"paused", "false."}});
        c.shows("cairn projection resume revenue", "After the work.");
        c.does([o](session& s) { return resume(*o, s); });
    }
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = projection.add("skip", "Leave out the event that it stands before");
        c.text(
            "Of a projection that stops at an event that it cannot handle: that event will not "
            "count, and it goes on behind it. Shows which it is; with --execute it is left out. "
            "Where several runners of a group stand, it is the first of their events. It needs "
            "the service's code.");
        add_projection_argument(c, *o);
        c.value("--position", "N", o->position, "Only where it stands before this position.");
        add_execute_options(c, *o);
        add_common(c, *o, false);
        c.json("one object", {{"projection", "Its name."},
                              {"position", "Of the event."},
                              {"error", "What the projection said of it."},
                              {"executed", "Whether it was done, and not only shown."}});
        c.shows("cairn projection skip revenue", "Shows which.");
        c.shows("cairn projection skip revenue --position 1204 --execute", "Leaves it out.");
        c.does([o](session& s) { return skip(*o, s); });
    }
}

}  // namespace

void add_projection(command& root)
{
    auto& projection = root.add("projection", "Look after projections: see, rebuild, pause, retry");
    projection.text(
        "Asks the service that has the log open, at the socket DATA/control.sock that its "
        "projection_control serves. Where none does, what tables alone can tell is read from "
        "them, and what needs the service's code says so.");
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = projection.add("status", "Show how far projections are, and what they do");
        c.text(
            "LAG is how many records were not read yet, LAG-TIME how old the oldest of them is. "
            "A version that is being built has a line of its own, and so has each runner of a "
            "group, with its partitions. What has tables beside those of the service, but no "
            "runner in it, is not fed: a projection that was renamed, for instance. Without a "
            "service, the lag is of the topics of which something was counted.");
        c.arguments("PROJECTION", o->projections, "Which; without any, all.").completes =
            completion::projection;
        c.options().back()->required = false;
        c.flag("--watch", o->watch, "Again and again, until Ctrl-C.");
        c.value("--every", "DURATION", o->every, "How often, with --watch; without it, 1s.");
        c.flag("--versions", o->versions, "Show the versions that are kept, and their offsets.");
        add_common(c, *o, true);
        c.json("one object per projection, or per runner of a group",
               {{"projection", "Its name."},
                {"version", "Of its tables, that answers; null: none can."},
                {"state",
                 "idle, catching up, following, retrying, failed, paused, stalled or not fed."},
                {"position", "All before it is in the tables."},
                {"end_position", "The position that the next record will get."},
                {"lag", "Records that were not read yet; null: it is not fed."},
                {"lag_ms", "How old the oldest of them is; likewise."},
                {"events_per_s", "Read, in the last seconds."},
                {"parked", "How many events are parked; likewise."},
                {"error", "What failed, and where; or empty."},
                {"stands_before", "The position of the event that it failed at, or null."},
                {"rebuild",
                 "null, or an object: version, events, total, events_per_s, remaining_ms, error."},
                {"partitions",
                 "In a group, those of this runner: an array of objects: topic, partition."},
                {"versions",
                 "An array of objects: version, active, code_version, complete, paused, and "
                 "partitions with topic, partition and offset."}});
        c.shows("cairn projection status", "All of them.");
        c.shows("cairn projection status revenue --watch", "One, every second.");
        c.shows("cairn projection status --tables postgres:host=db\\ dbname=shop",
                "Without the service.");
        c.does([o](session& s) { return status(*o, s); });
    }
    add_rebuilding(projection);
    add_running(projection);
    add_versions(projection);
    add_parked(projection);
    {
        auto  o = std::make_shared<looking_options>();
        auto& c = projection.add("verify", "Compare the tables with what the log comes to");
        c.text(
            "Builds them again in the service's memory, up to where they are, and compares; the "
            "projection waits meanwhile. Ends with 1 where they differ.");
        c.arguments("PROJECTION", o->projections, "Which; without any, all.").completes =
            completion::projection;
        c.options().back()->required = false;
        add_common(c, *o, false);
        c.json("one object per projection", {{"projection", "Its name."},
                                             {"ok", "Whether they are the same."},
                                             {"position", "As of which position."},
                                             {"different", "The tables that differ."}});
        c.shows("cairn projection verify revenue", "Ends with 0 where all is well.");
        c.does([o](session& s) { return verify_tables(*o, s); });
    }
}

void add_projection_names(command& generate)
{
    auto  o = std::make_shared<looking_options>();
    auto& c = generate.add("projections", "Print the names of the projections");
    add_data_option(c, *o);
    c.does([o](session& s) {
        for (const auto& n : names_of(statuses(*o, s).all)) s.out().write(n + '\n');
        return 0;
    });
}

}  // namespace cairn::cli
