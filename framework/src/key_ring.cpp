// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/key_ring.hpp>

#include "key_store.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <memory>

namespace cairn {
namespace detail {

namespace {

constexpr std::size_t head_bytes    = 11;
constexpr std::size_t nonce_bytes   = 12;
constexpr std::size_t tag_bytes     = 16;
constexpr std::size_t subjects_kept = 4096;
constexpr std::size_t subject_max   = 1024;  // as a stream's id, which it is in forgotten_topic

constexpr const char* snapshots_subject = "__snapshots";
constexpr const char* forgotten_subject = "__forgotten";

void check_subject(const std::string& subject)
{
    if (subject.empty() || subject.size() > subject_max)
        throw error{errc::invalid_argument, "a subject of " + std::to_string(subject.size()) +
                                                " bytes: it has 1 to " +
                                                std::to_string(subject_max)};
}

void random_bytes(unsigned char* to, std::size_t n)
{
    if (RAND_bytes(to, static_cast<int>(n)) != 1)
        throw storage_error{errc::io_failed, "OpenSSL gives no random bytes: nothing personal can "
                                             "be recorded"};
}

const unsigned char* bytes_of(std::string_view s)
{
    return reinterpret_cast<const unsigned char*>(s.data());
}

unsigned char* bytes_of(std::string& s) { return reinterpret_cast<unsigned char*>(s.data()); }

/// One use of AES-256-GCM.
class gcm
{
public:
    gcm() : context_{EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free}
    {
        if (!context_) throw std::bad_alloc{};
    }
    EVP_CIPHER_CTX* get() const { return context_.get(); }

private:
    std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context_;
};

[[noreturn]] void fail_cipher()
{
    throw error{errc::malformed_event, "OpenSSL could not encrypt what is personal"};
}

}  // namespace

key_store::key_store(commit_log log, std::string topic)
    : log_{std::move(log)}, topic_{std::move(topic)}
{
    if (log_.try_describe_topic(topic_)) return;  // also of a log that is only read
    topic_config compacted;
    compacted.set("cleanup.policy", "compact");
    compacted.set("delete.retention.ms", "0");
    log_.ensure_topic(topic_, 1, compacted);
}

std::optional<key_store::key> key_store::find(const std::string& subject)
{
    const stream_id stream{topic_, subject};
    const auto      newest = log_.stream_version(stream);
    if (newest.value == 0) return std::nullopt;
    const std::lock_guard lock{mutex_};
    if (const auto known = known_.find(subject);
        known != known_.end() && known->second.made.next() == newest)
        return known->second;
    known_.erase(subject);
    auto        range = log_.read_stream_backwards(stream);
    const auto* r     = range.next();
    if (!r || !r->value || r->version.next() != newest) return std::nullopt;
    key k;
    if (r->value->size() != k.bytes.size())
        throw error{errc::malformed_event, "the key of " + subject + " in topic " + topic_ +
                                               " is not one: restore the keys from a backup"};
    k.made = r->version;
    std::copy(r->value->begin(), r->value->end(), k.bytes.begin());
    if (known_.size() == subjects_kept) known_.clear();
    known_.emplace(subject, k);
    return k;
}

key_store::key key_store::find_or_make(const std::string& subject)
{
    for (;;) {
        const stream_id stream{topic_, subject};
        const auto      at = log_.stream_version(stream);
        if (const auto k = find(subject)) return *k;
        key made;
        made.made = at;
        random_bytes(made.bytes.data(), made.bytes.size());
        record r;
        r.key = subject;
        r.value.emplace(made.bytes.begin(), made.bytes.end());
        append_request request;
        request.records.push_back({topic_, std::move(r)});
        request.expect.push_back({stream, expected_version::exactly(at)});
        if (log_.try_append(request)) return made;  // else another was quicker
    }
}

std::string key_store::seal(const std::string& subject, bytes_view plain,
                            std::string_view bound_to)
{
    check_subject(subject);  // what could not be forgotten is not recorded
    const auto  k = find_or_make(subject);
    std::string sealed(1, '\1');
    for (int i = 0; i < 8; ++i)
        sealed += static_cast<char>(static_cast<std::uint64_t>(k.made.value) >> (8 * i));
    sealed += static_cast<char>(subject.size());
    sealed += static_cast<char>(subject.size() >> 8);
    sealed += subject;
    const auto nonce_at = sealed.size();
    sealed.resize(nonce_at + nonce_bytes + plain.size() + tag_bytes);
    auto* const nonce = bytes_of(sealed) + nonce_at;
    random_bytes(nonce, nonce_bytes);

    const gcm c;
    int       n = 0;
    auto*     to = nonce + nonce_bytes;
    if (EVP_EncryptInit_ex(c.get(), EVP_aes_256_gcm(), nullptr, k.bytes.data(), nonce) != 1 ||
        EVP_EncryptUpdate(c.get(), nullptr, &n, bytes_of(sealed),
                          static_cast<int>(nonce_at)) != 1 ||
        EVP_EncryptUpdate(c.get(), nullptr, &n, bytes_of(bound_to),
                          static_cast<int>(bound_to.size())) != 1 ||
        EVP_EncryptUpdate(c.get(), to, &n, bytes_of(plain), static_cast<int>(plain.size())) != 1 ||
        EVP_EncryptFinal_ex(c.get(), to + n, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_GCM_GET_TAG, tag_bytes, to + plain.size()) != 1)
        fail_cipher();
    return sealed;
}

std::optional<std::string> key_store::open(bytes_view sealed, std::string_view bound_to)
{
    const auto damaged = [](const char* why) {
        return error{errc::malformed_event, std::string{"what is personal in an event "} + why};
    };
    if (sealed.size() < head_bytes || sealed[0] != 1)
        throw damaged("is of a format that this Cairn does not know");
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(sealed[i]); };
    std::uint64_t made = 0;
    for (std::size_t i = 0; i < 8; ++i) made |= std::uint64_t{byte(1 + i)} << (8 * i);
    const std::size_t n        = byte(9) | byte(10) << 8;
    const auto        nonce_at = head_bytes + n;
    if (sealed.size() < nonce_at + nonce_bytes + tag_bytes) throw damaged("is cut short");

