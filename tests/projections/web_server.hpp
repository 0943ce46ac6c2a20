// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cairn::testing {

/// What it is asked.
struct web_request
{
    std::string head, body;

    /// Of a header; "" where it is not there.
    std::string header(const std::string& name) const
    {
        const auto at = head.find("\r\n" + name + ": ");
        if (at == std::string::npos) return {};
        const auto begin = at + name.size() + 4;
        return head.substr(begin, head.find("\r\n", begin) - begin);
    }
};

inline std::string web_answer(int status, const std::string& body = {})
{
    return "HTTP/1.1 " + std::to_string(status) +
           " X\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
}

/// A server on the loopback, on a free port, that answers one request after the other with what it
/// is told to. It ends with the object.
class web_server
{
public:
    /// What it sends, whatever that is; then it closes.
    using answers = std::function<std::string(const web_request&)>;

    explicit web_server(answers a) : answers_{std::move(a)}
    {
        listens_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in at{};
        at.sin_family      = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size     = sizeof at;
        if (::bind(listens_, reinterpret_cast<sockaddr*>(&at), size) != 0 ||
            ::listen(listens_, 16) != 0 ||
            ::getsockname(listens_, reinterpret_cast<sockaddr*>(&at), &size) != 0)
            throw std::runtime_error{"no server on the loopback"};
        port_   = ntohs(at.sin_port);
        serves_ = std::thread{[this] { serve(); }};
    }
    ~web_server()
    {
        ::shutdown(listens_, SHUT_RDWR);
        serves_.join();
        ::close(listens_);
    }
    web_server(const web_server&)            = delete;
    web_server& operator=(const web_server&) = delete;

    std::string address() const { return "http://127.0.0.1:" + std::to_string(port_) + "/hook"; }

    std::vector<web_request> requests() const
    {
        const std::lock_guard lock{mutex_};
        return requests_;
    }

    /// An answer that never comes: it waits until the client has gone.
    static constexpr const char* silence = "silence";

private:
    void serve()
    {
        for (;;) {
            const int client = ::accept4(listens_, nullptr, nullptr, SOCK_CLOEXEC);
            if (client < 0) return;
            const auto asked = read(client);
            {
                const std::lock_guard lock{mutex_};
                requests_.push_back(asked);
            }
            const auto answer = answers_(asked);
            char       some[512];
            if (answer == silence)
                while (::recv(client, some, sizeof some, 0) > 0) continue;
            else
                (void)::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
            ::close(client);
        }
    }

    static web_request read(int client)
    {
        std::string all;
        std::size_t body = 0, wanted = 0;
        char        some[4096];
        while (body == 0 || all.size() < wanted) {
            const auto n = ::recv(client, some, sizeof some, 0);
            if (n <= 0) break;
            all.append(some, static_cast<std::size_t>(n));
            const auto end = all.find("\r\n\r\n");
            if (body > 0 || end == std::string::npos) continue;
            body              = end + 4;
            const auto length = web_request{all.substr(0, end + 2), {}}.header("Content-Length");
            wanted            = body + (length.empty() ? 0 : std::stoul(length));
        }
        return {all.substr(0, body), all.substr(body)};
    }

    answers                  answers_;
    int                      listens_ = -1;
    int                      port_    = 0;
    std::thread              serves_;
    mutable std::mutex       mutex_;
    std::vector<web_request> requests_;  // protected by it
};

}  // namespace cairn::testing
