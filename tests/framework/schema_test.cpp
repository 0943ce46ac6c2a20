// SPDX-License-Identifier: Apache-2.0
#include "account.hpp"
#include "main/complaint.hpp"
#include "schema_tree.hpp"

#include <cairn/framework/repository.hpp>
#include <cairn/framework/schema.hpp>

#include <capnp/compat/json.h>
#include <capnp/dynamic.h>
#include <capnp/schema-parser.h>
#include <capnp/serialize.h>
#include <kj/filesystem.h>
#include <catch2/catch.hpp>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <set>
#include <thread>

#include <unistd.h>

using namespace cairn;
using namespace cairn::testing;
using kind = schema_change::kind;

namespace {

/// A struct `Placed` as a .capnp file would have it: another text is another version of it.
class version_of_placed
{
public:
    explicit version_of_placed(const std::string& fields, const std::string& name = "Placed",
                               const std::string& annotation = "")
    {
        write("cairn/event.capnp",
              "@0xc5a1e7d0b3f24968; annotation tag @0xe3b6d9a24f7c8150 (field) :Text;"
              "annotation other @0xe3b6d9a24f7c8151 (field) :Text;"
              "annotation key @0x962eb5d7d2eac902 (field) :Void;"
              "annotation version @0xf9e4abc4ace1a954 (struct) :UInt32;");
        write("order.capnp",
              "@0xb1b1b1b1b1b1b1b1;"
              "using Cairn = import \"/cairn/event.capnp\";"
              "struct " +
                  name + " @0xd0d0d0d0d0d0d0d1 " + annotation + "{" + fields + "}");
        const kj::ReadableDirectory* imports[] = {directory_.get()};
        schema = parser_.parseFromDirectory(*directory_, kj::Path{"order.capnp"}, imports)
                     .getNested(name.c_str())
                     .asStruct();
    }

    capnp::StructSchema schema;

private:
    void write(const char* path, const std::string& text)
    {
        directory_
            ->openFile(kj::Path::parse(path), kj::WriteMode::CREATE | kj::WriteMode::CREATE_PARENT)
            ->writeAll(text.c_str());
    }

    kj::Own<const kj::Directory> directory_ = kj::newInMemoryDirectory(kj::nullClock());
    capnp::SchemaParser          parser_;
};

const std::string first_version = R"(
    customer @0 :Text $Cairn.tag("customer");
    cents    @1 :UInt64;
    count    @2 :UInt32 = 1;
    kind     @3 :Kind;
    lines    @4 :List(Line);
    union { card @5 :Text; invoice @6 :UInt32; cash @7 :Void; }
    address :group { street @8 :Text; number @9 :UInt16; }
    enum Kind { retail @0; wholesale @1; }
    struct Line { sku @0 :Text; quantity @1 :UInt32; }
)";

std::string with(const std::string& what, const std::string& instead)
{
    auto       text = first_version;
    const auto at   = text.find(what);
    REQUIRE(at != std::string::npos);
    return text.replace(at, what.size(), instead);
}

/// "kind where text", of each change.
std::vector<std::string> changes_to(const std::string& fields, const std::string& name = "Placed")
{
    const version_of_placed  old{first_version}, now{fields, name};
    std::vector<std::string> all;
    for (const auto& c : compare(old.schema, now.schema))
        all.push_back((c.breaking() ? "! " : "") + std::string{cairn::name(c.what)} + ": " +
                      c.where() + " " + c.text);
    return all;
}

using lines = std::vector<std::string>;

/// Of an incompatible_schema.
template <class F>
std::string refusal_of(F&& fails)
{
    const auto c = complaint_of(std::forward<F>(fails));
    REQUIRE(c);
    CHECK(*c == errc::incompatible_schema);
    return c->what;
}

