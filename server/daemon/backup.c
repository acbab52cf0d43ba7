/*
 * drydockd backup: a data directory copied, beside a running server or without one. The database as it is at one moment;
 * the repositories' objects, of which nothing is ever changed and which are copied afterwards, so that everything that the
 * database names is among them; refs as the database says; keys and configuration. MANIFEST, written last, has the SHA-256
 * of every file: a backup that was cut short is refused.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"
#include "daemon/datadir.h"
#include "daemon/dump.h"
#include "daemon/internal.h"

#define PASSES 20 /* over a repository in which packs are put together meanwhile */
#define DEPTH 8
#define REFS_LIMIT ((size_t)64 << 20)

struct backup {
	const struct conf *conf;
	struct db *db;
	struct node_key *key;
	const char *dir;
	int fd;
	struct buf refs; /* of the site being copied */
	uint64_t newest; /* its newest release */
};

/* --- a repository ------------------------------------------------------------------------------------------------------ */

/* What was not copied in an earlier pass. *lost: a file vanished: packs were put together. */
static enum err copy_objects(int from, int to, unsigned depth, bool *lost)
{
	int again = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *entry;
	enum err e = ERR_OK;

	if (!d) {
		e = err_sys(ERR_FAILED, "reading a repository");
		if (again >= 0)
			sys_close(again);
		return e;
	}
	while (!e && (entry = readdir(d))) {
		struct sha256 sha256;
		struct stat st;
		uint64_t size;

		if (entry->d_name[0] == '.' || strncmp(entry->d_name, "tmp_", 4) == 0 || strstr(entry->d_name, ".lock"))
			continue;
		if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
			*lost = true;
		} else if (S_ISDIR(st.st_mode) && depth < DEPTH) {
			int below = openat(dirfd(d), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), made = -1;

			if (below >= 0 && (sys_mkdir(to, entry->d_name, 0700) == 0 || errno == EEXIST))
				made = openat(to, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			e = made < 0 ? err_sys(ERR_FAILED, "copying %s", entry->d_name) : copy_objects(below, made, depth + 1, lost);
			if (below >= 0)
				sys_close(below);
			if (made >= 0)
				sys_close(made);
		} else if (S_ISREG(st.st_mode) && !file_exists(to, entry->d_name)) {
			e = copy_file(dirfd(d), entry->d_name, to, entry->d_name, 0400, &sha256, &size);
			if (e == ERR_NOT_FOUND) {
				*lost = true;
				e = ERR_OK;
			}
		}
	}
	closedir(d);
	return e;
}

static enum err see_tag(void *arg, const char *name, const struct blob_id *at)
{
	static const char prefix[] = "refs/tags/release/";
	struct backup *b = arg;

	if (strtoull(name + sizeof(prefix) - 1, NULL, 10) > b->newest)
		return ERR_OK;
	buf_hex(&b->refs, at->b, sizeof(at->b));
	buf_fmt(&b->refs, " %s\n", name);
	return ERR_OK;
}

/* The refs as they belong to the database's moment: what came later is among the objects, and nothing leads to it. */
static enum err note_refs(struct backup *b, const char *site, struct repo *repo)
{
	struct arena *a = arena_new();
	struct db_release last = { .number = 0 };
	struct db_head head;
	enum err e = db_head_get(b->db, site, node_key_id(b->key), &head);

	if (!e)
		e = db_release_get(b->db, site, 0, &last, a);
	if (e == ERR_NOT_FOUND)
		e = ERR_OK;
	b->newest = last.number;
	buf_reset(&b->refs);
	buf_str(&b->refs, "# pack-refs with: sorted \n");
	if (!e && head.seq) {
		buf_hex(&b->refs, head.commit.b, sizeof(head.commit.b));
		buf_fmt(&b->refs, " refs/drydock/log/%s\n", node_key_id(b->key));
	}
	if (!e && last.number) {
		buf_hex(&b->refs, last.main_commit.b, sizeof(last.main_commit.b));
		buf_str(&b->refs, " refs/heads/main\n");
		e = repo_ref_each(repo, "refs/tags/release/", see_tag, b);
	}
	arena_free(a);
	return e ? e : buf_check(&b->refs);
}

