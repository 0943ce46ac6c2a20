// SPDX-License-Identifier: Apache-2.0
//
// help, completion, and (hidden) generate: what the build and the completions ask for.
#include "documents.hpp"
#include "session.hpp"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace cairn::cli {

namespace {

int show_help(const command& root, const std::vector<std::string>& words, session& s)
{
    const command* at = &root;
    for (const auto& word : words) {
        at = at->find(word);
        if (!at) throw usage_error{"there is no command '" + word + "'; see cairn --help"};
    }
    s.out().write(help_text(*at, s.out().is_coloured()));
    return 0;
}

int show_completion(const command& root, const std::string& shell, session& s)
{
    s.out().write(shell == "bash"  ? bash_completion(root)
                  : shell == "zsh" ? zsh_completion(root)
                                   : fish_completion(root));
    return 0;
}

int write_manual(const command& root, const std::string& folder)
{
    std::filesystem::create_directories(folder);
    for (const auto& page : manual_pages(root)) {
        std::ofstream file{std::filesystem::path{folder} / page.name, std::ios::binary};
        file << page.text;
        file.close();
        if (!file) throw failure{"output_failed", folder + '/' + page.name + " cannot be written"};
    }
    return 0;
}

}  // namespace

void add_help(command& root)
{
    {
        auto  words = std::make_shared<std::vector<std::string>>();
        auto& c     = root.add("help", "Show what a command does");
        c.arguments("COMMAND", *words, "The command, word by word; without any, all of them.")
            .required = false;
        c.shows("cairn help topic create", "The same as cairn topic create --help.");
        c.does([&root, words](session& s) { return show_help(root, *words, s); });
    }
    {
        auto  shell = std::make_shared<std::string>();
        auto& c     = root.add("completion", "Print the completion of commands for a shell");
        c.argument("SHELL", *shell, "bash, zsh or fish.").choices = {"bash", "zsh", "fish"};
        c.shows("source <(cairn completion bash)", "For the shell that runs; bash.");
        c.shows("cairn completion zsh > ~/.zfunc/_cairn", "zsh, where ~/.zfunc is in $fpath.");
        c.shows("cairn completion fish > ~/.config/fish/completions/cairn.fish", "fish.");
        c.does([&root, shell](session& s) { return show_completion(root, *shell, s); });
    }

    auto& generate = root.add_hidden("generate", "What the build and the completions ask for");
    {
        auto  folder = std::make_shared<std::string>();
        auto& c      = generate.add("man", "Write the manual pages into a folder");
        c.argument("FOLDER", *folder, "Where to.").completes = completion::folder;
        c.does([&root, folder](session&) { return write_manual(root, *folder); });
    }
    generate.add("reference", "Print docs/reference/cli.md").does([&root](session& s) {
        s.out().write(reference_text(root));
        return 0;
    });
    generate.add("tree", "Print the tree of commands as JSON").does([&root](session& s) {
        s.out().write(tree_json(root));
        return 0;
    });
    {
        auto  o = std::make_shared<common_options>();
        auto& c = generate.add("topics", "Print the names of the topics");
        add_data_option(c, *o);
        c.does([o](session& s) {
            const auto log = s.open_to_read(*o);
            for (const auto& name : log.topics()) s.out().write(name + '\n');
            return 0;
        });
    }
    {
        auto  o = std::make_shared<common_options>();
        auto& c = generate.add("groups", "Print the names of the groups");
        add_data_option(c, *o);
        c.does([o](session& s) {
            const auto log = s.open_to_read(*o);
            for (const auto& name : log.groups().list()) s.out().write(name + '\n');
            return 0;
        });
    }
    add_projection_names(generate);
}

}  // namespace cairn::cli