/// An order of the first version, with something in each field.
std::string an_order(capnp::StructSchema schema)
{
    capnp::MallocMessageBuilder message;
    auto                        order = message.initRoot<capnp::DynamicStruct>(schema);
    order.set("customer", "Ada");
    order.set("cents", 1999);
    order.set("kind", "wholesale");
    auto bought = order.init("lines", 2).as<capnp::DynamicList>();
    bought[0].as<capnp::DynamicStruct>().set("sku", "lamp");
    bought[1].as<capnp::DynamicStruct>().set("quantity", 3);
    order.set("invoice", 7);
    order.init("address").as<capnp::DynamicStruct>().set("street", "Main \"St\" \x7f\xc2\x9b");
    const auto words = capnp::messageToFlatArray(message);
    const auto bytes = words.asBytes();
    return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

const std::string order_as_json =
    R"({"customer":"Ada","cents":"1999","count":1,"kind":"wholesale",)"
    R"("lines":[{"sku":"lamp","quantity":0},{"quantity":3}],"invoice":7,)"
    R"("address":{"street":"Main \"St\" \u007f\u009b","number":0}})";

/// A log that knows Placed, with a topic for orders.
struct placed_log
{
    explicit placed_log(const std::string& fields = first_version) : placed{fields}
    {
        log.create_topic("orders");
        schemas.add(placed.schema);
    }

    version_of_placed placed;
    commit_log        log = commit_log::in_memory();
    schema_registry   schemas{log};
};

const std::string placed_id = "capnp:d0d0d0d0d0d0d0d1";

void record_value(commit_log& log, const std::string& value)
{
    log.append({.records = {{"orders",
                             {.key     = "o-1",
                              .value   = value,
                              .headers = {{"ce_dataschema", placed_id}, {"ce_type", "Placed"}}}}}});
}

std::optional<std::string> json_of_last(const commit_log& log, const schema_registry& schemas)
{
    auto        range = log.read_all_backwards();
    const auto* r     = range.next();
    REQUIRE(r);
    return schemas.json(*r);
}

std::uint64_t seed()
{
    const char* given = std::getenv("CAIRN_SEED");
    return given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

std::size_t rounds(std::size_t usually)
{
    return std::getenv("CAIRN_LONG") ? 20 * usually : usually;
}

}  // namespace

TEST_CASE("what may change: fields and enumerants are added, things are renamed, annotations")
{
    CHECK(changes_to(first_version).empty());
    CHECK(changes_to(with("enum Kind", "note @10 :Text; enum Kind")) ==
          lines{"field_added: Placed.note is new, @10 :Text"});
    CHECK(changes_to(with("cents    @1", "pence @1")) ==
          lines{"field_renamed: Placed.cents is called pence now"});
    CHECK(changes_to(with("street @8", "road @8")) ==
          lines{"field_renamed: Placed.address.street is called address.road now"});
    CHECK(changes_to(first_version, "Ordered") ==
          lines{"type_renamed: Placed is called Ordered now"});
    CHECK(changes_to(with("wholesale @1;", "wholesale @1; gift @2;")) ==
          lines{"enumerant_added: Kind.gift is new, @2"});
    CHECK(changes_to(with("quantity @1 :UInt32;", "quantity @1 :UInt32; note @2 :Text;")) ==
          lines{"field_added: Line.note is new, @2 :Text"});
    CHECK(changes_to(with("cash @7 :Void;", "cash @7 :Void; gift @10 :Void;")) ==
          lines{"field_added: Placed.gift is new, @10 :Void"});
    CHECK(changes_to(with("cents    @1 :UInt64", "cents @1 :UInt64 $Cairn.other(\"x\")")) ==
          lines{"annotation_changed: Placed.cents had no annotation and has "
                "$0xe3b6d9a24f7c8151(\"x\")"});
}

TEST_CASE("a tag that changed is said, and breaks nothing")
{
    CHECK(changes_to(with("Cairn.tag(\"customer\")", "Cairn.tag(\"buyer\")")) ==
          lines{"tag_changed: Placed.customer had $Cairn.tag(\"customer\") and has "
                "$Cairn.tag(\"buyer\"); old events keep the tags that they have"});
}

