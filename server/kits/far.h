/*
 * far: how far a kit is, in files, printed once a second while something goes on, as the contract wants it (sync-scripts/README): {"done":...}, and
 * "total" where it is known. Of libc only, for kits of either kind.
 */
#ifndef DRYDOCK_KITS_FAR_H
#define DRYDOCK_KITS_FAR_H

#include <stdint.h>
#include <time.h>

struct far {
	uint64_t done, total; /* total 0: not known; done never passes one that is */
	time_t told;
};

void far_begin(struct far *f, uint64_t total); /* nothing is done; the first line comes a second later */
void far_more(struct far *f, uint64_t files); /* 0: within a file. Nothing is told before it has begun */

#endif
