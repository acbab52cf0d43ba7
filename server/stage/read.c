#include "stage/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/weaken.h"

#define READ_TRIES 3
/* A large file that is just being uploaded is not read to its end only to find that out. */
#define LOOK_AGAIN (UINT64_C(8) << 20)

struct door_reader *door_reader_new(void)
{
	struct door_reader *r = mem_alloc(sizeof *r);
	r->digests = digest_stream_new();
	r->bytes = mem_alloc(READ_SIZE);
	return r;
}

void door_reader_free(struct door_reader *r)
{
	if (!r)
		return;
	digest_stream_free(r->digests);
	free(r->bytes);
	free(r->batch);
	free(r->list);
	free(r->names);
	free(r);
}

/* Callers of door_read have no reader: each thread keeps one, until it ends. */
static pthread_key_t thread_reader;
static pthread_once_t thread_reader_once = PTHREAD_ONCE_INIT;

static void thread_reader_drop(void *r)
{
	door_reader_free(r);
}

static void thread_reader_init(void)
{
	if (pthread_key_create(&thread_reader, thread_reader_drop) != 0)
		abort();
}

static struct door_reader *reader_of_thread(void)
{
	pthread_once(&thread_reader_once, thread_reader_init);
	struct door_reader *r = pthread_getspecific(thread_reader);
	if (!r) {
		r = door_reader_new();
		if (pthread_setspecific(thread_reader, r) != 0)
			abort();
	}
	return r;
}

static void stat_take(struct stage_stat *out, const struct stat *st)
{
	*out = (struct stage_stat){
		.size = (uint64_t)st->st_size,
		.inode = st->st_ino,
		.mtime_ns = nanoseconds(st->st_mtim.tv_sec, st->st_mtim.tv_nsec),
		.ctime_ns = nanoseconds(st->st_ctim.tv_sec, st->st_ctim.tv_nsec),
		.exec = (st->st_mode & 0111) != 0,
		.owner = st->st_uid,
	};
}

/* One pass. *whole: nothing changed meanwhile, so the fingerprint is of one state of the file. */
static enum err read_pass(struct door *d, struct door_reader *r, int fd, const char *shown, struct fingerprint *print,
    struct stage_stat *st, enum problem *problem, door_sink *sink, void *arg, bool *whole)
{
	struct stat before, after;
	*whole = false;
	if (fstat(fd, &before) < 0)
		return door_refuse(problem, PROBLEM_UNREADABLE, shown);
	enum problem p = door_mode_problem(before.st_mode, before.st_nlink, (uint64_t)before.st_size, d->largest_file);
	if (p != PROBLEM_NONE)
		return door_refuse(problem, p, shown);

