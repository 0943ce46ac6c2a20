// SPDX-License-Identifier: Apache-2.0
#include "fields.hpp"
#include "json.hpp"
#include "line_reader.hpp"
#include "moment.hpp"
#include "session.hpp"
#include "text.hpp"

#include <cairn/log/append.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <set>
#include <system_error>
#include <utility>

namespace cairn::cli {

namespace {

struct produce_options : common_options
{
    std::string                 topic;
    std::string                 file = "-";
    std::optional<std::string>  key;
    std::optional<std::string>  key_separator;
    std::optional<std::int64_t> key_field;
    std::string                 field_separator = ",";
    std::vector<std::string>    headers;
    std::optional<std::string>  type;
    std::vector<std::string>    tags;
    std::optional<std::int64_t> partition;
    std::optional<std::string>  expected;
    std::optional<std::string>  command_id;
    std::optional<std::string>  null_value;
    std::int64_t                batch        = 10'000;
    bool                        create_topic = false;
    std::int64_t                partitions   = 1;
    bool                        quiet        = false;

    /// All of the input is one append: conditions and ids are of an append.
    bool is_one_append() const { return expected || command_id; }
};

/// One append stays below this, so that it is a small part of the journal.
constexpr std::size_t append_bytes_max = 512 * 1024;

/// … but where all of the input has to be one append, which is kept in memory: as much as this.
constexpr std::size_t one_append_bytes_max = 64 * 1024 * 1024;

class input_file
{
public:
    explicit input_file(const std::string& name)
        : descriptor_{name == "-" ? STDIN_FILENO : ::open(name.c_str(), O_RDONLY | O_CLOEXEC)}
    {
        struct ::stat found = {};
        if (descriptor_ < 0 || ::fstat(descriptor_, &found) != 0)
            throw failure{"input_failed",
                          name + " cannot be read: " + std::generic_category().message(errno)};
        if (S_ISDIR(found.st_mode))
            throw failure{"input_failed", name + " is a directory; give a file, or - for stdin"};
        if (S_ISREG(found.st_mode)) size_ = static_cast<std::uint64_t>(found.st_size);
    }
    ~input_file()
    {
        if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
    }
    input_file(const input_file&)            = delete;
    input_file& operator=(const input_file&) = delete;

    int           descriptor() const noexcept { return descriptor_; }
    std::uint64_t size() const noexcept { return size_; }  ///< 0: not known

private:
    int           descriptor_;
    std::uint64_t size_ = 0;
};

/// Makes records of lines and appends them, many at a time.
class importer
{
public:
    importer(const produce_options& o, session& s)
        : o_{o},
          s_{s},
          log_{s.open_to_write(
              o, o.create_topic ? session::if_missing::make_it : session::if_missing::refuse)}
    {
        if (o.create_topic) log_.ensure_topic(o.topic, static_cast<std::int32_t>(o.partitions));
        topic_ = log_.describe_topic(o.topic);
        prepare();
    }

