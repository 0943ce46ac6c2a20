// SPDX-License-Identifier: Apache-2.0
//
// Manual pages, docs/reference/cli.md, and the tree as JSON.
#include "documents.hpp"

#include "json.hpp"
#include "text.hpp"

#include <algorithm>
#include <cctype>

namespace cairn::cli {

namespace {

// ---- roff ---------------------------------------------------------------------------------

/// Text as roff takes it: backslashes and hyphens escaped, no dot or quote at a line's start.
std::string roff(std::string_view text)
{
    std::string escaped;
    for (const char c : text) {
        if (c == '\\')
            escaped += "\\e";
        else if (c == '-')
            escaped += "\\-";
        else if (c == '\'')
            escaped += "\\(aq";
        else if (c == '`')
            escaped += "\\(ga";
        else if (c == '^')
            escaped += "\\(ha";
        else if (c == '~')
            escaped += "\\(ti";
        else
            escaped += c;
    }
    if (escaped.starts_with('.')) escaped.insert(0, "\\&");
    return escaped;
}

std::string upper(std::string text)
{
    std::ranges::transform(text, text.begin(),
                           [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return text;
}

std::string roff_options(const command& c)
{
    std::string text;
    for (const auto& o : c.options())
        if (o->is_argument()) text += ".TP\n\\fI" + roff(o->name) + "\\fR\n" + roff(o->help) + '\n';
    for (const auto& o : options_shown(c)) {
        text += ".TP\n";
        if (o.letter != 0) text += "\\fB\\-" + std::string{o.letter} + "\\fR, ";
        text += "\\fB" + roff(o.name) + "\\fR";
        if (!o.is_flag()) text += " \\fI" + roff(o.value) + "\\fR";
        text += '\n' + roff(o.help) + '\n';
    }
    return text;
}

std::string roff_json(const command& c)
{
    if (c.json_what().empty()) return {};
    std::string text = ".PP\n\\fB\\-\\-format json\\fR prints " + roff(c.json_what()) + ":\n";
    for (const auto& f : c.json_fields())
        text += ".TP\n\\fB" + roff(f.name) + "\\fR\n" + roff(f.what) + '\n';
    return text;
}

std::string roff_examples(const command& c)
{
    std::string text;
    for (const auto& e : c.examples())
        text += ".PP\n" + roff(e.what) + "\n.PP\n.RS 4\n.nf\n" + roff(e.line) + "\n.fi\n.RE\n";
    return text;
}

std::string roff_paragraphs(const command& c)
{
    std::string text;
    for (const auto& paragraph : c.paragraphs()) text += ".PP\n" + roff(paragraph) + '\n';
    return text;
}

std::string roff_exit_status()
{
    return ".SH EXIT STATUS\n"
           ".TP\n\\fB0\\fR\nDone.\n"
           ".TP\n\\fB1\\fR\nIt failed; stderr says what, why, and the code in brackets.\n"
           ".TP\n\\fB2\\fR\nThe command line was not understood.\n"
           ".SH ENVIRONMENT\n"
           ".TP\n\\fBCAIRN_DATA\\fR\nThe directory of the log where \\fB\\-\\-data\\fR is not "
           "given.\n"
           ".TP\n\\fBNO_COLOR\\fR\nIf set and not empty, nothing is coloured.\n";
}

/// All that can be done below it.
void gather_verbs(const command& c, std::vector<const command*>& to)
{
    for (const auto& below : c.commands()) {
        if (below->hidden()) continue;
        if (below->action()) to.push_back(below.get());
        gather_verbs(*below, to);
    }
}

/// "parked list" of cairn projection
std::string name_below(const command& verb, const command& noun)
{
    return verb.full_name().substr(noun.full_name().size() + 1);
}

/// A noun's verbs are sections of its page; a verb's page is its own.
std::string roff_page(const command& c, const command& root)
{
    std::string name = c.full_name();
    std::ranges::replace(name, ' ', '-');

    std::string text = ".TH " + upper(name) + " 1 \"\" \"cairn " CAIRN_VERSION "\" \"Cairn\"\n";
    text += ".SH NAME\n" + roff(name) + " \\- " + roff(c.summary()) + '\n';
    text += ".SH SYNOPSIS\n";

    std::vector<const command*> sections;
    if (&c != &root) gather_verbs(c, sections);

    if (sections.empty()) {
        text += "\\fB" + roff(synopsis(c)) + "\\fR\n";
    } else {
        for (const auto* s : sections) text += "\\fB" + roff(synopsis(*s)) + "\\fR\n.br\n";
    }
    text += ".SH DESCRIPTION\n" + roff(c.summary()) + ".\n" + roff_paragraphs(c);
    if (&c == &root) {
        text += ".SH COMMANDS\n";
        for (const auto& below : c.commands())
            if (!below->hidden())
                text += ".TP\n\\fBcairn\\-" + roff(below->name()) + "\\fR(1)\n" +
                        roff(below->summary()) + '\n';
    }
    if (sections.empty()) text += ".SH OPTIONS\n" + roff_options(c) + roff_json(c);
    for (const auto* s : sections) {
        text += ".SH " + upper(name_below(*s, c)) + "\n\\fB" + roff(synopsis(*s)) + "\\fR\n.PP\n";
        text += roff(s->summary()) + ".\n" + roff_paragraphs(*s) + roff_options(*s) + roff_json(*s);
    }
    text += ".SH EXAMPLES\n" + roff_examples(c);
    for (const auto* s : sections) text += roff_examples(*s);
    text += roff_exit_status();
    text += ".SH SEE ALSO\n";
    if (&c != &root) text += "\\fBcairn\\fR(1)";
    bool first = &c == &root;
    for (const auto& below : root.commands()) {
        if (below->hidden() || below.get() == &c) continue;
        text += (first ? "" : ", ") + ("\\fBcairn\\-" + roff(below->name()) + "\\fR(1)");
        first = false;
    }
    return text + '\n';
}

// ---- Markdown -----------------------------------------------------------------------------

/// A cell of a Markdown table.
std::string cell(std::string_view text)
{
    std::string escaped;
    for (const char c : text) {
        if (c == '|' || c == '<' || c == '*' || c == '_') escaped += '\\';
        escaped += c;
    }
    return escaped;
}

std::string markdown_verb(const command& c, std::string_view level)
{
    std::string text =
        '\n' + std::string{level} + ' ' + c.full_name() + "\n\n" + c.summary() + ".\n";
    for (const auto& paragraph : c.paragraphs()) text += '\n' + wrapped(paragraph, 0, 100);
    if (!c.commands().empty()) return text;

    text += "\n```\n" + synopsis(c) + "\n```\n\n| | |\n|---|---|\n";
    for (const auto& o : c.options())
        if (o->is_argument()) text += "| `" + o->name + "` | " + cell(o->help) + " |\n";
    for (const auto& o : options_shown(c))
        text += "| `" + option_text(o) + "` | " + cell(o.help) + " |\n";
    if (!c.json_what().empty()) {
        text += "\n`--format json` prints " + c.json_what() + ":\n\n| | |\n|---|---|\n";
        for (const auto& f : c.json_fields())
            text += "| `" + f.name + "` | " + cell(f.what) + " |\n";
    }
    if (!c.examples().empty()) {
        text += "\n```sh\n";
        for (const auto& e : c.examples()) text += "# " + e.what + '\n' + e.line + '\n';
        text += "```\n";
    }
    return text;
}

// ---- JSON ---------------------------------------------------------------------------------

void tree_json(const command& c, json_writer& json)
{
    json.begin_object().field("name", c.full_name()).field("summary", c.summary());
    json.field("hidden", c.hidden()).field("does", static_cast<bool>(c.action()));
    json.name("options").begin_array();
    for (const auto& o : c.options()) {
        json.begin_object().field("name", o->name).field("help", o->help);
        json.field("letter", std::string(o->letter != 0 ? 1 : 0, o->letter));
        json.field("value", o->value).field("required", o->required);
        json.field("repeated", o->repeated).end_object();
    }
    json.end_array().name("json").begin_array();
    for (const auto& f : c.json_fields()) json.value(f.name);
    json.end_array().name("examples").begin_array();
    for (const auto& e : c.examples()) json.value(e.line);
    json.end_array().name("commands").begin_array();
    for (const auto& below : c.commands()) tree_json(*below, json);
    json.end_array().end_object();
}

}  // namespace

std::vector<manual_page> manual_pages(const command& root)
{
    std::vector<manual_page> pages{{"cairn.1", roff_page(root, root)}};
    for (const auto& c : root.commands())
        if (!c->hidden()) pages.push_back({"cairn-" + c->name() + ".1", roff_page(*c, root)});
    return pages;
}

std::string reference_text(const command& root)
{
    std::string text =
        "<!-- SPDX-License-Identifier: Apache-2.0 -->\n"
        "<!-- Written by `cairn generate reference`; a test holds it. Change the tree instead:\n"
        "     log/cli/, one file per noun. -->\n"
        "# The command line: `cairn`\n\n";
    for (const auto& paragraph : root.paragraphs()) text += wrapped(paragraph, 0, 100) + '\n';
    text += "| | |\n|---|---|\n";
    for (const auto& c : root.commands())
        if (!c->hidden())
            text += "| [`cairn " + c->name() + "`](#cairn-" + c->name() + ") | " +
                    cell(c->summary()) + " |\n";
    text +=
        "\n## What all of them share\n\n"
        "| | |\n|---|---|\n"
        "| exit code 0 | Done. |\n"
        "| exit code 1 | It failed. stderr says `cairn: what happened and what to do  [code]`. |\n"
        "| exit code 2 | The command line was not understood; code `usage`. |\n"
        "| `CAIRN_DATA` | The directory of the log where `--data` is not given. |\n"
        "| `NO_COLOR` | If set and not empty, nothing is coloured. Nothing is anyway where the "
        "output "
        "is no terminal. |\n"
        "\nThe codes are those of [errors.md](errors.md), and the program's own:\n\n"
        "| code | means | do |\n|---|---|---|\n"
        "| `usage` | The command line was not understood. | `--help` behind the command. |\n"
        "| `input_failed` | What was to be read cannot be, or is not what it was said to be. | The "
        "message says the file, and the line where there is one. |\n"
        "| `output_failed` | The output could not be written. | Make room, or write elsewhere. |\n"
        "| `interrupted` | SIGINT or SIGTERM ended an import. | The message says how far it got. "
        "|\n"
        "| `unknown_stream` | The topic has no record with that key. | `cairn stream list` shows "
        "the "
        "keys. |\n"
        "| `unknown_position` | No record has that position. | `cairn query` and `cairn consume "
        "--format json` show positions. |\n"
        "| `unknown_schema` | No such type of events is registered. | `cairn schema list` shows "
        "those that are. |\n"
        "| `faults_found` | `cairn verify` or `cairn doctor` found faults. | The list says which, "
        "and where; what is damaged, a backup has. |\n"
        "| `not_served` | What was asked needs a service's code, and none serves this log. | "
        "Start it, with a `projection_control`. |\n"
        "| `no_tables` | No service runs, and there are no tables where they were looked for. | "
        "Say where they are with `--tables`. |\n"
        "| `rebuild_ended` | The rebuild that was waited for ended before it was done. | The "
        "message says why. |\n"
        "| `tables_differ` | `cairn projection verify` found tables that the log does not come "
        "to. | `cairn projection rebuild`; the message says what to look for. |\n"
        "| `internal` | The program has a bug. | Report it, with the message. |\n"
        "\nWhere the reader of the output goes away, as `head` does, the program ends quietly with "
        "0.\n"
        "Long work shows its progress, rate and remaining time on stderr where that is a "
        "terminal.\n"
        "`--format json` prints one JSON object per line, UTF-8; bytes that are not UTF-8 come in\n"
        "Base64, in a member whose name ends in `_base64`.\n";
    for (const auto& c : root.commands()) {
        if (c->hidden()) continue;
        text += markdown_verb(*c, "##");
        std::vector<const command*> verbs;
        gather_verbs(*c, verbs);
        for (const auto* verb : verbs) text += markdown_verb(*verb, "###");
    }
    return text;
}

std::string tree_json(const command& root)
{
    std::string text;
    json_writer json{text};
    tree_json(root, json);
    return text + '\n';
}

}  // namespace cairn::cli
