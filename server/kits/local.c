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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kits/place.h"

#define TEMPORARY ".drydock-new-" /* and the process id: what a kit that was ended leaves behind, the next full run removes */
#define BEGUN TEMPORARY "begun" /* stands in the place during its first full run: what is there is ours, though the run ended early */
#define ONE_BY_ONE 16 /* up to so many files each is synced by itself, more by one syncfs */

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
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

static bool check_changes(struct place *p, const struct changes *c)
{
	uint64_t puts = 0;

	if (c->len && c->text[c->len - 1])
		return place_failed("the list of changes is cut off");
	for (size_t at = 0; at < c->len; at += strlen(c->text + at) + 1) {
		const char *entry = c->text + at;

		if ((entry[0] != 'A' && entry[0] != 'C' && entry[0] != 'R') || entry[1] != ' ' || !entry[2] || entry[2] == '/')
			return place_failed("the list of changes has an entry that is none: %s", entry);
		puts += entry[0] != 'R';
		p->far.total++;
	}
	p->sync_each = puts <= ONE_BY_ONE;
	return true;
}

static bool do_removals(struct place *p, struct changes *c)
{
	const char *path, *before = NULL;

	if (c->removed)
		return true;
	c->removed = true;
	for (size_t at = 0; (path = next_change(c, 'R', &at)); before = path) {
		size_t dir = strrchr(path, '/') ? (size_t)(strrchr(path, '/') - path) + 1 : 0;

		/* The list is sorted: when the directory changes, the one before may be empty. */
		if (before && (strncmp(before, path, dir) || strchr(before + dir, '/') || !dir))
			place_remove_emptied(p, before);
		if (!place_remove(p, path))
			return false;
		far_more(&p->far, 1);
	}
	if (before)
		place_remove_emptied(p, before);
	return true;
}

/* New files first, then changed ones, then removals: a reader finds what a page links to. */
static bool do_puts(struct place *p, struct changes *c, char kind)
{
	const char *path;

	for (size_t at = 0; (path = next_change(c, kind, &at));) {
		enum place_put done = place_put(p, path);

		/* A file became a directory, or the other way round: then what leaves has to leave first. */
		if (done == PLACE_IN_THE_WAY && !c->removed) {
			if (!do_removals(p, c))
				return false;
			done = place_put(p, path);
		}
		if (done == PLACE_IN_THE_WAY)
			return place_failed("%s: something that DryDock did not put there is in the way", path);
		if (done != PLACE_OK)
			return false;
		if (kind == 'A')
			p->added++;
		else
			p->changed++;
		place_did(p, kind == 'A' ? "added" : "changed", path);
		far_more(&p->far, 1);
	}
	return true;
}

static bool sync_changes(struct place *p, const char *file)
{
	struct changes c = { 0 };
	struct stat st;
	bool ok = false;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st)) {
		(void)place_failed_at(file);
		goto out;
	}
	c.len = (size_t)st.st_size;
	if (c.len) {
		c.text = mmap(NULL, c.len, PROT_READ, MAP_PRIVATE, fd, 0);
		if (c.text == MAP_FAILED) {
			c.text = NULL;
			(void)place_failed_at(file);
			goto out;
		}
	}
	ok = check_changes(p, &c) && do_puts(p, &c, 'A') && do_puts(p, &c, 'C') && do_removals(p, &c);
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
	int fd = place_open_below(root, path, O_RDONLY | O_DIRECTORY);
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
		(void)place_failed_at(*path ? path : "the place");
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
static bool remove_foreign(struct place *p, const char *path, mode_t type)
{
	struct names below = { 0 };
	const char *name;
	bool ok = true;
	int dir;

	if (type == S_IFDIR) {
		ok = names_read(&below, p->dir, path);
		for (size_t i = 0; i < below.n && ok; i++) {
			char *sub = join(path, below.list[i].text);

			ok = remove_foreign(p, sub, below.list[i].type);
			free(sub);
		}
		names_release(&below);
	} else {
		p->foreign++;
	}
	if (p->dry || !ok)
		return ok;
	place_forget_parent(p);
	dir = place_parent(p, path, false, &name);
	if (dir < 0 || sys_unlink(dir, name, type == S_IFDIR ? AT_REMOVEDIR : 0))
		return errno == ENOENT ? true : place_failed_at(path);
	if (type != S_IFDIR) {
		p->removed++;
		place_did(p, "removed", path);
	}
	return true;
}

static bool full_file(struct place *p, const char *path, const struct name *there)
{
	int has = 0;

	if (there && there->type == S_IFREG)
		has = place_has(p, path);
	if (has < 0)
		return false;
	if (has) {
		far_more(&p->far, 1);
		return true;
	}
	if (there && there->type == S_IFDIR && !remove_foreign(p, path, S_IFDIR))
		return false;
	if (p->dry) {
		p->foreign += there && there->type != S_IFDIR;
		return true;
	}
	switch (place_put(p, path)) {
	case PLACE_OK:
		break;
	case PLACE_IN_THE_WAY:
		return place_failed("%s: something is in the way that was not there before", path);
	case PLACE_FAILED:
		return false;
	}
	if (there)
		p->changed++;
	else
		p->added++;
	place_did(p, there ? "changed" : "added", path);
	far_more(&p->far, 1);
	return true;
}

