#include "repo/repo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "repo/internal.h"

#define MAPPED_WINDOW ((size_t)1 << 20)
#define MAPPED_MOST ((size_t)4 << 20)

#define ID_FILE "drydock-id"
#define TMP_DIR "drydock-tmp"

/* No automatic gc: what is unreachable for an instant between publication and COMMIT must stay. */
static const char CONFIG[] = "[core]\n"
			     "\trepositoryformatversion = 0\n"
			     "\tfilemode = true\n"
			     "\tbare = true\n"
			     "\tlogAllRefUpdates = false\n"
			     "[gc]\n"
			     "\tauto = 0\n"
			     "\tpruneExpire = 2.weeks.ago\n"
			     "[maintenance]\n"
			     "\tauto = false\n"
			     "[receive]\n"
			     "\tdenyNonFastForwards = true\n"
			     "\tdenyDeletes = true\n"
			     "[transfer]\n"
			     "\tfsckObjects = true\n";

/*
 * How often a repack took packs away in this process. A handle that still knows them opens its objects anew before it
 * stumbles over one; a repack from outside is found out by the failing read.
 */
static unsigned repacks; /* atomic */

/*
 * Held by whoever takes packs away; shared by a second look at what the first did not find. A scan of objects/pack that
 * began before the new pack had its name may list an old one that is gone when it is opened, and libgit2 looks only once
 * more: then an object that is there all the time is in none of the packs that it knows.
 */
static pthread_rwlock_t removal = PTHREAD_RWLOCK_INITIALIZER;

const char *const git_environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/nonexistent",
	"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", NULL };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int init_error;

static void git_start(void)
{
	static const int levels[] = { GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG,
		GIT_CONFIG_LEVEL_GLOBAL };

	init_error = git_libgit2_init();
	if (init_error < 0)
		return;
	init_error = 0;
	/* nobody's settings but the repository's own */
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]) && !init_error; i++)
		init_error = git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
	/* ours checks the same with a sentence that a person can act on */
	if (!init_error)
		init_error = git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
	/* asking whether a ref's object exists would scan objects/pack on each act; we have just written it */
	if (!init_error)
		init_error = git_libgit2_opts(GIT_OPT_ENABLE_STRICT_OBJECT_CREATION, 0);
	/* packs are looked at through small windows: what is mapped counts as our memory, and a window had no end */
	if (!init_error)
		init_error = git_libgit2_opts(GIT_OPT_SET_MWINDOW_SIZE, MAPPED_WINDOW);
	if (!init_error)
		init_error = git_libgit2_opts(GIT_OPT_SET_MWINDOW_MAPPED_LIMIT, MAPPED_MOST);
}

enum err git_ready(void)
{
	pthread_once(&once, git_start);
	return init_error ? git_failed(ERR_FAILED, "cannot start libgit2") : ERR_OK;
}

enum err git_failed(enum err code, const char *fmt, ...)
{
	const git_error *g = git_error_last();
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(code, "%s: %s", text, g && g->message ? g->message : "unknown reason");
}

static enum err make_dir(int dir, const char *name)
{
	if (sys_mkdir(dir, name, 0700) != 0 && errno != EEXIST)
		return err_sys(ERR_FAILED, "cannot create %s in the repository", name);
	return ERR_OK;
}

enum err repo_create(const char *dir)
{
	static const char *const dirs[] = { "objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags",
		"refs/drydock", "refs/drydock/log", TMP_DIR };
	struct uuid id;
	char text[UUID_TEXT + 1];
	int fd;
	enum err e;

	e = file_mkdirs(dir, 0700);
	if (e)
		return e;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(ERR_FAILED, "cannot open the repository %s", dir);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && !e; i++)
		e = make_dir(fd, dirs[i]);
	if (!e && !file_exists(fd, ID_FILE)) {
		uuid_new(&id);
		uuid_text(&id, text);
		e = file_write(fd, ID_FILE, text, strlen(text), 0600);
	}
	FAILPOINT_OR(e, repo_identified);
	if (!e && !file_exists(fd, "config"))
		e = file_write(fd, "config", CONFIG, sizeof(CONFIG) - 1, 0600);
	FAILPOINT_OR(e, repo_configured);
	/* last, since a directory without it is no repository yet */
	if (!e && !file_exists(fd, "HEAD"))
		e = file_write(fd, "HEAD", "ref: refs/heads/main\n", 21, 0600);
	if (!e && sys_fsync(fd) != 0)
		e = err_sys(ERR_FAILED, "cannot make the repository %s durable", dir);
	sys_close(fd);
	return e;
}

static enum err open_odb(struct repo *r)
{
	char *objects = mem_printf("%s/objects", r->dir);
	enum err e = ERR_OK;

	git_odb *odb = NULL;

	/* the old one stays if that fails, so that there always is one */
	if (git_odb_open(&odb, objects) != 0) {
		e = git_failed(ERR_FAILED, "cannot open the objects of %s", r->dir);
	} else {
		git_odb_free(r->odb);
		r->odb = odb;
	}
	free(objects);
	return e;
}

