@0xc5a1e7d0b3f24968;

# Annotations for the structs that are events:
#
#     using Cairn = import "/cairn/event.capnp";
#
#     struct OrderPlaced $Cairn.version(2) {
#         order    @0 :Text $Cairn.key;                   # the stream that it is recorded in
#         customer @1 :Text $Cairn.tag("customer");       # the tag is "customer:c-7"
#         email    @2 :Text $Cairn.personal("customer");  # encrypted with the key of "c-7"
#     }

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("cairn::schema");

annotation tag @0xe3b6d9a24f7c8150 (field) :Text;
# The event can be found, and decided upon, by this field: it gets the tag "<text>:<value>", or the
# value alone where the text is empty. For text, integers, booleans and enums, of the event's struct
# and its groups. An empty text in the field makes no tag.

annotation personal @0x9c1e5a7d3b60f284 (field) :Text;
# The field says something about a person: it is recorded encrypted, with a key of that person. The
# text names the field of the same struct that says who that is (text or an integer, not personal
# itself), or is empty where the stream's id says it. When the key is destroyed, the field is absent.

annotation key @0x962eb5d7d2eac902 (field) :Void;
# The field is the id of the stream that the event is recorded in: it is recorded in no other. For
# one text of the event's struct or its groups, which is not personal.

annotation version @0xf9e4abc4ace1a954 (struct) :UInt32;
# Which version of the struct this is. Whoever changes the struct raises it.
