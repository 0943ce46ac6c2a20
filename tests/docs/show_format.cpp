// SPDX-License-Identifier: Apache-2.0
//
// The worked example of docs/internals/file-format.md: makes a log with one record in it, and
// takes its files apart, byte by byte.
//
//     show_format FORMAT | journal | segment | index | state
//
// The secret of FORMAT and the clock are given, so that what is printed is the same in each run
// but for a topic's id and a journal file's salt, which are random. It uses none of the code that
// reads these files: it is written by the page.
#include "main/files.hpp"
#include "main/temporary_directory.hpp"

#include <cairn/log/commit_log.hpp>
#include <cairn/log/crc32c.hpp>

#include <lmdb.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace {

using namespace cairn;
using cairn::testing::read_bytes;

// ---- The example. -----------------------------------------------------------------------------

constexpr const char* format_text =
    "cairn 1\n"
    "cluster Y2Fpcm4tZXhhbXBsZS0xIQ\n"
    "secret 000102030405060708090a0b0c0d0e0f\n";

commit_log make_example(const std::string& directory)
{
    for (const char* name : {"", "/journal", "/log", "/index"})
        std::filesystem::create_directories(directory + name);
    char check[32];
    std::snprintf(check, sizeof check, "check %08x\n", crc32c(format_text));
    std::ofstream{directory + "/FORMAT"} << format_text << check;

    log_options options;
    options.clock             = [] { return timestamp{1'700'000'000'000}; };
    options.merge_interval    = std::chrono::hours{1};
    options.segment_bytes_max = 64 << 20;
    auto log                  = commit_log::open(directory, std::move(options));
    log.create_topic("orders");
    log.append({.records = {{"orders",
                             {.key     = "o-1",
                              .value   = "placed",
                              .headers = {{"ce_type", "OrderPlaced"}, {"ce_tags", "vip"}}}}}});
    log.groups().commit("billing", {{.at = {"orders", 0}, .offset = offset{1}}});
    return log;
}

/// The one file of a directory whose name ends so; the first of them.
std::filesystem::path find(const std::string& directory, const std::string& suffix)
{
    std::filesystem::path found;
    for (const auto& entry : std::filesystem::directory_iterator{directory})
        if (entry.path().string().ends_with(suffix) && (found.empty() || entry.path() < found))
            found = entry.path();
    if (found.empty()) throw std::runtime_error{"no " + suffix + " in " + directory};
    return found;
}

// ---- Printing. --------------------------------------------------------------------------------

std::string hex(std::string_view bytes)
{
    std::string text;
    char        two[4];
    for (const char c : bytes) {
        std::snprintf(two, sizeof two, "%02x ", static_cast<unsigned char>(c));
        text += two;
    }
    return text;
}

/// Goes through bytes and says of each field where it is, what it is, and what it means.
class walk
{
public:
    explicit walk(std::string_view bytes, std::size_t from = 0) : bytes_{bytes}, at_{from} {}

    void field(std::size_t size, const std::string& what)
    {
        const auto          bytes = bytes_.substr(at_, size);
        constexpr std::size_t columns = 8;
        for (std::size_t i = 0; i < bytes.size(); i += columns)
            std::printf("%6zu  %-24s  %s\n", at_ + i, hex(bytes.substr(i, columns)).c_str(),
                        i == 0 ? what.c_str() : "");
        at_ += size;
    }
    void little(std::size_t size, const std::string& what) { number(size, what, false); }
    void big(std::size_t size, const std::string& what) { number(size, what, true); }
    void text(std::size_t size, const std::string& what)
    {
        field(size, what + " \"" + std::string{bytes_.substr(at_, size)} + "\"");
    }
    /// Not shown.
    void pass(std::size_t size, const char* what)
    {
        std::printf("%6zu  ...                       %zu bytes: %s\n", at_, size, what);
        at_ += size;
    }
    void to(std::size_t at) { at_ = at; }

    std::uint64_t peek(std::size_t at, std::size_t size, bool big) const
    {
        std::uint64_t n = 0;
        for (std::size_t i = 0; i < size; ++i) {
            const auto byte = static_cast<std::uint8_t>(bytes_[big ? at + i : at + size - 1 - i]);
            n               = n << 8 | byte;
        }
        return n;
    }
    std::size_t at() const { return at_; }

private:
    void number(std::size_t size, const std::string& what, bool big)
    {
        auto value = static_cast<std::int64_t>(peek(at_, size, big));
        if (size == 4) value = static_cast<std::int32_t>(value);
        if (size == 2) value = static_cast<std::int16_t>(value);
        field(size, what + " " + std::to_string(value));
    }

    std::string_view bytes_;
    std::size_t      at_;
};

void heading(const std::string& text) { std::printf("%s\n", text.c_str()); }

