// SPDX-License-Identifier: Apache-2.0
#include "capnp_file.hpp"

#include "bundled_schemas.hpp"
#include "command.hpp"

#include <capnp/schema-parser.h>
#include <kj/exception.h>
#include <kj/filesystem.h>

#include <filesystem>

namespace cairn::cli {

namespace {

void collect(const capnp::ParsedSchema& in, std::vector<capnp::StructSchema>& structs)
{
    for (const auto one : in.getAllNested()) {
        if (one.getProto().isStruct()) structs.push_back(one.asStruct());
        collect(one, structs);
    }
}

void bundle(const kj::Directory& folder, const char* name, const char* text)
{
    folder.openFile(kj::Path::parse(name), kj::WriteMode::CREATE | kj::WriteMode::CREATE_PARENT)
        ->writeAll(text);
}

}  // namespace

struct capnp_file::impl
{
    kj::Own<kj::Filesystem>      disk    = kj::newDiskFilesystem();
    kj::Own<const kj::Directory> bundled = kj::newInMemoryDirectory(kj::nullClock());
    std::vector<kj::Own<const kj::ReadableDirectory>> folders;
    capnp::SchemaParser                               parser;
};

capnp_file::capnp_file(const std::string& path, const std::vector<std::string>& imports)
    : impl_{std::make_unique<impl>()}
{
    if (!std::filesystem::is_regular_file(path))
        throw failure{"input_failed", path + ": there is no such file"};
    bundle(*impl_->bundled, "cairn/event.capnp", bundled_event_capnp);
    bundle(*impl_->bundled, "capnp/c++.capnp", bundled_cxx_capnp);
    try {
        const auto here = impl_->disk->getCurrentPath().clone();
        const auto open = [&](const std::string& folder, bool must) {
            auto found = impl_->disk->getRoot().tryOpenSubdir(here.evalNative(folder));
            KJ_IF_MAYBE (directory, found) {
                impl_->folders.push_back(kj::mv(*directory));
            } else if (must) {
                throw failure{"input_failed", folder + ": there is no such folder"};
            }
        };
        for (const auto& folder : imports) open(folder, true);
        open("/usr/local/include", false);
        open("/usr/include", false);

        std::vector<const kj::ReadableDirectory*> search;
        for (const auto& folder : impl_->folders) search.push_back(folder.get());
        search.push_back(impl_->bundled.get());
        collect(impl_->parser.parseFromDirectory(impl_->disk->getRoot(), here.evalNative(path),
                                                 kj::arrayPtr(search.data(), search.size())),
                structs_);
    } catch (const kj::Exception& fault) {
        throw failure{"input_failed", path + " is no .capnp file that reads: " + fault.getFile() +
                                          ":" + std::to_string(fault.getLine() + 1) + ": " +
                                          fault.getDescription().cStr()};
    }
}

capnp_file::~capnp_file() = default;

}  // namespace cairn::cli