	uint64_t size = (uint64_t)before.st_size, got = 0, look = LOOK_AGAIN;
	struct stage_stat was;
	stat_take(&was, &before);
	digest_stream_reset(r->digests);
	while (got < size) {
		size_t want = size - got < READ_SIZE ? (size_t)(size - got) : READ_SIZE;
		ssize_t n = pread(fd, r->bytes, want, (off_t)got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return door_refuse(problem, PROBLEM_UNREADABLE, shown);
		if (n == 0)
			break; /* it became shorter */
		digest_stream_add(r->digests, r->bytes, (size_t)n);
		if (sink) {
			enum err e = sink(arg, r->bytes, (size_t)n, size);
			if (e)
				return e;
		}
		got += (uint64_t)n;
		if (got >= look && got < size) {
			look += LOOK_AGAIN;
			if (fstat(fd, &after) < 0)
				return door_refuse(problem, PROBLEM_UNREADABLE, shown);
			stat_take(st, &after);
			if (!stage_stat_equal(&was, st))
				return ERR_OK;
		}
	}
	if (fstat(fd, &after) < 0)
		return door_refuse(problem, PROBLEM_UNREADABLE, shown);
	stat_take(st, &after);
	*whole = (got == size && stage_stat_equal(&was, st) && after.st_nlink == 1) || WEAK(door_whole);
	digest_stream_end(r->digests, &print->md5, &print->sha256);
	print->size = size;
	print->exec = st->exec;
	return ERR_OK;
}

enum err door_dir_read(struct door *d, struct door_reader *r, int dirfd, const char *name, struct fingerprint *print,
    struct stage_stat *st, enum problem *problem, door_sink *sink, void *arg)
{
	struct fingerprint print_here;
	struct stage_stat st_here;
	bool whole = false;
	enum err e = ERR_OK;
	if (problem)
		*problem = PROBLEM_NONE;
	for (int i = 0; i < READ_TRIES && !whole; i++) {
		if (i > 0 && sink && (e = sink(arg, NULL, 0, 0)) != ERR_OK)
			return e;
		/* Opened again each time: editors write a new file and rename it over the old one. */
		int fd = door_openat2(dirfd, name, O_RDONLY);
		if (fd < 0)
			return door_open_err(errno, problem, name);
		e = read_pass(d, r, fd, name, &print_here, &st_here, problem, sink, arg, &whole);
		close(fd);
		if (e)
			return e;
	}
	if (!whole)
		return door_refuse(problem, PROBLEM_BUSY, name);
	if (print)
		*print = print_here;
	if (st)
		*st = st_here;
	return ERR_OK;
}

/* Files whose bytes are in the batch, and whose MD5 is still to be made. */
struct batch {
	size_t used, n;
	const void *bytes[BATCH_FILES];
	size_t sizes[BATCH_FILES];
	struct door_result *results[BATCH_FILES];
};

static void batch_end(struct batch *b)
{
	struct md5 sums[BATCH_FILES];
	md5_many(sums, b->bytes, b->sizes, b->n);
	for (size_t i = 0; i < b->n; i++)
		b->results[i]->print.md5 = sums[i];
	b->n = b->used = 0;
}

/* True: done, but for the MD5. False: to be read as a file by itself, which also finds out what is wrong with it. */
static bool batch_read(struct door *d, struct door_reader *r, int dirfd, const char *name, struct batch *b, struct door_result *result)
{
	struct stat before, after;
	bool done = false;
	int fd = door_openat2(dirfd, name, O_RDONLY);
	if (fd < 0)
		return false;
	if (fstat(fd, &before) < 0 || before.st_size > BATCH_FILE ||
	    door_mode_problem(before.st_mode, before.st_nlink, (uint64_t)before.st_size, d->largest_file) != PROBLEM_NONE)
		goto out;
	size_t size = (size_t)before.st_size;
	if (b->n == BATCH_FILES || b->used + size > BATCH_SIZE)
		batch_end(b);
	char *at = r->batch + b->used;
	if (read(fd, at, size) != (ssize_t)size || fstat(fd, &after) < 0)
		goto out;
	struct stage_stat was;
	stat_take(&was, &before);
	stat_take(&result->st, &after);
	if (!stage_stat_equal(&was, &result->st) || after.st_nlink != 1)
		goto out;
	result->err = ERR_OK;
	result->problem = PROBLEM_NONE;
	result->print.size = size;
	result->print.exec = result->st.exec;
	sha256_of(&result->print.sha256, at, size);
	b->bytes[b->n] = at;
	b->sizes[b->n] = size;
	b->results[b->n++] = result;
	b->used += size;
	done = true;
out:
	close(fd);
	return done;
}

void door_dir_read_many(struct door *d, struct door_reader *r, int dirfd, const char *const *names, size_t n, struct door_result *results)
{
	struct batch b = { 0 };
	if (!r->batch)
		r->batch = mem_alloc(BATCH_SIZE);
	for (size_t i = 0; i < n; i++) {
		struct door_result *res = &results[i];
		*res = (struct door_result){ 0 };
		if (!batch_read(d, r, dirfd, names[i], &b, res))
			res->err = door_dir_read(d, r, dirfd, names[i], &res->print, &res->st, &res->problem, NULL, NULL);
	}
	batch_end(&b);
}

enum err door_read(struct door *d, struct path path, struct fingerprint *print, struct stage_stat *st, enum problem *problem,
    door_sink *sink, void *arg)
{
	if (problem)
		*problem = PROBLEM_NONE;
	if (path_is_root(path))
		return err_set(ERR_NOT_FOUND, "/ is a directory");
	enum err e = door_check(d, NULL);
	if (e)
		return e;
	e = door_dir_read(d, reader_of_thread(), d->root, path.s + 1, print, st, problem, sink, arg);
	if (e == ERR_INPUT && problem && *problem == PROBLEM_SPECIAL) {
		struct door_entry entry;
		if (door_dir_entry(d, d->root, path.s + 1, &entry) == ERR_OK && entry.kind == ENTRY_DIR) {
			*problem = PROBLEM_NONE;
			return err_set(ERR_NOT_FOUND, "%s is a directory", path.s);
		}
	}
	return e;
}

struct into_buf {
	struct buf *out;
	const char *shown;
};

static enum err into_buf(void *arg, const void *p, size_t n, uint64_t size)
{
	struct into_buf *to = arg;
	if (!p) {
		buf_reset(to->out);
		return ERR_OK;
	}
	if (size > to->out->limit)
		return err_set(ERR_TOO_BIG, "%s has %llu bytes: more than the %zu that are shown here", to->shown,
		    (unsigned long long)size, to->out->limit);
	buf_add(to->out, p, n);
	return ERR_OK;
}

enum err door_read_all(struct door *d, struct path path, struct buf *out, struct fingerprint *print)
{
	struct into_buf to = { out, path.s };
	enum problem problem;
	buf_reset(out);
	enum err e = door_read(d, path, print, NULL, &problem, into_buf, &to);
	return e ? e : buf_check(out);
}

enum err door_owner(struct door *d, struct path path, uid_t *out)
{
	struct stat st;
	int fd = path_is_root(path) ? -1 : door_openat2(d->root, path.s + 1, O_PATH);

	if (fd < 0)
		return door_open_err(path_is_root(path) ? ENOENT : errno, NULL, path.s);
	int failed = fstat(fd, &st);
	close(fd);
	if (failed)
		return door_refuse(NULL, PROBLEM_UNREADABLE, path.s);
	*out = st.st_uid;
	return ERR_OK;
}
