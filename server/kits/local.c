/*
 * local: the kit that brings a release to a directory of this machine. Its contract is sync-scripts/README.
 *
 * A program and not a script (doc/DECISIONS): below the place nothing is opened by a name that could lead out of it
 * (openat2, no links), names of any bytes need no quoting, and one changed file costs one process.
 *
 * With a list of changes it touches what is on the list. Without one, when nobody knows what the place holds, it
 * compares every file by its bytes and removes what is not in the export. Either way a file is written beside its place,
 * compared with the export, made durable and renamed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/utf8.h"

#define TEMPORARY ".drydock-new-" /* and the process id: what a kit that was ended leaves behind, the next full run removes */
#define BEGUN TEMPORARY "begun" /* stands in the place during its first full run: what is there is ours, though the run ended early */
#define NAMED_MOST 200 /* files that are named in the output; after them only numbers */
#define ONE_BY_ONE 16 /* up to so many files each is synced by itself, more by one syncfs */
#define BLOCK 65536

struct kit {
	int export, place;
	bool previous; /* the place was brought to a release before */
	bool adopt; /* it may hold what is not ours: remove it */
	bool dry; /* only count what would be removed or replaced */
	bool sync_each;
	uint64_t added, changed, removed, bytes, foreign, named;
	uint64_t done, total; /* total 0: not known */
	time_t told;
	int parent; /* descriptor of the directory in parent_name; -1: none */
	char parent_name[4097];
	char temporary[48];
	char a[BLOCK], b[BLOCK];
};

/* --- what is said ---------------------------------------------------------------------------------------------------- */

static void say_text(const char *text)
{
	struct buf shown = BUF_INIT(16384);

	utf8_visible(&shown, text, strlen(text), false);
	for (const char *p = buf_text(&shown); *p; p++) {
		if (*p == '"' || *p == '\\')
			putchar('\\');
		putchar(*p);
	}
	buf_release(&shown);
}

static bool failed(const char *fmt, ...) PRINTF_LIKE(1, 2);

static bool failed(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	fputs("{\"error\":\"", stdout);
	say_text(text ? text : "out of memory");
	fputs("\"}\n", stdout);
	free(text);
	return false;
}

static bool failed_at(const char *path)
{
	return failed("%s: %s", path, strerror(errno));
}

static void did(struct kit *k, const char *what, const char *path)
{
	if (k->named == NAMED_MOST)
		return;
	k->named++;
	printf("{\"%s\":\"", what);
	say_text(path);
	fputs("\"}\n", stdout);
}

/* One more file is as it has to be. Once a second, how many are. */
static void count(struct kit *k)
{
	const time_t now = time(NULL);

	k->done++;
	if (now == k->told)
		return;
	k->told = now;
	if (k->total)
		printf("{\"done\":%llu,\"total\":%llu}\n", (unsigned long long)k->done, (unsigned long long)k->total);
	else
		printf("{\"done\":%llu}\n", (unsigned long long)k->done);
	(void)fflush(stdout);
}

/* --- opening ----------------------------------------------------------------------------------------------------------- */

static int open_below(int dir, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof(how));
}

/* Make each directory of the path that is missing. What exists may not be a link. */
static int make_dirs(struct kit *k, const char *path)
{
	char *copy = mem_dup(path);
	int fd = -1;

	for (char *p = copy;; p++) {
		char was = *p;
		int up;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		up = fd;
		fd = open_below(k->place, copy, O_RDONLY | O_DIRECTORY);
		if (fd < 0 && errno == ENOENT) {
			const char *name = strrchr(copy, '/');

			if (!sys_mkdir(up < 0 ? k->place : up, name ? name + 1 : copy, 0755)) {
				fd = open_below(k->place, copy, O_RDONLY | O_DIRECTORY);
				/* Whatever the umask says: a web server reads it. */
				if (fd >= 0 && sys_fchmod(fd, 0755)) {
					(void)close(fd);
					fd = -1;
				}
			}
		}
		if (up >= 0)
			(void)close(up);
		if (fd < 0 || was == '\0')
			break;
		*p = was;
	}
	free(copy);
	return fd;
}

