// SPDX-License-Identifier: Apache-2.0
//
// Completions for bash, zsh and fish. Names of topics, groups and projections are asked of the
// program, with the --data that stands on the line or CAIRN_DATA.
#include "documents.hpp"

#include <algorithm>
#include <functional>

namespace cairn::cli {

namespace {

void for_each_command(const command& c, const std::function<void(const command&)>& use)
{
    use(c);
    for (const auto& below : c.commands())
        if (!below->hidden()) for_each_command(*below, use);
}

std::string joined(const std::vector<std::string>& words, std::string_view between)
{
    std::string text;
    for (const auto& w : words) {
        if (!text.empty()) text += between;
        text += w;
    }
    return text;
}

std::string path_of(const command& c, char between)
{
    std::string path = c.full_name();
    std::ranges::replace(path, ' ', between);
    return path;
}

std::string in_single_quotes(std::string_view text)
{
    std::string quoted = "'";
    for (const char c : text) {
        if (c == '\'')
            quoted += "'\\''";
        else
            quoted += c;
    }
    return quoted + '\'';
}

// ---- bash ---------------------------------------------------------------------------------

std::string bash_values(const option& o)
{
    if (!o.choices.empty()) return "words '" + joined(o.choices, " ") + '\'';
    switch (o.completes) {
    case completion::file:
        return "files";
    case completion::folder:
        return "folders";
    case completion::topic:
        return "names topics";
    case completion::group:
        return "names groups";
    case completion::projection:
        return "names projections";
    case completion::nothing:
        break;
    }
    return "nothing";
}

std::string bash_command(const command& c)
{
    const auto               path = path_of(c, '/');
    std::vector<std::string> options;
    std::vector<std::string> commands;
    std::string              values;
    std::string              arguments;

    for (const auto& o : options_shown(c)) {
        options.push_back(o.name);
        if (o.letter != 0) options.push_back(std::string{'-', o.letter});
        if (o.is_flag()) continue;
        values += "        " + path + ':' + o.name;
        if (o.letter != 0) values += '|' + path + ":-" + o.letter;
        values += ") _cairn_" + bash_values(o) + "; return ;;\n";
    }
    for (const auto& below : c.commands())
        if (!below->hidden()) commands.push_back(below->name());
    for (const auto& o : c.options())
        if (o->is_argument() && arguments.empty()) arguments = bash_values(*o);

    std::string text = values;
    text += "        " + path + ":*)\n";
    text += "            if [[ $cur == -* ]]; then\n";
    text += "                _cairn_words '" + joined(options, " ") + "'\n";
    if (!commands.empty())
        text += "            else\n                _cairn_words '" + joined(commands, " ") + "'\n";
    else if (!arguments.empty())
        text += "            else\n                _cairn_" + arguments + '\n';
    return text + "            fi ;;\n";
}

// ---- zsh ----------------------------------------------------------------------------------

std::string zsh_text(std::string_view text)
{
    std::string escaped;
    for (const char c : text) {
        if (c == '[' || c == ']' || c == ':' || c == '\\') escaped += '\\';
        if (c == '\'') escaped += "'\\'";
        escaped += c;
    }
    return escaped;
}

std::string zsh_values(const option& o)
{
    if (!o.choices.empty()) return '(' + joined(o.choices, " ") + ')';
    switch (o.completes) {
    case completion::file:
        return "_files";
    case completion::folder:
        return "_files -/";
    case completion::topic:
        return " _cairn_names topics";
    case completion::group:
        return " _cairn_names groups";
    case completion::projection:
        return " _cairn_names projections";
    case completion::nothing:
        break;
    }
    return " ";
}

std::string zsh_option(const option& o)
{
    const std::string help  = '[' + zsh_text(o.help) + ']';
    const std::string value = o.is_flag() ? "" : ':' + zsh_text(o.value) + ':' + zsh_values(o);
    const std::string many  = o.repeated ? "*" : "";

    if (o.letter == 0) return "'" + many + o.name + help + value + '\'';
    const std::string letter = std::string{'-', o.letter};
    if (o.repeated) return "'*'{" + letter + ',' + o.name + "}'" + help + value + '\'';
    return "'(" + letter + ' ' + o.name + ")'{" + letter + ',' + o.name + "}'" + help + value +
           '\'';
}

std::string zsh_function(const command& c)
{
    std::string text = '_' + path_of(c, '_') + "()\n{\n";
    if (!c.commands().empty()) {
        text += "    local line state\n    local -a commands=(\n";
        for (const auto& below : c.commands())
            if (!below->hidden())
                text += "        '" + below->name() + ':' + zsh_text(below->summary()) + "'\n";
        text += "    )\n";
    }
    text += std::string{"    _arguments "} + (c.commands().empty() ? "-s" : "-C -A '-*'");
    for (const auto& o : options_shown(c)) text += " \\\n        " + zsh_option(o);
    if (!c.commands().empty()) {
        text += " \\\n        '1:command:->command' \\\n        '*::argument:->rest'\n";
        text += "    case $state in\n";
        text += "        command) _describe -t commands " + in_single_quotes(c.full_name()) +
                " commands ;;\n";
        text += "        rest)\n            case $words[1] in\n";
        for (const auto& below : c.commands())
            if (!below->hidden())
                text += "                " + below->name() + ") _" + path_of(*below, '_') + " ;;\n";
        return text + "            esac ;;\n    esac\n}\n\n";
    }
    int place = 0;
    for (const auto& o : c.options()) {
        if (!o->is_argument()) continue;
        const std::string at = o->repeated ? "*" : std::to_string(++place);
        text += " \\\n        '" + at + (o->required ? ":" : "::") + o->name + ':' +
                zsh_values(*o) + '\'';
    }
    return text + "\n}\n\n";
}

// ---- fish ---------------------------------------------------------------------------------

std::string fish_quoted(std::string_view text)
{
    std::string quoted = "'";
    for (const char c : text) {
        if (c == '\'' || c == '\\') quoted += '\\';
        quoted += c;
    }
    return quoted + '\'';
}

std::string fish_values(const option& o)
{
    if (!o.choices.empty()) return " -xa '" + joined(o.choices, " ") + '\'';
    switch (o.completes) {
    case completion::file:
        return " -rF";
    case completion::folder:
        return " -xa '(__fish_complete_directories)'";
    case completion::topic:
        return " -xa '(__cairn_names topics)'";
    case completion::group:
        return " -xa '(__cairn_names groups)'";
    case completion::projection:
        return " -xa '(__cairn_names projections)'";
    case completion::nothing:
        break;
    }
    return " -x";
}

std::string fish_command(const command& c)
{
    const std::string line = "complete -c cairn -n '__cairn_at " + path_of(c, '/') + "'";
    std::string       text;
    for (const auto& below : c.commands())
        if (!below->hidden())
            text += line + " -a " + below->name() + " -d " + fish_quoted(below->summary()) + '\n';
    for (const auto& o : options_shown(c)) {
        text += line;
        if (o.letter != 0) text += std::string{" -s "} + o.letter;
        text += " -l " + o.name.substr(2);
        if (!o.is_flag()) text += fish_values(o);
        text += " -d " + fish_quoted(o.help) + '\n';
    }
    for (const auto& o : c.options())
        if (o->is_argument() && (!o->choices.empty() || o->completes != completion::nothing))
            text += line + fish_values(*o) + '\n';
    return text;
}

std::string known_paths(const command& root, std::string_view between)
{
    std::vector<std::string> paths;
    for_each_command(root, [&](const command& c) {
        if (c.parent()) paths.push_back(path_of(c, '/'));
    });
    return joined(paths, between);
}

}  // namespace

std::string bash_completion(const command& root)
{
    std::string text =
        "# bash completion for cairn. Load it with: source <(cairn completion bash)\n"
        "\n"
        "_cairn_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$cur\"); }\n"
        "_cairn_files() { compopt -o default 2>/dev/null; COMPREPLY=(); }\n"
        "_cairn_folders() { compopt -o filenames 2>/dev/null;"
        " mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"); }\n"
        "_cairn_names() { _cairn_words \"$(cairn generate \"$1\" ${data:+--data \"$data\"}"
        " 2>/dev/null)\"; }\n"
        "_cairn_nothing() { COMPREPLY=(); }\n"
        "\n"
        "_cairn()\n"
        "{\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
        "    local path=cairn data='' i\n"
        "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
        "        case ${COMP_WORDS[i]} in\n"
        "            -d|--data) data=${COMP_WORDS[i + 1]} ;;\n"
        "        esac\n"
        "        case $path/${COMP_WORDS[i]} in\n"
        "            " +
        known_paths(root, "|") +
        ")\n"
        "                path+=/${COMP_WORDS[i]} ;;\n"
        "        esac\n"
        "    done\n"
        "    case $path:$prev in\n";
    for_each_command(root, [&](const command& c) { text += bash_command(c); });
    return text + "    esac\n}\n\ncomplete -F _cairn cairn\n";
}

