// SPDX-License-Identifier: Apache-2.0
#include "documents.hpp"

#include "output.hpp"
#include "text.hpp"

#include <algorithm>

namespace cairn::cli {

namespace {

constexpr std::size_t help_column = 28;

std::string heading(std::string_view name, bool coloured)
{
    return '\n' + bold(name, coloured) + '\n';
}

/// A name in its column and what it means beside it, or below where the name is too long.
std::string entry(std::string_view name, std::string_view help)
{
    std::string text = "  " + std::string{name};
    if (columns(name) + 4 > help_column)
        text += '\n' + std::string(help_column, ' ');
    else
        text += std::string(help_column - 2 - columns(name), ' ');
    const auto lines = wrapped(help, help_column);
    return text + lines.substr(help_column);
}

}  // namespace

std::string version_text()
{
    return "cairn " CAIRN_VERSION "\n";
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t width)
{
    std::string lines;
    std::string line(indent, ' ');
    for (const auto& word : split(text, ' ')) {
        const bool begins = columns(line) == indent;
        if (!begins && columns(line) + 1 + columns(word) > width) {
            lines += line + '\n';
            line = std::string(indent, ' ');
        } else if (!begins) {
            line += ' ';
        }
        line += word;
    }
    return lines + line + '\n';
}

std::string names_below(const command& c)
{
    std::string names;
    for (const auto& below : c.commands())
        if (!below->hidden()) names += (names.empty() ? "" : ", ") + below->name();
    return names;
}

std::vector<option> options_shown(const command& c)
{
    std::vector<option> shown;
    for (const auto& o : c.options())
        if (!o->is_argument()) shown.push_back(*o);
    option help;
    help.name   = "--help";
    help.letter = 'h';
    help.help   = "Show this, and end.";
    shown.push_back(std::move(help));
    if (!c.parent()) {
        option version;
        version.name = "--version";
        version.help = "Show the version, and end.";
        shown.push_back(std::move(version));
    }
    return shown;
}

std::string option_text(const option& o)
{
    std::string text;
    if (o.letter != 0) text = std::string{'-', o.letter, ',', ' '};
    text += o.name;
    if (!o.is_flag() && !o.is_argument()) text += ' ' + o.value;
    return text;
}

std::string synopsis(const command& c)
{
    std::string text = c.full_name();
    if (!c.commands().empty()) return text + " COMMAND";
    text += " [OPTIONS]";
    for (const auto& o : c.options()) {
        if (!o->is_argument()) continue;
        const std::string name = o->name + (o->repeated ? "..." : "");
        text += o->required ? ' ' + name : " [" + name + ']';
    }
    return text;
}

std::string help_text(const command& c, bool coloured)
{
    std::string text = bold(c.full_name(), coloured) + " - " + c.summary() + "\n\n";
    text += bold("Usage:", coloured) + ' ' + synopsis(c) + '\n';
    for (const auto& paragraph : c.paragraphs()) text += '\n' + wrapped(paragraph, 0);

    if (!c.commands().empty()) {
        text += heading("Commands", coloured);
        for (const auto& below : c.commands())
            if (!below->hidden()) text += entry(below->name(), below->summary());
    }
    if (std::ranges::any_of(c.options(), [](const auto& o) { return o->is_argument(); })) {
        text += heading("Arguments", coloured);
        for (const auto& o : c.options())
            if (o->is_argument()) text += entry(o->name, o->help);
    }
    text += heading("Options", coloured);
    for (const auto& o : options_shown(c)) {
        // Options without a letter stand below the names of those with one.
        const auto name = o.letter != 0 ? option_text(o) : "    " + option_text(o);
        text += entry(name, o.help);
    }
    if (!c.json_what().empty()) {
        text += heading("JSON", coloured);
        std::string names;
        for (const auto& f : c.json_fields()) names += (names.empty() ? "" : ", ") + f.name;
        text += wrapped("--format json prints " + c.json_what() + ": " + names + ".", 2);
    }
    if (!c.examples().empty()) {
        text += heading("Examples", coloured);
        for (const auto& e : c.examples()) {
            text += "  " + dim("# " + e.what, coloured) + '\n';
            text += "  " + e.line + '\n';
        }
    }
    if (!c.commands().empty())
        text += '\n' + wrapped("'" + c.full_name() + " COMMAND --help' says more about each.", 0);
    return text;
}

}  // namespace cairn::cli
