#include "base/weaken.h"

#ifdef DRYDOCK_ENABLE_WEAKEN
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEAKEN(name, what, test) { #name, what },
static const struct { const char *name, *what; } NAMES[] = {
#include "base/weaken.def"
};
#undef WEAKEN

static bool left_out[WEAK_COUNT];

/* Before main(): no thread runs yet, and nothing was checked. */
static void __attribute__((constructor)) weaken_read(void)
{
	const char *p = getenv("DRYDOCK_WEAKEN");

	while (p && *p) {
		size_t n = strcspn(p, ","), i = 0;

		while (i < WEAK_COUNT && (strlen(NAMES[i].name) != n || memcmp(NAMES[i].name, p, n) != 0))
			i++;
		if (i == WEAK_COUNT) {
			fprintf(stderr, "DRYDOCK_WEAKEN: there is no check named %.*s\n", (int)n, p);
			abort();
		}
		fprintf(stderr, "DRYDOCK_WEAKEN: %s is left out: %s\n", NAMES[i].name, NAMES[i].what);
		left_out[i] = true;
		p += n + (p[n] == ',');
	}
}

bool weak(enum weak check)
{
	return left_out[check];
}
#endif
