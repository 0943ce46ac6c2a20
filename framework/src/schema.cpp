// SPDX-License-Identifier: Apache-2.0
//
// The registry reads __schemas from front to back as it grows, and keeps the newest of each type
// with a loader of its own: two types may use different versions of a third, and a schema that is
// damaged disturbs no other.
#include <cairn/framework/schema.hpp>

#include <cairn/framework/detail/message.hpp>
#include <cairn/framework/envelope.hpp>

#include "schema_tree.hpp"

#include <cairn/log/error.hpp>

#include <capnp/compat/json.h>
#include <capnp/dynamic.h>
#include <capnp/schema-loader.h>
#include <kj/exception.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <utility>

namespace cairn {

namespace {

constexpr std::string_view key_prefix   = "capnp:";
constexpr std::string_view since_header = "ce_since";

constexpr std::size_t values_max = 1 << 20;
constexpr std::size_t bytes_max  = 16 << 20;

std::string key_of(std::uint64_t type_id)
{
    return std::string{key_prefix} + detail::id_text(type_id).substr(2);
}

std::optional<std::uint64_t> id_of(bytes_view key)
{
    if (key.size() != key_prefix.size() + 16 || !key.starts_with(key_prefix)) return std::nullopt;
    std::uint64_t id  = 0;
    const auto    end = key.data() + key.size();
    if (std::from_chars(key.data() + key_prefix.size(), end, id, 16).ptr != end)
        return std::nullopt;
    return id;
}

/// A schema, and what its StructSchema points into.
struct loaded
{
    std::string         bytes;  ///< as they are recorded
    capnp::SchemaLoader loader;
};

// ---- JSON of bytes that nobody vouches for. -------------------------------------------------

/// Counts what a value would come to as text, before any of it is made. Some bits of a message
/// can stand for very much: a list of a million nothings takes a word.
class budget
{
public:
    bool fits(capnp::DynamicStruct::Reader s)
    {
        for (const auto field : s.getSchema().getNonUnionFields())
            if (!fits(s, field)) return false;
        KJ_IF_MAYBE (member, s.which()) {
            return fits(s, *member);
        }
        return true;
    }

private:
    bool fits(capnp::DynamicStruct::Reader s, capnp::StructSchema::Field field)
    {
        if (!take(1, field.getProto().getName().size())) return false;
        const auto type = field.getType();
        if (!type.isStruct() && !type.isList() && !type.isText() && !type.isData()) return true;
        return !s.has(field) || fits(s.get(field), type);
    }

    bool fits(capnp::DynamicValue::Reader v, capnp::Type type)
    {
        if (type.isText()) return take(1, v.as<capnp::Text>().size());
        if (type.isData()) return take(v.as<capnp::Data>().size(), 0);
        if (type.isStruct()) return fits(v.as<capnp::DynamicStruct>());
        if (!type.isList()) return true;
        const auto list = v.as<capnp::DynamicList>();
        if (!take(list.size(), 0)) return false;
        const auto of = type.asList().getElementType();
        if (!of.isStruct() && !of.isList() && !of.isText() && !of.isData()) return true;
        for (const auto element : list)
            if (!fits(element, of)) return false;
        return true;
    }

    bool take(std::size_t values, std::size_t bytes)
    {
        if (values > values_ || bytes > bytes_) return false;
        values_ -= values;
        bytes_ -= bytes;
        return true;
    }

    std::size_t values_ = values_max;
    std::size_t bytes_  = bytes_max;
};

/// How long the UTF-8 character at the front is; 0: it is none.
std::size_t character_at(std::string_view s)
{
    const auto byte = [&](std::size_t i) {
        return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u;
    };
    const auto follows = [&](std::size_t i) { return (byte(i) & 0xc0) == 0x80; };
    const auto first   = byte(0);
    if (first < 0x80) return 1;
    if (first < 0xc2 || !follows(1)) return 0;
    if (first < 0xe0) return 2;
    if (!follows(2)) return 0;
    if (first < 0xf0) {
        const bool overlong  = first == 0xe0 && byte(1) < 0xa0;
        const bool surrogate = first == 0xed && byte(1) >= 0xa0;
        return overlong || surrogate ? 0 : 3;
    }
    const bool overlong = first == 0xf0 && byte(1) < 0x90;
    const bool beyond   = first > 0xf4 || (first == 0xf4 && byte(1) >= 0x90);
    return overlong || beyond || !follows(3) ? 0 : 4;
}

/// JSON is UTF-8, and what is printed should play no tricks on a terminal: the codec passes on
/// what a text has, but for the control characters below U+0020.
std::optional<std::string> checked(std::string_view json)
{
    std::string all;
    all.reserve(json.size());
    while (!json.empty()) {
        const auto length = character_at(json);
        const auto first  = static_cast<unsigned char>(json[0]);
        if (length == 0) return std::nullopt;
        const auto control = length == 1 ? first : static_cast<unsigned char>(json[1]);
        if (first == 0x7f || (first == 0xc2 && control < 0xa0)) {
            constexpr char digits[] = "0123456789abcdef";
            all += "\\u00";
            all += digits[control >> 4];
            all += digits[control & 15];
        } else {
            all += json.substr(0, length);
        }
        json.remove_prefix(length);
    }
    return all;
}

std::optional<std::string> json_of(capnp::StructSchema schema, bytes_view value)
{
    constexpr auto word = sizeof(capnp::word);
    if (value.empty() || value.size() % word != 0) return std::nullopt;

    capnp::ReaderOptions limits;
    limits.nestingLimit          = 64;
    limits.traversalLimitInWords = 4 * (value.size() / word) + 2 * values_max;

    std::vector<std::uint64_t> aligned;
    const auto*                words = reinterpret_cast<const capnp::word*>(value.data());
    if (reinterpret_cast<std::uintptr_t>(value.data()) % word != 0) {
        aligned.resize(value.size() / word);
        std::copy(value.begin(), value.end(), reinterpret_cast<char*>(aligned.data()));
        words = reinterpret_cast<const capnp::word*>(aligned.data());
    }
    try {
        capnp::FlatArrayMessageReader message{kj::arrayPtr(words, value.size() / word), limits};
        const auto                    root = message.getRoot<capnp::DynamicStruct>(schema);
        if (!budget{}.fits(root)) return std::nullopt;
        const capnp::JsonCodec codec;
        const auto             text = codec.encode(root);
        return checked({text.begin(), text.size()});
    } catch (const kj::Exception&) {
        return std::nullopt;
    }
}

}  // namespace

struct schema_registry::impl
{
    explicit impl(commit_log l) : log{std::move(l)} { refresh(); }

