/*
 * unix: users and groups of the machine, through NSS. NSS may wait for a network (LDAP): only worker threads come here,
 * and the answers are remembered for a minute (session.c, auth_unix_peer).
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

#include "auth/internal.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/utf8.h"

/* setpwent and getpwent keep their place in the process: one walk at a time. */
static pthread_mutex_t walk_lock = PTHREAD_MUTEX_INITIALIZER;

/* Grow the buffer that NSS asked for; false when it is past all reason. */
static bool larger(char **buffer, size_t *size)
{
	if (*size >= NSS_LIMIT)
		return false;
	free(*buffer);
	*size *= 2;
	*buffer = mem_alloc(*size);
	return true;
}

static bool is_unknown(int status)
{
	/* What getpwnam(3) lists for "no such name", besides success with no result. */
	return status == 0 || status == ENOENT || status == ESRCH || status == EBADF || status == EPERM;
}

/* By name, or by uid if name is NULL. *buffer is the caller's to free. */
static enum err passwd_of(const char *name, uid_t uid, struct passwd *pw, char **buffer)
{
	struct passwd *found = NULL;
	size_t size = 4096;
	int status;

	*buffer = mem_alloc(size);
	do
		status = name ? getpwnam_r(name, pw, *buffer, size, &found) : getpwuid_r(uid, pw, *buffer, size, &found);
	while (status == EINTR || (status == ERANGE && larger(buffer, &size)));
	if (found)
		return ERR_OK;
	if (is_unknown(status))
		return err_set(ERR_NOT_FOUND, "The machine has no such user.");
	errno = status;
	return err_sys(ERR_BUSY, "The machine's users cannot be asked now");
}

static enum err group_of(const char *name, gid_t gid, struct group *gr, char **buffer)
{
	struct group *found = NULL;
	size_t size = 4096;
	int status;

	*buffer = mem_alloc(size);
	do
		status = name ? getgrnam_r(name, gr, *buffer, size, &found) : getgrgid_r(gid, gr, *buffer, size, &found);
	while (status == EINTR || (status == ERANGE && larger(buffer, &size)));
	if (found)
		return ERR_OK;
	if (is_unknown(status))
		return err_set(ERR_NOT_FOUND, "The machine has no such group.");
	errno = status;
	return err_sys(ERR_BUSY, "The machine's groups cannot be asked now");
}

/* The first field of GECOS, if it is text. */
static const char *display_of(const struct passwd *pw, struct arena *a)
{
	size_t n = pw->pw_gecos ? strcspn(pw->pw_gecos, ",") : 0;

	if (n && n <= 128 && utf8_clean(pw->pw_gecos, n, false))
		return arena_dupn(a, pw->pw_gecos, n);
	return arena_dup(a, pw->pw_name);
}

/* The groups as principals; one without a usable name is left out, since no rule can name it. */
static enum err add_groups(const struct passwd *pw, struct provider_user *out, struct arena *a)
{
	int cap = 64, n;
	gid_t *list = NULL;
	enum err err = ERR_OK;

	for (;;) {
		list = mem_array((size_t)cap, sizeof *list);
		n = cap;
		if (getgrouplist(pw->pw_name, pw->pw_gid, list, &n) >= 0)
			break;
		free(list);
		if (cap >= GROUPS_LIMIT)
			return err_set(ERR_DENIED, "The UNIX user %s is in more than %d groups.", pw->pw_name, GROUPS_LIMIT);
		cap = n > cap && n < GROUPS_LIMIT ? n : cap * 2;
	}
	for (int i = 0; i < n && !err; i++) {
		struct group gr;
		char *buffer;

		err = group_of(NULL, list[i], &gr, &buffer);
		if (!err) {
			const char *principal = arena_printf(a, "unix:@%s", gr.gr_name);

			if (principal_valid(principal))
				provider_user_group(out, a, principal);
		} else if (err == ERR_NOT_FOUND) {
			err = ERR_OK;
		}
		free(buffer);
	}
	free(list);
	return err;
}

static enum err unix_user(struct db *db, const char *name, struct provider_user *out, struct arena *a)
{
	struct passwd pw;
	char *buffer;
	enum err err = passwd_of(name, 0, &pw, &buffer);

	(void)db;
	/* Some NSS modules match names without regard to case: a principal is spelled one way only. */
	if (!err && strcmp(pw.pw_name, name) != 0)
		err = err_set(ERR_NOT_FOUND, "The machine has no such user.");
	if (!err) {
		out->display = display_of(&pw, a);
		out->enabled = true;
		err = add_groups(&pw, out, a);
	}
	free(buffer);
	return err;
}

static enum err unix_group(struct db *db, const char *name)
{
	struct group gr;
	char *buffer;
	enum err err = group_of(name, 0, &gr, &buffer);

	(void)db;
	if (!err && strcmp(gr.gr_name, name) != 0)
		err = err_set(ERR_NOT_FOUND, "The machine has no such group.");
	free(buffer);
	return err;
}

static void tell(const char *name, void (*fn)(void *arg, const char *principal), void *arg)
{
	char *principal = mem_printf("unix:%s", name);

	if (principal_valid(principal))
		fn(arg, principal);
	free(principal);
}

static enum err unix_members(struct db *db, const char *group, void (*fn)(void *arg, const char *principal), void *arg)
{
	struct group gr;
	char *buffer;
	enum err err = group_of(group, 0, &gr, &buffer);
	gid_t gid;

	(void)db;
	if (err) {
		free(buffer);
		return err;
	}
	gid = gr.gr_gid;
	for (char **m = gr.gr_mem; m && *m; m++)
		tell(*m, fn, arg);
	free(buffer);

	/* Those whose first group it is are in the list of users only. */
	buffer = mem_alloc(NSS_LIMIT);
	pthread_mutex_lock(&walk_lock);
	setpwent();
	for (;;) {
		struct passwd pw, *found = NULL;

		if (getpwent_r(&pw, buffer, NSS_LIMIT, &found) != 0 || !found)
			break;
		if (pw.pw_gid == gid)
			tell(pw.pw_name, fn, arg);
	}
	endpwent();
	pthread_mutex_unlock(&walk_lock);
	free(buffer);
	return ERR_OK;
}

const struct provider provider_unix = { "unix", unix_user, unix_group, unix_members };

/* The uid that the kernel shows for users of other name spaces: everybody unknown, so nobody. */
static uid_t overflow_uid(void)
{
	struct buf b = BUF_INIT(32);
	uid_t uid = 65534;

	if (file_read(AT_FDCWD, "/proc/sys/kernel/overflowuid", &b) == ERR_OK && b.len)
		uid = (uid_t)strtoul(b.p, NULL, 10);
	buf_release(&b);
	return uid;
}

enum err unix_name(uid_t uid, const char **name, struct arena *a)
{
	struct passwd pw;
	char *buffer;
	enum err err;

	if (uid == (uid_t)-1 || uid == overflow_uid())
		return err_set(ERR_DENIED, "The UNIX user of this connection is not known here.");
	err = passwd_of(NULL, uid, &pw, &buffer);
	if (!err)
		*name = arena_dup(a, pw.pw_name);
	else if (err == ERR_NOT_FOUND)
		err = err_set(ERR_DENIED, "The UNIX user with number %lu is not known here.", (unsigned long)uid);
	free(buffer);
	return err;
}
