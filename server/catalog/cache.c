#include "catalog/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"

/*
 * The staged side as the last scan saw it, so that a restart reads no unchanged file. A head, the tree (a directory,
 * its files, its directories, an end), and the SHA-256 of all that. Numbers are as this machine has them; the head says
 * so. Whatever is wrong with the file, it is dropped: everything in it can be read from staging again.
 */
#define MAGIC "DryDock staging cache 1\n"
#define BLOCK (256 << 10)

enum { TAG_DIR = 'D', TAG_FILE = 'F', TAG_END = 'E' };


/* Written field by field, so that no padding gets into the file. */
struct stream {
	int fd;
	char *bytes;
	size_t n, at; /* n: filled */
	bool bad;
	uint64_t left; /* reading: bytes before the checksum */
	struct sha256_stream *sum;
};

/* --- writing ---------------------------------------------------------------------------------------------------------- */

static void flush(struct stream *s)
{
	if (!s->bad && s->n > 0) {
		sha256_stream_add(s->sum, s->bytes, s->n);
		s->bad = sys_write_all(s->fd, s->bytes, s->n) != 0;
	}
	s->n = 0;
}

static void put(struct stream *s, const void *p, size_t n)
{
	if (s->n + n > BLOCK)
		flush(s);
	memcpy(s->bytes + s->n, p, n); /* nothing is larger than a path */
	s->n += n;
}

static void put_byte(struct stream *s, uint8_t b)
{
	put(s, &b, 1);
}

static void put_name(struct stream *s, const char *name, uint16_t len)
{
	put(s, &len, sizeof len);
	put(s, name, len);
}

static void put_dir(struct stream *s, const struct dir *d)
{
	put_byte(s, TAG_DIR);
	put_name(s, d->name, d->name_len);
	put(s, &d->inode, sizeof d->inode);
	for (size_t i = 0; i < d->n_files; i++) {
		const struct node *n = d->files[i];
		if (!(n->flags & NODE_STAGED))
			continue;
		put_byte(s, TAG_FILE);
		put_name(s, n->name, n->name_len);
		put_byte(s, n->flags);
		put_byte(s, n->problem);
		put(s, &n->size, sizeof n->size);
		put(s, &n->inode, sizeof n->inode);
		put(s, &n->mtime_ns, sizeof n->mtime_ns);
		put(s, &n->ctime_ns, sizeof n->ctime_ns);
		put(s, &n->md5, sizeof n->md5);
		put(s, &n->sha256, sizeof n->sha256);
	}
	for (size_t i = 0; i < d->n_dirs; i++)
		if (d->dirs[i]->staged)
			put_dir(s, d->dirs[i]);
	put_byte(s, TAG_END);
}

static void put_head(struct stream *s, const char *staging)
{
	uint32_t order = 0x01020304;
	put(s, MAGIC, sizeof MAGIC);
	put(s, &order, sizeof order);
	put_name(s, staging, (uint16_t)strlen(staging));
}

void cache_save(struct catalog *c)
{
	if (!c->cache_file || !c->known || strlen(door_dir(c->door)) > PATH_LIMIT)
		return;
	char *name = mem_printf("%s.tmp", c->cache_file);
	struct stream s = { .fd = sys_open(AT_FDCWD, name, O_WRONLY | O_CREAT | O_TRUNC, 0600) };
	if (s.fd < 0) {
		s.bad = true;
		goto out;
	}
	s.bytes = mem_alloc(BLOCK);
	s.sum = sha256_stream_new();
	put_head(&s, door_dir(c->door));
	tree_read(c);
	put_dir(&s, c->root);
	tree_read_end(c);
	flush(&s);
	struct sha256 sum;
	sha256_stream_end_free(s.sum, &sum);
	s.bad = s.bad || sys_write_all(s.fd, &sum, sizeof sum) != 0;
	s.bad = sys_close(s.fd) != 0 || s.bad;
	s.bad = s.bad || sys_rename(AT_FDCWD, name, AT_FDCWD, c->cache_file) != 0;
	if (!s.bad)
		c->cache_stale = false;
out:
	if (s.bad) {
		log_event(LOG_LEVEL_WARN, "cache.save", "file", c->cache_file, "text", strerror(errno), NULL);
		(void)sys_unlink(AT_FDCWD, name, 0);
	}
	free(s.bytes);
	free(name);
}

/* --- reading ---------------------------------------------------------------------------------------------------------- */

