/*
 * Any bytes as an armored signature. Only the one signature that the key really made is good, however it is written.
 * A release's signature reaches the receiver from outside, before anything else is believed.
 */
#include <stdlib.h>
#include <string.h>

#include "repo/sshsig.h"

static void must(int holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* RFC 8032, test 1 */
	static const uint8_t seed[32] = { 0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
		0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60 };
	static const uint8_t key[32] = { 0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
		0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a };
	struct buf good = BUF_INIT(SSHSIG_ARMORED_LIMIT), text = BUF_INIT(1u << 20);
	uint8_t parsed[32];

	must(sshsig_sign(seed, key, "drydock-release", "release", 7, &good) == ERR_OK);
	must(sshsig_verify(key, "drydock-release", "release", 7, good.p, good.len) == ERR_OK);
	/* another text under the same signature, and this input as a signature of what the key never signed */
	must(sshsig_verify(key, "drydock-release", data, size, good.p, good.len) == ERR_OK ? size == 7 && memcmp(data, "release", 7) == 0 : 1);
	must(sshsig_verify(key, "drydock-release", "another", 7, (const char *)data, size) != ERR_OK);
	must(sshsig_verify(key, "git", "release", 7, (const char *)data, size) != ERR_OK);
	if (sshsig_verify(key, "drydock-release", "release", 7, (const char *)data, size) == ERR_OK)
		must(size >= 200);
	buf_add(&text, data, size);
	if (!memchr(buf_text(&text), '\0', text.len) && sshsig_parse_public(parsed, buf_text(&text)) == ERR_OK)
		must(size >= 80);
	buf_release(&good);
	buf_release(&text);
	return 0;
}