static bool full_dir(struct place *p, const char *dir);

static bool full_entry(struct place *p, const char *path, mode_t type, const struct name *there)
{
	if (type == S_IFREG)
		return full_file(p, path, there);
	if (type != S_IFDIR)
		return place_failed("%s is neither a file nor a directory in the export", path);
	if (there && there->type != S_IFDIR) {
		if (!remove_foreign(p, path, there->type))
			return false;
		/* It would be in the way of the comparison that is only counted. */
		if (p->dry)
			return true;
	}
	return full_dir(p, path);
}

static bool full_dir(struct place *p, const char *dir)
{
	struct names want = { 0 }, have = { 0 };
	bool ok = names_read(&want, p->export, dir) && names_read(&have, p->dir, dir);

	for (size_t i = 0; i < want.n && ok; i++) {
		char *path = join(dir, want.list[i].text);

		ok = full_entry(p, path, want.list[i].type, names_find(&have, want.list[i].text));
		free(path);
	}
	for (size_t i = 0; i < have.n && ok; i++) {
		char *path;

		if (names_find(&want, have.list[i].text))
			continue;
		/* What an earlier kit of ours was writing is not a stranger's. */
		if (p->dry && !strncmp(have.list[i].text, TEMPORARY, strlen(TEMPORARY)))
			continue;
		path = join(dir, have.list[i].text);
		ok = remove_foreign(p, path, have.list[i].type);
		free(path);
	}
	names_release(&want);
	names_release(&have);
	return ok;
}

static bool begin(struct place *p)
{
	int fd = sys_open(p->dir, BEGUN, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);

	/* It goes with what does not belong there, once everything else is in its place. */
	return fd >= 0 && !sys_close(fd) && !sys_fsync(p->dir) ? true : place_failed_at(BEGUN);
}

static bool sync_full(struct place *p)
{
	const char *previous = variable("DRYDOCK_PREVIOUS");
	/* It was brought to a release before, or may hold what is not ours, which is removed then. */
	bool known = (*previous && strcmp(previous, "0")) || !strcmp(variable("DRYDOCK_OPTION_ADOPT"), "yes");

	if (!known && faccessat(p->dir, BEGUN, F_OK, AT_SYMLINK_NOFOLLOW)) {
		p->dry = true;
		if (!full_dir(p, ""))
			return false;
		if (p->foreign)
			return place_failed("the place holds %llu files that DryDock did not put there, and would be removed or replaced: empty it, "
			              "or set option = {\"adopt=yes\"} for this target",
			    (unsigned long long)p->foreign);
		p->dry = false;
		far_begin(&p->far, 0);
		if (!begin(p))
			return false;
	}
	return full_dir(p, "");
}

/* --- all of it -------------------------------------------------------------------------------------------------------------- */

static bool open_dirs(struct place *p)
{
	const char *place = variable("DRYDOCK_PLACE"), *export_dir = variable("DRYDOCK_EXPORT");

	if (place[0] != '/')
		return place_failed("the place of a local target has to be a directory of this machine, written from the root");
	p->export = open(export_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->export < 0)
		return place_failed_at(export_dir);
	p->dir = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir < 0)
		return place_failed("%s: %s", place, errno == ENOENT ? "there is no such directory: make it, and give it to the user that DryDock runs as" : strerror(errno));
	if (faccessat(p->dir, ".", W_OK | X_OK, 0))
		return place_failed("%s cannot be written by the user that DryDock runs as (uid %u)", place, (unsigned)geteuid());
	return true;
}

int main(int argc, char **argv)
{
	static struct place p = { .export = -1, .dir = -1, .parent = -1 };
	const char *mode = variable("DRYDOCK_MODE");
	bool ok;

	if (argc != 2 || (strcmp(argv[1], "sync") && strcmp(argv[1], "test"))) {
		fputs("This is a kit: DryDock runs it. See sync-scripts/README.\n", stderr);
		return 2;
	}
	snprintf(p.temporary, sizeof(p.temporary), TEMPORARY "%ld", (long)getpid());
	far_begin(&p.far, 0);
	ok = open_dirs(&p);
	if (!strcmp(argv[1], "test")) {
		if (ok)
			printf("%s is a directory, and can be written\n", variable("DRYDOCK_PLACE"));
		return fflush(stdout) || !ok;
	}
	if (ok && !strcmp(mode, "changes"))
		ok = sync_changes(&p, variable("DRYDOCK_CHANGES"));
	else if (ok && !strcmp(mode, "full"))
		ok = sync_full(&p);
	else if (ok)
		ok = place_failed("DRYDOCK_MODE is neither changes nor full");
	place_forget_parent(&p);
	if (ok && !p.sync_each && (p.added || p.changed) && sys_syncfs(p.dir))
		ok = place_failed_at("the place");
	if (ok)
		printf("{\"result\":{\"added\":%llu,\"changed\":%llu,\"removed\":%llu,\"bytes\":%llu}}\n", (unsigned long long)p.added,
		    (unsigned long long)p.changed, (unsigned long long)p.removed, (unsigned long long)p.bytes);
	return fflush(stdout) || !ok;
}
