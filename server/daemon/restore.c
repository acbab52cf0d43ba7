/*
 * drydockd restore: a backup checked to the last byte and made a data directory again. What was signed after the backup is
 * not in it, and nothing in it can tell: so it starts read-only, until somebody who has compared it with production accepts
 * that, with a reason, as a record.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

#define MANIFEST "MANIFEST"
#define MANIFEST_LIMIT ((size_t)256 << 20)
#define FIRST_LINE "drydock backup 1, "
#define RESTORED "restored" /* in the data directory, until the loss is accepted: the time of the backup */
#define DEPTH 12

/* --- the manifest: a line a file, "SHA256 SIZE MODE PATH", and at the end the SHA-256 of itself -------------------------- */

static enum err list_files(const char *dir, int fd, const char *below, unsigned depth, struct buf *out)
{
	struct dirent **names = NULL;
	int n = scandirat(fd, *below ? below : ".", &names, NULL, alphasort);
	enum err e = n < 0 ? err_sys(ERR_FAILED, "%s/%s", dir, below) : ERR_OK;

	for (int i = 0; i < n; i++) {
		char *path = mem_printf("%s%s%s", below, *below ? "/" : "", names[i]->d_name);
		struct sha256 sha256;
		struct stat st;
		uint64_t size;

		if (!e && strcmp(names[i]->d_name, ".") && strcmp(names[i]->d_name, "..")) {
			if (fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW)) {
				e = err_sys(ERR_FAILED, "%s/%s", dir, path);
			} else if (S_ISDIR(st.st_mode) && depth < DEPTH) {
				e = list_files(dir, fd, path, depth + 1, out);
			} else {
				e = copy_file(fd, path, -1, NULL, 0, &sha256, &size);
				buf_hex(out, sha256.b, sizeof(sha256.b));
				buf_fmt(out, " %llu %04o %s\n", (unsigned long long)size, (unsigned)st.st_mode & 07777, path);
			}
		}
		free(path);
		free(names[i]);
	}
	free(names);
	return e;
}

enum err manifest_write(const char *dir, const char *at)
{
	struct buf text = BUF_INIT(MANIFEST_LIMIT);
	struct sha256 sum;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e = fd < 0 ? err_sys(ERR_FAILED, "%s", dir) : ERR_OK;

	buf_fmt(&text, FIRST_LINE "%s\n", at);
	if (!e)
		e = list_files(dir, fd, "", 0, &text);
	if (!e && sys_syncfs(fd))
		e = err_sys(ERR_FAILED, "%s", dir);
	if (!e)
		e = buf_check(&text);
	if (!e) {
		sha256_of(&sum, text.p, text.len);
		buf_str(&text, "END ");
		buf_hex(&text, sum.b, sizeof(sum.b));
		buf_char(&text, '\n');
		e = buf_check(&text);
	}
	FAILPOINT_OR(e, backup_listed);
	if (!e)
		e = file_write(fd, MANIFEST, text.p, text.len, 0600);
	buf_release(&text);
	if (fd >= 0)
		sys_close(fd);
	return e;
}

struct restoring {
	const char *from, *to;
	int from_fd, to_fd; /* to_fd < 0: only look */
	char at[CLOCK_TEXT_SIZE];
};

static bool path_is_safe(const char *path)
{
	if (!*path || *path == '/')
		return false;
	for (const char *p = path; *p; p += strcspn(p, "/"), p += *p == '/') {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
	}
	return true;
}

static enum err one_file(struct restoring *r, char *line)
{
	char *size_text = strchr(line, ' '), *mode_text = size_text ? strchr(size_text + 1, ' ') : NULL, *path = mode_text ? strchr(mode_text + 1, ' ') : NULL, *slash;
	struct sha256 want, is;
	uint64_t size = 0;
	mode_t mode;
	enum err e = ERR_OK;