    using known_schema = std::shared_ptr<const registered_schema>;

    // ---- What the log has. ------------------------------------------------------------------

    /// Takes in what was registered since.
    void refresh()
    {
        const std::lock_guard turn{refresh_mutex};
        if (!part) {
            if (!log.try_describe_topic(topic)) return;
            part.emplace(log.partition(topic, 0));
            next = part->start_offset();
        }
        if (next >= part->end_offset()) return;
        for (const auto& r : part->read(std::max(next, part->start_offset()))) {
            take(r);
            next = r.offset.next();
        }
        next = std::max(next, part->end_offset());
    }

    /// The topic has grown, or is there now.
    bool is_behind() const
    {
        const std::lock_guard turn{refresh_mutex};
        return part ? next < part->end_offset() : log.try_describe_topic(topic).has_value();
    }

    void take(const record_view& r)
    {
        const auto id = r.key ? id_of(*r.key) : std::nullopt;
        if (!id) return;
        auto read = r.value ? read_schema(*id, r) : nullptr;

        const std::unique_lock lock{known_mutex};
        if (read)
            known.insert_or_assign(*id, std::move(read));
        else
            known.erase(*id);
    }

    static known_schema read_schema(std::uint64_t id, const record_view& r)
    {
        auto holds   = std::make_shared<loaded>();
        holds->bytes = *r.value;
        try {
            detail::message opened{holds->bytes};
            const auto request = opened.opened().getRoot<capnp::schema::CodeGeneratorRequest>();
            // All of it is read before a loader sees it: 0.9's never comes back from a name that
            // is no text, for it wants to say whose name it was. It does not look at everything
            // either; what is done with a schema later is done once here, so that it cannot throw.
            if (!budget{}.fits(capnp::toDynamic(request))) return nullptr;
            for (const auto node : request.getNodes()) holds->loader.load(node);
            const auto schema = holds->loader.get(id).asStruct();
            (void)capnp_text(schema);
            (void)compare(schema, schema);

            registered_schema s;
            s.type_id          = id;
            s.name             = detail::short_name(schema);
            s.updated          = r.timestamp;
            s.since            = r.timestamp;
            s.position         = r.position;
            s.version          = detail::version_of(schema);
            s.schema           = schema;
            s.keeps            = holds;
            const auto display = detail::text_of(schema.getProto().getDisplayName());
            s.file             = display.substr(0, display.find(':'));
            if (const auto first = r.headers.find(since_header)) {
                std::int64_t ms = 0;
                if (std::from_chars(first->data(), first->data() + first->size(), ms).ec ==
                    std::errc{})
                    s.since = timestamp{ms};
            }
            return std::make_shared<registered_schema>(std::move(s));
        } catch (const kj::Exception&) {
            return nullptr;
        } catch (const error&) {
            return nullptr;
        }
    }

    known_schema at(std::uint64_t id) const
    {
        const std::shared_lock lock{known_mutex};
        const auto             found = known.find(id);
        return found == known.end() ? nullptr : found->second;
    }

    known_schema called(std::string_view name) const
    {
        const std::shared_lock lock{known_mutex};
        known_schema           newest;
        for (const auto& [id, e] : known)
            if (e->name == name && (!newest || e->position > newest->position)) newest = e;
        return newest;
    }

    /// What a record's headers say its type is.
    known_schema of(const record_view& r)
    {
        const auto by_id = r.headers.find(header_names::data_schema);
        const auto id    = by_id ? id_of(*by_id) : std::nullopt;
        const auto name  = id ? std::nullopt : r.headers.find(header_names::type);
        if (!id && !name) return nullptr;
        if (is_behind()) refresh();
        return id ? at(*id) : called(*name);
    }