TEST_CASE("what may not change: what old events say would be read as something else")
{
    CHECK(changes_to(with("number @9 :UInt16;", "")) ==
          lines{"! field_removed: Placed.address.number was @9 and is gone"});
    CHECK(changes_to(with("cents    @1 :UInt64", "cents @1 :Int64")) ==
          lines{"! type_changed: Placed.cents was UInt64 and is Int64"});
    CHECK(changes_to(with("List(Line)", "List(Text)")) ==
          lines{"! type_changed: Placed.lines was List(Line) and is List(Text)"});
    CHECK(changes_to(with("count    @2 :UInt32 = 1", "count @2 :UInt32 = 2")) ==
          lines{"! default_changed: Placed.count was 1 where it is not set, and is 2"});
    CHECK(changes_to(with("retail @0; wholesale @1;", "retail @0;")) ==
          lines{"! enumerant_changed: Kind.wholesale was @1 and is gone"});
    CHECK(changes_to(with("retail @0; wholesale @1;", "retail @0; bulk @1;")) ==
          lines{"! enumerant_changed: Kind.wholesale is called bulk now"});
    CHECK(changes_to(with("retail @0; wholesale @1;", "wholesale @0; retail @1;")) ==
          lines{"! enumerant_changed: Kind.retail was @0 and is @1",
                "! enumerant_changed: Kind.wholesale was @1 and is @0"});
    CHECK(changes_to(with("quantity @1 :UInt32;", "")) ==
          lines{"! field_removed: Line.quantity was @1 and is gone",
                "! struct_shrunk: Line had 1 words of data and 1 pointers and has 0 words of data "
                "and 1 pointers"});

    const auto swapped = changes_to(
        with("street @8 :Text; number @9 :UInt16;", "number @8 :UInt16; street @9 :Text;"));
    CHECK(std::ranges::find(swapped, "! field_moved: Placed.address.street was @8 and is @9") !=
          swapped.end());
}

TEST_CASE("a field that goes into a union or out of it is a change that breaks")
{
    const version_of_placed old{"a @0 :UInt32; b @1 :UInt32;"},
        now{"union { a @0 :UInt32; b @1 :UInt32; }"};
    for (const bool in : {true, false}) {
        const auto changes = in ? compare(old.schema, now.schema) : compare(now.schema, old.schema);
        const auto said    = std::ranges::count(changes, kind::union_changed, &schema_change::what);
        CHECK(said >= 1);
        CHECK(breaks(changes));
    }
}

TEST_CASE("a field that was taken out of the middle is named, and so are those that moved up")
{
    const version_of_placed old{"a @0 :Text; b @1 :UInt32; c @2 :Text;"},
        now{"a @0 :Text; c @1 :Text;"};
    std::vector<std::string> named;
    for (const auto& c : compare(old.schema, now.schema))
        if (c.breaking()) named.push_back(std::string{name(c.what)} + " " + c.where());
    CHECK(named == lines{"field_removed Placed.b", "field_moved Placed.c", "struct_shrunk Placed"});
}

TEST_CASE("a struct that holds itself is compared, kept and shown")
{
    const version_of_placed tree{"next @0 :Placed; all @1 :List(List(Placed)); n @2 :UInt8;"},
        more{"next @0 :Placed; all @1 :List(List(Placed)); n @2 :UInt8; m @3 :UInt8;"};
    CHECK(compare(tree.schema, more.schema).size() == 1);
    auto            log = commit_log::in_memory();
    schema_registry schemas{log};
    schemas.add(tree.schema);
    CHECK(schemas.list().size() == 1);
}

TEST_CASE("a schema is shown as a .capnp file says it")
{
    const version_of_placed placed{first_version};
    CHECK(capnp_text(placed.schema) == R"(struct Placed @0xd0d0d0d0d0d0d0d1 {
    customer @0 :Text $Cairn.tag("customer");
    cents @1 :UInt64;
    count @2 :UInt32 = 1;
    kind @3 :Kind;
    lines @4 :List(Line);
    address :group {
        street @8 :Text;
        number @9 :UInt16;
    }
    union {
        card @5 :Text;
        invoice @6 :UInt32;
        cash @7 :Void;
    }

    enum Kind @0xe466a59d7904f4ef { retail @0; wholesale @1; }

    struct Line @0xdfffe65ac9fcf90c {
        sku @0 :Text;
        quantity @1 :UInt32;
    }
}
)");
}

