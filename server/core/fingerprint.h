/*
 * fingerprint: what is approved: the bytes of a file and its executable bit. SHA-256 decides; MD5 is recorded and shown
 * and never compared.
 */
#ifndef DRYDOCK_CORE_FINGERPRINT_H
#define DRYDOCK_CORE_FINGERPRINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"

struct fingerprint {
	struct md5 md5;
	struct sha256 sha256;
	uint64_t size;
	bool exec;
};

/* SHA-256, size and executable bit. */
bool fingerprint_equal(const struct fingerprint *a, const struct fingerprint *b);

#endif