	if (!path)
		return err_set(ERR_INPUT, "%s/" MANIFEST ": a line that is none: %.80s", r->from, line);
	*size_text = *path = '\0';
	path++;
	mode = (mode_t)strtoul(mode_text + 1, NULL, 8) & 0755;
	if (!hex_parse(want.b, sizeof(want.b), line) || !path_is_safe(path))
		return err_set(ERR_INPUT, "%s/" MANIFEST ": a line that is none: %.80s", r->from, path);
	if (r->to_fd >= 0 && strcmp(path, "database") == 0)
		return ERR_OK;
	slash = strrchr(path, '/');
	if (r->to_fd >= 0 && slash) {
		char *above = mem_printf("%s/%.*s", r->to, (int)(slash - path), path);

		e = file_mkdirs(above, 0700);
		free(above);
	}
	if (!e)
		e = copy_file(r->from_fd, path, r->to_fd, path, mode, &is, &size);
	if (e == ERR_NOT_FOUND || e == ERR_INPUT)
		return err_set(ERR_INPUT, "%s/%s is missing: the backup is not whole", r->from, path);
	if (!e && (!sha256_equal(&want, &is) || size != strtoull(size_text + 1, NULL, 10)))
		e = err_set(ERR_INPUT, "%s/%s is not what was backed up: its SHA-256 or its size differs", r->from, path);
	return e;
}

/* The whole manifest is right before a line of it counts. */
static enum err read_manifest(struct restoring *r, struct buf *text)
{
	enum err e = file_read(r->from_fd, MANIFEST, text);
	struct sha256 sum, want;
	char *last;

	if (e == ERR_NOT_FOUND)
		return err_set(ERR_INPUT, "%s has no " MANIFEST ", which is written last: it is not a backup, or was cut short", r->from);
	if (e)
		return e;
	last = text->len > 70 ? text->p + text->len - 69 : NULL;
	if (!last || strncmp(text->p, FIRST_LINE, strlen(FIRST_LINE)) || strncmp(last, "END ", 4) || text->p[text->len - 1] != '\n')
		return err_set(ERR_INPUT, "%s/" MANIFEST " is cut short, or not one of a backup", r->from);
	text->p[text->len - 1] = '\0';
	sha256_of(&sum, text->p, (size_t)(last - text->p));
	if (!hex_parse(want.b, sizeof(want.b), last + 4) || !sha256_equal(&sum, &want))
		return err_set(ERR_INPUT, "%s/" MANIFEST " was changed: its own SHA-256 differs", r->from);
	*last = '\0';
	snprintf(r->at, sizeof(r->at), "%.*s", (int)strcspn(text->p + strlen(FIRST_LINE), "\n"), text->p + strlen(FIRST_LINE));
	return ERR_OK;
}

static enum err each_file(struct restoring *r)
{
	struct buf text = BUF_INIT(MANIFEST_LIMIT);
	char *line, *next = NULL;
	enum err e = read_manifest(r, &text);

	if (!e)
		for (line = strtok_r(text.p, "\n", &next), line = strtok_r(NULL, "\n", &next); line && !e; line = strtok_r(NULL, "\n", &next))
			e = one_file(r, line);
	buf_release(&text);
	return e;
}

/* --- restoring ------------------------------------------------------------------------------------------------------------ */

/* git wants refs/ to be there, and a manifest lists files only. */
static enum err make_refs(const char *data)
{
	char **sites = datadir_sites(data), *refs = mem_printf("%s/sites/installation/repo.git/refs", data);
	enum err e = file_mkdirs(refs, 0700);

	free(refs);
	for (size_t i = 0; sites[i]; i++) {
		refs = mem_printf("%s/sites/%s/repo.git/refs", data, sites[i]);
		if (!e)
			e = file_mkdirs(refs, 0700);
		free(refs);
		free(sites[i]);
	}
	free(sites);
	return e;
}

static enum err fill_database(const struct conf *conf, const char *dump)
{
	struct installation *in = NULL;
	struct db *db = NULL;
	enum err e = installation_open_stores(&in, conf, true);

	if (e)
		return e;
	e = db_open(&db, &in->owner);
	if (!e && in->private)
		private_db_roomy(db);
	if (!e)
		e = dump_read(db, dump);
	FAILPOINT_OR(e, restore_filled);
	db_close(db);
	return installation_close_after(in, e);
}

static enum err fill_directory(struct restoring *r)
{
	char *file = mem_printf("%s/drydock.conf", r->to), *dump = mem_printf("%s/database", r->from), *data;
	struct conf *conf = NULL;
	enum err e = each_file(r);

	FAILPOINT_OR(e, restore_files);
	if (!e)
		e = make_refs(r->to);
	if (!e)
		e = conf_load(&conf, file);
	data = realpath(r->to, NULL);
	if (!e && (!data || strcmp(conf->data, data)))
		e = err_set(ERR_INPUT, "%s names another data directory in option data: take that line out, then run restore again into a new directory", file);
	/* Before the database has a row, so that nothing ever starts from it unnoticed. */
	if (!e)
		e = file_write(r->to_fd, RESTORED, r->at, strlen(r->at), 0600);
	FAILPOINT_OR(e, restore_marked);
	if (!e)
		e = fill_database(conf, dump);
	conf_free(conf);
	free(file);
	free(dump);
	free(data);
	return e;
}