/* The directory above a path, kept open for the next file of it. *name: the last part. -1 and errno. */
static int open_parent(struct kit *k, const char *path, bool make, const char **name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	char dir[sizeof(k->parent_name)];

	*name = slash ? slash + 1 : path;
	if (!slash)
		return k->place;
	if (len >= sizeof(dir)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(dir, path, len);
	dir[len] = '\0';
	if (k->parent >= 0 && !strcmp(dir, k->parent_name))
		return k->parent;
	if (k->parent >= 0)
		(void)close(k->parent);
	k->parent = open_below(k->place, dir, O_RDONLY | O_DIRECTORY);
	if (k->parent < 0 && errno == ENOENT && make)
		k->parent = make_dirs(k, dir);
	if (k->parent >= 0)
		memcpy(k->parent_name, dir, len + 1);
	return k->parent;
}

static void forget_parent(struct kit *k)
{
	if (k->parent >= 0)
		(void)close(k->parent);
	k->parent = -1;
}

/* --- one file ------------------------------------------------------------------------------------------------------------ */

static ssize_t read_block(int fd, char *block, off_t at)
{
	size_t got = 0;

	while (got < BLOCK) {
		ssize_t n = pread(fd, block + got, BLOCK - got, at + (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (!n)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* 1: the same bytes, 0: others, -1: errno */
static int same_bytes(struct kit *k, int x, int y)
{
	off_t at = 0;

	for (;;) {
		ssize_t n = read_block(x, k->a, at), m = read_block(y, k->b, at);

		if (n < 0 || m < 0)
			return -1;
		if (n != m || memcmp(k->a, k->b, (size_t)n))
			return 0;
		if (n < BLOCK)
			return 1;
		at += n;
	}
}

static bool copy_bytes(struct kit *k, int from, int to)
{
	off_t at = 0;
	ssize_t n;

	do {
		n = read_block(from, k->a, at);
		if (n < 0 || (n && sys_write_all(to, k->a, (size_t)n)))
			return false;
		at += n;
		k->bytes += (uint64_t)n;
	} while (n == BLOCK);
	return true;
}

enum put { PUT_OK, PUT_FAILED, PUT_IN_THE_WAY };

static mode_t wanted_mode(const struct stat *from)
{
	return from->st_mode & 0111 ? 0755 : 0644;
}

/* Write the file of the export beside its place, then into it. */
static enum put put_file(struct kit *k, const char *path)
{
	const char *name;
	struct stat st;
	int from, dir, to = -1, same;
	enum put result = PUT_FAILED;

	from = open_below(k->export, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (from < 0 || fstat(from, &st)) {
		(void)failed("the export has no %s: %s", path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		(void)failed("%s is not a file in the export", path);
		goto out;
	}
	dir = open_parent(k, path, true, &name);
	if (dir < 0) {
		if (errno == ENOTDIR || errno == ELOOP)
			result = PUT_IN_THE_WAY;
		else
			(void)failed_at(path);
		goto out;
	}
	to = sys_open(dir, k->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (to < 0) {
		(void)failed_at(path);
		goto out;
	}
	if (!copy_bytes(k, from, to) || sys_fchmod(to, wanted_mode(&st)) ||
	    sys_futimens(to, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec) || (k->sync_each && sys_fsync(to))) {
		(void)failed_at(path);
		goto undo;
	}
	same = same_bytes(k, from, to);
	if (same != 1) {
		(void)(same < 0 ? failed_at(path) : failed("%s: what was written is not what was read: is the disk failing?", path));
		goto undo;
	}
	if (!sys_rename(dir, k->temporary, dir, name)) {
		if (k->sync_each && sys_fsync(dir))
			(void)failed_at(path);
		else
			result = PUT_OK;
		goto out;
	}
	if (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST)
		result = PUT_IN_THE_WAY;
	else
		(void)failed_at(path);
undo:
	(void)sys_unlink(dir, k->temporary, 0);
out:
	if (from >= 0)
		(void)close(from);
	if (to >= 0)
		(void)close(to);
	return result;
}

/* Directories that became empty, upwards. */
static void remove_emptied(struct kit *k, const char *path)
{
	char *dir = mem_dup(path), *slash;

	forget_parent(k);
	while ((slash = strrchr(dir, '/'))) {
		const char *name;
		int up;

		*slash = '\0';
		up = open_parent(k, dir, false, &name);
		if (up < 0 || sys_unlink(up, name, AT_REMOVEDIR))
			break;
	}
	forget_parent(k);
	free(dir);
}

static bool remove_file(struct kit *k, const char *path)
{
	const char *name;
	int dir = open_parent(k, path, false, &name);

	/* Gone already, with its directory perhaps. */
	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR ? true : failed_at(path);
	if (sys_unlink(dir, name, 0))
		return errno == ENOENT ? true : failed_at(path);
	k->removed++;
	did(k, "removed", path);
	return true;
}

/* --- by a list of changes ------------------------------------------------------------------------------------------------- */

struct changes {
	char *text; /* "A path\0C path\0R path\0" */
	size_t len;
	bool removed; /* all removals are done */
};

/* The next path of one kind after *at; NULL: no more. */
static const char *next_change(const struct changes *c, char kind, size_t *at)
{
	while (*at < c->len) {
		const char *entry = c->text + *at;

		*at += strlen(entry) + 1;
		if (entry[0] == kind)
			return entry + 2;
	}
	return NULL;
}

static bool check_changes(struct kit *k, const struct changes *c)
{
	uint64_t puts = 0;

	if (c->len && c->text[c->len - 1])
		return failed("the list of changes is cut off");
	for (size_t at = 0; at < c->len; at += strlen(c->text + at) + 1) {
		const char *entry = c->text + at;

		if ((entry[0] != 'A' && entry[0] != 'C' && entry[0] != 'R') || entry[1] != ' ' || !entry[2] || entry[2] == '/')
			return failed("the list of changes has an entry that is none: %s", entry);
		puts += entry[0] != 'R';
		k->total++;
	}
	k->sync_each = puts <= ONE_BY_ONE;
	return true;
}

static bool do_removals(struct kit *k, struct changes *c)
{
	const char *path, *before = NULL;

	if (c->removed)
		return true;
	c->removed = true;
	for (size_t at = 0; (path = next_change(c, 'R', &at)); before = path) {
		size_t dir = strrchr(path, '/') ? (size_t)(strrchr(path, '/') - path) + 1 : 0;

		/* The list is sorted: when the directory changes, the one before may be empty. */
		if (before && (strncmp(before, path, dir) || strchr(before + dir, '/') || !dir))
			remove_emptied(k, before);
		if (!remove_file(k, path))
			return false;
		count(k);
	}
	if (before)
		remove_emptied(k, before);
	return true;
}

/* New files first, then changed ones, then removals: a reader finds what a page links to. */
static bool do_puts(struct kit *k, struct changes *c, char kind)
{
	const char *path;

	for (size_t at = 0; (path = next_change(c, kind, &at));) {
		enum put p = put_file(k, path);

		/* A file became a directory, or the other way round: then what leaves has to leave first. */
		if (p == PUT_IN_THE_WAY && !c->removed) {
			if (!do_removals(k, c))
				return false;
			p = put_file(k, path);
		}
		if (p == PUT_IN_THE_WAY)
			return failed("%s: something that DryDock did not put there is in the way", path);
		if (p != PUT_OK)
			return false;
		if (kind == 'A')
			k->added++;
		else
			k->changed++;
		did(k, kind == 'A' ? "added" : "changed", path);
		count(k);
	}
	return true;
}

static bool sync_changes(struct kit *k, const char *file)
{
	struct changes c = { 0 };
	struct stat st;
	bool ok = false;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st)) {
		(void)failed_at(file);
		goto out;
	}
	c.len = (size_t)st.st_size;
	if (c.len) {
		c.text = mmap(NULL, c.len, PROT_READ, MAP_PRIVATE, fd, 0);
		if (c.text == MAP_FAILED) {
			c.text = NULL;
			(void)failed_at(file);
			goto out;
		}
	}
	ok = check_changes(k, &c) && do_puts(k, &c, 'A') && do_puts(k, &c, 'C') && do_removals(k, &c);
out:
	if (c.text)
		(void)munmap(c.text, c.len);
	if (fd >= 0)
		(void)close(fd);
	return ok;
}

/* --- everything ------------------------------------------------------------------------------------------------------------ */

struct name {
	char *text;
	mode_t type;
};

struct names {
	struct name *list;
	size_t n, cap;
};

static void names_release(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->list[i].text);
	free(l->list);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

/* The entries of a directory below root, sorted. Not there: none. */
static bool names_read(struct names *l, int root, const char *path)
{
	int fd = open_below(root, path, O_RDONLY | O_DIRECTORY);
	struct dirent *e;
	struct stat st;
	DIR *d = NULL;
	bool ok = false;

	if (fd < 0 && errno == ENOENT)
		return true;
	if (fd < 0 || !(d = fdopendir(fd)))
		goto out;
	while (errno = 0, (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
			if (errno == ENOENT)
				continue;
			goto out;
		}
		l->list = mem_grow(l->list, &l->cap, l->n + 1, sizeof(*l->list));
		l->list[l->n++] = (struct name){ mem_dup(e->d_name), st.st_mode & S_IFMT };
	}
	ok = !errno;
	if (l->n)
		qsort(l->list, l->n, sizeof(*l->list), by_name);
out:
	if (!ok)
		(void)failed_at(*path ? path : "the place");
	if (d)
		(void)closedir(d);
	else if (fd >= 0)
		(void)close(fd);
	return ok;
}

static const struct name *names_find(const struct names *l, const char *text)
{
	const struct name key = { (char *)(uintptr_t)text, 0 };

	return l->n ? bsearch(&key, l->list, l->n, sizeof(*l->list), by_name) : NULL;
}

static char *join(const char *dir, const char *name)
{
	return *dir ? mem_printf("%s/%s", dir, name) : mem_dup(name);
}

/* Whatever is at a path of the place, with all below, is not ours and goes. Links are removed, never followed. */
static bool remove_foreign(struct kit *k, const char *path, mode_t type)
{
	struct names below = { 0 };
	const char *name;
	bool ok = true;
	int dir;

	if (type == S_IFDIR) {
		ok = names_read(&below, k->place, path);
		for (size_t i = 0; i < below.n && ok; i++) {
			char *sub = join(path, below.list[i].text);

			ok = remove_foreign(k, sub, below.list[i].type);
			free(sub);
		}
		names_release(&below);
	} else {
		k->foreign++;
	}
	if (k->dry || !ok)
		return ok;
	forget_parent(k);
	dir = open_parent(k, path, false, &name);
	if (dir < 0 || sys_unlink(dir, name, type == S_IFDIR ? AT_REMOVEDIR : 0))
		return errno == ENOENT ? true : failed_at(path);
	if (type != S_IFDIR) {
		k->removed++;
		did(k, "removed", path);
	}
	return true;
}

/* 1: the place has exactly this file, 0: it has not, -1: an error was told. */
static int place_has(struct kit *k, const char *path)
{
	struct stat x, y;
	const char *name;
	int from, to = -1, dir, same = -1;

	from = open_below(k->export, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (from < 0 || fstat(from, &x)) {
		(void)failed("the export has no %s: %s", path, strerror(errno));
		goto out;
	}
	to = open_below(k->place, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (to < 0 || fstat(to, &y) || !S_ISREG(y.st_mode) || x.st_size != y.st_size) {
		same = 0;
		goto out;
	}
	same = same_bytes(k, from, to);
	if (same < 0) {
		(void)failed_at(path);
		goto out;
	}
	/* A second name of the file could be written to from elsewhere. */
	if (same && (y.st_nlink != 1 || ((x.st_mode ^ y.st_mode) & 0111)))
		same = 0;
	if (same && !k->dry && (y.st_mode & 07777) != wanted_mode(&x) && sys_fchmod(to, wanted_mode(&x)))
		same = 0;
	if (same && !k->dry && (x.st_mtim.tv_sec != y.st_mtim.tv_sec || x.st_mtim.tv_nsec != y.st_mtim.tv_nsec)) {
		dir = open_parent(k, path, false, &name);
		if (dir < 0 || sys_utime_link(dir, name, x.st_mtim))
			same = 0;
	}
out:
	if (from >= 0)
		(void)close(from);
	if (to >= 0)
		(void)close(to);
	return same;
}

static bool full_file(struct kit *k, const char *path, const struct name *there)
{
	int has = 0;

	if (there && there->type == S_IFREG)
		has = place_has(k, path);
	if (has < 0)
		return false;
	if (has) {
		count(k);
		return true;
	}
	if (there && there->type == S_IFDIR && !remove_foreign(k, path, S_IFDIR))
		return false;
	if (k->dry) {
		k->foreign += there && there->type != S_IFDIR;
		return true;
	}
	switch (put_file(k, path)) {
	case PUT_OK:
		break;
	case PUT_IN_THE_WAY:
		return failed("%s: something is in the way that was not there before", path);
	case PUT_FAILED:
		return false;
	}
	if (there)
		k->changed++;
	else
		k->added++;
	did(k, there ? "changed" : "added", path);
	count(k);
	return true;
}

static bool full_dir(struct kit *k, const char *dir);

static bool full_entry(struct kit *k, const char *path, mode_t type, const struct name *there)
{
	if (type == S_IFREG)
		return full_file(k, path, there);
	if (type != S_IFDIR)
		return failed("%s is neither a file nor a directory in the export", path);
	if (there && there->type != S_IFDIR) {
		if (!remove_foreign(k, path, there->type))
			return false;
		/* It would be in the way of the comparison that is only counted. */
		if (k->dry)
			return true;
	}
	return full_dir(k, path);
}

static bool full_dir(struct kit *k, const char *dir)
{
	struct names want = { 0 }, have = { 0 };
	bool ok = names_read(&want, k->export, dir) && names_read(&have, k->place, dir);

	for (size_t i = 0; i < want.n && ok; i++) {
		char *path = join(dir, want.list[i].text);

		ok = full_entry(k, path, want.list[i].type, names_find(&have, want.list[i].text));
		free(path);
	}
	for (size_t i = 0; i < have.n && ok; i++) {
		char *path;

		if (names_find(&want, have.list[i].text))
			continue;
		/* What an earlier kit of ours was writing is not a stranger's. */
		if (k->dry && !strncmp(have.list[i].text, TEMPORARY, strlen(TEMPORARY)))
			continue;
		path = join(dir, have.list[i].text);
		ok = remove_foreign(k, path, have.list[i].type);
		free(path);
	}
	names_release(&want);
	names_release(&have);
	return ok;
}

static bool begin(struct kit *k)
{
	int fd = sys_open(k->place, BEGUN, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);

	/* It goes with what does not belong there, once everything else is in its place. */
	return fd >= 0 && !sys_close(fd) && !sys_fsync(k->place) ? true : failed_at(BEGUN);
}

static bool sync_full(struct kit *k)
{
	if (!k->previous && !k->adopt && faccessat(k->place, BEGUN, F_OK, AT_SYMLINK_NOFOLLOW)) {
		k->dry = true;
		if (!full_dir(k, ""))
			return false;
		if (k->foreign)
			return failed("the place holds %llu files that DryDock did not put there, and would be removed or replaced: empty it, "
			              "or set option = {\"adopt=yes\"} for this target",
			    (unsigned long long)k->foreign);
		k->dry = false;
		if (!begin(k))
			return false;
	}
	return full_dir(k, "");
}

/* --- all of it -------------------------------------------------------------------------------------------------------------- */

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static bool open_dirs(struct kit *k)
{
	const char *place = variable("DRYDOCK_PLACE"), *export_dir = variable("DRYDOCK_EXPORT");

	if (place[0] != '/')
		return failed("the place of a local target has to be a directory of this machine, written from the root");
	k->export = open(export_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->export < 0)
		return failed_at(export_dir);
	k->place = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->place < 0)
		return failed("%s: %s", place, errno == ENOENT ? "there is no such directory: make it, and give it to the user that DryDock runs as" : strerror(errno));
	if (faccessat(k->place, ".", W_OK | X_OK, 0))
		return failed("%s cannot be written by the user that DryDock runs as (uid %u)", place, (unsigned)geteuid());
	return true;
}

int main(int argc, char **argv)
{
	static struct kit k = { .export = -1, .place = -1, .parent = -1 };
	const char *mode = variable("DRYDOCK_MODE"), *previous = variable("DRYDOCK_PREVIOUS");
	bool ok;

	if (argc != 2 || (strcmp(argv[1], "sync") && strcmp(argv[1], "test"))) {
		fputs("This is a kit: DryDock runs it. See sync-scripts/README.\n", stderr);
		return 2;
	}
	snprintf(k.temporary, sizeof(k.temporary), TEMPORARY "%ld", (long)getpid());
	k.previous = *previous && strcmp(previous, "0");
	k.told = time(NULL);
	k.adopt = !strcmp(variable("DRYDOCK_OPTION_ADOPT"), "yes");
	ok = open_dirs(&k);
	if (!strcmp(argv[1], "test")) {
		if (ok)
			printf("%s is a directory, and can be written\n", variable("DRYDOCK_PLACE"));
		return fflush(stdout) || !ok;
	}
	if (ok && !strcmp(mode, "changes"))
		ok = sync_changes(&k, variable("DRYDOCK_CHANGES"));
	else if (ok && !strcmp(mode, "full"))
		ok = sync_full(&k);
	else if (ok)
		ok = failed("DRYDOCK_MODE is neither changes nor full");
	forget_parent(&k);
	if (ok && !k.sync_each && (k.added || k.changed) && sys_syncfs(k.place))
		ok = failed_at("the place");
	if (ok)
		printf("{\"result\":{\"added\":%llu,\"changed\":%llu,\"removed\":%llu,\"bytes\":%llu}}\n", (unsigned long long)k.added,
		    (unsigned long long)k.changed, (unsigned long long)k.removed, (unsigned long long)k.bytes);
	return fflush(stdout) || !ok;
}