TEST_CASE("what is registered is there when the log is opened again")
{
    namespace fs = std::filesystem;
    const auto directory =
        fs::temp_directory_path() / ("cairn-schema-" + std::to_string(::getpid()));
    fs::remove_all(directory);
    const version_of_placed first{first_version};
    log_options             options;
    std::int64_t            now = 1000;
    options.clock               = [&] { return timestamp{now}; };
    {
        auto            log = commit_log::open(directory.string(), options);
        schema_registry schemas{log};
        CHECK(schemas.list().empty());
        CHECK_FALSE(log.try_describe_topic("__schemas"));  // looking makes nothing
        schemas.add(first.schema);
        log.create_topic("orders");
        record_value(log, an_order(first.schema));
        log.close();
    }
    now = 2000;
    {
        auto log = commit_log::open(directory.string(), options);
        CHECK(json_of_last(log, schema_registry{log}) == order_as_json);

        const version_of_placed second{with("enum Kind", "note @10 :Text; enum Kind")};
        schema_registry{log}.add(second.schema);
        log.close();
    }
    options.read_only = true;
    auto       log    = commit_log::open(directory.string(), options);
    const auto all    = schema_registry{log}.list();
    REQUIRE(all.size() == 1);
    CHECK(all[0].name == "Placed");
    CHECK(all[0].file == "order.capnp");
    CHECK(all[0].type_id == 0xd0d0d0d0d0d0d0d1);
    CHECK(all[0].since == timestamp{1000});
    CHECK(all[0].updated == timestamp{2000});
    CHECK(all[0].schema.findFieldByName("note") != nullptr);
    schema_registry{log}.add(first.schema);  // needs no writing
    log.close();
    fs::remove_all(directory);
}

TEST_CASE("what is there unchanged is not written again, wherever it was compiled")
{
    auto            log = commit_log::in_memory();
    schema_registry schemas{log};
    schemas.add(capnp::Schema::from<bank::Opened>());
    schemas.add(capnp::Schema::from<bank::Deposited>());
    const auto end = log.end_position();
    schemas.add(capnp::Schema::from<bank::Opened>());
    schema_registry{log}.add(capnp::Schema::from<bank::Deposited>());
    CHECK(log.end_position() == end);

    // Made by the parser rather than by compiled code.
    const version_of_placed once{first_version}, again{first_version};
    schemas.add(once.schema);
    const auto then = log.end_position();
    schemas.add(again.schema);
    CHECK(log.end_position() == then);
    CHECK(log.read_all().next() == nullptr);  // an internal topic: no record that others read
}

TEST_CASE("a newer version replaces what is there, and an older program leaves it")
{
    auto                    log = commit_log::in_memory();
    schema_registry         schemas{log};
    const version_of_placed old{first_version}, now{with("enum Kind", "note @10 :Text; enum Kind")};
    schemas.add(old.schema);
    schemas.add(now.schema);
    CHECK(schemas.find("Placed")->schema.findFieldByName("note") != nullptr);
    const auto end = log.end_position();
    schemas.add(old.schema);
    CHECK(log.end_position() == end);
    CHECK(schemas.find(0xd0d0d0d0d0d0d0d1)->schema.findFieldByName("note") != nullptr);
}

TEST_CASE(
    "a change that breaks old events is refused, with field and reason, and nothing is written")
{
    auto                    log = commit_log::in_memory();
    schema_registry         schemas{log};
    const version_of_placed old{first_version};
    schemas.add(old.schema);
    const auto end = log.end_position();

    const version_of_placed now{with("cents    @1 :UInt64", "cents @1 :Int64")};
    CHECK(refusal_of([&] { schemas.add(now.schema); }) ==
          "events that are recorded could not be read any more: Placed.cents was UInt64 and is "
          "Int64. Leave what is there as it was and add a field at the end, or make a new struct "
          "with an id of its own; 'cairn schema check' compares beforehand");
    CHECK(log.end_position() == end);
}

TEST_CASE("a type that changed and still says the same version is refused, and nothing is written")
{
    auto                    log = commit_log::in_memory();
    schema_registry         schemas{log};
    const version_of_placed two{first_version, "Placed", "$Cairn.version(2)"};
    schemas.add(two.schema);
    CHECK(schemas.find("Placed")->version == 2);
    const auto end = log.end_position();
    schemas.add(two.schema);
    for (const auto& fields :
         {with("enum Kind", "note @10 :Text; enum Kind"), with("cents    @1", "pence @1"),
          with("tag(\"customer\")", "tag(\"buyer\")"),
          with("quantity @1 :UInt32;", "quantity @1 :UInt32; by @2 :Text;")}) {
        const version_of_placed changed{fields, "Placed", "$Cairn.version(2)"};
        CHECK(refusal_of([&] { schemas.add(changed.schema); }) ==
              "Placed changed and still says version 2: raise it");
        CHECK(compare(two.schema, changed.schema).back().what == kind::version_kept);
        CHECK(breaks(compare(two.schema, changed.schema)));
    }
    CHECK(log.end_position() == end);
}