    // ---- Adding. ----------------------------------------------------------------------------

    void add(std::span<const capnp::StructSchema> schemas)
    {
        for (;;) {
            append_request request;
            const bool     is_new = !log.try_describe_topic(topic);
            // Versions first: what is registered after them is met by the condition.
            for (const auto schema : schemas) {
                const stream_id stream{topic, key_of(schema.getProto().getId())};
                request.expect.push_back(
                    {stream,
                     expected_version::exactly(is_new ? version{0} : log.stream_version(stream))});
            }
            refresh();
            for (const auto schema : schemas) {
                const auto found = at(schema.getProto().getId());
                const auto bytes = detail::encode_schema(schema);
                if (!found || is_newer(*found, bytes, schema))
                    request.records.push_back({topic, record_of(bytes, schema, found)});
            }
            if (request.records.empty()) return;
            try {
                ensure_topic();
                if (log.try_append(request)) break;  // else another was quicker: look at it
            } catch (const error& e) {
                if (e.code() == errc::read_only) return;
                throw;
            }
        }
        refresh();
    }

    static bool is_newer(const registered_schema& found, const std::string& bytes,
                         capnp::StructSchema schema)
    {
        if (static_cast<const loaded*>(found.keeps.get())->bytes == bytes) return false;
        const auto changes = compare(found.schema, schema);
        if (changes.empty()) return false;
        // A type that does not say its version is older than one that does.
        const auto says = detail::version_of(schema);
        if (!breaks(changes)) return says >= found.version;
        if (says <= found.version && !breaks(compare(schema, found.schema))) return false;
        throw error{errc::incompatible_schema, complaint(changes)};
    }

    static std::string complaint(const std::vector<schema_change>& changes)
    {
        const auto kept =
            std::ranges::find(changes, schema_change::kind::version_kept, &schema_change::what);
        std::string text;
        for (const auto& c : changes) {
            if (!c.breaking() || c.what == schema_change::kind::version_kept) continue;
            text += (text.empty() ? "" : "; ") + c.where() + " " + c.text;
        }
        if (text.empty()) return kept->where() + " " + kept->text;
        return "events that are recorded could not be read any more: " + text +
               ". Leave what is there as it was and add a field at the end, or make a new "
               "struct with an id of its own; 'cairn schema check' compares beforehand";
    }

    void ensure_topic()
    {
        topic_config config;
        config.cleanup_delete  = false;
        config.cleanup_compact = true;
        log.ensure_topic(topic, 1, config);
    }

    static record record_of(const std::string& bytes, capnp::StructSchema schema,
                            const known_schema& before)
    {
        record r;
        r.key   = key_of(schema.getProto().getId());
        r.value = bytes;
        r.headers.push_back(
            {std::string{header_names::type}, std::string{detail::short_name(schema)}});
        r.headers.push_back({std::string{header_names::content_type}, "application/capnp"});
        if (before)
            r.headers.push_back({std::string{since_header}, std::to_string(before->since.value)});
        return r;
    }

    commit_log log;

    mutable std::mutex                    refresh_mutex;  ///< before known_mutex
    std::optional<cairn::partition>       part;
    offset                                next;
    mutable std::shared_mutex             known_mutex;
    std::map<std::uint64_t, known_schema> known;
};

schema_registry::schema_registry(commit_log log) : impl_{std::make_shared<impl>(std::move(log))} {}

void schema_registry::add(capnp::StructSchema schema)
{
    impl_->add({&schema, 1});
}

void schema_registry::add(std::span<const capnp::StructSchema> schemas)
{
    impl_->add(schemas);
}

std::vector<registered_schema> schema_registry::list() const
{
    impl_->refresh();
    std::vector<registered_schema> all;
    {
        const std::shared_lock lock{impl_->known_mutex};
        for (const auto& [id, e] : impl_->known) all.push_back(*e);
    }
    std::ranges::stable_sort(all, {}, &registered_schema::name);
    return all;
}

namespace {

std::optional<registered_schema> as_value(const std::shared_ptr<const registered_schema>& found)
{
    return found ? std::optional{*found} : std::nullopt;
}

}  // namespace

std::optional<registered_schema> schema_registry::find(std::uint64_t type_id) const
{
    impl_->refresh();
    return as_value(impl_->at(type_id));
}

std::optional<registered_schema> schema_registry::find(std::string_view name) const
{
    impl_->refresh();
    return as_value(impl_->called(name));
}

std::optional<registered_schema> schema_registry::find(const record_view& event) const
{
    return as_value(impl_->of(event));
}

std::optional<std::string> schema_registry::json(const record_view& event) const
try {
    if (!event.value) return std::nullopt;
    const auto found = impl_->of(event);
    return found ? json_of(found->schema, *event.value) : std::nullopt;
} catch (const error&) {  // __schemas does not read: as if nothing were known
    return std::nullopt;
}

}  // namespace cairn