static void complain(void *arg, const char *what)
{
	char **why = arg;

	if (!*why)
		*why = mem_dup(what);
}

static const char *const BESIDE[] = { "HEAD", "config", "drydock-id" }; /* the objects */

static enum err copy_repository(struct backup *b, const char *site)
{
	char *from_dir = mem_printf("%s/sites/%s/repo.git", b->conf->data, site), *to_dir = mem_printf("%s/sites/%s/repo.git", b->dir, site), *objects = NULL, *why = NULL;
	int from = -1, to = -1, in = -1, out = -1;
	struct repo *repo = NULL, *copy = NULL;
	struct sha256 sha256;
	uint64_t size;
	bool lost = true;
	enum err e = repo_open(&repo, from_dir);

	if (!e)
		e = note_refs(b, site, repo);
	objects = mem_printf("%s/objects", to_dir);
	if (!e)
		e = file_mkdirs(objects, 0700);
	if (!e) {
		from = open(from_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		to = open(to_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		in = openat(from, "objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		out = openat(to, "objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (in < 0 || out < 0)
			e = err_sys(ERR_FAILED, "%s", from_dir);
	}
	for (int i = 0; i < PASSES && !e && lost; i++) {
		lost = false;
		e = copy_objects(in, out, 0, &lost);
	}
	FAILPOINT_OR(e, backup_objects);
	if (!e && lost)
		e = err_set(ERR_BUSY, "%s: packs are put together again and again: try later", from_dir);
	for (size_t i = 0; i < sizeof(BESIDE) / sizeof(*BESIDE) && !e; i++)
		e = copy_file(from, BESIDE[i], to, BESIDE[i], 0600, &sha256, &size);
	if (!e)
		e = file_write(to, "packed-refs", b->refs.p, b->refs.len, 0600);
	FAILPOINT_OR(e, backup_refs);
	if (!e && sys_mkdir(to, "refs", 0700))
		e = err_sys(ERR_FAILED, "%s/refs", to_dir);
	/* git keeps empty directories for refs, a manifest keeps files */
	if (!e)
		e = repo_open(&copy, to_dir);
	if (!e)
		e = repo_check(copy, false, NULL, complain, &why);
	if (!e && why)
		e = err_set(ERR_FAILED, "the copy of %s is not whole: %s", from_dir, why);
	free(why);
	repo_close(copy);
	repo_close(repo);
	for (int *fd = (int[]){ from, to, in, out, -2 }; *fd != -2; fd++)
		if (*fd >= 0)
			sys_close(*fd);
	free(objects);
	free(from_dir);
	free(to_dir);
	return e ? err_prefix(e, "%s", site) : ERR_OK;
}

/* --- the rest ------------------------------------------------------------------------------------------------------------ */

static enum err copy_keys(struct backup *b)
{
	/* node.key is the secret of the whole: whoever has it can sign in the node's name. */
	static const struct { const char *name; mode_t mode; bool must; } FILES[] = {
		{ "node.key", 0600, true }, { "node.keys", 0600, false }, { "node.pub", 0644, true }, { "allowed_signers", 0644, true }, { "format", 0644, true },
	};
	int data = open(b->conf->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct sha256 sha256;
	uint64_t size;
	enum err e = data < 0 ? err_sys(ERR_FAILED, "%s", b->conf->data) : ERR_OK;

	for (size_t i = 0; i < sizeof(FILES) / sizeof(*FILES) && !e; i++)
		if (FILES[i].must || file_exists(data, FILES[i].name))
			e = copy_file(data, FILES[i].name, b->fd, FILES[i].name, FILES[i].mode, &sha256, &size);
	if (!e)
		e = copy_file(AT_FDCWD, b->conf->file, b->fd, "drydock.conf", 0644, &sha256, &size);
	if (data >= 0)
		sys_close(data);
	return e;
}

static enum err write_dump(struct backup *b)
{
	int fd = sys_open(b->fd, "database", O_WRONLY | O_CREAT | O_EXCL, 0600);
	enum err e = fd < 0 ? err_sys(ERR_FAILED, "%s/database", b->dir) : dump_write(b->db, fd);

	if (fd >= 0 && sys_close(fd) && !e)
		e = err_sys(ERR_FAILED, "%s/database", b->dir);
	return e;
}

static enum err backup_all(struct backup *b)
{
	char **sites = datadir_sites(b->conf->data), at[CLOCK_TEXT_SIZE];
	enum err e = db_still_begin(b->db);

	clock_text(clock_wall(), at);
	if (!e)
		e = write_dump(b);
	FAILPOINT_OR(e, backup_database);
	if (!e)
		e = copy_repository(b, "installation");
	for (size_t i = 0; sites[i]; i++) {
		if (!e)
			e = copy_repository(b, sites[i]);
		free(sites[i]);
	}
	free(sites);
	db_still_end(b->db);
	if (!e)
		e = copy_keys(b);
	FAILPOINT_OR(e, backup_keys);
	if (!e)
		e = manifest_write(b->dir, at);
	if (!e)
		printf("%s: a backup of %s as it was at %s. It holds the node's key and everybody's password hashes: keep it as you keep them.\n", b->dir,
		    b->conf->data, at);
	return e;
}

/* The database of a server that runs, as its owner: the UNIX user who runs it, on its socket; or as the configuration says. */
static enum err running_database(const struct conf *conf, struct db_address *out)
{
	struct passwd *pw = getpwuid(geteuid());
	char *url;
	enum err e;

	if (*conf->database_url)
		return conf_database(conf, out);
	url = mem_printf("mysql://%s@localhost/drydock?socket=%s/db.sock", pw ? pw->pw_name : "", conf->data);
	e = db_address_parse(out, url);
	free(url);
	return e;
}

enum err daemon_backup(const struct conf *conf, const char *dir)
{
	struct backup b = { .conf = conf, .dir = dir, .fd = -1, .refs = BUF_INIT(REFS_LIMIT) };
	struct installation *in = NULL;
	struct db_address address;
	enum err e;

	(void)umask(077);
	if (sys_mkdir(AT_FDCWD, dir, 0700))
		return err_sys(errno == EEXIST ? ERR_STALE : ERR_FAILED, "%s: a backup is made into a new directory", dir);
	e = installation_open_stores(&in, conf, false);
	if (!e) {
		address = in->owner;
	} else if (e == ERR_BUSY && datadir_in_use(conf->data)) {
		e = db_library_start();
		if (!e)
			e = running_database(conf, &address);
	}
	b.fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!e && b.fd < 0)
		e = err_sys(ERR_FAILED, "%s", dir);
	if (!e)
		e = node_key_load(&b.key, conf->data);
	if (!e && node_key_changing(conf->data))
		e = err_set(ERR_BUSY, "a change of the node's key was cut short: start the server, which completes it, before a backup");
	if (!e)
		e = db_open(&b.db, &address);
	/* A server that runs may be one of before an upgrade. */
	if (!e)
		e = db_schema_check(b.db, conf->sql);
	if (!e)
		e = backup_all(&b);
	db_close(b.db);
	node_key_free(b.key);
	buf_release(&b.refs);
	if (b.fd >= 0)
		sys_close(b.fd);
	/* What was refused before anything was written may be asked for again. */
	if (e)
		(void)sys_unlink(AT_FDCWD, dir, AT_REMOVEDIR);
	explicit_bzero(&address, sizeof(address));
	return installation_close_after(in, e);
}