    int run()
    {
        const input_file file{o_.file};
        line_reader      lines{file.descriptor(),
                          static_cast<std::size_t>(topic_.config.max_message_bytes), [this] {
                              if (!o_.is_one_append()) append();
                          }};
        const auto       began = std::chrono::steady_clock::now();
        try {
            for (std::string_view line; !session::interrupted() && lines.next(line);) {
                add(line, lines.number());
                if (is_full()) append();
                if (!o_.quiet && lines.number() % 1024 == 0)
                    s_.progress().show("producing", lines.bytes(), file.size(), "bytes");
            }
            const bool whole = !session::interrupted();
            // What waits was read whole; but half of what had to be one append is none.
            if (whole || !o_.is_one_append()) append();
        } catch (...) {
            // What came before the fault is good; recorded, the message can say where to go on.
            if (std::exchange(may_append_rest_, false) && !o_.is_one_append()) append();
            s_.progress().clear();
            say_how_far();
            throw;
        }
        s_.progress().clear();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        report(took.count());
        if (!session::interrupted() || ::isatty(file.descriptor()) == 1) return 0;
        throw failure{"interrupted", "interrupted after line " + with_commas(recorded_) +
                                         "; what follows is not recorded"};
    }

private:
    void prepare()
    {
        for (const auto& text : o_.headers) {
            const auto at = text.find('=');
            if (at == std::string::npos || at == 0)
                throw usage_error{"--header: '" + text + "' should be NAME=VALUE"};
            headers_.push_back({text.substr(0, at), text.substr(at + 1)});
        }
        if (o_.type) headers_.push_back({std::string{header_names::type}, *o_.type});
        if (!o_.tags.empty())
            headers_.push_back({std::string{header_names::tags}, join_tags(o_.tags)});
        if (o_.partition) {
            if (!std::in_range<std::int32_t>(*o_.partition))
                throw usage_error{"--partition: there is no such partition"};
            partition_ = static_cast<std::int32_t>(*o_.partition);
        }
        if (o_.key_separator) key_separator_ = unescape(*o_.key_separator, "--key-separator");
        field_separator_ = unescape(o_.field_separator, "--field-separator");
        if (o_.expected) expected_ = expected_version::parse(*o_.expected);
        if (field_separator_.empty()) throw usage_error{"--field-separator must not be empty"};
        if (o_.key_separator && key_separator_.empty())
            throw usage_error{"--key-separator must not be empty"};
    }

    void add(std::string_view line, std::uint64_t number)
    {
        // The records of the last append are used again, for their memory.
        if (used_ == request_.records.size()) {
            append_record fresh;
            fresh.topic          = o_.topic;
            fresh.partition      = partition_;
            fresh.record.headers = headers_;
            request_.records.push_back(std::move(fresh));
        }
        auto& r = request_.records[used_].record;

        const auto [key, value] = key_and_value(line, number);
        assign(r.key, key);
        if (o_.null_value && value == *o_.null_value)
            r.value.reset();
        else
            assign(r.value, value);
        if (expected_ && key) streams_.emplace(*key);
        ++used_;
        bytes_ += line.size() + (key ? key->size() : 0);

        if (o_.is_one_append() && bytes_ > one_append_bytes_max)
            throw failure{"input_failed",
                          "with --expected-version or --command-id all of the input is one append, "
                          "and this is more than " +
                              as_size(one_append_bytes_max)};
    }

    static void assign(std::optional<std::string>& to, const std::optional<std::string_view>& from)
    {
        if (!from)
            to.reset();
        else if (to)
            to->assign(*from);
        else
            to.emplace(*from);
    }

    std::pair<std::optional<std::string_view>, std::string_view> key_and_value(
        std::string_view line, std::uint64_t number)
    {
        if (o_.key) return {*o_.key, line};
        if (o_.key_field) {
            const auto key =
                field_of(line, static_cast<std::size_t>(*o_.key_field), field_separator_, scratch_);
            if (!key)
                throw failure{"input_failed", "line " + with_commas(number) + " has no field " +
                                                  std::to_string(*o_.key_field) +
                                                  "; the fields are separated by '" +
                                                  printable(field_separator_) +
                                                  "' (--field-separator)"};
            return {*key, line};
        }
        if (o_.key_separator) {
            const auto at = line.find(key_separator_);
            if (at == std::string_view::npos)
                throw failure{"input_failed", "line " + with_commas(number) +
                                                  " has no key: there is no '" +
                                                  printable(key_separator_) + "' in it"};
            return {line.substr(0, at), line.substr(at + key_separator_.size())};
        }
        return {std::nullopt, line};
    }

    bool is_full() const
    {
        if (o_.is_one_append()) return false;
        return used_ >= static_cast<std::size_t>(o_.batch) || bytes_ >= append_bytes_max;
    }

    void append()
    {
        if (used_ == 0) return;
        request_.records.resize(used_);
        request_.command_id = o_.command_id;
        request_.expect.clear();
        for (const auto& key : streams_) request_.expect.push_back({{o_.topic, key}, *expected_});

        may_append_rest_ = false;  // if this fails, so would another try
        try {
            record(log_.append(request_));
        } catch (const error& fault) {
            if (fault.code() != errc::record_too_large || used_ == 1 || o_.is_one_append()) throw;
            append_one_by_one();  // all but the one that is too large are welcome
        }
        may_append_rest_ = true;
        used_            = 0;
        bytes_           = 0;
    }