TEST_CASE("a higher version replaces what is there; a lower one is let in and replaces nothing")
{
    auto                    log  = commit_log::in_memory();
    const auto              more = with("enum Kind", "note @10 :Text; enum Kind");
    const version_of_placed none{first_version};
    const version_of_placed one{first_version, "Placed", "$Cairn.version(1)"};
    const version_of_placed two{more, "Placed", "$Cairn.version(2)"};
    schema_registry{log}.add(none.schema);
    schema_registry{log}.add(one.schema);
    schema_registry{log}.add(two.schema);
    const auto end = log.end_position();
    for (const auto* older : {&one, &none}) {
        schema_registry{log}.add(older->schema);
        CHECK(log.end_position() == end);
        CHECK(schema_registry{log}.find("Placed")->version == 2);
    }
    // Two versions of a service side by side: only the words differ.
    const version_of_placed words{with("cents    @1", "pence @1"), "Placed", "$Cairn.version(1)"};
    schema_registry{log}.add(words.schema);
    CHECK(log.end_position() == end);
}

TEST_CASE("neither a lower nor a higher version lets a change in that breaks old events")
{
    auto                    log = commit_log::in_memory();
    schema_registry         schemas{log};
    const auto              text = with("cents    @1 :UInt64", "cents @1 :Text");
    const version_of_placed two{first_version, "Placed", "$Cairn.version(2)"};
    schemas.add(two.schema);
    for (const char* version : {"$Cairn.version(1)", "$Cairn.version(2)", "$Cairn.version(3)"}) {
        const version_of_placed changed{text, "Placed", version};
        CHECK_THAT(refusal_of([&] { schemas.add(changed.schema); }),
                   Catch::StartsWith("events that are recorded could not be read any more: "
                                     "Placed.cents was UInt64 and is Text"));
    }
    // With a higher version it is no older program that has a field less.
    const version_of_placed less{with("number @9 :UInt16;", ""), "Placed", "$Cairn.version(3)"};
    CHECK_THAT(refusal_of([&] { schemas.add(less.schema); }), Catch::Contains("is gone"));
}

TEST_CASE("key and version are shown as a .capnp file says them, and kept with their declarations")
{
    const version_of_placed placed{"order @0 :Text $Cairn.key;", "Placed", "$Cairn.version(3)"};
    CHECK(capnp_text(placed.schema) ==
          "struct Placed @0xd0d0d0d0d0d0d0d1 $Cairn.version(3) {\n"
          "    order @0 :Text $Cairn.key;\n"
          "}\n");
    const auto               bytes = detail::encode_schema(placed.schema);
    detail::message          message{bytes};
    std::vector<std::string> names;
    for (const auto node :
         message.opened().getRoot<capnp::schema::CodeGeneratorRequest>().getNodes())
        names.emplace_back(node.getDisplayName().cStr());
    CHECK(names ==
          lines{"order.capnp:Placed", "cairn/event.capnp:key", "cairn/event.capnp:version"});
}

TEST_CASE("all types of a repository are registered in one append")
{
    auto log = commit_log::in_memory();
    log.create_topic("accounts");
    schema_registry{log}.add(capnp::Schema::from<bank::Closed>());  // makes the topic
    const auto                      before = log.statistics().appends;
    const repository<bank::Account> accounts{log, "accounts"};
    CHECK(schema_registry{log}.list().size() == 4);
    CHECK(log.statistics().appends == before + 1);
}