/// A RecordBatch v2 with one record, whose parts are less than 64 bytes each.
void show_batch(walk& w)
{
    w.big(8, "baseOffset");
    w.big(4, "batchLength");
    w.big(4, "partitionLeaderEpoch");
    w.field(1, "magic");
    w.field(4, "CRC-32C of what follows");
    w.field(2, "attributes");
    w.big(4, "lastOffsetDelta");
    w.big(8, "baseTimestamp");
    w.big(8, "maxTimestamp");
    w.big(8, "producerId");
    w.big(2, "producerEpoch");
    w.big(4, "baseSequence");
    w.big(4, "recordCount");
    w.field(1, "record: length, a zigzag varint");
    w.field(1, "        attributes");
    w.field(2, "        timestampDelta, offsetDelta");
    const auto part = [&](const char* what) {
        const auto size = w.peek(w.at(), 1, false) / 2;
        w.field(1, std::string{"        length of "} + what);
        w.text(size, std::string{"        "} + what);
    };
    part("the key");
    part("the value");
    const auto headers = w.peek(w.at(), 1, false) / 2;
    w.field(1, "        number of headers");
    for (std::uint64_t i = 0; i < headers; ++i) {
        part("a name");
        part("its value");
    }
}

// ---- The files. -------------------------------------------------------------------------------

void show_journal(const std::string& directory)
{
    const auto path  = find(directory + "/journal", ".jnl");
    const auto bytes = read_bytes(path);
    walk       w{bytes};
    heading("journal/" + path.filename().string() + ", " + std::to_string(bytes.size()) +
            " bytes: its header");
    w.text(8, "magic");
    w.little(4, "version");
    w.little(4, "bytes of a sector");
    w.little(8, "generation");
    w.field(8, "salt, random");
    w.little(8, "bytes of the file");
    w.little(8, "earlier files end at position");
    w.to(508);
    w.field(4, "CRC-32C of the 508 bytes before");

    // The first group is the topic's creation; the one after it is the example's record.
    const auto first_payload = w.peek(512 + 28, 4, false);
    const auto second        = 512 + (40 + first_payload + 503) / 504 * 512;
    heading("\nthe group of the record");
    w.to(second);
    w.text(8, "magic");
    w.field(8, "the file's salt");
    w.little(8, "first position");
    w.little(4, "positions");
    w.little(4, "bytes of the payload");
    w.field(4, "CRC-32C of payload and zeros");
    w.field(4, "CRC-32C of the 36 bytes before");
    w.little(4, "payload: partition uid");
    w.little(4, "         bytes of the batch");
    show_batch(w);
    w.pass(second + 504 - w.at(), "zeros");
    w.field(4, "tag: generation * 2, + 1: a group begins here");
    w.field(4, "     CRC-32C of that and of the sector's number");
}

class lmdb_file
{
public:
    explicit lmdb_file(const std::string& path)
    {
        check(mdb_env_create(&env_));
        check(mdb_env_set_maxdbs(env_, 8));
        check(mdb_env_open(env_, path.c_str(), MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0644));
        check(mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn_));
    }
    ~lmdb_file()
    {
        mdb_txn_abort(txn_);
        mdb_env_close(env_);
    }
    lmdb_file(const lmdb_file&)            = delete;
    lmdb_file& operator=(const lmdb_file&) = delete;

    /// The value with that key.
    std::string_view get(const char* database, std::string key)
    {
        MDB_dbi dbi = 0;
        check(mdb_dbi_open(txn_, database, 0, &dbi));
        MDB_val k{key.size(), key.data()}, v{};
        check(mdb_get(txn_, dbi, &k, &v));
        std::printf("\n\"%s\": key %s\n", database, hex(key).c_str());
        return {static_cast<const char*>(v.mv_data), v.mv_size};
    }

private:
    static void check(int rc)
    {
        if (rc != MDB_SUCCESS) throw std::runtime_error{mdb_strerror(rc)};
    }

    MDB_env* env_ = nullptr;
    MDB_txn* txn_ = nullptr;
};

void show_segment(const std::string& directory)
{
    const auto path = find(directory + "/log", ".seg");
    heading("log/" + path.filename().string());
    lmdb_file         file{path.string()};
    const std::string uid{"\0\0\0\2", 4};
    {
        const auto run = file.get("batches", uid + std::string(8, '\0'));
        walk       w{run};
        w.field(4, "run: check");
        w.little(4, "     batches");
        w.little(8, "     max timestamp");
        w.little(4, "directory: base offset - the first's");
        w.little(4, "           the envelope begins at");
        w.field(4, "envelope: check");
        w.little(4, "          flags");
        w.little(8, "          position");
        w.little(8, "          end offset of the batch before");
        w.little(8, "          end position of the batch before");
        w.pass(run.size() - w.at(), "the RecordBatch, as in the journal");
    }
    {
        const auto block = file.get("commits", std::string(8, '\0'));
        walk       w{block};
        for (std::size_t i = 0; i < block.size() / 20; ++i) {
            w.little(4, "position - position of the first");
            w.little(4, "  partition uid");
            w.little(8, "  the run: base offset of its first batch");
            w.little(4, "  which batch in it");
        }
    }
    {
        walk w{file.get("partitions", uid)};
        w.field(4, "check");
        w.field(4, "zero");
        w.little(8, "first offset");
        w.little(8, "end offset");
        w.little(8, "bytes of its batches");
        w.little(8, "batches");
        w.little(8, "max timestamp");
        w.little(8, "min timestamp");
    }
    {
        walk w{file.get("meta", "state")};
        w.field(4, "check");
        w.little(4, "format");
        w.little(8, "first position");
        w.little(8, "end position");
        w.little(8, "end position of the last batch");
        w.little(4, "flags");
        w.little(4, "partitions");
        w.little(8, "sum of the partitions' checks");
        w.little(8, "batches");
        w.little(8, "bytes of the slice");
        w.field(4, "CRC-32C of the slice");
        w.field(4, "zero");
    }
}