    void append_one_by_one()
    {
        const auto     all = std::exchange(request_.records, {});
        append_request one;
        for (const auto& r : all) {
            one.records.assign(1, r);
            try {
                used_  = 1;
                bytes_ = r.record.value.value_or("").size();
                record(log_.append(one));
            } catch (const error& fault) {
                throw error{fault.code(),
                            "line " + with_commas(recorded_ + 1) + ": " + fault.what()};
            }
        }
    }

    void record(const receipt& done)
    {
        if (appends_++ == 0) first_ = done.first;
        last_ = done.last();
        recorded_ += done.repeated ? 0 : used_;
        recorded_bytes_ += done.repeated ? 0 : bytes_;
        repeated_ |= done.repeated;
    }

    void say_how_far()
    {
        if (recorded_ == 0) return;
        s_.note("recorded lines 1 to " + with_commas(recorded_) +
                "; when the cause is mended, go on with: tail -n +" +
                std::to_string(recorded_ + 1));
    }

    void report(double seconds)
    {
        if (o_.json()) {
            std::string line;
            json_writer json{line};
            json.begin_object().field("topic", o_.topic).field("records", recorded_);
            json.field("bytes", recorded_bytes_).field("appends", appends_);
            json.field("repeated", repeated_);
            json.field("first_position", position_of(first_));
            json.field("last_position", position_of(last_)).field("seconds", seconds);
            json.end_object();
            s_.out().write(line + '\n');
            return;
        }
        if (o_.quiet) return;
        if (repeated_) {
            s_.out().write("had been recorded before, at position " + std::to_string(first_.value) +
                           '\n');
            return;
        }
        std::string line = counted(recorded_, "record") + " to " + o_.topic;
        if (recorded_ == 1)
            line += ", position " + std::to_string(first_.value);
        else if (recorded_ > 0)
            line += ", positions " + std::to_string(first_.value) + " to " +
                    std::to_string(last_.value);
        if (seconds > 0.5)
            line +=
                "; " + as_duration(seconds) + ", " +
                with_commas(static_cast<std::uint64_t>(static_cast<double>(recorded_) / seconds)) +
                "/s";
        s_.out().write(line + '\n');
    }

    std::optional<std::int64_t> position_of(position p) const
    {
        return appends_ > 0 ? std::optional{p.value} : std::nullopt;
    }

    const produce_options& o_;
    session&               s_;
    commit_log             log_;
    topic_description      topic_;

    std::vector<header>             headers_;
    std::optional<std::int32_t>     partition_;
    std::optional<expected_version> expected_;
    std::string                     key_separator_;
    std::string                     field_separator_;
    std::string                     scratch_;

    append_request        request_;
    std::set<std::string> streams_;  ///< of the append that --expected-version is about
    std::size_t           used_  = 0;
    std::size_t           bytes_ = 0;