std::string zsh_completion(const command& root)
{
    std::string text =
        "#compdef cairn\n"
        "# zsh completion for cairn. Put it as _cairn into a folder of $fpath.\n"
        "\n"
        "_cairn_names()\n"
        "{\n"
        "    local -a data names\n"
        "    local at=${words[(I)(-d|--data)]}\n"
        "    (( at )) && data=(--data ${words[at + 1]})\n"
        "    names=(${(f)\"$(cairn generate $1 $data 2>/dev/null)\"})\n"
        "    compadd -a names\n"
        "}\n\n";
    for_each_command(root, [&](const command& c) { text += zsh_function(c); });
    return text +
           "if [[ $funcstack[1] == _cairn ]]; then _cairn \"$@\"; else compdef _cairn cairn; "
           "fi\n";
}

std::string fish_completion(const command& root)
{
    std::string text =
        "# fish completion for cairn. Load it with: cairn completion fish | source\n"
        "\n"
        "function __cairn_path\n"
        "    set -l path cairn\n"
        "    for word in (commandline -opc)[2..-1]\n"
        "        switch $path/$word\n"
        "            case " +
        known_paths(root, " ") +
        "\n"
        "                set path $path/$word\n"
        "        end\n"
        "    end\n"
        "    echo $path\n"
        "end\n"
        "\n"
        "function __cairn_at\n"
        "    test (__cairn_path) = $argv[1]\n"
        "end\n"
        "\n"
        "function __cairn_names\n"
        "    set -l words (commandline -opc)\n"
        "    set -l data\n"
        "    if set -l at (contains -i -- --data $words; or contains -i -- -d $words)\n"
        "        set data --data $words[(math $at + 1)]\n"
        "    end\n"
        "    cairn generate $argv[1] $data 2>/dev/null\n"
        "end\n"
        "\n"
        "complete -c cairn -f\n";
    for_each_command(root, [&](const command& c) { text += fish_command(c); });
    return text;
}

}  // namespace cairn::cli
