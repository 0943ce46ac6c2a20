@0xc5a1e7d0b3f24968;

# Annotations for the structs that are events:
#
#     using Cairn = import "/cairn/event.capnp";
#
#     struct OrderPlaced {
#         customer @0 :Text $Cairn.tag("customer");   # the tag is "customer:Ada"
#     }

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("cairn::schema");

annotation tag @0xe3b6d9a24f7c8150 (field) :Text;
# The event can be found, and decided upon, by this field: it gets the tag "<text>:<value>", or the
# value alone where the text is empty. For text, integers, booleans and enums. An empty text in the
# field makes no tag.