    const auto k = find(std::string{sealed.substr(head_bytes, n)});
    if (!k || k->made.value != static_cast<std::int64_t>(made)) return std::nullopt;

    const auto* const nonce = bytes_of(sealed) + nonce_at;
    const auto* const from  = nonce + nonce_bytes;
    const auto        size  = sealed.size() - nonce_at - nonce_bytes - tag_bytes;
    std::string       plain(size, '\0');
    std::string       tag{sealed.substr(sealed.size() - tag_bytes)};
    const gcm         c;
    int               done = 0;
    if (EVP_DecryptInit_ex(c.get(), EVP_aes_256_gcm(), nullptr, k->bytes.data(), nonce) != 1 ||
        EVP_DecryptUpdate(c.get(), nullptr, &done, bytes_of(sealed),
                          static_cast<int>(nonce_at)) != 1 ||
        EVP_DecryptUpdate(c.get(), nullptr, &done, bytes_of(bound_to),
                          static_cast<int>(bound_to.size())) != 1 ||
        EVP_DecryptUpdate(c.get(), bytes_of(plain), &done, from, static_cast<int>(size)) != 1 ||
        EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_GCM_SET_TAG, tag_bytes, tag.data()) != 1)
        fail_cipher();
    if (EVP_DecryptFinal_ex(c.get(), bytes_of(plain) + done, &done) != 1)
        throw damaged("was changed, or belongs to another event: run `cairn verify`");
    return plain;
}

std::optional<std::shared_lock<std::shared_mutex>> key_store::remembered_since(std::uint64_t then)
{
    std::shared_lock lock{forgetting_};
    if (forgotten() != then) return std::nullopt;
    return lock;
}

std::string key_store::seal_snapshot(bytes_view plain, std::string_view bound_to)
{
    return seal(snapshots_subject, plain, bound_to);
}

std::uint64_t key_store::forgotten() const
{
    return static_cast<std::uint64_t>(log_.stream_version({topic_, forgotten_subject}).value);
}

// All in one append, which expects that no other ring has made a key since it was looked for: one
// that escaped would keep readable what was sealed before.
bool key_store::try_destroy(const std::string& subject)
{
    append_request request;
    const auto     destroy = [&](const std::string& one) {
        record r;
        r.key = one;
        request.records.push_back({topic_, std::move(r)});
    };
    for (const auto& one : {subject, std::string{snapshots_subject}}) {
        const stream_id stream{topic_, one};
        request.expect.push_back(
            {stream, expected_version::exactly(log_.stream_version(stream))});
        if (find(one)) destroy(one);
    }
    destroy(forgotten_subject);
    return log_.try_append(request).has_value();
}

bool key_store::knows(const std::string& subject) { return find(subject).has_value(); }

void key_store::forget(const std::string& subject)
{
    check_subject(subject);
    {
        const std::unique_lock none_is_sealed{forgetting_};
        while (!try_destroy(subject)) {}
        const std::lock_guard lock{mutex_};
        for (const auto& one : {subject, std::string{snapshots_subject}}) {
            const auto known = known_.find(one);
            if (known == known_.end()) continue;
            OPENSSL_cleanse(known->second.bytes.data(), known->second.bytes.size());
            known_.erase(known);
        }
    }
    // The tombstone hides the key; this takes it from the disk.
    log_.roll_segment();
    log_.clean();
}

}  // namespace detail

key_ring::key_ring(commit_log log, const std::string& topic)
    : store_{std::make_shared<detail::key_store>(std::move(log), topic)}
{
}

bool key_ring::knows(const std::string& subject) const { return store_->knows(subject); }

void key_ring::forget(const std::string& subject) const { store_->forget(subject); }

}  // namespace cairn
