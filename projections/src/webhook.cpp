// SPDX-License-Identifier: Apache-2.0
#include "stored_tables.hpp"

#include <cairn/projections/feed_sink.hpp>

#include <cairn/log/error.hpp>

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <mutex>

namespace cairn {

namespace {

/// So much of an answer is told.
constexpr std::size_t answer_bytes_max = 200;

struct free_text
{
    void operator()(char* s) const noexcept { curl_free(s); }
};
struct free_url
{
    void operator()(CURLU* u) const noexcept { curl_url_cleanup(u); }
};
struct free_list
{
    void operator()(curl_slist* l) const noexcept { curl_slist_free_all(l); }
};
struct free_handle
{
    void operator()(CURL* h) const noexcept { curl_easy_cleanup(h); }
};

void start_curl()
{
    static const bool started = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    if (!started) throw error{errc::out_of_memory, "libcurl does not start"};
}

/// Scheme and host. The rest may be a secret, and is told to nobody. Throws invalid_argument.
std::string host_of(const std::string& address)
{
    const std::unique_ptr<CURLU, free_url> url{curl_url()};
    const auto                             part = [&](CURLUPart which) {
        char* text = nullptr;
        if (curl_url_get(url.get(), which, &text, 0) != CURLUE_OK) return std::string{};
        const std::unique_ptr<char, free_text> owned{text};
        return std::string{text};
    };
    const bool is_url =
        url && curl_url_set(url.get(), CURLUPART_URL, address.c_str(), 0) == CURLUE_OK;
    const auto scheme = is_url ? part(CURLUPART_SCHEME) : "";
    if (scheme != "http" && scheme != "https")
        throw error{errc::invalid_argument,
                    "a webhook needs an address of http or https: https://host/path"};
    const auto port = part(CURLUPART_PORT);
    return scheme + "://" + part(CURLUPART_HOST) + (port.empty() ? "" : ":" + port);
}

class webhook_sink final : public feed_sink
{
public:
    webhook_sink(const std::string& address, webhook_options o)
        : options_{std::move(o)}, host_{host_of(address)}
    {
        check_options();
        start_curl();
        curl_.reset(curl_easy_init());
        if (!curl_) throw error{errc::out_of_memory, "libcurl gives no handle"};
        set(CURLOPT_URL, address.c_str());
        set(CURLOPT_PROTOCOLS_STR, "http,https");
        set(CURLOPT_POST, 1L);
        set(CURLOPT_NOSIGNAL, 1L);  // there are threads
        set(CURLOPT_TIMEOUT_MS, static_cast<long>(options_.timeout.count()));
        set(CURLOPT_USERAGENT, "cairn");
        set(CURLOPT_ERRORBUFFER, why_.data());
        set(CURLOPT_WRITEDATA, &answer_);
        set(
            CURLOPT_WRITEFUNCTION, +[](const char* at, std::size_t, std::size_t n, void* to) {
                auto& answer = *static_cast<std::string*>(to);
                answer.append(at, std::min(n, answer_bytes_max - answer.size()));
                return n;
            });
    }

    std::size_t deliver(std::span<const feed_line> lines) override
    {
        std::string body;
        std::size_t n = 0;
        for (; n < lines.size() && n < options_.lines_max; ++n) {
            const auto& json = lines[n].json;
            if (n > 0 && body.size() + json.size() >= options_.bytes_max) break;
            (body += json) += '\n';
        }
        // One key has one body always: where batches fall otherwise, it is another key.
        auto key = lines[0].id;
        if (n > 1) key += "+" + std::to_string(n - 1) + "/" + std::to_string(detail::hash_of(body));
        const std::lock_guard lock{mutex_};
        post(body, key);
        return n;
    }

private:
    void check_options() const
    {
        const auto refuse = [](const std::string& why) {
            throw error{errc::invalid_argument, "webhook_options: " + why};
        };
        if (options_.lines_max < 1) refuse("lines_max is at least 1");
        if (options_.timeout <= std::chrono::milliseconds{0})
            refuse("timeout is more than 0: a projection cannot wait forever");
        for (const auto& [name, value] : options_.headers)
            if (name.empty() || name.find_first_of(":\r\n") != std::string::npos ||
                value.find_first_of("\r\n") != std::string::npos)
                refuse("the header '" + name + "' is none");
    }

    template <class T>
    void set(CURLoption option, T value)
    {
        if (curl_easy_setopt(curl_.get(), option, value) != CURLE_OK)
            throw error{errc::out_of_memory, "libcurl does not take an option"};
    }

    void post(const std::string& body, const std::string& key)
    {
        std::unique_ptr<curl_slist, free_list> headers;
        const auto                             add = [&](const std::string& header) {
            auto* const longer = curl_slist_append(headers.get(), header.c_str());
            if (longer == nullptr) throw error{errc::out_of_memory, "no memory for headers"};
            (void)headers.release();
            headers.reset(longer);
        };
        add("Content-Type: application/x-ndjson");
        add("Idempotency-Key: " + key);
        add("Expect:");  // or a second is lost with servers that do not know it
        for (const auto& [name, value] : options_.headers) add(name + ": " + value);
        set(CURLOPT_HTTPHEADER, headers.get());
        set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
        set(CURLOPT_POSTFIELDS, body.data());
        answer_.clear();
        why_.fill('\0');
        const auto sent = curl_easy_perform(curl_.get());
        set(CURLOPT_HTTPHEADER, static_cast<curl_slist*>(nullptr));
        if (sent != CURLE_OK)
            fail(errc::store_unavailable, why_[0] != '\0' ? why_.data() : curl_easy_strerror(sent));
        long status = 0;
        curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status);
        if (status >= 200 && status < 300) return;
        const bool passes = status == 408 || status == 425 || status == 429 || status >= 500;
        fail(passes ? errc::store_unavailable : errc::delivery_failed,
             "it answers " + std::to_string(status) + told_answer());
    }

    std::string told_answer() const
    {
        if (answer_.empty()) return {};
        std::string text = ": ";
        for (const char c : answer_) text += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
        return text;
    }

    [[noreturn]] void fail(errc code, const std::string& why) const
    {
        throw error{code, "webhook " + host_ + ": " + why +
                              (code == errc::store_unavailable ? "; it is tried again"
                                                               : "; mend that, and start again")};
    }

    const webhook_options options_;
    const std::string     host_;

    std::mutex                         mutex_;  // what follows
    std::string                        answer_;
    std::array<char, CURL_ERROR_SIZE>  why_{};
    std::unique_ptr<CURL, free_handle> curl_;
};

}  // namespace

std::shared_ptr<feed_sink> webhook(std::string url, webhook_options o)
{
    return std::make_shared<webhook_sink>(url, std::move(o));
}

}  // namespace cairn
