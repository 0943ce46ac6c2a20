// SPDX-License-Identifier: Apache-2.0
#include "documents.hpp"
#include "session.hpp"

#include <cairn/log/error.hpp>

#include <unistd.h>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

namespace {

using namespace cairn::cli;

constexpr int ok         = 0;
constexpr int has_failed = 1;
constexpr int bad_usage  = 2;

void complain(const std::string& what, std::string_view code)
{
    const output error{STDERR_FILENO};
    const auto   who    = red("cairn:", error.is_coloured());
    const auto   suffix = dim("[" + std::string{code} + "]", error.is_coloured());
    std::fprintf(stderr, "%s %s  %s\n", who.c_str(), what.c_str(), suffix.c_str());
}

int run(const command& tree, const std::vector<std::string>& arguments, session& session)
{
    const auto parsed = parse(tree, arguments);
    if (parsed.wants_version) {
        session.out().write(version_text());
        return ok;
    }
    if (parsed.wants_help) {
        session.out().write(help_text(*parsed.chosen, session.out().is_coloured()));
        return ok;
    }
    if (parsed.chosen->action()) return parsed.chosen->action()(session);
    if (parsed.chosen->parent())
        throw usage_error{parsed.chosen->full_name() +
                          " needs a command: " + names_below(*parsed.chosen)};
    std::fputs(help_text(tree, output{STDERR_FILENO}.is_coloured()).c_str(), stderr);
    return bad_usage;
}

}  // namespace

int main(int argc, char** argv)
{
    session::heed_signals();
    output out{STDOUT_FILENO};
    try {
        const auto tree = make_tree();
        int        code = has_failed;
        try {
            class session session
            {
                out
            };
            code = run(*tree, {argv + 1, argv + argc}, session);
        } catch (...) {
            out.flush();  // what was printed before the fault is worth having
            throw;
        }
        out.flush();
        return code;
    } catch (const nobody_reads&) {
        return ok;
    } catch (const usage_error& fault) {
        complain(fault.what(), "usage");
        return bad_usage;
    } catch (const failure& fault) {
        complain(fault.what(), fault.code());
    } catch (const cairn::error& fault) {
        complain(fault.what(), name(fault.code()));
    } catch (const std::bad_alloc&) {
        complain("there is not enough memory", "out_of_memory");
    } catch (const std::exception& fault) {
        complain(fault.what(), "internal");
    }
    return has_failed;
}
