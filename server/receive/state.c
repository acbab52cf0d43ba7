/* The state directory: made, opened, and what was accepted kept in it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sys.h"
#include "receive/receive.h"

#define CONFIG_LIMIT 4096
#define NET_SMALLEST 2000 /* lines of a difference before there is a new base, or a 32nd of it */

void receive_step(const char *name)
{
#ifdef DRYDOCK_RECEIVE_STEPS
	const char *at = getenv("DRYDOCK_RECEIVE_STOP");

	if (at && !strcmp(at, name))
		(void)raise(SIGKILL);
#else
	(void)name;
#endif
}

/* --- making one ------------------------------------------------------------------------------------------------------- */

enum err receiver_init(const char *dir, const char *site, const char *signers)
{
	struct buf config = BUF_INIT(CONFIG_LIMIT), keys = BUF_INIT(65536);
	int fd = -1;
	enum err e;

	if (!site_name_valid(site))
		return err_set(ERR_INPUT, "%s is not the name of a site", site);
	e = file_read(AT_FDCWD, signers, &keys);
	if (!e)
		e = file_mkdirs(dir, 0755);
	if (!e && (fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		e = err_sys(ERR_FAILED, "%s", dir);
	if (!e && file_exists(fd, "config"))
		e = err_set(ERR_STALE, "%s is a receiver already", dir);
	if (!e)
		e = node_key_create(dir);
	if (!e)
		e = file_write(fd, "allowed_signers", keys.p, keys.len, 0644);
	for (int i = 0; i < 4 && !e; i++) {
		static const char *const dirs[] = { "images", "images/a", "images/b", "incoming" };

		if (sys_mkdir(fd, dirs[i], i < 3 ? 0755 : 0700))
			e = err_sys(ERR_FAILED, "%s/%s", dir, dirs[i]);
	}
	if (!e && sys_symlink("images/a", fd, "live"))
		e = err_sys(ERR_FAILED, "%s/live", dir);
	buf_fmt(&config, "site %s\nrest 30\n", site);
	/* The last file makes it one. */
	if (!e)
		e = file_write(fd, "config", config.p, config.len, 0644);
	buf_release(&config);
	buf_release(&keys);
	if (fd >= 0)
		(void)close(fd);
	return e;
}

/* --- opening ------------------------------------------------------------------------------------------------------------ */

static enum err read_config(struct receiver *r)
{
	struct buf text = BUF_INIT(CONFIG_LIMIT);
	char *save = NULL;
	enum err e = file_read(r->dir, "config", &text);

	r->rest_us = 30 * CLOCK_SECOND;
	if (e)
		return err_prefix(e, "%s is not a receiver (drydock-receive init)", r->dir_name);
	for (char *line = strtok_r(arena_dup(r->a, buf_text(&text)), "\n", &save); line && !e; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ' ');

		if (!value || *line == '#')
			continue;
		*value++ = '\0';
		if (!strcmp(line, "site"))
			r->site = value;
		else if (!strcmp(line, "rest"))
			r->rest_us = strtoll(value, NULL, 10) * CLOCK_SECOND;
		else
			e = err_set(ERR_INPUT, "%s/config: there is no option \"%s\"", r->dir_name, line);
	}
	if (!e && (!r->site || !site_name_valid(r->site) || r->rest_us < 0 || r->rest_us > 3600 * CLOCK_SECOND))
		e = err_set(ERR_INPUT, "%s/config: site and rest (0 to 3600) have to be set", r->dir_name);
	buf_release(&text);
	return e;
}

static void get_hash(const json_t *v, const char *name, struct sha256 *out, bool *bad)
{
	const char *s = json_get_str(v, name, bad);

	if (!s || !hex_parse(out->b, sizeof(out->b), s))
		*bad = true;
}

static enum err read_accepted(struct receiver *r)
{
	struct accepted *x = &r->accepted;
	struct buf text = BUF_INIT(65536);
	json_t *v = NULL;
	bool bad = false;
	const char *image, *receipt, *signature;
	enum err e = file_read(r->dir, "accepted", &text);