void show_index(const std::string& directory)
{
    const auto path  = find(directory + "/index", ".run");
    const auto bytes = read_bytes(path);
    walk       w{bytes};
    heading("index/" + path.filename().string() + ", " + std::to_string(bytes.size()) + " bytes");
    w.text(8, "magic");
    w.little(4, "version");
    w.field(4, "check of the header");
    w.little(8, "first position");
    w.little(8, "end position");
    w.field(8, "tells whether the hashes are of this log's secret");
    w.little(8, "bytes of the run");
    w.little(8, "streams");
    w.little(8, "postings of streams in blocks");
    w.little(8, "types and tags");
    w.little(8, "their positions in blocks");
    w.little(8, "commands");
    w.pass(424, "zeros");

    const auto block = [&] {
        w.field(4, "table block: check");
        w.little(4, "  number of its first entry");
        w.little(4, "  how many");
        w.field(4, "  low 16 bits of their hashes");
        w.pass(48, "zeros");
    };
    heading("\nstreams");
    w.to(512);
    block();
    w.to(1024);
    w.field(4, "entry: check");
    w.little(4, "  count of events");
    w.field(16, "  hash of uid 2 and \"o-1\"");
    w.little(8, "  version of the first");
    w.little(8, "  offset of the first");
    w.little(4, "  partition uid");
    w.little(4, "  position of the first - the run's first");
    w.little(4, "  position of the last");
    w.little(4, "  offset of the last - of the first");
    w.little(4, "  where the record begins in its batch's payload");
    w.field(4, "  CRC-32C of the record");
    heading("\ntypes and tags, and the newest of the commit");
    w.to(1536);
    block();
    w.to(2048);
    for (int i = 0; i < 3; ++i) {
        w.field(4, "entry: check");
        w.little(4, "  count");
        w.field(16, "  hash");
        w.field(16, "  their positions - the run's first");
    }
}

void show_state(const std::string& directory)
{
    const auto bytes = read_bytes(directory + "/index/folded.state");
    walk       w{bytes};
    heading("index/folded.state, " + std::to_string(bytes.size()) + " bytes");
    w.text(8, "magic");
    w.field(4, "CRC-32C of what follows");
    w.big(8, "of the log below position");
    const auto records = [&](const char* topic) {
        const auto n = w.peek(w.at(), 4, true);
        w.big(4, std::string{"records of "} + topic + ":");
        return n;
    };
    const auto part = [&](const char* what) {
        const auto size = w.peek(w.at(), 4, true);
        w.big(4, std::string{"  length of the "} + what);
        return static_cast<std::size_t>(size);
    };
    records("__topics");
    w.text(part("key"), "  key");
    w.text(part("value"), "  value");
    w.text(part("key"), "  key");
    w.pass(part("value"), "the lines shown above");
    records("__consumer_offsets");
    part("key");
    w.big(2, "  key: OffsetCommitKey");
    const auto string = [&](const char* what) {
        const auto size = static_cast<std::size_t>(w.peek(w.at(), 2, true));
        w.big(2, std::string{"  length of the "} + what);
        w.text(size, std::string{"  "} + what);
    };
    string("group");
    string("topic");
    w.big(4, "  partition");
    part("value");
    w.big(2, "  value: OffsetCommitValue");
    w.big(8, "  offset");
    w.big(4, "  leader epoch");
    w.big(2, "  length of the metadata");
    w.big(8, "  committed at");
    w.big(4, "bytes of what producers sent:");
}

}  // namespace

int main(int argc, char** argv)
{
    const std::string                  what = argc > 1 ? argv[1] : "";
    const testing::temporary_directory folder;
    const std::string                  data = folder / "data";
    auto                               log  = make_example(data);
    if (what == "journal") {
        show_journal(data);  // before it is merged, and the file used again
        return 0;
    }
    log.merge();
    log.close();
    if (what == "FORMAT")
        std::printf("%s", read_bytes(data + "/FORMAT").c_str());
    else if (what == "segment")
        show_segment(data);
    else if (what == "index")
        show_index(data);
    else if (what == "state")
        show_state(data);
    else
        return 2;
}