enum err daemon_restore(const char *from, const char *to)
{
	struct restoring r = { .from = from, .to = to, .from_fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC), .to_fd = -1 };
	enum err e;

	if (geteuid() == 0)
		return err_set(ERR_INPUT, "Restore as the user that the daemon runs as: what is made belongs to whoever makes it");
	if (r.from_fd < 0)
		return err_sys(ERR_NOT_FOUND, "%s", from);
	(void)umask(077);
	/* All of it is looked at before anything is made. */
	e = each_file(&r);
	if (!e && sys_mkdir(AT_FDCWD, to, 0711))
		e = err_sys(errno == EEXIST ? ERR_STALE : ERR_FAILED, "%s: a backup is restored into a new directory", to);
	FAILPOINT_OR(e, restore_directory);
	if (!e) {
		r.to_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		e = r.to_fd < 0 || sys_fchmod(r.to_fd, 0711) ? err_sys(ERR_FAILED, "%s", to) : fill_directory(&r);
	}
	if (!e)
		printf("%s is a data directory again, as it was at %s. Look through %s/drydock.conf, and `drydockd fsck --data %s`.\n"
		       "It starts read-only: what was signed after that time is not in it. Compare it with production; then\n"
		       "`drydockd accept-loss -m REASON --data %s` records that this is the state to go on from.\n", to, r.at, to, to, to);
	if (r.to_fd >= 0)
		sys_close(r.to_fd);
	sys_close(r.from_fd);
	return e;
}

/* --- until the loss is accepted ------------------------------------------------------------------------------------------- */

static enum err read_restored(const char *data, char at[CLOCK_TEXT_SIZE])
{
	struct buf text = BUF_INIT(256);
	char *name = mem_printf("%s/" RESTORED, data);
	enum err e = file_read(AT_FDCWD, name, &text);

	if (!e)
		snprintf(at, CLOCK_TEXT_SIZE, "%.*s", CLOCK_TEXT_SIZE - 1, buf_text(&text));
	free(name);
	buf_release(&text);
	return e;
}

static void hold(struct site *s, const char *at)
{
	if (s->read_only)
		return;
	snprintf(s->read_only_reason, sizeof(s->read_only_reason),
	    "this was restored from the backup of %s. What was signed later is not here: compare with production, then drydockd accept-loss -m REASON.", at);
	s->read_only = true;
}

enum err restored_hold(struct installation *in)
{
	char at[CLOCK_TEXT_SIZE];
	enum err e = read_restored(in->conf->data, at);

	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	hold(in->self, at);
	for (size_t i = 0; i < in->n_sites; i++)
		hold(in->sites[i], at);
	return ERR_OK;
}

static enum err accept_one(struct installation *in, struct site *s, const char *at, const char *reason)
{
	struct act_answer answer;

	enum err e;

	s->read_only = false;
	e = act_restored(s, in->tools, at, reason, &answer);
	FAILPOINT_OR(e, restore_accepted);
	return e;
}

enum err daemon_accept_loss(const struct conf *conf, const char *reason)
{
	struct installation *in = NULL;
	char at[CLOCK_TEXT_SIZE], *name = mem_printf("%s/" RESTORED, conf->data);
	enum err e = read_restored(conf->data, at);

	if (e == ERR_NOT_FOUND)
		e = err_set(ERR_NOT_FOUND, "%s was not restored from a backup, or the loss was accepted already", conf->data);
	if (!e && !*reason)
		e = err_set(ERR_INPUT, "Say with -m why this is the state to go on from: it is recorded");
	if (!e)
		e = installation_open(&in, conf, NULL, NULL);
	if (!e)
		e = accept_one(in, in->self, at, reason);
	for (size_t i = 0; !e && i < in->n_sites; i++)
		e = accept_one(in, in->sites[i], at, reason);
	if (!e && sys_unlink(AT_FDCWD, name, 0))
		e = err_sys(ERR_FAILED, "%s", name);
	if (!e)
		puts("Recorded. The next `drydockd serve` writes again.");
	e = installation_close_after(in, e);
	free(name);
	return e;
}
