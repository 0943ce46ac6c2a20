// SPDX-License-Identifier: Apache-2.0
//
// What is written from the tree of commands, so that no two places say different things.
#pragma once

#include "command.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace cairn::cli {

std::string version_text();

/// What --help prints.
std::string help_text(const command& c, bool coloured);

/// "create, list, describe"
std::string names_below(const command& c);

/// "cairn topic create [OPTIONS] TOPIC"
std::string synopsis(const command& c);

/// "-p, --partitions N"
std::string option_text(const option& o);

/// The options of a command as help shows them: its own, and --help.
std::vector<option> options_shown(const command& c);

/// The page of the program, and one for each command right below it, as "cairn-topic.1".
struct manual_page
{
    std::string name;
    std::string text;
};
std::vector<manual_page> manual_pages(const command& root);

/// docs/reference/cli.md
std::string reference_text(const command& root);

/// The whole tree as JSON, for the tests that hold the others against it.
std::string tree_json(const command& root);

std::string bash_completion(const command& root);
std::string zsh_completion(const command& root);
std::string fish_completion(const command& root);

/// `text` broken at spaces into lines of at most `width` columns, each after `indent` spaces.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width = 80);

}  // namespace cairn::cli
