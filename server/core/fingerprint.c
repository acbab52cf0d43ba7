#include "core/fingerprint.h"

bool fingerprint_equal(const struct fingerprint *a, const struct fingerprint *b)
{
	return sha256_equal(&a->sha256, &b->sha256) && a->size == b->size && a->exec == b->exec;
}