static void packs_time(const struct repo *r, struct timespec *out)
{
	char *dir = mem_printf("%s/objects/pack", r->dir);
	struct stat st;

	*out = stat(dir, &st) == 0 ? st.st_mtim : (struct timespec){ 0 };
	free(dir);
}

enum err repo_open(struct repo **out, const char *dir)
{
	struct repo *r;
	struct buf id = BUF_INIT(UUID_TEXT);
	struct stat st;
	int fd;
	enum err e;

	*out = NULL;
	e = git_ready();
	if (e)
		return e;
	r = mem_alloc(sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	r->dir = mem_dup(dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		e = err_sys(ERR_FAILED, "cannot open the repository %s", dir);
		goto out;
	}
	if (st.st_uid != geteuid()) {
		e = err_set(ERR_FAILED, "the repository %s belongs to uid %u, but DryDock runs as uid %u", dir,
		    (unsigned)st.st_uid, (unsigned)geteuid());
		goto out;
	}
	e = file_read(fd, ID_FILE, &id);
	if (e) {
		e = err_prefix(ERR_FAILED, "%s is not a repository of DryDock", dir);
		goto out;
	}
	r->tag.dev = st.st_dev;
	r->tag.ino = st.st_ino;
	snprintf(r->tag.id, sizeof(r->tag.id), "%s", buf_text(&id));
	if (git_repository_open_bare(&r->git, dir) != 0) {
		e = git_failed(ERR_FAILED, "cannot open the repository %s", dir);
		goto out;
	}
	r->epoch = __atomic_load_n(&repacks, __ATOMIC_ACQUIRE);
	e = open_odb(r);
	if (e)
		goto out;
	*out = r;
	r = NULL;
out:
	if (fd >= 0)
		sys_close(fd);
	buf_release(&id);
	repo_close(r);
	return e;
}

void repo_close(struct repo *r)
{
	if (!r)
		return;
	packs_drop(r);
	git_odb_free(r->odb);
	git_repository_free(r->git);
	pthread_mutex_destroy(&r->lock);
	free(r->dir);
	free(r);
}

void repo_repacked(void)
{
	recent_forget();
	__atomic_add_fetch(&repacks, 1, __ATOMIC_RELEASE);
}

void repo_removal_begin(void)
{
	pthread_rwlock_wrlock(&removal);
}

void repo_removal_end(void)
{
	repo_repacked();
	pthread_rwlock_unlock(&removal);
}

/* Forget the packs that are known. */
static enum err reopen(struct repo *r)
{
	unsigned now = __atomic_load_n(&repacks, __ATOMIC_ACQUIRE);
	enum err e;

	pthread_mutex_lock(&r->lock);
	e = open_odb(r);
	r->epoch = now;
	pthread_mutex_unlock(&r->lock);
	return e;
}

static int look_once(struct repo *r, odb_look *look, void *arg)
{
	int got;

	pthread_mutex_lock(&r->lock);
	got = look(r->odb, arg);
	pthread_mutex_unlock(&r->lock);
	return got;
}

int repo_look(struct repo *r, odb_look *look, void *arg)
{
	int got = look_once(r, look, arg);

	if (got == 0)
		return 0;
	pthread_rwlock_rdlock(&removal);
	if (reopen(r) == ERR_OK)
		got = look_once(r, look, arg);
	pthread_rwlock_unlock(&removal);
	return got;
}

/* No scan of objects/pack if nothing was put there or taken away since the last one. */
void repo_refresh(struct repo *r)
{
	struct timespec now = { 0 };
	bool changed;

	r->refreshed = clock_boot();
	if (r->epoch != __atomic_load_n(&repacks, __ATOMIC_ACQUIRE) && reopen(r) == ERR_OK)
		return;
	pthread_mutex_lock(&r->lock);
	packs_time(r, &now);
	changed = now.tv_sec != r->packs_seen.tv_sec || now.tv_nsec != r->packs_seen.tv_nsec;
	/* a directory that changes twice within one tick of its clock looks unchanged: then look once more next time */
	if (changed) {
		git_odb_refresh(r->odb);
		r->packs_seen = clock_wall() / CLOCK_SECOND - now.tv_sec > 2 ? now : (struct timespec){ 0 };
	}
	pthread_mutex_unlock(&r->lock);
}

/* --- refs --------------------------------------------------------------------------------------------------------- */

/*
 * A ref file that a power failure left empty or half written. Refs are not synced, since the database says where they
 * belong; a torn one counts as none (or as what packed-refs has), and the repair at start writes it again.
 */
static bool ref_torn(struct repo *r, const char *ref)
{
	struct buf text = BUF_INIT(4096);
	char *file = mem_printf("%s/%s", r->dir, ref);
	struct blob_id id;
	int valid = 0;
	bool torn = false;

	if (git_reference_name_is_valid(&valid, ref) == 0 && valid && file_read(AT_FDCWD, file, &text) == ERR_OK) {
		if (text.len == 2 * BLOB_ID_SIZE + 1 && text.p[2 * BLOB_ID_SIZE] == '\n')
			text.p[2 * BLOB_ID_SIZE] = '\0';
		torn = strncmp(buf_text(&text), "ref: ", 5) != 0 && !hex_parse(id.b, BLOB_ID_SIZE, buf_text(&text));
	}
	if (torn)
		log_event(LOG_LEVEL_WARN, "repo.torn_ref", "repository", r->dir, "ref", ref, NULL);
	free(file);
	buf_release(&text);
	return torn;
}

/* libgit2 reads what it replaces, and stumbles over a torn file. */
static bool remove_torn(struct repo *r, const char *ref)
{
	char *file;
	bool removed;

	if (!ref_torn(r, ref))
		return false;
	file = mem_printf("%s/%s", r->dir, ref);
	removed = sys_unlink(AT_FDCWD, file, 0) == 0;
	free(file);
	return removed;
}

enum err repo_ref_get(struct repo *r, const char *ref, struct blob_id *out)
{
	git_oid oid;
	int got = git_reference_name_to_id(&oid, r->git, ref);