TEST_CASE("of types that are registered together all are, or none")
{
    auto                    log = commit_log::in_memory();
    schema_registry         schemas{log};
    const version_of_placed old{first_version}, now{with("cents    @1 :UInt64", "cents @1 :Int64")};
    schemas.add(old.schema);
    const auto       end = log.end_position();
    const std::array both{capnp::StructSchema{capnp::Schema::from<bank::Opened>()}, now.schema};
    CHECK(code_of([&] { schemas.add(both); }) == errc::incompatible_schema);
    CHECK(log.end_position() == end);
    CHECK_FALSE(schemas.find("Opened"));
}

TEST_CASE("two that register at once both find what the log has in the end")
{
    auto                    log = commit_log::in_memory();
    const version_of_placed old{first_version}, now{with("enum Kind", "note @10 :Text; enum Kind")};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
            schema_registry mine{log};
            mine.add(i % 2 ? old.schema : now.schema);
        });
    for (auto& t : threads) t.join();
    CHECK(schema_registry{log}.find("Placed")->schema.findFieldByName("note") != nullptr);
}

TEST_CASE("what is kept is a CodeGeneratorRequest, whose first node is the type")
{
    const version_of_placed placed{first_version};
    const auto              bytes = detail::encode_schema(placed.schema);
    detail::message         message{bytes};
    const auto request = message.opened().getRoot<capnp::schema::CodeGeneratorRequest>();
    std::vector<std::string> names;
    for (const auto node : request.getNodes()) names.emplace_back(node.getDisplayName().cStr());
    CHECK(names == lines{"order.capnp:Placed", "order.capnp:Placed.Kind", "order.capnp:Placed.Line",
                         "order.capnp:Placed.address", "cairn/event.capnp:tag"});
    CHECK(bytes.substr(0, 4) == std::string(4, '\0'));  // one segment
}

TEST_CASE("an event is JSON with nothing but the log")
{
    auto log = commit_log::in_memory();
    log.create_topic("accounts");
    {
        repository<bank::Account> accounts{log, "accounts"};
        REQUIRE(
            accounts.execute("a-1", bank::Open{"Ada", bank::Opened::Kind::SAVINGS}).has_value());
        REQUIRE(accounts.execute("a-1", bank::Deposit{5}).has_value());
    }
    const schema_registry schemas{log};
    auto                  range = log.read_all();
    CHECK(schemas.json(*range.next()) == R"({"owner":"Ada","kind":"savings","limit":"0"})");
    CHECK(schemas.json(*range.next()) == R"({"cents":"5"})");
}

TEST_CASE("a type of event is registered before its first event is recorded")
{
    auto log = commit_log::in_memory();
    log.create_topic("accounts");
    const repository<bank::Account> accounts{log, "accounts"};
    const schema_registry           schemas{log};
    CHECK(log.end_position() > position{0});
    for (const char* type : {"Opened", "Deposited", "Withdrawn"}) CHECK(schemas.find(type));
    const auto                      end = log.end_position();
    const repository<bank::Account> again{log, "accounts"};
    CHECK(log.end_position() == end);  // nothing new
}

TEST_CASE("a repository is refused where its types would read recorded events wrongly")
{
    auto log = commit_log::in_memory();
    log.create_topic("accounts");
    // What the log has under Deposited's id is a struct with text where `cents` is.
    capnp::MallocMessageBuilder copy;
    copy.setRoot(capnp::Schema::from<bank::Deposited>().getProto());
    auto node  = copy.getRoot<capnp::schema::Node>();
    auto field = node.getStruct().getFields()[0];
    field.getSlot().getType().setText();
    field.getSlot().getDefaultValue().setText("");
    node.getStruct().setDataWordCount(0);
    node.getStruct().setPointerCount(2);
    field.getSlot().setOffset(1);
    capnp::SchemaLoader loader;
    schema_registry{log}.add(loader.load(node.asReader()).asStruct());

    CHECK_THAT(refusal_of([&] {
                   repository<bank::Account>{log, "accounts"};
               }),
               Catch::Contains("Deposited") && Catch::Contains("cents"));
}

TEST_CASE_METHOD(placed_log, "a record without ce_dataschema is known by its ce_type")
{
    log.append(
        {.records = {
             {"orders", {.value = an_order(placed.schema), .headers = {{"ce_type", "Placed"}}}}}});
    CHECK(json_of_last(log, schemas) == order_as_json);
}