    std::uint64_t recorded_        = 0;
    std::uint64_t recorded_bytes_  = 0;
    std::uint64_t appends_         = 0;
    bool          repeated_        = false;
    bool          may_append_rest_ = true;
    position      first_;
    position      last_;
};

void check(const produce_options& o)
{
    if (o.key.has_value() + o.key_separator.has_value() + o.key_field.has_value() > 1)
        throw usage_error{"--key, --key-separator and --key-field exclude each other"};
    if (o.key_field && *o.key_field < 1) throw usage_error{"--key-field counts from 1"};
    if (o.batch < 1) throw usage_error{"--batch must be at least 1"};
    if (o.expected && !o.key && !o.key_separator && !o.key_field)
        throw usage_error{
            "--expected-version is about the stream of a key: give --key, "
            "--key-separator or --key-field"};
    if (!std::in_range<std::int32_t>(o.partitions))
        throw usage_error{"--partitions: " + std::to_string(o.partitions) + " is too large"};
    if (o.expected) expected_version::parse(*o.expected);
}

}  // namespace

void add_produce(command& root)
{
    auto  o = std::make_shared<produce_options>();
    auto& c = root.add("produce", "Append lines of a file or of stdin to a topic");
    c.text(
        "Each line becomes a record, byte for byte without its newline; a carriage return "
        "before it stays. An empty line is an empty value. When the command ends with 0, all "
        "of them are on disk.");
    c.text(
        "Lines are appended many at a time as long as more of them are there, and at once when "
        "the next one has to be waited for: a file goes in fast, and a line typed is recorded "
        "when Enter is pressed. A line that cannot be recorded ends the command; those before "
        "it are recorded, and it says how far it came.");
    c.text(
        "With --expected-version or --command-id all of the input is one append: it is recorded "
        "whole or not at all.");
    c.argument("TOPIC", o->topic, "Where to.").completes = completion::topic;
    c.value("--file", "FILE", o->file, "Read this, not stdin; - is stdin.").completes =
        completion::file;
    c.value("-k,--key", "KEY", o->key, "The key of all records.");
    c.value("-K,--key-separator", "TEXT", o->key_separator,
            "A line is KEY TEXT VALUE: what stands before the first TEXT is the key, what follows "
            "is the value. \\t and such are understood.");
    c.value("--key-field", "N", o->key_field,
            "The key is the Nth field of the line, from 1; the value is the whole line. A field in "
            "double quotes is read as in CSV.");
    c.value("--field-separator", "TEXT", o->field_separator,
            "What is between the fields; without it, a comma.");
    c.values("-H,--header", "NAME=VALUE", o->headers,
             "A header that all records get; may be repeated.");
    c.value("--type", "TYPE", o->type,
            "The type that queries find the records by: the header ce_type.");
    c.values("--tag", "TAG", o->tags,
             "A tag that queries find the records by; may be repeated: the header ce_tags.");
    c.value("-p,--partition", "N", o->partition,
            "Put all of them there; without it, the key decides.");
    c.value("--expected-version", "VERSION", o->expected,
            "Append only if the stream of each key has this many records: a number, no_stream, "
            "exists or any. Refused with code wrong_expected_version otherwise.");
    c.value("--command-id", "ID", o->command_id,
            "Append once: with an ID that was recorded before, nothing is.");
    c.value("--null-value", "MARK", o->null_value,
            "A value that is exactly MARK is null: in a compacted topic, the end of its key.");
    c.value("--batch", "N", o->batch, "At most this many records an append; without it, 10000.");
    c.flag("--create-topic", o->create_topic, "Make the topic, and the log, where there is none.");
    c.value("--partitions", "N", o->partitions,
            "How many partitions --create-topic gives it; without it, 1.");
    c.flag("-q,--quiet", o->quiet, "Say nothing when all went well.");
    add_data_option(c, *o);
    add_format_option(c, *o);
    c.json("one object when all is recorded",
           {{"topic", "Where to."},
            {"records", "How many were recorded."},
            {"bytes", "Of their keys and values."},
            {"appends", "In how many appends."},
            {"repeated", "Whether --command-id had been recorded before."},
            {"first_position", "Of the first record; null where there was none."},
            {"last_position", "Of the last."},
            {"seconds", "How long it took."}});
    c.shows("echo 'o-1:placed' | cairn produce orders -K :", "Key o-1, value placed.");
    c.shows("cairn produce sales --file sales.csv --key-field 1",
            "A CSV file, keyed by its first column; the values are the whole lines.");
    c.shows("echo 'o-1:paid' | cairn produce orders -K : --expected-version 1",
            "Only if o-1 has exactly one record.");
    c.shows("echo '{}' | cairn produce orders -k o-2 --type OrderPlaced --tag customer:7",
            "A record that 'cairn query --type OrderPlaced' finds.");
    c.shows("journalctl -f | cairn produce journal --create-topic",
            "A line is recorded as soon as it is written.");
    c.does([o](session& s) {
        check(*o);
        return importer{*o, s}.run();
    });
}

}  // namespace cairn::cli