	if (got != 0 && got != GIT_ENOTFOUND && remove_torn(r, ref))
		got = git_reference_name_to_id(&oid, r->git, ref);
	if (got == GIT_ENOTFOUND)
		return err_set(ERR_NOT_FOUND, "there is no %s in %s", ref, r->dir);
	if (got != 0)
		return git_failed(ERR_FAILED, "cannot read %s in %s", ref, r->dir);
	memcpy(out->b, oid.id, BLOB_ID_SIZE);
	return ERR_OK;
}

enum err repo_ref_each(struct repo *r, const char *begin, enum err (*fn)(void *arg, const char *name, const struct blob_id *at), void *arg)
{
	git_reference_iterator *it = NULL;
	git_reference *ref;
	enum err e = ERR_OK;
	int got = git_reference_iterator_new(&it, r->git);

	while (got == 0 && !e && (got = git_reference_next(&ref, it)) == 0) {
		const git_oid *oid = git_reference_target(ref);
		struct blob_id at = { 0 };

		if (oid)
			memcpy(at.b, oid->id, BLOB_ID_SIZE);
		if (strncmp(git_reference_name(ref), begin, strlen(begin)) == 0)
			e = fn(arg, git_reference_name(ref), &at);
		git_reference_free(ref);
	}
	git_reference_iterator_free(it);
	if (!e && got != 0 && got != GIT_ITEROVER)
		e = git_failed(ERR_FAILED, "cannot read the refs of %s", r->dir);
	return e;
}

enum err repo_ref_remove(struct repo *r, const char *ref)
{
	int got = git_reference_remove(r->git, ref);

	return got != 0 && got != GIT_ENOTFOUND ? git_failed(ERR_FAILED, "cannot remove %s in %s", ref, r->dir) : ERR_OK;
}

enum err repo_ref_move(struct repo *r, const char *ref, const struct blob_id *old, const struct blob_id *now)
{
	git_reference *made = NULL;
	git_oid from, to;
	int got;

	FAILPOINT(ref_moving);
	memcpy(to.id, now->b, BLOB_ID_SIZE);
	for (int try = 0;; try++) {
		if (old && !blob_id_zero(old)) {
			memcpy(from.id, old->b, BLOB_ID_SIZE);
			got = git_reference_create_matching(&made, r->git, ref, &to, 1, &from, NULL);
		} else {
			got = git_reference_create(&made, r->git, ref, &to, 0, NULL);
		}
		if (got == 0 || got == GIT_EMODIFIED || try > 0 || !remove_torn(r, ref))
			break;
	}
	git_reference_free(made);
	if (got == GIT_EMODIFIED || got == GIT_EEXISTS || got == GIT_ENOTFOUND)
		return err_set(ERR_STALE, "%s in %s stands elsewhere than expected", ref, r->dir);
	if (got == GIT_ELOCKED)
		return git_failed(ERR_BUSY, "cannot move %s in %s", ref, r->dir);
	if (got != 0)
		return git_failed(ERR_FAILED, "cannot move %s in %s", ref, r->dir);
	return ERR_OK;
}

enum err repo_ref_set(struct repo *r, const char *ref, const struct blob_id *now)
{
	git_reference *made = NULL;
	git_oid to;
	int got;

	FAILPOINT(ref_setting);
	memcpy(to.id, now->b, BLOB_ID_SIZE);
	got = git_reference_create(&made, r->git, ref, &to, 1, NULL);
	if (got != 0 && remove_torn(r, ref))
		got = git_reference_create(&made, r->git, ref, &to, 1, NULL);
	git_reference_free(made);
	if (got != 0)
		return git_failed(got == GIT_ELOCKED ? ERR_BUSY : ERR_FAILED, "cannot set %s in %s", ref, r->dir);
	return ERR_OK;
}
