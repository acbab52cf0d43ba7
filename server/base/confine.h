/*
 * confine: what shuts an outside program in, where the kernel has it: landlock for files, a system call filter for the
 * network and for other processes, limits of memory and time.
 */
#ifndef DRYDOCK_BASE_CONFINE_H
#define DRYDOCK_BASE_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct confine_path {
	const char *path;
	bool write; /* else read only */
};
/*
 * A rule set that allows system directories, and these paths (those that do not exist are left out). *fd -1: this
 * kernel has no landlock, and the program runs with what its user may do. The caller closes it.
 */
enum err confine_open(const struct confine_path *paths, size_t n, int *fd) MUST_CHECK;
void confine_self(void *fd); /* for spawn's before_exec; arg: int * */
/*
 * The same for a kit, which may use the network and other programs. It cannot leave its session, all of which ends with it
 * (spawn.h), and it ends with the thread that started it. Signals, limits and priorities reach processes of that session only:
 * the kernel holds whoever names another process until we have looked (confine_kit_answer). Where it cannot ask us, the kit
 * can do that to nobody but its own group. It can debug nobody. Where seccomp answers EINVAL, and on other processors than
 * x86-64 and aarch64, there is no filter: what landlock allows is allowed.
 */
struct confine_kit {
	int rules; /* from confine_open() */
	int ours, theirs; /* sockets, from confine_kit_open(): the child sends what it is asked through */
};
enum err confine_kit_open(struct confine_kit *c, const struct confine_path *paths, size_t n) MUST_CHECK;
void confine_kit_close(struct confine_kit *c); /* what is open of it */
/* For spawn, with c as before_arg: before_exec, watch and answer. */
void confine_kit(void *c);
int confine_kit_watch(void *c);
void confine_kit_answer(void *c, int listener, pid_t leader);

/* What this kernel has of it. */
struct confine_able {
	bool files; /* landlock */
	bool processes; /* it asks us who may be sent a signal */
};
void confine_able(struct confine_able *out);

/*
 * For a program that turns hostile bytes into text and needs nothing else: as confine_self(), and no socket, no signal to
 * anybody, no new process, no file written, so much memory and processor time.
 */
struct confine_reader {
	int fd; /* from confine_open() */
	uint64_t memory; /* bytes of address space */
	unsigned seconds; /* of processor time */
};
void confine_reader(void *reader); /* for spawn's before_exec; arg: struct confine_reader * */

#endif
