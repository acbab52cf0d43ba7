#include "base/failpoint.h"

#ifdef DRYDOCK_ENABLE_FAILPOINTS
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define FAILPOINT_AT(name, where) #name,
static const char *const NAMES[] = {
#include "base/failpoint.def"
};
#undef FAILPOINT_AT

void (*_Atomic failpoint_hook)(const char *name);

static struct failpoint_control own = { .magic = FAILPOINT_MAGIC, .points = FAIL_COUNT };
static struct failpoint_control *control = &own;

static _Noreturn void unusable(const char *file)
{
	fprintf(stderr, "DRYDOCK_FAILPOINTS: %s is not a file of tests/lib/failpoints.py for this program\n", file);
	abort();
}

/* Before main(): no thread runs yet, and nothing was reached. */
static void __attribute__((constructor)) failpoint_map(void)
{
	const char *file = getenv("DRYDOCK_FAILPOINTS");
	struct stat st;
	void *p;
	int fd;

	if (!file || !*file)
		return;
	fd = open(file, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || st.st_size < (off_t)sizeof(own))
		unusable(file);
	p = mmap(NULL, sizeof(own), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		unusable(file);
	control = p;
	if (control->magic != FAILPOINT_MAGIC || control->points != FAIL_COUNT)
		unusable(file);
	fprintf(stderr, "DRYDOCK_FAILPOINTS: %s\n", file);
}

/* Is it this one's turn? */
static bool turn(enum failpoint_action action)
{
	if (__atomic_load_n(&control->action, __ATOMIC_ACQUIRE) != action || __atomic_load_n(&control->after, __ATOMIC_RELAXED) <= 0 ||
	    __atomic_fetch_sub(&control->after, 1, __ATOMIC_RELAXED) != 1)
		return false;
	__atomic_fetch_add(&control->happened, 1, __ATOMIC_RELAXED);
	return true;
}

enum err failpoint_reached(enum failpoint point)
{
	__atomic_fetch_add(&control->hits[point], 1, __ATOMIC_RELAXED);
	void (*hook)(const char *) = failpoint_hook;
	if (hook)
		hook(NAMES[point]);
	if (__atomic_load_n(&control->point, __ATOMIC_RELAXED) != point)
		return ERR_OK;
	if (turn(FAILPOINT_STOP))
		(void)kill(getpid(), SIGKILL);
	if (turn(FAILPOINT_DELAY))
		clock_sleep((int64_t)control->value * (CLOCK_SECOND / 1000));
	return turn(FAILPOINT_ERROR) ? err_set(ERR_FAILED, "the failpoint %s says so", NAMES[point]) : ERR_OK;
}

bool failpoint_sys(bool writes, int *error)
{
	__atomic_fetch_add(&control->sys_calls, 1, __ATOMIC_RELAXED);
	if (!turn(FAILPOINT_SYS))
		return false;
	*error = control->value;
	return *error || writes;
}

bool failpoint_memory(void)
{
	__atomic_fetch_add(&control->allocations, 1, __ATOMIC_RELAXED);
	return turn(FAILPOINT_MEMORY);
}

void failpoint_arm(enum failpoint_action action, enum failpoint point, int after, int value)
{
	__atomic_store_n(&control->action, FAILPOINT_NOTHING, __ATOMIC_RELEASE);
	control->point = point;
	control->after = after;
	control->value = value;
	__atomic_store_n(&control->action, action, __ATOMIC_RELEASE);
}
#endif
