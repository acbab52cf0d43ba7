/* onedb: what a program with one private MariaDB for all of its tests has: the server, and its set-up and tear-down. */
#ifndef DRYDOCK_TESTS_DB_ONEDB_H
#define DRYDOCK_TESTS_DB_ONEDB_H

#include <fcntl.h>
#include <sys/types.h>

#include "testlib.h"
#include "base/file.h"

static struct testdb *t;

static inline int setup(void **state)
{
	(void)state;
	return testdb_start(&t);
}

static inline int teardown(void **state)
{
	(void)state;
	testdb_stop(t);
	return 0;
}

/* A name in its directory; the last four stay as they are. */
static inline const char *in_dir(const char *name)
{
	static char path[4][300];
	static unsigned next;
	char *out = path[next++ % 4];

	snprintf(out, sizeof(path[0]), "%s/%s", t->dir, name);
	return out;
}

static inline pid_t server_pid(void)
{
	struct buf text = BUF_INIT(64);

	OK(file_read(AT_FDCWD, in_dir("db.pid"), &text));
	pid_t pid = (pid_t)atoi(buf_text(&text));
	buf_release(&text);
	assert_true(pid > 1);
	return pid;
}

#endif