	*x = (struct accepted){ .image = 0 };
	if (e == ERR_NOT_FOUND)
		return ERR_OK;
	if (!e)
		e = json_parse(&v, text.p, text.len);
	if (!e) {
		x->number = (uint64_t)json_get_int(v, "number", 0, &bad);
		x->term = (uint64_t)json_get_int(v, "term", 0, &bad);
		x->sums.count = (uint64_t)json_get_int(v, "files", 0, &bad);
		x->rolled_back = json_get_bool(v, "rolled_back", false, &bad);
		get_hash(v, "head", &x->head, &bad);
		get_hash(v, "manifest", &x->sums.manifest, &bad);
		image = json_get_str(v, "image", &bad);
		receipt = json_get_str(v, "receipt", &bad);
		signature = json_get_str(v, "signature", &bad);
		bad = bad || !image || !receipt || !signature || (strcmp(image, "a") && strcmp(image, "b"));
		x->image = !bad && image[0] == 'b';
		x->receipt = bad ? "" : arena_dup(r->a, receipt);
		x->signature = bad ? "" : arena_dup(r->a, signature);
		if (bad)
			e = err_set(ERR_FAILED, "%s/accepted is not readable", r->dir_name);
	}
	json_decref(v);
	buf_release(&text);
	return e;
}

static void read_live(struct receiver *r)
{
	char to[64];
	ssize_t n = readlinkat(r->dir, "live", to, sizeof(to) - 1);

	to[n > 0 ? n : 0] = '\0';
	r->live = !strcmp(to, "images/a") ? 0 : !strcmp(to, "images/b") ? 1 : -1;
}

enum err receiver_open(struct receiver *r, const char *dir, bool writing)
{
	enum err e = ERR_OK;