TEST_CASE_METHOD(placed_log, "values that are no such message are no JSON")
{
    const auto whole = an_order(placed.schema);
    for (const auto& value : {std::string{}, std::string{"text"}, std::string(64, '\xff'),
                              whole.substr(0, whole.size() - 8), whole.substr(8)}) {
        record_value(log, value);
        CHECK(json_of_last(log, schemas) == std::nullopt);
    }
    log.append(
        {.records = {{"orders", {.key = "o-1", .headers = {{"ce_dataschema", placed_id}}}}}});
    CHECK(json_of_last(log, schemas) == std::nullopt);  // no value at all
}

TEST_CASE_METHOD(placed_log, "text that is no UTF-8 makes no JSON")
{
    auto value = an_order(placed.schema);
    value.replace(value.find("Ada"), 3, "A\xff\xfe");
    record_value(log, value);
    CHECK(json_of_last(log, schemas) == std::nullopt);
}

struct log_of_nothings : placed_log
{
    log_of_nothings() : placed_log{"nothings @0 :List(Void); all @1 :List(Placed);"} {}
};

TEST_CASE_METHOD(log_of_nothings, "a few bytes that stand for very much are not written out")
{
    capnp::MallocMessageBuilder message;
    auto                        root = message.initRoot<capnp::DynamicStruct>(placed.schema);
    root.init("nothings", (1u << 29) - 1);
    const auto words = capnp::messageToFlatArray(message);
    const auto bytes = words.asBytes();
    record_value(log, {reinterpret_cast<const char*>(bytes.begin()), bytes.size()});
    CHECK(json_of_last(log, schemas) == std::nullopt);

    // A struct that is its own child.
    std::uint64_t loop[] = {3ull << 32, 2ull << 48, 0, 0};  // framing, root with two pointers
    const auto    itself = std::uint64_t{1} | (2ull << 32 << 3 | 7ull << 32);
    loop[3]              = itself;
    record_value(log, {reinterpret_cast<const char*>(loop), sizeof loop});
    CHECK(json_of_last(log, schemas) == std::nullopt);
}

TEST_CASE_METHOD(placed_log, "whatever bits of a value change, it is JSON or it is none")
{
    const auto s = seed();
    INFO("CAIRN_SEED=" << s);
    std::mt19937_64 random{s};
    const auto      whole = an_order(placed.schema);
    std::size_t     read  = 0;

    // The record as the log gives it, with another value: also misaligned.
    record_value(log, whole);
    auto        range = log.read_all();
    auto        event = *range.next();
    std::string scratch;
    const auto  n = rounds(5000);
    for (std::size_t i = 0; i < n; ++i) {
        const auto shift = random() % 8;
        scratch.assign(shift, 'x');
        scratch += whole;
        for (auto flips = 1 + random() % 4; flips > 0; --flips) {
            const auto bit = random() % (whole.size() * 8);
            scratch[shift + bit / 8] ^= static_cast<char>(1 << bit % 8);
        }
        event.value = bytes_view{scratch}.substr(shift);
        if (const auto json = schemas.json(event)) {
            ++read;
            CHECK(json->front() == '{');
            CHECK(json->back() == '}');
            CHECK(std::ranges::none_of(*json, [](unsigned char c) { return c < 0x20; }));
        }
    }
    CHECK(read > n / 20);  // most flips hit a text or a number
}

TEST_CASE_METHOD(placed_log,
                 "whatever bits of a schema in the log change, it is known or it is not")
{
    const auto s = seed();
    INFO("CAIRN_SEED=" << s);
    std::mt19937_64 random{s};
    record_value(log, an_order(placed.schema));
    const auto whole = detail::encode_schema(placed.schema);
    for (std::size_t i = 0, n = rounds(1000); i < n; ++i) {
        auto bytes = whole;
        for (auto flips = 1 + random() % 3; flips > 0; --flips) {
            const auto bit = random() % (bytes.size() * 8);
            bytes[bit / 8] ^= static_cast<char>(1 << bit % 8);
        }
        log.append({.records = {{"__schemas", {.key = placed_id, .value = bytes}}}});
        for (const auto& known : schemas.list()) {
            (void)capnp_text(known.schema);
            (void)compare(known.schema, placed.schema);
        }
        (void)json_of_last(log, schemas);
    }
}
