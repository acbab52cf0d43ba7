/*
 * staging: a private staging directory for tests, and the few things that are done to it. One a program.
 */
#ifndef DRYDOCK_TESTS_STAGING_H
#define DRYDOCK_TESTS_STAGING_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "core/fingerprint.h"
#include "core/path.h"

static char top[64]; /* staging is top/s */

/* "/a" is top/s/a. One of sixteen places. */
static inline const char *at(const char *path)
{
	static _Thread_local char text[16][4400];
	static _Thread_local unsigned i;
	char *s = text[i++ % 16];
	snprintf(s, sizeof text[0], "%s/s%s", top, path);
	return s;
}

static inline struct path P(const char *s)
{
	struct path p;
	assert_int_equal(path_check(&p, s), ERR_OK);
	return p;
}

static inline void put(const char *path, const char *bytes)
{
	int fd = open(at(path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
	close(fd);
}

static inline void dir(const char *path)
{
	assert_int_equal(mkdir(at(path), 0755), 0);
}

static inline void print_of(const char *bytes, bool exec, struct fingerprint *print)
{
	*print = (struct fingerprint){ .size = strlen(bytes), .exec = exec };
	md5_of(&print->md5, bytes, strlen(bytes));
	sha256_of(&print->sha256, bytes, strlen(bytes));
}

static inline void staging_begin(void)
{
	snprintf(top, sizeof top, "/tmp/drydock-test-XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(chmod(top, 0755), 0);
	dir("");
}

static inline void staging_end(void)
{
	assert_int_equal(file_remove_tree(AT_FDCWD, top), ERR_OK);
}

#endif
