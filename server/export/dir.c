#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "export/internal.h"

#define PREPARED_FILES 250000
#define PREPARED_BYTES (UINT64_C(4) * 1024 * 1024 * 1024)

struct prepared {
	struct blob_id id;
	size_t n;
	int64_t at; /* clock_boot */
	bool ready; /* the thread that writes it has finished */
	char name[PREPARED_NAME]; /* in export.tmp/ */
	struct prepared *next;
};

/* --- opening ------------------------------------------------------------------------------------------------------ */

static enum err open_part(int base, const char *name, mode_t mode, bool *made, int *fd)
{
	*made = sys_mkdir(base, name, mode) == 0;
	if (!*made && errno != EEXIST)
		return err_sys(ERR_FAILED, "cannot create %s", name);
	*fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0)
		return err_sys(ERR_FAILED, "cannot open %s", name);
	/* whatever the umask is: a web server may be let in to read export/ */
	if (*made && sys_fchmod(*fd, mode) != 0)
		return err_sys(ERR_FAILED, "cannot set the mode of %s", name);
	return ERR_OK;
}

static bool is_empty(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	bool empty = d != NULL;

	if (!d && fd >= 0)
		sys_close(fd);
	while (d && empty && (entry = readdir(d)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	if (d)
		closedir(d);
	return empty;
}

enum err export_open(struct export_dir **out, const char *base)
{
	struct export_dir *e = mem_alloc(sizeof(*e));
	struct stat root, tmp;
	bool made, tmp_made;
	enum err err;

	*out = NULL;
	e->path = mem_printf("%s/export", base);
	e->base = e->root = e->tmp = e->state.fd = -1;
	pthread_mutex_init(&e->lock, NULL);
	pthread_mutex_init(&e->prepared.lock, NULL);
	pthread_mutex_init(&e->ahead_lock, NULL);
	err = file_mkdirs(base, 0700);
	if (err)
		goto out;
	e->base = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (e->base < 0) {
		err = err_sys(ERR_FAILED, "cannot open %s", base);
		goto out;
	}
	err = open_part(e->base, "export", 0755, &made, &e->root);
	if (!err)
		err = open_part(e->base, "export.tmp", 0700, &tmp_made, &e->tmp);
	if (err)
		goto out;
	if (fstat(e->root, &root) != 0 || fstat(e->tmp, &tmp) != 0) {
		err = err_sys(ERR_FAILED, "cannot examine %s", e->path);
		goto out;
	}
	if (root.st_dev != tmp.st_dev) {
		err = err_set(ERR_FAILED, "%s and export.tmp beside it must be on one file system", e->path);
		goto out;
	}
	FAILPOINT_OR(err, export_directories);
	if (err)
		goto out;
	if ((made || tmp_made) && sys_fsync(e->base) != 0) {
		err = err_sys(ERR_FAILED, "cannot make %s durable", base);
		goto out;
	}
	err = state_open(&e->state, e->base, is_empty(e->root));
	FAILPOINT_OR(err, export_opened);
	if (err)
		goto out;
	e->known = e->state.n == 1;
	e->held = e->state.commits[0];
	*out = e;
	e = NULL;
out:
	export_close(e);
	return err;
}

void export_close(struct export_dir *e)
{
	if (!e)
		return;
	ahead_drop(e, false);
	if (e->tmp >= 0)
		prepared_drop(e, INT64_MAX);
	FAILPOINT(export_closing);
	/* an orderly end leaves nothing in doubt; if that fails, the next start compares */
	if (e->known && e->state.n > 1 && bring_sync(e) == ERR_OK && state_settle(&e->state, &e->held) != ERR_OK)
		log_event(LOG_LEVEL_WARN, "export.close", "export", e->path, "why", err_text(), NULL);
	state_close(&e->state);
	if (e->tmp >= 0)
		sys_close(e->tmp);
	if (e->root >= 0)
		sys_close(e->root);
	if (e->base >= 0)
		sys_close(e->base);
	pthread_mutex_destroy(&e->lock);
	pthread_mutex_destroy(&e->prepared.lock);
	pthread_mutex_destroy(&e->ahead_lock);
	free(e->path);
	free(e);
}

const char *export_path(const struct export_dir *e)
{
	return e->path;
}

void export_at(const struct export_dir *e, struct blob_id *commit)
{
	static const struct blob_id none;
	*commit = e->known ? e->held : none;
}

enum err export_clean(struct export_dir *e)
{
	enum err err;
	bool made;

	ahead_drop(e, false);
	prepared_drop(e, INT64_MAX);
	sys_close(e->tmp);
	e->tmp = -1;
	err = file_remove_tree(e->base, "export.tmp");
	FAILPOINT_OR(err, export_swept);
	return err ? err : open_part(e->base, "export.tmp", 0700, &made, &e->tmp);
}

/* --- prepared files ----------------------------------------------------------------------------------------------- */

static struct prepared **prepared_slot(struct prepared_set *set, const struct blob_id *id)
{
	struct prepared **p = &set->buckets[((unsigned)id->b[0] << 8 | id->b[1]) % 1024];

	while (*p && !blob_id_equal(&(*p)->id, id))
		p = &(*p)->next;
	return p;
}

static void prepared_forget(struct prepared_set *set, struct prepared **slot)
{
	struct prepared *p = *slot;

	*slot = p->next;
	set->n--;
	set->bytes -= p->n;
	free(p);
}

int temporary_create(struct export_dir *e, const struct blob_id *id, char name[PREPARED_NAME])
{
	char hex[2 * BLOB_ID_SIZE + 1];
	int fd;

	hex_of(hex, id->b, BLOB_ID_SIZE);
	do {
		/* the number may be one that a leftover of another life has */
		snprintf(name, PREPARED_NAME, "%s.%u", hex, __atomic_add_fetch(&e->counter, 1, __ATOMIC_RELAXED));
		fd = sys_open(e->tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
	} while (fd < 0 && errno == EEXIST);
	return fd;
}

enum err export_prepare(struct export_dir *e, const struct blob_id *id, const void *bytes, size_t n)
{
	struct prepared_set *set = &e->prepared;
	struct prepared *p, **slot;
	char name[PREPARED_NAME];
	bool wanted;
	enum err err = ERR_OK;
	int fd;

	/* only an aid: past what is sensible, export_bring() reads the repository */
	pthread_mutex_lock(&set->lock);
	slot = prepared_slot(set, id);
	wanted = !*slot && set->n < PREPARED_FILES && n <= PREPARED_BYTES - set->bytes;
	if (wanted) {
		p = mem_alloc(sizeof(*p));
		*p = (struct prepared){ .id = *id, .n = n, .at = clock_boot() };
		*slot = p;
		set->n++;
		set->bytes += n;
	}
	pthread_mutex_unlock(&set->lock);
	if (!wanted)
		return ERR_OK;

	fd = temporary_create(e, id, name);
	FAILPOINT(export_preparing);
	if (fd < 0 || sys_write_all(fd, bytes, n) != 0)
		err = err_sys(ERR_FAILED, "cannot write to export.tmp");
	if (fd >= 0 && sys_close(fd) != 0 && !err)
		err = err_sys(ERR_FAILED, "cannot write to export.tmp");
	if (err && fd >= 0)
		sys_unlink(e->tmp, name, 0);
	pthread_mutex_lock(&set->lock);
	slot = prepared_slot(set, id);
	if (err)
		prepared_forget(set, slot);
	else {
		(*slot)->ready = true;
		memcpy((*slot)->name, name, sizeof(name));
	}
	pthread_mutex_unlock(&set->lock);
	return err;
}

bool prepared_claim(struct export_dir *e, const struct blob_id *id, char name[PREPARED_NAME])
{
	struct prepared **slot;
	bool found;

	pthread_mutex_lock(&e->prepared.lock);
	slot = prepared_slot(&e->prepared, id);
	found = *slot && (*slot)->ready;
	if (found) {
		memcpy(name, (*slot)->name, PREPARED_NAME);
		prepared_forget(&e->prepared, slot);
	}
	pthread_mutex_unlock(&e->prepared.lock);
	return found;
}

bool prepared_has(struct export_dir *e, const struct blob_id *id)
{
	struct prepared *p;
	bool has;

	pthread_mutex_lock(&e->prepared.lock);
	p = *prepared_slot(&e->prepared, id);
	has = p && p->ready;
	pthread_mutex_unlock(&e->prepared.lock);
	return has;
}

void prepared_drop(struct export_dir *e, int64_t before)
{
	pthread_mutex_lock(&e->prepared.lock);
	for (size_t i = 0; i < sizeof(e->prepared.buckets) / sizeof(e->prepared.buckets[0]) && e->prepared.n > 0; i++) {
		struct prepared **slot = &e->prepared.buckets[i];
		while (*slot) {
			if (!(*slot)->ready || (*slot)->at >= before) {
				slot = &(*slot)->next;
				continue;
			}
			sys_unlink(e->tmp, (*slot)->name, 0);
			prepared_forget(&e->prepared, slot);
		}
	}
	pthread_mutex_unlock(&e->prepared.lock);
}

void export_discard(struct export_dir *e)
{
	prepared_drop(e, INT64_MAX);
}