	*r = (struct receiver){ .a = arena_new(), .dir_name = dir, .dir = -1, .images = -1, .incoming = -1, .lock = -1, .rsync_lock = -1 };
	r->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir < 0)
		return err_sys(ERR_FAILED, "%s", dir);
	e = read_config(r);
	if (!e && ((r->images = openat(r->dir, "images", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
	              (r->incoming = openat(r->dir, "incoming", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0))
		e = err_sys(ERR_FAILED, "%s/images, incoming", dir);
	if (!e && writing) {
		r->lock = sys_open(r->dir, "lock", O_RDWR | O_CREAT, 0600);
		if (r->lock < 0)
			e = err_sys(ERR_FAILED, "%s/lock", dir);
		else if (flock(r->lock, LOCK_EX | LOCK_NB))
			e = err_set(ERR_BUSY, "another delivery is running");
	}
	if (!e)
		e = node_key_load(&r->key, dir);
	if (!e)
		e = read_accepted(r);
	if (!e)
		e = signers_load(r);
	read_live(r);
	/* Accepted, and ended before the switch: it was complete and on disk by then. */
	if (!e && writing && r->accepted.number && !r->accepted.rolled_back && r->live != r->accepted.image)
		e = receiver_switch(r, r->accepted.image);
	return e;
}

int receiver_idle(const struct receiver *r)
{
	return r->live == 1 ? 0 : 1;
}

bool receiver_unchanged(const struct receiver *r)
{
	struct receiver now = { .a = arena_new(), .dir_name = r->dir_name, .dir = r->dir };
	bool same = !read_accepted(&now);

	read_live(&now);
	same = same && now.live == r->live && now.accepted.number == r->accepted.number && sha256_equal(&now.accepted.head, &r->accepted.head) &&
	    now.accepted.rolled_back == r->accepted.rolled_back;
	arena_free(now.a);
	return same;
}

void receiver_close(struct receiver *r)
{
	const int fds[] = { r->dir, r->images, r->incoming, r->lock, r->rsync_lock };

	look_end(r);
	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
	node_key_free(r->key);
	json_decref(r->statements);
	free(r->keys);
	arena_free(r->a);
}

/* --- what was accepted ------------------------------------------------------------------------------------------------------ */

enum err receiver_accept(struct receiver *r, const struct accepted *now)
{
	char head[SHA256_HEX], manifest[SHA256_HEX];
	struct buf text = BUF_INIT(65536);
	json_t *v;
	enum err e;

	hex_of(head, now->head.b, sizeof(now->head.b));
	hex_of(manifest, now->sums.manifest.b, sizeof(now->sums.manifest.b));
	v = json_pack("{s:I, s:I, s:I, s:b, s:s, s:s, s:s, s:s, s:s}", "number", (json_int_t)now->number, "term", (json_int_t)now->term, "files",
	    (json_int_t)now->sums.count, "rolled_back", now->rolled_back, "head", head, "manifest", manifest, "image", IMAGE_NAME(now->image),
	    "receipt", now->receipt, "signature", now->signature);
	e = v ? json_canonical(&text, v) : err_set(ERR_FAILED, "what was accepted cannot be written");
	json_decref(v);
	if (!e)
		e = file_write(r->dir, "accepted", text.p, text.len, 0600);
	if (!e)
		r->accepted = *now;
	buf_release(&text);
	return e;
}

enum err receiver_switch(struct receiver *r, int image)
{
	char to[16];
	enum err e;

	snprintf(to, sizeof(to), "images/%s", IMAGE_NAME(image));
	(void)sys_unlink(r->dir, "live.new", 0);
	if (sys_symlink(to, r->dir, "live.new") || sys_rename(r->dir, "live.new", r->dir, "live") || sys_fsync(r->dir))
		return err_sys(ERR_FAILED, "%s/live", r->dir_name);
	r->live = image;
	e = file_write_fast(r->dir, "switched", "", 0, 0600);
	return e;
}

/* --- lists of images --------------------------------------------------------------------------------------------------------- */

static const char *name_of(char out[16], int image, const char *what)
{
	snprintf(out, 16, "%s.%s", IMAGE_NAME(image), what);
	return out;
}

enum err image_list(struct receiver *r, int image, bool raw, struct manifest_reading *out)
{
	char name[16];
	enum err e;

	*out = (struct manifest_reading){ .raw = raw };
	e = manifest_reading_add(out, r->dir, name_of(name, image, "base"));
	if (e == ERR_NOT_FOUND) {
		e = file_write_fast(r->dir, name, "", 0, 0600);
		if (!e)
			e = manifest_reading_add(out, r->dir, name);
	}
	if (!e && file_exists(r->dir, name_of(name, image, "net")))
		e = manifest_reading_add(out, r->dir, name);
	return e;
}

bool image_has_list(struct receiver *r, int image)
{
	char name[16];

	return file_exists(r->dir, name_of(name, image, "base"));
}

bool image_dirty(struct receiver *r, int image)
{
	char name[16];

	return file_exists(r->dir, name_of(name, image, "dirty"));
}

enum err image_set_dirty(struct receiver *r, int image, bool dirty)
{
	char name[16];

	name_of(name, image, "dirty");
	if (dirty)
		return file_write(r->dir, name, "", 0, 0600);
	if (sys_unlink(r->dir, name, 0) && errno != ENOENT)
		return err_sys(ERR_FAILED, "%s/%s", r->dir_name, name);
	return sys_fsync(r->dir) ? err_sys(ERR_FAILED, "%s", r->dir_name) : ERR_OK;
}

static uint64_t lines_of(int dir, const char *name)
{
	struct stat st;

	/* Near enough: what a line has at the least. */
	return fstatat(dir, name, &st, 0) ? 0 : (uint64_t)st.st_size / 150;
}

enum err image_list_update(struct receiver *r, int image, const char *delta, bool whole)
{
	char base[16], net[16];
	uint64_t lines = 0, all;
	enum err e;

	name_of(base, image, "base");
	name_of(net, image, "net");
	if (whole) {
		(void)sys_unlink(r->dir, net, 0);
		return sys_rename(r->dir, delta, r->dir, base) ? err_sys(ERR_FAILED, "%s/%s", r->dir_name, base) : ERR_OK;
	}
	if (!file_exists(r->dir, net) && (e = file_write_fast(r->dir, net, "", 0, 0600)))
		return e;
	e = manifest_file_merge(r->dir, net, net, delta, true, &lines);
	if (!e && lines > NET_SMALLEST && lines > lines_of(r->dir, base) / 32) {
		/* The image is marked dirty meanwhile: base and net need not change in one step. */
		e = manifest_file_merge(r->dir, base, base, net, false, &all);
		if (!e)
			e = file_write_fast(r->dir, net, "", 0, 0600);
	}
	(void)sys_unlink(r->dir, delta, 0);
	return e;
}

enum err image_list_sync(struct receiver *r, int image)
{
	static const char *const parts[] = { "base", "net" };
	char name[16];

	for (int i = 0; i < 2; i++) {
		const int fd = openat(r->dir, name_of(name, image, parts[i]), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		const bool synced = fd >= 0 && !sys_fsync(fd);
		const enum err e = synced ? ERR_OK : err_sys(ERR_FAILED, "%s/%s", r->dir_name, name);

		if (fd >= 0)
			(void)close(fd);
		if (e)
			return e;
	}
	return sys_fsync(r->dir) ? err_sys(ERR_FAILED, "%s", r->dir_name) : ERR_OK;
}
