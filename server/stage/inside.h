/*
 * inside: what the files of this room share. Nobody else includes it.
 */
#ifndef DRYDOCK_STAGE_INSIDE_H
#define DRYDOCK_STAGE_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "stage/door.h"

struct door {
	char *dir;
	uint64_t largest_file;
	int root; /* the number never changes: another directory is put under it with dup3 */
	pthread_mutex_t lock; /* for what follows */
	dev_t dev;
	ino_t ino;
	unsigned moved;
	atomic_bool dir_times;
};

/* A time of a file, which an editor may set to any year: after 2262 it is some number, the same each time. */
static inline int64_t nanoseconds(int64_t seconds, int64_t rest)
{
	return (int64_t)((uint64_t)seconds * 1000000000u + (uint64_t)rest);
}

struct digest_stream;
struct door_reader {
	struct digest_stream *digests;
	char *bytes; /* READ_SIZE, for files and for getdents64 */
	char *batch; /* BATCH_SIZE, from its first use on: small files side by side */
	struct door_entry *list;
	size_t n, cap;
	char *names; /* of list */
	size_t names_len, names_cap;
};

#define READ_SIZE (128 << 10)
#define BATCH_SIZE (1 << 20)
#define BATCH_FILE (256 << 10) /* larger ones are streamed */
#define BATCH_FILES 64

/* -1 and errno. Tried again while the kernel says that a rename got in between. */
int door_openat2(int dirfd, const char *name, int flags);
/* What a failed open means; what is shown for the path in the sentence. */
enum err door_open_err(int error, enum problem *problem, const char *shown);
/* What a stat tells, PROBLEM_NONE included, of something that is not a directory. */
enum problem door_mode_problem(mode_t mode, uint64_t links, uint64_t size, uint64_t largest_file);
/* A sentence for what cannot be published; returns ERR_INPUT and sets *problem. */
enum err door_refuse(enum problem *problem, enum problem is, const char *shown);

#endif
