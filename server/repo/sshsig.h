/*
 * sshsig: OpenSSH's signature format (PROTOCOL.sshsig) with Ed25519 keys and SHA-512, and nothing else of it.
 *
 * What `git log --show-signature` and `ssh-keygen -Y verify` check. Needs libcrypto and base/ only and is linked into
 * libbase.a, for programs without a git library. The verifier accepts exactly this algorithm, this hash and the one key it is
 * given: there is nothing to negotiate and so nothing to downgrade.
 */
#ifndef DRYDOCK_REPO_SSHSIG_H
#define DRYDOCK_REPO_SSHSIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define SSHSIG_ARMORED_LIMIT 4096 /* bytes: an armored Ed25519 signature has about 300 */

/* SSH's numbers and strings. */
void sshsig_put_u32(struct buf *b, uint32_t v);
void sshsig_put_string(struct buf *b, const void *p, size_t n);

/* The public key as SSH writes it on the wire ("ssh-ed25519", 32 bytes), and back. */
#define SSHSIG_BLOB_SIZE 51
void sshsig_blob(uint8_t blob[SSHSIG_BLOB_SIZE], const uint8_t public_key[32]);
/* From "ssh-ed25519 AAAA..." with anything behind a blank ignored. ERR_INPUT. */
enum err sshsig_parse_public(uint8_t public_key[32], const char *text) MUST_CHECK;

/* seed: the private half, 32 bytes. Deterministic. */
enum err sshsig_sign(const uint8_t seed[32], const uint8_t public_key[32], const char *space, const void *p, size_t n,
    struct buf *armored) MUST_CHECK;
/* ERR_DENIED if it is not a good signature by that key in that namespace over these bytes. */
enum err sshsig_verify(const uint8_t public_key[32], const char *space, const void *p, size_t n, const char *armored,
    size_t armored_len) MUST_CHECK;
/* The key that an armored signature says it is by: to be verified with. ERR_DENIED: it is none of Ed25519. */
enum err sshsig_signer(uint8_t public_key[32], const char *armored, size_t armored_len) MUST_CHECK;
/* The 64 bytes that are all of a signature that its key, its namespace and its form do not say; and back. */
#define SSHSIG_RAW_SIZE 64
enum err sshsig_raw(uint8_t raw[SSHSIG_RAW_SIZE], const char *armored, size_t armored_len) MUST_CHECK; /* ERR_DENIED */
enum err sshsig_armor(const uint8_t public_key[32], const char *space, const uint8_t raw[SSHSIG_RAW_SIZE], struct buf *armored) MUST_CHECK;

#endif
