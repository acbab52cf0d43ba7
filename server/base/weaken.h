/*
 * weaken: named checks that can be left out, one at a time, in a build of its own, to prove that a test notices.
 *
 * base/weaken.def lists them. In code: if (!allowed && !WEAK(role_act)) refuse. In an ordinary build WEAK() is the constant
 * false, whatever the environment says. Configured with --enable-weaken, the programs read DRYDOCK_WEAKEN (names with
 * commas between) at their start, say on standard error what they leave out, and end if a name is not known.
 * tests/weaken/run proves for each name that the test beside it in the list fails. Never install such a build.
 */
#ifndef DRYDOCK_BASE_WEAKEN_H
#define DRYDOCK_BASE_WEAKEN_H

#include <stdbool.h>

#define WEAKEN(name, what, test) WEAK_##name,
enum weak {
#include "base/weaken.def"
	WEAK_COUNT
};
#undef WEAKEN

#ifdef DRYDOCK_ENABLE_WEAKEN
bool weak(enum weak check);
#define WEAK(name) weak(WEAK_##name)
#else
#define WEAK(name) ((void)WEAK_##name, false)
#endif

#endif