static bool fill(struct stream *s)
{
	size_t want = s->left < BLOCK ? (size_t)s->left : BLOCK;
	s->n = s->at = 0;
	while (s->n < want) {
		ssize_t n = read(s->fd, s->bytes + s->n, want - s->n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		s->n += (size_t)n;
	}
	s->left -= want;
	return want > 0;
}

static bool get(struct stream *s, void *p, size_t n)
{
	char *out = p;
	while (n > 0 && !s->bad) {
		if (s->at == s->n && !fill(s)) {
			s->bad = true;
			break;
		}
		size_t some = s->n - s->at < n ? s->n - s->at : n;
		memcpy(out, s->bytes + s->at, some);
		s->at += some;
		out += some;
		n -= some;
	}
	return !s->bad;
}

static bool get_name(struct stream *s, char *out, size_t room, uint16_t *len)
{
	if (!get(s, len, sizeof *len) || *len >= room || !get(s, out, *len))
		return false;
	out[*len] = 0;
	return memchr(out, 0, *len) == NULL;
}

static bool get_file(struct catalog *c, struct stream *s, struct dir *d)
{
	char name[1024];
	uint16_t len;
	uint8_t flags, problem;
	struct stage_stat st;
	struct fingerprint print;
	if (!get_name(s, name, sizeof name, &len) || !get(s, &flags, 1) || !get(s, &problem, 1) || !get(s, &st.size, 8) ||
	    !get(s, &st.inode, 8) || !get(s, &st.mtime_ns, 8) || !get(s, &st.ctime_ns, 8) ||
	    !get(s, &print.md5, sizeof print.md5) || !get(s, &print.sha256, sizeof print.sha256))
		return false;
	bool bad = flags & NODE_BAD;
	if (problem >= PROBLEM_COUNT || (bad ? problem == PROBLEM_NONE : path_part_problem(name, len) != NULL))
		return false;
	print.size = st.size;
	st.exec = print.exec = (flags & NODE_EXEC) != 0;
	node_stage(c, file_make(c, d, name, len, bad), &st, problem == PROBLEM_NONE ? &print : NULL, (enum problem)problem,
	    flags & (NODE_RACY | NODE_DIR_PROBLEM));
	return true;
}

static bool get_tree(struct catalog *c, struct stream *s)
{
	struct dir *d = NULL;
	for (;;) {
		char name[PATH_PART_LIMIT + 1];
		uint16_t len;
		uint8_t tag;
		if (!get(s, &tag, 1))
			return false;
		if (tag == TAG_DIR) {
			uint64_t inode;
			if (!get_name(s, name, sizeof name, &len) || !get(s, &inode, 8))
				return false;
			if (!d && len == 0)
				d = c->root;
			else if (d && !path_part_problem(name, len) && (size_t)d->path_len + 1 + len <= PATH_LIMIT)
				d = dir_make(c, d, name, len);
			else
				return false;
			d->inode = inode;
			dir_stage(c, d, true);
		} else if (!d) {
			return false;
		} else if (tag == TAG_FILE) {
			if (!get_file(c, s, d))
				return false;
		} else if (tag == TAG_END) {
			d = d->parent;
			if (!d)
				return s->left == 0 && s->at == s->n;
		} else {
			return false;
		}
	}
}

static bool sum_right(struct stream *s, uint64_t size)
{
	struct sha256 is, said;
	s->sum = sha256_stream_new();
	s->left = size;
	while (s->left > 0 && fill(s))
		sha256_stream_add(s->sum, s->bytes, s->n);
	sha256_stream_end_free(s->sum, &is);
	if (s->left > 0 || pread(s->fd, &said, sizeof said, (off_t)size) != (ssize_t)sizeof said || !sha256_equal(&is, &said))
		return false;
	s->left = size;
	s->n = s->at = 0;
	return lseek(s->fd, 0, SEEK_SET) == 0;
}

static bool get_head(struct stream *s, const char *staging)
{
	char magic[sizeof MAGIC], dir[PATH_LIMIT + 1];
	uint32_t order;
	uint16_t len;
	return get(s, magic, sizeof magic) && memcmp(magic, MAGIC, sizeof magic) == 0 && get(s, &order, sizeof order) &&
	    order == 0x01020304 && get_name(s, dir, sizeof dir, &len) && strcmp(dir, staging) == 0;
}

void cache_load(struct catalog *c)
{
	struct stream s = { .fd = open(c->cache_file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) };
	struct stat st;
	const char *why = "it is damaged";
	bool good = false;
	if (s.fd < 0) {
		if (errno != ENOENT)
			log_event(LOG_LEVEL_WARN, "cache.dropped", "file", c->cache_file, "text", strerror(errno), NULL);
		return;
	}
	s.bytes = mem_alloc(BLOCK);
	if (fstat(s.fd, &st) == 0 && st.st_size > (off_t)sizeof(struct sha256) &&
	    sum_right(&s, (uint64_t)st.st_size - sizeof(struct sha256))) {
		if (get_head(&s, door_dir(c->door)))
			good = get_tree(c, &s);
		else
			why = "it is of another staging directory or another version";
	}
	if (!good) {
		log_event(LOG_LEVEL_WARN, "cache.dropped", "file", c->cache_file, "text", why, NULL);
		tree_free(c->root);
		c->root = dir_new(NULL, "", 0);
		c->root->generation = c->generation;
		c->n_prune = 0;
	}
	close(s.fd);
	free(s.bytes);
}
